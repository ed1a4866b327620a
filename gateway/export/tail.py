"""Reading a journal on from an index, in bounded pieces, while it is written. Never past what is durable.

One segment stays open between two pieces, so that following a journal costs what is new and not a walk over
the whole segment. What cannot be read is named with the indices it had: a reader that passed over it in
silence would make a copy that looks whole.
"""

from pathlib import Path

from msgspec import Struct

from gateway.audit.reader import Segment, Walk, segments
from gateway.model.errors import GatewayError

MOST_AT_ONCE = 64
"Records of one piece: with 64 KiB each at most 4 MiB, and a few milliseconds of rendering."


class Missing(Struct, frozen=True):
    """Records that were there and cannot be had any more."""

    first: int
    end: int
    "The first index behind them."
    why: str
    "`removed` (the segment is gone) or `damaged`."


class Piece(Struct, frozen=True):
    """What was read at once."""

    records: tuple[tuple[int, bytes], ...] = ()
    missing: Missing | None = None
    "In front of the records."


class Tail:
    """Reads on. Used by one thread at a time."""

    def __init__(self, folder: Path, start: int) -> None:
        self._folder = folder
        self._walk: Walk | None = None
        self.next = start
        "Index of the next record to read."

    def read(self, end: int, most: int = MOST_AT_ONCE) -> Piece:
        """The next records below `end`, at most so many. GatewayError where the journal stands in the way."""
        missing = self._open() if self._walk is None and self.next < end else None
        found: list[tuple[int, bytes]] = []
        while self.next < end and len(found) < most and self._walk is not None:
            for data in self._walk:
                found.append((self.next, data))
                self.next += 1
                if self.next >= end or len(found) >= most:
                    break
            else:
                self.close()
                if found:
                    break  # a hole is told in front of what follows it, so it begins the next piece
                missing = self._open()
        return Piece(tuple(found), missing)

    def close(self) -> None:
        """Let go of the segment."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None

    def _open(self) -> Missing | None:
        """Open the segment that the next record is in; where it cannot be read, the one after that."""
        known = segments(self._folder)
        held = [segment for segment in known if segment.first <= self.next]
        if held and self._begins(held[-1]):
            return None
        after = next((segment for segment in known if segment.first > self.next), None)
        if after is None or not self._begins(after):
            raise GatewayError(f"record {self.next} cannot be read")
        missing = Missing(self.next, after.first, "damaged" if held else "removed")
        self.next = after.first
        return missing

    def _begins(self, segment: Segment) -> bool:
        """Open it and walk to the next record; False where that is not in it."""
        try:
            walk = Walk(segment)
        except FileNotFoundError:  # retention was faster
            return False
        wanted = max(self.next, segment.first)
        if walk.scan.index < wanted:
            for _ in walk:
                if walk.scan.index >= wanted:
                    break
        if walk.scan.index < wanted or not _more(walk):
            walk.close()
            return False
        self._walk = walk
        return True


def _more(walk: Walk) -> bool:
    """Whether a whole record follows; the walk stays where it is."""
    index, offset = walk.scan.index, walk.scan.offset
    found = next(iter(walk), None) is not None
    walk.scan.resume(index, offset)
    return found
