"""A journal that fails, and what it can still say of it.

Two things are told: that records had to be left out while the journal lived (a record of kind `gap`), and
that it failed for good. The latter cannot go into the log any more, so what is known is kept beside it, in a
file whose space was taken before it was needed; the next start makes a record of it.
"""

import threading
from collections import Counter
from typing import Any

import msgspec

from gateway.audit.storage import Storage
from gateway.model.moment import SECOND, Now
from gateway.model.record import Gap

GAP = "gap.json"
"Beside the log: what a failed journal could still say about its gap. Blank while there is none."
GAP_BYTES = 4096
"Its length, taken from the disk at every start: a disk that is full then still has room for why."


class Lapse:
    """What one run could not record, and since when it records nothing."""

    def __init__(self) -> None:
        self.missed: Counter[str] = Counter()
        "Kinds of records that were lost, and reads that were not counted."
        self.refused: Counter[str] = Counter()
        "Writes that were refused before there was anything to record, or whose record says so; by reason."
        self.why: str | None = None
        "Why the journal failed; None while it lives."
        self._at: Now | None = None
        self._reads: Gap | None = None
        self._told_ns = 0

    def begin(self, why: str, now: Now, reads_s: float) -> None:
        """From here on nothing is promised; reads may go on for so many seconds."""
        self.why, self._at = why, now
        self._reads = Gap(now.mono_ns + int(reads_s * SECOND))

    def reads(self, mono_ns: int) -> Gap | None:
        """The receipt of a read that goes on without a journal; None where none may."""
        return self._reads if self._reads is not None and mono_ns < self._reads.until_mono_ns else None

    def due(self, mono_ns: int) -> bool:
        """Whether it is time to tell again: at most once a second."""
        if mono_ns - self._told_ns < SECOND:
            return False
        self._told_ns = mono_ns
        return True

    def note(self, now: Now, under_way: int) -> bytes:
        """What the next start shall tell; of so many records the disk has not said whether it has them."""
        note: dict[str, Any] = {
            "from_ns": (self._at or now).wall_ns,
            "to_ns": now.wall_ns,
            "why": self.why,
            "missed": dict(self.missed + Counter(record=under_way)),
        }
        return msgspec.json.encode(note)


def keep(storage: Storage, note: bytes) -> None:
    """Put it beside the log, as well as the disk allows. Blocks: not for the event loop."""
    try:
        file = storage.open(GAP)
        try:
            file.pwrite(note[:GAP_BYTES].ljust(GAP_BYTES), 0)
            file.fdatasync()
        finally:
            file.close()
    except OSError:
        return  # The disk that failed the journal may fail this too; the next start still tells the end.


class Keeper:
    """Keeps notes on a thread of its own: a disk that never answers takes that one, whatever more there is to
    tell, and does not hold up the end of the process, as a thread of the loop's pool would.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether the last note is still on its way."""
        return self._thread is not None and self._thread.is_alive()

    def keep(self, note: bytes) -> None:
        """Begin to; not while it is busy."""
        self._thread = threading.Thread(target=keep, args=(self._storage, note), name="gap", daemon=True)
        self._thread.start()


def kept(storage: Storage) -> bytes | None:
    """What an earlier run could not tell any more.

    A file of zeros is what a power cut leaves of one that was never written through: it said nothing.
    """
    return (storage.read(GAP) or b"").strip(b"\0 \n") or None


def clear(storage: Storage) -> None:
    """Nothing to tell, and room for it when there is."""
    storage.replace(GAP, b" " * GAP_BYTES)
    file = storage.open(GAP)
    try:
        file.fdatasync()  # until then its room is a promise that a full disk breaks
    finally:
        file.close()
    storage.sync_folder("")
