"""The workshop as the gateway sees it: a child process that does one job at a time, or is killed.

What it finds wrong is refused with a PolicyError; what it cannot do in time, or dies of, with an
UntriedError: the machine may be to blame as well as the bundle. Nothing that it says is believed unless it is
of the revision that was asked about.
"""

import asyncio

from msgspec import MsgspecError

from gateway.model.decision import Decision
from gateway.model.errors import Fault, PolicyError, UntriedError
from gateway.policy import child, jobs
from gateway.policy.bundle import Bundle
from gateway.policy.jobs import Answers, Ask, Job, Prepare, Ready, Refused, Result
from gateway.policy.loader import Policy

MODULE = "gateway.policy.workshop"


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
        """Check a bundle and run its tests. Raises PolicyError: UntriedError where that was not finished."""
        found = await self._do(Prepare(bundle, within_s), within_s)
        if isinstance(found, Refused):
            raise PolicyError(list(found.faults))
        if not isinstance(found, Ready) or found.revision != bundle.revision:
            raise UntriedError([Fault("bundle", "the workshop answered something else", "try again")])
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
            raise UntriedError([Fault("bundle", "the workshop answered something else", "try again")])
        pairs = zip(found.answers, job.questions, strict=True)
        return [jobs.decision(answer, found.revision, live.evaluation) for answer, live in pairs]

    async def close(self) -> None:
        """End it."""
        gone, self._child = self._child, None
        if gone is not None:
            await child.end(gone)

    async def _do(self, job: Job, within_s: float) -> Result:
        async with self._busy:
            shop = self._child
            if shop is None or shop.returncode is not None:
                shop = self._child = await _start()
            done = False
            try:
                async with asyncio.timeout(within_s):
                    found = await child.exchanged(shop, jobs.encoded(job), jobs.MOST_MESSAGE)
                    result = jobs.results.decode(found)
                done = True
            except TimeoutError:
                what = f"checking or testing it takes longer than {within_s:g} s"
                raise UntriedError([Fault("bundle", what, "look for a rule that never ends")]) from None
            except (OSError, EOFError, MsgspecError) as error:
                what = f"checking or testing it ended the process: {await _ended(shop) or error}"
                raise UntriedError([Fault("bundle", what, "run dmz-gateway policy test")]) from None
            finally:
                if not done:  # cancelled as well: what it would still answer belongs to nobody
                    self._child = None
                    await child.kill(shop)
            return result


async def _start() -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *child.command(MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=child.environment(),
        )
    except OSError as error:
        what = f"the workshop cannot be started: {error.strerror}"
        raise UntriedError([Fault("bundle", what, "see how many processes there may be")]) from None


async def _ended(shop: asyncio.subprocess.Process) -> str:
    """How it ended, if it did."""
    try:
        async with asyncio.timeout(child.END_S):
            code = await shop.wait()
    except TimeoutError:
        return ""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
