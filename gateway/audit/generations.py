"""What the side file of open windows (`carry`) needs to know, tick by tick: changed counts, and descriptions.

A file that only grew would never end, so descriptions are written anew in the next generation, some at a
tick; when every entry still open has been, the file of the generation before is emptied.
"""

from collections.abc import Iterable, Iterator

import msgspec

from gateway.audit import carry
from gateway.audit.window import Entry, Window

MOST_AT_ONCE = 256
"Entries described anew in one tick: keeps a tick under about two milliseconds."

_encode = msgspec.json.Encoder().encode


class Generations:
    """Turns windows into rows. Lives in the event loop."""

    def __init__(self) -> None:
        self.number = 0
        "Of the present generation."
        self._cleared = 0
        self._written = self._described = 0
        "Bytes of the present generation, and how many of them describe."
        self._moving: Iterator[Window] | None = None
        self._renewed = False

    def renew(self) -> None:
        """Begin a generation as soon as may be: what closed windows said is then in no side file any more."""
        self._renewed = True

    def rows(self, dirty: list[Entry], closed: list[bytes], windows: Iterable[Window]) -> list[bytes]:
        """What the side file needs to know since the last tick, ready to write.

        `windows` are all that are not written yet, needed where a generation begins.
        """
        parts: list[bytes] = []
        full = self._renewed or self._written > max(carry.SMALLEST_LIMIT, 3 * self._described)
        if self.number == 0 or (full and self._moving is None):
            self._begin(parts, windows)
        out = bytearray()
        generation, pack = self.number, carry.COUNT.pack
        for entry in dirty:
            if entry.window.gone:
                continue
            entry.dirty = False
            if entry.generation != generation:
                self._describe(entry, out)
            out += pack(
                b"C",
                entry.number,
                entry.asked,
                entry.answers,
                entry.lost,
                entry.first_ns,
                entry.last_ns,
                entry.digest,
            )  # as `count` says; one call less, because this is done for nearly every read
        self._move(out)
        for row in closed:
            out += row
        if out:
            parts.append(carry.block(out, generation))
            self._written += len(out)
        if self._moving is None and generation > 1 and self._cleared < generation - 1:
            parts.append(carry.clear(generation - 1))
            self._cleared = generation - 1
        return parts

    def _begin(self, parts: list[bytes], windows: Iterable[Window]) -> None:
        self.number += 1
        self._written = self._described = 0
        self._renewed = False
        parts.append(carry.begin(self.number))
        self._moving = iter([*windows])

    def _move(self, out: bytearray) -> None:
        """Describe open entries anew in the present generation, some at a time."""
        budget = MOST_AT_ONCE
        while self._moving is not None and budget > 0:
            window = next(self._moving, None)
            if window is None:
                self._moving = None
                return
            for entry in () if window.gone else window.entries.values():
                if entry.generation != self.number:
                    self._describe(entry, out)
                    out += carry.COUNT.pack(b"C", entry.number, *entry.count())
                    budget -= 1

    def _describe(self, entry: Entry, out: bytearray) -> None:
        before, window = len(out), entry.window
        if window.generation != self.number:
            window.generation = self.number
            note = {"window": window.id, "connections": window.connections}
            common = _encode({"common": window.common, "note": note})
            out += carry.WINDOW.pack(b"W", window.number, len(common)) + common
        entry.generation = self.number
        out += carry.ENTRY.pack(b"E", entry.number, window.number, len(entry.head)) + entry.head
        self._described += len(out) - before
