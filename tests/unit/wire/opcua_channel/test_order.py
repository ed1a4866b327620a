"""Sequence numbers and chunks: what follows what, how much is kept (OPC 10000-6 §6.7.2.4, §6.7.3)."""

import pytest

from gateway.wire.opcua.channel import FIRST_SEQUENCES, LAST_SEQUENCE, TURN_SEQUENCE
from gateway.wire.opcua.events import Aborted, ChannelLimits, Lost, Message
from gateway.wire.opcua.framing import ABORT, FINAL, PART, Buffers, Fault
from gateway.wire.opcua.messages import ResponseHeader, ServiceFault, read
from gateway.wire.opcua.status import Status
from tests.opcua import Pair, at

SEQUENCE = [Lost(Status.SECURITY_CHECKS_FAILED, Fault.SEQUENCE)]
TOO_LARGE = [Lost(Status.TCP_MESSAGE_TOO_LARGE, Fault.MESSAGE_SIZE)]
SMALL = ChannelLimits(buffers=Buffers(8192, 8192, 20_000, 4))


def opened(**changes: ChannelLimits) -> Pair:
    pair = Pair(**changes)  # type: ignore[arg-type]
    pair.connect()
    return pair


def chunk(
    pair: Pair, kind: bytes = FINAL, body: bytes = b"", request: int = 1, sequence: int | None = None
) -> bytes:
    """A chunk that an insider makes by hand."""
    token = pair.client._token
    assert token is not None
    number = pair.client._next() if sequence is None else sequence
    return token.outgoing.seal(kind, pair.client.channel_id, token.id, number, request, body)


def test_a_replayed_message_ends_it() -> None:
    pair = opened()
    message = pair.client.message(1, b"once", at())
    assert pair.server.receive(message, at()) == [Message(1, b"once")]
    assert pair.server.receive(message, at()) == SEQUENCE


@pytest.mark.parametrize("gap", [-2, -1, 0, 2, 3, 1000, 2**31])
def test_a_gap_ends_it(gap: int) -> None:
    pair = opened()
    assert pair.server.receive(chunk(pair, sequence=(1 + gap) % 2**32), at()) == SEQUENCE


def test_a_channel_may_begin_with_any_number() -> None:
    pair = Pair()
    pair.client._sent = 123_456
    pair.connect()
    assert pair.talks()


def test_our_numbers_turn_where_the_clause_says() -> None:
    pair = opened()
    for end, other in ((pair.client, pair.server), (pair.server, pair.client)):
        end._sent = other._received = LAST_SEQUENCE - 1
    numbers = []
    for _ in range(5):
        assert pair.talks()
        numbers.append(pair.client._sent)
    assert numbers == [LAST_SEQUENCE, TURN_SEQUENCE, 1, 2, 3]
    assert TURN_SEQUENCE > LAST_SEQUENCE == 4_294_966_271


@pytest.mark.parametrize("last", [LAST_SEQUENCE, LAST_SEQUENCE + 1, 2**32 - 1])
@pytest.mark.parametrize("first", [0, 1, FIRST_SEQUENCES - 1])
def test_a_peer_may_begin_again_near_the_end(last: int, first: int) -> None:
    pair = opened()
    pair.server._received = last
    assert pair.server.receive(chunk(pair, sequence=first), at()) == [Message(1, b"")]
    assert pair.server.receive(chunk(pair, sequence=first + 1), at()) == [Message(1, b"")]


@pytest.mark.parametrize(
    ("last", "first"),
    [(LAST_SEQUENCE - 1, 0), (LAST_SEQUENCE, FIRST_SEQUENCES), (2**32 - 1, FIRST_SEQUENCES), (5, 0)],
)
def test_nobody_begins_again_elsewhere(last: int, first: int) -> None:
    pair = opened()
    pair.server._received = last
    assert pair.server.receive(chunk(pair, sequence=first), at()) == SEQUENCE


def test_chunks_of_two_messages_do_not_mix() -> None:
    pair = opened()
    assert pair.server.receive(chunk(pair, PART, b"a", 1), at()) == []
    assert pair.server.receive(chunk(pair, FINAL, b"b", 2), at()) == [
        Lost(Status.SECURITY_CHECKS_FAILED, Fault.REQUEST_ID)
    ]


def test_an_aborted_message_is_dropped_and_the_channel_goes_on() -> None:
    pair = opened()
    why = int(Status.REQUEST_TOO_LARGE).to_bytes(4, "little") + b"\4\0\0\0oops"
    assert pair.server.receive(chunk(pair, PART, bytes(1000), 3), at()) == []
    assert pair.server.held == 1000
    assert pair.server.receive(chunk(pair, ABORT, why, 3), at()) == [
        Aborted(3, Status.REQUEST_TOO_LARGE, "oops")
    ]
    assert not pair.server.held
    assert pair.talks()
    assert pair.server.receive(chunk(pair, ABORT, b"?", 4), at()) == [Aborted(4, Status.UNEXPECTED_ERROR, "")]


