"""What belongs to a session: subscriptions, monitored items, continuation points (OPC 10000-4 §5.13, §5.14).

All our sessions reach a server as one application, and often as one account, so the server cannot tell our
clients apart: who may name an id is decided here (`owning`). The tables are filled from answers (`noting`);
the operations that made a row are kept with it, so that they can be decided again when policy changes.
"""

from collections.abc import Iterable

from msgspec import Struct

from gateway.model.operation import Operation


class Bounds(Struct, frozen=True):
    """How much a session may have. What is beyond is refused, never changed."""

    subscriptions: int = 20
    items: int = 10_000
    least_publishing_ms: float = 50
    least_sampling_ms: float = 50
    most_queue: int = 1_000
    points: int = 1_000
    "Continuation points remembered; the oldest is forgotten, and then no longer one's own."


class Subscription:
    """A subscription, and why it exists."""

    __slots__ = ("items", "operation", "publishing_ms")

    def __init__(self, publishing_ms: float, operation: Operation) -> None:
        self.publishing_ms = publishing_ms
        "As the server revised it."
        self.operation = operation
        self.items: dict[int, Operation] = {}
        "Monitored items, and what was asked of each last."


class Point(Struct, frozen=True, gc=False):
    """Where a continuation point goes on."""

    node: bytes
    "The node, as the request that began it encoded it."
    operation: Operation


class Tables:
    """What is known of one session."""

    __slots__ = ("bounds", "browses", "histories", "reserved", "subscriptions")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.subscriptions: dict[int, Subscription] = {}
        self.browses: dict[bytes, Point] = {}
        "By continuation point."
        self.histories: dict[bytes, Point] = {}
        self.reserved: dict[int, tuple[int, int]] = {}
        "Room that requests on their way will take: subscriptions and items, by the request's identity."

    def live(self) -> tuple[Operation, ...]:
        """The operations behind all that goes on by itself: subscriptions and their items."""
        found = []
        for subscription in self.subscriptions.values():
            found.append(subscription.operation)
            found.extend(subscription.items.values())
        return tuple(found)

    @property
    def items(self) -> int:
        """How many monitored items there are."""
        return sum(len(each.items) for each in self.subscriptions.values())

    def item(self, subscription: int, item: int) -> Operation | None:
        """What was asked of a monitored item last."""
        known = self.subscriptions.get(subscription)
        return None if known is None else known.items.get(item)

    def point(self, continuation: bytes) -> Operation | None:
        """The browse that a continuation point goes on with."""
        known = self.browses.get(continuation)
        return None if known is None else known.operation

    def transfer(self, ids: Iterable[int], into: "Tables") -> None:
        """Subscriptions move to another session, with their items."""
        for each in ids:
            moved = self.subscriptions.pop(each, None)
            if moved is not None:
                into.subscriptions[each] = moved
