"""A session of ours at a server of the plant: what is asked, what answers must prove (OPC 10000-4 §5.7).

    ask = create(channel, application, …)                          bytes of CreateSession
    made = created(body, channel, nonce)                           Upstream or Refusal
    ask = activate(channel, made, account)                         bytes of ActivateSession, or Refusal
    nonce = activated(body)                                        the server's next nonce, or Refusal

The server's certificate is pinned, so that its signature proves that it, and nobody in between, speaks.
"""

from hmac import compare_digest
from typing import TypeVar

from msgspec import Struct

from gateway.model.asset import OpcuaMode
from gateway.model.moment import Now
from gateway.wire.opcua import messages, usersecret
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    ActivateSessionResponse,
    AnonymousToken,
    ApplicationDescription,
    CloseSessionRequest,
    CreateSessionRequest,
    CreateSessionResponse,
    EndpointDescription,
    RequestHeader,
    ServiceFault,
    SignatureData,
    Unread,
    UserNameToken,
    UserTokenPolicy,
)
from gateway.wire.opcua.security import (
    BY_URI,
    NONCE_SIZE,
    NONE_URI,
    certificates,
    sign,
    verified,
)
from gateway.wire.opcua.status import Status

A = TypeVar("A", CreateSessionResponse, ActivateSessionResponse)


class Refused(Struct, frozen=True):
    """There is no session; the status is the server's own where it gave one."""

    status: int
    why: str


class Account(Struct, frozen=True):
    """A user of the server."""

    name: str
    password: str

    def __repr__(self) -> str:
        """Without the password: what is printed ends up in logs."""
        return f"Account({self.name!r})"


class Upstream(Struct, frozen=True, kw_only=True):
    """A session that the server made for us."""

    id: bytes
    token: bytes
    "As it stands in requests."
    nonce: bytes
    timeout_ms: float
    most_request: int
    users: tuple[UserTokenPolicy, ...]
    "The kinds of users that it takes at this policy and mode."


def create(
    channel: ClientChannel,
    application: ApplicationDescription,
    url: str,
    name: str,
    nonce: bytes,
    timeout_ms: float,
    most_response: int,
    now: Now,
) -> bytes:
    """CreateSession; `nonce` is 32 random bytes that `created` is given again."""
    return messages.encode(
        CreateSessionRequest(
            header=RequestHeader(timestamp=messages.moment(now.wall_ns)),
            client=application,
            url=url,
            name=name,
            nonce=nonce,
            certificate=channel.credentials.leaf,
            timeout_ms=timeout_ms,
            most_response=most_response,
        )
    )


def created(body: bytes, channel: ClientChannel, nonce: bytes) -> Upstream | Refused:
    """The session, if the server proves that it holds the pinned certificate's key."""
    answer = _answer(body, CreateSessionResponse)
    if isinstance(answer, Refused):
        return answer
    chain = certificates(answer.certificate or b"")
    if chain is None or not compare_digest(chain[0], channel.certificate):
        return Refused(Status.CERTIFICATE_INVALID, "the server's certificate is not the pinned one")
    suite, mine = channel.suite, channel.credentials
    given = answer.signature
    if given.algorithm != suite.sign_uri or not any(
        verified(suite, channel.key, given.signature or b"", shown + nonce)
        for shown in {mine.leaf, mine.sent}
    ):
        return Refused(Status.APPLICATION_SIGNATURE_INVALID, "the server's signature does not hold")
    theirs = answer.nonce or b""
    if len(theirs) < NONCE_SIZE:
        return Refused(Status.NONCE_INVALID, "the server's nonce is too short")
    return Upstream(
        id=answer.session_id,
        token=answer.token,
        nonce=theirs,
        timeout_ms=answer.timeout_ms,
        most_request=answer.most_request,
        users=_users(answer.endpoints, channel),
    )


def activate(
    channel: ClientChannel, upstream: Upstream, account: Account | None, now: Now
) -> bytes | Refused:
    """ActivateSession, as this user or as nobody."""
    suite = channel.suite
    proof = sign(suite, channel.credentials.key, channel.certificate + upstream.nonce)
    user = _user(channel, upstream, account)
    if isinstance(user, Refused):
        return user
    return messages.encode(
        ActivateSessionRequest(
            header=RequestHeader(token=upstream.token, timestamp=messages.moment(now.wall_ns)),
            signature=SignatureData(suite.sign_uri, proof),
            user=messages.user(user),
        )
    )


def activated(body: bytes) -> bytes | Refused:
    """The server's next nonce."""
    answer = _answer(body, ActivateSessionResponse)
    return answer if isinstance(answer, Refused) else answer.nonce or b""


def close(token: bytes, now: Now, *, delete_subscriptions: bool = True) -> bytes:
    """CloseSession."""
    header = RequestHeader(token=token, timestamp=messages.moment(now.wall_ns))
    return messages.encode(CloseSessionRequest(header=header, delete_subscriptions=delete_subscriptions))


def _user(
    channel: ClientChannel, upstream: Upstream, account: Account | None
) -> AnonymousToken | UserNameToken | Refused:
    """The token for a user, protected as the server's policy for it says."""
    kind = 0 if account is None else 1
    offered = next((each for each in upstream.users if each.kind == kind), None)
    if offered is None:
        return Refused(
            Status.IDENTITY_TOKEN_REJECTED, "the server takes no such user at this policy and mode"
        )
    if account is None:
        return AnonymousToken(offered.id)
    secret = account.password.encode()
    if offered.policy_uri == NONE_URI:
        if channel.mode is not OpcuaMode.SIGN_AND_ENCRYPT:
            return Refused(Status.SECURITY_MODE_INSUFFICIENT, "the server wants passwords in clear")
        return UserNameToken(offered.id, account.name, secret, None)
    suite = BY_URI.get(offered.policy_uri) if offered.policy_uri else channel.suite
    if suite is None:
        return Refused(Status.SECURITY_POLICY_REJECTED, "the server wants passwords under a broken policy")
    sealed = usersecret.seal(suite, channel.key, secret, upstream.nonce)
    return UserNameToken(offered.id, account.name, sealed, suite.wrap_uri)


def _users(endpoints: tuple[EndpointDescription, ...], channel: ClientChannel) -> tuple[UserTokenPolicy, ...]:
    for endpoint in endpoints:
        if (endpoint.policy_uri, endpoint.mode) == (channel.suite.uri, channel.mode_number):
            return endpoint.users
    return ()


def _answer(body: bytes, kind: type[A]) -> A | Refused:
    fault = messages.read(body, ServiceFault)
    if isinstance(fault, ServiceFault):
        return Refused(fault.header.status, "the server refused")
    answer = messages.read(body, kind)
    if isinstance(answer, Unread):
        return Refused(Status.DECODING_ERROR, answer.what)
    if answer.header.status:
        return Refused(answer.header.status, "the server refused")
    return answer