def test_a_message_has_so_many_chunks_and_no_more() -> None:
    pair = opened(server_limits=SMALL)
    for _ in range(3):
        assert pair.server.receive(chunk(pair, PART), at()) == []
    assert pair.server.receive(chunk(pair), at()) == [Message(1, b"")]
    for _ in range(4):
        assert pair.server.receive(chunk(pair, PART), at()) == []
    assert pair.server.receive(chunk(pair, PART), at()) == TOO_LARGE
    assert not pair.server.held


def test_a_message_has_so_many_bytes_and_no_more() -> None:
    pair = opened(server_limits=SMALL)
    for _ in range(2):
        assert pair.server.receive(chunk(pair, PART, bytes(8000)), at()) == []
    assert pair.server.receive(chunk(pair, FINAL, bytes(4000)), at()) == [Message(1, bytes(20_000))]
    for _ in range(2):
        assert pair.server.receive(chunk(pair, PART, bytes(8000)), at()) == []
    assert pair.server.receive(chunk(pair, FINAL, bytes(4001)), at()) == TOO_LARGE
    one = opened(server_limits=ChannelLimits(buffers=Buffers(8192, 8192, 7000, 4)))
    assert one.server.receive(chunk(one, FINAL, bytes(7001)), at()) == TOO_LARGE


def test_the_default_bounds_are_those_that_are_said() -> None:
    assert Buffers() == Buffers(65_535, 65_535, 2 * 1024 * 1024, 64)
    pair = opened()
    most = pair.client._most_body
    assert pair.client.fits(2 * 1024 * 1024)
    assert not pair.client.fits(2 * 1024 * 1024 + 1)
    for _ in range(2 * 1024 * 1024 // most):
        assert pair.server.receive(chunk(pair, PART, bytes(most)), at()) == []
    assert pair.server.receive(chunk(pair, PART, bytes(most)), at()) == TOO_LARGE


def test_a_request_that_the_server_would_not_take_is_not_sent() -> None:
    pair = opened(server_limits=SMALL)
    assert pair.client.fits(20_000)
    assert not pair.client.fits(20_001)
    with pytest.raises(ValueError, match="fits"):
        pair.client.message(1, bytes(20_001), at())


def answer(size: int) -> bytes:
    """An answer of so many bytes to the request with handle 7."""
    return b"\1\0\x7a\2" + bytes(8) + b"\7\0\0\0" + bytes(size - 16)


def test_an_answer_that_the_client_would_not_take_becomes_a_fault() -> None:
    pair = opened(client_limits=SMALL)
    assert pair.answered(answer(20_000)) == [Message(1, answer(20_000))]
    (event,) = pair.answered(answer(20_001))
    assert isinstance(event, Message)
    fault = read(event.body, ServiceFault)
    assert isinstance(fault, ServiceFault)
    assert fault.header == ResponseHeader(
        timestamp=fault.header.timestamp, handle=7, status=Status.RESPONSE_TOO_LARGE
    )


def test_a_client_that_takes_not_even_a_fault_gets_an_abort() -> None:
    pair = opened(client_limits=ChannelLimits(buffers=Buffers(8192, 8192, 5, 1)))
    assert pair.answered(answer(100)) == [Aborted(1, Status.RESPONSE_TOO_LARGE, "")]
    assert pair.answered(b"tiny") == [Message(1, b"tiny")]


def test_too_many_chunks_for_the_client_is_too_large_as_well() -> None:
    pair = opened(client_limits=ChannelLimits(buffers=Buffers(8192, 8192, 0, 2)))
    most = pair.server._most_body
    assert pair.answered(answer(2 * most)) == [Message(1, answer(2 * most))]
    (event,) = pair.answered(answer(2 * most + 1))
    assert isinstance(event, Message)
    assert isinstance(read(event.body, ServiceFault), ServiceFault)


def test_channel_and_token_of_another_are_unknown() -> None:
    pair = opened()
    pair.client.channel_id = 78
    assert pair.asked() == [Lost(Status.TCP_SECURE_CHANNEL_UNKNOWN, Fault.CHANNEL_ID)]
    pair = opened()
    token = pair.client._token
    assert token is not None
    token.id += 1
    assert pair.asked() == [Lost(Status.SECURE_CHANNEL_TOKEN_UNKNOWN, Fault.TOKEN_ID)]


def test_what_nobody_asks_for_is_not_sent() -> None:
    pair = Pair()
    assert not pair.client.opened
    assert not pair.client.fits(1)
    assert pair.client.close(at()) == b""
    with pytest.raises(ValueError, match="no channel"):
        pair.client.message(1, b"", at())
