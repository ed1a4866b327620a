"""What a server reports by itself, read from Publish answers that were scanned (OPC 10000-4 §5.14.5)."""

from msgspec import Struct
from msgspec.structs import replace

from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.binary import (
    BROKEN,
    I32,
    I64,
    U32,
    Wrong,
    count,
    data_value,
    diagnostics,
    type_number,
    variant,
)
from gateway.wire.opcua.binary import extension_object as skip
from gateway.wire.opcua.binary import node_id as skip_node
from gateway.wire.opcua.nodeid import Prefixes
from gateway.wire.opcua.request import Malformed
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.values import TYPES, DataValue, Opaque, read_data_value, ticks_ns

HAS_VALUE = 0x01
"In the mask of a DataValue."
DATA_CHANGE, STATUS_CHANGE, EVENTS, HISTORY_DATA = 811, 820, 916, 658


class Change(Struct, frozen=True):
    """A new value of a monitored item."""

    handle: int
    "The client handle of the item."
    value: DataValue


class Published(Struct, frozen=True, kw_only=True):
    """One notification message."""

    subscription: int
    sequence: int
    "To be acknowledged; of a keep-alive the number of the next message."
    published_ns: int | None
    available: tuple[int, ...] = ()
    "Sequence numbers that can be asked for again."
    more: bool = False
    "Whether the server has more to say at once."
    changes: tuple[Change, ...] = ()
    ended: int | None = None
    "The status with which the server ended the subscription."
    others: int = 0
    "Parts that are neither: events, types we do not know."

    @property
    def keep_alive(self) -> bool:
        """Whether it says only that the subscription lives. It is not acknowledged."""
        return not self.changes and self.ended is None and not self.others


def read_published(answer: ServiceAnswer, begins: Prefixes) -> Published | Malformed:
    """The notification message in a Publish answer. Never raises, whatever the bytes are."""
    try:
        return _published(answer.body, answer.start, begins)
    except BROKEN as wrong:
        return Malformed(Status.COMMUNICATION_ERROR, f"a notification: {wrong}")


def _published(body: bytes, at: int, begins: Prefixes) -> Published:
    (subscription,) = U32(body, at)
    number = count(body, at + 4, 4)
    at += 8
    available = tuple([U32(body, at + 4 * each)[0] for each in range(number)])
    at += 4 * number
    more, sequence, sent = body[at] != 0, U32(body, at + 1)[0], I64(body, at + 5)[0]
    at += 13
    number = count(body, at, 3)
    at += 4
    changes: list[Change] = []
    ended, others = None, 0
    for _ in range(number):
        end = skip(body, at)
        kind, start = type_number(body, at), skip_node(body, at)
        if kind == DATA_CHANGE and body[start] == 1:
            changes += _changes(body[:end], start + 5, begins)
        elif kind == STATUS_CHANGE and body[start] == 1:
            (ended,) = U32(body[:end], start + 5)
        else:
            others += 1
        at = end
    return Published(
        subscription=subscription,
        sequence=sequence,
        published_ns=ticks_ns(sent),
        available=available,
        more=more,
        changes=tuple(changes),
        ended=ended,
        others=others,
    )


def _changes(body: bytes, at: int, begins: Prefixes) -> list[Change]:
    """DataChangeNotification: handles and values, then DiagnosticInfos, to the end of `body`."""
    number, found = count(body, at, 5), []
    at += 4
    for _ in range(number):
        (handle,) = U32(body, at)
        if data_value(body, at + 4) > len(body):
            raise IndexError("a value that is not all there")
        value, at = _value(body, at + 4, begins)
        found.append(Change(handle, value))
    if diagnostics(body, at) != len(body):
        raise IndexError("bytes that no field owns")
    return found


def _value(body: bytes, at: int, begins: Prefixes) -> tuple[DataValue, int]:
    """A DataValue that was scanned, and where it ends.

    A value that cannot be said (a text with a NUL, a node of a namespace without a name) stays opaque: the
    others, and its own status and times, do not suffer.
    """
    try:
        return read_data_value(body, at, begins)
    except Wrong:
        end, behind = data_value(body, at), variant(body, at + 1)
        rest, _ = read_data_value(bytes((body[at] & ~HAS_VALUE,)) + body[behind:end], 0, begins)
        return replace(rest, value=Opaque(TYPES[body[at + 1] & 0x3F])), end


def read_values(answer: ServiceAnswer, begins: Prefixes) -> tuple[DataValue, ...] | Malformed:
    """The values of a Read answer, for each item that was sent."""
    try:
        return tuple([_value(answer.body, at, begins)[0] for at in answer.borders[:-1]])
    except BROKEN as wrong:
        return Malformed(Status.COMMUNICATION_ERROR, f"a value: {wrong}")


def read_history_values(
    answer: ServiceAnswer, begins: Prefixes
) -> tuple[tuple[tuple[DataValue, ...], bytes], ...] | Malformed:
    """Of a HistoryRead answer, for each node that was sent: values, and where to go on (empty: done)."""
    try:
        return tuple([_history(answer.result(at), begins) for at in range(len(answer.borders) - 1)])
    except BROKEN as wrong:
        return Malformed(Status.COMMUNICATION_ERROR, f"a history: {wrong}")


def _history(result: bytes, begins: Prefixes) -> tuple[tuple[DataValue, ...], bytes]:
    (size,) = I32(result, 4)
    at = 8 + max(size, 0)
    point = result[8:at]
    kind, start = type_number(result, at), skip_node(result, at)
    if kind != HISTORY_DATA or result[start] != 1:
        return (), point
    number, found = count(result, start + 5, 1), []
    at = start + 9
    for _ in range(number):
        data_value(result, at)
        value, at = read_data_value(result, at, begins)
        found.append(value)
    if at != len(result):
        raise IndexError("bytes that no field owns")
    return tuple(found), point
