"""Values as policy, records and tags see them: Variants and DataValues that were scanned, read.

Scalars and arrays of simple types become numbers and texts. What is inside a structure stays opaque: it is
never decoded, and a write of it cannot be judged by its value.
"""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite
from struct import Struct as Layout
from struct import unpack_from
from uuid import UUID

from msgspec import Struct

from gateway.model.asset import DataType, Tag
from gateway.model.sample import Value
from gateway.wire.opcua.binary import ARRAY, I32, I64, REST, U16, U32, variant
from gateway.wire.opcua.codes import status_name
from gateway.wire.opcua.nodeid import STANDARD, NodeId, Prefixes, escape, read, read_string, said
from gateway.wire.quanta import scaled

EPOCH_TICKS = 116_444_736_000_000_000
"1970 in DateTime: 100 ns since 1601."
MOST_READ = 512
"Elements of an array that are read; a longer one is its digest and length: nobody compares so many."
LAST_TICKS = 2_650_467_743_990_000_000
"9999-12-31T23:59:59: from there on a DateTime is the latest there is (OPC 10000-6 §5.2.2.5)."
TYPES = (
    "Null",
    "Boolean",
    "SByte",
    "Byte",
    "Int16",
    "UInt16",
    "Int32",
    "UInt32",
    "Int64",
    "UInt64",
    "Float",
    "Double",
    "String",
    "DateTime",
    "Guid",
    "ByteString",
    "XmlElement",
    "NodeId",
    "ExpandedNodeId",
    "StatusCode",
    "QualifiedName",
    "LocalizedText",
    "ExtensionObject",
    "DataValue",
    "Variant",
    "DiagnosticInfo",
)
"The built-in types by number (OPC 10000-6 §5.1.2)."
NUMBERS: dict[int, Layout] = {
    1: Layout("<?"),
    2: Layout("<b"),
    3: Layout("<B"),
    4: Layout("<h"),
    5: Layout("<H"),
    6: Layout("<i"),
    7: Layout("<I"),
    8: Layout("<q"),
    9: Layout("<Q"),
    10: Layout("<f"),
    11: Layout("<d"),
}
BY_NAME = {called: number for number, called in enumerate(TYPES)}
Simple = int | float | str | bool | None
"What a simple value is here."


class Opaque(Struct, frozen=True):
    """A value that stays unread."""

    type: str
    "`ExtensionObject` …"


class Typed(Struct, frozen=True):
    """A value of a simple type."""

    type: str
    "`Double`, `Int32[]` …"
    value: Simple | tuple[Simple, ...]


def ticks_ns(ticks: int) -> int | None:
    """A DateTime as nanoseconds since 1970; null where it says that there is none."""
    return None if ticks <= 0 or ticks >= LAST_TICKS else (ticks - EPOCH_TICKS) * 100


def ns_ticks(ns: int) -> int:
    """Nanoseconds since 1970 as a DateTime."""
    return ns // 100 + EPOCH_TICKS


def read_variant(data: bytes, at: int, begins: Prefixes) -> tuple[Typed | Opaque, int]:
    """A Variant that was scanned, and where it ends. `Wrong` where a text in it is none."""
    mask = data[at]
    number_of = NUMBERS.get(mask)
    if number_of is not None:
        return Typed(TYPES[mask], number_of.unpack_from(data, at + 1)[0]), at + 1 + number_of.size
    end = variant(data, at)
    kind = mask & 0x3F
    called = TYPES[kind] + ("[]" if mask & ARRAY else "")
    if kind == 0:
        return Typed("Null", None), end
    if not mask & ARRAY:
        one = _READERS.get(kind)
        return (Opaque(called) if one is None else Typed(called, one(data, at + 1, begins)[0])), end
    (number,) = I32(data, at + 1)
    number = max(number, 0)
    if number > MOST_READ:
        return Typed(called, f"sha256:{sha256(data[at:end]).hexdigest()};{number}"), end
    at += 5
    if kind in NUMBERS:
        return Typed(called, unpack_from(f"<{number}{NUMBERS[kind].format[1:]}", data, at)), end
    one, found = _READERS.get(kind), []
    if one is None:
        return Opaque(called), end
    for _ in range(number):
        value, at = one(data, at, begins)
        found.append(value)
    return Typed(called, tuple(found)), end


def _number(layout: Layout) -> "Reader":
    return lambda data, at, _begins: (layout.unpack_from(data, at)[0], at + layout.size)


