"""Who is asking. Certificates assert identity; roles become rights only in policy data."""

from enum import StrEnum

from msgspec import Struct

PERSON_PATH = "/person/"
"A SPIFFE ID whose path begins so names a person; every other certificate names a workload."


class RoleState(StrEnum):
    """What the Modbus role extension of a certificate said (Modbus/TCP Security R-20…R-23, R-65)."""

    OK = "ok"
    ABSENT = "absent"
    MALFORMED = "malformed"


class Kind(StrEnum):
    """What sort of subject an identity is."""

    WORKLOAD = "workload"
    PERSON = "person"
    GATEWAY = "gateway"
    LOCAL = "local"
    NOBODY = "nobody"
    "Whoever comes by a listener without TLS."


class Authentication(StrEnum):
    """How the subject proved itself."""

    MTLS = "mtls"
    OPCUA = "opcua"
    "By the application certificate of an OPC UA secure channel."
    INTERNAL = "internal"
    "The gateway itself, asking through the same passage as everybody."
    CONTROL = "control"
    "A Unix user on the control socket: status and reload only."
    NONE = "none"
    "A listener without TLS identifies nobody."


class Identity(Struct, frozen=True, kw_only=True):
    """One authenticated subject."""

    subject: str
    """Canonical: `spiffe://…`, `urn:…`, `x509:<RFC 4514 name>`, `local:<user>`; `anonymous:<listener>` where
    nobody was identified."""
    kind: Kind
    auth: Authentication
    zone: str
    "The zone whose trust anchor vouches for it (never taken from the address)."
    roles: tuple[str, ...] = ()
    "What the certificate claims; it counts only where policy data binds it to the subject."
    role_state: RoleState = RoleState.ABSENT
    fingerprint: str | None = None
    "SHA-256 of the certificate's DER, lower-case hex."
    serial: str | None = None
    "Certificate serial number, lower-case hex."
    issuer: str | None = None
    "RFC 4514 name of the issuer."
    ski: str | None = None
    "Subject key identifier, lower-case hex."
    expires_ns: int | None = None
    "notAfter, nanoseconds since 1970."
    on_behalf_of: str | None = None
    """A user or token subject on top; both must be granted. As canonical as `subject`: whoever approves is
    compared with it."""


def names_person(subject: str) -> bool:
    """Whether a subject from a certificate is a person's."""
    scheme, _, rest = subject.partition("://")
    return scheme == "spiffe" and f"/{rest.partition('/')[2]}".startswith(PERSON_PATH)


class Caller(Struct, frozen=True, kw_only=True, eq=False):
    """An identity on one connection: everything about *who and from where* that policy may ask."""

    identity: Identity
    source: str
    "Peer address without port; `internal` for the gateway itself."
    listener: str
    "Name of the listener it came in by."
    zone: str
    "The listener's zone."
    tls: str | None
    "`1.2`, `1.3`, or null where there is no TLS."
    connection: str
    "ULID of this connection, for the record."
