"""Who may use a session: what CreateSession and ActivateSession must prove (OPC 10000-4 §5.7.2, §5.7.3).

    made = create(request, channel, …)                      Created(session, answer) or Refusal
    activation = session.check(request, channel, …)         Activation (what it shows holds) or Refusal
    …the user is judged, the upstream session is opened…
    answer = session.commit(activation, user, channel, …)   bytes or Refusal

`check` changes nothing, and neither does anything that fails: the switch to a user and a channel is one
step, in `commit`, and only for the nonce that `check` saw. A session is bound to its channel: from any other,
it answers as a session that does not exist.
"""

from collections.abc import Callable
from hmac import compare_digest

from msgspec import Struct

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.moment import Now
from gateway.wire.opcua import messages, offers, usersecret
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    ActivateSessionResponse,
    AnonymousToken,
    CertificateToken,
    CreateSessionRequest,
    CreateSessionResponse,
    EndpointDescription,
    ResponseHeader,
    SignatureData,
    Unread,
    UserNameToken,
    UserTokenPolicy,
    read_user,
)
from gateway.wire.opcua.security import (
    NONCE_SIZE,
    SUITES,
    Suite,
    certificates,
    public_key,
    sign,
    verified,
)
from gateway.wire.opcua.server_channel import ServerChannel
from gateway.wire.opcua.status import Status

MOST_CLIENT_NONCE = 128
LEAST_TIMEOUT_MS = 10_000.0
MOST_TIMEOUT_MS = 3_600_000.0
Random = Callable[[int], bytes]


class Refusal(Struct, frozen=True):
    """No. The status is for the peer, the rest for the log."""

    status: Status
    why: str


class Anonymous(Struct, frozen=True):
    """No user on top of the application."""


class Named(Struct, frozen=True):
    """A user name, and the password that was sent with it."""

    name: str
    secret: usersecret.Secret


class Certified(Struct, frozen=True):
    """A user's certificate, whose key was proven here; whether it is trusted is not."""

    chain: bytes


class Bearer(Struct, frozen=True):
    """An access token (JWT)."""

    secret: usersecret.Secret


User = Anonymous | Named | Certified | Bearer
"What a client shows for its user. Whether that is anybody is for `identity` to say."


class Activation(Struct, frozen=True, eq=False):
    """An ActivateSession whose proofs hold; it serves once, while the nonce is the one it was made for."""

    nonce: bytes
    user: User
    channel_id: int
    handle: int


