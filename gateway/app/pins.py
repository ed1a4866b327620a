"""What people have put in the place of the configured bundle, and what was active when: one file, synced.

    state/activated.json        what stands in the source's place, what waits for confirmation, the history
    state/activated/REV.tar.gz  the archive that stands there, as it came: its signature is checked at a start

A file that cannot be read stands for nothing: the configured bundle counts, and that is told. Whoever can
write the data folder can undo all of this, but not sign a bundle.
"""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.identity import keyfile

MOST_HISTORY = 200
"Activations remembered, and copies of bundles kept; the journal remembers them all."
MOST_STATE = 1024 * 1024
"Bytes of the state file: 200 activations take 100 kB."


class Pin(Struct, frozen=True, kw_only=True):
    """A bundle in the place of the source's."""

    revision: str
    over: str
    "Revision of the source's bundle at that time: what the source has beyond it wins. Empty: it had none."
    by: str
    at_ns: int


class Past(Struct, frozen=True, kw_only=True):
    """That a bundle was made active."""

    revision: str
    serial: int | None
    at_ns: int
    by: str
    "A person's subject; empty where it came from the configured source."
    held: bool
    "False for one that was never confirmed."


class State(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    pinned: Pin | None = None
    waiting: Pin | None = None
    "On trial. Found at a start it is over, and what was before it counts."
    history: tuple[Past, ...] = ()
    "Oldest first; each revision once, at its last place."


class Pins:
    """The state, and the archives that it names."""

    def __init__(self, folder: Path) -> None:
        """`folder` is `state/`."""
        self._file = folder / "activated.json"
        self._archives = folder / "activated"
        self.state = State()

    def read(self) -> str:
        """Read the file; what is wrong with it, or nothing. What is wrong counts as an empty one."""
        try:
            with self._file.open("rb") as file:
                self.state = msgspec.json.decode(file.read(MOST_STATE), type=State)
        except FileNotFoundError:
            return ""
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            return f"{self._file.name} cannot be read: {error}"
        return ""

    @property
    def over(self) -> str | None:
        """Revision of the source's bundle that does not count now; None where the source's does."""
        pin = self.state.waiting or self.state.pinned
        return None if pin is None else pin.over

    def put(self, **changes: Any) -> None:
        """Change the state, on the disk first. OSError or IdentityError: then nothing has changed."""
        state = replace(self.state, **changes)
        keyfile.replace(self._file, msgspec.json.encode(state), 0o600)
        self.state = state

    def after(self, past: Past) -> tuple[Past, ...]:
        """The history with one more, those that are too old forgotten."""
        others = [each for each in self.state.history if each.revision != past.revision]
        return (*others, past)[-MOST_HISTORY:]

    def archive(self, revision: str) -> Path:
        """Where the archive of that bundle is."""
        return self._archives / f"{revision}.tar.gz"

    def keep(self, revision: str, archive: bytes) -> None:
        """Keep an archive for the next start. Waits for the disk; OSError or IdentityError."""
        self._archives.mkdir(mode=0o700, exist_ok=True)
        keyfile.replace(self.archive(revision), archive, 0o600)

    def tidy(self) -> None:
        """Remove archives that stand nowhere any more."""
        wanted = None if self.state.pinned is None else self.archive(self.state.pinned.revision)
        for file in self._archives.glob("*"):
            if file != wanted:
                with contextlib.suppress(OSError):
                    file.unlink()
