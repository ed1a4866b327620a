"""A certificate, read: who it names, which role it claims, and whether it is valid at a given moment.

Pure: no file, no clock, no trust. Whether the issuer may say so is `trust`'s question.

- Exactly one URI name, or none (SPIFFE X.509-SVID §2 rejects more).
- The role counts only as one DER UTF8String in one extension 1.3.6.1.4.1.50316.802.1 (Modbus/TCP Security
  R-20…R-22, R-65). What is missing or malformed is *said*, not refused: the handshake succeeds and every
  request is answered 01 (R-23, R-31).
- A certification authority is not a peer.
"""

import re
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from msgspec import Struct

from gateway.identity import der
from gateway.model.identity import Authentication, Identity, Kind, RoleState, names_person
from gateway.model.moment import SECOND

ROLE_OID = "1.3.6.1.4.1.50316.802.1"
"The role extension (Modbus/TCP Security R-21)."
ROLE = re.compile(r"[A-Za-z0-9 _.-]{1,64}")
"""What a role may look like. Narrower than UTF8String: homoglyphs, NUL and commas have no place in a name
that policy compares."""
MOST_BYTES = 16_384
"The longest certificate that is read. OpenSSL's handshake limit for a whole chain is about 100 kB."
MOST_REMEMBERED = 2048
"Certificates whose reading is remembered, so that a reconnecting client costs no parsing."

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")
_URN = re.compile(r"(?i:urn):[A-Za-z0-9][A-Za-z0-9-]{0,31}:[!-~]+")
_ROLE = bytes.fromhex("2b0601040183890c862201")
_ALT_NAMES = bytes.fromhex("551d11")
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")
_KEY_IDENTIFIER = bytes.fromhex("551d0e")


class Refused(Struct, frozen=True):
    """Why a peer does not get in. The code is a stable slug; the message is for people and records."""

    code: str
    message: str


class _Unusable(Exception):  # noqa: N818 # carries a Refused out of the reading below; never leaves this file
    def __init__(self, code: str, message: str) -> None:
        self.refused = Refused(code, message)


def identify(certificate: bytes, zone: str, judge_ns: int) -> Identity | Refused:
    """Whom a certificate (DER) names, if it is valid at `judge_ns` (ns since 1970). `zone` vouches for it."""
    read = _read(certificate, zone)
    if isinstance(read, Refused):
        return read
    identity, begins_ns = read
    if judge_ns < begins_ns:
        return Refused("not_yet_valid", f"the certificate of {identity.subject} is not valid yet")
    if identity.expires_ns is None or judge_ns > identity.expires_ns:
        return Refused("expired", f"the certificate of {identity.subject} has expired")
    return identity


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of the DER, lower-case hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate)
    return digest.finalize().hex()


@lru_cache(maxsize=MOST_REMEMBERED)
def _read(certificate: bytes, zone: str) -> tuple[Identity, int] | Refused:
    """The identity and its notBefore; everything about a certificate that does not depend on the time."""
    if len(certificate) > MOST_BYTES:
        return Refused("unreadable", f"the certificate is longer than {MOST_BYTES} bytes")
    try:
        return _parse(certificate, zone)
    except _Unusable as unusable:
        return unusable.refused
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        # TypeError: a name whose ASN.1 type the library has no text for.
        return Refused("unreadable", f"the certificate cannot be read: {error}")


def _parse(certificate: bytes, zone: str) -> tuple[Identity, int]:
    parsed = x509.load_der_x509_certificate(certificate)
    if parsed.version is not x509.Version.v3:
        raise _Unusable("not_version_3", "only X.509 version 3 certificates name anybody (RFC 5280 §4.1.2.1)")
    roles, others = _split(der.extensions(parsed.tbs_certificate_bytes))
    if _is_authority(others.get(_BASIC_CONSTRAINTS)):
        raise _Unusable("authority", "this is the certificate of an authority, not of a peer")
    subject = _subject(parsed, others.get(_ALT_NAMES))
    role, state = _role(roles)
    identifier = others.get(_KEY_IDENTIFIER)
    identity = Identity(
        subject=subject,
        kind=_kind(subject),
        auth=Authentication.MTLS,
        zone=zone,
        roles=role,
        role_state=state,
        fingerprint=fingerprint(certificate),
        serial=format(parsed.serial_number, "x"),
        issuer=parsed.issuer.rfc4514_string(),
        ski=der.only(identifier, der.OCTET_STRING).hex() if identifier is not None else None,
        expires_ns=int(parsed.not_valid_after_utc.timestamp()) * SECOND,
    )
    return identity, int(parsed.not_valid_before_utc.timestamp()) * SECOND


def _split(found: list[der.Extension]) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The role extensions, and the others by OID. Only a role may (wrongly) stand there twice."""
    roles = [extension.value for extension in found if extension.oid == _ROLE]
    others = [extension for extension in found if extension.oid != _ROLE]
    by_oid = {extension.oid: extension.value for extension in others}
    if len(by_oid) != len(others):
        raise _Unusable("duplicate_extension", "an extension stands there twice (RFC 5280 §4.2)")
    return roles, by_oid


def _is_authority(constraints: bytes | None) -> bool:
    if constraints is None:
        return False
    fields = der.elements(der.only(constraints, der.SEQUENCE))
    return bool(fields) and fields[0].tag == der.BOOLEAN and fields[0].value != b"\x00"


def _subject(parsed: x509.Certificate, alt_names: bytes | None) -> str:
    """The canonical subject: `spiffe://…`, else `urn:…`, else `x509:<RFC 4514 name>`."""
    names = [] if alt_names is None else der.elements(der.only(alt_names, der.SEQUENCE))
    uris = [name.value.decode("ascii") for name in names if name.tag == der.URI_NAME]
    if len(uris) > 1:
        raise _Unusable("two_uri_names", "the certificate holds more than one URI name")
    if uris and uris[0].lower().startswith("spiffe:"):
        segments = uris[0].split("/")[3:]
        if not _SPIFFE.fullmatch(uris[0]) or "." in segments or ".." in segments or len(uris[0]) > 2048:
            raise _Unusable("malformed_spiffe_id", "the SPIFFE ID breaks the syntax of SPIFFE-ID §2")
        return uris[0]
    if uris and uris[0].lower().startswith("urn:"):
        if not _URN.fullmatch(uris[0]):
            raise _Unusable("malformed_urn", "the ApplicationUri is not a URN (RFC 8141)")
        return "urn:" + uris[0][4:]
    name = parsed.subject.rfc4514_string()
    if not name:
        raise _Unusable("no_name", "the certificate names nobody: no URI name and an empty subject")
    return f"x509:{name}"


def _kind(subject: str) -> Kind:
    return Kind.PERSON if names_person(subject) else Kind.WORKLOAD


def _role(values: list[bytes]) -> tuple[tuple[str, ...], RoleState]:
    """What the role extensions say: one whole UTF8String is one role, and everything else is malformed."""
    if not values:
        return (), RoleState.ABSENT
    try:
        role = der.only(values[0], der.UTF8_STRING).decode("utf-8")
    except ValueError:
        return (), RoleState.MALFORMED
    if len(values) > 1 or not ROLE.fullmatch(role):
        return (), RoleState.MALFORMED
    return (role,), RoleState.OK
