"""Where things lie in parameters that were scanned."""

from math import isfinite

from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.binary import I32, U32, node_id, text
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.structures import PLAIN
from gateway.wire.quanta import MOST_QUANTA

SUBSCRIPTIONS_OWN = -1
"A sampling interval: that of the subscription (OPC 10000-4 §7.21)."


def milliseconds(interval: float) -> int | None:
    """An interval in whole milliseconds, never more than asked; null where it is no number."""
    return int(interval) if isfinite(interval) and abs(interval) < MOST_QUANTA else None


def numbers(request: Request) -> list[int]:
    """The UInt32 that each item is, or begins with."""
    return [U32(request.tail, border)[0] for border in request.parameters.borders[:-1]]


def sent(answer: ServiceAnswer) -> list[int]:
    """The same of the items that were sent."""
    every = numbers(answer.outbound.request)
    return [every[at] for at in answer.outbound.kept]


def behind_extension(tail: bytes, at: int) -> int:
    """Where an ExtensionObject that was scanned ends."""
    at = node_id(tail, at)
    return at + 1 if tail[at] == 0 else at + 5 + I32(tail, at + 1)[0]


def bytes_at(data: bytes, at: int) -> bytes:
    return data[at + 4 : text(data, at)]


def history_item(tail: bytes, at: int) -> tuple[bytes, bytes]:
    """The node, and the continuation point."""
    start, at = at, node_id(tail, at)
    node = tail[start:at]
    at = at + 10 if tail[at : at + 10] == PLAIN else text(tail, text(tail, at) + 2)
    return node, bytes_at(tail, at)
