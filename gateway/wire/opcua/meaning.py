"""What a request means to the plant: operations, in the words that policy asks about.

`services` knows what bytes are; this file knows that an item of a Write is a WRITE of an attribute of a node
with a value, and which tags live there. Policy authors need to read only this one.

- Read, Write, Browse, HistoryRead, Call and the monitored items are one operation for each node or method.
- BrowseNext is the browse that it goes on with; a modified item is the item, asked for anew.
- What is about a subscription, or about items by their ids, names no node; so does Publish, which is one.
- An operation names every tag of its node. A write says what each would become, in the tag's resolution,
  beside the last value known.
- What the gateway cannot read, policy cannot allow: see `Unreadable`.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from math import isfinite
from typing import Any

from gateway.model.asset import Asset, Tag
from gateway.model.moment import Now
from gateway.model.operation import OpcuaTarget, Operation
from gateway.model.operation import Point as Touched
from gateway.model.operation import Protocol as Door
from gateway.wire.opcua.binary import DOUBLE, I32, I64, U16, U32, Wrong, node_id, type_number
from gateway.wire.opcua.nodeid import (
    NoNamespaceError,
    Prefixes,
    prefixes,
    read,
    read_string,
    said,
)
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.services import Service
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.structures import READ_AT_TIMES, READ_EVENTS, READ_PROCESSED, READ_RAW, read_value_id
from gateway.wire.opcua.values import (
    Typed,
    exact,
    finite,
    raw,
    read_data_value,
    read_variant,
    shown,
    ticks_ns,
)
from gateway.wire.quanta import MOST_QUANTA, LastValues, point, quanta_of_raw

__all__ = ["MOST_BATCHES", "MOST_KNOWN", "Context", "LastValues", "NodePlace", "Unreadable"]

MOST_KNOWN = 16_384
"Different items of reads and browses remembered for each asset and kind of channel."
MOST_BATCHES = 1_024
"The same for whole requests."
MOST_BATCH_BYTES = 16_384
"Longer requests are put together of their items each time."
MOST_CHANNELS = 16
"Kinds of channels: namespaces, policy and mode. A server that starts anew with others begins a new one."
SUBSCRIPTIONS_OWN = -1
"A sampling interval: that of the subscription (OPC 10000-4 §7.21)."
VALUE, EVENT_NOTIFIER = 13, 12
ATTRIBUTES = (
    "NodeId",
    "NodeClass",
    "BrowseName",
    "DisplayName",
    "Description",
    "WriteMask",
    "UserWriteMask",
    "IsAbstract",
    "Symmetric",
    "InverseName",
    "ContainsNoLoops",
    "EventNotifier",
    "Value",
    "DataType",
    "ValueRank",
    "ArrayDimensions",
    "AccessLevel",
    "UserAccessLevel",
    "MinimumSamplingInterval",
    "Historizing",
    "Executable",
    "UserExecutable",
    "DataTypeDefinition",
    "RolePermissions",
    "UserRolePermissions",
    "AccessRestrictions",
    "AccessLevelEx",
)
"From 1 (OPC 10000-6 Annex A.1)."
OBJECTS = "i=85"
"The Objects folder: where browse paths begin."


class Unreadable(StrEnum):
    """Why policy is not asked."""

    PARTIAL_TAG = "partial_tag"
    "It would change part of a tag: an index range, an attribute that is not the value, another type."
    NOT_A_NUMBER = "not_a_number"
    "NaN or infinite: every comparison with a limit would be false."
    BEYOND_2_53 = "beyond_2_53"
    "Too large for an exact comparison in JSON."
    OPAQUE_VALUE = "opaque_value"
    "A structure, whose content the gateway does not read."
    NO_VALUE = "no_value"
    "A write that has no value."
    BAD_QUALITY = "bad_quality"
    "A write of a status that is not good, which policy is not told."
    NOT_TEXT = "not_text"
    "A name or text that is not UTF-8, or has a NUL in it."
    UNKNOWN_NAMESPACE = "unknown_namespace"
    "A namespace that the server does not have, or has twice: the node has no name that lasts."
    UNKNOWN_DETAILS = "unknown_details"
    "Details of a history read that are none of the known kinds."


class _Channel:
    """What is remembered for one kind of channel."""

    __slots__ = ("batches", "items", "place")

    def __init__(self, place: "NodePlace") -> None:
        self.place = place
        self.items: dict[tuple[int, bytes], Operation] = {}
        self.batches: dict[tuple[int, bytes], tuple[Operation, ...]] = {}


class Context:
    """By what channel and session a request came, and what the server's namespaces are."""

    __slots__ = ("_channel", "begins", "mode", "namespaces", "security", "session")

    def __init__(
        self,
        namespaces: tuple[str, ...],
        security: str | None = None,
        mode: str | None = None,
        session: Ownership | None = None,
    ) -> None:
        self.namespaces = namespaces
        "The server's NamespaceArray."
        self.begins: Prefixes = prefixes(namespaces)
        self.security = security
        self.mode = mode
        self.session = session if session is not None else Ownership()
        self._channel: _Channel | None = None

    def channel(self, place: "NodePlace") -> _Channel:
        """What the place remembers for such channels."""
        if self._channel is None or self._channel.place is not place:
            self._channel = place.channel(self)
        return self._channel


