"""A journal with writes, refusals and reads in it, closed and signed."""

import asyncio
from pathlib import Path

import pytest

from gateway.model.record import Durable
from tests.unit.audit import world

WRITES = 30
"As many refusals, of three subjects: so many of each are recorded in full."


async def _written(folder: Path) -> None:
    clock = world.Clock()
    journal = world.journal(folder, clock)
    journal.open()
    await journal.start(asyncio.get_running_loop())
    for value in range(WRITES):
        operation = world.writing(values=(value,), q=value, q_prev=value - 1)
        receipt = await journal.intent(world.caller(), (operation,), (world.ALLOW,), clock.forward(0.01))
        assert isinstance(receipt, Durable)
        journal.outcome(receipt, world.caller(), {"status": "ok"}, clock.forward(0.001))
        denied = world.caller(f"spiffe://plant.example/eve-{value * 3 // WRITES}")
        journal.denied(denied, operation, world.DENY, clock.forward(0.001))
    await journal.stop()


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviewed") / "journal"
    asyncio.run(_written(folder))
    return folder
