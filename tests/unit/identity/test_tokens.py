"""Tokens of an identity provider: what PyJWT is lenient about, and the binding to the certificate."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec import Struct

from gateway.identity import tokens
from gateway.identity.certificate import Refused
from gateway.identity.tokens import LEEWAY_S, MOST_JWKS, MOST_KEYS, MOST_LIFE_S, MOST_TOKEN, Token
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND, Now

ISSUER, AUDIENCE = "https://login.example", "urn:plant.example:gw"
CERTIFICATE = b"the certificate of this channel"
NOW_S = 1_800_000_000
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 # to be refused
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


class Provider(Struct):
    keys: Path
    issuer: str = ISSUER
    audience: str = AUDIENCE


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    kinds = {
        rsa.RSAPrivateKey: "RS256",
        ec.EllipticCurvePrivateKey: "ES256",
        ed25519.Ed25519PrivateKey: "EdDSA",
    }
    algorithm = jwt.get_algorithm_by_name(next(name for kind, name in kinds.items() if isinstance(key, kind)))
    return {**json.loads(algorithm.to_jwk(key.public_key())), **more}


def thumbprint(certificate: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a token that counts; None takes one away."""
    right = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": NOW_S - 60,
        "exp": NOW_S + 240,
        "jti": "1",
        "cnf": {"x5t#S256": thumbprint(CERTIFICATE)},
    }
    return {name: value for name, value in {**right, **changes}.items() if value is not None}


def made(said: dict[str, Any], key: Any = EC, algorithm: str = "ES256", **header: Any) -> str:
    return jwt.encode(said, key, algorithm, headers={"typ": "at+jwt", "kid": "k", **header})


def raw(header: str, said: str, key: Any = EC) -> str:
    """A token of these very texts."""
    parts = [base64.urlsafe_b64encode(each.encode()).rstrip(b"=") for each in (header, said)]
    signing = b".".join(parts)
    signature = jwt.get_algorithm_by_name("ES256").sign(signing, key)
    return b".".join((signing, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(EC, kid="k"), jwk(RSA, kid="r"), jwk(ED, kid="e")]}))
    return Provider(file)


def ask(provider: Provider, token: str, at_s: float = NOW_S, certificate: bytes = CERTIFICATE) -> str:
    ns = int(at_s * SECOND)
    # The machine's clock is not asked: only the moment to judge by.
    answer = tokens.verify(token, certificate, provider, tokens.read(provider.keys), Now(0, 0, True, ns))
    return answer.subject if isinstance(answer, Token) else answer.code


def test_a_token_that_counts_names_issuer_and_subject(provider: Provider) -> None:
    for key, algorithm, kid in ((EC, "ES256", "k"), (RSA, "RS256", "r"), (ED, "EdDSA", "e")):
        assert ask(provider, made(claims(), key, algorithm, kid=kid)) == "token:https://login.example#alice"
    assert ask(provider, made(claims(nbf=NOW_S), typ="application/at+JWT")).startswith("token:")


def test_other_algorithms_and_none(provider: Provider) -> None:
    public = provider.keys.read_bytes()
    unsigned = jwt.encode(claims(), "", "none", headers={"typ": "at+jwt", "kid": "k"})
    assert ask(provider, unsigned) == "token_malformed", "it has no signature"
    assert ask(provider, unsigned + "AAAA") == "token_algorithm"
    signing = raw('{"alg":"HS256","typ":"at+jwt","kid":"k"}', json.dumps(claims())).rpartition(".")[0]
    mac = base64.urlsafe_b64encode(hmac.digest(public, signing.encode(), "sha256")).rstrip(b"=").decode()
    assert ask(provider, f"{signing}.{mac}") == "token_algorithm", "a public key is no shared secret"
    assert ask(provider, made(claims(), RSA, "PS256", kid="r")) == "token_algorithm", (
        "RS256 is what this key does"
    )
    assert ask(provider, made(claims(), RSA, "RS256", kid="k")) == "token_algorithm"
    assert ask(provider, made(claims(), ec.generate_private_key(ec.SECP256R1()))) == "token_signature"
    right = made(claims())
    head, body, signature = right.split(".")
    other = made(claims(sub="root")).split(".")[1]
    assert ask(provider, f"{head}.{other}.{signature}") == "token_signature"
    assert ask(provider, f"{head}.{body}.{signature[:-8]}") == "token_signature"


