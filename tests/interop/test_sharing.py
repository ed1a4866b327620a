"""Equal reads that share an answer, and devices that want time between two requests.

"Must hold" 6 of the issue on Modbus in depth: what sharing saves, and what it must never do.
"""

import asyncio
from itertools import pairwise
from struct import pack
from time import monotonic

import pytest

from gateway.model.asset import Span, Table
from gateway.model.decision import Denied, Reason
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation

from .plants import Reply, ScriptedPlant
from .test_relay import Client, gateway, read, until, value, write


def reads(plant: ScriptedPlant) -> int:
    return sum(seen[7] == 3 for seen in plant.device.seen)


async def test_two_hundred_clients_at_one_hertz_cost_the_plant_one_poll_a_second() -> None:
    seconds = 3
    async with ScriptedPlant() as plant, gateway(plant, coalesce_ms=1000) as bench:
        clients = [await Client.connect(bench) for _ in range(200)]
        begun = monotonic()
        for second in range(seconds):
            for number, client in enumerate(clients):
                due = begun + second + number / 200
                await asyncio.sleep(max(0.0, due - monotonic()))
                assert await client.ask(read(number, 10)) == value(10)
        elapsed = monotonic() - begun
        assert reads(plant) <= 1.2 * max(elapsed, seconds)


async def test_equal_reads_under_way_are_asked_once() -> None:
    go = asyncio.Event()

    async def wait(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await go.wait()
        await reply(plant.device.answer(request))

    async with ScriptedPlant(wait) as plant, gateway(plant, coalesce_ms=1, timeout_ms=5000) as bench:
        clients = [await Client.connect(bench) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(read(number, 10))
        await until(lambda: sum(line.startswith("read ") for line in bench.stage.story) == 10)
        go.set()
        for number, client in enumerate(clients):
            assert await client.answer() == (number, value(10))
        assert reads(plant) == 1
        assert sum(line.startswith("answered") for line in bench.stage.story) == 10, "each is recorded"


async def test_after_a_write_nobody_gets_what_was_read_before_it() -> None:
    async with ScriptedPlant() as plant, gateway(plant, coalesce_ms=60_000) as bench:
        reader, writer = await Client.connect(bench), await Client.connect(bench)
        for turn in range(100):
            assert await reader.ask(read(1, 10)) == value(10 if turn == 0 else 1000 + turn - 1)
            await writer.ask(write(2, 10, 1000 + turn))
            assert await reader.ask(read(3, 10)) == value(1000 + turn)
        assert reads(plant) == 101


async def test_a_write_to_another_table_forgets_too() -> None:
    async with ScriptedPlant() as plant, gateway(plant, coalesce_ms=60_000) as bench:
        client = await Client.connect(bench)
        await client.ask(read(1, 10))
        await client.ask(pack(">HHHBBHHB4s", 2, 0, 11, 1, 16, 500, 2, 4, bytes(4)))
        await client.ask(read(3, 10))
        assert reads(plant) == 2


async def test_a_read_sent_before_a_write_is_told_to_nobody_who_asks_after_it() -> None:
    held: list[tuple[bytes, Reply]] = []

    async def hold(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        answer = plant.device.answer(request)  # the device reads now, and tells later
        if len(plant.device.seen) == 1:
            held.append((answer, reply))
        else:
            await reply(answer)

    async with (
        ScriptedPlant(hold) as plant,
        gateway(plant, coalesce_ms=60_000, timeout_ms=5000, connections=2) as bench,
    ):
        early, writer, late = [await Client.connect(bench) for _ in range(3)]
        early.send(read(1, 10))
        await until(lambda: len(held) == 1)
        await writer.ask(write(2, 10, 777))
        assert await late.ask(read(3, 10)) == value(777)
        answer, reply = held[0]
        await reply(answer)
        assert await early.answer() == (1, value(10))
        assert await late.ask(read(4, 10)) == value(777), "the late answer of the early read is not kept"


async def test_without_the_grant_the_answer_at_hand_is_01() -> None:
    async with ScriptedPlant() as plant, gateway(plant, coalesce_ms=60_000) as bench:
        granted, stranger = await Client.connect(bench), await Client.connect(bench)
        assert await granted.ask(read(1, 10)) == value(10)
        allowed = bench.stage.engine.decide
        first: list[Caller] = []

        def decide(caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None) -> object:
            first.append(caller)
            if caller is first[0]:
                return Denied(revision="rev-1", reasons=(Reason("default", "default"),))
            return allowed(caller, operation, now, writes_60s)

        bench.stage.engine.decide = decide  # type: ignore[method-assign,assignment]
        assert await stranger.ask(read(2, 10)) == b"\x83\x01"
        assert await granted.ask(read(3, 10)) == value(10)
        assert reads(plant) == 1


async def test_heartbeat_points_are_asked_each_time() -> None:
    beat = (Span(Table.HOLDING, 20, 1),)
    async with ScriptedPlant() as plant, gateway(plant, coalesce_ms=60_000, heartbeat=beat) as bench:
        client = await Client.connect(bench)
        for tid in range(3):
            await client.ask(read(tid, 19, 2))
        assert reads(plant) == 3
        for tid in range(3):
            await client.ask(read(tid, 21))
        assert reads(plant) == 4


async def test_an_exception_of_the_device_is_told_to_who_waits_and_not_kept() -> None:
    async def refuse(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await reply(request[:4] + b"\0\x03\x01\x83\x02")

    async with ScriptedPlant(refuse) as plant, gateway(plant, coalesce_ms=60_000) as bench:
        client = await Client.connect(bench)
        for tid in range(3):
            assert await client.ask(read(tid, 10)) == b"\x83\x02"
        assert reads(plant) == 3
        assert bench.stage.story.count("failed exception_02") == 3


async def test_nothing_is_shared_unless_the_site_asks() -> None:
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        for tid in range(5):
            await client.ask(read(tid, 10))
        assert reads(plant) == 5


async def test_when_the_device_is_silent_all_who_waited_hear_it() -> None:
    async def silent(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        return

    async with ScriptedPlant(silent) as plant, gateway(plant, coalesce_ms=1000) as bench:
        clients = [await Client.connect(bench) for _ in range(5)]
        for client in clients:
            client.send(read(1, 10))
        for client in clients:
            assert await client.answer() == (1, b"\x83\x0b")
        assert reads(plant) == 1


@pytest.mark.parametrize("spacing_ms", [50])
async def test_a_device_gets_its_time_between_requests(spacing_ms: int) -> None:
    arrived: list[float] = []

    async def note(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        arrived.append(monotonic())
        await reply(plant.device.answer(request))

    async with ScriptedPlant(note) as plant, gateway(plant, spacing_ms=spacing_ms, timeout_ms=5000) as bench:
        client = await Client.connect(bench)
        client.send(b"".join(read(tid, tid) for tid in range(6)))
        for _ in range(6):
            await client.answer()
        gaps = [later - earlier for earlier, later in pairwise(arrived)]
        assert min(gaps) >= spacing_ms / 1000 - 0.01, "as seen by the device, its own delays included"
