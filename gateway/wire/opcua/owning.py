"""Whether what a request names belongs to the session, and whether there is room for what it would make.

An id of somebody else is answered like one that does not exist. A refusal is for one item, or for all.
"""

from collections.abc import Callable, Iterable
from math import isfinite

from gateway.wire.opcua.binary import DOUBLE, I32, U32, node_id, type_number
from gateway.wire.opcua.reaching import behind_extension, history_item, numbers
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.structures import read_value_id
from gateway.wire.opcua.tables import Tables

EVENT_NOTIFIER = 12
"The attribute by which events come; a sampling interval means nothing for it."
NAME_SUBSCRIPTIONS = frozenset({3875, 12912, 11489, 11492, 12871, 12873, 12746, 12749})
"""Methods of namespace 0 whose first argument is a subscription: ConditionRefresh and -2, GetMonitoredItems,
ResendData, SetSubscriptionDurable, of the server's object and of its type."""

Refused = dict[int, int]
"By item: what is answered in its place."


def _kept(tables: Tables) -> tuple[int, int]:
    """Subscriptions and items that are on their way."""
    rows = tables.reserved.values()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def _create_subscription(tables: Tables, request: Request, _also: object) -> Refused | Status:
    if len(tables.subscriptions) + _kept(tables)[0] >= tables.bounds.subscriptions:
        return Status.TOO_MANY_SUBSCRIPTIONS
    if _too_fast(tables, DOUBLE(request.tail, 0)[0]):
        return Status.OUT_OF_RANGE
    tables.reserved[id(request)] = (1, 0)
    return {}


def _modify_subscription(tables: Tables, request: Request, _also: object) -> Refused | Status:
    if U32(request.tail, 0)[0] not in tables.subscriptions:
        return Status.SUBSCRIPTION_ID_INVALID
    return Status.OUT_OF_RANGE if _too_fast(tables, DOUBLE(request.tail, 4)[0]) else {}


def _too_fast(tables: Tables, interval: float) -> bool:
    return not isfinite(interval) or interval < tables.bounds.least_publishing_ms


def _subscription(tables: Tables, request: Request, _also: object) -> Refused | Status:
    """It stands first in the parameters."""
    known = U32(request.tail, 0)[0] in tables.subscriptions
    return {} if known else Status.SUBSCRIPTION_ID_INVALID


def _each_subscription(tables: Tables, request: Request, _also: object) -> Refused:
    return {
        at: Status.SUBSCRIPTION_ID_INVALID
        for at, known in enumerate(numbers(request))
        if known not in tables.subscriptions
    }


def _transferable(tables: Tables, request: Request, also: Iterable[Tables]) -> Refused:
    theirs = {each for other in (tables, *also) for each in other.subscriptions}
    free = tables.bounds.subscriptions - len(tables.subscriptions) - _kept(tables)[0]
    refused, taken = {}, 0
    for at, each in enumerate(numbers(request)):
        if each not in theirs:
            refused[at] = int(Status.SUBSCRIPTION_ID_INVALID)
        elif each not in tables.subscriptions:
            taken += 1
            if taken > free:
                refused[at] = int(Status.TOO_MANY_SUBSCRIPTIONS)
    tables.reserved[id(request)] = (min(taken, max(free, 0)), 0)
    return refused


def _each_item(tables: Tables, request: Request, _also: object) -> Refused | Status:
    subscription = tables.subscriptions.get(U32(request.tail, 0)[0])
    if subscription is None:
        return Status.SUBSCRIPTION_ID_INVALID
    return {
        at: Status.MONITORED_ITEM_ID_INVALID
        for at, known in enumerate(numbers(request))
        if known not in subscription.items
    }


def _modify_items(tables: Tables, request: Request, _also: object) -> Refused | Status:
    refused = _each_item(tables, request, ())
    if isinstance(refused, Status):
        return refused
    for at, border in enumerate(request.parameters.borders[:-1]):
        if at not in refused and _unfit(tables, request.tail, border + 4, events=False):
            refused[at] = int(Status.OUT_OF_RANGE)
    return refused


