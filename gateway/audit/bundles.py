"""A journal as a static tlog-tiles folder (C2SP), for tools of others: checkpoint, tiles and entry bundles.

The journal keeps its records in segments, which are made for one fdatasync a commit. Entry bundles say the
same in another form, so they are written on demand and not twice on every disk. A bundle holds 256 records,
each with its length before it (16 bits); the last one is partial. What retention took has no bundles: the
tiles are there, as tlog-tiles has it for logs that are pruned.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from gateway.audit.note import Checkpoint
from gateway.audit.proof import HEIGHT, Read
from gateway.audit.reader import records, segments
from gateway.audit.tiles import HASH, WIDTH, path
from gateway.model.errors import JournalError


def export(journal: Path, target: Path, checkpoint: Checkpoint, note: bytes, read: Read) -> int:
    """Write all that the checkpoint covers below a new folder; how many records. JournalError where not."""
    try:
        target.mkdir(parents=True)
    except FileExistsError as error:
        raise JournalError(f"{target} is there already") from error
    for name, data in _tiles(checkpoint.size, read):
        _write(target / name, data)
    count = _bundles(journal, target, checkpoint.size)
    _write(target / "checkpoint", note)
    if (journal / "log.vkey").exists():
        shutil.copy(journal / "log.vkey", target / "log.vkey")
    return count


def _tiles(size: int, read: Read) -> Iterator[tuple[str, bytes]]:
    """Every tile of a tree of that size, as wide as the tree makes it."""
    level, hashes = 0, size
    while hashes:
        for number in range(-(-hashes // WIDTH)):
            width = min(WIDTH, hashes - number * WIDTH)
            wide = (read(path(level, number, candidate)) for candidate in (WIDTH, *range(width, WIDTH)))
            data = next((d for d in wide if d is not None and len(d) >= width * HASH), None)
            if data is None:
                raise JournalError(f"{path(level, number, width)} is missing: a restart writes it anew")
            yield path(level, number, width), data[: width * HASH]
        level, hashes = level + 1, hashes >> HEIGHT


def _bundles(journal: Path, target: Path, size: int) -> int:
    """Bundles of what is still there; the first whole one after what retention took comes first."""
    known = segments(journal)
    first = -(-known[0].first // WIDTH) * WIDTH if known else 0
    bundle, expected = bytearray(), first
    for index, data in records(journal, first):
        if index >= size:
            break
        if index != expected:
            raise JournalError(f"record {expected} cannot be read: run audit verify")
        bundle += len(data).to_bytes(2, "big") + data
        expected += 1
        if expected % WIDTH == 0:
            _write(target / entries(index // WIDTH), bytes(bundle))
            bundle.clear()
    if first <= expected < size:
        raise JournalError(f"record {expected} cannot be read: run audit verify")
    if bundle:
        _write(target / entries(expected // WIDTH, expected % WIDTH), bytes(bundle))
    return expected - first


def entries(number: int, width: int = WIDTH) -> str:
    """File name of an entry bundle."""
    return path(0, number, width).replace("tile/0/", "tile/entries/", 1)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
