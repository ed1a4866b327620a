"""What people agreed to and set, on disk: one SQLite file, each change durable before it counts.

Entries are JSON under a kind and an id. What they say is *not* believed because it stands here: an approval
counts only with a signature (`approvals`), and everything else only makes the gateway ask people again.

A file that is damaged, or newer than this program, is not replaced: it stays, the gateway runs on with what
allows least (see `damaged`), and says so until somebody has looked at it and moved it away.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.model.errors import GatewayError

FORMAT = 1
"Grows when an older program could not read what a newer one wrote."
MOST_ENTRIES = 10_000
"Entries of one kind that are read; what keeps them stays far below."

Change = tuple[str, str, msgspec.Struct | None]
"Kind, id, and what it becomes; null removes it."
T = TypeVar("T", bound=msgspec.Struct)


class StoreError(GatewayError):
    """The store cannot promise what was asked; nothing has changed."""


class Store:
    """The file, while the gateway runs. The data folder's lock says that nobody else writes it."""

    def __init__(self, path: Path) -> None:
        """Never raises: a file that cannot be used is `damaged`."""
        self.damaged: str | None = None
        "Why nothing in the file is believed; null where all is well."
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = _open(path)
        except (sqlite3.Error, OSError, StoreError) as error:
            self.damaged = f"{path}: {error}"

    def read(self, kind: str, form: type[T]) -> dict[str, T]:
        """Every entry of a kind, by id; none, and `damaged`, where one of them cannot be read."""
        if self._connection is None or self.damaged is not None:
            return {}
        try:
            rows = self._connection.execute(
                "SELECT id, body FROM entries WHERE kind = ? ORDER BY id LIMIT ?", (kind, MOST_ENTRIES)
            ).fetchall()
            return {str(name): msgspec.json.decode(body, type=form) for name, body in rows}
        except (sqlite3.Error, msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
            self.damaged = f"{kind}: {error}"
            return {}

    def write(self, changes: Iterable[Change]) -> None:
        """All of it, on stable storage, or StoreError and none of it."""
        if self._connection is None or self.damaged is not None:
            raise StoreError(f"what people agreed to cannot be kept: {self.damaged}")
        try:
            with self._connection as transaction:
                for kind, name, entry in changes:
                    if entry is None:
                        transaction.execute("DELETE FROM entries WHERE kind = ? AND id = ?", (kind, name))
                    else:
                        transaction.execute(
                            "INSERT OR REPLACE INTO entries (kind, id, body) VALUES (?, ?, ?)",
                            (kind, name, msgspec.json.encode(entry)),
                        )
        except sqlite3.Error as error:
            raise StoreError(f"what people agreed to cannot be kept: {error}") from None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
            self.damaged = self.damaged or "closed"


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: each commit is synced before it returns
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"the file is damaged: {found}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        raise StoreError(f"it has format {version}, this program knows {FORMAT}")
    with connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS entries (kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,"
            " PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    return connection
