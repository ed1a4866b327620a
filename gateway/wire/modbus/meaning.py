"""What a request means to the plant: operations, in the words that policy asks about.

`functions` knows what bytes are; this file knows that 0x10 on holding registers is a WRITE to an asset, and
which of its tags it touches. Policy authors need to read only this one.

- FC 1 to 4 are one READ, and so is 24, of the register that points to its queue; 5, 6, 15 and 16 one WRITE
  with raw values; 22 one WRITE with its masks; 23 a WRITE and then a READ, because the device writes first.
- FC 20 and 21 are a READ or WRITE for each group; 7, 11, 12, 17 and 43/14 one READ of the device itself;
  8 a CALL, with its sub-function; 43/13 a WRITE that nobody can judge.
- An operation names every tag that overlaps its span. A write says what each would become, in the tag's
  resolution, beside the last value polled.
- Where an asset declares that its tables overlay each other, a request is also an operation on every other
  name of what it touches (`overlays`).
- What the gateway cannot read, policy cannot allow: an operation is `unreadable` if it would write part of a
  tag, something that is not a number, a number that policy could not compare exactly, or who knows what.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from struct import unpack
from typing import Any

from gateway.model.asset import REGISTERS, Asset, Span, Table, Tag
from gateway.model.moment import Now
from gateway.model.operation import Action, ModbusTarget, Operation, Point
from gateway.model.operation import Protocol as Door
from gateway.wire.modbus.effects import Data, Effect, LastValues, Mask, Unreadable, point
from gateway.wire.modbus.frames import (
    AskDevice,
    Canopen,
    Diagnose,
    Identify,
    Illegal,
    MaskOne,
    ReadFifo,
    ReadRecords,
    ReadSpan,
    Request,
    Unsupported,
    WriteOne,
    WriteRecords,
    WriteSpan,
    WriteThenRead,
)
from gateway.wire.modbus.functions import FUNCTIONS, kind, read_request
from gateway.wire.modbus.overlays import Overlays

__all__ = ["MOST_READS", "LastValues", "Place", "Unreadable"]

MOST_READS = 4096
"""Different reads remembered for each asset. A master polls tens to hundreds; a scanner that fills the memory
makes it start again empty, and costs everybody else one interpretation for each of their reads."""

WIDEST = max(REGISTERS.values())
"Registers of the widest type: how far before a span a tag that overlaps it may begin."


Understood = tuple[Request, tuple[Operation, ...]]
"A request and what it wants."


class Place:
    """One asset and its tags: where requests that are addressed to it get their meaning."""

    def __init__(self, asset: Asset, tags: Sequence[Tag]) -> None:
        self.asset = asset
        self._tags: dict[Table, list[Tag]] = {table: [] for table in Table}
        for tag in sorted(tags, key=lambda tag: (tag.address, tag.name)):
            self._tags[tag.span.table].append(tag)
        self._starts = {table: [tag.address for tag in those] for table, those in self._tags.items()}
        self.overlays = Overlays(asset.overlays)
        self._reads: dict[Request, tuple[Operation, ...]] = {}
        self._read_before: dict[tuple[int, bytes], Understood] = {}

    def tags(self) -> list[Tag]:
        """All tags of the asset."""
        return [tag for those in self._tags.values() for tag in those]

    def understand(
        self, unit: int, pdu: bytes, last: LastValues, now: Now
    ) -> Understood | Illegal | Unsupported:
        """A request PDU, read, and what it wants. The same read, byte for byte, gives the same objects."""
        known = self._read_before.get((unit, pdu))
        if known is not None:
            return known
        request = read_request(unit, pdu)
        if not isinstance(request, Request):
            return request
        understood = request, self.operations(request, last, now)
        if type(request) in _REMEMBERED:
            if len(self._read_before) >= MOST_READS:
                self._read_before.clear()
            self._read_before[unit, pdu] = understood
        return understood

    def operations(self, request: Request, last: LastValues, now: Now) -> tuple[Operation, ...]:
        """What the request wants, in the order in which the device would do it.

        A read asks nothing of the moment, so the same request gives the same object.
        """
        known = self._reads.get(request)
        if known is not None:
            return known
        operations = tuple(_MEANINGS[type(request)](self, request, last, now))
        if type(request) in _REMEMBERED:
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

    def reads(self, request: Request, span: Span) -> list[Operation]:
        """A read of a span, under each of its names."""
        return [
            self._spanned(request, Action.READ, there, [Point(tag.name) for tag in self.touched(there)])
            for there in (span, *self.overlays.spans(span))
        ]

    def writes(self, request: Request, effect: Effect, last: LastValues, now: Now) -> list[Operation]:
        """A write, under each name of what it changes."""
        return [self._write(request, each, last, now) for each in (effect, *self.overlays.effects(effect))]

    def operation(
        self,
        request: Request,
        action: Action,
        touched: Sequence[Point] = (),
        *,
        unreadable: Unreadable | None = None,
        **target: Any,
    ) -> Operation:
        """One operation on this asset."""
        return Operation(
            protocol=Door.MODBUS,
            action=action,
            kind=kind(request),
            asset=self.asset.name,
            asset_kind=self.asset.kind,
            modbus=ModbusTarget(unit=request.unit, fc=request.fc, **target),
            points=tuple(touched),
            unreadable=unreadable,
        )

    def _spanned(
        self,
        request: Request,
        action: Action,
        span: Span,
        touched: Sequence[Point],
        unreadable: Unreadable | None = None,
        **target: Any,
    ) -> Operation:
        where = {"table": span.table, "start": span.start, "count": span.count}
        return self.operation(request, action, touched, unreadable=unreadable, **where, **target)

    def _write(self, request: Request, effect: Effect, last: LastValues, now: Now) -> Operation:
        touched, unreadable = [], None
        for tag in self.touched(effect.span):
            q, fault = effect.on(tag, last)
            unreadable = unreadable or fault
            touched.append(point(tag, q, last, now))
        said: dict[str, Any] = (
            {"values": effect.values}
            if isinstance(effect, Data)
            else {"and_mask": effect.and_mask, "or_mask": effect.or_mask}
        )
        return self._spanned(request, Action.WRITE, effect.span, touched, unreadable, **said)


# one function for each class of request -------------------------------------------------------------


_TABLES = {row.code: row.body.table for row in FUNCTIONS.values() if row.body.table is not None}


def _read_span(place: Place, request: ReadSpan, _last: LastValues, _now: Now) -> list[Operation]:
    return place.reads(request, Span(_TABLES[request.fc], request.start, request.count))


def _read_fifo(place: Place, request: ReadFifo, _last: LastValues, _now: Now) -> list[Operation]:
    return place.reads(request, Span(_TABLES[request.fc], request.start, 1))


def _write_one(place: Place, request: WriteOne, last: LastValues, now: Now) -> list[Operation]:
    span = Span(_TABLES[request.fc], request.start, 1)
    data = request.word.to_bytes(2, "big")
    if span.table is Table.COIL:
        data = b"\x01" if request.word else b"\x00"
    return place.writes(request, Data(span, data), last, now)


def _write_span(place: Place, request: WriteSpan, last: LastValues, now: Now) -> list[Operation]:
    span = Span(_TABLES[request.fc], request.start, request.count)
    return place.writes(request, Data(span, request.data), last, now)


def _write_then_read(place: Place, request: WriteThenRead, last: LastValues, now: Now) -> list[Operation]:
    table = _TABLES[request.fc]
    written = Data(Span(table, request.write_start, request.write_count), request.data)
    read = Span(table, request.start, request.count)
    return [*place.writes(request, written, last, now), *place.reads(request, read)]


def _mask_one(place: Place, request: MaskOne, last: LastValues, now: Now) -> list[Operation]:
    span = Span(_TABLES[request.fc], request.start, 1)
    return place.writes(request, Mask(span, request.and_mask, request.or_mask), last, now)


def _ask_device(place: Place, request: AskDevice, _last: LastValues, _now: Now) -> list[Operation]:
    return [place.operation(request, Action.READ)]


def _diagnose(place: Place, request: Diagnose, _last: LastValues, _now: Now) -> list[Operation]:
    return [place.operation(request, Action.CALL, sub=request.sub, values=_words(request.data))]


def _read_records(place: Place, request: ReadRecords, _last: LastValues, _now: Now) -> list[Operation]:
    return [
        place.operation(request, Action.READ, file=span.file, record=span.record, count=span.count)
        for span in request.spans
    ]


def _write_records(place: Place, request: WriteRecords, _last: LastValues, _now: Now) -> list[Operation]:
    return [
        place.operation(
            request,
            Action.WRITE,
            file=span.file,
            record=span.record,
            count=span.count,
            values=_words(span.data),
        )
        for span in request.spans
    ]


def _identify(place: Place, request: Identify, _last: LastValues, _now: Now) -> list[Operation]:
    return [place.operation(request, Action.READ, mei=request.mei, sub=request.code, start=request.object)]


def _canopen(place: Place, request: Canopen, _last: LastValues, _now: Now) -> list[Operation]:
    return [place.operation(request, Action.WRITE, unreadable=Unreadable.UNKNOWN_EFFECT, mei=request.mei)]


def _words(data: bytes) -> tuple[int, ...]:
    return unpack(f">{len(data) // 2}H", data)


_MEANINGS: dict[type[Request], Callable[[Place, Any, LastValues, Now], list[Operation]]] = {
    ReadSpan: _read_span,
    ReadFifo: _read_fifo,
    WriteOne: _write_one,
    WriteSpan: _write_span,
    MaskOne: _mask_one,
    WriteThenRead: _write_then_read,
    AskDevice: _ask_device,
    Diagnose: _diagnose,
    ReadRecords: _read_records,
    WriteRecords: _write_records,
    Identify: _identify,
    Canopen: _canopen,
}
_REMEMBERED = frozenset({ReadSpan, ReadFifo, AskDevice, ReadRecords, Identify})
"Requests that ask nothing of the moment."
