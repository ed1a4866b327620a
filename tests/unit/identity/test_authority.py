"""`dmz-gateway pki`: what it makes, what it refuses, and that it overwrites nothing in silence."""

import argparse
import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.cli import pki as command
from gateway.identity import authority, keyfile, ledger
from gateway.identity.request import Request
from gateway.model.errors import IdentityError
from tests.pki import Pki


class Cli:
    """`pki` with --dir and --json filled in."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.dir, self._capsys = folder, capsys
        self._parser = argparse.ArgumentParser()
        command.add(self._parser.add_subparsers(required=True))

    def text(self, verb: str, *words: str) -> str:
        args = self._parser.parse_args(["pki", verb, "--dir", str(self.dir), *words])
        assert args.run(args) == 0
        return self._capsys.readouterr().out

    def __call__(self, verb: str, *words: str) -> Any:
        return json.loads(self.text(verb, "--json", *words))


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    made = Cli(tmp_path / "pki", capsys)
    made("init", "--trust-domain", "demo.example")
    return made


HMI = ("--profile", "modbus-client", "--zone", "plant", "--name", "hmi-1", "--role", "operator")


def test_the_life_of_a_certificate(cli: Cli) -> None:
    first = cli("issue", *HMI, "--days", "30")
    assert first["uri"] == "spiffe://demo.example/plant/hmi-1"
    old_key = Path(first["key"]).read_bytes()
    second = cli("renew", "--name", "hmi-1")
    assert (second["uri"], second["profile"], second["role"]) == (first["uri"], "modbus-client", "operator")
    assert second["serial"] != first["serial"]
    assert Path(second["key"]).read_bytes() != old_key
    states = [entry["state"] for entry in cli("list")["certificates"]]
    assert states == ["superseded", "valid"]
    revoked = cli("revoke", "--name", "hmi-1")["revoked"]
    assert [entry["serial"] for entry in revoked] == [first["serial"], second["serial"]]
    crl = x509.load_pem_x509_crl((cli.dir / "plant" / "crl.pem").read_bytes())
    assert {format(line.serial_number, "x") for line in crl} == {first["serial"], second["serial"]}
    third = cli("issue", *HMI)
    assert third["certificate"] == first["certificate"], "the name is free again once nothing of it counts"
    assert "operator" in cli.text("list")


def test_revoking_by_serial_takes_any_way_of_writing_it_and_only_that_one(cli: Cli) -> None:
    first, second = cli("issue", *HMI), cli("renew", "--name", "hmi-1")
    written = ":".join(first["serial"].zfill(40)[at : at + 2] for at in range(0, 40, 2)).upper()
    assert [entry["serial"] for entry in cli("revoke", "--serial", written)["revoked"]] == [first["serial"]]
    by_serial = {entry["serial"]: entry["state"] for entry in cli("list")["certificates"]}
    assert by_serial == {first["serial"]: "revoked", second["serial"]: "valid"}


def test_a_log_keeps_its_key_when_renewed(cli: Cli) -> None:
    issue = cli("issue", "--profile", "log-signer", "--zone", "it", "--name", "log")
    key = Path(issue["key"]).read_bytes()
    assert isinstance(load_pem_private_key(key, None), Ed25519PrivateKey)
    assert Path(cli("renew", "--name", "log")["key"]).read_bytes() == key


def test_every_list_is_signed_again_and_the_root_may_be_away(cli: Cli) -> None:
    assert [(s["authority"], s["number"]) for s in cli("crl")["crls"]] == [
        ("root", 2),
        ("plant", 2),
        ("it", 2),
    ]
    (cli.dir / "root" / "ca.key").unlink()
    assert [s["authority"] for s in cli("crl")["crls"]] == ["plant", "it"]
    cli("issue", *HMI)
    with pytest.raises(IdentityError, match=r"root/ca\.key cannot be read"):
        cli("crl", "--zone", "root")


def test_keys_are_private_from_the_first_byte(cli: Cli, tmp_path: Path) -> None:
    cli("issue", *HMI)
    cli("issue", *HMI[:5], "out", "--out", str(tmp_path / "out"))
    keys = [*cli.dir.rglob("*.key"), tmp_path / "out.key"]
    assert len(keys) == 5
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    program = (
        "import os, sys; os.umask(0); from gateway.identity.keyfile import create; from pathlib import Path; "
    )
    program += "create(Path(sys.argv[1]), b'x', 0o600); print(oct(os.stat(sys.argv[1]).st_mode & 0o777))"
    made = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "k")], capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == "0o600", "whatever the umask"


def test_the_chain_goes_down_to_the_root(cli: Cli) -> None:
    chain = x509.load_pem_x509_certificates(Path(cli("issue", *HMI)["certificate"]).read_bytes())
    assert [c.subject.rfc4514_string().split(",")[0] for c in chain] == [
        "CN=hmi-1",
        "CN=demo.example plant issuing",
        "CN=demo.example root",
    ]
    assert chain[2].subject == chain[2].issuer


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "zone": (("--profile", "person", "--zone", "dmz", "--name", "x"), "no zone 'dmz'"),
    "profile": (("--profile", "king", "--zone", "it", "--name", "x"), "no profile 'king'; there are"),
    "no-hosts": (("--profile", "gateway-server", "--zone", "it", "--name", "x"), "needs --dns or --ip"),
    "hosts": (("--profile", "person", "--zone", "it", "--name", "x", "--dns", "a.b"), "has no host names"),
    "role": (("--profile", "it-client", "--zone", "it", "--name", "x", "--role", "a"), "has no role"),
    "odd-role": ((*HMI[:-1], "a,b"), "cannot be a role"),
    "empty-role": ((*HMI[:-1], ""), "cannot be a role"),
    "long-role": ((*HMI[:-1], "r" * 65), "cannot be a role"),
    "path": (("--profile", "person", "--zone", "it", "--name", "../x"), "cannot be a name"),
    "dots": (("--profile", "person", "--zone", "it", "--name", "a..b"), "cannot be a name"),
    "long": (("--profile", "person", "--zone", "it", "--name", "x" * 65), "cannot be a name"),
    "address": (("--profile", "it-server", "--zone", "it", "--name", "x", "--ip", "1.2.3"), "no address"),
    "dns": (("--profile", "it-server", "--zone", "it", "--name", "x", "--dns", "*.a"), "no host name"),
    "days": (("--profile", "person", "--zone", "it", "--name", "x", "--days", "0"), "less than 1"),
    "uri": (("--profile", "person", "--zone", "it", "--name", "x", "--uri", "urn:x"), "--uri is for"),
    "out": (("--profile", "person", "--zone", "it", "--name", "x", "--out", "/nowhere/x"), "is no folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_told_and_leaves_nothing(cli: Cli, case: str) -> None:
    words, message = WRONG[case]
    before = sorted(path for path in cli.dir.rglob("*") if path.name != ".lock")
    with pytest.raises(IdentityError, match=message):
        cli("issue", *words)
    assert sorted(path for path in cli.dir.rglob("*") if path.name != ".lock") == before
    assert cli("list")["certificates"] == []


def test_nothing_is_overwritten(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="not empty"):
        cli("init", "--trust-domain", "other.example")
    cli("issue", *HMI)
    with pytest.raises(IdentityError, match="renew it, or revoke it first"):
        cli("issue", *HMI)
    (tmp_path / "mine.key").write_text("precious")
    with pytest.raises(IdentityError, match=r"mine\.key is there already"):
        cli("issue", "--profile", "person", "--zone", "it", "--name", "x", "--out", str(tmp_path / "mine"))
    assert (tmp_path / "mine.key").read_text() == "precious"


def test_names_that_two_zones_know_want_a_zone(cli: Cli) -> None:
    for zone in ("plant", "it"):
        cli("issue", "--profile", "person", "--zone", zone, "--name", "alice")
    with pytest.raises(IdentityError, match="in it and plant: say --zone"):
        cli("revoke", "--name", "alice")
    assert cli("revoke", "--name", "alice", "--zone", "it")["zone"] == "it"
    with pytest.raises(IdentityError, match="in no zone"):
        cli("renew", "--name", "bob")
    with pytest.raises(IdentityError, match="revoked already"):
        cli("revoke", "--name", "alice", "--zone", "it")
    with pytest.raises(IdentityError, match="was revoked"):
        cli("renew", "--name", "alice", "--zone", "it")


def test_a_leaf_does_not_outlive_its_authority(fresh_pki: Pki) -> None:
    leaf = fresh_pki.issue("person", "it", "forever", days=99_999)
    issuing = x509.load_pem_x509_certificate(fresh_pki.anchors("it").read_bytes())
    assert x509.load_der_x509_certificate(leaf.der).not_valid_after_utc == issuing.not_valid_after_utc
    with pytest.raises(IdentityError, match="has expired"):
        fresh_pki.issue("person", "it", "late", now=fresh_pki.now + timedelta(days=3651))


def test_an_open_authority_key_signs_nothing(fresh_pki: Pki) -> None:
    (fresh_pki.dir / "it" / "ca.key").chmod(0o640)
    with pytest.raises(IdentityError, match="chmod 600"):
        fresh_pki.issue("person", "it", "x")


def test_two_commands_at_once_wait_for_each_other(fresh_pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOCK_WAIT_S", 0.05)
    with ledger.locked(fresh_pki.dir / "it"):
        with pytest.raises(IdentityError, match="another pki command"):
            fresh_pki.issue("person", "it", "x")
        fresh_pki.issue("person", "plant", "x")
    fresh_pki.issue("person", "it", "x")


def test_the_index_and_the_files_are_bounded(fresh_pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_ENTRIES", 1)
    fresh_pki.issue("person", "it", "a")
    with pytest.raises(IdentityError, match="more than 1 certificates"):
        fresh_pki.issue("person", "it", "b")
    monkeypatch.setattr(keyfile, "MOST_BYTES", 10)
    with pytest.raises(IdentityError, match="longer than 10"):
        fresh_pki.trust("it")


def test_a_serial_is_in_the_index_before_its_certificate_is_in_the_world(
    fresh_pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = keyfile.replace

    def spy(path: Path, data: bytes, mode: int = 0o644) -> None:
        written.append(path.name)
        replace(path, data, mode)

    monkeypatch.setattr(keyfile, "replace", spy)
    fresh_pki.issue("person", "it", "a")
    fresh_pki.revoke("it", "a")
    assert written == ["index.json", "a.key", "a.pem", "index.json", "crl.pem"]


def test_a_folder_that_is_none_and_a_damaged_index(fresh_pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="pki init makes one"):
        authority.Authority(tmp_path, fresh_pki.authority.profiles)
    (fresh_pki.dir / "it" / "index.json").write_text("{}x")
    with pytest.raises(IdentityError, match=r"index\.json"):
        fresh_pki.issue("person", "it", "a")


def test_an_opc_ua_application_may_bring_its_own_uri(fresh_pki: Pki) -> None:
    for name, uri in (("own", "urn:vendor:server"), ("ours", None)):
        request = Request(profile="opcua-application", zone="plant", name=name, dns=("ua.local",), uri=uri)
        entry = fresh_pki.authority.issue(request, datetime.now(UTC).replace(microsecond=0))
        leaf = x509.load_pem_x509_certificate(fresh_pki.authority.certificate_file(entry).read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.UniformResourceIdentifier)
        assert found == [uri or "urn:demo.example:plant:ours"]


def test_a_log_signer_opens_no_tls_connection(fresh_pki: Pki) -> None:
    """It would be admitted by its issuer, so its usage must keep TLS from taking it (see interop)."""
    leaf = x509.load_der_x509_certificate(fresh_pki.issue("log-signer", "plant", "log").der)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [use.dotted_string for use in usage] == ["1.3.6.1.5.5.7.3.36"]
