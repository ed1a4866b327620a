"""What a connection begins with, and how long a chunk may be in which state."""

import pytest

from gateway.wire.opcua.events import ChannelLimits, Hello, Lost
from gateway.wire.opcua.framing import (
    HEAD,
    MOST_CHUNK,
    MOST_HELLO,
    MOST_OPEN,
    MOST_URL,
    Buffers,
    Fault,
    acknowledge,
    agreed,
    error,
    hello,
    read_acknowledge,
    read_error,
    read_hello,
)
from gateway.wire.opcua.status import Status
from tests.opcua import URL, Pair, at


def lost(status: Status, why: Fault) -> list[object]:
    return [Lost(status, why)]


def test_hello_is_read_as_it_was_written() -> None:
    mine = Buffers(8192, 9000, 0, 7)
    assert read_hello(hello(mine, URL)) == (mine, URL)
    assert read_hello(hello(mine, "")) == (mine, "")
    longest = "opc.tcp://" + "x" * (MOST_URL - 10)
    assert len(hello(mine, longest)) == MOST_HELLO
    assert read_hello(hello(mine, longest)) == (mine, longest)
    with pytest.raises(ValueError, match="4096"):
        hello(mine, longest + "x")


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (hello(Buffers(8191), URL), Fault.BUFFERS),
        (hello(Buffers(send=8191), URL), Fault.BUFFERS),
        (hello(Buffers(), URL)[:-1], Fault.HELLO),
        (hello(Buffers(), URL) + b"x", Fault.HELLO),
        (hello(Buffers(), URL)[:30], Fault.HELLO),
        (hello(Buffers(), "")[:28] + b"\xfe\xff\xff\xff", Fault.HELLO),
        (hello(Buffers(), "")[:28] + b"\xff\xff\xff\x7f", Fault.URL),
        (hello(Buffers(), "ab")[:-2] + b"\xc3\x28", Fault.URL),
    ],
)
def test_a_hello_that_is_none_is_refused(chunk: bytes, why: Fault) -> None:
    assert read_hello(chunk) == why
    chunk = chunk[:4] + len(chunk).to_bytes(4, "little") + chunk[8:]
    server = Pair().server
    (event,) = server.receive(chunk, at())
    assert isinstance(event, Lost)
    assert event.why == why
    assert server.take() == error(event.status)


def test_neither_side_gets_a_buffer_wider_than_the_other_has() -> None:
    mine, theirs = Buffers(50_000, 60_000, 1, 2), Buffers(20_000, 30_000, 3, 4)
    assert agreed(mine, theirs) == Buffers(30_000, 20_000, 1, 2)
    shrunk = Buffers(30_000, 20_000, 1, 2)
    assert read_acknowledge(acknowledge(shrunk), theirs) == shrunk
    assert read_acknowledge(acknowledge(Buffers(30_001, 20_000)), theirs) == Fault.ACKNOWLEDGE
    assert read_acknowledge(acknowledge(Buffers(30_000, 20_001)), theirs) == Fault.ACKNOWLEDGE
    assert read_acknowledge(acknowledge(Buffers(8191, 20_000)), theirs) == Fault.ACKNOWLEDGE
    assert read_acknowledge(acknowledge(Buffers())[:-1], theirs) == Fault.ACKNOWLEDGE


def test_an_error_says_a_code_and_nothing_more() -> None:
    assert error(Status.TIMEOUT) == b"ERRF\x10\0\0\0\0\0\x0a\x80\xff\xff\xff\xff"
    assert read_error(error(Status.TIMEOUT)) == (Status.TIMEOUT, "")
    assert read_error(b"ERRF\x13\0\0\0\0\0\x0a\x80\x03\0\0\0why") == (Status.TIMEOUT, "why")
    assert read_error(b"ERRF") == (Status.UNEXPECTED_ERROR, "")


@pytest.mark.parametrize(
    "kind", [b"MSGF", b"OPNF", b"CLOF", b"ACKF", b"ERRF", b"RHEF", b"HELC", b"\x16\3\1\0", b"GET "]
)
def test_nothing_comes_before_hello(kind: bytes) -> None:
    server = Pair().server
    events = server.receive(HEAD.pack(kind, 100), at())
    assert events == lost(Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE)
    assert server.take() == error(Status.TCP_MESSAGE_TYPE_INVALID)


@pytest.mark.parametrize("kind", [b"HELF", b"MSGF", b"CLOF", b"OPNC", b"OPNA"])
def test_after_hello_only_a_channel_is_opened(kind: bytes) -> None:
    pair = Pair()
    pair.server.receive(pair.client.hello(), at())
    assert pair.server.receive(HEAD.pack(kind, 100), at()) == lost(
        Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE
    )


@pytest.mark.parametrize("kind", [b"HELF", b"ACKF", b"ERRF", b"CLOC", b"OPNC", b"MSGX", b"msgF"])
def test_an_open_channel_carries_messages_and_renewals(kind: bytes) -> None:
    pair = Pair()
    pair.connect()
    assert pair.server.receive(HEAD.pack(kind, 100), at()) == lost(
        Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE
    )


@pytest.mark.parametrize("size", [0, 7, MOST_HELLO + 1, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_the_size_of_hello_is_judged_before_it_is_waited_for(size: int) -> None:
    server = Pair().server
    assert server.receive(HEAD.pack(b"HELF", size), at()) == lost(Status.TCP_MESSAGE_TOO_LARGE, Fault.SIZE)
    assert not server.held


@pytest.mark.parametrize(
    ("kind", "most"),
    [(b"OPNF", MOST_OPEN), (b"MSGF", MOST_CHUNK), (b"MSGC", MOST_CHUNK), (b"CLOF", MOST_CHUNK)],
)
def test_the_size_of_a_chunk_is_judged_before_it_is_waited_for(kind: bytes, most: int) -> None:
    pair = Pair()
    pair.connect()
    for size in (7, most + 1):
        again = Pair()
        again.connect()
        head = HEAD.pack(kind, size)
        assert again.server.receive(head, at()) == lost(Status.TCP_MESSAGE_TOO_LARGE, Fault.SIZE)
    assert pair.server.receive(HEAD.pack(kind, most) + bytes(most - 9), at()) == []
    assert pair.server.held == most - 1


def test_buffers_that_were_agreed_on_bound_every_chunk() -> None:
    pair = Pair(client_limits=ChannelLimits(buffers=Buffers(8192, 8192)))
    pair.connect()
    assert pair.server.receive(HEAD.pack(b"MSGF", 8193), at()) == lost(
        Status.TCP_MESSAGE_TOO_LARGE, Fault.SIZE
    )
    pair = Pair(client_limits=ChannelLimits(buffers=Buffers(8192, 8192)))
    pair.connect()
    chunks = pair.server.message(1, bytes(30_000), at())
    sizes = []
    while chunks:
        sizes.append(HEAD.unpack_from(chunks)[1])
        chunks = chunks[sizes[-1] :]
    assert sizes[:-1] == [8192] * 3


def test_hello_comes_once() -> None:
    pair = Pair()
    assert pair.server.receive(pair.client.hello() * 2, at()) == [
        Hello(URL),
        *lost(Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE),
    ]


def test_after_a_fault_nothing_is_interpreted() -> None:
    pair = Pair()
    pair.connect()
    message = pair.client.message(1, b"good", at())
    assert pair.server.receive(HEAD.pack(b"MSGX", 100) + message, at()) == lost(
        Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE
    )
    assert pair.server.over
    assert pair.server.receive(message, at()) == []