class NodePlace:
    """One asset and its tags: where requests to its server get their meaning."""

    def __init__(self, asset: Asset, tags: Sequence[Tag]) -> None:
        self.asset = asset
        self._tags: dict[str, tuple[Tag, ...]] = {}
        for tag in sorted(tags, key=lambda tag: tag.name):
            if tag.node is not None:
                self._tags[tag.node] = (*self._tags.get(tag.node, ()), tag)
        self._channels: dict[tuple[object, ...], _Channel] = {}

    def tags(self) -> list[Tag]:
        """All tags of the asset."""
        return [tag for those in self._tags.values() for tag in those]

    def at(self, node: str | None) -> tuple[Tag, ...]:
        """The tags of a node."""
        return self._tags.get(node, ()) if node is not None else ()

    def channel(self, context: Context) -> _Channel:
        """See `Context.channel`."""
        key = (context.namespaces, context.security, context.mode)
        known = self._channels.get(key)
        if known is None:
            if len(self._channels) >= MOST_CHANNELS:
                self._channels.clear()
            known = self._channels[key] = _Channel(self)
        return known

    def operations(
        self, request: Request, context: Context, last: LastValues, now: Now
    ) -> tuple[Operation, ...]:
        """What the request wants: an operation for each item, in their order, or one for all.

        A read asks nothing of the moment, so equal items give the same object, whoever asks.
        """
        service, tail = request.parameters.service, request.parameters.tail
        if service.name not in _REMEMBERED:
            return tuple(_MEANINGS[service.name](_Asking(self, context, request, last, now)))
        channel = context.channel(self)
        key = service.request, tail
        known = channel.batches.get(key)
        if known is None:
            known = tuple(self._known(request, context, channel, last, now))
            if len(tail) <= MOST_BATCH_BYTES:
                if len(channel.batches) >= MOST_BATCHES:
                    channel.batches.clear()
                channel.batches[key] = known
        return known

    def _known(
        self, request: Request, context: Context, channel: _Channel, last: LastValues, now: Now
    ) -> list[Operation]:
        asking = _Asking(self, context, request, last, now)
        meaning = _ITEMS.get(request.service.name)
        if meaning is None:
            return _MEANINGS[request.service.name](asking)
        found, known, number = [], channel.items, request.service.request
        for at in range(request.items):
            key = number, request.item(at)
            operation = known.get(key)
            if operation is None:
                operation = asking.read(meaning, request.parameters.borders[at])
                if len(known) >= MOST_KNOWN:
                    known.clear()
                known[key] = operation
            found.append(operation)
        return found


