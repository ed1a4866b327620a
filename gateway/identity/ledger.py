"""What an authority has issued: `index.json` beside its key. The CRL is made from it, never the other way.

Written in one step before the certificate itself, so that no serial number is ever in the world and not here.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.identity import keyfile
from gateway.model.errors import IdentityError

LOCK_WAIT_S = 10.0
"How long a command waits for another that is at work in the same folder."
LOCK_POLL_S = 0.02
MOST_ENTRIES = 100_000
"Certificates in one index. It is read and written whole; a plant that needs more needs another authority."

State = Literal["valid", "superseded", "expired", "revoked"]


class Entry(Struct, frozen=True, kw_only=True):
    """One certificate."""

    serial: str
    "Lower-case hex."
    name: str
    profile: str
    uri: str
    role: str | None
    dns: tuple[str, ...]
    ips: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    certificate: str
    "Path without suffix (.pem and .key): within the PKI folder, or absolute where --out said so."
    revoked_at: datetime | None = None
    superseded: bool = False
    "A renewed certificate has taken its place. It still counts until it expires or is revoked."

    def state(self, now: datetime) -> State:
        """What it is worth at that moment."""
        if self.revoked_at is not None:
            return "revoked"
        if now > self.not_after:
            return "expired"
        return "superseded" if self.superseded else "valid"


class Index(Struct, frozen=True, kw_only=True):
    """The file."""

    format: Literal[1] = 1
    crl_number: int = 0
    entries: tuple[Entry, ...] = ()


def read(folder: Path) -> Index:
    """The index of one authority (IdentityError where it is missing or damaged)."""
    path = folder / "index.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise IdentityError(f"{path}: {error}") from None


def write(folder: Path, index: Index) -> None:
    """Replace the index in one step."""
    if len(index.entries) > MOST_ENTRIES:
        raise IdentityError(f"{folder}: more than {MOST_ENTRIES} certificates in one index")
    text = msgspec.json.format(msgspec.json.encode(index), indent=1)
    keyfile.replace(folder / "index.json", text + b"\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands out of an authority's folder meanwhile."""
    deadline = time.monotonic() + LOCK_WAIT_S
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IdentityError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise IdentityError(f"{folder}: another pki command is at work here") from None
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(handle)
