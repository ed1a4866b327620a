"""Files that hold keys and trust: private ones are 0600 from their first byte, all are replaced in one step.

A key that others can read is refused rather than used: the identity it proves is no longer one peer's.
"""

import os
import stat
from pathlib import Path

from gateway.model.errors import IdentityError

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"Permission bits that a private key must not have."
MOST_BYTES = 32 * 1024 * 1024
"The longest certificate or CRL file that is read: a CRL of 20,000 entries takes 0.8 MB."


def require_private(key: Path) -> None:
    """Refuse a key file that is not there, or that group or world may touch (IdentityError)."""
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise IdentityError(f"the key {key} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise IdentityError(f"the key {key} is not a file")
    if mode & OTHERS:
        raise IdentityError(f"the key {key} is open to others (mode {mode & 0o777:04o}): chmod 600 {key}")


def read_public(path: Path) -> bytes:
    """A certificate or CRL file, of bounded size (IdentityError where it cannot be read)."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise IdentityError(f"{path} is longer than {MOST_BYTES} bytes")
    return data


def create(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file; IdentityError where one is there already. The mode holds from the first byte."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise IdentityError(f"{path} is there already, and nothing is overwritten") from None
    except OSError as error:
        raise IdentityError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that readers see the old contents or the new, never a part, even after a power cut."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    create(fresh, data, mode)
    try:
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise IdentityError(f"{path} cannot be written: {error.strerror}") from None
    settle(path.parent)


def settle(folder: Path) -> None:
    """Make what was renamed in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """By which a file that was changed or exchanged is known; null where it is not there. One `stat` call."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
