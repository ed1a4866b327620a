"""What the messages of discovery, channels and sessions say: their fields (OPC 10000-4 §5.5–5.7, §7)."""

from msgspec import Struct

from gateway.wire.opcua.security import OAEP_SHA1

NO_NODE = b"\0\0"
"The null NodeId: what a request carries for a token where there is no session yet."


class RequestHeader(Struct, frozen=True, kw_only=True):
    """OPC 10000-4 §7.32."""

    token: bytes = NO_NODE
    timestamp: int = 0
    handle: int = 0
    diagnostics: int = 0
    audit_id: str | None = None
    timeout_ms: int = 0
    additional: None = None


class ResponseHeader(Struct, frozen=True, kw_only=True):
    """OPC 10000-4 §7.33."""

    timestamp: int = 0
    handle: int = 0
    status: int = 0
    diagnostics: None = None
    strings: tuple[str | None, ...] = ()
    additional: None = None


class ApplicationDescription(Struct, frozen=True, kw_only=True):
    """OPC 10000-4 §7.2."""

    uri: str | None
    product_uri: str | None = None
    name: str | None = None
    kind: int = 0
    "0 server, 1 client, 2 both, 3 discovery server."
    gateway_uri: str | None = None
    profile_uri: str | None = None
    urls: tuple[str | None, ...] = ()


class UserTokenPolicy(Struct, frozen=True, kw_only=True):
    """OPC 10000-4 §7.42."""

    id: str | None
    kind: int
    "0 anonymous, 1 user name, 2 X.509, 3 issued."
    issued_kind: str | None = None
    issuer: str | None = None
    policy_uri: str | None = None


class EndpointDescription(Struct, frozen=True, kw_only=True):
    """OPC 10000-4 §7.14."""

    url: str | None
    server: ApplicationDescription
    certificate: bytes | None
    mode: int
    policy_uri: str | None
    users: tuple[UserTokenPolicy, ...] = ()
    transport_uri: str | None = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
    level: int = 0


class SignatureData(Struct, frozen=True):
    """OPC 10000-4 §7.36."""

    algorithm: str | None = None
    signature: bytes | None = None


class SignedCertificate(Struct, frozen=True):
    """A software certificate: reserved, and passed over."""

    data: bytes | None = None
    signature: bytes | None = None


class SecurityToken(Struct, frozen=True):
    """OPC 10000-4 §5.6.2."""

    channel_id: int
    token_id: int
    created: int
    lifetime_ms: int


class ServiceFault(Struct, frozen=True):
    """OPC 10000-4 §7.34."""

    header: ResponseHeader


class OpenRequest(Struct, frozen=True, kw_only=True):
    """OpenSecureChannel."""

    header: RequestHeader = RequestHeader()
    version: int = 0
    kind: int
    "0 issue, 1 renew."
    mode: int
    nonce: bytes | None
    lifetime_ms: int


class OpenResponse(Struct, frozen=True, kw_only=True):
    """What a server opens."""

    header: ResponseHeader = ResponseHeader()
    version: int = 0
    token: SecurityToken
    nonce: bytes | None


class CloseChannelRequest(Struct, frozen=True):
    """CloseSecureChannel, which has no answer."""

    header: RequestHeader = RequestHeader()


class FindServersRequest(Struct, frozen=True, kw_only=True):
    """FindServers."""

    header: RequestHeader = RequestHeader()
    url: str | None = None
    locales: tuple[str | None, ...] = ()
    uris: tuple[str | None, ...] = ()


class FindServersResponse(Struct, frozen=True, kw_only=True):
    """Who is reached here."""

    header: ResponseHeader = ResponseHeader()
    servers: tuple[ApplicationDescription, ...]


class GetEndpointsRequest(Struct, frozen=True, kw_only=True):
    """GetEndpoints."""

    header: RequestHeader = RequestHeader()
    url: str | None = None
    locales: tuple[str | None, ...] = ()
    profiles: tuple[str | None, ...] = ()


class GetEndpointsResponse(Struct, frozen=True, kw_only=True):
    """What is offered."""

    header: ResponseHeader = ResponseHeader()
    endpoints: tuple[EndpointDescription, ...]


class CreateSessionRequest(Struct, frozen=True, kw_only=True):
    """CreateSession."""

    header: RequestHeader = RequestHeader()
    client: ApplicationDescription
    server_uri: str | None = None
    url: str | None = None
    name: str | None = None
    nonce: bytes | None
    certificate: bytes | None
    timeout_ms: float
    most_response: int = 0


class CreateSessionResponse(Struct, frozen=True, kw_only=True):
    """A session that is not active yet."""

    header: ResponseHeader = ResponseHeader()
    session_id: bytes
    token: bytes
    timeout_ms: float
    nonce: bytes | None
    certificate: bytes | None
    endpoints: tuple[EndpointDescription, ...] = ()
    software: tuple[SignedCertificate, ...] = ()
    signature: SignatureData
    most_request: int = 0


class ActivateSessionRequest(Struct, frozen=True, kw_only=True):
    """ActivateSession."""

    header: RequestHeader = RequestHeader()
    signature: SignatureData
    software: tuple[SignedCertificate, ...] = ()
    locales: tuple[str | None, ...] = ()
    user: tuple[int, bytes] | None = None
    "The user identity token: type id and body; see `user`."
    user_signature: SignatureData = SignatureData()


class ActivateSessionResponse(Struct, frozen=True, kw_only=True):
    """A session is active."""

    header: ResponseHeader = ResponseHeader()
    nonce: bytes | None
    results: tuple[int, ...] = ()
    diagnostics: tuple[None, ...] = ()


class CloseSessionRequest(Struct, frozen=True, kw_only=True):
    """CloseSession."""

    header: RequestHeader = RequestHeader()
    delete_subscriptions: bool = True


class CloseSessionResponse(Struct, frozen=True):
    """It is closed."""

    header: ResponseHeader = ResponseHeader()


class AnonymousToken(Struct, frozen=True):
    """OPC 10000-4 §7.40.3."""

    policy_id: str | None


class UserNameToken(Struct, frozen=True):
    """OPC 10000-4 §7.40.4."""

    policy_id: str | None
    name: str | None
    secret: bytes | None
    algorithm: str | None = OAEP_SHA1


class CertificateToken(Struct, frozen=True):
    """OPC 10000-4 §7.40.5."""

    policy_id: str | None
    certificate: bytes | None


class IssuedToken(Struct, frozen=True):
    """OPC 10000-4 §7.40.6."""

    policy_id: str | None
    secret: bytes | None
    algorithm: str | None = OAEP_SHA1
