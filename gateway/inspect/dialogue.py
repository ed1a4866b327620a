"""One TCP connection: bytes in order → ADUs, each with what is wrong about it.

Framing is the gateway's own (`MbapReader`): once it is lost, nothing more of the connection is interpreted,
for the gateway would have cut it there.

A capture that lost bytes is another thing: the peers went on in step, only we are out of it. Then a direction
is taken up again where it is *sure*: at a segment from which on everything is framed well, and a request and
an answer agree on transaction, unit and function. Until then its bytes count as not decoded. Guessing earlier
would read garbage as Modbus. An answer to what the capture lost is not called unsolicited.
"""

from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from gateway.inspect.segments import Data, Opened
from gateway.model.operation import Operation
from gateway.wire.modbus.behaviour import Watch
from gateway.wire.modbus.checks import Reading
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.framing import Adu, MbapReader
from gateway.wire.modbus.functions import Request, read_request
from gateway.wire.modbus.session import Asked, Conversation, Stall

MOST_CANDIDATES = 16
"Segments remembered behind a gap until request and answer say that they were such."
PLAIN_PORT = 502
"What begins as TLS there is not Modbus; elsewhere it may be Modbus/TCP Security."
TLS_HANDSHAKE = b"\x16\x03"

UNSEEN = "acknowledges_unseen"
"What the capture program says of bytes that acknowledge what the capture does not have."

Meaning = Callable[[Request, int], Sequence[Operation]]
"What a request wants, at that moment of the capture; empty where its unit is no asset."


class Heard(Struct, gc=False):
    """One line of the story: an ADU, or why there is none."""

    stream: int
    frame: int
    time: int
    request: bool
    "Which direction."
    adu: Adu | None = None
    findings: tuple[Finding, ...] = ()
    asked: Asked | None = None
    "What a request was read as; for an answer, what the request it settles was read as."
    operations: Sequence[Operation] = ()
    "What a request wants, where assets are known."
    asked_frame: int | None = None
    "Of an answer: the frame of its request."
    took_ns: int = 0
    "Of an answer: how long it took."
    answer: Reading | None = None
    fatal: Finding | None = None
    "Framing is lost here, and nothing more of this connection is read."
    tls: bool = False
    "Encrypted: there is nothing to read."
    missing: int = 0
    "Bytes that the capture lost before this."
    odd: tuple[str, ...] = ()
    "What was odd about TCP before this."


class Run:
    """Segments behind a gap, read as if the first began an ADU."""

    __slots__ = ("entries", "reader")

    def __init__(self) -> None:
        self.reader = MbapReader()
        self.entries: deque[tuple[Data, list[Adu]]] = deque()
        "Each with the ADUs that it completes."


class Direction:
    """What one side says."""

    __slots__ = ("in_step", "missing", "odd", "reader", "request", "run", "stall")

    def __init__(self, *, request: bool) -> None:
        self.request = request
        self.reader = MbapReader()
        self.stall = Stall()
        self.in_step = True
        self.run = Run()
        "While out of step."
        self.missing = 0
        self.odd: tuple[str, ...] = ()


