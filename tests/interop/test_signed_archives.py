"""Signed archives, both ways: what `policy build` signs OPA verifies, and what `opa sign` signs we verify."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.model.errors import PolicyError
from gateway.policy import archive, bundle, signature
from gateway.policy.bundle import SIGNATURES, Bundle
from tests.unit.policy.archives import NOW, SCOPE, WALL_S, released
from tests.unit.policy.bundles import written

KINDS = {
    "ES256": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ES384": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "RS256": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "PS256": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "EdDSA": ["genpkey", "-algorithm", "ED25519"],
}
ODD = '\u2028\u2029 \U0001f600 \x7f \x01\b\f\n\t <>& " \\ / \u00e9'
"What encoders of JSON write in different ways."

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.needs("opa"), pytest.mark.needs("openssl")]


@pytest.fixture
def opa(tmp_path: Path, component: Callable[[str], str]) -> Run:
    def run(*words: str | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [component("opa"), *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def odd(tmp_path: Path) -> Bundle:
    """The shipped bundle with data that is hard to hash alike."""
    data = {"odd": {ODD: [ODD, 1 << 53, -1, True, None, {}, []], "z\uffff": 1, "z\U0001f600": 2}}
    folder = written(tmp_path / "odd", {"data/odd.json": json.dumps(data)})
    return bundle.read(folder).released(released(3).release or pytest.fail("no release"))


def _keys(folder: Path, algorithm: str) -> tuple[Path, Path]:
    key, public = folder / "release.key", folder / "release.pem"
    subprocess.run(["openssl", *KINDS[algorithm], "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    return key, public


def _verified(opa: Run, made: Path, public: Path, algorithm: str, scope: str = SCOPE) -> str:
    """What OPA says when it loads an archive and verifies it; "" is yes."""
    how = ["--verification-key", public, "--verification-key-id", "release", "--signing-alg", algorithm]
    done = opa("build", "--bundle", made, *how, "--scope", scope, "-o", made.with_name("out.tar.gz"))
    assert (done.returncode == 0) == (done.stdout == ""), done
    return done.stdout


@pytest.mark.parametrize("algorithm", [name for name in KINDS if name != "PS256"])
def test_opa_verifies_what_we_sign(tmp_path: Path, opa: Run, odd: Bundle, algorithm: str) -> None:
    key, public = _keys(tmp_path, algorithm)
    private = signature.private_key(key.read_bytes(), "release.key")
    members = odd.members()
    signed = {**members, SIGNATURES: signature.sign(members, private, "release", scope=SCOPE, iat_s=WALL_S)}
    made = tmp_path / "dmz.tar.gz"
    made.write_bytes(archive.pack(signed))
    assert _verified(opa, made, public, algorithm) == ""
    assert "scope mismatch" in _verified(opa, made, public, algorithm, scope="other")
    made.write_bytes(archive.pack({**signed, "core/grants.rego": signed["core/grants.rego"] + b"\n"}))
    assert "digest mismatch" in _verified(opa, made, public, algorithm)


@pytest.mark.parametrize("algorithm", KINDS)
def test_we_verify_what_opa_signs(tmp_path: Path, opa: Run, odd: Bundle, algorithm: str) -> None:
    key, public = _keys(tmp_path, algorithm)
    folder = tmp_path / "unpacked"
    odd.write_to(folder)
    claims = tmp_path / "claims.json"
    claims.write_text(json.dumps({"keyid": "release", "scope": SCOPE}))
    how = ["--signing-key", key, "--signing-alg", algorithm, "--claims-file", claims]
    assert opa("sign", "--bundle", ".", *how, cwd=folder).returncode == 0
    made = tmp_path / "dmz.tar.gz"
    subprocess.run(["tar", "--format=ustar", "-czf", made, "-C", folder, "."], check=True)
    members = archive.read(made)
    signed = signature.verify(members, signature.public_keys((public,)), scope=SCOPE, judge_ns=NOW.judge_ns)
    assert signed.key_id == "release"
    assert bundle.from_members(members) == odd
    spoilt = {**members, "data/odd.json": members["data/odd.json"] + b"\n"}
    with pytest.raises(PolicyError, match="not what was signed"):
        signature.verify(spoilt, signature.public_keys((public,)), scope=SCOPE, judge_ns=NOW.judge_ns)


def test_opa_decides_by_an_archive(tmp_path: Path, opa: Run) -> None:
    made = tmp_path / "dmz.tar.gz"
    made.write_bytes(archive.pack(released(3).members()))
    done = opa(
        "eval", "--bundle", made, "--format", "json", "[data.bundle.revision, data.dmz.decision.allow]"
    )
    value = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    assert value == [released(3).revision, False]


# the commands ------------------------------------------------------------------------------------


def _build(folder: Path, *words: str) -> int:
    return main(["policy", "build", str(written(folder / "policies", {})), *words])


def test_the_commands_build_and_verify(tmp_path: Path, opa: Run, capsys: pytest.CaptureFixture[str]) -> None:
    key, public = _keys(tmp_path, "ES256")
    made = tmp_path / "dmz.tar.gz"
    signing = ["--signing-key", str(key), "--scope", SCOPE, "--expires", "30d", "--json"]
    assert _build(tmp_path, "-o", str(made), *signing) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["signed_by"] == "release"
    assert _verified(opa, made, public, "ES256") == ""
    assert main(["policy", "verify", str(made), "--key", str(public), "--scope", SCOPE, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {**said, "archive": str(made)} == {**first, "faults": []}

    assert main(["policy", "build", str(made), "-o", str(made), *signing]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["serial"] > first["serial"]
    assert second["reissue_of"] == first["revision"]

    (tmp_path / "other").mkdir()
    _, other = _keys(tmp_path / "other", "ES256")
    assert main(["policy", "verify", str(made), "--key", str(other), "--scope", SCOPE]) == 1
    assert "does not hold" in capsys.readouterr().out
    assert main(["policy", "verify", str(made), "--key", str(public)]) == 1
    assert "scope 'dmz'" in capsys.readouterr().out


def test_equal_input_gives_equal_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(WALL_S))
    key, _ = _keys(tmp_path, "EdDSA")
    for name in ("a", "b"):
        assert _build(tmp_path, "-o", str(tmp_path / name), "--signing-key", str(key)) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "serial 1795000000000, issued 2026-11-18T" in capsys.readouterr().out


def test_what_verify_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key, public = _keys(tmp_path, "ES256")
    made = tmp_path / "dmz.tar.gz"
    assert _build(tmp_path, "-o", str(made)) == 0
    assert main(["policy", "verify", str(made), "--key", str(public)]) == 1
    assert "is not signed" in capsys.readouterr().out
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made.unlink()
    assert _build(tmp_path, "-o", str(made), "--signing-key", str(key), "--expires", "1h") == 0
    assert main(["policy", "verify", str(made), "--key", str(public), "--json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "expired" in json.loads(lines[-1])["faults"][0]["what"]
    assert main(["policy", "verify", str(tmp_path / "none"), "--key", str(public)]) == 2
    assert main(["policy", "verify", str(made), "--key", str(key)]) == 2
    assert "no public key" in capsys.readouterr().err


def test_what_build_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, _ = _keys(tmp_path, "ES256")
    made = tmp_path / "dmz.tar.gz"
    key.chmod(0o640)
    assert _build(tmp_path, "-o", str(made), "--signing-key", str(key)) == 2
    assert "open to others" in capsys.readouterr().err
    key.chmod(0o600)
    grants = tmp_path / "policies" / "data" / "grants.yaml"
    grants.write_text(grants.read_text() + "\n  - {}\n")
    assert main(["policy", "build", str(tmp_path / "policies"), "-o", str(made)]) == 1
    assert "data/grants.yaml" in capsys.readouterr().out
    assert not made.exists(), "nothing is written"
    for wrong in (["--serial", "0"], ["--serial", "x"], ["--expires", "30"], ["--expires", "0d"]):
        with pytest.raises(SystemExit, match="2"):
            _build(tmp_path, "-o", str(made), *wrong)
    shutil.rmtree(tmp_path / "policies")
    made.write_bytes(b"something else")
    assert _build(tmp_path, "-o", str(made)) == 2, "another file is not overwritten"
    assert made.read_bytes() == b"something else"
