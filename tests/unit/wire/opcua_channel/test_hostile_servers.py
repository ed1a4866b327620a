"""A device is not a friend: what a server, or somebody in its place, may not make of our channel."""

from typing import Any

import pytest

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua import login, messages, offers, tokens
from gateway.wire.opcua.asymmetric import SEQUENCE, head
from gateway.wire.opcua.client_channel import LEAST_LIFETIME_MS, ClientChannel
from gateway.wire.opcua.events import Acknowledged, Lost, Opened
from gateway.wire.opcua.framing import Buffers, Fault, acknowledge, error
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    ActivateSessionResponse,
    CreateSessionResponse,
    OpenResponse,
    ResponseHeader,
    SecurityToken,
    ServiceFault,
    UserTokenPolicy,
)
from gateway.wire.opcua.security import NONE_URI, POLICY_PREFIX, SUITES, Credentials, seal_open, thumbprint
from gateway.wire.opcua.status import Status
from tests.opcua import LIMITS, POLICIES, URL, Pair, at, credentials, dice
from tests.unit.wire.opcua_channel.sessions import Visit

SUITE = SUITES[OpcuaPolicy.BASIC256SHA256]
CHECKS = Status.SECURITY_CHECKS_FAILED
ENCRYPT = OpcuaMode.SIGN_AND_ENCRYPT


def asking() -> ClientChannel:
    """A client that has asked for a channel."""
    mine, theirs = credentials("client"), credentials("server")
    client = ClientChannel(mine, theirs.leaf, OpcuaPolicy.BASIC256SHA256, ENCRYPT, URL, LIMITS, dice())
    client.hello()
    assert client.receive(acknowledge(Buffers()), at()) == [Acknowledged()]
    assert client.open(at())
    return client


def answer(
    *,
    who: Credentials | None = None,
    chain: bytes | None = None,
    uri: str = SUITE.uri,
    receiver: bytes | None = None,
    channel_id: int = 77,
    said_channel: int | None = None,
    token: int = 5,
    nonce: bytes | None = b"s" * 32,
    lifetime_ms: int = 60_000,
    request_id: int = 1,
    sequence: int = 1,
    status: int = 0,
    body: bytes | None = None,
) -> bytes:
    """An answer to OpenSecureChannel, made by hand."""
    mine, theirs = who or credentials("server"), credentials("client")
    to = thumbprint(theirs.leaf) if receiver is None else receiver
    clear = head(channel_id, uri, mine.sent if chain is None else chain, to)
    said = channel_id if said_channel is None else said_channel
    made = OpenResponse(
        header=ResponseHeader(status=status),
        token=SecurityToken(said, token, 0, lifetime_ms),
        nonce=nonce,
    )
    plain = SEQUENCE.pack(sequence, request_id) + (messages.encode(made) if body is None else body)
    return seal_open(SUITE, mine.key, theirs.key.public_key(), clear, plain)


def test_an_answer_by_hand_opens_the_channel() -> None:
    (event,) = asking().receive(answer(), at())
    assert isinstance(event, Opened)


