"""Reading records whose sensitive members may still be opened: for everybody who tells, finds or asks again.

Nothing here locks or writes; a gateway may be running and dropping meanwhile. What proves something is the
stored record, which this never changes.
"""

import time
from bisect import bisect_right
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit.commitment import MARK, Opened
from gateway.audit.vault import FOLDER, SUFFIX, Row, rows

SETTLED_NS = 100_000_000
"A folder that changed later than this may have changed again since, and its clock does not show it."

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Openings:
    """The openings of one journal, as they are now. One file of them is in memory."""

    def __init__(self, journal: Path) -> None:
        self._folder = journal / FOLDER
        self._seen: int | None = None
        self._firsts: list[int] = []
        self._held: tuple[int, int, int] | None = None
        "First index, time and size of the file in memory."
        self._rows: dict[int, Row] = {}

    @property
    def any(self) -> bool:
        """Whether this journal has, or had, something that can be dropped."""
        return self._folder.is_dir()

    def opened(self, index: int, data: bytes) -> bytes:
        """The record with what can be opened; the stored bytes where it holds no commitment, or is none."""
        try:
            return _encode(self._open(index, data).record) if MARK in data else data
        except (msgspec.MsgspecError, RecursionError):
            return data

    def told(self, index: int, data: bytes) -> dict[str, Any]:
        """The record decoded, for people: what was dropped says so."""
        return self._open(index, data).told() if MARK in data else _decode(data)

    def has(self, index: int) -> bool:
        """Whether there is an opening for that record."""
        return self._row(index) is not None

    def opening(self, index: int) -> bytes | None:
        """What opens that record."""
        row = self._row(index)
        return row.opening if row is not None else None

    def _open(self, index: int, data: bytes) -> Opened:
        return Opened(_decode(data), self.opening(index))

    def _row(self, index: int) -> Row | None:
        firsts = self._listed()
        at = bisect_right(firsts, index) - 1
        return self._file(firsts[at]).get(index) if at >= 0 else None

    def _listed(self) -> list[int]:
        try:
            seen = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if seen != self._seen:
            names = (each.stem for each in self._folder.glob(f"*{SUFFIX}"))
            self._firsts = sorted(int(each) for each in names if each.isascii() and each.isdigit())
            self._seen = seen if time.time_ns() - seen > SETTLED_NS else None
        return self._firsts

    def _file(self, first: int) -> dict[int, Row]:
        file = self._folder / f"{first:020d}{SUFFIX}"
        try:
            stat = file.stat()
            held = (first, stat.st_mtime_ns, stat.st_size)
            if held != self._held:
                self._rows = {row.index: row for row in rows(file.read_bytes()) if row.opening is not None}
                self._held = held
        except FileNotFoundError:  # dropped since
            return {}
        return self._rows
