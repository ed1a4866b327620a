"""What many ADUs add up to, each of them perhaps legal: scans, storms, and writes out of the ordinary.

Nothing here decides anything: a finding tells people, policy decides. One `Watch` sees one source's traffic
with one asset (or one conversation of a capture). Its memory is bounded by its thresholds, and they by
`MOST_EVENTS`. A finding that needs several events is given when the last of them comes, and then counting
begins again: a scan that goes on is told again, not with every ADU.

Thresholds are Quickdraw's where it has the rule (3 or 5 exceptions in 60 s), else far above what masters in
recorded plants do: they poll tens to hundreds of spans, over and over the same.
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence

from msgspec import Struct

from gateway.model.asset import DataType, Tag
from gateway.model.operation import Action, Operation, Point
from gateway.wire.modbus import points
from gateway.wire.modbus.diagnostics import SUBFUNCTIONS
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import (
    AskDevice,
    Canopen,
    DeviceException,
    Diagnose,
    Identify,
    Illegal,
    MaskOne,
    ReadFifo,
    ReadSpan,
    Request,
    Unsupported,
    WriteOne,
    WriteSpan,
    WriteThenRead,
    WrongAnswer,
)

MOST_EVENTS = 4096
"The largest threshold, and so the most events that one counter remembers."

REPORT_SERVER_ID = 17

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS = 0x01, 0x02
BUSY = frozenset({0x05, 0x06})
"Acknowledge and busy: a device that is not done with what it was given."


class Thresholds(Struct, frozen=True, kw_only=True):
    """How much is too much, within `window_s`. Every count is from 1 to `MOST_EVENTS`."""

    window_s: float = 60.0
    functions: int = 12
    "Different functions asked for; the public ones of daily use are 8."
    function_refusals: int = 3
    "Answers 01 (Quickdraw 1111014)."
    addresses: int = 256
    "Different spans read or written."
    address_refusals: int = 5
    "Answers 02 (Quickdraw 1111013)."
    units: int = 16
    "Different unit numbers asked."
    exceptions: int = 20
    busy: int = 3
    "Answers 05 and 06 (Quickdraw 1111010, 1111011)."
    multi_adu: int = 600
    "Segments with several ADUs."
    writes: int = 120
    delta_share: float = 0.5
    "How far a write may move a tag from its last polled value, as a share of the tag's range."

    def __post_init__(self) -> None:
        counts = {name: value for name in self.__struct_fields__ if type(value := getattr(self, name)) is int}
        for name, value in counts.items():
            if not 1 <= value <= MOST_EVENTS:
                raise ValueError(f"{name} is {value}; it must be 1 to {MOST_EVENTS}")


ORDINARY = Thresholds()
"Where nobody says otherwise."


class Rate:
    """Tells when so many events have come within the window."""

    __slots__ = ("_at", "_window_ns")

    def __init__(self, many: int, window_ns: int) -> None:
        self._at: deque[int] = deque(maxlen=many)
        self._window_ns = window_ns

    def hit(self, now_ns: int) -> bool:
        """One more; true if that makes too many, and counting begins again."""
        at = self._at
        at.append(now_ns)
        if len(at) < (at.maxlen or 0) or now_ns - at[0] > self._window_ns:
            return False
        at.clear()
        return True


class Different:
    """Tells when so many different things have been seen within the window."""

    __slots__ = ("_many", "_seen", "_window_ns")

    def __init__(self, many: int, window_ns: int) -> None:
        self._seen: dict[Hashable, int] = {}
        "When each was last seen; fewer than `many` between two calls."
        self._many = many
        self._window_ns = window_ns

    def hit(self, thing: Hashable, now_ns: int) -> bool:
        """Seen once more; true if that makes too many, and counting begins again."""
        seen = self._seen
        seen[thing] = now_ns
        if len(seen) < self._many:
            return False
        since = now_ns - self._window_ns
        self._seen = {each: at for each, at in seen.items() if at >= since}
        if len(self._seen) < self._many:
            return False
        self._seen.clear()
        return True


class Watch:
    """One source and one asset."""

    def __init__(
        self,
        thresholds: Thresholds = ORDINARY,
        tags: Mapping[str, Tag] | None = None,
    ) -> None:
        self._thresholds = thresholds
        self._ranges = {name: span for name, tag in (tags or {}).items() if (span := _range(tag)) is not None}
        window_ns = int(thresholds.window_s * 1e9)
        self._functions = Different(thresholds.functions, window_ns)
        self._addresses = Different(thresholds.addresses, window_ns)
        self._units = Different(thresholds.units, window_ns)
        self._writes = Rate(thresholds.writes, window_ns)
        self._multi_adu = Rate(thresholds.multi_adu, window_ns)
        self._exceptions = Rate(thresholds.exceptions, window_ns)
        self._refusals = {
            ILLEGAL_FUNCTION: (Rate(thresholds.function_refusals, window_ns), Finding.FUNCTION_SCAN),
            ILLEGAL_ADDRESS: (Rate(thresholds.address_refusals, window_ns), Finding.ADDRESS_SCAN),
        }
        self._busy = Rate(thresholds.busy, window_ns)

    def segment(self, adus: int, now_ns: int) -> tuple[Finding, ...]:
        """A segment came with so many ADUs."""
        return (Finding.MULTI_ADU_RATE,) if adus > 1 and self._multi_adu.hit(now_ns) else ()

    def request(
        self,
        unit: int,
        read: Request | Illegal | Unsupported,
        now_ns: int,
        operations: Sequence[Operation] = (),
    ) -> tuple[Finding, ...]:
        """A request came, however it was read; `operations` if its tags are known."""
        found = []
        if self._functions.hit(_function(read), now_ns):
            found.append(Finding.FUNCTION_SCAN)
        if self._units.hit(unit, now_ns):
            found.append(Finding.UNIT_SCAN)
        place = _place(read)
        if place is not None and self._addresses.hit((unit, read.fc, *place), now_ns):
            found.append(Finding.ADDRESS_SCAN)
        if type(read) is not ReadSpan:  # most requests are reads, and all that reads can be is said
            found += self._beyond_reading(read, now_ns, operations)
        return tuple(dict.fromkeys(found))

    def answer(self, answer: object, now_ns: int) -> tuple[Finding, ...]:
        """An answer came, as `read_answer` read it; our own refusals count as well, and bad exceptions do."""
        if not isinstance(answer, DeviceException | WrongAnswer) or answer.code is None:
            return ()
        found = []
        if self._exceptions.hit(now_ns):
            found.append(Finding.EXCEPTION_RATE)
        if answer.code in BUSY and self._busy.hit(now_ns):
            found.append(Finding.BUSY_STORM)
        if answer.code in self._refusals:
            rate, finding = self._refusals[answer.code]
            if rate.hit(now_ns):
                found.append(finding)
        return tuple(found)

    def _beyond_reading(
        self, read: Request | Illegal | Unsupported, now_ns: int, operations: Sequence[Operation]
    ) -> list[Finding]:
        found = [each for operation in operations for each in self._values(operation)]
        if isinstance(read, Request) and (read.writes or isinstance(read, WriteThenRead)):
            if self._writes.hit(now_ns):
                found.append(Finding.WRITE_RATE)
            if read.unit == 0:
                found.append(Finding.BROADCAST_WRITE)
        if isinstance(read, Identify) or (isinstance(read, AskDevice) and read.fc == REPORT_SERVER_ID):
            found.append(Finding.DEVICE_ID_RECON)
        if isinstance(read, Unsupported) and read.sub in SUBFUNCTIONS:
            does = SUBFUNCTIONS[read.sub].does
            found += [does] if does else []
        return found

    def _values(self, operation: Operation) -> list[Finding]:
        if operation.action is not Action.WRITE:
            return []
        return [finding for point in operation.points for finding in self._value(point)]

    def _value(self, point: Point) -> list[Finding]:
        """What is wrong with what a tag would become, as far as its range and last value are known."""
        span = self._ranges.get(point.tag)
        if point.q is None or span is None:
            return []
        low, high = span
        found = [] if low <= point.q <= high else [Finding.VALUE_RANGE]
        most = (high - low) * self._thresholds.delta_share
        if point.q_prev is not None and abs(point.q - point.q_prev) > most:
            found.append(Finding.VALUE_DELTA)
        return found


def _range(tag: Tag) -> tuple[int, int] | None:
    """The tag's sensible range in its resolution; none for a BOOL, which has no other values."""
    if tag.low is None or tag.high is None or tag.type is DataType.BOOL:
        return None
    low, high = points.quanta(tag, tag.low), points.quanta(tag, tag.high)
    return None if low is None or high is None else (low, high)


def _function(read: Request | Illegal | Unsupported) -> tuple[int, int | None]:
    """What counts as one function: FC 8 and 43 are several under one code."""
    match read:
        case ReadSpan():
            return read.fc, None
        case Diagnose() | Unsupported(sub=int()):
            return read.fc, read.sub
        case Identify() | Canopen() | Unsupported(mei=int()):
            return read.fc, read.mei
        case _:
            return read.fc, None


def _place(read: Request | Illegal | Unsupported) -> tuple[int, int] | None:
    """Where a request reads or writes, by first address and how many."""
    match read:
        case ReadSpan() | WriteSpan() | WriteThenRead():
            return read.start, read.count
        case WriteOne() | MaskOne() | ReadFifo():
            return read.start, 1
        case _:
            return None
