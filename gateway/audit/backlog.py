"""What waits for the disk, counted and bounded. Lives in the event loop; nothing here waits.

The committer's queue has no bound of its own, so this count is the bound of all that is between the loop and
the disk. Part of the room is kept for intents and outcomes: nobody can fill the journal against writes.
"""

import asyncio
from collections import deque

from gateway.audit.commitment import weight
from gateway.audit.committer import Batch
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.record import Durable, NotRecorded

MOST_QUEUED = 8192
"Records handed over and not yet durable."
MOST_QUEUED_BYTES = 32 << 20
"Their bytes, and those of what opens them."
KEPT_FOR_WRITES = 2048
"Of those records, so many only for intents and their outcomes (and a quarter of the bytes)."
INTENT_WAIT = 2 * SECOND
"How long a write waits for its record; then it is refused."
STALL = 10 * SECOND
"A disk that neither succeeds nor fails for this long has failed."


class Waiting:
    """An intent on its way to the disk."""

    __slots__ = ("caller", "future", "record", "since_ns")

    def __init__(
        self, record: str, caller: Caller, future: "asyncio.Future[Durable | NotRecorded]", now: Now
    ) -> None:
        self.record = record
        self.caller = caller
        self.future = future
        self.since_ns = now.mono_ns

    def answer(self, receipt: Durable | NotRecorded) -> bool:
        """Tell whoever waits; False where nobody does any more."""
        if self.future.done():
            return False
        self.future.set_result(receipt)
        return True


class Backlog:
    """Records that are in no hurry, intents that wait, and how much is on its way."""

    def __init__(self) -> None:
        self.unhurried: list[bytes] = []
        "Records that may wait for the tick or the next intent."
        self.queued = self.queued_bytes = 0
        "Handed over and not yet durable."
        self.under_way = 0
        "Batches of them."
        self._progress_ns = 0
        "Monotonic time at which the disk last answered, or was first asked."
        self._intents: deque[Waiting] = deque()

    def has_room(self, size: int, *, kept: bool = False) -> bool:
        """Whether a record of that size may be queued; only intents may use what is kept for them."""
        records = MOST_QUEUED if kept else MOST_QUEUED - KEPT_FOR_WRITES
        most_bytes = MOST_QUEUED_BYTES if kept else MOST_QUEUED_BYTES * 3 // 4
        waiting = self.queued + len(self.unhurried)
        return waiting < records and self.queued_bytes + size <= most_bytes

    def offer(self, data: bytes) -> bool:
        """Take a record that nobody waits for; False where there is no room, or no record."""
        if not data or not self.has_room(weight(data)):
            return False
        self.unhurried.append(data)
        return True

    def take(self) -> list[bytes]:
        """What was in no hurry, to hand it over."""
        records, self.unhurried = self.unhurried, []
        return records

    def wait(self, waiting: Waiting) -> None:
        """One more intent."""
        self._intents.append(waiting)

    def handed_over(self, batch: Batch, mono_ns: int) -> None:
        """A batch is on its way."""
        if self.under_way == 0:
            self._progress_ns = mono_ns
        self.under_way += 1
        self.queued += len(batch.records)
        self.queued_bytes += sum(map(weight, batch.records))

    def landed(self, batches: list[Batch], mono_ns: int) -> None:
        """The disk answered for these."""
        self._progress_ns = mono_ns
        self.under_way -= len(batches)
        for batch in batches:
            self.queued -= len(batch.records)
            self.queued_bytes -= sum(map(weight, batch.records))

    def stalled(self, mono_ns: int) -> bool:
        """The disk was asked, and has neither succeeded nor failed."""
        return self.under_way > 0 and mono_ns - self._progress_ns > STALL

    def give_up(self, mono_ns: int) -> int:
        """Refuse the intents that have waited too long; how many."""
        late = 0
        while self._intents and (
            self._intents[0].future.done() or mono_ns - self._intents[0].since_ns > INTENT_WAIT
        ):
            late += self._intents.popleft().answer(NotRecorded("journal_slow"))
        return late

    def fail(self) -> int:
        """Nothing becomes durable any more: refuse all intents; how many other records are lost."""
        lost = len(self.unhurried)
        self.unhurried.clear()
        for waiting in self._intents:
            waiting.answer(NotRecorded("journal_failed"))
        self._intents.clear()
        return lost
