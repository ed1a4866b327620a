"""What a request means to the plant: operations, in the words that policy asks about.

`services` knows what bytes are; this file knows that an item of a Write is a WRITE of an attribute of a node
with a value, and which tags live there. Policy authors need to read only this one.

- Read, Write, Browse, HistoryRead, Call and the monitored items are one operation for each node or method.
- BrowseNext is the browse that it goes on with; a modified item is the item, asked for anew.
- What is about a subscription, or about items by their ids, names no node; so does Publish, which is one.
- An operation names every tag of its node. A write says what each would become, in the tag's resolution,
  beside the last value known.
- What the gateway cannot read, policy cannot allow: see `unreadable`.
"""

from collections.abc import Callable, Sequence

from gateway.model.asset import Asset, Tag
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.opcua import wanted, watched
from gateway.wire.opcua.context import Channel, Context
from gateway.wire.opcua.interpreting import Asking, Meaning
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.unreadable import Unreadable
from gateway.wire.quanta import LastValues

__all__ = [
    "MOST_BATCHES",
    "MOST_HELD",
    "MOST_ITEM_BYTES",
    "MOST_KNOWN",
    "Context",
    "LastValues",
    "NodePlace",
    "Unreadable",
]

MOST_KNOWN = 16_384
"Different items of reads and browses remembered for each asset and kind of channel."
MOST_ITEM_BYTES = 2_048
"Longer items get their meaning anew each time."
MOST_BATCHES = 1_024
"The same for whole requests."
MOST_HELD = 32_768
"Items of all these requests together: each is an operation of about a kilobyte."
MOST_BATCH_BYTES = 16_384
"Longer requests are put together of their items each time."
MOST_CHANNELS = 16
"Kinds of channels: namespaces, policy and mode. A server that starts anew with others begins a new one."


class NodePlace:
    """One asset and its tags: where requests to its server get their meaning."""

    def __init__(self, asset: Asset, tags: Sequence[Tag]) -> None:
        self.asset = asset
        self._tags: dict[str, tuple[Tag, ...]] = {}
        for tag in sorted(tags, key=lambda tag: tag.name):
            if tag.node is not None:
                self._tags[tag.node] = (*self._tags.get(tag.node, ()), tag)
        self._channels: dict[tuple[object, ...], Channel] = {}

    def tags(self) -> list[Tag]:
        """All tags of the asset."""
        return [tag for those in self._tags.values() for tag in those]

    def at(self, node: str | None) -> tuple[Tag, ...]:
        """The tags of a node."""
        return self._tags.get(node, ()) if node is not None else ()

    def channel(self, context: Context) -> Channel:
        """See `Context.channel`."""
        key = (context.namespaces, context.security, context.mode)
        known = self._channels.get(key)
        if known is None:
            if len(self._channels) >= MOST_CHANNELS:
                self._channels.clear()
            known = self._channels[key] = Channel(self)
        return known

    def operations(
        self, request: Request, context: Context, last: LastValues, now: Now
    ) -> tuple[Operation, ...]:
        """What the request wants: an operation for each item, in their order, or one for all.

        A read asks nothing of the moment, so equal items give the same object, whoever asks.
        """
        service, tail = request.parameters.service, request.parameters.tail
        if service.name not in _REMEMBERED:
            return tuple(_MEANINGS[service.name](Asking(self.asset, self._tags, context, request, last, now)))
        channel = context.channel(self)
        key = service.request, tail
        known = channel.batches.get(key)
        if known is None:
            known = tuple(self._known(request, context, channel, last, now))
            if len(tail) <= MOST_BATCH_BYTES:
                if len(channel.batches) >= MOST_BATCHES or channel.held + len(known) > MOST_HELD:
                    channel.batches.clear()
                    channel.held = 0
                channel.held += len(known)
                channel.batches[key] = known
        return known

    def _known(
        self, request: Request, context: Context, channel: Channel, last: LastValues, now: Now
    ) -> list[Operation]:
        asking = Asking(self.asset, self._tags, context, request, last, now)
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
                if len(key[1]) <= MOST_ITEM_BYTES:
                    known[key] = operation
            found.append(operation)
        return found


_ITEMS: dict[str, Meaning] = {
    "Read": wanted.read_item,
    "Browse": wanted.browse_item,
    "TranslateBrowsePathsToNodeIds": wanted.translate_item,
    "RegisterNodes": wanted.browse_item,
    "UnregisterNodes": wanted.browse_item,
}
"Services whose items mean the same at any time, so that equal ones are one object."
_MEANINGS: dict[str, Callable[[Asking], list[Operation]]] = {
    "Write": lambda asking: asking.each(wanted.write_item),
    "Call": lambda asking: asking.each(wanted.call_item),
    "HistoryRead": wanted.history,
    "BrowseNext": wanted.browse_next,
    "CreateSubscription": watched.create_subscription,
    "ModifySubscription": watched.modify_subscription,
    "CreateMonitoredItems": watched.create_items,
    "ModifyMonitoredItems": watched.modify_items,
    "SetMonitoringMode": watched.nodeless,
    "SetTriggering": watched.once,
    "DeleteMonitoredItems": watched.nodeless,
    "SetPublishingMode": watched.nodeless,
    "DeleteSubscriptions": watched.nodeless,
    "TransferSubscriptions": watched.nodeless,
    "Publish": watched.once,
    "Republish": watched.once,
}
_REMEMBERED = frozenset({*_ITEMS, "Publish", "Republish"})
"Services whose operations depend on nothing but their parameters."
