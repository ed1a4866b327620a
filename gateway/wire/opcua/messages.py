"""The messages of discovery, channels and sessions, read and written, each both ways (OPC 10000-4 §5.5–5.7).

    read(body, CreateSessionRequest) -> CreateSessionRequest | Unread
    encode(CreateSessionResponse(...)) -> bytes

A body begins with its TypeId in the four-byte form of namespace 0, and every byte of it is used.
"""

from typing import Any, TypeVar

from msgspec import Struct

from gateway.wire.opcua.fields import (
    ADDITIONAL,
    BOOLEAN,
    BYTE,
    DIAGNOSTICS,
    DOUBLE,
    NODE,
    NULL,
    TEXT,
    TIME,
    UINT32,
    Cursor,
    Extension,
    Localized,
    Many,
    Octets,
    Shape,
    UnreadableError,
    enumeration,
)
from gateway.wire.opcua.parameters import (
    NO_NODE,
    ActivateSessionRequest,
    ActivateSessionResponse,
    AnonymousToken,
    ApplicationDescription,
    CertificateToken,
    CloseChannelRequest,
    CloseSessionRequest,
    CloseSessionResponse,
    CreateSessionRequest,
    CreateSessionResponse,
    EndpointDescription,
    FindServersRequest,
    FindServersResponse,
    GetEndpointsRequest,
    GetEndpointsResponse,
    IssuedToken,
    OpenRequest,
    OpenResponse,
    RequestHeader,
    ResponseHeader,
    SecurityToken,
    ServiceFault,
    SignatureData,
    SignedCertificate,
    UserNameToken,
    UserTokenPolicy,
)
from gateway.wire.opcua.security import MOST_CHAIN_BYTES

MOST_NONCE = 128
MOST_SIGNATURE = 512
"Bytes of an RSA signature of 4096 bits."
MOST_TOKEN_BODY = 16_384
"Bytes of a user identity token."
MOST_ENDPOINTS = 256
MOST_LOCALES = 64
EPOCH = 116_444_736_000_000_000
"1970 on the scale of DateTime: 100 ns since 1601."


def moment(wall_ns: int) -> int:
    """A DateTime."""
    return wall_ns // 100 + EPOCH


_CERTIFICATE = Octets(MOST_CHAIN_BYTES)
_NONCE = Octets(MOST_NONCE)
_SECRET = Octets(MOST_TOKEN_BODY)
_LOCALES = Many(TEXT, MOST_LOCALES)
_REQUEST = Shape(
    RequestHeader,
    token=NODE,
    timestamp=TIME,
    handle=UINT32,
    diagnostics=UINT32,
    audit_id=TEXT,
    timeout_ms=UINT32,
    additional=NULL,
)
_RESPONSE = Shape(
    ResponseHeader,
    timestamp=TIME,
    handle=UINT32,
    status=UINT32,
    diagnostics=DIAGNOSTICS,
    strings=Many(TEXT, 256),
    additional=ADDITIONAL,
)
_APPLICATION = Shape(
    ApplicationDescription,
    uri=TEXT,
    product_uri=TEXT,
    name=Localized(),
    kind=enumeration(4),
    gateway_uri=TEXT,
    profile_uri=TEXT,
    urls=Many(TEXT, 64),
)
_USER = Shape(UserTokenPolicy, id=TEXT, kind=enumeration(4), issued_kind=TEXT, issuer=TEXT, policy_uri=TEXT)
_ENDPOINT = Shape(
    EndpointDescription,
    url=TEXT,
    server=_APPLICATION,
    certificate=_CERTIFICATE,
    mode=enumeration(4),
    policy_uri=TEXT,
    users=Many(_USER, 64),
    transport_uri=TEXT,
    level=BYTE,
)
_ENDPOINTS = Many(_ENDPOINT, MOST_ENDPOINTS)
_SIGNATURE = Shape(SignatureData, algorithm=TEXT, signature=Octets(MOST_SIGNATURE))
_SOFTWARE = Many(Shape(SignedCertificate, data=_CERTIFICATE, signature=Octets(MOST_SIGNATURE)), 16)
_TOKEN = Shape(SecurityToken, channel_id=UINT32, token_id=UINT32, created=TIME, lifetime_ms=UINT32)

