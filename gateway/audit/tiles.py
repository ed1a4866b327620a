"""The tree on disk as tiles: 256 consecutive hashes a file (C2SP tlog-tiles), `tile/<L>/<N>[.p/<W>]`.

Tiles are not what the log rests on: they follow from the records and are written without waiting for the
disk. They let a restart skip the old records, and anybody make proofs from static files.
"""

from gateway.audit.storage import Storage
from gateway.audit.tree import Frontier

WIDTH = 256
"Hashes in a full tile."
HASH = 32


def path(level: int, number: int, width: int = WIDTH) -> str:
    """File name of a tile, e.g. `tile/0/x001/x234/067.p/17`."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    text = "/".join([*("x" + group for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{text}" + ("" if width == WIDTH else f".p/{width}")


class Tiles:
    """The growing tree and the rightmost tile of each level."""

    def __init__(self, storage: Storage, rows: list[bytearray] | None = None) -> None:
        self.frontier = Frontier()
        self._storage = storage
        self._rows = rows if rows is not None else []
        self._written: dict[int, int] = {}
        "How many hashes each level had when its partial tile was last written."

    def push(self, leaf: bytes) -> None:
        """Add one leaf hash; full tiles are written at once."""
        completed = self.frontier.push(leaf)
        size = self.frontier.size
        for level, value in enumerate((leaf, *completed)):
            if level == len(self._rows):
                self._rows.append(bytearray())
            row = self._rows[level]
            row += value
            if len(row) == WIDTH * HASH:
                number = size // WIDTH ** (level + 1) - 1
                self._storage.replace(path(level, number), bytes(row))
                self._storage.remove_folder(path(level, number) + ".p")
                row.clear()

    def write_partial(self) -> None:
        """Write the unfinished tiles that a checkpoint of this size needs."""
        for level, row in enumerate(self._rows):
            width, reach = len(row) // HASH, self.frontier.size // WIDTH**level
            if width and self._written.get(level) != reach:
                self._storage.replace(path(level, reach // WIDTH, width), bytes(row))
                self._written[level] = reach


def load(storage: Storage, size: int) -> Tiles | None:
    """The tree of the first `size` records as the tiles have it; None where a tile is missing or damaged.

    Whether it is the right tree is for the caller to check against a signed root.
    """
    levels = 0
    while WIDTH**levels <= size:
        levels += 1
    rows = []
    for level in range(levels):
        number, width = size // WIDTH ** (level + 1), size // WIDTH**level % WIDTH
        row = _row(storage, level, number, width)
        if row is None:
            return None
        rows.append(row)
    tiles = Tiles(storage, rows)
    for level in reversed(range(levels)):
        row = rows[level]
        for at in range(0, len(row), HASH):
            tiles.frontier.push_subtree(bytes(row[at : at + HASH]), WIDTH**level)
    return tiles


def _row(storage: Storage, level: int, number: int, width: int) -> bytearray | None:
    """The first `width` hashes of a tile, from the full tile or any partial one that is wide enough."""
    if width == 0:
        return bytearray()
    full = storage.read(path(level, number))
    if full is not None and len(full) == WIDTH * HASH:
        return bytearray(full[: width * HASH])
    wide = [int(name) for name in storage.names(path(level, number) + ".p") if name.isdigit()]
    for candidate in sorted(w for w in wide if w >= width):
        data = storage.read(path(level, number, candidate))
        if data is not None and len(data) == candidate * HASH:
            return bytearray(data[: width * HASH])
    return None
