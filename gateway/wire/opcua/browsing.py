"""Browse results and translated paths: who is in them, and the same without some (OPC 10000-4 §5.9.2–5.9.4).

References to nodes that the caller may not browse can be left out; what stays is the server's own bytes.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from struct import Struct as Layout

from msgspec import Struct

from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.binary import I32, U32, Wrong, expanded_node_id, localized_text, node_id, text
from gateway.wire.opcua.nodeid import Prefixes, read_string
from gateway.wire.opcua.structures import reference
from gateway.wire.opcua.values import read_expanded

_COUNT = Layout("<i").pack
NOWHERE = Layout("<Ii").pack(0x806F0000, 0)
"The result of a path that leads nowhere: Bad_NoMatch, no targets."


class Reference(Struct, frozen=True):
    """One reference of a browse result."""

    start: int
    end: int
    "Where it lies in the result."
    node: str | None
    "Text of the target (`svr=…` for one of another server); null where it has none."
    name: str
    "Its BrowseName without namespace; empty where it is no text."
    node_class: int
    "1 object, 2 variable, 4 method …; 0 where not asked for."
    id: bytes
    "The target as it is encoded, to be asked for again; empty where it is of another server."


class Browsed(Struct, frozen=True):
    """One browse result."""

    status: int
    point: bytes
    "Where to go on; empty where nothing is left."
    references: tuple[Reference, ...]


def browsed(answer: ServiceAnswer, at: int, begins: Prefixes) -> Browsed:
    """One result of a Browse or BrowseNext, by its place among those that were sent."""
    result = answer.result(at)
    (status,) = U32(result, 0)
    point = result[8 : text(result, 4)]
    return Browsed(status, point, tuple(found(answer, at, begins)))


def found(answer: ServiceAnswer, at: int, begins: Prefixes) -> Iterator[Reference]:
    """The references of one result, one by one: there may be ten thousands."""
    result = answer.result(at)
    end = text(result, 4)
    (number,) = I32(result, end)
    place = end + 4
    for _ in range(number):
        behind = reference(result, place)
        yield _reference(result, place, behind, begins)
        place = behind


def _reference(result: bytes, start: int, end: int, begins: Prefixes) -> Reference:
    target = node_id(result, start) + 1
    flags = result[target]
    node: str | None
    try:
        node, _ = read_expanded(result, target, begins)
    except Wrong:
        node = None
    at = expanded_node_id(result, target)
    encoded = result[target:at] if not flags & 0xC0 else b""
    try:
        name, _ = read_string(result, at + 2)
    except Wrong:
        name = None
    at = localized_text(result, text(result, at + 2))
    return Reference(start, end, node, name or "", U32(result, at)[0], encoded)


def without(answer: ServiceAnswer, hidden: Mapping[int, Iterable[Reference]]) -> bytes:
    """The answer for the client without these references, by the place of their result among those sent."""
    results = []
    for at in range(len(answer.outbound.kept)):
        result = answer.result(at)
        gone = {each.start: each.end for each in hidden.get(at, ())}
        if gone:
            counted = text(result, 4)
            (number,) = I32(result, counted)
            place, left = counted + 4, []
            for _ in range(number):
                behind = reference(result, place)
                if place not in gone:
                    left.append(result[place:behind])
                place = behind
            result = result[:counted] + _COUNT(len(left)) + b"".join(left)
        results.append(result)
    return answer.joined(results)


def targets(answer: ServiceAnswer, at: int) -> tuple[bytes, ...]:
    """Where a translated path leads, by its place among those that were sent: nodes as they are encoded, to
    be asked for again; empty for one of another server.
    """
    result = answer.result(at)
    (number,) = I32(result, 4)
    place, found = 8, []
    for _ in range(number):
        end = expanded_node_id(result, place)
        found.append(result[place:end] if not result[place] & 0xC0 else b"")
        place = end + 4  # the rest of the path that was not followed
    return tuple(found)


def leading_nowhere(answer: ServiceAnswer, hidden: Container[int]) -> bytes:
    """The answer for the client in which these paths, by their place among those sent, lead nowhere."""
    every = range(len(answer.outbound.kept))
    return answer.joined([NOWHERE if at in hidden else answer.result(at) for at in every])