SHAPES: dict[type[Any], tuple[int, Shape[Any]]] = {
    ServiceFault: (397, Shape(ServiceFault, header=_RESPONSE)),
    FindServersRequest: (
        422,
        Shape(FindServersRequest, header=_REQUEST, url=TEXT, locales=_LOCALES, uris=Many(TEXT, 64)),
    ),
    FindServersResponse: (
        425,
        Shape(FindServersResponse, header=_RESPONSE, servers=Many(_APPLICATION, MOST_ENDPOINTS)),
    ),
    GetEndpointsRequest: (
        428,
        Shape(GetEndpointsRequest, header=_REQUEST, url=TEXT, locales=_LOCALES, profiles=Many(TEXT, 64)),
    ),
    GetEndpointsResponse: (431, Shape(GetEndpointsResponse, header=_RESPONSE, endpoints=_ENDPOINTS)),
    OpenRequest: (
        446,
        Shape(
            OpenRequest,
            header=_REQUEST,
            version=UINT32,
            kind=enumeration(2),
            mode=enumeration(4),
            nonce=_NONCE,
            lifetime_ms=UINT32,
        ),
    ),
    OpenResponse: (449, Shape(OpenResponse, header=_RESPONSE, version=UINT32, token=_TOKEN, nonce=_NONCE)),
    CloseChannelRequest: (452, Shape(CloseChannelRequest, header=_REQUEST)),
    CreateSessionRequest: (
        461,
        Shape(
            CreateSessionRequest,
            header=_REQUEST,
            client=_APPLICATION,
            server_uri=TEXT,
            url=TEXT,
            name=TEXT,
            nonce=_NONCE,
            certificate=_CERTIFICATE,
            timeout_ms=DOUBLE,
            most_response=UINT32,
        ),
    ),
    CreateSessionResponse: (
        464,
        Shape(
            CreateSessionResponse,
            header=_RESPONSE,
            session_id=NODE,
            token=NODE,
            timeout_ms=DOUBLE,
            nonce=_NONCE,
            certificate=_CERTIFICATE,
            endpoints=_ENDPOINTS,
            software=_SOFTWARE,
            signature=_SIGNATURE,
            most_request=UINT32,
        ),
    ),
    ActivateSessionRequest: (
        467,
        Shape(
            ActivateSessionRequest,
            header=_REQUEST,
            signature=_SIGNATURE,
            software=_SOFTWARE,
            locales=_LOCALES,
            user=Extension(MOST_TOKEN_BODY),
            user_signature=_SIGNATURE,
        ),
    ),
    ActivateSessionResponse: (
        470,
        Shape(
            ActivateSessionResponse,
            header=_RESPONSE,
            nonce=_NONCE,
            results=Many(UINT32, 16),
            diagnostics=Many(DIAGNOSTICS, 16),
        ),
    ),
    CloseSessionRequest: (473, Shape(CloseSessionRequest, header=_REQUEST, delete_subscriptions=BOOLEAN)),
    CloseSessionResponse: (476, Shape(CloseSessionResponse, header=_RESPONSE)),
}
"Each message: its number in namespace 0, and its fields."

USER_TOKENS: dict[int, tuple[type[Any], Shape[Any]]] = {
    321: (AnonymousToken, Shape(AnonymousToken, policy_id=TEXT)),
    324: (
        UserNameToken,
        Shape(UserNameToken, policy_id=TEXT, name=TEXT, secret=_SECRET, algorithm=TEXT),
    ),
    327: (CertificateToken, Shape(CertificateToken, policy_id=TEXT, certificate=_CERTIFICATE)),
    940: (IssuedToken, Shape(IssuedToken, policy_id=TEXT, secret=_SECRET, algorithm=TEXT)),
}
"Each kind of user identity token, by its number in namespace 0."

DISCOVERY = frozenset({422, 428})
"FindServers and GetEndpoints: all that is answered without security, and without a session."

UserToken = AnonymousToken | UserNameToken | CertificateToken | IssuedToken
M = TypeVar("M")


class Unread(Struct, frozen=True):
    """Bytes that are not the message that they must be."""

    what: str


def type_id(body: bytes) -> int | None:
    """The number of the message that a body claims to be; None where it is no number of namespace 0."""
    return int.from_bytes(body[2:4], "little") if body[:2] == b"\1\0" and len(body) >= 4 else None


def read(body: bytes, kind: type[M]) -> M | Unread:
    """Read a body as this message."""
    number, shape = SHAPES[kind]
    if type_id(body) != number:
        return Unread("another message")
    message: M | Unread = _whole(shape, Cursor(body, 4))
    return message


def encode(message: object) -> bytes:
    """Write a message."""
    number, shape = SHAPES[type(message)]
    return b"\1\0" + number.to_bytes(2, "little") + shape.write(message)


def read_user(token: tuple[int, bytes] | None) -> UserToken | Unread:
    """The user of an ActivateSession. None at all is an anonymous one (OPC 10000-4 §5.7.3)."""
    if token is None:
        return AnonymousToken(None)
    known = USER_TOKENS.get(token[0])
    if known is None:
        return Unread("an unknown kind of user identity token")
    user: UserToken | Unread = _whole(known[1], Cursor(token[1]))
    return user


def user(token: UserToken) -> tuple[int, bytes]:
    """How a user stands in an ActivateSession."""
    for number, (kind, shape) in USER_TOKENS.items():
        if isinstance(token, kind):
            return number, shape.write(token)
    raise ValueError("no kind of user identity token")


def fault(handle: int, status: int, wall_ns: int) -> bytes:
    """A ServiceFault."""
    return encode(ServiceFault(ResponseHeader(timestamp=moment(wall_ns), handle=handle, status=status)))


def _whole(shape: Shape[Any], cursor: Cursor) -> Any:
    try:
        value = shape.read(cursor)
    except UnreadableError as exc:
        return Unread(str(exc))
    return value if not cursor.left else Unread("bytes are left over")


__all__ = [
    "DISCOVERY",
    "EPOCH",
    "MOST_ENDPOINTS",
    "MOST_LOCALES",
    "MOST_NONCE",
    "MOST_SIGNATURE",
    "MOST_TOKEN_BODY",
    "NO_NODE",
    "SHAPES",
    "USER_TOKENS",
    "ActivateSessionRequest",
    "ActivateSessionResponse",
    "AnonymousToken",
    "ApplicationDescription",
    "CertificateToken",
    "CloseChannelRequest",
    "CloseSessionRequest",
    "CloseSessionResponse",
    "CreateSessionRequest",
    "CreateSessionResponse",
    "EndpointDescription",
    "FindServersRequest",
    "FindServersResponse",
    "GetEndpointsRequest",
    "GetEndpointsResponse",
    "IssuedToken",
    "OpenRequest",
    "OpenResponse",
    "RequestHeader",
    "ResponseHeader",
    "SecurityToken",
    "ServiceFault",
    "SignatureData",
    "SignedCertificate",
    "Unread",
    "UserNameToken",
    "UserToken",
    "UserTokenPolicy",
    "encode",
    "fault",
    "moment",
    "read",
    "read_user",
    "type_id",
    "user",
]