class Dialogue:
    """One connection."""

    def __init__(self, opened: Opened, watch: Watch, meaning: Meaning | None = None) -> None:
        self.opened = opened
        self.undecoded = 0
        "Bytes that no ADU was made of: behind a gap, or behind the loss of framing."
        self.over = False
        "Framing is lost, or there is nothing to read."
        self.pairs: Conversation[int] = Conversation()
        "Token: the frame of the request."
        self._watch = watch
        self._meaning = meaning
        self._sides = (Direction(request=True), Direction(request=False))
        self._now = 0
        "Capture time; it never goes back, whatever the capture says."

    def data(self, event: Data) -> list[Heard]:
        """The next bytes."""
        if self.over:
            self.undecoded += len(event.body)
            return []
        self._now = max(self._now, event.time)
        side = self._sides[event.side]
        if not side.in_step:
            return self._find_step(side, event)
        if (
            self.opened.server_port != PLAIN_PORT
            and event.body.startswith(TLS_HANDSHAKE)
            and not side.reader.held
        ):
            self.over = True
            return [Heard(event.stream, event.frame, event.time, side.request, tls=True)]
        return self._feed(side, event)

    def gap(self, side: int, missing: int) -> None:
        """The capture lost bytes of that side."""
        direction = self._sides[side]
        self.undecoded += direction.reader.held
        if self.over:
            return
        direction.missing += missing
        direction.in_step = False
        direction.stall = Stall()
        self._give_up(direction)

    def odd(self, side: int, name: str) -> None:
        """Something odd about TCP on that side; it is told with what comes next."""
        if name not in self._sides[side].odd:
            self._sides[side].odd += (name,)

    def closed(self, frame: int, time: int, *, ended: bool) -> list[Heard]:
        """Nothing more; `ended` if the peers ended it, not the capture. What was not told yet is told.

        Not so what the capture lost before nothing: no ADU is there to tell it with, and the sums say it.
        """
        self._now = max(self._now, time)
        lines = []
        for side in self._sides:
            self._give_up(side)
            cut = None if self.over else side.stall.found(self._now, ended=ended)
            if cut is not None or set(side.odd) - {UNSEEN}:
                findings = (cut,) if cut is not None else ()
                line = Heard(self.opened.stream, frame, time, side.request, findings=findings)
                lines.append(self._tell(side, line))
        return lines

    # in step ------------------------------------------------------------------------------------------

    def _feed(self, side: Direction, event: Data, adus: list[Adu] | None = None) -> list[Heard]:
        now, stream, frame = self._now, event.stream, event.frame
        overdue = side.stall.found(now)
        if adus is None:
            adus = side.reader.feed(event.body)
            side.stall.heard(len(adus), side.reader.held, now)
        lines = []
        for adu in adus:
            if side.request:
                lines.append(self._request(adu, stream, frame, event.time))
            else:
                lines += self._claim(adu)
                lines.append(self._answer(adu, stream, frame, event.time))
        if side.reader.lost is not None:
            self.over = True
            fatal = Finding(side.reader.lost)
            lines.append(Heard(stream, frame, event.time, side.request, fatal=fatal, findings=(fatal,)))
        if lines:
            first = lines[0]
            if side.request and len(adus) > 1:
                first.findings += self._watch.segment(len(adus), now)
            if overdue is not None:
                first.findings += (overdue,)
            if side.missing or side.odd:
                self._tell(side, first)
        return lines

    def _request(self, adu: Adu, stream: int, frame: int, time: int) -> Heard:
        asked = read_request(adu.unit, adu.pdu)
        found: tuple[Finding, ...] = ()
        wrong = getattr(asked, "finding", None)  # of Illegal and Unsupported
        if wrong is not None:
            found = (wrong,)
        found += self.pairs.asked(adu, asked, self._now, frame)
        operations: Sequence[Operation] = ()
        if self._meaning is not None and isinstance(asked, Request):
            operations = self._meaning(asked, self._now)
        found += self._watch.request(adu.unit, asked, self._now, operations)
        return Heard(stream, frame, time, True, adu, found, asked, operations)

    def _answer(self, adu: Adu, stream: int, frame: int, time: int) -> Heard:
        paired = self.pairs.answered(adu, self._now)
        settled, answer = paired.waiting, paired.answer
        found = paired.findings + self._watch.answer(answer, self._now)
        if settled is None:
            if not self._sides[0].in_step or UNSEEN in self._sides[1].odd:
                found = tuple([each for each in found if each is not Finding.UNSOLICITED])
            return Heard(stream, frame, time, False, adu, found, answer=answer)
        took = self._now - settled.at_ns
        return Heard(
            *(stream, frame, time, False, adu, found, settled.asked),
            asked_frame=settled.token,
            took_ns=took,
            answer=answer,
        )

    def _tell(self, side: Direction, line: Heard) -> Heard:
        """Say with this line what was not said yet."""
        line.missing, line.odd = side.missing, side.odd
        side.missing, side.odd = 0, ()
        return line

    # out of step --------------------------------------------------------------------------------------

    def _find_step(self, side: Direction, event: Data) -> list[Heard]:
        """Bytes behind a gap: are they ADUs that belong to something?"""
        adus = side.run.reader.feed(event.body)
        if side.run.reader.lost is not None and side.run.entries:
            self._give_up(side)  # what it began with was no beginning; this may be one
            adus = side.run.reader.feed(event.body)
        side.run.entries.append((event, adus))
        if side.run.reader.lost is not None:
            self._give_up(side)
            return []
        if len(side.run.entries) > MOST_CANDIDATES:
            self.undecoded += len(side.run.entries.popleft()[0].body)
        if side.request:
            return []
        lines = [line for adu in adus for line in self._claim(adu)]
        waiting = {(each.tid, each.unit, each.fc & 0x7F) for each in self.pairs.waiting}
        return lines + self._resume(side) if waiting & {_key(adu) for adu in adus} else lines

    def _claim(self, answer: Adu) -> list[Heard]:
        """If a request out of step is what this answers, then requests were in step from there on."""
        side = self._sides[0]
        key = _key(answer)
        if side.in_step or not any(_key(adu) == key for _, adus in side.run.entries for adu in adus):
            return []
        return self._resume(side)

    def _resume(self, side: Direction) -> list[Heard]:
        """Back in step: what was tried is what was said."""
        run, side.run = side.run, Run()
        side.in_step, side.reader = True, run.reader
        return [line for event, adus in run.entries for line in self._feed(side, event, adus)]

    def _give_up(self, side: Direction) -> None:
        """What was tried led nowhere."""
        self.undecoded += sum(len(event.body) for event, _ in side.run.entries)
        side.run = Run()


def _key(adu: Adu) -> tuple[int, int, int]:
    """What a request and its answer have in common."""
    return adu.tid, adu.unit, adu.pdu[0] & 0x7F
