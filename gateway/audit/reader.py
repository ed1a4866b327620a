"""Reading a journal that somebody else may be writing: never locks, never changes a byte."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import framing

SEGMENTS = "segments"


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

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def records(folder: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Index and bytes of every whole record from `start` on, as far as the journal can be read."""
    known = segments(folder)
    for at, segment in enumerate(known):
        if at + 1 < len(known) and known[at + 1].first <= start:
            continue
        walk = Walk(segment)
        try:
            for index, data in enumerate(walk, segment.first):
                if index >= start:
                    yield index, data
        finally:
            walk.close()
