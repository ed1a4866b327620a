"""New keys in time: who uses which token when (OPC 10000-4 §5.6.2.1), and what a renewal may not change."""

import pytest

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua.asymmetric import SEQUENCE, head
from gateway.wire.opcua.events import ChannelLimits, Lost, Message, Opened
from gateway.wire.opcua.framing import Fault
from gateway.wire.opcua.keys import Token
from gateway.wire.opcua.messages import OpenRequest, encode
from gateway.wire.opcua.security import MODE_NUMBERS, SUITES, Credentials, seal_open, thumbprint
from gateway.wire.opcua.status import Status
from tests.opcua import Pair, at, credentials

TEN_SECONDS = ChannelLimits(most_lifetime_ms=10_000)


def opened(now_s: float = 0.0) -> Pair:
    pair = Pair(client_limits=TEN_SECONDS)
    pair.connect(at(now_s))
    return pair


def token_id(chunk: bytes) -> int:
    return int.from_bytes(chunk[12:16], "little")


def test_a_client_renews_after_three_quarters_of_a_life() -> None:
    pair = opened()
    assert not pair.client.due_renewal(at(7.49))
    assert pair.client.due_renewal(at(7.5))
    asked = pair.client.renew(at(7.5))
    assert not pair.client.due_renewal(at(8)), "it is asked for already"
    assert pair.client.renew(at(8)) == b""
    pair.server.receive(asked, at(8))
    (event,) = pair.client.receive(pair.server.take(), at(8))
    assert isinstance(event, Opened)
    assert event.renewed
    assert not pair.client.due_renewal(at(15.4))
    assert pair.client.due_renewal(at(15.5))


def test_a_server_keeps_the_old_token_until_the_client_uses_the_new_one() -> None:
    pair = opened()
    first = pair.server.message(1, b"first", at())
    pair.client.receive(first, at())
    pair.renew(at(7.5))
    second = pair.server.message(2, b"second", at(8))
    assert token_id(second) == token_id(first)
    assert pair.client.receive(second, at(8)) == [Message(2, b"second")]
    assert pair.asked(now=at(8)) == [Message(1, b"question")]
    third = pair.server.message(3, b"third", at(8))
    assert token_id(third) != token_id(second)
    assert pair.client.receive(third, at(8)) == [Message(3, b"third")]


def test_sixty_renewals_with_messages_under_way_both_ways() -> None:
    pair = opened()
    for turn in range(1, 61):
        now = at(turn * 7.5)
        asked = pair.client.renew(now)
        under_way = pair.client.message(5, b"asked under the old token", now)
        assert [type(event) for event in pair.server.receive(asked + under_way, now)] == [Opened, Message]
        answer = pair.server.take()
        late = pair.server.message(5, b"answered under the old token", now)
        assert [type(event) for event in pair.client.receive(answer + late, now)] == [Opened, Message]
        assert pair.talks(now)


def test_an_answer_under_the_old_token_is_believed_a_quarter_of_its_life_longer() -> None:
    pair = opened()
    pair.renew(at(7.5))
    assert isinstance(pair.client._previous, Token)
    late = pair.server.message(1, b"late", at(9.9))
    assert token_id(late) == pair.client._previous.id
    assert pair.client.receive(late, at(12.49)) == [Message(1, b"late")]
    pair = opened()
    pair.renew(at(7.5))
    later = pair.server.message(1, b"later", at(9.9))
    assert pair.client.receive(later, at(12.5)) == [Lost(Status.SECURE_CHANNEL_TOKEN_UNKNOWN, Fault.TOKEN_ID)]


def test_a_server_sends_under_the_new_token_once_the_old_one_has_expired() -> None:
    pair = opened()
    pair.renew(at(7.5))
    assert pair.server._pending is not None
    new = pair.server._pending.id
    assert token_id(pair.server.message(1, b"", at(9.99))) != new
    assert token_id(pair.server.message(1, b"", at(10))) == new


@pytest.mark.parametrize(("when", "believed"), [(12.49, True), (12.5, False), (1e6, False)])
def test_a_token_is_dead_after_125_percent_of_its_life(when: float, believed: bool) -> None:
    pair = opened()
    assert pair.server.expired(at(when)) is pair.client.expired(at(when)) is not believed
    (event,) = pair.asked(now=at(when))
    assert isinstance(event, Message) is believed
    if not believed:
        assert event == Lost(Status.SECURE_CHANNEL_TOKEN_UNKNOWN, Fault.TOKEN_ID)


def test_the_token_before_the_last_is_unknown() -> None:
    pair = opened()
    first = pair.client._token
    pair.renew(at(7.5))
    pair.talks(at(7.6))
    pair.renew(at(9))
    pair.talks(at(9.1))
    assert first is not None
    pair.client._token = first
    assert pair.asked(now=at(9.2)) == [Lost(Status.SECURE_CHANNEL_TOKEN_UNKNOWN, Fault.TOKEN_ID)]