def test_keys_come_from_the_file_alone(provider: Provider) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    for header in ({"jwk": jwk(own)}, {"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example"}):
        assert ask(provider, made(claims(), own, **header)) == "token_signature"
    assert ask(provider, made(claims(), kid="another")) == "token_key"
    assert ask(provider, made(claims(), kid="r")) == "token_algorithm"
    assert ask(provider, jwt.encode(claims(), EC, "ES256", headers={"typ": "at+jwt"})) == "token_key"
    provider.keys.write_text(json.dumps({"keys": [jwk(EC)]}))
    assert ask(provider, jwt.encode(claims(), EC, "ES256", headers={"typ": "at+jwt"})).startswith("token:")
    assert ask(provider, made(claims())).startswith("token:"), "the only key has no name"


def test_only_access_tokens(provider: Provider) -> None:
    for typ in ("JWT", "", None, "at+jwt2"):
        assert ask(provider, made(claims(), typ=typ)) in ("token_type", "token_malformed")
    assert ask(provider, made(claims(), crit=["x"], x=1)) == "token_malformed"


@pytest.mark.parametrize("name", ["exp", "iat", "iss", "aud", "sub", "jti"])
def test_missing_claims(provider: Provider, name: str) -> None:
    assert ask(provider, made(claims(**{name: None}))) == "token_claims"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": "urn:other"}, "token_audience"),
        ({"aud": [AUDIENCE, "urn:other"]}, "token_audience"),
        ({"aud": [AUDIENCE]}, "token_audience"),
        ({"iss": "https://evil.example"}, "token_issuer"),
        ({"iss": ISSUER + "/"}, "token_issuer"),
        ({"sub": ""}, "token_claims"),
        ({"sub": "a b"}, "token_claims"),
        ({"sub": "x" * 256}, "token_claims"),
        ({"sub": ["alice"]}, "token_claims"),
        ({"jti": 7}, "token_claims"),
        ({"exp": str(NOW_S + 240)}, "token_claims"),
        ({"exp": NOW_S + 240.0}, "token_claims"),
        ({"exp": True}, "token_claims"),
        ({"exp": 2**60}, "token_claims"),
        ({"iat": -1}, "token_claims"),
        ({"nbf": "soon"}, "token_claims"),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "token_not_yet_valid"),
        ({"iat": NOW_S + LEEWAY_S + 1}, "token_not_yet_valid"),
        ({"exp": NOW_S - 60 + MOST_LIFE_S + 1}, "token_life"),
        ({"iat": NOW_S + 20, "exp": NOW_S + 20}, "token_life"),
        ({"exp": NOW_S - 60 + MOST_LIFE_S}, "in"),
    ],
    ids=str,
)
def test_claims_that_do_not_count(provider: Provider, changes: dict[str, Any], expected: str) -> None:
    answer = ask(provider, made(claims(**changes)))
    assert answer == expected or (expected == "in" and answer.startswith("token:"))


def test_expired_by_the_moment_that_is_given(provider: Provider) -> None:
    token = made(claims())
    assert ask(provider, token, NOW_S + 240 + LEEWAY_S - 1).startswith("token:")
    assert ask(provider, token, NOW_S + 240 + LEEWAY_S) == "token_expired"
    assert ask(provider, token, NOW_S - 60 - LEEWAY_S - 1) == "token_not_yet_valid"


