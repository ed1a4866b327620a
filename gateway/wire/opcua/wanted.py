"""What items that name a node or a method mean: Read, Write, Call, HistoryRead, and the browsing services."""

from gateway.model.asset import Tag
from gateway.model.operation import Operation
from gateway.wire.opcua.binary import I32, I64, U16, U32, node_id, type_number
from gateway.wire.opcua.interpreting import VALUE, Asking, attribute_name
from gateway.wire.opcua.nodeid import read_string
from gateway.wire.opcua.showing import beyond, exact, finite, shown
from gateway.wire.opcua.structures import READ_AT_TIMES, READ_EVENTS, READ_PROCESSED, READ_RAW
from gateway.wire.opcua.unreadable import Unreadable
from gateway.wire.opcua.values import Typed, raw, read_data_value, read_variant, ticks_ns
from gateway.wire.quanta import point, quanta_of_raw

MOST_PATH = 1024
"Characters of a browse path; a longer one is said by the node where it begins alone."
OBJECTS = "i=85"
"The Objects folder: where browse paths begin."


def read_item(asking: Asking, at: int) -> Operation:
    """A node, an attribute of it, and a range."""
    node, at = asking.node(at)
    (attribute,) = U32(asking.tail, at)
    index_range, _ = asking.range(at + 4)
    return asking.operation(
        asking.touched(node, attribute),
        node=node,
        attribute=attribute_name(attribute),
        index_range=index_range,
    )


def write_item(asking: Asking, at: int) -> Operation:
    """The same, and what it would become."""
    node, at = asking.node(at)
    tail = asking.tail
    (attribute,) = U32(tail, at)
    index_range, at = asking.range(at + 4)
    written, _ = read_data_value(tail, at, asking.begins)
    typed, why = written.value, None
    if typed is None or typed.type == "Null":
        why = Unreadable.NO_VALUE
    elif not isinstance(typed, Typed):
        why = Unreadable.OPAQUE_VALUE
    elif not finite(typed):
        why = Unreadable.NOT_A_NUMBER
    elif beyond(typed):
        why = Unreadable.BEYOND_2_53
    if written.status & 0xC000_0000:
        why = why or Unreadable.BAD_QUALITY
    points = []
    for tag in asking.tags.get(node, ()):
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
        index_range=index_range,
        type=None if typed is None else typed.type,
        value=shown(typed) if isinstance(typed, Typed) else None,
    )


def _becomes(tag: Tag, typed: Typed) -> tuple[int | None, Unreadable | None]:
    number = raw(tag, typed)
    if number is None:
        return None, Unreadable.PARTIAL_TAG
    q = quanta_of_raw(tag, number)
    return (q, None) if q is not None else (None, Unreadable.BEYOND_2_53)


def call_item(asking: Asking, at: int) -> Operation:
    """An object, a method of it, and arguments."""
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
        elif beyond(typed):
            why = why or Unreadable.BEYOND_2_53
        found.append(_argument(typed))
    return asking.operation(unreadable=why, node=node, method=method, arguments=tuple(found))


def _argument(typed: Typed) -> int | str | bool | None:
    return shown(typed) if isinstance(typed.value, tuple) else exact(typed.value)


def history(asking: Asking) -> list[Operation]:
    """Each node, with the span that the details give for all."""
    tail = asking.tail
    kind, span = type_number(tail, 0), _span(tail)
    events = kind == READ_EVENTS

    def item(asking: Asking, at: int) -> Operation:
        node, at = asking.node(at)
        index_range, _ = asking.range(at)
        return asking.operation(
            [] if events else asking.touched(node, VALUE),
            Unreadable.UNKNOWN_DETAILS if span is None else None,
            node=node,
            attribute="EventNotifier" if events else "Value",
            index_range=index_range,
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


def browse_item(asking: Asking, at: int) -> Operation:
    """A node; RegisterNodes and UnregisterNodes name no more than that."""
    return asking.operation(node=asking.node(at)[0])


def browse_next(asking: Asking) -> list[Operation]:
    """What each continuation point goes on with; no node where it is not the session's."""
    found = []
    for at in range(asking.request.items):
        began = asking.context.session.point(asking.request.item(at)[4:])
        target = began.opcua if began is not None else None
        found.append(asking.operation(node=target.node if target else None))
    return found


def translate_item(asking: Asking, at: int) -> Operation:
    """A node, and a path; the path is said where it begins at the Objects folder."""
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
    if path is not None and len(path) > MOST_PATH:
        path = None
    return asking.operation(node=node, path=path)