GLUED = messages.encode(ServiceFault(ResponseHeader())) + b"\0"
FAULT = messages.encode(ServiceFault(ResponseHeader(status=Status.TCP_SERVER_TOO_BUSY)))
WRONG: dict[str, tuple[dict[str, Any], int, Fault]] = {
    "another key": ({"who": credentials("other"), "chain": credentials("server").leaf}, CHECKS, Fault.OPEN),
    "another certificate": ({"who": credentials("other")}, CHECKS, Fault.CERTIFICATE),
    "no certificate": ({"chain": b""}, CHECKS, Fault.CERTIFICATE),
    "another policy": ({"uri": POLICY_PREFIX + "Basic256"}, CHECKS, Fault.POLICY),
    "no policy": ({"uri": NONE_URI}, CHECKS, Fault.POLICY),
    "another receiver": ({"receiver": bytes(20)}, CHECKS, Fault.THUMBPRINT),
    "no receiver": ({"receiver": b""}, CHECKS, Fault.THUMBPRINT),
    "two channels": ({"said_channel": 78}, CHECKS, Fault.CHANNEL_ID),
    "channel 0": ({"channel_id": 0}, CHECKS, Fault.CHANNEL_ID),
    "a short nonce": ({"nonce": b"s" * 31}, Status.NONCE_INVALID, Fault.NONCE),
    "no nonce": ({"nonce": None}, Status.NONCE_INVALID, Fault.NONCE),
    "another request": ({"request_id": 2}, CHECKS, Fault.REQUEST_ID),
    "a short life": ({"lifetime_ms": LEAST_LIFETIME_MS - 1}, CHECKS, Fault.TOKEN_ID),
    "bytes behind it": (
        {"body": GLUED},
        Status.DECODING_ERROR,
        Fault.OPEN,
    ),
    "a fault": ({"body": FAULT}, Status.TCP_SERVER_TOO_BUSY, Fault.REFUSED),
    "a bad status": ({"status": Status.TIMEOUT}, Status.TIMEOUT, Fault.REFUSED),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_not_quite_one_opens_nothing(wrong: str) -> None:
    changed, status, why = WRONG[wrong]
    client = asking()
    (event,) = client.receive(answer(**changed), at())
    assert isinstance(event, Lost)
    assert (event.status, event.why) == (status, why)
    assert not client.opened
    assert client.over


def test_a_nonce_of_ours_is_no_nonce_of_theirs() -> None:
    client = asking()
    (event,) = client.receive(answer(nonce=client._nonce), at())
    assert event == Lost(Status.NONCE_INVALID, Fault.NONCE)


def test_an_answer_that_cannot_be_taken_apart_is_refused() -> None:
    whole = answer()
    broken = whole[:12] + b"\xff\xff\0\0" + whole[16:]
    assert asking().receive(broken, at()) == [Lost(CHECKS, Fault.HEADER)]


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    client = asking()
    client.receive(answer(), at())
    assert client.receive(answer(sequence=2, token=6), at()) == [
        Lost(Status.TCP_MESSAGE_TYPE_INVALID, Fault.REQUEST_TYPE)
    ]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"channel_id": 78}, Fault.CHANNEL_ID),
        ({"token": 5}, Fault.TOKEN_ID),
        ({"sequence": 3}, Fault.SEQUENCE),
    ],
)
def test_a_renewal_is_of_the_same_channel_and_a_new_token(changed: dict[str, Any], why: Fault) -> None:
    client = asking()
    client.receive(answer(), at())
    assert client.renew(at(45))
    right: dict[str, Any] = {"request_id": 2, "sequence": 2, "token": 6, "nonce": b"t" * 32}
    (event,) = client.receive(answer(**(right | changed)), at(45))
    assert event == Lost(CHECKS, why)


def test_a_server_that_widens_what_was_offered_is_left() -> None:
    client = Pair().client
    client.hello()
    wider = acknowledge(Buffers(receive=65_536))
    assert client.receive(wider, at()) == [Lost(Status.CONNECTION_REJECTED, Fault.ACKNOWLEDGE)]


def test_a_servers_error_is_heard_in_every_state_and_not_answered() -> None:
    for client in (Pair().client, asking()):
        assert client.receive(error(Status.TCP_SERVER_TOO_BUSY), at()) == [
            Lost(Status.TCP_SERVER_TOO_BUSY, Fault.ERROR)
        ]
        assert client.take() == b""


def test_only_a_certificate_with_a_key_that_serves_can_be_pinned() -> None:
    with pytest.raises(ValueError, match="2048"):
        ClientChannel(
            credentials("client"), b"none", OpcuaPolicy.BASIC256SHA256, ENCRYPT, URL, LIMITS, dice()
        )


# sessions -----------------------------------------------------------------------------------------------


