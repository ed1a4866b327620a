"""What a request means to the plant: operations, in the words that policy asks about.

`functions` knows what bytes are; this file knows that 0x10 on holding registers is a WRITE to an asset, and
which of its tags it touches. Policy authors need to read only this one.

- FC 1 to 4 are one READ; 5, 6, 15 and 16 one WRITE with raw values; 22 one WRITE with its masks; 23 a WRITE
  and then a READ, because the device writes first.
- An operation names every tag that overlaps its span. A write says what each would become, in the tag's
  resolution, beside the last value polled.
- What the gateway cannot read, policy cannot allow: an operation is `unreadable` if it would write part of a
  tag, something that is not a number, or a number that policy could not compare exactly.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import StrEnum
from math import isfinite
from struct import unpack
from typing import Any, Protocol

from gateway.model.asset import REGISTERS, Asset, DataType, Span, Table, Tag
from gateway.model.moment import Now
from gateway.model.operation import Action, ModbusTarget, Operation, Point
from gateway.model.operation import Protocol as Door
from gateway.wire.modbus import points
from gateway.wire.modbus.frames import MaskOne, ReadSpan, Request, WriteOne, WriteSpan, WriteThenRead
from gateway.wire.modbus.functions import FUNCTIONS

MOST_READS = 4096
"""Different reads remembered for each asset. A master polls tens to hundreds; a scanner that fills the memory
makes it start again empty, and costs everybody else one interpretation for each of their reads."""

WIDEST = max(REGISTERS.values())
"Registers of the widest type: how far before a span a tag that overlaps it may begin."

_NANOSECONDS = 1_000_000
"In a millisecond."


class Unreadable(StrEnum):
    """Why policy is not asked about a write."""

    PARTIAL_TAG = "partial_tag"
    "It would leave a tag half old and half new."
    NOT_A_NUMBER = "not_a_number"
    "NaN or infinite: every comparison with a limit would be false."
    BEYOND_2_53 = "beyond_2_53"
    "Too large for an exact comparison in JSON."


class LastValues(Protocol):
    """What the collector knows."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        """Quanta last polled, and the monotonic nanosecond of it; null where unknown."""


class Place:
    """One asset and its tags: where requests that are addressed to it get their meaning."""

    def __init__(self, asset: Asset, tags: Sequence[Tag]) -> None:
        self.asset = asset
        self._tags: dict[Table, list[Tag]] = {table: [] for table in Table}
        for tag in sorted(tags, key=lambda tag: (tag.address, tag.name)):
            self._tags[tag.table].append(tag)
        self._starts = {table: [tag.address for tag in those] for table, those in self._tags.items()}
        self._reads: dict[Request, tuple[Operation, ...]] = {}

    def operations(self, request: Request, last: LastValues, now: Now) -> tuple[Operation, ...]:
        """What the request wants, in the order in which the device would do it.

        A read asks nothing of the moment, so the same request gives the same object.
        """
        known = self._reads.get(request)
        if known is not None:
            return known
        operations = _MEANINGS[type(request)](self, request, last, now)
        if type(request) is ReadSpan:
            if len(self._reads) >= MOST_READS:
                self._reads.clear()
            self._reads[request] = operations
        return operations

    def touched(self, span: Span) -> list[Tag]:
        """Tags that overlap the span, by address."""
        starts = self._starts[span.table]
        tags = self._tags[span.table][
            bisect_left(starts, span.start - WIDEST + 1) : bisect_left(starts, span.end)
        ]
        return [tag for tag in tags if tag.span.end > span.start]

    def operation(
        self,
        request: Request,
        action: Action,
        span: Span,
        touched: tuple[Point, ...],
        *,
        unreadable: str | None = None,
        **target: Any,
    ) -> Operation:
        """One operation on a span of this asset."""
        return Operation(
            protocol=Door.MODBUS,
            action=action,
            kind=f"modbus.{FUNCTIONS[request.fc].name}",
            asset=self.asset.name,
            asset_kind=self.asset.kind,
            modbus=ModbusTarget(
                unit=request.unit,
                fc=request.fc,
                table=span.table,
                start=span.start,
                count=span.count,
                **target,
            ),
            points=touched,
            unreadable=unreadable,
        )


# one function for each class of request -------------------------------------------------------------


def _read_span(place: Place, request: ReadSpan, _last: LastValues, _now: Now) -> tuple[Operation, ...]:
    span = Span(FUNCTIONS[request.fc].body.table, request.start, request.count)
    return (_read(place, request, span),)


def _write_one(place: Place, request: WriteOne, last: LastValues, now: Now) -> tuple[Operation, ...]:
    span = Span(FUNCTIONS[request.fc].body.table, request.start, 1)
    data = request.word.to_bytes(2, "big")
    if span.table is Table.COIL:
        data = b"\x01" if request.word else b"\x00"
    return (_write(place, request, span, data, last, now),)


def _write_span(place: Place, request: WriteSpan, last: LastValues, now: Now) -> tuple[Operation, ...]:
    span = Span(FUNCTIONS[request.fc].body.table, request.start, request.count)
    return (_write(place, request, span, request.data, last, now),)


def _write_then_read(
    place: Place, request: WriteThenRead, last: LastValues, now: Now
) -> tuple[Operation, ...]:
    table = FUNCTIONS[request.fc].body.table
    written = Span(table, request.write_start, request.write_count)
    read = Span(table, request.start, request.count)
    return _write(place, request, written, request.data, last, now), _read(place, request, read)


def _mask_one(place: Place, request: MaskOne, last: LastValues, now: Now) -> tuple[Operation, ...]:
    span = Span(FUNCTIONS[request.fc].body.table, request.start, 1)
    touched, unreadable = [], None
    for tag in place.touched(span):
        if tag.span.count > 1:
            unreadable = Unreadable.PARTIAL_TAG
        touched.append(_point(tag, _masked(tag, request, last), last, now))
    masks = {"and_mask": request.and_mask, "or_mask": request.or_mask}
    return (place.operation(request, Action.WRITE, span, tuple(touched), unreadable=unreadable, **masks),)


_MEANINGS: dict[type[Request], Callable[[Place, Any, LastValues, Now], tuple[Operation, ...]]] = {
    ReadSpan: _read_span,
    WriteOne: _write_one,
    WriteSpan: _write_span,
    MaskOne: _mask_one,
    WriteThenRead: _write_then_read,
}


# reads, writes and points ---------------------------------------------------------------------------


def _read(place: Place, request: Request, span: Span) -> Operation:
    touched = tuple([Point(tag.name) for tag in place.touched(span)])
    return place.operation(request, Action.READ, span, touched)


def _write(place: Place, request: Request, span: Span, data: bytes, last: LastValues, now: Now) -> Operation:
    touched, unreadable = [], None
    for tag in place.touched(span):
        q, fault = _written(tag, span, data)
        unreadable = unreadable or fault
        touched.append(_point(tag, q, last, now))
    return place.operation(
        request,
        Action.WRITE,
        span,
        tuple(touched),
        unreadable=unreadable,
        values=_values(span, data),
    )


def _written(tag: Tag, span: Span, data: bytes) -> tuple[int | None, Unreadable | None]:
    """What a tag would become, or why that cannot be said."""
    number = points.raw(tag, data, span.start, span.table)
    if number is None:
        return None, Unreadable.PARTIAL_TAG
    if not isfinite(number):
        return None, Unreadable.NOT_A_NUMBER
    q = points.quanta_of_raw(tag, number)
    return (q, None) if q is not None else (None, Unreadable.BEYOND_2_53)


def _masked(tag: Tag, request: MaskOne, last: LastValues) -> int | None:
    """What a tag would become under a mask, as far as the last value polled can say.

    The device applies the mask to what the register holds *then*; policy sees the masks beside this.
    """
    kept, changed = points.word(tag, request.and_mask), points.word(tag, request.or_mask)
    known = last.last(tag.name)
    before = None if known is None else known[0]
    if tag.type is DataType.BOOL and tag.bit is not None:
        return before if kept >> tag.bit & 1 else changed >> tag.bit & 1
    register = 0
    if kept:
        held = None if before is None else points.register(tag, before)
        if held is None:
            return None
        register = points.word(tag, held) & kept
    register |= changed & ~kept
    on_wire = points.word(tag, register).to_bytes(2, "big")
    number = points.raw(tag, on_wire, request.start, tag.table)
    return None if number is None else points.quanta_of_raw(tag, number)


def _point(tag: Tag, q: int | None, last: LastValues, now: Now) -> Point:
    known = last.last(tag.name)
    if known is None or known[0] is None:
        return Point(tag.name, q)
    return Point(tag.name, q, known[0], max(0, now.mono_ns - known[1]) // _NANOSECONDS)


def _values(span: Span, data: bytes) -> tuple[int, ...]:
    """Raw registers, or coils as 0 and 1."""
    if span.table is Table.COIL:
        return tuple([data[i >> 3] >> (i & 7) & 1 for i in range(span.count)])
    return unpack(f">{span.count}H", data)
