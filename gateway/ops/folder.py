"""The data folder of a running gateway: whose it is, which format, and that only one process uses it.

data/  format  lock  control.sock  keys/ trust/ journal/ bundles/<digest>/ state/
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.audit.storage import made
from gateway.model.errors import DataFolderError

FORMAT = 1
"Grows when an older program could not read what a newer one wrote."


class DataFolder:
    """Holds the lock of a data folder while open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __enter__(self) -> Self:
        made(self.path)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise DataFolderError(f"{self.path} is in use by another gateway") from error
        self._lock = lock
        self._check_format()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_format(self) -> None:
        file = self.path / "format"
        if not file.exists():
            _write_durably(file, f"{FORMAT}\n")
            return
        text = file.read_text().strip()
        if not text.isdigit():
            raise DataFolderError(f"{file} does not say which format this folder has")
        if int(text) > FORMAT:
            raise DataFolderError(
                f"{self.path} has format {text}, this program knows {FORMAT}: run the newer program"
            )

    def sub(self, name: str) -> Path:
        """A folder inside, made if it is not there."""
        return made(self.path / name)

    @property
    def control(self) -> Path:
        """Where the control socket is."""
        return self.path / "control.sock"


def _write_durably(file: Path, text: str) -> None:
    """Whole or not at all, even if power fails now: a folder whose format is empty starts no more."""
    fresh = file.with_name(file.name + ".new")
    with fresh.open("w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
