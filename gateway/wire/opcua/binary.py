"""The built-in types in OPC UA Binary (OPC 10000-6 §5.2), as a scan: where does each end?

Every scanner takes the bytes and an offset and gives the offset behind its type; it makes no object of what
it passes. A fault raises `Wrong`, or an IndexError or `struct.error` where the bytes end too early; the
readers (`request`, `answer`, `notifications`) turn all three into `Malformed` and let none out. A skip may
lead beyond the last byte: whoever scans a whole body asks in the end whether it ended at its last byte, and
offsets only grow.

Nothing is looped over or allocated by a count that the remaining bytes cannot hold.
"""

import struct
from collections.abc import Callable
from struct import Struct as Layout

__all__ = [
    "BROKEN",
    "DOUBLE",
    "I32",
    "I64",
    "LONG",
    "MOST_DEPTH",
    "MOST_DIAGNOSTICS",
    "MOST_DIMENSIONS",
    "MOST_ELEMENTS",
    "MOST_NAME",
    "MOST_STEPS",
    "MOST_TEXT",
    "MOST_VALUES",
    "U16",
    "U32",
    "Scan",
    "Wrong",
]

MOST_TEXT = 1 << 20
"Bytes of a String, ByteString or XmlElement."
MOST_NAME = 4096
"Bytes of the identifier of a NodeId, of a name, an index range or a locale."
MOST_ELEMENTS = 10_000
"Elements of an array of structures."
MOST_VALUES = 1_000_000
"Elements of an array in a Variant."
MOST_DIMENSIONS = 16
"Dimensions of an array in a Variant."
MOST_DEPTH = 8
"How deep a Variant, DataValue or ExtensionObject may lie in others."
MOST_DIAGNOSTICS = 5
"How deep a DiagnosticInfo may lie in others; OPC 10000-4 §7.12 allows servers to stop where they like."

LONG = 32_768
"Bytes of a message from which on what is scanned of it one by one is counted; a shorter one costs little."
MOST_STEPS = 50_000
"Elements of all arrays of a long message together: null elements of one byte would keep us busy for long."

Scan = Callable[[bytes, int], int]
"Where what begins at the offset ends."

Unpack = Callable[[bytes, int], tuple[int]]

U16: Unpack = Layout("<H").unpack_from
U32: Unpack = Layout("<I").unpack_from
I32: Unpack = Layout("<i").unpack_from
I64: Unpack = Layout("<q").unpack_from
DOUBLE: Callable[[bytes, int], tuple[float]] = Layout("<d").unpack_from


class Wrong(Exception):  # noqa: N818 (never leaves this package)
    """The bytes are not what they should be."""


BROKEN = (Wrong, IndexError, struct.error, RecursionError)
"What a scanner can raise."


class LongBody(bytes):
    """The bytes of a long message, and how many elements may still be scanned."""

    left = MOST_STEPS


def counted(body: bytes) -> bytes:
    """The same bytes, ready to be scanned: a long message keeps count."""
    return LongBody(body) if len(body) > LONG else body


def step(data: bytes, number: int) -> None:
    """So many elements will be scanned one by one."""
    if isinstance(data, LongBody):
        data.left -= number
        if data.left < 0:
            raise Wrong("more elements than a message may have")


def fixed(size: int) -> Scan:
    """A type that always has that many bytes."""
    return lambda _data, at: at + size


def nothing(_data: bytes, at: int) -> int:
    """No field at all."""
    return at


def text(data: bytes, at: int) -> int:
    """String, ByteString, XmlElement: Int32 length, -1 is null."""
    (size,) = I32(data, at)
    at += 4
    if size < 0:
        if size != -1:
            raise Wrong("a length below -1")
        return at
    if size > MOST_TEXT or size > len(data) - at:
        raise Wrong("a length beyond what is there or allowed")
    return at + size


def name(data: bytes, at: int) -> int:
    """A String that is a name."""
    (size,) = I32(data, at)
    at += 4
    if size < 0:
        if size != -1:
            raise Wrong("a length below -1")
        return at
    if size > MOST_NAME or size > len(data) - at:
        raise Wrong("a name longer than names are")
    return at + size


def node_id(data: bytes, at: int) -> int:
    """NodeId (§5.2.2.9): six encodings, and no flag."""
    kind = data[at]
    if kind == 1:
        return at + 4
    if kind == 0:
        return at + 2
    if kind == 2:
        return at + 7
    if kind in (3, 5):
        return name(data, at + 3)
    if kind == 4:
        return at + 19
    raise Wrong("an encoding of a NodeId that does not exist")


