"""What a device took is read again by the gateway itself: through the passage, recorded, alarmed."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from struct import pack
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.model.asset import Asset, DataType, Table, Tag
from gateway.model.decision import Obligation
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action
from gateway.model.record import Durable, RecordKind
from gateway.relay import readback
from gateway.relay.link import Links, PlantLink
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.scenarios.north import GATEWAY
from tests.scenarios.stage import CALLER, Memory, Stage

from .plants import Reply, ScriptedPlant
from .reading_back import read_back
from .test_relay import Unknown, now

WITHIN_S = 2.0
SP = Tag(
    name="plc-1.sp",
    asset="plc-1",
    path="acme/sp",
    table=Table.HOLDING,
    address=10,
    type=DataType.UINT16,
    scale=0.1,
    resolution=0.1,
    unit="%",
)


class Notes(Memory):
    """A journal that keeps outcomes and findings."""

    def __init__(self, story: list[str]) -> None:
        super().__init__(story)
        self.outcomes: list[tuple[str, str, dict[str, Any]]] = []
        self.findings: list[dict[str, Any]] = []
        self.read_back = asyncio.Event()
        "Told whenever something was read back."

    def outcome(self, intent: Durable, caller: Caller, result: dict[str, Any], now: Now) -> None:
        self.outcomes.append((intent.record, caller.identity.subject, result))
        if "readback" in result:
            asyncio.get_running_loop().call_soon(self.read_back.set)  # behind the alarm

    def event(
        self,
        kind: RecordKind,
        note: dict[str, Any],
        now: Now,
        *,
        caller: Caller | None = None,
        source: str | None = None,
    ) -> None:
        self.findings.append(note)


class Bench:
    """A gateway's Modbus half over one plant, whose writes must be read back."""

    def __init__(self, tolerance: float) -> None:
        self.stage = Stage()
        self.journal = Notes(self.stage.story)
        self.stage.journal = self.stage.door.journal = self.journal
        self.stage.grant(Action.READ)
        self.stage.grant(Action.WRITE, Obligation("readback", (("tolerance", tolerance),)))
        self.tasks, self.links = Tasks(), Links()
        self.port = 0

    async def say(self, pdu: bytes, tid: int = 1) -> bytes:
        """Send one request; the answer's PDU."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(pack(">HHHB", tid, 0, len(pdu) + 1, 1) + pdu)
            head = await asyncio.wait_for(reader.readexactly(7), WITHIN_S)
            return await asyncio.wait_for(reader.readexactly(int.from_bytes(head[4:6], "big") - 1), WITHIN_S)
        finally:
            writer.close()

    async def told(self) -> dict[str, Any]:
        """The one read back that is recorded by now or soon."""
        async with asyncio.timeout(WITHIN_S):
            await self.journal.read_back.wait()
        ((record, subject, result),) = [each for each in self.journal.outcomes if "readback" in each[2]]
        assert (record, subject, result["status"]) == ("01INTENT", GATEWAY.identity.subject, "ok")
        told: dict[str, Any] = result["readback"]
        return told


@asynccontextmanager
async def gateway(
    plant: ScriptedPlant, tolerance: float = 0, tags: tuple[Tag, ...] = (SP,), **limits: Any
) -> AsyncIterator[Bench]:
    bench = Bench(tolerance)
    stage = bench.stage
    asset = Asset(name="plc-1", host="127.0.0.1", port=plant.port, timeout_ms=300, **limits)

    def link(asset: Asset) -> PlantLink:
        return bench.links.add(PlantLink(asset, door=stage.door, clock=now, tasks=bench.tasks))

    door = ModbusDoor(
        routes={1: Route(Place(asset, tags), link(asset))},
        outstanding=64,
        door=stage.door,
        last=Unknown(),
        links=bench.links,
        tasks=bench.tasks,
        clock=now,
        own_link=link,
        suspicion=Suspicion(stage.journal, stage.counted.append),
        read_back=read_back(stage, bench.tasks, now),
    )
    server = await asyncio.get_running_loop().create_server(
        lambda: door.client(replace(CALLER)), "127.0.0.1", 0
    )
    bench.port = server.sockets[0].getsockname()[1]
    bench.links.start(now)
    try:
        yield bench
    finally:
        server.close()
        bench.links.stop()
        await bench.tasks.stop()


class Answers:
    """A plant whose writes are taken, and whose reads are answered as a test says."""

    def __init__(self, *reads: bytes | None) -> None:
        self.reads = list(reads)
        self.asked: list[bytes] = []

    async def __call__(self, plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        self.asked.append(request[7:])
        if request[7] in (5, 6):
            await reply(request)
        elif request[7] == 16:
            await reply(request[:4] + b"\0\6" + request[6:12])
        elif (pdu := self.reads.pop(0)) is not None:
            await reply(request[:4] + pack(">HB", len(pdu) + 1, request[6]) + pdu)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


def write(value: int, address: int = 10) -> bytes:
    return pack(">BHH", 6, address, value)


def test_what_is_there_is_recorded_about_the_intent_and_is_no_alarm() -> None:
    async def scenario() -> None:
        async with ScriptedPlant() as plant, gateway(plant) as bench:
            assert await bench.say(write(300)) == write(300)
            told = await bench.told()
            assert told["matches"] is True
            assert told["points"] == [{"tag": "plc-1.sp", "q_written": 300, "q_read": 300}]
            assert not bench.journal.findings
            assert "read modbus.read_holding_registers" in bench.stage.story, "as all are"

    run(scenario())


@pytest.mark.parametrize(("there", "tolerance", "matches"), [(302, 2, True), (303, 2, False), (0, 0, False)])
def test_a_difference_beyond_the_tolerance_is_an_alarm(there: int, tolerance: float, matches: bool) -> None:
    """The device says yes and does no."""

    async def scenario() -> None:
        answers = Answers(b"\x03\x02" + there.to_bytes(2, "big"))
        async with ScriptedPlant(answers) as plant, gateway(plant, tolerance) as bench:
            assert await bench.say(write(300)) == write(300), "the client hears what the device said"
            told = await bench.told()
            assert told["matches"] is matches
            assert told["points"][0]["q_read"] == there
            assert bench.stage.counted == ([] if matches else ["alarm readback.mismatch"])
            if not matches:
                (finding,) = bench.journal.findings
                assert (finding["intent"], finding["asset"]) == ("01INTENT", "plc-1")

    run(scenario())


@pytest.mark.parametrize(
    ("read", "why"), [(b"\x83\x02", "exception_02"), (None, "no_answer")], ids=["exception", "silence"]
)
def test_a_device_that_cannot_be_read_is_an_alarm(read: bytes | None, why: str) -> None:
    async def scenario() -> None:
        async with ScriptedPlant(Answers(read)) as plant, gateway(plant) as bench:
            assert await bench.say(write(300)) == write(300)
            told = await bench.told()
            assert (told["matches"], told["why"], told["points"]) == (None, why, [])
            assert bench.stage.counted == ["alarm readback.no_answer"]

    run(scenario())


def test_a_read_back_that_policy_denies_to_the_gateway_is_an_alarm() -> None:
    async def scenario() -> None:
        async with ScriptedPlant() as plant, gateway(plant) as bench:
            del bench.stage.engine.allows[Action.READ, "plc-1"]
            await bench.say(write(300))
            told = await bench.told()
            assert (told["matches"], told["why"]) == (None, "denied")
            assert not any(request[7] == 3 for request in plant.device.seen), "and nothing was read"

    run(scenario())


def test_the_client_does_not_wait() -> None:
    async def scenario() -> None:
        async with ScriptedPlant(Answers(None)) as plant, gateway(plant) as bench:
            begun = asyncio.get_running_loop().time()
            await bench.say(write(300))
            assert asyncio.get_running_loop().time() - begun < 0.25, "the read takes 0.3 s to fail"

    run(scenario())


def test_what_the_device_refuses_is_not_read_back() -> None:
    async def refuses(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await reply(request[:4] + pack(">HB", 3, request[6]) + bytes((request[7] | 0x80, 4)))

    async def scenario() -> None:
        async with ScriptedPlant(refuses) as plant, gateway(plant) as bench:
            assert await bench.say(write(300)) == b"\x86\x04"
            assert [each[2]["status"] for each in bench.journal.outcomes] == ["exception_04"]
            assert not [line for line in bench.stage.story if line.startswith("read")]

    run(scenario())


def test_addresses_without_a_tag_must_read_exactly_as_written() -> None:
    async def scenario() -> None:
        answers = Answers(b"\x03\x04" + pack(">HH", 301, 8))
        async with ScriptedPlant(answers) as plant, gateway(plant, 5) as bench:
            await bench.say(pack(">BHHBHH", 16, 10, 2, 4, 300, 7))
            told = await bench.told()
            assert told["matches"] is False
            assert told["points"][0] == {"tag": "holding 11", "q_written": 7, "q_read": 8}
            assert answers.asked[-1] == pack(">BHH", 3, 10, 2), "the same addresses"

    run(scenario())


def test_a_coil_is_read_back_as_one() -> None:
    valve = replace(SP, name="plc-1.valve", table=Table.COIL, type=DataType.BOOL, scale=1.0, resolution=1.0)

    async def scenario() -> None:
        answers = Answers(b"\x01\x01\x00")
        async with ScriptedPlant(answers) as plant, gateway(plant, 0, (valve,)) as bench:
            await bench.say(b"\x05\x00\x0a\xff\x00")
            told = await bench.told()
            assert told["points"] == [{"tag": "plc-1.valve", "q_written": 1, "q_read": 0}]
            assert answers.asked[-1] == b"\x01\x00\x0a\x00\x01"

    run(scenario())


def test_a_write_that_names_no_tag_is_denied() -> None:
    async def scenario() -> None:
        async with ScriptedPlant() as plant, gateway(plant) as bench:
            assert await bench.say(write(300, address=500)) == b"\x86\x01"
            assert not plant.device.seen

    run(scenario())


def test_reads_back_under_way_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "MOST_UNDER_WAY", 0)

    async def scenario() -> None:
        async with ScriptedPlant() as plant, gateway(plant) as bench:
            await bench.say(write(300))
            told = await bench.told()
            assert (told["matches"], told["why"]) == (None, "busy")

    run(scenario())


def test_a_record_names_a_bounded_number_of_tags() -> None:
    async def scenario() -> None:
        count = readback.MOST_POINTS + 5
        wrong = [*range(count - 1), 999]
        answers = Answers(bytes((3, 2 * count)) + pack(f">{count}H", *wrong))
        async with ScriptedPlant(answers) as plant, gateway(plant) as bench:
            await bench.say(pack(f">BHHB{count}H", 16, 10, count, 2 * count, *range(count)))
            told = await bench.told()
            assert (len(told["points"]), told["more"]) == (readback.MOST_POINTS, 5)
            assert told["points"][0]["q_read"] == 999, "what differs comes first"

    run(scenario())
