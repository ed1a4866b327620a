"""The disk fills up: told at 80 %, and writes denied while what is under way can still be recorded."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.audit.log import KEPT_FREE
from gateway.audit.storage import Disk
from gateway.model.record import Durable, NotRecorded, RecordKind
from tests.unit.audit import world
from tests.unit.audit.world import ALLOW, Clock, caller, writing

TOTAL = 100 * KEPT_FREE


class Filling(Disk):
    """A real folder; how much of its disk others use is set by hand."""

    free = TOTAL

    def free_bytes(self) -> int:
        return self.free

    def total_bytes(self) -> int:
        return TOTAL


def test_a_disk_that_fills_up_and_gets_room_again(tmp_path: Path) -> None:
    clock, alarms, disk = Clock(), list[str](), Filling(tmp_path)
    journal = world.journal(tmp_path, clock, alarms=alarms, storage=disk)
    journal.open()

    async def until(what: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not what():
                journal.event(RecordKind.CONFIG, {"text": "something to sign"}, clock.forward(0.3))
                await asyncio.sleep(0.02)

    async def write() -> object:
        return await journal.intent(caller(), (writing(),), (ALLOW,), clock.forward(0.01))

    async def steps() -> None:
        await journal.start(asyncio.get_running_loop())
        try:
            assert isinstance(await write(), Durable)
            assert alarms == []
            disk.free = TOTAL // 5 - 1
            await until(lambda: journal.status()["low_space"])
            assert len(alarms) == 1
            assert "80% full" in alarms[0]
            assert isinstance(await write(), Durable), "told, not stopped"
            disk.free = KEPT_FREE - 1
            await until(lambda: bool(journal.status()["full"]))
            assert await write() == NotRecorded("journal_disk_full")
            disk.free = TOTAL // 2
            await until(lambda: not journal.status()["full"])
            assert isinstance(await write(), Durable)
            await until(lambda: not journal.status()["low_space"])
            assert journal.status()["failed"] is None
            assert len(alarms) == 1
        finally:
            await journal.stop()

    asyncio.run(steps())