class _Asking:
    """A request while it gets its meaning."""

    __slots__ = ("begins", "context", "last", "now", "place", "request", "service", "tail")

    def __init__(
        self, place: NodePlace, context: Context, request: Request, last: LastValues, now: Now
    ) -> None:
        self.place = place
        self.context = context
        self.begins = context.begins
        self.request = request
        self.service: Service = request.service
        self.tail = request.tail
        self.last = last
        self.now = now

    def operation(
        self, points: Sequence[Touched] = (), unreadable: Unreadable | None = None, **target: Any
    ) -> Operation:
        """One operation on the asset."""
        asset, context = self.place.asset, self.context
        assert self.service.action is not None, "services that are not forwarded have no meaning"  # noqa: S101
        return Operation(
            protocol=Door.OPCUA,
            action=self.service.action,
            kind=self.service.kind,
            asset=asset.name,
            asset_kind=asset.kind,
            opcua=OpcuaTarget(
                service=self.service.name, security=context.security, mode=context.mode, **target
            ),
            points=tuple(points),
            unreadable=unreadable,
        )

    def read(self, meaning: "Meaning", at: int) -> Operation:
        """One item. What has no text is unreadable as a whole."""
        try:
            return meaning(self, at)
        except NoNamespaceError:
            return self.operation(unreadable=Unreadable.UNKNOWN_NAMESPACE)
        except Wrong:
            return self.operation(unreadable=Unreadable.NOT_TEXT)

    def each(self, meaning: "Meaning") -> list[Operation]:
        """All items."""
        return [self.read(meaning, border) for border in self.request.parameters.borders[:-1]]

    def node(self, at: int) -> tuple[str, int]:
        """A node's text, and where its id ends."""
        node, end = read(self.tail, at)
        return said(node, self.begins), end

    def touched(self, node: str, attribute: int) -> list[Touched]:
        """Tags whose value is asked for."""
        return [Touched(tag.name) for tag in self.place.at(node)] if attribute == VALUE else []


Meaning = Callable[[_Asking, int], Operation]
"What one item means, which begins at the offset."


def attribute_name(number: int) -> str:
    """`Value`; the number where there is no such attribute."""
    return ATTRIBUTES[number - 1] if 0 < number <= len(ATTRIBUTES) else str(number)


def milliseconds(interval: float) -> int | None:
    """An interval in whole milliseconds, never more than asked; null where it is no number."""
    return int(interval) if isfinite(interval) and abs(interval) < MOST_QUANTA else None


# one function for each item, or for each service ------------------------------------------------------


def _read_item(asking: _Asking, at: int) -> Operation:
    node, at = asking.node(at)
    (attribute,) = U32(asking.tail, at)
    index_range, _ = read_string(asking.tail, at + 4)
    return asking.operation(
        asking.touched(node, attribute),
        node=node,
        attribute=attribute_name(attribute),
        index_range=index_range or None,
    )


def _write_item(asking: _Asking, at: int) -> Operation:
    node, at = asking.node(at)
    tail = asking.tail
    (attribute,) = U32(tail, at)
    index_range, at = read_string(tail, at + 4)
    written, _ = read_data_value(tail, at, asking.begins)
    typed, why = written.value, None
    if typed is None or typed.type == "Null":
        why = Unreadable.NO_VALUE
    elif not isinstance(typed, Typed):
        why = Unreadable.OPAQUE_VALUE
    elif not finite(typed):
        why = Unreadable.NOT_A_NUMBER
    elif _beyond(typed):
        why = Unreadable.BEYOND_2_53
    if written.status & 0xC000_0000:
        why = why or Unreadable.BAD_QUALITY
    points = []
    for tag in asking.place.at(node):
        q, fault = None, why
        if attribute != VALUE or index_range:
            fault = fault or Unreadable.PARTIAL_TAG
        elif fault is None and isinstance(typed, Typed):
            q, fault = _becomes(tag, typed)
        why = why or fault
        points.append(point(tag, q, asking.last, asking.now))
    return asking.operation(
        points,
        why,
        node=node,
        attribute=attribute_name(attribute),
        index_range=index_range or None,
        type=None if typed is None else typed.type,
        value=shown(typed) if isinstance(typed, Typed) else None,
    )


