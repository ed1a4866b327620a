"""Requests of the gateway's own: what the collector and the tag tools ask of a server.

Bodies have a null token; they are read by `read_request` like anybody's and go through the same passage.
Nodes come encoded (`NodeId.encode`).
"""

from collections.abc import Iterable, Sequence
from struct import pack

from msgspec import Struct

from gateway.wire.opcua.services import BY_NAME

VALUE = 13
BOTH = 2
"TimestampsToReturn: source and server."
FORWARD = 0
HIERARCHICAL = b"\0\x21"
"HierarchicalReferences, i=33."
EVERY_CLASS = 0
EVERYTHING = 63
"All fields of a reference."
REPORTING = 2
_NULL = b"\xff\xff\xff\xff"
_PLAIN = _NULL + b"\0\0" + _NULL
_NO_OBJECT = b"\0\0\0"
_ROOT_VIEW = b"\0\0" + bytes(12)


class Item(Struct, frozen=True):
    """A monitored item to be made."""

    node: bytes
    handle: int
    "Comes back with each value."
    sampling_ms: float = -1.0
    "-1 is the publishing interval."
    queue: int = 1
    attribute: int = VALUE


def header(service: str, handle: int, ticks: int, timeout_ms: int = 0) -> bytes:
    """TypeId and RequestHeader, with a null token."""
    return (
        pack("<BBH", 1, 0, BY_NAME[service].request)
        + b"\0\0"
        + pack("<qII", ticks, handle, 0)
        + _NULL
        + pack("<I", timeout_ms)
        + _NO_OBJECT
    )


def _array(parts: Sequence[bytes]) -> bytes:
    return pack("<i", len(parts)) + b"".join(parts)


def read(
    nodes: Iterable[bytes], handle: int, ticks: int, *, attribute: int = VALUE, max_age_ms: float = 0.0
) -> bytes:
    """Read an attribute of each node."""
    wanted = [node + pack("<I", attribute) + _PLAIN for node in nodes]
    return header("Read", handle, ticks) + pack("<dI", max_age_ms, BOTH) + _array(wanted)


def write(node: bytes, variant: bytes, handle: int, ticks: int) -> bytes:
    """Write the value of a node, without status and times."""
    written = node + pack("<I", VALUE) + _NULL + b"\x01" + variant
    return header("Write", handle, ticks) + _array([written])


def browse(nodes: Iterable[bytes], handle: int, ticks: int, *, most: int = 0) -> bytes:
    """Browse what hangs under each node; at most so many references of each at once."""
    wanted = [
        node + pack("<I", FORWARD) + HIERARCHICAL + b"\x01" + pack("<II", EVERY_CLASS, EVERYTHING)
        for node in nodes
    ]
    return header("Browse", handle, ticks) + _ROOT_VIEW + pack("<I", most) + _array(wanted)


def browse_next(points: Iterable[bytes], handle: int, ticks: int, *, release: bool = False) -> bytes:
    """Go on, or free what the server keeps for it."""
    wanted = [pack("<i", len(point)) + point for point in points]
    return header("BrowseNext", handle, ticks) + bytes((release,)) + _array(wanted)


def create_subscription(
    publishing_ms: float, handle: int, ticks: int, *, lifetime: int = 30, keep_alive: int = 10
) -> bytes:
    """Make a subscription. Without notifications a keep-alive comes each `keep_alive` intervals."""
    return header("CreateSubscription", handle, ticks) + pack(
        "<dIIIBB", publishing_ms, lifetime, keep_alive, 0, 1, 0
    )


def create_items(subscription: int, items: Iterable[Item], handle: int, ticks: int) -> bytes:
    """Have values reported when they change."""
    wanted = [
        item.node
        + pack("<I", item.attribute)
        + _PLAIN
        + pack("<IId", REPORTING, item.handle, item.sampling_ms)
        + _NO_OBJECT
        + pack("<IB", item.queue, 1)
        for item in items
    ]
    return header("CreateMonitoredItems", handle, ticks) + pack("<II", subscription, BOTH) + _array(wanted)


def publish(
    acknowledged: Iterable[tuple[int, int]], handle: int, ticks: int, *, timeout_ms: int = 0
) -> bytes:
    """Wait for notifications, and acknowledge (subscription, sequence number) of earlier ones."""
    wanted = [pack("<II", *each) for each in acknowledged]
    return header("Publish", handle, ticks, timeout_ms) + _array(wanted)


def delete_subscriptions(subscriptions: Iterable[int], handle: int, ticks: int) -> bytes:
    """End subscriptions."""
    wanted = [pack("<I", each) for each in subscriptions]
    return header("DeleteSubscriptions", handle, ticks) + _array(wanted)


def read_history(
    node: bytes, start: int, end: int, most: int, handle: int, ticks: int, continuation: bytes | None = None
) -> bytes:
    """Raw values of a node between two DateTimes; at most so many at once."""
    details = pack("<BqqIB", 0, start, end, most, 0)
    point = _NULL if continuation is None else pack("<i", len(continuation)) + continuation
    return (
        header("HistoryRead", handle, ticks)
        + pack("<BBHBi", 1, 0, 649, 1, len(details))
        + details
        + pack("<IB", BOTH, 0)
        + _array([node + _NULL + b"\0\0" + _NULL + point])
    )
