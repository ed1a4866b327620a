"""Noticing that files have changed, without being told.

A stamp is what `stat` says of every file: cheap enough to take four times a second, so that a change counts
within 500 ms. Editors and atomic renames change inode, size or time; a half-written file is refused by
whoever reads it, and read again when it is whole.
"""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int], ...]

MOST_FILES = 5_000
"Files looked at below one path; a policy folder has tens."


def stamp(paths: Iterable[Path]) -> Stamp:
    """What the files at and below these paths look like now; a missing one simply is not in it."""
    seen: list[tuple[str, int, int, int]] = []
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files[:MOST_FILES]:
            try:
                info = file.stat()
            except OSError:
                continue
            seen.append((str(file), info.st_mtime_ns, info.st_size, info.st_ino))
    return tuple(seen)


class Watch:
    """Remembers the last stamp of some paths."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._last = stamp(paths)
        self._moving = False

    def settled(self) -> bool:
        """Whether something changed and was still since the last look.

        Somebody who copies ten files into a folder makes nine mixtures on the way; none of them may count.
        """
        now = stamp(self._paths)
        if now != self._last:
            self._last, self._moving = now, True
            return False
        moved, self._moving = self._moving, False
        return moved