def made(visit: Visit, **changed: Any) -> bytes:
    """The answer to CreateSession, with something changed."""
    right = visit.create()
    assert isinstance(right, tokens.Created)
    read = messages.read(right.answer, CreateSessionResponse)
    assert isinstance(read, CreateSessionResponse)
    fields = {name: getattr(read, name) for name in read.__struct_fields__} | changed
    return messages.encode(CreateSessionResponse(**fields))


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"certificate": None}, Status.CERTIFICATE_INVALID),
        ({"certificate": credentials("other").leaf}, Status.CERTIFICATE_INVALID),
        ({"signature": messages.SignatureData()}, Status.APPLICATION_SIGNATURE_INVALID),
        (
            {"signature": messages.SignatureData(SUITE.sign_uri, bytes(256))},
            Status.APPLICATION_SIGNATURE_INVALID,
        ),
        ({"nonce": b"n" * 31}, Status.NONCE_INVALID),
        ({"nonce": None}, Status.NONCE_INVALID),
        ({"header": ResponseHeader(status=Status.TOO_MANY_SESSIONS)}, Status.TOO_MANY_SESSIONS),
    ],
)
def test_a_session_is_the_pinned_servers_or_none(changed: dict[str, Any], status: Status) -> None:
    visit = Visit()
    refused = login.created(made(visit, **changed), visit.pair.client, visit.nonce)
    assert isinstance(refused, login.Refused)
    assert refused.status == status


def test_a_fault_and_bytes_that_are_none_give_no_session() -> None:
    visit = Visit()
    refused = login.created(FAULT, visit.pair.client, visit.nonce)
    assert refused == login.Refused(Status.TCP_SERVER_TOO_BUSY, "the server refused")
    assert login.activated(FAULT) == refused
    broken = login.created(made(visit) + b"\0", visit.pair.client, visit.nonce)
    assert isinstance(broken, login.Refused)
    assert broken.status is Status.DECODING_ERROR
    told = ActivateSessionResponse(nonce=b"n" * 32)
    assert login.activated(messages.encode(told)) == b"n" * 32


def upstream(*users: UserTokenPolicy) -> login.Upstream:
    return login.Upstream(
        id=b"\0\1", token=b"\0\2", nonce=b"n" * 32, timeout_ms=1.0, most_request=0, users=users
    )


ACCOUNT = login.Account("operator", "geheim")


def asked(visit: Visit, *users: UserTokenPolicy, account: login.Account | None = ACCOUNT) -> Any:
    """The user that an ActivateSession of ours shows."""
    body = login.activate(visit.pair.client, upstream(*users), account, at())
    if isinstance(body, login.Refused):
        return body
    request = messages.read(body, ActivateSessionRequest)
    assert isinstance(request, ActivateSessionRequest)
    assert request.header.token == b"\0\2"
    return messages.read_user(request.user)


@pytest.mark.parametrize("policy", [None, "", *[POLICY_PREFIX + each for each in POLICIES]])
def test_a_password_is_encrypted_as_the_server_says(policy: str | None) -> None:
    user = asked(Visit(), UserTokenPolicy(id="a", kind=0), UserTokenPolicy(id="b", kind=1, policy_uri=policy))
    assert isinstance(user, messages.UserNameToken)
    assert (user.policy_id, user.name) == ("b", "operator")
    assert user.secret is not None
    assert len(user.secret) == 256
    suite = {each.wrap_uri for each in SUITES.values() if policy in (None, "", each.uri)}
    assert user.algorithm in suite


def test_a_password_goes_in_clear_only_where_the_channel_encrypts() -> None:
    plain = UserTokenPolicy(id="b", kind=1, policy_uri=NONE_URI)
    assert asked(Visit(), plain) == messages.UserNameToken("b", "operator", b"geheim", None)
    refused = asked(Visit(mode=OpcuaMode.SIGN), plain)
    assert isinstance(refused, login.Refused)
    assert refused.status is Status.SECURITY_MODE_INSUFFICIENT


def test_a_password_is_not_given_away_under_a_broken_policy() -> None:
    refused = asked(Visit(), UserTokenPolicy(id="b", kind=1, policy_uri=POLICY_PREFIX + "Basic128Rsa15"))
    assert isinstance(refused, login.Refused)
    assert refused.status is Status.SECURITY_POLICY_REJECTED


def test_a_user_whom_the_server_does_not_take_is_not_sent() -> None:
    for account, users in ((ACCOUNT, offers.users(anonymous=True)), (None, offers.users(passwords=True))):
        refused = asked(Visit(), *users, account=account)
        assert isinstance(refused, login.Refused)
        assert refused.status is Status.IDENTITY_TOKEN_REJECTED


def test_the_kinds_of_users_are_those_of_our_policy_and_mode() -> None:
    visit = Visit()
    made_ = login.created(made(visit, endpoints=()), visit.pair.client, visit.nonce)
    assert isinstance(made_, login.Upstream)
    assert made_.users == ()
