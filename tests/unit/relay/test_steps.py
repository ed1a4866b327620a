"""What a step is measured from: a write that nobody has allowed yet is no measure for the next one."""

import asyncio
from struct import pack

import pytest

from gateway.model.asset import Asset, DataType, Table, Tag
from gateway.model.decision import Approval, Decision, Obligation
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation
from gateway.model.sample import Quality
from gateway.publish.values import Reading, Values
from gateway.relay.link import Links, PlantLink
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.interop.reading_back import read_back
from tests.scenarios.stage import CALLER, Stage, Words

ASSET = Asset(name="plc-1", host="127.0.0.1", port=1)
LEVEL = Tag(
    name="plc-1.level", asset="plc-1", path="a/b", table=Table.HOLDING, address=0, type=DataType.UINT16
)


class Watching(Words):
    """Notes from where each step was measured when policy was asked."""

    def __init__(self, story: list[str]) -> None:
        super().__init__(story)
        self.steps: list[tuple[int | None, int | None]] = []

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        self.steps += [(point.q_prev, point.q) for point in operation.points]
        return super().decide(caller, operation, now, writes_60s)

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        await asyncio.sleep(0)
        return await super().ask(caller, operation, now, writes_60s, approval)


def write(tid: int, q: int) -> bytes:
    return pack(">HHHBBHH", tid, 0, 6, 1, 6, 0, q)


async def steps(words: Watching, stage: Stage, *values: int) -> list[tuple[int | None, int | None]]:
    """From where each of these writes was measured, sent in one segment; one more once they are decided."""
    stage.door.engine = words
    known = Values([LEVEL], [ASSET], stage.now())
    known.update([Reading(LEVEL.name, 400, Quality.GOOD)], stage.now())
    tasks, links = Tasks(), Links()
    link = links.add(PlantLink(ASSET, door=stage.door, clock=stage.now, tasks=tasks))
    door = ModbusDoor(
        routes={1: Route(Place(ASSET, [LEVEL]), link)},
        outstanding=64,
        door=stage.door,
        last=known,
        links=links,
        tasks=tasks,
        clock=stage.now,
        own_link=lambda _: link,
        suspicion=Suspicion(stage.journal, stage.counted.append),
        read_back=read_back(stage, tasks, stage.now),
    )
    client = door.client(CALLER)
    client.data_received(b"".join(write(tid, q) for tid, q in enumerate(values)))
    async with asyncio.timeout(5):
        while tasks.running("passage"):  # noqa: ASYNC110 # nobody tells that a task has ended
            await asyncio.sleep(0)
    client.data_received(write(9, 401))  # what was refused leaves no trace
    await tasks.stop()
    return words.steps


WAITING = {
    "OPA is asked": ((), True),
    "people must agree": ((Obligation("approval", (("by", "lead"),)),), False),
    "an obligation is not met": ((Obligation("rate", (("n", 0), ("per_s", 1))),), False),
}


@pytest.mark.parametrize(("obligations", "slow"), WAITING.values(), ids=WAITING)
def test_what_is_not_allowed_yet_is_no_measure_for_a_step(
    obligations: tuple[Obligation, ...], slow: bool
) -> None:
    stage = Stage()
    words = Watching(stage.story)
    if not slow:
        words.allows[Action.WRITE, "plc-1"] = obligations
    words.slow = slow
    assert asyncio.run(steps(words, stage, 9000, 9100)) == [
        (400, 9000),
        (None, 9100),
        (400, 401),
    ]


def test_what_is_allowed_is_the_measure_from_then_on() -> None:
    stage = Stage()
    words = Watching(stage.story)
    words.allows[Action.WRITE, "plc-1"] = ()
    assert asyncio.run(steps(words, stage, 500, 600))[:2] == [(400, 500), (500, 600)]


def test_what_is_denied_at_once_is_no_measure() -> None:
    stage = Stage()
    words = Watching(stage.story)
    assert asyncio.run(steps(words, stage, 9000, 500)) == [(400, 9000), (400, 500), (400, 401)]
