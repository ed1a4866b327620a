"""One TCP connection, put in order: what each end was told, as far as the capture shows it.

Three things stand between a capture and what was said. Segments are retransmitted, overlap and come out of
order; the capture may have lost some that the receiver got; and it may begin in the middle. So:

- Bytes are handed on in order and once. The first copy of a byte counts. A later copy that says something
  else is told as `overlap_differs`: somebody shows us another stream than the receiver.
- What goes on although it acknowledges bytes that never came is told as `acknowledges_unseen`: it may be an
  answer to what the capture lost.
- A segment waits for the bytes before it, and for the bytes of the other side that it acknowledges: then
  questions stand before their answers, whatever order the capture saw.
- What waits is bounded. When the bound is crossed, or the connection ends, the bytes that never came are told
  as a gap, and what waited goes on.
- Without a handshake a side begins at its first segment.
"""

from bisect import insort
from typing import Protocol

from gateway.capture.packet import ACK, FIN, RST, SYN

MOST_HELD = 256
"""Segments of one connection that wait for others. Reordering moves a segment by a few places; a master and
its device rarely have more than 20 on the way. More waiting only delays the news that something is lost."""
MOST_AHEAD = 1 << 20
"An acknowledgement further ahead of what is known than this is no promise to wait for."
SEGMENT_COST = 350
"Bytes of memory that one waiting segment takes beside its payload."
SERIAL = 1 << 32
"Sequence numbers are modulo this."
MASK = SERIAL - 1

Held = tuple[int, int, int, int, int | None, bytes]
"Position, order of arrival (unique), frame, time, acknowledgement, payload."


class Sink(Protocol):
    """Where the bytes go (`pipe.Writer`)."""

    def data(self, stream: int, side: int, frame: int, time: int, body: bytes) -> None:
        """The next bytes of one side."""

    def gap(self, stream: int, side: int, frame: int, time: int, missing: int) -> None:
        """Bytes that the capture does not have."""

    def note(self, stream: int, side: int, frame: int, time: int, name: str) -> None:
        """Something odd about TCP."""


class Totals:
    """What was met, all connections together."""

    __slots__ = ("differing", "gap_bytes", "gaps", "held_bytes", "most_held_bytes", "repeated")

    def __init__(self) -> None:
        self.held_bytes = 0
        "Memory that waiting segments take now."
        self.most_held_bytes = 0
        self.repeated = 0
        "Segments that said nothing new."
        self.gaps = 0
        self.gap_bytes = 0
        self.differing = 0


class Side:
    """One direction. Positions count its bytes from wherever `zero` was put, and never wrap."""

    __slots__ = ("at", "begun", "ended", "expected", "fin", "held", "initial", "last", "placed", "zero")

    def __init__(self) -> None:
        self.placed = False
        "Whether `zero` means something."
        self.zero = 0
        "The sequence number of position 0."
        self.begun = False
        "Whether something has said where this side begins; until then everything waits."
        self.at = 0
        "Position of the next byte."
        self.expected = -1
        "The same as a sequence number; none while not begun."
        self.initial: int | None = None
        "The sequence number of the SYN."
        self.fin: int | None = None
        "Position of the FIN."
        self.held: list[Held] = []
        "What waits, by position."
        self.last = b""
        "What was handed on last: it ends at `at`. Retransmissions are held against it."
        self.ended = False

    def place(self, sequence: int) -> int:
        """The position of a sequence number: of all that it could mean, the one nearest to the next byte."""
        if not self.placed:
            self.placed, self.zero = True, sequence
        distance = sequence - self.zero - self.at & MASK
        return self.at + (distance - SERIAL if distance >> 31 else distance)

    def begin(self, sequence: int) -> None:
        """Say where this side begins, if nothing has said it yet."""
        if not self.begun:
            self.go_to(self.place(sequence))

    def go_to(self, position: int) -> None:
        """The next byte is the one at that position."""
        self.begun = True
        self.at = position
        self.expected = self.zero + position & MASK


