"""The two that keep the records: our log, and SQLite. Both stand behind `gateway.audit.committer`.

SQLite does what our log promises and no more: a record is on stable storage when `append` returns (WAL,
synchronous=FULL, one transaction a batch). It keeps no tree and signs nothing.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.log import Log
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.config.settings import AuditSection

ORIGIN = "bench.example/gw-1"
SEGMENT = AuditSection(origin=ORIGIN, key=Path()).segment_bytes
"As shipped."


def our_log(folder: Path) -> Log:
    """A log as the gateway opens it."""
    log, _ = recover(Disk(folder), Signer(Ed25519PrivateKey.generate(), ORIGIN), SEGMENT)
    return log


class Sqlite:
    """SQLite as a store of the committer."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._db = sqlite3.connect(folder / "log.db", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE record (number INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        self._size = 0

    def append(self, records: Sequence[bytes]) -> int:
        """One transaction."""
        first = self._size
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO record VALUES (?, ?)", [(first + n, data) for n, data in enumerate(records)]
        )
        self._db.execute("COMMIT")
        self._size += len(records)
        return first

    def prepare(self) -> None:
        """SQLite prepares nothing."""

    def checkpoint(self) -> None:
        """SQLite signs nothing."""

    def close(self) -> None:
        """Let go of it."""
        self._db.close()
