"""The reading room as the gateway sees it: a child process that finds one answer at a time, or is killed.

Searching takes the processor, and in this process it would take it from the plant: Python runs one thread at
a time. So it is done elsewhere, stepping back for everybody, and only MOST_WAITING may wait for it.
"""

import asyncio
import contextlib
from pathlib import Path

from msgspec import MsgspecError

from gateway.policy import child
from gateway.review import jobs
from gateway.review.jobs import Answer, Job, Nothing

MOST_WAITING = 16
"Reviewers' questions under way, all reviewers together."
WITHIN_S = 10.0
"How long an answer may take, waiting for others included."
KEEP_EVERY_S = 10.0
"How often the index is brought up to date while nobody asks, so that who asks need not wait for it."
KEEP_WITHIN_S = 30.0
"How long that may take."
FIRST_WITHIN_S = 900.0
"How long it may take at first: ten million records take minutes. Who asks meanwhile hears that it is busy."

FAILURES = (OSError, EOFError, MsgspecError)
"What a child that ended, or speaks otherwise, leads to."

BUSY = Nothing(503, "busy", "others are asking, or the index is being made; try again")
LATE = Nothing(503, "timeout", "it took too long: ask for a shorter time, or for less")
ENDED = Nothing(503, "failed", "the search ended before it had an answer; the gateway's log says why")


class Desk:
    """Questions go in, answers come out. The child is started when it is needed, again when it died."""

    def __init__(self, journal: Path, index: Path) -> None:
        """`index` is the search index that follows from the journal."""
        self._words = child.command("gateway.review.room", str(journal), str(index))
        self._room: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return None if self._room is None else self._room.pid

    @property
    def waiting(self) -> int:
        """Questions under way."""
        return self._waiting

    async def ask(self, job: bytes) -> Answer:
        """The answer to an encoded Job. Never raises what the child did: that is an answer, too."""
        if self._waiting >= MOST_WAITING:
            return BUSY
        self._waiting += 1
        begun = False
        try:
            async with asyncio.timeout(WITHIN_S), self._turn:
                begun = True
                return await self._exchanged(job)
        except TimeoutError:
            return LATE if begun else BUSY
        except FAILURES:
            return ENDED
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Keep the index up to date, until cancelled."""
        within_s = FIRST_WITHIN_S
        while True:
            with contextlib.suppress(*FAILURES, TimeoutError):
                async with self._turn, asyncio.timeout(within_s):
                    await self._exchanged(jobs.encoded(Job(None, within_s)))
                within_s = KEEP_WITHIN_S
            await asyncio.sleep(KEEP_EVERY_S)

    async def close(self) -> None:
        """End it."""
        room, self._room = self._room, None
        if room is not None:
            await child.end(room)

    async def _exchanged(self, job: bytes) -> Answer:
        room = self._room
        if room is None or room.returncode is not None:
            room = self._room = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=child.environment(),
            )
        done = False
        try:
            answer = jobs.answers.decode(await child.exchanged(room, job, jobs.MOST_ANSWER))
            done = True
        finally:
            if not done:  # out of time, or cancelled: what it would still say belongs to nobody
                self._room = None
                await child.kill(room)
        return answer