class Stream:
    """One connection that is followed."""

    __slots__ = ("_arrivals", "_handshake", "_sink", "_totals", "number", "sides")

    def __init__(self, number: int, sink: Sink, totals: Totals) -> None:
        self.number = number
        self.sides = (Side(), Side())
        self._handshake = False
        self._sink = sink
        self._totals = totals
        self._arrivals = 0

    @property
    def ended(self) -> bool:
        """Both sides have said that they are done."""
        return self.sides[0].ended and self.sides[1].ended

    @property
    def holding(self) -> bool:
        """Whether something waits."""
        return bool(self.sides[0].held or self.sides[1].held)

    def begins_anew(self, side: int, sequence: int) -> bool:
        """Whether a SYN with that number begins another connection between the same ports."""
        mine = self.sides[side]
        if mine.initial is not None:
            return mine.initial != sequence
        if self.ended:
            return True
        # No SYN so far. This may be its own, captured late; or that of the next connection.
        return mine.begun and not -MOST_AHEAD <= mine.place(sequence + 1 & MASK) - mine.at <= 0

    def segment(
        self, side: int, sequence: int, acknowledged: int, flags: int, frame: int, time: int, data: bytes
    ) -> None:
        """Take one segment; hand on what it makes deliverable."""
        mine, other = self.sides[side], self.sides[1 - side]
        if flags & SYN and flags & (FIN | RST):
            return  # no TCP takes that
        if flags & SYN:
            self._handshake = True
            mine.initial = sequence
            sequence = sequence + 1 & MASK
            mine.begin(sequence)
        if flags & ACK and not other.begun and self._handshake and not data:
            other.begin(acknowledged)  # the SYN+ACK, or the ACK that ends the handshake
        if data:
            promise = acknowledged if flags & ACK else None
            if not self._handshake:
                mine.begin(sequence)
            if mine.expected == sequence and not mine.held and not self._awaits(other, promise):
                self._hand_on(mine, side, frame, time, data)
            else:
                self._hold(side, sequence, promise, frame, time, data)
        if self.sides[0].held or self.sides[1].held:
            self._drain()
            while len(mine.held) + len(other.held) > MOST_HELD:
                self._release()
                self._drain()
        if flags & FIN:
            mine.ended = True
            mine.fin = mine.place(sequence + len(data) & MASK)
        if flags & RST:
            mine.ended = other.ended = True
            self.flush()

    def flush(self) -> None:
        """Hand on everything that waits, gaps told: nothing more will come, or memory is short."""
        while self.holding:
            self._release()
            self._drain()

    # waiting ----------------------------------------------------------------------------------------

    def _awaits(self, other: Side, promise: int | None) -> bool:
        """Whether the segment's sender had seen bytes of the other side that we have not."""
        if promise is None or promise == other.expected or not other.begun:
            return False
        promised = other.place(promise)
        if other.fin is not None and promised == other.fin + 1:
            promised -= 1  # a FIN takes a sequence number, and is no byte
        return 0 < promised - other.at <= MOST_AHEAD

    def _hold(
        self, side: int, sequence: int, promise: int | None, frame: int, time: int, data: bytes
    ) -> None:
        mine = self.sides[side]
        position = mine.place(sequence)
        if mine.begun and position < mine.at:
            data, position = self._fresh(mine, side, position, frame, time, data), mine.at
            if not data:
                return
        self._arrivals += 1
        insort(mine.held, (position, self._arrivals, frame, time, promise, data))
        totals = self._totals
        totals.held_bytes += len(data) + SEGMENT_COST
        totals.most_held_bytes = max(totals.most_held_bytes, totals.held_bytes)

    def _drain(self) -> None:
        """Hand on what no longer waits, in the order of arrival."""
        while True:
            ready = [side for side in (0, 1) if self._ready(side)]
            if not ready:
                return
            self._next(min(ready, key=self._arrival))

    def _ready(self, side: int) -> bool:
        mine = self.sides[side]
        if not (mine.held and mine.begun):
            return False
        position, _, _, _, promise, _ = mine.held[0]
        return position <= mine.at and not self._awaits(self.sides[1 - side], promise)

    def _arrival(self, side: int) -> int:
        return self.sides[side].held[0][1]

    def _release(self) -> None:
        """What has waited longest goes on; the bytes before it count as lost."""
        side = min((side for side in (0, 1) if self.sides[side].held), key=self._arrival)
        mine = self.sides[side]
        position, _, frame, time, promise, _ = mine.held[0]
        if self._awaits(self.sides[1 - side], promise):
            self._sink.note(self.number, side, frame, time, "acknowledges_unseen")
        if mine.begun and position > mine.at:
            self._totals.gaps += 1
            self._totals.gap_bytes += position - mine.at
            self._sink.gap(self.number, side, frame, time, position - mine.at)
        if not mine.begun or position > mine.at:
            mine.go_to(position)
            mine.last = b""
        self._next(side)

    # handing on -------------------------------------------------------------------------------------

    def _next(self, side: int) -> None:
        """Hand on the first that waits on that side; its bytes begin at the next one or before."""
        mine = self.sides[side]
        position, _, frame, time, _, data = mine.held.pop(0)
        self._totals.held_bytes -= len(data) + SEGMENT_COST
        data = self._fresh(mine, side, position, frame, time, data)
        if data:
            self._hand_on(mine, side, frame, time, data)

    def _hand_on(self, mine: Side, side: int, frame: int, time: int, data: bytes) -> None:
        mine.go_to(mine.at + len(data))
        mine.last = data
        self._sink.data(self.number, side, frame, time, data)

    def _fresh(self, mine: Side, side: int, position: int, frame: int, time: int, data: bytes) -> bytes:
        """The part that is new of a segment that may begin too early. The old part is compared."""
        old = min(mine.at - position, len(data))
        if old <= 0:
            return data
        # Of what was handed on before, only the last segment is still here: what a sender repeats.
        known = mine.at - len(mine.last)
        begin, end = max(position, known), position + old
        again = data[begin - position : end - position] if begin < end else b""
        keep_alive = len(data) == 1 and position == mine.at - 1  # its byte means nothing
        if again != mine.last[begin - known : end - known] and again and not keep_alive:
            self._totals.differing += 1
            self._sink.note(self.number, side, frame, time, "overlap_differs")
        if old == len(data):
            self._totals.repeated += 1
        return data[old:]
