"""A disk that loses, tears and reorders whatever was not synced, at the moment the plug is pulled.

A sync that fails does as Linux does: what it should have written counts as clean from then on, so the next
sync succeeds without it, and the cache shows it until the power fails.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.audit.storage import File

SECTOR = 512


@dataclass
class Node:
    """A file: what is on the platter, and the writes that only the cache has."""

    stable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    "Offset and bytes of writes; (-size - 1, b'') for a truncation."
    dropped: list[tuple[int, bytes]] = field(default_factory=list)
    "What a failed sync did not write: no later one will. Some of it may be on the platter all the same."
    named: bool = False
    "Its name is durable."


class Crash(Exception):  # noqa: N818
    """The plug is pulled."""


def _never(operation: str, name: str) -> OSError | None:
    """No operation fails."""
    return None


class Memory:
    """Storage in memory. `choose(n)` decides, in 0…n-1, what survives a crash."""

    def __init__(self) -> None:
        self.files: dict[str, Node] = {}
        self.steps_left: int | None = None
        "Operations until the plug is pulled; None for never."
        self.fail: Callable[[str, str], OSError | None] = _never

    def step(self, operation: str, name: str) -> None:
        if self.steps_left is not None:
            if self.steps_left <= 0:
                raise Crash
            self.steps_left -= 1
        error = self.fail(operation, name)
        if error is not None:
            raise error

    def names(self, folder: str) -> list[str]:
        prefix = f"{folder}/" if folder else ""
        found = [n[len(prefix) :] for n in self.files if n.startswith(prefix)]
        return sorted(n for n in found if "/" not in n)

    def open(self, name: str) -> File:
        self.files.setdefault(name, Node())
        return Handle(self, name)

    def read(self, name: str) -> bytes | None:
        node = self.files.get(name)
        return bytes(node.cached) if node is not None else None

    def replace(self, name: str, data: bytes) -> None:
        self.step("replace", name)
        old = self.files.get(name)
        node = Node(cached=bytearray(data), pending=[(0, data)], named=old is not None and old.named)
        node.stable = old.stable if old is not None else bytearray()
        self.files[name] = node

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def remove_folder(self, folder: str) -> None:
        for name in [n for n in self.files if n.startswith(folder + "/")]:
            del self.files[name]

    def sync_folder(self, folder: str) -> None:
        self.step("sync_folder", folder)
        for name in self.names(folder):
            self.files[f"{folder}/{name}" if folder else name].named = True

    def free_bytes(self) -> int:
        return 1 << 40

    def total_bytes(self) -> int:
        return 1 << 41

    def after_crash(self, choose: Callable[[int], int]) -> "Memory":
        """The disk as the next start finds it."""
        found = Memory()
        for name, node in self.files.items():
            if not node.named and choose(2):
                continue
            left = bytearray(node.stable)
            whole_file = any(offset == 0 and data == bytes(node.cached) for offset, data in node.pending[:1])
            for offset, data in (*node.dropped, *node.pending):
                if offset < 0:
                    if choose(2):
                        _cut(left, -offset - 1)
                elif whole_file and not choose(3):
                    left = bytearray(data)
                else:
                    _tear(left, offset, data, choose)
            found.files[name] = Node(stable=left, cached=bytearray(left), named=True)
        return found


def _cut(data: bytearray, size: int) -> None:
    if size <= len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def _tear(left: bytearray, offset: int, data: bytes, choose: Callable[[int], int]) -> None:
    """Some sectors arrive, some do not, in no order."""
    at = 0
    fate = choose(3)
    while at < len(data):
        end = min(len(data), at + SECTOR - (offset + at) % SECTOR)
        if fate == 0 or (fate == 2 and choose(2)):
            _put(left, offset + at, data[at:end])
        at = end


def _put(left: bytearray, offset: int, data: bytes) -> None:
    if len(left) < offset:
        left.extend(bytes(offset - len(left)))
    left[offset : offset + len(data)] = data


class Handle:
    """An open file."""

    def __init__(self, disk: Memory, name: str) -> None:
        self._disk, self._name = disk, name
        self._node = disk.files[name]

    def size(self) -> int:
        return len(self._node.cached)

    def pread(self, count: int, offset: int) -> bytes:
        return bytes(self._node.cached[offset : offset + count])

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        self._disk.step("pwrite", self._name)
        taken = bytes(data)
        _put(self._node.cached, offset, taken)
        self._node.pending.append((offset, taken))
        return len(taken)

    def truncate(self, size: int) -> None:
        self._disk.step("truncate", self._name)
        _cut(self._node.cached, size)
        self._node.pending.append((-size - 1, b""))

    def fdatasync(self) -> None:
        node = self._node
        try:
            self._disk.step("fdatasync", self._name)
        except OSError:
            node.dropped += node.pending
            node.pending.clear()
            raise
        for offset, data in node.pending:
            if offset < 0:
                _cut(node.stable, -offset - 1)
            else:
                _put(node.stable, offset, data)
        node.pending.clear()

    def close(self) -> None:
        """Nothing to let go of."""
