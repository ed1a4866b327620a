"""The one thread that writes: it takes whatever has queued up, makes it durable with one fdatasync, and
tells the event loop once.

The event loop hands over `Batch`es through an unbounded C queue; what bounds it is the journal's own count
of what is under way (`journal.MOST_QUEUED`). An OSError ends this thread's belief in the disk for good: it
answers every batch with a failure from then on, since an fdatasync that failed once and succeeds later has
proved to lose data on Linux. So does an error that nobody thought of: how far it got is not known, either.
"""

import logging
import queue
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.audit.carry import Carrier
from gateway.model.errors import JournalError

log = logging.getLogger(__name__)

MOST_AT_ONCE = 4096
"Hand-overs joined into one commit: bounds how long the first of them waits for the last."


class Batch:
    """One hand-over: records in order, rows for the side file, and whether to sign."""

    __slots__ = ("first", "records", "rows", "sign", "token")

    def __init__(
        self, records: list[bytes], token: object = None, rows: bytes = b"", *, sign: bool = False
    ) -> None:
        self.records = records
        self.token = token
        "Whatever the journal needs to know whose records these are."
        self.rows = rows
        self.sign = sign
        self.first = 0
        "Index of the first record, once durable."


class Store(Protocol):
    """What it writes to: `log.Log`, and what that is measured beside. Any OSError is for good."""

    def append(self, records: Sequence[bytes]) -> int:
        """Index of the first; on return they are on stable storage."""

    def prepare(self) -> None:
        """Make ready for the next append, now that nobody waits."""

    def checkpoint(self) -> None:
        """Sign what there is."""


class Committer:
    """Owns the log and the side file while it runs."""

    def __init__(
        self,
        log: Store,
        carrier: Carrier,
        loop: AbstractEventLoop,
        landed: Callable[[list[Batch], str | None], None],
    ) -> None:
        self._log = log
        self._carrier = carrier
        self._loop = loop
        self._landed = landed
        "Called in the loop, once a commit: the batches, and why they failed (None if durable)."
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._failed: str | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def hand_over(self, batch: Batch) -> None:
        """Queue it. Never blocks."""
        self._queue.put(batch)

    def finish(self) -> None:
        """Write what is queued, then end; `ended` tells when. Never blocks."""
        self._queue.put(None)

    @property
    def ended(self) -> bool:
        """Whether the thread is no more: nothing that is handed over becomes durable."""
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """Nobody waits any longer: should the disk answer after all, nothing more is written."""
        self._failed = self._failed or "given up"

    def _run(self) -> None:
        last = False
        while not last:
            batches: list[Batch] = []
            item = self._queue.get()
            while item is not None:
                batches.append(item)
                if len(batches) >= MOST_AT_ONCE or self._queue.empty():
                    break
                item = self._queue.get()
            last = item is None
            if batches:
                self._commit(batches)

    def _commit(self, batches: list[Batch]) -> None:
        self._attempt(lambda: self._write(batches))
        self._tell(batches)
        if self._failed is None:
            self._attempt(self._log.prepare)
            if self._failed is not None:
                self._tell([])  # whoever comes next must not be the first to learn it

    def _attempt(self, step: Callable[[], None]) -> None:
        """The next step, as long as none has failed."""
        if self._failed is not None:
            return
        try:
            step()
        except OSError as error:
            self._failed = f"{error.strerror or error}"
        except JournalError as error:
            self._failed = str(error)
        except Exception as error:  # without this the thread would end, and nobody would know
            log.exception("the journal's thread")
            self._failed = f"an error that nobody thought of: {error!r}"

    def _write(self, batches: list[Batch]) -> None:
        records = [record for batch in batches for record in batch.records]
        if records:
            index = self._log.append(records)
            for batch in batches:
                batch.first = index
                index += len(batch.records)
        rows = [batch.rows for batch in batches if batch.rows]
        if rows:
            self._carrier.write(rows)
        if any(batch.sign for batch in batches):
            self._log.checkpoint()

    def _tell(self, batches: list[Batch]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._landed, batches, self._failed)
        except RuntimeError:
            # The loop is closed: whoever waited is gone, and recovery will find what is durable.
            return
