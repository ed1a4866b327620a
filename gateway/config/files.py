"""The files that a configuration names: they are there, they can be read, and keys are nobody else's.

Looks at any field of type Path in any section, so that a section added later is checked too; SORTS names the
fields that are not plain files.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.config.document import Trail
from gateway.config.draft import Draft

Complaint = tuple[str, str]
"What is wrong, mend."


def plain(path: Path) -> Iterator[Complaint]:
    """A file we can read."""
    if not path.exists():
        yield f"{path} does not exist", "correct the path, or create it: `dmz-gateway pki` makes these files"
    elif not path.is_file():
        yield f"{path} is not a file", "name the file itself"
    elif not os.access(path, os.R_OK):
        yield f"{path} cannot be read by this user", "give the gateway's user leave to read it"


def private(path: Path) -> Iterator[Complaint]:
    """A key or a password. On a machine with other users, one they can read is one they have."""
    yield from plain(path)
    if path.is_file():
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield f"others can use the key {path} (mode {mode:04o})", f"chmod 600 {path}"


def folder_or_archive(path: Path) -> Iterator[Complaint]:
    """A bundle: a folder, or the archive made of one."""
    if not path.is_dir() and not (path.is_file() and path.name.endswith(".tar.gz")):
        yield f"{path} is neither a folder nor a .tar.gz", "correct the path, or create it"


def socket(path: Path) -> Iterator[Complaint]:
    """A Unix socket that somebody else makes, perhaps later."""
    if path.exists() and not path.is_socket():
        yield f"{path} is not a socket", "name the socket that OPA listens on (`--addr unix://…`)"


def elsewhere(path: Path) -> Iterator[Complaint]:
    """A file of another host, which may be away: a mount that failed must not keep the plant unread."""
    if path.exists() and not path.is_file():
        yield f"{path} is not a file", "name the file itself"


def own_folder(path: Path) -> Iterator[Complaint]:
    """A folder that the gateway makes for itself."""
    if path.exists() and not path.is_dir():
        yield f"{path} is not a folder", "name a folder; the gateway creates it"


SORTS: dict[str, Callable[[Path], Iterator[Complaint]]] = {
    "key": private,
    "password": private,
    "passwords": private,
    "bundle": folder_or_archive,
    "socket": socket,
    "file": elsewhere,
    "data": own_folder,
}
"By name of the field; the others are plain files."


def files(draft: Draft) -> None:
    """Every path of every part."""
    for trail, part in list(draft.parts.items()):
        for where, name, path in _paths(trail, part):
            for what, mend in SORTS.get(name, plain)(path):
                draft.fault(where, what, mend)


def _paths(trail: Trail, part: Struct) -> Iterator[tuple[Trail, str, Path]]:
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Path):
            yield (*trail, field.name), field.name, value
        elif isinstance(value, tuple):
            for number, each in enumerate(value):
                if isinstance(each, Path):
                    yield (*trail, field.name, number), field.name, each
