"""A signature holds for exactly the files it lists, by a key that is known, by an algorithm of that key."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.model.errors import PolicyError
from gateway.model.moment import SECOND
from gateway.policy import signature
from gateway.policy.bundle import DATA, MANIFEST, SIGNATURES
from gateway.policy.signature import Key, digest, private_key, public_keys, sign, verify
from tests.unit.policy.archives import NOW, SCOPE, WALL_S, Signer, payload, released, with_token

Members = dict[str, bytes]

KINDS = {
    "ES256": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ES384": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "RS256": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "EdDSA": ["genpkey", "-algorithm", "ED25519"],
}
"Algorithm that we sign with -> how openssl makes a key for it."
NO_KINDS = {
    "P-521": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "secp256k1": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
    "short RSA": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
    "X25519": ["genpkey", "-algorithm", "X25519"],
    "Ed448": ["genpkey", "-algorithm", "ED448"],
}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Another key under the same name."""
    return Signer(tmp_path_factory.mktemp("other"))


def keys(*signers: Signer) -> dict[str, Key]:
    return public_keys(tuple(signer.public for signer in signers))


def openssl(folder: Path, how: list[str]) -> tuple[Path, Path]:
    key, public = folder / "k.key", folder / "k.pem"
    subprocess.run(["openssl", *how, "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    return key, public


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("algorithm", KINDS)
def test_keys_that_openssl_makes_sign_and_verify(tmp_path: Path, algorithm: str) -> None:
    key, public = openssl(tmp_path, KINDS[algorithm])
    found = public_keys((public,))
    assert found["k"].algorithms[0] == algorithm
    members = released().members()
    made = sign(members, private_key(key.read_bytes(), "k.key"), "k", scope=SCOPE, iat_s=WALL_S)
    signed = verify({**members, SIGNATURES: made}, found, scope=SCOPE, judge_ns=NOW.judge_ns)
    assert (signed.key_id, signed.issued_ns) == ("k", WALL_S * SECOND)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("kind", NO_KINDS)
def test_other_kinds_of_keys_are_refused(tmp_path: Path, kind: str) -> None:
    key, public = openssl(tmp_path, NO_KINDS[kind])
    with pytest.raises(PolicyError, match="signs no bundles"):
        public_keys((public,))
    with pytest.raises(PolicyError, match="signs no bundles"):
        private_key(key.read_bytes(), "k.key")


@pytest.mark.needs("openssl")
def test_an_rsa_signature_may_be_pss(tmp_path: Path) -> None:
    key, public = openssl(tmp_path, KINDS["RS256"])
    members = released().members()
    text = json.dumps(payload(members)).encode()
    for algorithm, holds in {"PS256": True, "RS256": True, "PS512": False, "RS384": False}.items():
        token = jwt.PyJWS().encode(text, key.read_bytes(), algorithm, {"kid": "k"})
        signed = with_token(members, token)
        if holds:
            verify(signed, public_keys((public,)), scope=SCOPE, judge_ns=NOW.judge_ns)
        else:
            with pytest.raises(PolicyError, match="alg value is not allowed"):
                verify(signed, public_keys((public,)), scope=SCOPE, judge_ns=NOW.judge_ns)


def good(signer: Signer) -> Members:
    return signer.signed(released())


def test_a_good_signature_holds(signer: Signer) -> None:
    assert verify(good(signer), keys(signer), scope=SCOPE, judge_ns=NOW.judge_ns).key_id == "release"


def test_a_key_is_named_in_the_header_or_as_opa_sign_does(signer: Signer) -> None:
    members = released().members()
    said = payload(members, keyid="release")
    for header in ({"kid": ""}, {"kid": "release"}):
        verify(
            with_token(members, signer.token(said, **header)),
            keys(signer),
            scope=SCOPE,
            judge_ns=NOW.judge_ns,
        )


Spoil = Callable[[Signer, Signer, Members], Members]


def _token(
    signer: Signer, members: Members, change: Callable[[dict[str, Any]], Any], **header: Any
) -> Members:
    said = payload(members)
    change(said)
    return with_token(members, signer.token(said, **header))


def _files(change: Callable[[list[dict[str, Any]]], Any]) -> Spoil:
    return lambda s, _o, m: _token(s, m, lambda said: change(said["files"]))


def _claim(**claims: Any) -> Spoil:
    return lambda s, _o, m: _token(s, m, lambda said: said.update(claims))


def _without(members: Members, name: str) -> Members:
    return {key: value for key, value in members.items() if key != name}


SPOILT: dict[str, tuple[Spoil, str]] = {
    "unsigned": (lambda _s, _o, m: _without(m, SIGNATURES), "is not signed"),
    "another key of that name": (lambda _s, o, _m: o.signed(released()), "does not hold"),
    "another key id": (lambda s, _o, m: _token(s, m, lambda _: 0, kid="test"), "the key 'test'"),
    "no key id": (lambda s, _o, m: _token(s, m, lambda _: 0, kid=""), "names no key"),
    "two key ids": (lambda s, _o, m: _token(s, m, lambda said: said.update(keyid="b")), "two keys"),
    "key id that is an object": (
        lambda s, _o, m: _token(s, m, lambda said: said.update(keyid={}), kid=""),
        "names no key",
    ),
    "key id that is none": (lambda s, _o, m: _token(s, m, lambda _: 0, kid=7), "does not hold"),
    "scope": (_claim(scope="other"), "scope 'other'"),
    "no scope": (lambda s, _o, m: _token(s, m, lambda said: said.pop("scope")), "scope ''"),
    "expired": (_claim(exp=WALL_S), "expired"),
    "exp that is no number": (_claim(exp="never"), "whole second"),
    "not yet": (_claim(nbf=WALL_S + 301), "not hold yet"),
    "tampered file": (lambda _s, _o, m: {**m, "data/grants.yaml": b"grants: []\n"}, "not what was signed"),
    "tampered data": (lambda _s, _o, m: {**m, DATA: b'{"grants":[]}'}, "data.json is not what"),
    "tampered manifest": (lambda _s, _o, m: {**m, MANIFEST: b'{"roots":[""]}'}, "manifest is not what"),
    "extra file": (lambda _s, _o, m: {**m, "core/extra.rego": b""}, "no signature for core/extra.rego"),
    "missing file": (lambda _s, _o, m: _without(m, "data/grants.yaml"), "lacks data/grants.yaml"),
    "renamed file": (
        lambda _s, _o, m: {**_without(m, "data/grants.yaml"), "data/x.yaml": m["data/grants.yaml"]},
        "no signature for data/x.yaml",
    ),
    "no files": (lambda s, _o, m: _token(s, m, lambda said: said.pop("files")), "no signature for"),
    "files that are none": (_claim(files="all"), "no signature for"),
    "a file twice": (_files(lambda files: files.append(files[0])), "twice"),
    "a hash by MD5": (_files(lambda files: files[0].update(algorithm="MD5")), "without SHA-256"),
    "a hash by nothing": (_files(lambda files: files[0].pop("algorithm")), "without SHA-256"),
    "a hash that is none": (_files(lambda files: files[0].update(hash=None)), "twice, or not at all"),
    "an empty hash": (_files(lambda files: files[0].update(hash="")), "not what was signed"),
    "none": (lambda s, _o, m: with_token(m, s.unsigned(payload(m))), "alg value is not allowed"),
    "HS256, the public key its secret": (
        lambda s, _o, m: with_token(m, s.shared_secret(payload(m))),
        "alg value is not allowed",
    ),
    "header says ES384": (lambda s, _o, m: _token(s, m, lambda _: 0, alg="ES384"), "not allowed"),
    "header says RS256": (lambda s, _o, m: _token(s, m, lambda _: 0, alg="RS256"), "not allowed"),
    "header says a list": (lambda s, _o, m: _token(s, m, lambda _: 0, alg=["ES256"]), "does not hold"),
    "detached": (lambda s, _o, m: _token(s, m, lambda _: 0, b64=False, crit=["b64"]), "does not hold"),
    "key in the header": (lambda s, _o, m: _token(s, m, lambda _: 0, jwk={}), "what we do not know"),
    "critical": (lambda s, _o, m: _token(s, m, lambda _: 0, crit=["x"]), "does not hold|do not know"),
    "two signatures": (
        lambda s, _o, m: with_token(m, s.token(payload(m)), s.token(payload(m))),
        "exactly one",
    ),
    "no signatures": (lambda _s, _o, m: with_token(m), "exactly one"),
    "a plugin": (lambda s, _o, m: with_token(m, s.token(payload(m)), plugin="x"), "something else"),
    "no JSON": (lambda _s, _o, m: {**m, SIGNATURES: b"{"}, "not JSON"),
    "no object": (lambda _s, _o, m: {**m, SIGNATURES: b"[]"}, "no JSON object"),
    "key twice": (lambda _s, _o, m: {**m, SIGNATURES: b'{"signatures":[],"signatures":[]}'}, "not JSON"),
    "no token": (lambda _s, _o, m: with_token(m, "x"), "does not hold"),
    "payload cut": (
        lambda s, _o, m: with_token(m, s.token(payload(m)).replace(".", "..", 1)),
        "does not hold|not JSON",
    ),
    "other payload": (
        lambda s, _o, m: with_token(m, ".".join(_swapped(s.token(payload(m)), s.token(payload({}))))),
        "does not hold",
    ),
}


def _swapped(first: str, second: str) -> list[str]:
    head, _, made = first.split(".")
    return [head, second.split(".")[1], made]


@pytest.mark.parametrize("what", SPOILT)
def test_a_signature_that_does_not_hold(signer: Signer, other: Signer, what: str) -> None:
    spoil, why = SPOILT[what]
    with pytest.raises(PolicyError, match=why):
        verify(spoil(signer, other, good(signer)), keys(signer), scope=SCOPE, judge_ns=NOW.judge_ns)


def test_without_any_key_nothing_holds(signer: Signer) -> None:
    with pytest.raises(PolicyError, match="none of"):
        verify(good(signer), {}, scope=SCOPE, judge_ns=NOW.judge_ns)


def test_times_of_a_signature(signer: Signer) -> None:
    members = released().members()
    said = payload(members, exp=WALL_S + 1, nbf=WALL_S + 300, iat=WALL_S)
    verify(with_token(members, signer.token(said)), keys(signer), scope=SCOPE, judge_ns=NOW.judge_ns)


def test_every_byte_of_a_token_counts(signer: Signer) -> None:
    members = good(signer)
    (token,) = json.loads(members[SIGNATURES])["signatures"]
    for place in range(0, len(token), max(1, len(token) // 120)):
        wrong = "A" if token[place] != "A" else "B"
        spoilt = token[:place] + wrong + token[place + 1 :]
        with pytest.raises(PolicyError):
            verify(with_token(members, spoilt), keys(signer), scope=SCOPE, judge_ns=NOW.judge_ns)


def test_structured_files_are_hashed_without_form() -> None:
    one = digest(DATA, b'{"b":[1,true,null,"\\u2028\\u00e9<&>"],"a":{}}')
    same = '{ "a" : {},\n "b": [1, true, null, "\\u2028é\\u003c\\u0026>"] }'
    assert one == digest(DATA, same.encode())
    assert one == hashlib.sha256('{"a":{},"b":[1,true,null,"\\u2028é<&>"]}'.encode()).hexdigest()
    assert one != digest(DATA, b'{"b":[1,1,null,"\\u2028\\u00e9<&>"],"a":{}}')
    assert digest("data/data.txt", b"{ }") == hashlib.sha256(b"{ }").hexdigest()


@pytest.mark.parametrize("text", [b"", b"{", b"1.5", b"1e3", b"NaN", b'{"a":1,"a":2}', b'"\\ud800"', b"\xff"])
def test_data_that_nobody_can_hash(text: bytes) -> None:
    with pytest.raises(PolicyError, match=r"data\.json cannot be hashed"):
        digest(DATA, text)


def test_data_that_is_too_deep_to_hash() -> None:
    with pytest.raises(PolicyError, match="cannot be hashed"):
        digest(DATA, b"[" * 100_000 + b"]" * 100_000)


def test_key_files(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        public_keys((tmp_path / "none.pem",))
    with pytest.raises(PolicyError, match="no public key"):
        public_keys((signer.key,))
    with pytest.raises(PolicyError, match="second key called release"):
        public_keys((signer.public, signer.public))
    with pytest.raises(PolicyError, match="no private key"):
        private_key(signer.public.read_bytes(), "release.pem")
    with pytest.raises(PolicyError) as caught:
        private_key(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "k.key")
    assert "c2Vjcm" not in str(caught.value)


def test_a_signature_file_has_a_bound(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    members = good(signer)
    monkeypatch.setattr(signature, "MOST_BYTES", len(members[SIGNATURES]) - 1)
    with pytest.raises(PolicyError, match="something else"):
        verify(members, keys(signer), scope=SCOPE, judge_ns=NOW.judge_ns)