def test_bound_to_another_and_bound_to_nothing_are_refused_alike(provider: Provider) -> None:
    bindings: list[Any] = [
        {"x5t#S256": thumbprint(b"another certificate")},
        {"x5t#S256": ""},
        {"x5t#S256": "é"},
        {"x5t#S256": 7},
        {"jkt": thumbprint(CERTIFICATE)},
        {},
        "x5t#S256",
        None,
    ]
    told = set()
    for binding in bindings:
        answer = tokens.verify(
            made(claims(cnf=binding)),
            CERTIFICATE,
            provider,
            tokens.read(provider.keys),
            Now(0, 0, True, NOW_S * SECOND),
        )
        assert isinstance(answer, Refused)
        told.add((answer.code, answer.message))
    assert len(told) == 1
    assert told.pop()[0] == "token_binding"
    assert ask(provider, made(claims()), certificate=b"another certificate") == "token_binding"


def test_oversized_ones_are_not_read(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    long = made(claims(more="x" * MOST_TOKEN))
    assert len(long) > MOST_TOKEN
    monkeypatch.setattr(tokens, "_object", lambda _: pytest.fail("it was read"))
    assert ask(provider, long) == "token_too_long"
    assert ask(provider, "x" * (MOST_TOKEN + 1)) == "token_too_long"


def test_names_that_stand_there_twice(provider: Provider) -> None:
    header, said = '{"alg":"ES256","typ":"at+jwt","kid":"k"}', json.dumps(claims())
    assert ask(provider, raw(header, said)).startswith("token:"), "or the others would show nothing"
    for twice in (
        (header, said[:-1] + ',"sub":"root"}'),
        (header, said[:-1] + ',"aud":"urn:other"}'),
        (header, said.replace('"cnf": {', '"cnf": {"x5t#S256": "x", ')),
        (header[:-1] + ',"alg":"none"}', said),
        (header[:-1] + ',"kid":"r"}', said),
    ):
        assert ask(provider, raw(*twice)) == "token_malformed"


def test_what_is_no_token(provider: Provider) -> None:
    header = '{"alg":"ES256","typ":"at+jwt","kid":"k"}'
    whole = made(claims())
    odd = [
        "",
        ".",
        "..",
        "a.b.c",
        whole + "\n",
        whole + ".x",
        whole.replace(".", " ."),
        "é" + whole,
        raw(header, "[]"),
        raw(header, "7"),
        raw(header, '{"exp": NaN}'),
        raw(header, "[" * 3000),
        raw(header, '{"exp": 1' + "0" * 5000 + "}"),
        raw("null", json.dumps(claims())),
    ]
    assert {ask(provider, each) for each in odd} == {"token_malformed"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not a JSON Web Key Set"),
        ("{}", "not a JSON Web Key Set"),
        ("[" * 5000, "not a JSON Web Key Set"),
        ('{"keys": []}', "not 1 to"),
        ('{"keys": [7]}', "no key to verify"),
        (json.dumps({"keys": [jwk(EC, use="enc")]}), "no key to verify"),
        (json.dumps({"keys": [jwk(EC, d="AAAA")]}), "private or shared"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}), "private or shared"),
        (json.dumps({"keys": [jwk(EC), jwk(RSA)]}), "several keys need"),
        (json.dumps({"keys": [jwk(EC, kid="a"), jwk(RSA, kid="a")]}), "several keys need"),
        (json.dumps({"keys": [jwk(EC, alg="RS256")]}), "is not used here"),
        (json.dumps({"keys": [jwk(EC, crv="secp256k1")]}), "is not used here"),
        (json.dumps({"keys": [jwk(RSA, alg="RS512")]}), "is not used here"),
        (json.dumps({"keys": [jwk(SHORT)]}), "fewer than 2048 bits"),
        (json.dumps({"keys": [jwk(EC, x="AAAA")]}), "cannot be read"),
        (json.dumps({"keys": [jwk(EC, kid=str(n)) for n in range(MOST_KEYS + 1)]}), "not 1 to"),
        (" " * (MOST_JWKS + 1), "longer than"),
    ],
)
def test_key_files_that_are_not_used(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(content)
    with pytest.raises(IdentityError, match=why):
        tokens.read(file)
