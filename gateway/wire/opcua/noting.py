"""What answers make and end: the tables of a session follow what the server says."""

from collections.abc import Callable

from msgspec.structs import replace

from gateway.model.operation import Operation
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.binary import DOUBLE, I32, U32, type_number
from gateway.wire.opcua.codes import BAD
from gateway.wire.opcua.reaching import SUBSCRIPTIONS_OWN, bytes_at, history_item, milliseconds, sent
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.tables import Point, Subscription, Tables

MOST_POINT = 4096
"Bytes of a continuation point that is remembered: a longer one cannot be gone on with."
STATUS_CHANGE = 820
"StatusChangeNotification: the server has ended a subscription, or given it away."


def _created(tables: Tables, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
    (known,) = U32(answer.body, answer.start)
    (interval,) = DOUBLE(answer.body, answer.start + 4)
    tables.subscriptions[known] = Subscription(interval, operations[0])


def _modified(tables: Tables, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
    subscription = tables.subscriptions.get(U32(answer.outbound.request.tail, 0)[0])
    if subscription is not None:
        (subscription.publishing_ms,) = DOUBLE(answer.body, answer.start)
        subscription.operation = operations[0]
        publishing = milliseconds(subscription.publishing_ms)
        for known, made in subscription.items.items():
            if made.opcua is not None and made.opcua.sampling_ms == SUBSCRIPTIONS_OWN:
                subscription.items[known] = replace(made, opcua=replace(made.opcua, publishing_ms=publishing))


def _deleted(tables: Tables, answer: ServiceAnswer, _operations: object) -> None:
    for known, status in zip(sent(answer), answer.statuses, strict=True):
        if not status & BAD or status == Status.SUBSCRIPTION_ID_INVALID:
            tables.subscriptions.pop(known, None)


def _items_created(tables: Tables, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
    subscription = tables.subscriptions.get(U32(answer.outbound.request.tail, 0)[0])
    if subscription is None:
        return
    for at, (operation, status) in enumerate(zip(operations, answer.statuses, strict=True)):
        if not status & BAD:
            subscription.items[U32(answer.body, answer.borders[at] + 4)[0]] = operation


def _items_modified(tables: Tables, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
    subscription = tables.subscriptions.get(U32(answer.outbound.request.tail, 0)[0])
    if subscription is None:
        return
    for known, operation, status in zip(sent(answer), operations, answer.statuses, strict=True):
        if not status & BAD and known in subscription.items:
            subscription.items[known] = operation


def _items_deleted(tables: Tables, answer: ServiceAnswer, _operations: object) -> None:
    subscription = tables.subscriptions.get(U32(answer.outbound.request.tail, 0)[0])
    if subscription is None:
        return
    for known, status in zip(sent(answer), answer.statuses, strict=True):
        if not status & BAD or status == Status.MONITORED_ITEM_ID_INVALID:
            subscription.items.pop(known, None)


def _browsed(tables: Tables, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
    request = answer.outbound.request
    following = request.service.name == "BrowseNext"
    for at, place in enumerate(answer.outbound.kept):
        if following:
            tables.browses.pop(request.item(place)[4:], None)
        continuation = bytes_at(answer.body, answer.borders[at] + 4)
        if continuation:
            _remember(tables, tables.browses, continuation, Point(b"", operations[at]))


def _history_came(tables: Tables, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
    request = answer.outbound.request
    for at, place in enumerate(answer.outbound.kept):
        node, before = history_item(request.tail, request.parameters.borders[place])
        tables.histories.pop(before, None)
        continuation = bytes_at(answer.body, answer.borders[at] + 4)
        if continuation:
            _remember(tables, tables.histories, continuation, Point(node, operations[at]))


def _remember(tables: Tables, table: dict[bytes, Point], continuation: bytes, point: Point) -> None:
    if len(continuation) > MOST_POINT:
        return
    if len(table) >= tables.bounds.points:
        table.pop(next(iter(table)))
    table[continuation] = point


def _published(tables: Tables, answer: ServiceAnswer, _operations: object) -> None:
    """A subscription that the server has ended is nobody's any more."""
    (known,) = U32(answer.body, answer.start)
    available = max(I32(answer.body, answer.start + 4)[0], 0)
    data = answer.start + 8 + 4 * available + 1 + 12
    if I32(answer.body, data)[0] > 0 and type_number(answer.body, data + 4) == STATUS_CHANGE:
        tables.subscriptions.pop(known, None)


NOTES: dict[str, Callable[[Tables, ServiceAnswer, tuple[Operation, ...]], None]] = {
    "CreateSubscription": _created,
    "ModifySubscription": _modified,
    "DeleteSubscriptions": _deleted,
    "CreateMonitoredItems": _items_created,
    "ModifyMonitoredItems": _items_modified,
    "DeleteMonitoredItems": _items_deleted,
    "Browse": _browsed,
    "BrowseNext": _browsed,
    "HistoryRead": _history_came,
    "Publish": _published,
}
"By service: what makes or ends something."
