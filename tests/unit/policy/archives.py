"""Released and signed archives for tests, and tokens that nobody honest would sign."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.model.moment import SECOND, Now
from gateway.policy import archive, signature
from gateway.policy.bundle import SIGNATURES, Bundle
from gateway.policy.release import Release
from tests.policy.questions import shipped

WALL_S = 1_795_000_000
NOW = Now(wall_ns=WALL_S * SECOND, mono_ns=7, trusted=True, judge_ns=WALL_S * SECOND)
SCOPE = "dmz"


class Signer:
    """A P-256 key pair in files: `<name>.key` (0600) and `<name>.pem`."""

    def __init__(self, folder: Path, name: str = "release") -> None:
        self.id = name
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.key, self.public = folder / f"{name}.key", folder / f"{name}.pem"
        self.key.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.key.chmod(0o600)
        public = self.private.public_key()
        self.public.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def signed(self, bundle: Bundle, scope: str = SCOPE) -> dict[str, bytes]:
        """The members of an archive of that bundle, signatures included."""
        members = bundle.members()
        made = signature.sign(members, self.private, self.id, scope=scope, iat_s=WALL_S)
        return {**members, SIGNATURES: made}

    def archive(self, bundle: Bundle, scope: str = SCOPE) -> bytes:
        """That archive."""
        return archive.pack(self.signed(bundle, scope))

    def token(self, payload: Mapping[str, Any], **header: Any) -> str:
        """A JWT with this payload, ES256 whatever its header says."""
        head = {"alg": "ES256", "kid": self.id, **header}
        text = f"{part(head)}.{part(payload)}"
        r, s = decode_dss_signature(self.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{b64(r.to_bytes(32) + s.to_bytes(32))}"

    def shared_secret(self, payload: Mapping[str, Any]) -> str:
        """A JWT by HS256 with the public key as the secret (CVE-2016-5431 and its many cousins)."""
        text = f"{part({'alg': 'HS256', 'kid': self.id})}.{part(payload)}"
        return f"{text}.{b64(hmac.digest(self.public.read_bytes(), text.encode(), hashlib.sha256))}"

    def unsigned(self, payload: Mapping[str, Any]) -> str:
        """A JWT by `none`."""
        return f"{part({'alg': 'none', 'kid': self.id})}.{part(payload)}."


def with_token(members: Mapping[str, bytes], *tokens: str, **more: Any) -> dict[str, bytes]:
    """The members with other signatures."""
    return {**members, SIGNATURES: json.dumps({"signatures": list(tokens), **more}).encode()}


def payload(members: Mapping[str, bytes], **claims: Any) -> dict[str, Any]:
    """What an honest signature over those members says, and `claims`."""
    files = [
        {"name": name, "hash": signature.digest(name, content), "algorithm": "SHA-256"}
        for name, content in members.items()
        if name != SIGNATURES
    ]
    return {"files": files, "scope": SCOPE, **claims}


@cache
def released(serial: int = 1, expires_s: int | None = None, issued_s: int = WALL_S - 60) -> Bundle:
    """The shipped bundle, released; each serial with other content (its revision differs)."""
    expires = None if expires_s is None else expires_s * SECOND
    return shipped().released(Release(serial=serial, issued_ns=issued_s * SECOND, expires_ns=expires))


def part(value: Any) -> str:
    """A part of a JWT."""
    return b64(json.dumps(value).encode())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