class Session:
    """One session, as far as who may use it goes."""

    __slots__ = (
        "_channel_id",
        "_mode",
        "_nonce",
        "_policy",
        "active",
        "certificate",
        "id",
        "timeout_ms",
        "token",
        "uri",
        "user",
    )

    def __init__(self, channel: ServerChannel, uri: str, timeout_ms: float, random: Random) -> None:
        self.id = b"\4\1\0" + random(16)
        "A GUID; it is shown to others (diagnostics, audit) and opens nothing."
        self.token = b"\5\1\0\x20\0\0\0" + random(32)
        "An opaque NodeId, encoded: what requests carry. 32 bytes that nobody can guess."
        self.certificate = channel.certificate
        self.uri = uri
        self.timeout_ms = timeout_ms
        self.active = False
        self.user: str | None = None
        self._nonce = random(NONCE_SIZE)
        self._channel_id = channel.channel_id
        self._policy: OpcuaPolicy | None = channel.policy
        self._mode: OpcuaMode | None = channel.mode

    @property
    def nonce(self) -> bytes:
        """Ours, for the next ActivateSession."""
        return self._nonce

    @property
    def channel_id(self) -> int:
        """The channel that it is used on."""
        return self._channel_id

    def refuses(self, channel: ServerChannel) -> Status | None:
        """Why a request on this channel may not use it. Before activation that also ends it (§5.7.3)."""
        if channel.channel_id != self._channel_id:
            return Status.SESSION_ID_INVALID
        return None if self.active else Status.SESSION_NOT_ACTIVATED

    def check(
        self,
        request: ActivateSessionRequest,
        channel: ServerChannel,
        kinds: tuple[UserTokenPolicy, ...],
        random: Random,
    ) -> Activation | Refusal:
        """Whether the client holds its key, now and for this session, and what it shows for a user."""
        refusal = self._elsewhere(channel)
        if refusal is not None:
            return refusal
        suite = SUITES[channel.policy] if channel.policy is not None else None
        key = public_key(channel.certificate)
        if suite is None or key is None:
            return Refusal(Status.SECURITY_MODE_INSUFFICIENT, "a channel without security")
        given = request.signature
        signature = given.signature or b""
        mine = channel.credentials
        if given.algorithm != suite.sign_uri or not any(
            verified(suite, key, signature, shown + self._nonce) for shown in {mine.leaf, mine.sent}
        ):
            return Refusal(Status.APPLICATION_SIGNATURE_INVALID, "the client's signature does not hold")
        user = self._user(request, channel, kinds, random)
        if isinstance(user, Refusal):
            return user
        return Activation(self._nonce, user, channel.channel_id, request.header.handle)

    def commit(
        self, activation: Activation, user: str | None, channel: ServerChannel, random: Random, now: Now
    ) -> bytes | Refusal:
        """The user is who he says: the session is his, on this channel. The answer, with a new nonce."""
        refusal = self._elsewhere(channel)
        if refusal is not None:
            return refusal
        if not compare_digest(activation.nonce, self._nonce) or activation.channel_id != channel.channel_id:
            return Refusal(Status.SESSION_ID_INVALID, "another ActivateSession came between")
        if self.active and user != self.user:
            return Refusal(Status.IDENTITY_CHANGE_NOT_SUPPORTED, "another user than the session's")
        self._nonce = random(NONCE_SIZE)
        self._channel_id = channel.channel_id
        self.user = user
        self.active = True
        header = ResponseHeader(timestamp=messages.moment(now.wall_ns), handle=activation.handle)
        return messages.encode(ActivateSessionResponse(header=header, nonce=self._nonce))

    def _elsewhere(self, channel: ServerChannel) -> Refusal | None:
        """A first activation comes on the channel of CreateSession; later ones may bring it to another one of
        the same client under the same protection.
        """
        if channel.channel_id == self._channel_id:
            return None
        if not self.active:
            return Refusal(Status.SESSION_ID_INVALID, "not the channel that it was created on")
        if not compare_digest(channel.certificate, self.certificate):
            return Refusal(Status.SESSION_ID_INVALID, "not the client that it belongs to")
        if (channel.policy, channel.mode) != (self._policy, self._mode):
            return Refusal(Status.SESSION_ID_INVALID, "a channel of another policy or mode")
        return None

    def _user(
        self,
        request: ActivateSessionRequest,
        channel: ServerChannel,
        kinds: tuple[UserTokenPolicy, ...],
        random: Random,
    ) -> User | Refusal:
        nobody = random(32)
        token = read_user(request.user)
        if isinstance(token, Unread):
            return Refusal(Status.IDENTITY_TOKEN_INVALID, token.what)
        wanted = _KINDS[type(token)]
        ids = {each.id for each in kinds if each.kind == wanted}
        unnamed = wanted == 0 and token.policy_id is None and ids
        if token.policy_id not in ids and not unnamed:
            return Refusal(Status.IDENTITY_TOKEN_INVALID, "a kind of user that is not offered")
        if isinstance(token, AnonymousToken):
            return Anonymous()
        suite = offers.USER_SUITE
        if isinstance(token, CertificateToken):
            return self._certified(suite, token, request.user_signature, channel)
        secret = usersecret.open_(
            suite, channel.credentials, token.secret or b"", token.algorithm, self._nonce, nobody
        )
        return Named(token.name or "", secret) if isinstance(token, UserNameToken) else Bearer(secret)

    def _certified(
        self, suite: Suite, token: CertificateToken, given: SignatureData, channel: ServerChannel
    ) -> User | Refusal:
        chain = certificates(token.certificate or b"")
        key = public_key(chain[0]) if chain is not None else None
        if key is None:
            return Refusal(Status.IDENTITY_TOKEN_INVALID, "a user's certificate that cannot be read")
        mine = channel.credentials
        if given.algorithm != suite.sign_uri or not any(
            verified(suite, key, given.signature or b"", shown + self._nonce)
            for shown in {mine.leaf, mine.sent}
        ):
            return Refusal(Status.USER_SIGNATURE_INVALID, "the user's signature does not hold")
        return Certified(token.certificate or b"")


class Created(Struct, frozen=True, eq=False):
    """A session that waits to be activated, and the answer that says so."""

    session: Session
    answer: bytes


def create(
    request: CreateSessionRequest,
    channel: ServerChannel,
    endpoints: tuple[EndpointDescription, ...],
    most_request: int,
    random: Random,
    now: Now,
) -> Created | Refusal:
    """A session for whoever the channel belongs to, if that is who asks."""
    application, policy = channel.application, channel.policy
    if application is None or policy is None:
        return Refusal(Status.SECURITY_MODE_INSUFFICIENT, "a channel without security")
    chain = certificates(request.certificate or b"")
    if chain is None or not compare_digest(chain[0], channel.certificate):
        return Refusal(Status.CERTIFICATE_INVALID, "another certificate than the channel's, or none")
    if not compare_digest((request.client.uri or "").encode(), application.uri.encode()):
        return Refusal(Status.CERTIFICATE_URI_INVALID, "another ApplicationUri than the certificate's")
    nonce = request.nonce or b""
    if not NONCE_SIZE <= len(nonce) <= MOST_CLIENT_NONCE:
        return Refusal(Status.NONCE_INVALID, "a nonce of 32 to 128 bytes is needed")
    wanted = request.timeout_ms
    timeout_ms = min(max(wanted, LEAST_TIMEOUT_MS), MOST_TIMEOUT_MS) if wanted > 0 else MOST_TIMEOUT_MS
    session = Session(channel, application.uri, timeout_ms, random)
    suite, mine = SUITES[policy], channel.credentials
    signature = sign(suite, mine.key, chain[0] + nonce)
    answer = CreateSessionResponse(
        header=ResponseHeader(timestamp=messages.moment(now.wall_ns), handle=request.header.handle),
        session_id=session.id,
        token=session.token,
        timeout_ms=timeout_ms,
        nonce=session.nonce,
        certificate=mine.sent,
        endpoints=endpoints,
        signature=SignatureData(suite.sign_uri, signature),
        most_request=most_request,
    )
    return Created(session, messages.encode(answer))


_KINDS: dict[type[messages.UserToken], int] = {
    AnonymousToken: 0,
    UserNameToken: 1,
    CertificateToken: 2,
    messages.IssuedToken: 3,
}
"Their numbers in a UserTokenPolicy. Only an anonymous one may come without its policy's id: as a null token."
