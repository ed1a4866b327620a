"""The workshop: a process of its own that checks bundles, runs their tests and rehearses decisions.

    python -m gateway.policy.workshop PARENT

The engine holds the interpreter while it works, and nothing bounds what one rule may cost. So what is not
yet trusted runs here, where it can take its time or be killed, and the gateway goes on deciding.

It does one job at a time (jobs.py). What it remembers of a bundle (parsed modules, tables of tests) makes the
next one several times as fast, so it stays until its input ends.

It cannot outlive the gateway, nor a job its time: the kernel is asked to kill it when its parent dies (Linux)
or when a job has taken twice what the gateway waits for. It may take so much memory and no more. It does not
step back for the processor: the bundle may take rights away, and that has one second on a busy machine too.
"""

import signal
import sys

from gateway.model.decision import Allowed, Reason
from gateway.model.errors import Fault, PolicyError
from gateway.policy import child, jobs, question
from gateway.policy.decider import prepare
from gateway.policy.engine import Engine
from gateway.policy.jobs import Answer, Answers, Ask, Job, Live, Prepare, Ready, Refused, Result
from gateway.policy.loader import Policy

MOST_MEMORY = 4 * 1024 * 1024 * 1024
"Address space. A comprehension that wants more ends the workshop, not the machine."
PATIENCE = 2.0
"Times the gateway's own limit after which the kernel ends a job that nobody ended."


class Bench:
    """What lies on the bench: the bundle that was prepared last."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def work(self, job: Job) -> Result:
        """Do one job."""
        if isinstance(job, Prepare):
            self._engine = None
            try:
                policy = prepare(job.bundle)
                self._engine = Engine(policy)
            except PolicyError as error:
                return Refused(tuple(error.faults))
            return _ready(policy)
        engine = self._engine
        if engine is None or engine.revision != job.revision:
            return Refused((Fault("bundle", f"{job.revision[:12]} is not what was prepared last"),))
        return Answers(job.revision, tuple(_answer(engine, job, live) for live in job.questions))


def _ready(policy: Policy) -> Ready:
    return Ready(
        revision=policy.bundle.revision,
        modules=policy.modules,
        tests=policy.tests,
        readers=tuple((path, policy.readers[path]) for path in policy.paths),
        warnings=policy.warnings,
    )


def _answer(engine: Engine, job: Ask, live: Live) -> Answer:
    try:
        asked = question.encode(
            question.document(job.callers[live.caller], live.operation, job.facts, live.evaluation, job.now)
        )
    except (ValueError, IndexError) as error:
        return Answer(False, (Reason("engine.error", "engine", str(error)[:300]),), (), ())
    found = engine.evaluate(asked, live.evaluation)
    allowed = isinstance(found, Allowed)
    return Answer(
        allowed, found.reasons, found.obligations if isinstance(found, Allowed) else (), found.grants
    )


def main(words: list[str]) -> int:
    """Work until the input ends."""
    child.bind(int(words[0]), MOST_MEMORY)
    bench, source, target = Bench(), sys.stdin.buffer, sys.stdout.buffer
    while (body := child.read(source, jobs.MOST_MESSAGE)) is not None:
        job = jobs.jobs.decode(body)
        # The default of SIGALRM ends the process, whatever holds the interpreter.
        signal.setitimer(signal.ITIMER_REAL, job.within_s * PATIENCE)
        result = bench.work(job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        target.write(child.framed(jobs.encoded(result)))
        target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
