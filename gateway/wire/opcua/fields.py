"""How the fields of the handshake's messages stand on the wire (OPC 10000-6 §5.2), both ways from one table.

Only what a channel and a session begin with is taken apart and put together here, some dozen messages. What
else a client asks is never decoded into objects: it is scanned, and goes on as it stands.

A reader takes no more than a named bound of anything, judged before it is allocated or looped over, and ends
in `UnreadableError`, which `messages.read` turns into a value.
"""

from collections.abc import Callable
from struct import Struct as Layout
from typing import Any, Generic, Protocol, TypeVar

MOST_TEXT = 4096
"Bytes of a name, URI or URL."
MOST_DEPTH = 3
"DiagnosticInfo inside DiagnosticInfo."

T = TypeVar("T")


class UnreadableError(Exception):
    """A field is not what it must be. Leaves this part of the house only as a value."""


class Cursor:
    """Where a reader is."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if not 0 <= size <= len(self.data) - self.at:
            raise UnreadableError("it ends too early")
        at = self.at
        self.at = at + size
        return self.data[at : self.at]


class Field(Protocol):
    """One kind of field."""

    def read(self, cursor: Cursor) -> Any: ...

    def write(self, value: Any) -> bytes: ...


class Number:
    """A number of fixed width, in a range where the width is more than what it may say."""

    def __init__(self, layout: str, within: range | None = None) -> None:
        self._layout = Layout("<" + layout)
        self._within = within

    def read(self, cursor: Cursor) -> Any:
        (value,) = self._layout.unpack(cursor.take(self._layout.size))
        if self._within is not None and value not in self._within:
            raise UnreadableError(f"{value} is no value of its enumeration")
        return value

    def write(self, value: Any) -> bytes:
        return self._layout.pack(value)


class Octets:
    """A ByteString, null allowed."""

    def __init__(self, most: int) -> None:
        self._most = most

    def read(self, cursor: Cursor) -> bytes | None:
        (size,) = LENGTH.unpack(cursor.take(4))
        if size == -1:
            return None
        if not 0 <= size <= self._most:
            raise UnreadableError(f"{size} bytes")
        return cursor.take(size)

    def write(self, value: bytes | None) -> bytes:
        return LENGTH.pack(-1) if value is None else LENGTH.pack(len(value)) + value


class Text:
    """A String, null allowed."""

    def __init__(self, most: int = MOST_TEXT) -> None:
        self._octets = Octets(most)

    def read(self, cursor: Cursor) -> str | None:
        value = self._octets.read(cursor)
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError:
            raise UnreadableError("it is no UTF-8") from None

    def write(self, value: str | None) -> bytes:
        return self._octets.write(None if value is None else value.encode())


class Node:
    """A NodeId, as the bytes that it stands in: tokens and ids of sessions are compared, never read."""

    def read(self, cursor: Cursor) -> bytes:
        start = cursor.at
        form = cursor.take(1)[0]
        if form in NODE_SIZES:
            cursor.take(NODE_SIZES[form])
        elif form in (3, 5):
            cursor.take(2)
            Octets(MOST_TEXT).read(cursor)
        else:
            raise UnreadableError(f"a NodeId of form {form}")
        return cursor.data[start : cursor.at]

    def write(self, value: bytes) -> bytes:
        return value


class Localized:
    """A LocalizedText, of which only the text counts."""

    def read(self, cursor: Cursor) -> str | None:
        mask = cursor.take(1)[0]
        if mask & ~3:
            raise UnreadableError("undefined bits of a LocalizedText")
        if mask & 1:
            TEXT.read(cursor)
        return TEXT.read(cursor) if mask & 2 else None

    def write(self, value: str | None) -> bytes:
        return b"\0" if value is None else b"\2" + TEXT.write(value)


class Many:
    """An array; null reads as empty."""

    def __init__(self, field: Field, most: int) -> None:
        self._field = field
        self._most = most

    def read(self, cursor: Cursor) -> tuple[Any, ...]:
        (count,) = LENGTH.unpack(cursor.take(4))
        if not -1 <= count <= min(self._most, cursor.left):
            raise UnreadableError(f"{count} elements")
        return tuple([self._field.read(cursor) for _ in range(count)])

    def write(self, value: tuple[Any, ...]) -> bytes:
        return LENGTH.pack(len(value)) + b"".join([self._field.write(each) for each in value])


class Extension:
    """An ExtensionObject, as (type id in namespace 0, body); null is None."""

    def __init__(self, most: int) -> None:
        self._octets = Octets(most)

    def read(self, cursor: Cursor) -> tuple[int, bytes] | None:
        kind = NODE.read(cursor)
        encoding = cursor.take(1)[0]
        if encoding == 0:
            return None
        body = self._octets.read(cursor)
        if encoding != 1 or body is None:
            raise UnreadableError("an ExtensionObject that is not binary")
        if kind[:2] == b"\1\0" or kind[:3] == b"\2\0\0":
            return int.from_bytes(kind[-2:] if kind[0] == 1 else kind[-4:], "little"), body
        raise UnreadableError("an ExtensionObject of an unknown type")

    def write(self, value: tuple[int, bytes] | None) -> bytes:
        if value is None:
            return b"\0\0\0"
        return b"\1\0" + value[0].to_bytes(2, "little") + b"\1" + self._octets.write(value[1])


class Null:
    """An ExtensionObject that must be null: an AdditionalHeader is never decoded (facts §4.12)."""

    def read(self, cursor: Cursor) -> None:
        if cursor.take(3) != b"\0\0\0":
            raise UnreadableError("an additional header")

    def write(self, value: None) -> bytes:
        return b"\0\0\0"


class Skipped:
    """What a server may say beside its answer and nobody here reads: passed over, not kept."""

    def __init__(self, skip: Callable[[Cursor], object], empty: bytes) -> None:
        self._skip = skip
        self._empty = empty

    def read(self, cursor: Cursor) -> None:
        self._skip(cursor)

    def write(self, value: None) -> bytes:
        return self._empty


class Shape(Generic[T]):
    """A structure: the fields in their order."""

    def __init__(self, made: Callable[..., T], **fields: Field) -> None:
        self._made = made
        self._fields = tuple(fields.items())

    def read(self, cursor: Cursor) -> T:
        return self._made(**{name: field.read(cursor) for name, field in self._fields})

    def write(self, value: T) -> bytes:
        return b"".join([field.write(getattr(value, name)) for name, field in self._fields])


def _diagnostics(cursor: Cursor, depth: int = 0) -> None:
    """Pass over a DiagnosticInfo (OPC 10000-6 §5.2.2.12)."""
    mask = cursor.take(1)[0]
    if mask & 0x80 or depth > MOST_DEPTH:
        raise UnreadableError("a DiagnosticInfo with undefined bits, or too deep")
    cursor.take(4 * (mask & 0xF).bit_count())
    if mask & 0x10:
        Octets(1 << 16).read(cursor)
    if mask & 0x20:
        cursor.take(4)
    if mask & 0x40:
        _diagnostics(cursor, depth + 1)


def _additional(cursor: Cursor) -> None:
    NODE.read(cursor)
    encoding = cursor.take(1)[0]
    if encoding > 2:
        raise UnreadableError("an ExtensionObject of unknown encoding")
    if encoding:
        Octets(1 << 16).read(cursor)


LENGTH = Layout("<i")
NODE_SIZES = {0: 1, 1: 3, 2: 6, 4: 18}
"Bytes that follow the form of a NodeId: two-byte, four-byte, numeric, GUID."

BOOLEAN = Number("B", range(2))
BYTE = Number("B")
UINT32 = Number("I")
TIME = Number("q")
DOUBLE = Number("d")
TEXT = Text()
NODE = Node()
NULL = Null()
DIAGNOSTICS = Skipped(_diagnostics, b"\0")
ADDITIONAL = Skipped(_additional, b"\0\0\0")


def enumeration(size: int) -> Number:
    """An enumeration of the values 0 to size - 1."""
    return Number("i", range(size))
