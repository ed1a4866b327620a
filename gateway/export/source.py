"""What one destination is given of the journal: piece by piece, rendered, and only of the log that it knows.

Everything here runs in a thread, one call at a time.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from gateway.audit.openings import Openings
from gateway.audit.tree import leaf
from gateway.export.ocsf import Event, event
from gateway.export.place import Place
from gateway.export.tail import Missing, Tail
from gateway.model.errors import GatewayError
from gateway.model.record import RecordKind


class OtherLogError(GatewayError):
    """The log is not the one that was exported."""


class Batch(Struct, frozen=True):
    """One piece, rendered."""

    messages: tuple[bytes, ...]
    after: Place | None
    "The place behind it; null where it holds nothing."
    wall_ns: int
    "Of its first record."
    missing: Missing | None


class Source:
    """Reads on from where it was, until it is let go."""

    def __init__(
        self,
        journal: Path,
        origin: str,
        without: frozenset[RecordKind],
        render: Callable[[Event], bytes],
    ) -> None:
        self._journal = journal
        self._origin = origin
        self._without = without
        self._render = render
        self._tail: Tail | None = None
        self._openings = Openings(journal)

    def holds(self, place: Place, durable: int) -> None:
        """Raises OtherLogError where that is no place in this log. What retention took cannot be judged."""
        if place.next > durable:
            raise OtherLogError(f"the receiver has {place.next} records, this log only {durable}")
        if not place.leaf or not place.next:
            return
        tail = Tail(self._journal, place.next - 1)
        try:
            piece = tail.read(place.next, 1)
        finally:
            tail.close()
        known = piece.records[0][1] if piece.records and piece.missing is None else None
        if known is not None and leaf(known).hex() != place.leaf:
            raise OtherLogError(f"record {place.next - 1} is not the one that the receiver has")

    def read(self, start: int, limit: int) -> Batch:
        """The next piece below `limit`, from `start` where nothing has been read yet.

        Kinds that are left out are left out here, so that the place moves over them.
        """
        if self._tail is None:
            self._tail = Tail(self._journal, start)
        piece = self._tail.read(limit)
        messages, first_ns = [], 0
        for index, data in piece.records:
            made = event(index, data, self._origin, self._openings)
            if made.kind not in self._without:
                messages.append(self._render(made))
            first_ns = first_ns or made.wall_ns
            time.sleep(0)  # gives up the interpreter: the event loop never waits for more than one record
        if not piece.records:
            return Batch((), None, 0, piece.missing)
        index, data = piece.records[-1]
        return Batch(tuple(messages), Place(self._origin).after(index, data), first_ns, piece.missing)

    def let_go(self) -> None:
        """Begin again with the next `read`."""
        tail, self._tail = self._tail, None
        if tail is not None:
            with contextlib.suppress(OSError):
                tail.close()
