"""The few things the journal asks of a disk, as a port, and the disk itself.

What `fdatasync` (a file) or `sync_folder` (a new or renamed name) has not confirmed may be lost, torn or
reordered when power fails; tests put a storage here that does all of that.
"""

import os
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """One open file."""

    def size(self) -> int:
        """Its length."""

    def pread(self, count: int, offset: int) -> bytes:
        """At most so many bytes; fewer only at the end."""

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """How many bytes were taken; perhaps fewer than given."""

    def truncate(self, size: int) -> None:
        """Cut."""

    def fdatasync(self) -> None:
        """Returns when everything written is on stable storage. An error means it may never be."""

    def close(self) -> None:
        """Let go of it."""


class Storage(Protocol):
    """A folder. Names are relative, with `/`."""

    def names(self, folder: str) -> list[str]:
        """Sorted names of the files in a folder; none if it is not there."""

    def open(self, name: str) -> File:
        """For reading and writing, made if it is not there, with its folders."""

    def read(self, name: str) -> bytes | None:
        """A whole small file; None if it is not there."""

    def replace(self, name: str, data: bytes) -> None:
        """Put a whole file in place at once: readers see the old or the new one. Not durable by itself."""

    def remove(self, name: str) -> None:
        """Take away a file, if it is there."""

    def remove_folder(self, folder: str) -> None:
        """Take away a folder of files, if it is there."""

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""

    def free_bytes(self) -> int:
        """Room left."""

    def total_bytes(self) -> int:
        """Room that there is in all."""


class DiskFile:
    """A file on disk."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def size(self) -> int:
        """Its length."""
        return os.fstat(self._fd).st_size

    def pread(self, count: int, offset: int) -> bytes:
        """At most so many bytes; fewer only at the end."""
        parts = []
        while count > 0 and (part := os.pread(self._fd, count, offset)):
            parts.append(part)
            count -= len(part)
            offset += len(part)
        return b"".join(parts)

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """How many bytes were taken."""
        return os.pwrite(self._fd, data, offset)

    def truncate(self, size: int) -> None:
        """Cut."""
        os.ftruncate(self._fd, size)

    def fdatasync(self) -> None:
        """Wait for stable storage; gives up the interpreter lock meanwhile."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class Disk:
    """A folder on disk. Files are 0600, folders 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made(folder)

    def names(self, folder: str) -> list[str]:
        """Sorted names of the files in a folder."""
        path = self.folder / folder
        return sorted(entry.name for entry in os.scandir(path) if entry.is_file()) if path.is_dir() else []

    def open(self, name: str) -> DiskFile:
        """For reading and writing."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DiskFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def read(self, name: str) -> bytes | None:
        """A whole small file."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes) -> None:
        """Write beside, then rename."""
        path = self.folder / name
        beside = path.with_name(path.name + ".new")
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(DiskFile(fd), data, 0)
        finally:
            os.close(fd)
        beside.replace(path)

    def remove(self, name: str) -> None:
        """Take away a file."""
        (self.folder / name).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        """Take away a folder of files."""
        path = self.folder / folder
        if path.is_dir():
            for name in self.names(folder):
                (path / name).unlink()
            path.rmdir()

    def sync_folder(self, folder: str) -> None:
        """Write the directory itself to stable storage."""
        fd = os.open(self.folder / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self) -> int:
        """Room for unprivileged writers."""
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize

    def total_bytes(self) -> int:
        """Room for them when nothing is stored: what only root may use does not count."""
        stat = os.statvfs(self.folder)
        return (stat.f_blocks - stat.f_bfree + stat.f_bavail) * stat.f_frsize


def made(folder: Path) -> Path:
    """That folder, with those above it, durably: what is synced in a folder without a name is lost with it.

    One that is there already may have been made by somebody who did not sync that.
    """
    fresh = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in reversed(fresh or [folder]):
        try:
            fd = os.open(each.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            if fresh:
                raise
            return folder  # whoever gave us a folder in one that we may not open has seen to it
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return folder


def write_all(file: File, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write everything, however often the disk takes only a part (it does before ENOSPC)."""
    view = memoryview(data)
    while len(view):
        taken = file.pwrite(view, offset)
        if taken <= 0:
            raise OSError(5, "the disk took nothing")
        view = view[taken:]
        offset += taken
