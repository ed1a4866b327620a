"""Answers of servers: scanned to the last byte, joined with what we refused, and passed on.

A header, what stands before the results, one result for each item that was sent, DiagnosticInfos. Answers to
requests that went whole are passed as they came; where items were left out, refusals stand in their places.
A ServiceFault, or a bad service result, passes untouched (splice rule 5).
"""

from collections.abc import Sequence
from struct import Struct as Layout

from gateway.wire.opcua.binary import (
    BROKEN,
    I32,
    REST,
    U32,
    Wrong,
    count,
    counted,
    data_value,
    diagnostic_info,
    texts,
)
from gateway.wire.opcua.binary import FIXED as SIZES
from gateway.wire.opcua.binary import extension_object as extra
from gateway.wire.opcua.codes import BAD, status_slug
from gateway.wire.opcua.request import TYPE_ID, Malformed, Outbound
from gateway.wire.opcua.services import FAULT, Items
from gateway.wire.opcua.status import Status

DENIED = int(Status.USER_ACCESS_DENIED)
"What stands in the place of an item that policy denied."
_COMMON = Layout("<qII").unpack_from
"Timestamp, request handle, service result."
_COUNT = Layout("<i").pack
_STATUS = Layout("<I").pack
_USUAL = (b"\0\xff\xff\xff\xff\0\0\0", b"\0\0\0\0\0\0\0\0")
"No diagnostics, no string table (null or empty), no additional header."
HAS_STATUS = 0x02
"In the mask of a DataValue."


class ServiceAnswer:
    """What a server answered, and how it goes on to the client. Implements `guard.ports.Answer`."""

    __slots__ = (
        "body",
        "borders",
        "counted",
        "fault",
        "handle",
        "outbound",
        "parts",
        "start",
        "status",
        "statuses",
    )

    def __init__(
        self,
        outbound: Outbound,
        body: bytes,
        status: int,
        fault: bool,
        start: int,
        counted: int = 0,
        borders: tuple[int, ...] = (),
        statuses: tuple[int, ...] = (),
        parts: tuple[bytes | str, ...] = (),
    ) -> None:
        self.outbound = outbound
        self.body = body
        self.handle = outbound.request.header.handle
        self.status = status
        "The service result: nothing else counts where it is bad."
        self.fault = fault
        "Whether it is a ServiceFault."
        self.start = start
        "Where its header ends."
        self.counted = counted
        "Where the count of the results stands."
        self.borders = borders
        "Where each result begins, and where the last one ends."
        self.statuses = statuses
        "Of each item that was sent."
        self.parts = parts
        "For each item that was sent its value bytes, or the name of its bad status."

    @property
    def good(self) -> bool:
        """Whether the service was carried out."""
        return not self.status & BAD

    @property
    def data(self) -> bytes:
        """The value bytes of an answer without items: none; see `parts`."""
        return b""

    def result(self, at: int) -> bytes:
        """The bytes of one result, by its place among those that were sent."""
        return self.body[self.borders[at] : self.borders[at + 1]]

    def encode(self) -> bytes:
        """The answer for the client."""
        outbound = self.outbound
        if outbound.untouched or not self.good:
            return self.body
        return self.joined([self.result(at) for at in range(len(outbound.kept))])

    def joined(self, results: list[bytes]) -> bytes:
        """The answer with these results for what was sent, and refusals in the other places."""
        items, body = self.outbound.request.service.items, self.body
        if items is None:
            return body
        total, kept, refused = self.outbound.request.items, self.outbound.kept, self.outbound.refused
        places: dict[int, bytes] = dict(zip(kept, results, strict=True))
        spliced = [
            places[at] if at in places else denied(items, refused.get(at, DENIED)) for at in range(total)
        ]
        end = self.borders[-1]
        return b"".join((body[: self.counted], _COUNT(total), *spliced, self._diagnosed(end, total, kept)))

    def _diagnosed(self, end: int, total: int, kept: Sequence[int]) -> bytes:
        """The DiagnosticInfos, with a null one at each refused place, so that indices stay true."""
        (number,) = I32(self.body, end)
        if number <= 0 or total == len(kept):
            return self.body[end:]
        at, found = end + 4, []
        for _ in range(number):
            start, at = at, diagnostic_info(self.body, at)
            found.append(self.body[start:at])
        places = dict(zip(kept, found, strict=False))
        return b"".join((_COUNT(total), *[places.get(at, b"\0") for at in range(total)], self.body[at:]))