def _create_items(tables: Tables, request: Request, _also: object) -> Refused | Status:
    tail, borders = request.tail, request.parameters.borders
    if U32(tail, 0)[0] not in tables.subscriptions:
        return Status.SUBSCRIPTION_ID_INVALID
    free = tables.bounds.items - tables.items - _kept(tables)[1]
    refused, taken = {}, 0
    for at, border in enumerate(borders[:-1]):
        parameters = read_value_id(tail, border) + 4
        (attribute,) = U32(tail, node_id(tail, border))
        if _unfit(tables, tail, parameters, events=attribute == EVENT_NOTIFIER):
            refused[at] = int(Status.OUT_OF_RANGE)
        elif taken >= free:
            refused[at] = int(Status.TOO_MANY_MONITORED_ITEMS)
        else:
            taken += 1
    tables.reserved[id(request)] = (0, taken)
    return refused


def _unfit(tables: Tables, tail: bytes, parameters: int, *, events: bool) -> bool:
    """Whether a monitored item would be sampled too often, or queue too much."""
    (interval,) = DOUBLE(tail, parameters + 4)
    queue = U32(tail, behind_extension(tail, parameters + 12))[0]
    if queue > tables.bounds.most_queue or not isfinite(interval):
        return True
    return not events and 0 <= interval < tables.bounds.least_sampling_ms


def _set_triggering(tables: Tables, request: Request, _also: object) -> Refused | Status:
    tail = request.tail
    subscription = tables.subscriptions.get(U32(tail, 0)[0])
    if subscription is None:
        return Status.SUBSCRIPTION_ID_INVALID
    at, named = 8, [U32(tail, 4)[0]]
    for _ in ("links to add", "links to remove"):
        number = max(I32(tail, at)[0], 0)
        named += [U32(tail, at + 4 + 4 * each)[0] for each in range(number)]
        at += 4 + 4 * number
    mine = all(each in subscription.items for each in named)
    return {} if mine else Status.MONITORED_ITEM_ID_INVALID


def _browse_next(tables: Tables, request: Request, _also: object) -> Refused:
    return {
        at: Status.CONTINUATION_POINT_INVALID
        for at in range(request.items)
        if request.item(at)[4:] not in tables.browses
    }


def _history_read(tables: Tables, request: Request, _also: object) -> Refused:
    refused = {}
    for at, border in enumerate(request.parameters.borders[:-1]):
        node, continuation = history_item(request.tail, border)
        if continuation:
            known = tables.histories.get(continuation)
            if known is None or known.node != node:
                refused[at] = int(Status.CONTINUATION_POINT_INVALID)
    return refused


def _call(tables: Tables, request: Request, _also: object) -> Refused:
    refused, tail = {}, request.tail
    for at, border in enumerate(request.parameters.borders[:-1]):
        method = node_id(tail, border)
        if type_number(tail, method) in NAME_SUBSCRIPTIONS:
            arguments = node_id(tail, method)
            (number,) = I32(tail, arguments)
            named = number > 0 and tail[arguments + 4] == 7  # a UInt32
            if not named or U32(tail, arguments + 5)[0] not in tables.subscriptions:
                refused[at] = int(Status.SUBSCRIPTION_ID_INVALID)
    return refused


CHECKS: dict[str, Callable[[Tables, Request, Iterable[Tables]], Refused | Status]] = {
    "CreateSubscription": _create_subscription,
    "ModifySubscription": _modify_subscription,
    "SetPublishingMode": _each_subscription,
    "DeleteSubscriptions": _each_subscription,
    "TransferSubscriptions": _transferable,
    "CreateMonitoredItems": _create_items,
    "ModifyMonitoredItems": _modify_items,
    "SetMonitoringMode": _each_item,
    "DeleteMonitoredItems": _each_item,
    "SetTriggering": _set_triggering,
    "Publish": _each_subscription,
    "Republish": _subscription,
    "BrowseNext": _browse_next,
    "HistoryRead": _history_read,
    "Call": _call,
}
"By service: what names something that must be one's own."
