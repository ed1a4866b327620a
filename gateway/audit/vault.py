"""Where openings lie: `openings/<first>.opn` beside the segments, in the order of the log.

A file begins with 32 bytes as a segment does, with a magic of its own. Rows follow: length (4), check (4),
index of the record (8), wall clock (8), bytes; the check is the CRC-32 over index, wall clock, length and
bytes. A row whose bytes are all zero was dropped: they are overwritten where they lie, so that no copy of
them is left in the file, and a file of which nothing is left is removed.

Openings are on stable storage before the records that need them are written (`Log.append`): whatever a crash
takes, no record that was acknowledged lacks its opening. Openings of records that never came to be are cut at
the next start. The folder is made with the first opening: a log without commitments has none.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from struct import Struct
from zlib import crc32

import msgspec

from gateway.audit.commitment import Sealed
from gateway.audit.storage import File, Storage, write_all

FOLDER = "openings"
SUFFIX = ".opn"
MAGIC = b"dmz.openings/1\n\0"
HEAD = Struct(">16sQII")
ROW = Struct(">IIQq")
_PLACE = Struct(">QqI")
MOST_FILE = 1 << 20
"A file that is larger is followed by another: readers take one whole file into memory."


class Row(msgspec.Struct, frozen=True):
    """One opening as it lies in a file."""

    offset: int
    "Of its head."
    index: int
    wall_ns: int
    opening: bytes | None
    "Null where it was dropped."
    whole: bool = True
    "Whether the check fits."
    length: int = 0

    @property
    def end(self) -> int:
        """Where the next row begins."""
        return self.offset + ROW.size + self.length


def head(first: int) -> bytes:
    """The beginning of a file whose first row is of that record."""
    return HEAD.pack(MAGIC, first, crc32(MAGIC + first.to_bytes(8, "big")), 0)


def name(first: int) -> str:
    """Name of a file, below the journal."""
    return f"{FOLDER}/{first:020d}{SUFFIX}"


def row(index: int, wall_ns: int, opening: bytes) -> bytes:
    """One row as it is stored."""
    size = len(opening)
    check = crc32(opening, crc32(_PLACE.pack(index, wall_ns, size)))
    return ROW.pack(size, check, index, wall_ns) + opening


def rows(data: bytes) -> Iterator[Row]:
    """Every row of a file, damaged ones too where what follows shows how long they are."""
    at = HEAD.size
    while at + ROW.size <= len(data):
        size, check, index, wall_ns = ROW.unpack_from(data, at)
        opening = data[at + ROW.size : at + ROW.size + size]
        if not size or len(opening) != size:
            return
        whole = crc32(opening, crc32(_PLACE.pack(index, wall_ns, size))) == check
        dropped = not whole and not any(opening)
        yield Row(at, index, wall_ns, None if dropped else opening, whole or dropped, size)
        at += ROW.size + size


def joined(ranges: Sequence[range]) -> list[range]:
    """The same indices in ranges that rise and do not overlap."""
    found: list[range] = []
    for each in sorted(filter(None, ranges), key=lambda one: one.start):
        if found and each.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, each.stop))
        else:
            found.append(each)
    return found


class Vault:
    """Writes openings, and drops them. Appended to by the one thread that writes the log."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._file: File | None = None
        self._end = 0
        self._dropping = threading.Lock()

    def keep(self, records: Sequence[bytes], first: int) -> None:
        """Make durable what opens these records, of which the first gets that index."""
        sealed = [(index, each) for index, each in enumerate(records, first) if isinstance(each, Sealed)]
        if not sealed:
            return
        data = b"".join(row(index, each.wall_ns, each.opening) for index, each in sealed)
        if self._file is None or self._end + len(data) > MOST_FILE:
            self._begin(sealed[0][0], data)
        else:
            write_all(self._file, data, self._end)
            self._file.fdatasync()
            self._end += len(data)

    def _begin(self, first: int, data: bytes) -> None:
        self.close()
        self._file = self._storage.open(name(first))
        start = head(first)
        write_all(self._file, start + data, 0)
        self._file.fdatasync()
        self._end = len(start) + len(data)
        self._storage.sync_folder(FOLDER)
        self._storage.sync_folder("")

    def adopt(self, size: int) -> None:
        """Go on behind the last opening of a log of so many records; what is behind that was never needed."""
        for each in reversed(self._names()):
            file = self._storage.open(f"{FOLDER}/{each}")
            data = file.pread(file.size(), 0)
            end = max((row.end for row in rows(data) if row.whole and row.index < size), default=0)
            if end < len(data):  # a file that is only made shorter leaves what it held in free blocks
                write_all(file, bytes(len(data) - end), end)
                file.fdatasync()
            if end:
                if end < len(data):
                    file.truncate(end)
                    file.fdatasync()
                self._file, self._end = file, end
                return
            file.close()
            self._storage.remove(f"{FOLDER}/{each}")
            self._storage.sync_folder(FOLDER)

    def drop(self, gone: Sequence[range]) -> int:
        """Overwrite the openings of these records, for good; how many. For any thread, whoever appends."""
        with self._dropping:
            return self._drop(joined(gone))

    def _drop(self, gone: Sequence[range]) -> int:
        starts, count = [one.start for one in gone], 0
        names = self._names()
        for each in names:
            file = self._storage.open(f"{FOLDER}/{each}")
            try:
                found = [*rows(file.pread(file.size(), 0))]
                wanted = [
                    r
                    for r in found
                    if r.opening is not None
                    and (at := bisect_right(starts, r.index))
                    and r.index in gone[at - 1]
                ]
                for one in wanted:
                    write_all(file, bytes(one.length), one.offset + ROW.size)
                if wanted:
                    file.fdatasync()
            finally:
                file.close()
            count += len(wanted)
            left = sum(r.opening is not None for r in found) - len(wanted)
            if not left and each != names[-1]:  # the newest is being written
                self._storage.remove(f"{FOLDER}/{each}")
                self._storage.sync_folder(FOLDER)
        return count

    def kept(self) -> Iterator[Row]:
        """Every opening that is there, in order."""
        for each in self._names():
            data = self._storage.read(f"{FOLDER}/{each}")
            yield from (row for row in rows(data or b"") if row.opening is not None)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _names(self) -> list[str]:
        return [each for each in self._storage.names(FOLDER) if each.endswith(SUFFIX)]
