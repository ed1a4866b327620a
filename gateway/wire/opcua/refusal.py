"""Our own answers, in the peer's own words: faults, complete answers of refusals, and RegisterNodes.

A caller who may not do a thing learns no more than Bad_UserAccessDenied; policy's reasons are for operators
and the record.
"""

from collections.abc import Mapping
from struct import pack

from gateway.model.decision import Why
from gateway.wire.opcua.answer import DENIED, denied
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.services import FAULT
from gateway.wire.opcua.status import Status

EPOCH_TICKS = 116_444_736_000_000_000
"1970 in DateTime: 100 ns since 1601."

CODES: dict[Why, Status] = {
    Why.NO_ROLE: Status.USER_ACCESS_DENIED,
    Why.UNMAPPED_UNIT: Status.USER_ACCESS_DENIED,
    Why.UNKNOWN_FUNCTION: Status.SERVICE_UNSUPPORTED,
    Why.DENIED: Status.USER_ACCESS_DENIED,
    Why.ILLEGAL_ADDRESS: Status.DECODING_ERROR,
    Why.ILLEGAL_VALUE: Status.OUT_OF_RANGE,
    Why.NOT_RECORDED: Status.INTERNAL_ERROR,
    Why.BUSY: Status.TOO_MANY_OPERATIONS,
    Why.NO_PATH: Status.SERVER_NOT_CONNECTED,
    Why.NO_ANSWER: Status.TIMEOUT,
}
"Every reason has a row; a test holds this."


def ticks(wall_ns: int) -> int:
    """A moment as DateTime."""
    return wall_ns // 100 + EPOCH_TICKS


def header(type_id: int, handle: int, status: int, wall_ns: int) -> bytes:
    """TypeId and ResponseHeader, without diagnostics."""
    return pack("<BBHqII", 1, 0, type_id, ticks(wall_ns), handle, status) + b"\0\xff\xff\xff\xff\0\0\0"


def fault(handle: int, status: int, wall_ns: int) -> bytes:
    """A ServiceFault."""
    return header(FAULT, handle, status, wall_ns)


def all_refused(request: Request, wall_ns: int, statuses: Mapping[int, int] | None = None) -> bytes:
    """A complete answer without the server: every item denied, or as `statuses` says.

    A fault where the service has no items that could each be denied.
    """
    items, handle = request.service.items, request.header.handle
    if items is None or not items.parted:
        return fault(handle, DENIED, wall_ns)
    number, said = request.items, statuses or {}
    return b"".join(
        (
            header(request.service.answer, handle, Status.GOOD, wall_ns),
            pack("<i", number),
            *[denied(items, said.get(at, DENIED)) for at in range(number)],
            pack("<i", 0),
        )
    )


def answered_here(request: Request, wall_ns: int) -> bytes:
    """The answer to RegisterNodes (the same ids: OPC 10000-4 §5.9.5 asks for no more) or UnregisterNodes."""
    said = header(request.service.answer, request.header.handle, Status.GOOD, wall_ns)
    if request.service.name != "RegisterNodes":
        return said
    return said + request.tail[request.parameters.counted :]
