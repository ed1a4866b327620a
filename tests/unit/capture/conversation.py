"""A conversation of two TCPs, as segments that a test can lose, repeat, cut and put in another order."""

from dataclasses import dataclass, field, replace

from gateway.capture.packet import ACK, FIN, SYN
from gateway.capture.stream import Stream, Totals

SERIAL = 1 << 32


@dataclass(frozen=True)
class Sent:
    """One segment."""

    side: int
    sequence: int
    acknowledged: int
    flags: int
    data: bytes = b""


@dataclass
class Two:
    """Both ends: what they say becomes segments."""

    initial: tuple[int, int] = (1000, 2**32 - 20)
    "Sequence numbers of the SYNs; the server's wraps soon."
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.next = [(number + 1) % SERIAL for number in self.initial]

    def handshake(self) -> "Two":
        client, server = self.initial
        self.sent += [
            Sent(0, client, 0, SYN),
            Sent(1, server, (client + 1) % SERIAL, SYN | ACK),
            Sent(0, (client + 1) % SERIAL, (server + 1) % SERIAL, ACK),
        ]
        return self

    def say(self, side: int, data: bytes, size: int = 1460) -> "Two":
        """One side says something, in segments of at most that size; the other side has seen all before."""
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self.sent.append(Sent(side, self.next[side], self.next[1 - side], ACK, piece))
            self.next[side] = (self.next[side] + len(piece)) % SERIAL
        return self

    def end(self) -> "Two":
        for side in (0, 1):
            self.sent.append(Sent(side, self.next[side], self.next[1 - side], FIN | ACK))
            self.next[side] = (self.next[side] + 1) % SERIAL
        return self


class Seen:
    """What came out."""

    def __init__(self) -> None:
        self.sides = [bytearray(), bytearray()]
        self.order: list[tuple[int, bytes]] = []
        self.gaps: list[tuple[int, int, int]] = []
        "Side, position in what came out, bytes missing."
        self.notes: list[str] = []
        self.totals = Totals()

    def data(self, stream: int, side: int, frame: int, time: int, body: bytes) -> None:
        assert body
        self.sides[side] += body
        self.order.append((side, body))

    def gap(self, stream: int, side: int, frame: int, time: int, missing: int) -> None:
        assert missing > 0
        self.gaps.append((side, len(self.sides[side]), missing))

    def note(self, stream: int, side: int, frame: int, time: int, name: str) -> None:
        self.notes.append(name)


def play(sent: list[Sent], *, flush: bool = True) -> Seen:
    """Give the segments to a stream, as captured."""
    seen = Seen()
    stream = Stream(0, seen, seen.totals)
    for frame, one in enumerate(sent, 1):
        stream.segment(one.side, one.sequence, one.acknowledged, one.flags, frame, 0, one.data)
    if flush:
        stream.flush()
        assert seen.totals.held_bytes == 0
    return seen


def without(sent: list[Sent], *lost: int) -> list[Sent]:
    """The capture did not get those."""
    return [one for at, one in enumerate(sent) if at not in lost]


def changed(one: Sent, data: bytes) -> Sent:
    return replace(one, data=data)
