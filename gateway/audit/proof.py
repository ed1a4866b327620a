"""Proofs from the tiles: that a record is in the log, and that the log only grew.

A proof reads a handful of tiles, however long the log is, and works for records that retention has taken
too. Every proof is checked before it is given away: tiles follow from the records and are not synced, so
they may be damaged where the log is not.

Two files come of it, both of C2SP: `.tlog-proof` (tlog-proof: index, path, checkpoint; the record itself is
its `extra` line), and the body of tlog-witness `add-checkpoint` (old size, path, new checkpoint).
"""

import base64
from collections.abc import Callable
from pathlib import Path

from gateway.audit.note import Checkpoint
from gateway.audit.tiles import HASH, WIDTH, path
from gateway.audit.tree import consistent, included, leaf, node
from gateway.model.errors import JournalError

PROOF = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
HEIGHT = 8
"Levels of the tree in one tile."
MOST_TILES = 128
"Tiles kept while proofs are made; the rightmost and the tallest serve all of them."

Read = Callable[[str], bytes | None]
"A file below the journal, by its name; null where it is not there."


class Hashes:
    """The tree of the first `size` records, as the tiles have it."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def root(self) -> bytes:
        """Of all of them. Raises JournalError where a tile is missing, as everything here does."""
        return self.subtree(0, self._size)

    def subtree(self, start: int, end: int) -> bytes:
        """Merkle tree hash of the records from `start` to before `end` (RFC 6962 §2.1)."""
        count = end - start
        if count & (count - 1) == 0:
            return self._complete(start, count)
        middle = start + (1 << (count - 1).bit_length() - 1)
        return node(self.subtree(start, middle), self.subtree(middle, end))

    def inclusion(self, index: int) -> list[bytes]:
        """The audit path of one record, lowest first (RFC 6962 §2.1.1)."""
        if not 0 <= index < self._size:
            raise JournalError(f"record {index} is not among the {self._size} that are signed")
        start, end = 0, self._size
        found: list[bytes] = []
        while end - start > 1:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            if index < middle:
                found.append(self.subtree(middle, end))
                end = middle
            else:
                found.append(self.subtree(start, middle))
                start = middle
        return found[::-1]

    def consistency(self, old: int) -> list[bytes]:
        """Proof that the first `old` records are how this tree begins (RFC 6962 §2.1.2)."""
        if not 0 <= old <= self._size:
            raise JournalError(f"no log of {self._size} records grew from one of {old}")
        if old in (0, self._size):
            return []
        start, end, whole = 0, self._size, True
        found: list[bytes] = []
        while end != old:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            if old <= middle:
                found.append(self.subtree(middle, end))
                end = middle
            else:
                found.append(self.subtree(start, middle))
                start, whole = middle, False
        return found[::-1] if whole else [self.subtree(start, end), *found[::-1]]

    def _complete(self, start: int, count: int) -> bytes:
        """Root of a complete subtree: from the tile that holds it, or the hashes it is made of."""
        height = count.bit_length() - 1
        level, inner = divmod(height, HEIGHT)
        at = start >> level * HEIGHT
        row = self._tile(level, at // WIDTH)
        first, width = at % WIDTH, 1 << inner
        hashes = [row[i * HASH : (i + 1) * HASH] for i in range(first, first + width)]
        while len(hashes) > 1:
            hashes = [node(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, level: int, number: int) -> bytes:
        """As many hashes of a tile as a tree of this size has."""
        known = self._tiles.get((level, number))
        if known is not None:
            return known
        width = min(WIDTH, (self._size >> level * HEIGHT) - number * WIDTH)
        for candidate in (WIDTH, *range(width, WIDTH)):
            data = self._read(path(level, number, candidate))
            if data is not None and len(data) == candidate * HASH:
                if len(self._tiles) >= MOST_TILES:
                    self._tiles.clear()
                self._tiles[level, number] = data
                return data
        raise JournalError(
            f"{path(level, number)} is missing or damaged: a restart writes it anew from the records"
        )


def reading(folder: Path) -> Read:
    """A way to read files below that folder."""

    def read(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None

    return read


def record_proof(index: int, data: bytes, checkpoint: Checkpoint, note: bytes, read: Read) -> bytes:
    """A `.tlog-proof` file: that these bytes are record `index` of the log that the note signs."""
    found = Hashes(read, checkpoint.size).inclusion(index)
    if not included(leaf(data), index, checkpoint.size, found, checkpoint.root):
        raise JournalError(f"the tiles do not prove record {index}: run audit verify")
    lines = [PROOF, f"extra {base64.b64encode(data).decode()}", f"index {index}", *_lines(found)]
    return _file(lines, note)


def growth_proof(old: Checkpoint, new: Checkpoint, note: bytes, read: Read) -> bytes:
    """The body of `add-checkpoint`: that the log of the note begins with the one of the old checkpoint."""
    found = Hashes(read, new.size).consistency(old.size)
    if old.size and not consistent(old.size, new.size, old.root, new.root, found):
        raise JournalError(
            f"the log of {new.size} records does not begin with the {old.size} of that checkpoint"
        )
    return _file([f"old {old.size}", *_lines(found)], note)


def _lines(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(value).decode() for value in hashes]


def _file(lines: list[str], note: bytes) -> bytes:
    return "\n".join([*lines, "", ""]).encode() + note