def _becomes(tag: Tag, typed: Typed) -> tuple[int | None, Unreadable | None]:
    number = raw(tag, typed)
    if number is None:
        return None, Unreadable.PARTIAL_TAG
    q = quanta_of_raw(tag, number)
    return (q, None) if q is not None else (None, Unreadable.BEYOND_2_53)


def _beyond(typed: Typed) -> bool:
    values = typed.value if isinstance(typed.value, tuple) else (typed.value,)
    return any(isinstance(each, int) and abs(each) > MOST_QUANTA for each in values)


def _call_item(asking: _Asking, at: int) -> Operation:
    node, at = asking.node(at)
    method, at = asking.node(at)
    (number,) = I32(asking.tail, at)
    at += 4
    found: list[int | str | bool | None] = []
    why: Unreadable | None = None
    for _ in range(number):
        typed, at = read_variant(asking.tail, at, asking.begins)
        if not isinstance(typed, Typed):
            why = why or Unreadable.OPAQUE_VALUE
            found.append(None)
            continue
        if not finite(typed):
            why = why or Unreadable.NOT_A_NUMBER
        elif _beyond(typed):
            why = why or Unreadable.BEYOND_2_53
        found.append(_argument(typed))
    return asking.operation(unreadable=why, node=node, method=method, arguments=tuple(found))


def _argument(typed: Typed) -> int | str | bool | None:
    return shown(typed) if isinstance(typed.value, tuple) else exact(typed.value)


def _history(asking: _Asking) -> list[Operation]:
    tail = asking.tail
    kind, span = type_number(tail, 0), _span(tail)
    events = kind == READ_EVENTS

    def item(asking: _Asking, at: int) -> Operation:
        node, at = asking.node(at)
        index_range, _ = read_string(tail, at)
        return asking.operation(
            [] if events else asking.touched(node, VALUE),
            Unreadable.UNKNOWN_DETAILS if span is None else None,
            node=node,
            attribute="EventNotifier" if events else "Value",
            index_range=index_range or None,
            history_start_ns=span[0] if span else None,
            history_end_ns=span[1] if span else None,
        )

    return asking.each(item)


_STARTS = {READ_RAW: 1, READ_PROCESSED: 0, READ_EVENTS: 4}
"Where the two times stand in each kind of details."


def _span(tail: bytes) -> tuple[int | None, int | None] | None:
    """From when to when; null where the details are of an unknown kind."""
    kind, at = type_number(tail, 0), node_id(tail, 0)
    if tail[at] != 1:
        return None
    at += 5
    if kind == READ_AT_TIMES:
        number = max(I32(tail, at)[0], 0)
        times = [I64(tail, at + 4 + 8 * each)[0] for each in range(number)]
        return (ticks_ns(min(times)), ticks_ns(max(times))) if times else (None, None)
    if kind not in _STARTS:
        return None
    at += _STARTS[kind]
    return ticks_ns(I64(tail, at)[0]), ticks_ns(I64(tail, at + 8)[0])


def _browse_item(asking: _Asking, at: int) -> Operation:
    return asking.operation(node=asking.node(at)[0])


def _browse_next(asking: _Asking) -> list[Operation]:
    found = []
    for at in range(asking.request.items):
        began = asking.context.session.point(asking.request.item(at)[4:])
        target = began.opcua if began is not None else None
        found.append(asking.operation(node=target.node if target else None))
    return found


def _translate_item(asking: _Asking, at: int) -> Operation:
    node, at = asking.node(at)
    (number,) = I32(asking.tail, at)
    at += 4
    names: list[str] = []
    plain = True
    for _ in range(number):
        at = node_id(asking.tail, at)
        plain = plain and not asking.tail[at]  # an inverse reference leads elsewhere
        at += 2
        (space,) = U16(asking.tail, at)
        called, at = read_string(asking.tail, at + 2)
        plain = plain and bool(called) and "/" not in (called or "") and space < len(asking.begins)
        names.append(called or "")
    path = "/" + "/".join(names) if plain and node == OBJECTS else None
    return asking.operation(node=node, path=path)


