"""Reading a journal that somebody else may be writing: never locks, never changes a byte.

What cannot be read is named by its index, so that nobody takes the readable part for the whole. Whether it
was changed is for `verify` to say.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import framing

SEGMENTS = "segments"
PATIENCE_S = 0.5
"How long a record at the end may be half written before it counts as damaged: a batch takes milliseconds."
LOOK_S = 0.02
"Pause between two looks at it."


@dataclass(slots=True)
class Segment:
    """One segment file as it lies there."""

    first: int
    path: Path


def segments(folder: Path) -> list[Segment]:
    """The segments of a journal, in order. Names that are none of ours are left out."""
    found = [
        Segment(int(path.stem), path)
        for path in (folder / SEGMENTS).glob("*.seg")
        if path.stem.isascii() and path.stem.isdigit()
    ]
    return sorted(found, key=lambda segment: segment.first)


class Walk:
    """Walks one segment's records with its file open."""

    def __init__(self, segment: Segment) -> None:
        self._fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        self.scan = framing.Scan(self._read, segment.first)

    def _read(self, count: int, offset: int) -> bytes:
        return os.pread(self._fd, count, offset)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.scan)

    def size(self) -> int:
        """Length of the file."""
        return os.fstat(self._fd).st_size

    def rest(self) -> Iterator[bytes]:
        """What lies behind the last whole record, in pieces."""
        offset = self.scan.offset
        while piece := os.pread(self._fd, framing.CHUNK, offset):
            yield piece
            offset += len(piece)

    def damage(self, following: int | None) -> int | None:
        """After the walk: the index of a record that should be there and cannot be read; null where none is.

        `following` is where the next segment begins; null for the last one, which may be growing just now.
        """
        scan = self.scan
        if following is not None:
            return scan.index if scan.fault is not None or scan.index != following else None
        until = time.monotonic() + PATIENCE_S
        while scan.fault is not None or any(piece.count(0) != len(piece) for piece in self.rest()):
            if time.monotonic() >= until:
                return scan.index
            time.sleep(LOOK_S)
            again = framing.Scan(self._read, scan.index)
            again.resume(scan.index, scan.offset)
            if next(iter(again), None) is not None:
                return None  # It was being written, and is newer than this walk.
            scan.fault = again.fault
        return None

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def records(folder: Path, start: int = 0, damaged: list[int] | None = None) -> Iterator[tuple[int, bytes]]:
    """Index and bytes of every whole record from `start` on, as far as the journal can be read.

    What cannot be read is added to `damaged`, the first index of each such place.
    """
    known = segments(folder)
    for at, segment in enumerate(known):
        if at + 1 < len(known) and known[at + 1].first <= start:
            continue
        walk = Walk(segment)
        try:
            for index, data in enumerate(walk, segment.first):
                if index >= start:
                    yield index, data
            following = known[at + 1].first if at + 1 < len(known) else None
            broken = walk.damage(following) if damaged is not None else None
            if damaged is not None and broken is not None:
                damaged.append(broken)
        finally:
            walk.close()
