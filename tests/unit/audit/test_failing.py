"""How the journal fails: at once, whatever the reason; it stops in time; and what it tells of it is true."""

import asyncio
from pathlib import Path

import pytest

from gateway.audit import backlog
from gateway.audit.log import Log
from gateway.model.record import NotRecorded
from tests.unit.audit.test_journal import started, until
from tests.unit.audit.world import ALLOW, Clock, caller, writing

# an error that nobody thought of ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["append", "prepare", "checkpoint"])
def test_any_error_in_the_thread_fails_the_journal_at_once_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def run() -> None:
        clock, alarms = Clock(), list[str]()
        running = await started(tmp_path, clock, alarms=alarms, checkpoint_s=0.01)

        def broken(*_: object) -> None:
            raise ZeroDivisionError("a fault of ours")

        with monkeypatch.context() as breaking:
            breaking.setattr(Log, step, broken)
            receipt = asyncio.ensure_future(running.intent(caller(), (writing(),), (ALLOW,), clock()))
            await until(lambda: running.status()["failed"] or clock.forward(0.001) is None)
            assert clock.mono_ns < backlog.STALL, "it is not the stall that told"
            assert await receipt == NotRecorded("journal_failed") or step != "append"
        assert "a fault of ours" in running.status()["failed"]
        assert "a fault of ours" in alarms[0]
        again = await running.intent(caller(), (writing(),), (ALLOW,), clock())
        assert again == NotRecorded("journal_failed"), "and it stays so"
        await running.stop()

    asyncio.run(run())


# a stop ----------------------------------------------------------------------------------------------------


# what is told of it ----------------------------------------------------------------------------------------


# where it lies ---------------------------------------------------------------------------------------------
