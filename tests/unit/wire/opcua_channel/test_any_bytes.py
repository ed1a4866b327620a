"""Whatever comes, in whatever pieces: a channel reports it the same, raises nothing, and ends by name."""

import gc
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.asset import OpcuaMode
from gateway.wire.opcua.channel import Channel
from gateway.wire.opcua.events import ChannelLimits, Closed, Event, Lost, Message
from gateway.wire.opcua.framing import Buffers, Fault, error
from gateway.wire.opcua.messages import SHAPES, Unread, encode, read
from tests.opcua import MODES, Pair, at, joined
from tests.unit.wire.opcua_channel.test_messages import EXAMPLES

MOST_MS = 50.0
SMALL = ChannelLimits(buffers=Buffers(8192, 8192))
BODIES = [b"", b"short", bytes(5000), bytes(30_000), b"after"]


def conversation(mode: OpcuaMode) -> bytes:
    """All that a client says from Hello to its end, with a renewal and messages of several chunks."""
    pair = Pair(mode=mode, client_limits=SMALL)
    said = hello = pair.client.hello()
    pair.server.receive(hello, at())
    pair.client.receive(pair.server.take(), at())
    for step in (pair.client.open, pair.client.renew):
        opening = step(at(5))
        said += opening
        pair.server.receive(opening, at(5))
        pair.client.receive(pair.server.take(), at(5))
        for number, body in enumerate(BODIES):
            chunks = pair.client.message(number, body, at(5))
            said += chunks
            pair.server.receive(chunks, at(5))
        pair.server._least_between_ns = 0
    return said + pair.client.close(at(5))


SAID = {mode: conversation(mode) for mode in MODES}


def listening(mode: OpcuaMode) -> Channel:
    """A server that throws the same dice as the one that was spoken to."""
    server = Pair(mode=mode, client_limits=SMALL).server
    server._least_between_ns = 0
    return server


def fed(channel: Channel, pieces: list[bytes]) -> list[Event]:
    return [event for piece in pieces for event in channel.receive(piece, at(5))]


WHOLE = {mode: fed(listening(mode), [SAID[mode]]) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_the_conversation_is_heard_to_its_end(mode: OpcuaMode) -> None:
    heard = [event.body for event in WHOLE[mode] if isinstance(event, Message)]
    assert heard == BODIES * 2
    assert WHOLE[mode][-1] == Closed()


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=30))
def test_pieces_make_no_difference(mode: OpcuaMode, cuts: list[int]) -> None:
    said = SAID[mode]
    places = [0, *sorted(cut % len(said) for cut in cuts), len(said)]
    pieces = [said[one:other] for one, other in pairwise(places)]
    assert fed(listening(mode), pieces) == WHOLE[mode]


def test_single_bytes_make_no_difference() -> None:
    said = SAID[OpcuaMode.SIGN]
    assert fed(listening(OpcuaMode.SIGN), [bytes((byte,)) for byte in said]) == WHOLE[OpcuaMode.SIGN]


def quick(run: Callable[[], object]) -> None:
    """It takes no more of processor; what collecting the garbage of a whole suite takes is not its."""
    gc.disable()
    try:
        began = time.process_time()
        run()
        assert (time.process_time() - began) * 1000 < MOST_MS
    finally:
        gc.enable()


def ends(channel: Channel, data: bytes) -> list[Event]:
    """What comes of it, within the time that a message may take."""
    events: list[Event] = []
    quick(lambda: events.extend(channel.receive(data, at(5))))
    lost = [event for event in events if isinstance(event, Lost)]
    assert len(lost) <= 1
    if lost:
        assert events[-1] is lost[0]
        assert channel.over
        assert channel.out.endswith(error(lost[0].status)) or lost[0].why is Fault.ERROR
    assert len(channel._held) < 65_535
    return events


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_changed_bytes_end_by_name_and_change_no_message(mode: OpcuaMode, data: st.DataObject) -> None:
    said = bytearray(SAID[mode])
    for _ in range(data.draw(st.integers(1, 4))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    heard = [event for event in ends(listening(mode), bytes(said)) if isinstance(event, Message)]
    assert heard == [event for event in WHOLE[mode] if isinstance(event, Message)][: len(heard)]


def open_server() -> Channel:
    server, _ = joined(OpcuaMode.SIGN_AND_ENCRYPT)
    return server


def open_client() -> Channel:
    pair = Pair()
    pair.connect()
    return pair.client


STATES: dict[str, Callable[[], Channel]] = {
    "server": lambda: Pair().server,
    "open server": open_server,
    "client": lambda: Pair().client,
    "open client": open_client,
}
HEADS = [b"HELF", b"ACKF", b"ERRF", b"OPNF", b"MSGF", b"MSGC", b"MSGA", b"CLOF"]


@pytest.mark.parametrize("state", STATES)
@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(HEADS), rest=st.binary(max_size=300), glued=st.binary(max_size=50))
def test_any_bytes_end_by_name_or_wait(state: str, kind: bytes, rest: bytes, glued: bytes) -> None:
    chunk = kind + (len(rest) + 8).to_bytes(4, "little") + rest
    ends(STATES[state](), chunk + glued)
    ends(STATES[state](), rest)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), message=st.sampled_from(EXAMPLES))
def test_any_body_is_a_message_or_unread(data: st.DataObject, message: object) -> None:
    body = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    outcome: list[object] = []
    quick(lambda: outcome.append(read(bytes(body), type(message))))
    assert isinstance(outcome[0], Unread | type(message))


@settings(max_examples=100, deadline=None)
@given(rest=st.binary(max_size=400), kind=st.sampled_from(list(SHAPES)))
def test_any_bytes_are_a_message_or_unread(rest: bytes, kind: type) -> None:
    body = b"\1\0" + SHAPES[kind][0].to_bytes(2, "little") + rest
    assert isinstance(read(body, kind), Unread | kind)
