"""The side file of open read windows: what a crash would otherwise take with it.

Every tick the entries that changed are appended to `windows.0` or `windows.1` as fixed rows of absolute
counts; the full description of a window or an entry goes in once a generation. When a file has grown, the
next generation begins in the other one, and the old one is emptied as soon as every entry still open has
been described anew. Recovery reads the older first; later rows win.

Layout: head (16 bytes: magic, generation, CRC-32), then blocks `length, check, rows`; the check is a CRC-32
that starts from the generation. Rows, numbers big-endian:

    W  window (4)  length (4)  JSON: the common part
    E  entry (4)  window (4)  length (4)  bytes: the beginning of the entry's JSON object
    C  entry (4)  asked (4)  answered (4)  failed (4)  first (8)  last (8)  value digest (32)
    X  window (4): its records are in the log

Only whole blocks count. The file is emptied at every start, after its windows are in the log.
"""

from collections.abc import Iterator
from struct import Struct, error
from zlib import crc32

from gateway.audit.storage import File, Storage, write_all

NAMES = ("windows.0", "windows.1")
MAGIC = b"dmzopen1"
HEAD = Struct(">8sII")
BLOCK = Struct(">II")
WINDOW = Struct(">cII")
ENTRY = Struct(">cIII")
COUNT = Struct(">cIIIIqq32s")
CLOSED = Struct(">cI")
SMALLEST_LIMIT = 8 << 20
"A generation ends at this many bytes, or at three times its descriptions where that is more."


def block(rows: bytes | bytearray, generation: int) -> bytes:
    """One block as it is stored."""
    return BLOCK.pack(len(rows), crc32(rows, generation)) + bytes(rows)


def begin(generation: int) -> bytes:
    """The head of a file. A hand-over that starts with it starts a generation."""
    start = MAGIC + generation.to_bytes(4, "big")
    return start + crc32(start).to_bytes(4, "big")


def clear(generation: int) -> bytes:
    """A hand-over that says: the file of that generation is not needed any more."""
    return b"dmzclear" + generation.to_bytes(4, "big")


class Carrier:
    """Writes what the windows hand over. Lives in the committer's thread."""

    def __init__(self, storage: Storage) -> None:
        self._files: list[File] = [storage.open(name) for name in NAMES]
        self._at = 0
        self._current = 0
        for file in self._files:
            file.truncate(0)
            file.fdatasync()
        storage.sync_folder("")

    def write(self, parts: list[bytes]) -> None:
        """Append blocks; one fdatasync for each file touched."""
        pending: list[bytes] = []
        for part in parts:
            if part.startswith(MAGIC):
                self._flush(pending)
                pending = []
                self._current, self._at = int.from_bytes(part[8:12], "big") % 2, 0
                self._files[self._current].truncate(0)
            elif part.startswith(b"dmzclear"):
                old = self._files[int.from_bytes(part[8:12], "big") % 2]
                self._flush(pending)
                pending = []
                old.truncate(0)
                continue
            pending.append(part)
        self._flush(pending)

    def _flush(self, pending: list[bytes]) -> None:
        if not pending:
            return
        data = b"".join(pending)
        file = self._files[self._current]
        write_all(file, data, self._at)
        file.fdatasync()
        self._at += len(data)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()


class Carried:
    """One window as the side file has it."""

    __slots__ = ("common", "entries")

    def __init__(self, common: bytes) -> None:
        self.common = common
        self.entries: dict[int, tuple[bytes, tuple[int, int, int, int, int, bytes]]] = {}
        "Number -> the beginning of its JSON, and asked, answered, failed, first, last, digest."


NOTHING = (0, 0, 0, 0, 0, bytes(32))


def read(storage: Storage) -> list[Carried]:
    """The windows that were open when the last run ended."""
    files = [storage.read(name) or b"" for name in NAMES]
    found = sorted(
        (int.from_bytes(data[8:12], "big"), data)
        for data in files
        if len(data) >= HEAD.size and data[: HEAD.size] == begin(int.from_bytes(data[8:12], "big"))
    )
    windows: dict[int, Carried] = {}
    homes: dict[int, int] = {}
    for generation, data in found:
        for rows in _blocks(data, generation):
            try:
                _apply(rows, windows, homes)
            except (error, KeyError):
                break
    return [window for window in windows.values() if window.entries]


def _blocks(data: bytes, generation: int) -> Iterator[bytes]:
    at = HEAD.size
    while at + BLOCK.size <= len(data):
        size, check = BLOCK.unpack_from(data, at)
        rows = data[at + BLOCK.size : at + BLOCK.size + size]
        if size == 0 or len(rows) != size or crc32(rows, generation) != check:
            return
        yield rows
        at += BLOCK.size + size


def _apply(rows: bytes, windows: dict[int, Carried], homes: dict[int, int]) -> None:
    at = 0
    while at < len(rows):
        match rows[at : at + 1]:
            case b"W":
                _, number, size = WINDOW.unpack_from(rows, at)
                at += WINDOW.size
                windows.setdefault(number, Carried(rows[at : at + size]))
                at += size
            case b"E":
                _, entry, number, size = ENTRY.unpack_from(rows, at)
                at += ENTRY.size
                homes[entry] = number
                known = windows[number].entries.get(entry)
                windows[number].entries[entry] = (rows[at : at + size], known[1] if known else NOTHING)
                at += size
            case b"C":
                _, entry, *counts = COUNT.unpack_from(rows, at)
                at += COUNT.size
                home = windows.get(homes[entry])
                if home is not None:
                    asked, answered, failed, first, last, digest = counts
                    home.entries[entry] = (
                        home.entries[entry][0],
                        (asked, answered, failed, first, last, digest),
                    )
            case b"X":
                _, number = CLOSED.unpack_from(rows, at)
                at += CLOSED.size
                windows.pop(number, None)
            case _:
                raise KeyError(at)