def expanded_node_id(data: bytes, at: int) -> int:
    """ExpandedNodeId (§5.2.2.10): a NodeId with flags for a namespace URI and a server index."""
    kind = data[at]
    flags, kind = kind & 0xC0, kind & 0x3F
    if kind == 1:
        at += 4
    elif kind == 0:
        at += 2
    elif kind == 2:
        at += 7
    elif kind in (3, 5):
        at = name(data, at + 3)
    elif kind == 4:
        at += 19
    else:
        raise Wrong("an encoding of an ExpandedNodeId that does not exist")
    if flags & 0x80:
        at = name(data, at)
    if flags & 0x40:
        at += 4
    return at


def qualified_name(data: bytes, at: int) -> int:
    """QualifiedName: namespace index, name."""
    return name(data, at + 2)


def localized_text(data: bytes, at: int) -> int:
    """LocalizedText: a mask for locale and text."""
    mask = data[at]
    at += 1
    if mask & 0xFC:
        raise Wrong("a LocalizedText with bits that do not exist")
    if mask & 1:
        at = name(data, at)
    if mask & 2:
        at = text(data, at)
    return at


_INDICES = tuple(4 * (mask & 0x0F).bit_count() for mask in range(0x80))


def diagnostic_info(data: bytes, at: int, depth: int = 0) -> int:
    """DiagnosticInfo (§5.2.2.12): indices into the string table, a text, a status, one more."""
    mask = data[at]
    at += 1
    if mask & 0x80:
        raise Wrong("a DiagnosticInfo with a bit that does not exist")
    at += _INDICES[mask]
    if mask & 0x10:
        at = text(data, at)
    if mask & 0x20:
        at += 4
    if mask & 0x40:
        if depth >= MOST_DIAGNOSTICS:
            raise Wrong("DiagnosticInfos nested too deep")
        at = diagnostic_info(data, at, depth + 1)
    return at


def extension_object(data: bytes, at: int, _depth: int = 0) -> int:
    """ExtensionObject (§5.2.2.15): type, and a body whose length must be told; the body stays opaque."""
    at = node_id(data, at)
    encoding = data[at]
    at += 1
    if encoding == 0:
        return at
    if encoding > 2:
        raise Wrong("an encoding of an ExtensionObject that does not exist")
    (size,) = I32(data, at)
    at += 4
    if size < 0 or size > len(data) - at:
        raise Wrong("an ExtensionObject whose length is not told, or not there")
    return at + size


FIXED = (0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 0, 8, 16, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, *[0] * 38)
"Bytes of each built-in type that always has the same number of them, by its number (§5.1.2)."
ARRAY, DIMENSIONS = 0x80, 0x40
LEAST = {12: 4, 15: 4, 16: 4, 17: 2, 18: 2, 20: 6, 21: 1, 22: 3, 23: 1, 24: 1, 25: 1}
"The fewest bytes of each of the other types."


def variant(data: bytes, at: int, depth: int = 0) -> int:
    """Variant (§5.2.2.16)."""
    mask = data[at]
    at += 1
    size = FIXED[mask & 0x3F]
    if mask < 0x40:
        if size:
            return at + size
        if mask == 0:
            return at
        if mask == 12:
            return text(data, at)
        if mask == 24:
            raise Wrong("a Variant in a Variant that is no array")
        return _other(mask)(data, at, depth)
    if not mask & ARRAY:
        raise Wrong("dimensions without an array")
    if not mask & 0x3F:
        raise Wrong("an array of nothing")
    return _array(data, at, mask, size, depth)


def _array(data: bytes, at: int, mask: int, size: int, depth: int) -> int:
    (count,) = I32(data, at)
    at += 4
    if count < -1 or count > MOST_VALUES:
        raise Wrong("an array with an impossible count")
    if size:
        if count > 0:
            at += count * size
        if at > len(data):
            raise Wrong("an array longer than what is there")
    elif count > 0:
        kind = mask & 0x3F
        scan = _other(kind)
        if count * LEAST[kind] > len(data) - at:
            raise Wrong("an array longer than what is there")
        step(data, count)
        for _ in range(count):
            at = scan(data, at, depth)
    return dimensions(data, at, count) if mask & DIMENSIONS else at


