"""`dmz.approval/1`: what a person signs to grant or refuse a request, with the key of their own certificate.

A gateway keeps and records the statement, its signature and the certificate; it cannot make one. Whoever has
all of the gateway and one person's key is still one person. `check` needs nothing but the three, so that an
auditor can ask it anywhere; who issued the certificate, and whether it was revoked, is asked beside it.

The text signed is canonical JSON (`wanted.canonical`), and is refused in every other form: nothing that was
not understood is signed along.

| key of the certificate | signature                                     | with openssl               |
|------------------------|-----------------------------------------------|----------------------------|
| P-256, P-384           | ECDSA with SHA-256, DER                       | dgst -sha256               |
| RSA                    | RSASSA-PSS, SHA-256, MGF1-SHA-256, salt of 32 | dgst -sha256 with -sigopt  |
| Ed25519                | Ed25519                                       | pkeyutl -rawin             |
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from gateway.admin.wanted import canonical
from gateway.identity.keyfile import read_public, require_private
from gateway.model.errors import GatewayError

SCHEMA: Final = "dmz.approval/1"
MOST_BYTES = 3_000
"The longest statement: names, a sentence of 500 characters, two times."
MOST_CERTIFICATE = 3_000
"The longest certificate, DER: in base64 it still stands whole in a record (values over 4 KiB do not)."
LEAST_RSA_BITS = 2048

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
_SHA256 = hashes.SHA256()


class StatementError(GatewayError):
    """A statement proves nothing; says why."""


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one person says about one request."""

    schema: Literal["dmz.approval/1"] = SCHEMA
    gateway: str
    "Name of the gateway that asked."
    request: str
    "ULID of the request."
    operation: str
    "SHA-256 of the operation's document (`wanted.digest`)."
    what: str
    "The same in words."
    requester: str
    "Subject whose request it is."
    decision: Literal["grant", "refuse"]
    approver: str
    "Subject of the certificate whose key signs."
    issued: str
    "RFC 3339, UTC, whole seconds."
    expires: str
    "From then on a grant counts no more."

    @property
    def issued_s(self) -> int:
        """Seconds since 1970."""
        return seconds(self.issued)

    @property
    def expires_s(self) -> int:
        """Seconds since 1970."""
        return seconds(self.expires)


def rfc3339(at_s: int) -> str:
    """A time as statements write it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> int:
    """A statement's time as seconds since 1970; StatementError where it is none."""
    if not _TIME.fullmatch(text):
        raise StatementError(f"{text[:40]!r} is no time of the form 2026-11-23T10:00:00Z")
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError as error:
        raise StatementError(f"{text!r}: {error}") from None


def encode(statement: Statement) -> bytes:
    """The text to sign."""
    return canonical(statement)


def decode(text: bytes) -> Statement:
    """The statement that a text is; StatementError unless it is one, in its one form."""
    if len(text) > MOST_BYTES:
        raise StatementError(f"the statement is longer than {MOST_BYTES} bytes")
    try:
        read = msgspec.json.decode(text, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StatementError(f"not a {SCHEMA}: {error}") from None
    if encode(read) != text:
        raise StatementError("the statement is not in canonical form (names sorted, no spaces)")
    if read.issued_s >= read.expires_s:
        raise StatementError("the statement expires before it was issued")
    return read


def sign(text: bytes, key: Path) -> bytes:
    """Sign with the private key of a PEM file (IdentityError or StatementError where it cannot be used)."""
    require_private(key)
    try:
        private = load_pem_private_key(read_public(key), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StatementError(f"the key {key} cannot be used: {error}") from None
    match private:
        case ec.EllipticCurvePrivateKey():
            return private.sign(text, ec.ECDSA(_SHA256))
        case rsa.RSAPrivateKey():
            return private.sign(text, _PSS, _SHA256)
        case ed25519.Ed25519PrivateKey():
            return private.sign(text)
        case _:
            raise StatementError(f"the key {key} is neither EC, RSA nor Ed25519")


def check(text: bytes, signature: bytes, certificate: bytes) -> Statement:
    """The statement, if the key of the certificate (DER) signed this text; StatementError where it did not.

    Whether the certificate belongs to a person whom anybody trusts is not asked here (`ZoneTrust.admit`, or
    `openssl verify`).
    """
    read = decode(text)
    if len(certificate) > MOST_CERTIFICATE:
        raise StatementError(f"the certificate is longer than {MOST_CERTIFICATE} bytes")
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StatementError(f"the certificate cannot be read: {error}") from None
    try:
        match public:
            case ec.EllipticCurvePublicKey():
                public.verify(signature, text, ec.ECDSA(_SHA256))
            case rsa.RSAPublicKey() if public.key_size >= LEAST_RSA_BITS:
                public.verify(signature, text, _PSS, _SHA256)
            case ed25519.Ed25519PublicKey():
                public.verify(signature, text)
            case _:
                raise StatementError("the certificate's key is not EC, Ed25519, or RSA of 2048 bits or more")
    except InvalidSignature:
        raise StatementError("the signature is not of this statement by this certificate's key") from None
    return read