def _text(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    return read_string(data, at)


def _bytes(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    (size,) = I32(data, at)
    at += 4
    return (None, at) if size < 0 else (b64encode(data[at : at + size]).decode(), at + size)


def _time(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    return moment(I64(data, at)[0]), at + 8


def moment(ticks: int) -> str:
    """A DateTime as people write it, in UTC with all its digits."""
    ticks = min(max(ticks, 0), LAST_TICKS)
    whole, part = divmod(ticks, 10_000_000)
    return f"{datetime(1601, 1, 1, tzinfo=UTC) + timedelta(seconds=whole):%Y-%m-%dT%H:%M:%S}.{part:07}Z"


def _guid(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    return str(UUID(bytes_le=data[at : at + 16])), at + 16


def _node(data: bytes, at: int, begins: Prefixes) -> tuple[Simple, int]:
    node, end = read(data, at)
    return said(node, begins), end


def _expanded(data: bytes, at: int, begins: Prefixes) -> tuple[Simple, int]:
    return read_expanded(data, at, begins)


def read_expanded(data: bytes, at: int, begins: Prefixes) -> tuple[str, int]:
    """The text of an ExpandedNodeId that was scanned, and where it ends; `svr=` where it is elsewhere."""
    flags = data[at]
    node, at = read(data, at)
    before = ""
    if flags & 0x80:
        uri, at = read_string(data, at)
        if uri:
            node, begins = NodeId(1, node.identifier), ("", "" if uri == STANDARD else f"nsu={escape(uri)};")
    if flags & 0x40:
        before, at = f"svr={U32(data, at)[0]};", at + 4
    return before + said(node, begins), at


def _status(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    return status_name(U32(data, at)[0]), at + 4


def _qualified(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    (space,) = U16(data, at)
    called, at = read_string(data, at + 2)
    return f"{space}:{called or ''}" if space else called, at


def _localized(data: bytes, at: int, _begins: Prefixes) -> tuple[Simple, int]:
    mask, found = data[at], None
    at += 1
    if mask & 1:
        _, at = read_string(data, at)
    if mask & 2:
        found, at = read_string(data, at)
    return found, at


Reader = Callable[[bytes, int, Prefixes], tuple[Simple, int]]
_READERS: dict[int, Reader] = {
    **{kind: _number(layout) for kind, layout in NUMBERS.items()},
    12: _text,
    13: _time,
    14: _guid,
    15: _bytes,
    16: _text,
    17: _node,
    18: _expanded,
    19: _status,
    20: _qualified,
    21: _localized,
}
"One for each simple type; what is missing is opaque."


def raw(tag: Tag, typed: Typed | Opaque | None) -> Value | None:
    """The number that a value is for a tag; null where it is of another nature."""
    if not isinstance(typed, Typed):
        return None
    value = typed.value
    if isinstance(value, bool) or tag.type is DataType.BOOL:
        return value if isinstance(value, bool) and tag.type is DataType.BOOL else None
    return value if isinstance(value, int | float) else None


def engineering(tag: Tag, typed: Typed | Opaque | None) -> Value | None:
    """The tag's value in its unit; null also where it is no finite number."""
    number = raw(tag, typed)
    if number is None or isinstance(number, bool):
        return number
    value = scaled(tag, number)
    return value if isfinite(value) else None


class DataValue(Struct, frozen=True):
    """A value with its status and times."""

    value: Typed | Opaque | None
    "Null where none came."
    status: int = 0
    source_ns: int | None = None
    server_ns: int | None = None


def read_data_value(data: bytes, at: int, begins: Prefixes) -> tuple[DataValue, int]:
    """A DataValue that was scanned, and where it ends."""
    mask = data[at]
    at += 1
    value: Typed | Opaque | None = None
    if mask & 0x01:
        value, at = read_variant(data, at, begins)
    end, status, source, server = at + REST[mask], 0, None, None
    if mask & 0x02:
        (status,) = U32(data, at)
        at += 4
    if mask & 0x04:
        source = ticks_ns(I64(data, at)[0])
        at += 8
    if mask & 0x10:
        at += 2
    if mask & 0x08:
        server = ticks_ns(I64(data, at)[0])
    return DataValue(value, status, source, server), end


def encode_variant(kind: str, value: Simple) -> bytes:
    """A scalar as a Variant: numbers, Boolean and String."""
    number = BY_NAME[kind]
    if kind == "String":
        return bytes((number,)) + encode_string(value if isinstance(value, str) else None)
    return bytes((number,)) + NUMBERS[number].pack(value)


def encode_string(value: str | None) -> bytes:
    """A String."""
    if value is None:
        return b"\xff\xff\xff\xff"
    data = value.encode()
    return len(data).to_bytes(4, "little") + data