def dimensions(data: bytes, at: int, count: int) -> int:
    """The lengths of a Variant's dimensions; their product may not be more than it has elements."""
    (number,) = I32(data, at)
    at += 4
    if number < -1 or number > MOST_DIMENSIONS:
        raise Wrong("an impossible number of dimensions")
    product = 1
    for _ in range(number):
        (length,) = I32(data, at)
        at += 4
        if length < 0:
            raise Wrong("a negative dimension")
        product *= length
    if number > 0 and product > max(count, 0):
        raise Wrong("dimensions that make more elements than there are")
    return at


REST = tuple(
    (4 if mask & 0x02 else 0)
    + (8 if mask & 0x04 else 0)
    + (2 if mask & 0x10 else 0)
    + (8 if mask & 0x08 else 0)
    + (2 if mask & 0x20 else 0)
    for mask in range(0x40)
)
"Bytes behind the value of a DataValue, by its mask."


def data_value(data: bytes, at: int, depth: int = 0) -> int:
    """DataValue (§5.2.2.17): a mask for value, status, two times and their fractions."""
    mask = data[at]
    at += 1
    if mask & 0xC0:
        raise Wrong("a DataValue with bits that do not exist")
    if mask & 1:
        if depth >= MOST_DEPTH:
            raise Wrong("values nested too deep")
        at = variant(data, at, depth + 1)
    return at + REST[mask]


def _nested_variant(data: bytes, at: int, depth: int) -> int:
    if depth >= MOST_DEPTH:
        raise Wrong("Variants nested too deep")
    return variant(data, at, depth + 1)


def _flat(scan: Scan) -> Callable[[bytes, int, int], int]:
    return lambda data, at, _depth: scan(data, at)


_OTHERS: dict[int, Callable[[bytes, int, int], int]] = {
    12: _flat(text),
    15: _flat(text),
    16: _flat(text),
    17: _flat(node_id),
    18: _flat(expanded_node_id),
    20: _flat(qualified_name),
    21: _flat(localized_text),
    22: extension_object,
    23: data_value,
    24: _nested_variant,
    25: lambda data, at, _depth: diagnostic_info(data, at),
}


def _other(kind: int) -> Callable[[bytes, int, int], int]:
    scan = _OTHERS.get(kind)
    if scan is None:
        raise Wrong("a built-in type that does not exist")
    return scan


def sequence(*scans: Scan) -> Scan:
    """One after the other."""

    def scan(data: bytes, at: int) -> int:
        for each in scans:
            at = each(data, at)
        return at

    return scan


def count(data: bytes, at: int, least: int, most: int = MOST_ELEMENTS) -> int:
    """The count of an array of structures that take at least `least` bytes each; null counts as none."""
    (number,) = I32(data, at)
    if number < -1:
        raise Wrong("a count below -1")
    if number > most or number * least > len(data) - at - 4:
        raise Wrong("more elements than are there or allowed")
    step(data, number)
    return max(number, 0)


def array(scan: Scan, least: int = 1, most: int = MOST_ELEMENTS) -> Scan:
    """An array of structures: count, elements."""

    def scan_array(data: bytes, at: int) -> int:
        number = count(data, at, least, most)
        at += 4
        for _ in range(number):
            at = scan(data, at)
        return at

    return scan_array


texts = array(text, 4)
diagnostics = array(diagnostic_info, 1)


def known(bodies: dict[int, Scan], otherwise: bool = True) -> Scan:
    """An ExtensionObject whose body is scanned where its type is one of these (numbers of namespace 0).

    Otherwise its body is opaque, or it is refused.
    """

    def scan(data: bytes, at: int) -> int:
        kind = type_number(data, at)
        start = node_id(data, at)
        end = extension_object(data, at)
        body = bodies.get(kind) if kind is not None else None
        if body is None or data[start] != 1:
            if not otherwise:
                raise Wrong("an ExtensionObject of a type that cannot stand here")
            return end
        if body(data, start + 5) != end:
            raise Wrong("an ExtensionObject whose body is longer or shorter than its type")
        return end

    return scan


def type_number(data: bytes, at: int) -> int | None:
    """The numeric identifier in namespace 0 of the NodeId that begins there; null where it is another."""
    kind = data[at]
    if kind == 0:
        return data[at + 1]
    if kind == 1:
        return U16(data, at + 2)[0] if data[at + 1] == 0 else None
    if kind == 2:
        return U32(data, at + 3)[0] if U16(data, at + 1)[0] == 0 else None
    return None
