"""All connections: which is which, who is the client, and bounds that are crossed."""

from struct import pack

import pytest

from gateway.capture.direction import PORTS, Sent, first_bytes
from gateway.capture.packet import ACK, FIN, RST, SYN
from gateway.capture.stream import MOST_HELD, SEGMENT_COST
from gateway.capture.streams import MOST_ENDED, MOST_HELD_BYTES, MOST_STREAMS, Streams
from gateway.wire.modbus.framing import adu
from tests.unit.capture.conversation import Seen

READ = adu(1, 1, bytes.fromhex("0300640001"))
VALUE = adu(1, 1, bytes.fromhex("03020007"))


class Out(Seen):
    """Everything that is told."""

    def __init__(self) -> None:
        super().__init__()
        self.openings: list[tuple[int, str]] = []
        self.closings: list[tuple[int, str]] = []

    def opened(self, stream: int, frame: int, time: int, ends: str) -> None:
        self.openings.append((stream, ends))

    def closed(self, stream: int, frame: int, time: int, why: str) -> None:
        self.closings.append((stream, why))


def end(host: int, port: int) -> bytes:
    return pack(">IH", 0x0A000000 + host, port)


class World:
    """A capture in the making."""

    def __init__(self, ports: frozenset[int] = PORTS) -> None:
        self.out = Out()
        self.streams = Streams(self.out, ports)
        self.frame = 0

    def send(
        self, source: bytes, target: bytes, data: bytes = b"", *, flags: int = ACK, sequence: int = 100
    ) -> None:
        self.frame += 1
        self.streams.segment((source, target, sequence, 0, flags & ~ACK, data), self.frame, 0)


HMI, PLC, ODD = end(5, 40_000), end(1, 502), end(1, 1502)


def test_the_port_says_who_is_the_client_whoever_is_seen_first() -> None:
    world = World()
    world.send(PLC, HMI, VALUE)
    assert world.out.openings == [(0, "10.0.0.5 40000 10.0.0.1 502 port")]
    assert world.out.order == [(1, VALUE)]


def test_the_port_goes_before_the_syn() -> None:
    world = World()
    world.send(PLC, HMI, flags=SYN)
    assert world.out.openings == [(0, "10.0.0.5 40000 10.0.0.1 502 port")]


@pytest.mark.parametrize("first", [SYN, SYN | ACK])
def test_on_an_odd_port_the_handshake_says_it_once_it_is_modbus(first: int) -> None:
    world = World()
    source, target = (HMI, ODD) if first == SYN else (ODD, HMI)
    world.frame += 1
    world.streams.segment((source, target, 99, 100, first, b""), 1, 0)
    assert not world.out.openings
    world.send(HMI, ODD, READ)
    assert world.out.openings == [(0, "10.0.0.5 40000 10.0.0.1 1502 syn")]


@pytest.mark.parametrize(("source", "target", "data"), [(HMI, ODD, READ), (ODD, HMI, VALUE)])
def test_without_a_handshake_the_first_bytes_say_it(source: bytes, target: bytes, data: bytes) -> None:
    world = World()
    world.send(source, target, data)
    assert world.out.openings == [(0, "10.0.0.5 40000 10.0.0.1 1502 first")]


def test_what_does_not_look_like_modbus_is_left_alone_but_counted() -> None:
    world = World()
    world.send(HMI, ODD, b"GET / HTTP/1.1\r\n")
    world.send(HMI, ODD, READ, sequence=116)
    world.send(HMI, PLC, READ)
    assert world.out.openings == [(1, "10.0.0.5 40000 10.0.0.1 502 port")], "the other one was stream 0"
    assert world.streams.met == 2


def test_both_ports_expected() -> None:
    world = World()
    world.send(end(5, 502), PLC, b"whatever")
    assert world.out.openings == [(0, "10.0.0.5 502 10.0.0.1 502 first")]


@pytest.mark.parametrize(
    ("pdu", "sent"),
    [
        ("0300640001", Sent.BY_CLIENT),
        ("03020007", Sent.BY_SERVER),
        ("8302", Sent.BY_SERVER),
        ("010100", Sent.BY_SERVER),
        ("0103aabbcc", Sent.BY_SERVER),
        ("0600000190", Sent.BY_CLIENT),
        ("100000000102abcd", Sent.BY_CLIENT),
        ("1000000001", Sent.BY_SERVER),
        ("2b0e0100", None),
    ],
)
def test_first_bytes(pdu: str, sent: Sent | None) -> None:
    whole = adu(1, 1, bytes.fromhex(pdu))
    assert first_bytes(whole) is sent
    assert first_bytes(whole + READ) is sent
    assert first_bytes(whole[:-1]) is None


def test_a_new_syn_is_a_new_stream_and_a_repeated_one_is_not() -> None:
    world = World()
    world.send(HMI, PLC, flags=SYN, sequence=99)
    world.send(HMI, PLC, flags=SYN, sequence=99)
    world.send(HMI, PLC, READ)
    world.send(HMI, PLC, flags=SYN, sequence=5_000)
    assert [number for number, _ in world.out.openings] == [0, 1]
    assert world.out.closings == [(0, "reused")]


def test_what_comes_after_the_end_is_still_of_the_same_stream() -> None:
    world = World()
    world.send(HMI, PLC, READ, flags=FIN)
    world.send(PLC, HMI, VALUE, flags=FIN)
    world.send(PLC, HMI, VALUE)
    assert world.out.order == [(0, READ), (1, VALUE)]
    world.streams.end(9, 0)
    assert world.out.closings == [(0, "ended")]


def test_the_bound_on_streams_is_crossed() -> None:
    world = World()
    for number in range(MOST_STREAMS + 3):
        world.send(end(number + 10, 40_000), PLC, READ)
    assert world.streams.forgotten == 3
    assert world.out.closings == [(0, "forgotten"), (1, "forgotten"), (2, "forgotten")]


def test_the_bound_on_ended_streams_is_crossed() -> None:
    world = World()
    for number in range(MOST_ENDED + 2):
        world.send(end(number + 10, 40_000), PLC, flags=RST)
    assert world.out.closings == [(0, "ended"), (1, "ended")]


def test_the_bound_on_all_that_waits_is_crossed() -> None:
    """Many connections, each with a hole: the first to wait is flushed first, and memory stays bounded."""
    world = World()
    payload = bytes(8000)
    each = (len(payload) + SEGMENT_COST) * (MOST_HELD // 2)
    for number in range(MOST_HELD_BYTES // each + 2):
        client = end(number + 10, 40_000)
        world.send(client, PLC, b"x", sequence=100)
        for step in range(MOST_HELD // 2):
            world.send(client, PLC, payload, sequence=200 + step * len(payload))
            assert world.streams.totals.held_bytes <= MOST_HELD_BYTES
    assert world.streams.totals.gaps == 2
    world.streams.end(0, 0)
    assert world.streams.totals.held_bytes == 0
