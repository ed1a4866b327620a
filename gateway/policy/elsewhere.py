"""The workshop as the gateway sees it: a child process that does one job at a time, or is killed.

What it cannot do in time, or dies of, is refused with a PolicyError. Nothing that it says is believed unless
it is of the revision that was asked about.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from msgspec import MsgspecError

from gateway.model.decision import Decision
from gateway.model.errors import Fault, PolicyError
from gateway.policy import jobs
from gateway.policy.bundle import Bundle
from gateway.policy.jobs import Answers, Ask, Job, Prepare, Ready, Refused, Result
from gateway.policy.loader import Policy

END_S = 1.0
"How long the workshop may take to end once its input has ended; then it is killed."
HOME = str(Path(__file__).resolve().parent.parent.parent)
"Where the child finds this very program."


class Workshop:
    """The other process: started when it is first needed, started again when it died, one job at a time."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._busy = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Its process id, while there is one."""
        return None if self._child is None else self._child.pid

    async def prepare(self, bundle: Bundle, within_s: float) -> Policy:
        """Check a bundle and run its tests. Raises PolicyError: also if that takes too long, or ends it."""
        found = await self._do(Prepare(bundle, within_s), within_s)
        if isinstance(found, Refused):
            raise PolicyError(list(found.faults))
        if not isinstance(found, Ready) or found.revision != bundle.revision:
            raise PolicyError([Fault("bundle", "the workshop answered something else", "try again")])
        return Policy(
            bundle=bundle,
            modules=found.modules,
            tests=found.tests,
            paths=tuple(path for path, _ in found.readers),
            readers=dict(found.readers),
            warnings=found.warnings,
        )

    async def ask(self, job: Ask) -> list[Decision]:
        """Decide questions under the bundle that was prepared last. Raises PolicyError."""
        found = await self._do(job, job.within_s)
        if isinstance(found, Refused):
            raise PolicyError(list(found.faults))
        fits = isinstance(found, Answers) and found.revision == job.revision
        if not isinstance(found, Answers) or not fits or len(found.answers) != len(job.questions):
            raise PolicyError([Fault("bundle", "the workshop answered something else", "try again")])
        pairs = zip(found.answers, job.questions, strict=True)
        return [jobs.decision(answer, found.revision, live.evaluation) for answer, live in pairs]

    async def close(self) -> None:
        """End it."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None  # noqa: S101  asked for in _start
        child.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await child.wait()
        except TimeoutError:
            await _kill(child)

    async def _do(self, job: Job, within_s: float) -> Result:
        async with self._busy:
            child = self._child
            if child is None or child.returncode is not None:
                child = self._child = await _start()
            done = False
            try:
                async with asyncio.timeout(within_s):
                    result = await _exchange(child, job)
                done = True
            except TimeoutError:
                what = f"checking or testing it takes longer than {within_s:g} s"
                raise PolicyError([Fault("bundle", what, "look for a rule that never ends")]) from None
            except (OSError, EOFError, MsgspecError) as error:
                what = f"checking or testing it ended the process: {await _ended(child) or error}"
                raise PolicyError([Fault("bundle", what, "run dmz-gateway policy test")]) from None
            finally:
                if not done:  # cancelled as well: what it would still answer belongs to nobody
                    self._child = None
                    await _kill(child)
            return result


def command(parent: int) -> list[str]:
    """The words that start the workshop for that process."""
    return [sys.executable, "-m", "gateway.policy.workshop", str(parent)]


def environment() -> dict[str, str]:
    """The child finds this very program, wherever it is started."""
    path = os.pathsep.join(filter(None, [HOME, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


async def _start() -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(),
        )
    except OSError as error:
        what = f"the workshop cannot be started: {error.strerror}"
        raise PolicyError([Fault("bundle", what, "see how many processes there may be")]) from None


async def _exchange(child: asyncio.subprocess.Process, job: Job) -> Result:
    assert child.stdin is not None  # noqa: S101  asked for in _start
    assert child.stdout is not None  # noqa: S101  asked for in _start
    child.stdin.write(jobs.framed(job))
    await child.stdin.drain()
    size = int.from_bytes(await child.stdout.readexactly(jobs.LENGTH), "big")
    if size > jobs.MOST_MESSAGE:
        raise EOFError("a message that makes no sense")
    return jobs.results.decode(await child.stdout.readexactly(size))


async def _ended(child: asyncio.subprocess.Process) -> str:
    """How it ended, if it did."""
    try:
        async with asyncio.timeout(END_S):
            code = await child.wait()
    except TimeoutError:
        return ""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


async def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()