def test_an_idle_client_may_renew_again_and_again() -> None:
    pair = opened()
    for turn in range(1, 10):
        assert [type(event) for event in pair.renew(at(turn * 7.5))] == [Opened, Opened]


def test_a_second_renewal_before_the_first_is_used_is_refused() -> None:
    pair = opened()
    pair.renew(at(2))
    assert pair.renew(at(4)) == [
        Lost(Status.SECURITY_CHECKS_FAILED, Fault.PENDING),
        Lost(Status.SECURITY_CHECKS_FAILED, Fault.ERROR),
    ]


def test_renewals_are_no_flood() -> None:
    pair = opened()
    pair.renew(at(1))
    assert pair.talks(at(1))
    assert pair.renew(at(1.999))[0] == Lost(Status.SECURITY_CHECKS_FAILED, Fault.OFTEN)


@pytest.mark.parametrize(
    ("asked_ms", "given_ms"), [(0, 10_000), (9_999, 10_000), (60_000, 60_000), (0xFFFF_FFFF, 3_600_000)]
)
def test_a_life_is_neither_too_short_nor_too_long(asked_ms: int, given_ms: int) -> None:
    pair = Pair(client_limits=ChannelLimits(most_lifetime_ms=asked_ms))
    event = pair.connect()[2]
    assert isinstance(event, Opened)
    assert event.lifetime_ms == given_ms


def opening(
    pair: Pair,
    *,
    kind: int = 1,
    policy: OpcuaPolicy = OpcuaPolicy.BASIC256SHA256,
    mode: int = MODE_NUMBERS[OpcuaMode.SIGN_AND_ENCRYPT],
    nonce: bytes | None = b"n" * 32,
    channel_id: int = 77,
    who: Credentials | None = None,
    chain: bytes | None = None,
) -> bytes:
    """An OpenSecureChannel that an insider makes by hand."""
    mine, theirs = who or credentials("client"), credentials("server")
    clear = head(channel_id, SUITES[policy].uri, chain or mine.sent, thumbprint(theirs.leaf))
    body = encode(OpenRequest(kind=kind, mode=mode, nonce=nonce, lifetime_ms=0))
    plain = SEQUENCE.pack(pair.client._next(), 9) + body
    return seal_open(SUITES[policy], mine.key, theirs.key.public_key(), clear, plain)


def test_a_renewal_by_hand_is_taken() -> None:
    pair = opened()
    (event,) = pair.server.receive(opening(pair), at(5))
    assert isinstance(event, Opened)


CHANGES: dict[str, tuple[dict[str, object], Status, Fault]] = {
    "issue": ({"kind": 0}, Status.SECURITY_CHECKS_FAILED, Fault.REQUEST_TYPE),
    "new channel": ({"kind": 0, "channel_id": 0}, Status.TCP_SECURE_CHANNEL_UNKNOWN, Fault.CHANNEL_ID),
    "foreign channel": ({"channel_id": 78}, Status.TCP_SECURE_CHANNEL_UNKNOWN, Fault.CHANNEL_ID),
    "policy": (
        {"policy": OpcuaPolicy.AES256_SHA256_RSAPSS},
        Status.SECURITY_CHECKS_FAILED,
        Fault.CHANGED,
    ),
    "mode": ({"mode": 2}, Status.SECURITY_MODE_REJECTED, Fault.CHANGED),
    "no mode": ({"mode": 1}, Status.SECURITY_MODE_REJECTED, Fault.MODE),
    "invalid mode": ({"mode": 0}, Status.SECURITY_MODE_REJECTED, Fault.MODE),
    "short nonce": ({"nonce": b"n" * 31}, Status.NONCE_INVALID, Fault.NONCE),
    "long nonce": ({"nonce": b"n" * 33}, Status.NONCE_INVALID, Fault.NONCE),
    "no nonce": ({"nonce": None}, Status.NONCE_INVALID, Fault.NONCE),
    "certificate": ({"who": credentials("other")}, Status.SECURITY_CHECKS_FAILED, Fault.CHANGED),
    "chain": (
        {"chain": credentials("client").leaf + credentials("other").leaf},
        Status.SECURITY_CHECKS_FAILED,
        Fault.CHANGED,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_renewal_changes_keys_and_nothing_else(change: str) -> None:
    changed, status, why = CHANGES[change]
    pair = opened()
    assert pair.server.receive(opening(pair, **changed), at(5)) == [Lost(status, why)]  # type: ignore[arg-type]


def test_the_nonce_of_a_renewal_is_a_fresh_one() -> None:
    pair = opened()
    assert pair.server.receive(opening(pair, nonce=pair.client._nonce), at(5)) == [
        Lost(Status.NONCE_INVALID, Fault.NONCE)
    ]


def test_a_renewal_does_not_come_in_the_middle_of_a_message() -> None:
    pair = opened()
    chunks = pair.client.message(1, bytes(100_000), at(2))
    pair.server.receive(chunks[: int.from_bytes(chunks[4:8], "little")], at(2))
    assert pair.server.receive(pair.client.renew(at(2)), at(2)) == [
        Lost(Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE)
    ]
