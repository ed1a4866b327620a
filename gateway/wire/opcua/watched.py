"""What the services about subscriptions and monitored items mean."""

from gateway.model.operation import Operation
from gateway.wire.opcua.binary import DOUBLE, U32
from gateway.wire.opcua.interpreting import Asking, attribute_name
from gateway.wire.opcua.reaching import SUBSCRIPTIONS_OWN, milliseconds
from gateway.wire.opcua.structures import read_value_id
from gateway.wire.opcua.unreadable import Unreadable


def create_subscription(asking: Asking) -> list[Operation]:
    """A publishing interval."""
    return [_paced(asking, DOUBLE(asking.tail, 0)[0])]


def modify_subscription(asking: Asking) -> list[Operation]:
    """Another publishing interval."""
    return [_paced(asking, DOUBLE(asking.tail, 4)[0])]


def _paced(asking: Asking, interval: float) -> Operation:
    asked = milliseconds(interval)
    return asking.operation(
        unreadable=Unreadable.NOT_A_NUMBER if asked is None else None, publishing_ms=asked
    )


def _publishing(asking: Asking) -> int | None:
    """The publishing interval of the subscription that stands first in the parameters."""
    known = asking.context.session.subscriptions.get(U32(asking.tail, 0)[0])
    return None if known is None else milliseconds(known.publishing_ms)


def _sampling(interval: float) -> int | None:
    asked = milliseconds(interval)
    return SUBSCRIPTIONS_OWN if asked is not None and interval < 0 else asked


def create_items(asking: Asking) -> list[Operation]:
    """A node, an attribute, and how often."""
    publishing, tail = _publishing(asking), asking.tail

    def item(asking: Asking, at: int) -> Operation:
        sampling = _sampling(DOUBLE(tail, read_value_id(tail, at) + 8)[0])
        node, at = asking.node(at)
        (attribute,) = U32(tail, at)
        index_range, _ = asking.range(at + 4)
        return asking.operation(
            asking.touched(node, attribute),
            Unreadable.NOT_A_NUMBER if sampling is None else None,
            node=node,
            attribute=attribute_name(attribute),
            index_range=index_range,
            sampling_ms=sampling,
            publishing_ms=publishing,
        )

    return asking.each(item)


def modify_items(asking: Asking) -> list[Operation]:
    """The item as it was made, and how often now."""
    publishing, tail = _publishing(asking), asking.tail
    subscription = U32(tail, 0)[0]

    def item(asking: Asking, at: int) -> Operation:
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


def nodeless(asking: Asking) -> list[Operation]:
    """The same for each item: none of them names a node."""
    return [asking.operation()] * max(asking.request.items, 1)


def once(asking: Asking) -> list[Operation]:
    """One for all: what it names was decided when it was made."""
    return [asking.operation()]
