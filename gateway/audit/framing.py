"""How records lie in a segment file. Pure; the bytes come in by a function.

A segment begins with 32 bytes: magic (16), index of its first record (8), CRC-32 of those 24 (4), zeros (4).
Records follow: length (4), check (4), bytes; numbers big-endian. The check is a CRC-32 over index (8),
length (4) and bytes, so that a record only fits where it was written. A length of zero ends the segment;
the rest is zeros, written before it was needed. The check finds accidents; tampering is found by the tree.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from zlib import crc32

MAGIC = b"dmz.segment/1\n\0\0"
HEAD = Struct(">16sQII")
FRAME = Struct(">II")
_PLACE = Struct(">QI")
MOST_BYTES = 65_535
"A record is a C2SP log entry: its length must fit 16 bits (tlog-tiles)."
CHUNK = 1 << 20
"Bytes read at once."


def head(first: int) -> bytes:
    """The beginning of a segment whose first record has that index."""
    return HEAD.pack(MAGIC, first, crc32(MAGIC + first.to_bytes(8, "big")), 0)


def name(first: int) -> str:
    """File name of a segment."""
    return f"{first:020d}.seg"


def frame(index: int, data: bytes) -> bytes:
    """One record as it is stored."""
    size = len(data)
    return FRAME.pack(size, crc32(data, crc32(_PLACE.pack(index, size)))) + data


class Scan:
    """Walks one segment's records. Afterwards `index`, `offset` and `fault` say where and why it ended."""

    def __init__(self, read: Callable[[int, int], bytes], first: int) -> None:
        self._read = read
        self.index = first
        "Index of the next record."
        self.offset = 0
        "Where the next record would begin."
        self.fault: str | None = None
        "What is wrong at `offset`; None where the segment ends as it should."
        self.at_end = False
        "Whether the file itself ended at `offset` (no zeros behind)."

    def resume(self, index: int, offset: int) -> None:
        """Begin at a record in the middle, whose place is known from an earlier walk."""
        self.index, self.offset = index, offset

    def __iter__(self) -> Iterator[bytes]:
        if self.offset == 0:
            start = self._read(HEAD.size, 0)
            if start != head(self.index):
                self.fault = "the head of the segment is damaged"
                return
            self.offset = HEAD.size
        base, at = self.offset, 0
        buffer = self._read(CHUNK, base)
        while True:
            left = len(buffer) - at
            size, check = FRAME.unpack_from(buffer, at) if left >= FRAME.size else (MOST_BYTES, 0)
            end = at + FRAME.size + size
            if at and size <= MOST_BYTES and end > len(buffer):
                base += at
                buffer, at = self._read(CHUNK, base), 0
                continue
            if left < FRAME.size:
                self.at_end = left == 0
                self.fault = None if not any(buffer[at:]) else "a record is cut short"
                return
            if size == 0:
                self.fault = None if check == 0 else "a record without a length"
                return
            if size > MOST_BYTES or end > len(buffer):
                self.fault = "a length that cannot be" if size > MOST_BYTES else "a record is cut short"
                return
            data = buffer[at + FRAME.size : end]
            if crc32(data, crc32(_PLACE.pack(self.index, size))) != check:
                self.fault = "the check does not fit"
                return
            at = end
            self.index += 1
            self.offset = base + at
            yield data
