"""Tokens of an identity provider: JWT after RFC 9068, bound to the client's certificate by RFC 8705.

PyJWT verifies signatures. Everything that it is lenient about is settled here, before or after: size, a
header that a key of the file fits, duplicate names, types of times, life, issuer, audience, the binding. A
token of another certificate and one that is bound to none are refused alike: both may be stolen.

Keys come from a JWKS file alone. What a token says about keys (`jku`, `x5u`, `jwk`, `x5c`) is not looked at.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError
from msgspec import Struct

from gateway.identity import keyfile
from gateway.identity.certificate import Refused
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND, Now

MOST_TOKEN = 8_192
"The longest token that is looked at."
MOST_JWKS, MOST_KEYS = 65_536, 16
"Bytes and keys of a JWKS file."
MOST_LIFE_S = 900
"The longest that a token may count, from `iat` to `exp`."
LEEWAY_S = 30
"How far the provider's clock may be from ours."
REQUIRED = ("exp", "iat", "iss", "aud", "sub", "jti")
TYPES = frozenset({"at+jwt", "application/at+jwt"})
"RFC 9068 §2.1; an ID token or any other JWT of the same issuer is no access token."
LEAST_RSA = 2048

_ALGORITHMS = {
    "RSA": ("RS256", "PS256"),
    "EC:P-256": ("ES256",),
    "EC:P-384": ("ES384",),
    "EC:P-521": ("ES512",),
    "OKP:Ed25519": ("EdDSA",),
}
"What a key may sign with; the first where it does not say."
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[!-~]{1,255}")


class Issuer(Protocol):
    """What is configured about an identity provider (`config.settings.UserTokens`)."""

    @property
    def issuer(self) -> str: ...
    @property
    def audience(self) -> str: ...
    @property
    def keys(self) -> Path: ...


class Key(Struct, frozen=True):
    """One public key of the issuer."""

    kid: str | None
    algorithm: str
    key: PyJWK
    thumbprint: bytes
    "SHA-256 of how it stands in the file: whether it is still there is whether this is."


class Token(Struct, frozen=True):
    """A token that counts."""

    subject: str
    "`token:ISS#SUB`; an issuer has no fragment (RFC 8414 §2), so the first # divides."
    expires_ns: int
    thumbprint: bytes
    "Of the key that signed it."


class _NoToken(Exception):  # noqa: N818 # carries a Refused out of the checks below; never leaves this file
    def __init__(self, code: str, message: str) -> None:
        self.refused = Refused(code, message)


def read(path: Path) -> tuple[Key, ...]:
    """The keys of a JWKS file (RFC 7517 §5); IdentityError where it is not usable."""
    data = keyfile.read_public(path)
    if len(data) > MOST_JWKS:
        raise IdentityError(f"{path} is longer than {MOST_JWKS} bytes")
    try:
        found = _json(data)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IdentityError(f"{path}: not a JSON Web Key Set") from None
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_KEYS:
        raise IdentityError(f"{path}: not 1 to {MOST_KEYS} keys")
    keys = [_key(each, path) for each in found if isinstance(each, dict) and each.get("use", "sig") == "sig"]
    if not keys:
        raise IdentityError(f"{path}: no key to verify signatures with")
    kids = [key.kid for key in keys]
    if len(set(kids)) != len(kids) or (None in kids and len(kids) > 1):
        raise IdentityError(f"{path}: several keys need several `kid`")
    return tuple(keys)


def verify(
    token: str, certificate: bytes, issuer: Issuer, keys: tuple[Key, ...], now: Now
) -> Token | Refused:
    """Whom a token names that came over the channel of that certificate (DER), or why it does not count."""
    try:
        key, claims = _signed(token, keys)
        _times(claims, now)
        subject = _claims(claims, issuer)
        _bound(claims, certificate)
    except _NoToken as no:
        return no.refused
    until_ns = (claims["exp"] + LEEWAY_S) * SECOND
    return Token(f"token:{issuer.issuer}#{subject}", until_ns, key.thumbprint)


def _signed(token: str, keys: tuple[Key, ...]) -> tuple[Key, dict[str, Any]]:
    """The key that signed the token, and what it says."""
    if len(token) > MOST_TOKEN:
        raise _NoToken("token_too_long", f"the token is longer than {MOST_TOKEN} bytes")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise _NoToken("token_malformed", "not a signed JWT in compact form")
    header, claims = _object(parts[1]), _object(parts[2])
    if "crit" in header:
        raise _NoToken("token_malformed", "the header has critical parts (RFC 7515 §4.1.11)")
    if str(header.get("typ")).lower() not in TYPES:
        raise _NoToken("token_type", "not an access token: typ is not at+jwt (RFC 9068 §2.1)")
    kid = header.get("kid")
    alone = len(keys) == 1 and (kid is None or keys[0].kid is None)
    key = keys[0] if alone else next((each for each in keys if each.kid == kid), None)
    if key is None:
        raise _NoToken("token_key", "signed by no key of the issuer's file")
    if header.get("alg") != key.algorithm:
        raise _NoToken("token_algorithm", f"the algorithm is not the key's, {key.algorithm}")
    try:
        PyJWS().decode(token, key=key.key, algorithms=[key.algorithm])
    except (PyJWTError, ValueError, TypeError):
        raise _NoToken("token_signature", "the signature is not the issuer's") from None
    return key, claims


def _times(claims: dict[str, Any], now: Now) -> None:
    for name in ("exp", "iat", "nbf"):
        if name in claims and (type(claims[name]) is not int or not 0 < claims[name] < 2**40):
            raise _NoToken("token_claims", f"{name} is not a whole number of seconds since 1970")
    missing = [name for name in REQUIRED if name not in claims]
    if missing:
        raise _NoToken("token_claims", f"the token does not say {', '.join(missing)}")
    now_s = now.judge_ns // SECOND
    if now_s >= claims["exp"] + LEEWAY_S:
        raise _NoToken("token_expired", "the token has expired")
    if max(claims["iat"], claims.get("nbf", 0)) > now_s + LEEWAY_S:
        raise _NoToken("token_not_yet_valid", "the token does not count yet")
    if not 0 < claims["exp"] - claims["iat"] <= MOST_LIFE_S:
        raise _NoToken("token_life", f"the token counts for longer than {MOST_LIFE_S} s")


def _claims(claims: dict[str, Any], issuer: Issuer) -> str:
    if claims["iss"] != issuer.issuer:
        raise _NoToken("token_issuer", "the token is of another issuer")
    if claims["aud"] != issuer.audience:
        raise _NoToken("token_audience", "the token is for somebody else, or for others too")
    if not isinstance(claims["jti"], str) or not claims["jti"]:
        raise _NoToken("token_claims", "jti is not a text")
    subject = claims["sub"]
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise _NoToken("token_claims", "sub is not 1 to 255 visible ASCII characters")
    return subject


def _bound(claims: dict[str, Any], certificate: bytes) -> None:
    """RFC 8705 §3.1."""
    confirmation = claims.get("cnf")
    said = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    said = said if isinstance(said, str) and said.isascii() else ""
    digest = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()
    if not hmac.compare_digest(said, digest):
        raise _NoToken(
            "token_binding", "the token is not bound to the certificate of this channel (RFC 8705)"
        )


def _key(row: dict[str, Any], path: Path) -> Key:
    if "d" in row or row.get("kty") == "oct":
        raise IdentityError(f"{path}: holds a private or shared key; only public keys belong there")
    kind = str(row.get("kty")) + (f":{row['crv']}" if isinstance(row.get("crv"), str) else "")
    fits = _ALGORITHMS.get(kind, ())
    kid = row.get("kid")
    algorithm = row.get("alg", fits[0] if fits else None)
    if algorithm not in fits or not (kid is None or isinstance(kid, str)):
        raise IdentityError(f"{path}: a key of kind {kind} for {algorithm} is not used here")
    try:
        key = PyJWK(row, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        raise IdentityError(f"{path}: the key {kid!r} cannot be read") from None
    if isinstance(key.key, rsa.RSAPublicKey) and key.key.key_size < LEAST_RSA:
        raise IdentityError(f"{path}: the key {kid!r} has fewer than {LEAST_RSA} bits")
    return Key(kid, algorithm, key, hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest())


def _object(part: str) -> dict[str, Any]:
    try:
        found = _json(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _NoToken(
            "token_malformed", "a part of the token is not JSON, or names something twice"
        ) from None
    if not isinstance(found, dict):
        raise _NoToken("token_malformed", "a part of the token is no object")
    return found


def _json(data: bytes) -> Any:
    return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two equal names the last would count here and the first elsewhere."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
