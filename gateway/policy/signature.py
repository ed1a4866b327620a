"""The signature of an archive, as OPA makes and checks it: `.signatures.json` with one JWT.

Its payload names every file of the archive with its hash. What `opa sign` writes we verify, and what we
write OPA verifies (`--verification-key`); we are stricter: the key must be named and known, the algorithm
must fit the *key* (a header that says `none`, or `HS256` to make the public key a shared secret, decides
nothing), each file must be listed once, and `exp`, which OPA ignores, counts.

OPA hashes `data.json` and `.manifest` in a form without spaces and order (`bundle.IsStructuredDoc`), all
other files as they are.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from msgspec import Struct

from gateway.model.errors import Fault, PolicyError
from gateway.model.moment import SECOND
from gateway.policy.bundle import DATA, MANIFEST, SIGNATURES

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey
PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey

LEAST_RSA_BITS = 2048
"NIST SP 800-131A; TLS here refuses shorter ones too."
MOST_BYTES = 1024 * 1024
"A signature names at most 2,010 files in 200 bytes each."
SKEW_NS = 300 * SECOND
"How far the clock of who signs may be ahead of ours."
HASH = "SHA-256"

_MEND = "sign it with dmz-gateway policy build --signing-key, or opa sign"


class Key(Struct, frozen=True):
    """A public key, and which algorithms it may verify: its kind decides, never a token."""

    id: str
    public: PublicKey
    algorithms: tuple[str, ...]


class Signed(Struct, frozen=True):
    """Whose signature holds."""

    key_id: str
    issued_ns: int | None
    "`iat`, where the signature says it."


def public_keys(paths: tuple[Path, ...]) -> dict[str, Key]:
    """Key id (the file's name without its ending) -> key. Raises PolicyError."""
    keys: dict[str, Key] = {}
    for path in paths:
        if path.stem in keys:
            raise _fault(str(path), f"a second key called {path.stem}", "the file's name is the key id")
        try:
            public = load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise _fault(
                str(path), f"cannot be read: {error.strerror}", "check policy.signing.keys"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            mend = "openssl pkey -in KEY -pubout writes it"
            raise _fault(str(path), "is no public key in PEM", mend) from None
        keys[path.stem] = Key(path.stem, *_usable(public, str(path)))
    return keys


def private_key(pem: bytes, name: str) -> PrivateKey:
    """The key that signs, PKCS #8 or as openssl writes it; `name` is what faults call it."""
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _fault(name, "is no private key in PEM, or is encrypted", "store it decrypted, 0600") from None
    if not isinstance(private, PrivateKey):
        raise _fault(name, "is of a kind that signs no bundles", "use ECDSA P-256 or P-384, RSA or Ed25519")
    _usable(private.public_key(), name)
    return private


def sign(members: Mapping[str, bytes], key: PrivateKey, key_id: str, *, scope: str, iat_s: int) -> bytes:
    """`.signatures.json` over every member. `iat_s` is now, in whole seconds."""
    payload: dict[str, Any] = {
        "files": [
            {"name": name, "hash": digest(name, members[name]), "algorithm": HASH}
            for name in sorted(members)
            if name != SIGNATURES
        ],
        "iat": iat_s,
        "keyid": key_id,
    }
    if scope:
        payload["scope"] = scope
    raw = json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()
    _, algorithms = _usable(key.public_key(), key_id)
    token = jwt.PyJWS().encode(raw, key, algorithms[0], headers={"kid": key_id})
    return json.dumps({"signatures": [token]}).encode()


def verify(members: Mapping[str, bytes], keys: Mapping[str, Key], *, scope: str, judge_ns: int) -> Signed:
    """Whose signature over exactly these members holds at that time. Raises PolicyError."""
    payload, key = _token(members, keys)
    if payload.get("scope", "") != scope:
        raise _refused(f"is signed for the scope {payload.get('scope', '')!r}, not {scope!r}")
    if "exp" in payload and not judge_ns < _seconds(payload, "exp"):
        raise _refused("the signature has expired", "sign it again")
    if "nbf" in payload and judge_ns + SKEW_NS < _seconds(payload, "nbf"):
        raise _refused("the signature does not hold yet")
    listed = _listed(payload)
    unlisted = sorted(members.keys() - listed.keys() - {SIGNATURES})
    missing = sorted(listed.keys() - members.keys())
    if unlisted or missing:
        named = ", ".join((unlisted or missing)[:3])
        raise _refused(f"has no signature for {named}" if unlisted else f"lacks {named}, which is signed")
    for name, stated in listed.items():
        if digest(name, members[name]) != stated:
            raise _refused(f"{name} is not what was signed")
    return Signed(key.id, _seconds(payload, "iat") if "iat" in payload else None)


def digest(name: str, content: bytes) -> str:
    """The hash of a file as OPA takes it, lower-case hex. Raises PolicyError for JSON that is none."""
    if name not in (DATA, MANIFEST):
        return sha256(content).hexdigest()
    try:
        value = json.loads(
            content.decode(), object_pairs_hook=_once, parse_float=_no_float, parse_constant=_no_float
        )
        return sha256(_canonical(value).encode()).hexdigest()
    except (ValueError, RecursionError) as error:
        raise _refused(f"{name} cannot be hashed: {error}") from None


def _token(members: Mapping[str, bytes], keys: Mapping[str, Key]) -> tuple[dict[str, Any], Key]:
    """Payload and key of the one JWT, once its signature holds."""
    try:
        content = members[SIGNATURES]
    except KeyError:
        raise _refused("is not signed") from None
    stated = _json(content)
    tokens = stated.get("signatures")
    if len(content) > MOST_BYTES or stated.keys() != {"signatures"}:
        raise _refused("holds something else than a signature")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        raise _refused("does not hold exactly one signature")
    parts = jwt.PyJWS()
    try:
        unsure = parts.decode_complete(tokens[0], options={"verify_signature": False})
        key = _key(unsure["header"], _json(unsure["payload"]), keys)
        sure = parts.decode_complete(tokens[0], key.public, list(key.algorithms))
    except (jwt.InvalidTokenError, NotImplementedError) as error:
        raise _refused(f"the signature does not hold: {error}") from None
    return _json(sure["payload"]), key


def _key(header: dict[str, Any], payload: dict[str, Any], keys: Mapping[str, Key]) -> Key:
    """The key that is named: `kid` in the header, or as `opa sign` with claims writes it, `keyid` below."""
    if header.keys() - {"alg", "kid", "typ"}:
        raise _refused("the signature's header says what we do not know")
    first, second = header.get("kid", ""), payload.get("keyid", "")
    if not isinstance(first, str) or not isinstance(second, str) or not (first or second):
        raise _refused("names no key")
    if first and second and first != second:
        raise _refused("names two keys")
    name = first or second
    if name not in keys:
        raise _refused(f"is signed with the key {name!r}, which is none of {sorted(keys)}")
    return keys[name]


def _listed(payload: dict[str, Any]) -> dict[str, str]:
    """File -> hash as the payload says it."""
    files = payload.get("files")
    listed: dict[str, str] = {}
    for file in files if isinstance(files, list) else ():
        if not isinstance(file, dict) or file.get("algorithm") != HASH:
            raise _refused(f"states a file without {HASH}")
        name, stated = file.get("name"), file.get("hash")
        if not isinstance(name, str) or not isinstance(stated, str) or name in listed:
            raise _refused("states a file twice, or not at all")
        listed[name] = stated
    return listed


def _usable(public: Any, name: str) -> tuple[PublicKey, tuple[str, ...]]:
    """The key, and what it may verify; we sign with the first (for RSA the one that OPA expects unasked)."""
    match public:
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return public, ("ES256",)
        case EllipticCurvePublicKey(curve=SECP384R1()):
            return public, ("ES384",)
        case RSAPublicKey() if public.key_size >= LEAST_RSA_BITS:
            return public, ("RS256", "PS256")
        case Ed25519PublicKey():
            return public, ("EdDSA",)
        case _:
            mend = f"use ECDSA P-256 or P-384, RSA of at least {LEAST_RSA_BITS} bits or Ed25519"
            raise _fault(name, "is a key that signs no bundles", mend)


def _canonical(value: Any) -> str:
    """JSON as OPA hashes it (`bundle/hash.go`): keys in order, no spaces, strings as Go encodes them."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _refused("holds something that is not JSON") from None
    if not isinstance(value, dict):
        raise _refused("holds something that is no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_float(text: str) -> Any:
    raise ValueError(f"{text} is no integer")


def _seconds(payload: dict[str, Any], name: str) -> int:
    """A time of the payload, in ns."""
    value = payload[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused(f"states {name} that is no whole second")
    return value * SECOND


def _refused(what: str, mend: str = _MEND) -> PolicyError:
    return _fault(SIGNATURES, what, mend)


def _fault(where: str, what: str, mend: str) -> PolicyError:
    return PolicyError([Fault(where, what, mend)])