def _create_subscription(asking: _Asking) -> list[Operation]:
    return [_paced(asking, DOUBLE(asking.tail, 0)[0])]


def _modify_subscription(asking: _Asking) -> list[Operation]:
    return [_paced(asking, DOUBLE(asking.tail, 4)[0])]


def _paced(asking: _Asking, interval: float) -> Operation:
    asked = milliseconds(interval)
    return asking.operation(
        unreadable=Unreadable.NOT_A_NUMBER if asked is None else None, publishing_ms=asked
    )


def _publishing(asking: _Asking) -> int | None:
    """The publishing interval of the subscription that stands first in the parameters."""
    known = asking.context.session.subscriptions.get(U32(asking.tail, 0)[0])
    return None if known is None else milliseconds(known.publishing_ms)


def _sampling(interval: float) -> int | None:
    asked = milliseconds(interval)
    return SUBSCRIPTIONS_OWN if asked is not None and interval < 0 else asked


def _create_items(asking: _Asking) -> list[Operation]:
    publishing, tail = _publishing(asking), asking.tail

    def item(asking: _Asking, at: int) -> Operation:
        sampling = _sampling(DOUBLE(tail, read_value_id(tail, at) + 8)[0])
        node, at = asking.node(at)
        (attribute,) = U32(tail, at)
        index_range, _ = read_string(tail, at + 4)
        return asking.operation(
            asking.touched(node, attribute),
            Unreadable.NOT_A_NUMBER if sampling is None else None,
            node=node,
            attribute=attribute_name(attribute),
            index_range=index_range or None,
            sampling_ms=sampling,
            publishing_ms=publishing,
        )

    return asking.each(item)


def _modify_items(asking: _Asking) -> list[Operation]:
    publishing, tail = _publishing(asking), asking.tail
    subscription = U32(tail, 0)[0]

    def item(asking: _Asking, at: int) -> Operation:
        sampling = _sampling(DOUBLE(tail, at + 8)[0])
        why = Unreadable.NOT_A_NUMBER if sampling is None else None
        made = asking.context.session.item(subscription, U32(tail, at)[0])
        if made is None or made.opcua is None:
            return asking.operation(unreadable=why, sampling_ms=sampling, publishing_ms=publishing)
        return asking.operation(
            made.points,
            why,
            node=made.opcua.node,
            attribute=made.opcua.attribute,
            index_range=made.opcua.index_range,
            sampling_ms=sampling,
            publishing_ms=publishing,
        )

    return asking.each(item)


def _nodeless(asking: _Asking) -> list[Operation]:
    """The same for each item: none of them names a node."""
    return [asking.operation()] * max(asking.request.items, 1)


def _once(asking: _Asking) -> list[Operation]:
    return [asking.operation()]


_ITEMS: dict[str, Meaning] = {
    "Read": _read_item,
    "Browse": _browse_item,
    "TranslateBrowsePathsToNodeIds": _translate_item,
    "RegisterNodes": _browse_item,
    "UnregisterNodes": _browse_item,
}
"Services whose items mean the same at any time, so that equal ones are one object."
_MEANINGS: dict[str, Callable[[_Asking], list[Operation]]] = {
    "Write": lambda asking: asking.each(_write_item),
    "Call": lambda asking: asking.each(_call_item),
    "HistoryRead": _history,
    "BrowseNext": _browse_next,
    "CreateSubscription": _create_subscription,
    "ModifySubscription": _modify_subscription,
    "CreateMonitoredItems": _create_items,
    "ModifyMonitoredItems": _modify_items,
    "SetMonitoringMode": _nodeless,
    "SetTriggering": _once,
    "DeleteMonitoredItems": _nodeless,
    "SetPublishingMode": _nodeless,
    "DeleteSubscriptions": _nodeless,
    "TransferSubscriptions": _nodeless,
    "Publish": _once,
    "Republish": _once,
}
_REMEMBERED = frozenset({*_ITEMS, "Publish", "Republish"})
"Services whose operations depend on nothing but their parameters."