def denied(items: Items, status: int) -> bytes:
    """The result of an item that we refused."""
    if items.values:
        return b"\x02" + _STATUS(status)
    return _STATUS(status) + items.tail


def read_answer(outbound: Outbound, body: bytes) -> ServiceAnswer | Malformed:
    """What a server answered to that request. Never raises, whatever the bytes are."""
    try:
        found = _read(outbound, counted(body))
    except BROKEN as wrong:
        what = str(wrong) if isinstance(wrong, Wrong) else "the bytes end too early"
        return Malformed(Status.COMMUNICATION_ERROR, what)
    found.body = body
    return found


def read_response_header(body: bytes) -> tuple[int, int, int]:
    """Request handle, service result, and where what follows begins. Raises what scanners raise."""
    _, handle, status = _COMMON(body, 4)
    if body[20:28] in _USUAL:
        return handle, status, 28
    return handle, status, extra(body, texts(body, diagnostic_info(body, 20)))


def _read(outbound: Outbound, body: bytes) -> ServiceAnswer:
    request = outbound.request
    service = request.parameters.service
    if body[:2] != TYPE_ID:
        raise Wrong("a TypeId that is not in the four-byte form of namespace 0")
    type_id = body[2] | body[3] << 8
    handle, status, at = read_response_header(body)
    if handle != request.header.handle:
        raise Wrong("an answer to another request")
    if type_id == FAULT:
        if at != len(body):
            raise Wrong("bytes that no field owns")
        if not status & BAD:
            raise Wrong("a fault that is none")
        return ServiceAnswer(outbound, body, status, True, at)
    if type_id != service.answer:
        raise Wrong("an answer of another service")
    start = at
    if status & BAD and at == len(body):  # some servers leave out what has no meaning then
        return ServiceAnswer(outbound, body, status, False, start)
    at = service.answer_before(body, start)
    items = service.items
    if items is None:
        if at != len(body):
            raise Wrong("bytes that no field owns")
        return ServiceAnswer(outbound, body, status, False, start)
    number = count(body, at, len(items.tail) + 4 if not items.values else 1)
    place = at
    at += 4
    if items.values:
        borders, statuses, parts = _values(body, at, number)
    else:
        borders, statuses, parts = _results(items, body, at, number)
    at = borders[-1]
    many = count(body, at, 1)
    at += 4
    for _ in range(many):
        at = diagnostic_info(body, at)
    if at != len(body):
        raise Wrong("bytes that no field owns" if at < len(body) else "the bytes end too early")
    if not status & BAD:
        if number != len(outbound.kept):
            raise Wrong(f"{number} results for {len(outbound.kept)} items")
        if many not in (0, number) and not outbound.untouched:
            raise Wrong(f"{many} diagnostics for {number} results")
    return ServiceAnswer(outbound, body, status, False, start, place, tuple(borders), statuses, parts)


Results = tuple[list[int], tuple[int, ...], tuple[bytes | str, ...]]
"Borders, statuses, and value bytes or what is bad."


def _values(body: bytes, at: int, number: int) -> Results:
    """DataValues: the hot path, so all in one."""
    borders, statuses, parts = [at], [], []
    for _ in range(number):
        mask = body[at]
        size = SIZES[body[at + 1]] if mask & 0xC1 == 1 and body[at + 1] < 0x40 else 0
        end = at + 2 + size + REST[mask] if size else data_value(body, at)
        status = 0
        rest = end - REST[mask]
        if mask & HAS_STATUS:
            (status,) = U32(body, rest)
        statuses.append(status)
        parts.append(status_slug(status) if status & BAD else body[at + 1 : rest])
        borders.append(end)
        at = end
    return borders, tuple(statuses), tuple(parts)


def _results(items: Items, body: bytes, at: int, number: int) -> Results:
    borders, statuses, parts, scan = [at], [], [], items.result
    for _ in range(number):
        end = scan(body, at)
        (status,) = U32(body, at)
        statuses.append(status)
        parts.append(status_slug(status) if status & BAD else body[at + 4 : end])
        borders.append(end)
        at = end
    return borders, tuple(statuses), tuple(parts)


__all__ = ["DENIED", "ServiceAnswer", "denied", "read_answer", "read_response_header"]
