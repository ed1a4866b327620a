"""The reading room as the gateway sees it: a child process that finds one answer at a time, or is killed.

Searching takes the processor, and in this process it would take it from the plant: Python runs one thread at
a time. So it is done elsewhere, stepping back for everybody, and only MOST_WAITING may wait for it.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from msgspec import MsgspecError

from gateway.policy.elsewhere import environment
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
END_S = 1.0
"How long the child may take to end once its input has ended; then it is killed."

FAILURES = (OSError, EOFError, MsgspecError)
"What a child that ended, or speaks otherwise, leads to."

BUSY = Nothing(503, "busy", "others are asking, or the index is being made; try again")
LATE = Nothing(503, "timeout", "it took too long: ask for a shorter time, or for less")
ENDED = Nothing(503, "failed", "the search ended before it had an answer; the gateway's log says why")


class Desk:
    """Questions go in, answers come out. The child is started when it is needed, again when it died."""

    def __init__(self, journal: Path, index: Path) -> None:
        """`index` is the search index that follows from the journal."""
        self._words = [sys.executable, "-m", "gateway.review.room", str(journal), str(index)]
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return None if self._child is None else self._child.pid

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
        child, self._child = self._child, None
        if child is None or child.stdin is None:
            return
        child.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await child.wait()
        except TimeoutError:
            await _kill(child)

    async def _exchanged(self, job: bytes) -> Answer:
        child = self._child
        if child is None or child.returncode is not None:
            child = self._child = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
            )
        done = False
        try:
            answer = await _spoken(child, job)
            done = True
        finally:
            if not done:  # out of time, or cancelled: what it would still say belongs to nobody
                self._child = None
                await _kill(child)
        return answer


async def _spoken(child: asyncio.subprocess.Process, job: bytes) -> Answer:
    assert child.stdin is not None  # noqa: S101  asked for in _exchanged
    assert child.stdout is not None  # noqa: S101  asked for in _exchanged
    child.stdin.write(jobs.framed(job))
    await child.stdin.drain()
    size = int.from_bytes(await child.stdout.readexactly(jobs.LENGTH), "big")
    if size > jobs.MOST_ANSWER:
        raise EOFError("an answer that makes no sense")
    return jobs.answers.decode(await child.stdout.readexactly(size))


async def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()
