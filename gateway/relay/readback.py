"""Reading back: what a device says it took, is it there? The obligation `readback(tolerance)` of a write.

Rules that hold here:
- The client has its answer already: nobody waits for this, and what comes of it changes no answer.
- It is a read like every other: by the gateway's own identity, through the same passage, decided, recorded.
- What was found completes the record of the write (`result.readback`). A difference, and a value that could
  not be read, are an alarm: a device that says yes and does no is what the obligation is for.
- A tag may differ by the tolerance in quanta; an address without a tag must read exactly as it was written.
"""

from collections.abc import Callable
from struct import Struct as Layout
from typing import Any

from msgspec import Struct

from gateway.guard.obligations import WrittenBack
from gateway.guard.passage import Door, enter, finish
from gateway.guard.ports import Answer, Plant
from gateway.guard.verdict import Forward, Pending, Refuse
from gateway.model.asset import Span, Table, Tag
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import ModbusTarget
from gateway.model.record import Durable
from gateway.relay.tasks import Tasks
from gateway.wire.modbus import functions, points
from gateway.wire.modbus.meaning import LastValues, Place

MOST_UNDER_WAY = 256
"""Reads back that have no answer yet, of all assets. Beyond it what was written is told as not read back:
whoever writes faster than a device can be read is not to fill the memory."""
MOST_POINTS = 20
"Tags, and addresses without one, that a record names: those that differ first. The rest is counted."
READS: dict[Table, int] = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
"The function that reads each table (Application Protocol V1.1b3 §6.1–6.4)."
_PDU = Layout(">BHH")

Alarm = Callable[[str, dict[str, Any]], None]


class Owed(Struct, frozen=True):
    """What a permit obliges its door to, once the device has accepted the frame."""

    intent: Durable
    "The record that the results complete."
    writes: tuple[WrittenBack, ...]


class Compared(Struct, frozen=True):
    """One tag, or one address without a tag, as written and as read."""

    name: str
    q_written: int | None
    q_read: int | None
    matches: bool


class ReadBack:
    """Reads back for all doors of a gateway."""

    def __init__(
        self,
        *,
        door: Door,
        me: Caller,
        last: LastValues,
        tasks: Tasks,
        clock: Callable[[], Now],
        alarm: Alarm,
    ) -> None:
        """`me` is the gateway itself; `alarm` makes a finding of a code and what is known."""
        self._door = door
        self._me = me
        self._last = last
        self._tasks = tasks
        self._clock = clock
        self._alarm = alarm
        self.under_way = 0

    def begin(self, owed: Owed, place: Place, plant: Plant) -> None:
        """The device has accepted these writes. Returns at once."""
        for write in owed.writes:
            look = Look(self, owed.intent, write, place)
            self.under_way += 1
            if self.under_way > MOST_UNDER_WAY:
                look.failed(None, Why.BUSY)
            else:
                self._tasks.start(self._ask(look, plant), f"read back {place.asset.name}")

    async def _ask(self, look: "Look", plant: Plant) -> None:
        now = self._clock()
        operations = look.place.operations(look.request, self._last, now)
        verdict = enter(look.request, operations, self._me, self._door, now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, self._door, now)
        match verdict:
            case Forward(permit):
                plant.send(permit, look, self._clock())
            case Refuse(why):
                look.failed(None, why)
            case _:
                look.failed(None, Why.DENIED)

    def over(self, look: "Look", found: list[Compared], why: str | None) -> None:
        """One write has been read again, or could not be: `why`."""
        self.under_way -= 1
        now = self._clock()
        matches = None if why is not None else all(each.matches for each in found)
        found.sort(key=lambda each: each.matches)
        told: dict[str, Any] = {
            "matches": matches,
            "tolerance": look.write.tolerance,
            "points": [
                {"tag": each.name, "q_written": each.q_written, "q_read": each.q_read}
                for each in found[:MOST_POINTS]
            ],
            "more": max(0, len(found) - MOST_POINTS),
            "why": why,
        }
        self._door.journal.outcome(look.intent, self._me, {"status": "ok", "readback": told}, now)
        if matches is not True:
            code = "readback.no_answer" if matches is None else "readback.mismatch"
            self._alarm(code, {"intent": look.intent.record, "asset": look.place.asset.name, **told})


class Look:
    """One read of what was written: the sink for its answer."""

    __slots__ = ("_back", "intent", "place", "request", "span", "write")

    gone = False
    "The gateway itself waits, whoever wrote has left or not."

    def __init__(self, back: ReadBack, intent: Durable, write: WrittenBack, place: Place) -> None:
        self._back = back
        self.intent = intent
        self.write = write
        self.place = place
        target = write.operation.modbus
        if target is None or target.table is None or target.start is None or target.count is None:
            raise TypeError(f"the guard lets nobody be obliged to read this back: {write.operation}")
        self.span = Span(target.table, target.start, target.count)
        pdu = _PDU.pack(READS[target.table], target.start, target.count)
        request = functions.read_request(place.asset.unit, pdu)
        if not isinstance(request, functions.Request):
            raise TypeError(f"what was written is more than can be read: {request}")
        self.request: functions.Request = request

    def answered(self, permit: object, answer: Answer, at: Now) -> None:
        """The device says what is there, or gives an exception."""
        if isinstance(answer, functions.DeviceException):
            self._back.over(self, [], f"exception_{answer.code:02x}")
        else:
            self._back.over(self, self._compared(answer.data), None)

    def failed(self, permit: object, why: Why) -> None:
        """There is no answer."""
        self._back.over(self, [], why.value)

    def _compared(self, data: bytes) -> list[Compared]:
        tags = {tag.name: tag for tag in self.place.touched(self.span)}
        found, named = [], set[int]()
        for point in self.write.operation.points:
            tag = tags.get(point.tag)
            read = None if tag is None else self._quanta(tag, data)
            matches = read is not None and point.q is not None
            if read is not None and point.q is not None:
                matches = abs(read - point.q) <= self.write.tolerance
            found.append(Compared(point.tag, point.q, read, matches))
            if tag is not None:
                named.update(range(tag.span.start, tag.span.end))
        target = self.write.operation.modbus
        if target is not None and target.values is not None:
            found += [each for each in self._untagged(target, data) if int(each.name.split()[1]) not in named]
        return found

    def _quanta(self, tag: Tag, data: bytes) -> int | None:
        number = points.raw(tag, data, self.span.start, self.span.table)
        return None if number is None else points.quanta_of_raw(tag, number)

    def _untagged(self, target: ModbusTarget, data: bytes) -> list[Compared]:
        """Every address as it is on the wire; those that a tag names are judged by it."""
        bits = self.span.table in points.BITS
        found = []
        for at, written in enumerate(target.values or ()):
            read = data[at >> 3] >> (at & 7) & 1 if bits else int.from_bytes(data[2 * at : 2 * at + 2], "big")
            name = f"{self.span.table.value} {self.span.start + at}"
            found.append(Compared(name, written, read, read == written))
        return found
