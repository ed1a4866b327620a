"""Listeners without TLS, and the ways in which a listener may say no."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from gateway.config.settings import Listener, Refusal, Security
from gateway.model.asset import Asset
from gateway.model.identity import Authentication, Kind
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.relay.link import Links, PlantLink
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.plain import PlainListener
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.interop.reading_back import read_back
from tests.scenarios.stage import Stage

from .plants import ScriptedPlant
from .test_relay import Bench, Client, Unknown, now, read, until, value, write


@asynccontextmanager
async def plain(
    plant: ScriptedPlant, refusal: Refusal = Refusal.ILLEGAL_FUNCTION, **limits: object
) -> AsyncIterator[tuple[Bench, PlainListener]]:
    stage = Stage()
    stage.grant(Action.READ)
    tasks, links = Tasks(), Links()
    asset = Asset(name="plc-1", host="127.0.0.1", port=plant.port)

    def link(asset: Asset) -> PlantLink:
        return links.add(PlantLink(asset, door=stage.door, clock=now, tasks=tasks))

    door = ModbusDoor(
        routes={1: Route(Place(asset, []), link(asset))},
        outstanding=4,
        door=stage.door,
        last=Unknown(),
        links=links,
        tasks=tasks,
        clock=now,
        own_link=link,
        suspicion=Suspicion(stage.journal, stage.counted.append),
        read_back=read_back(stage, tasks, now),
        refusal=refusal,
    )
    listener = PlainListener(
        replace(
            Listener(name="old-hmi", port=0, zone="plant", units={1: "plc-1"}, tls=Security.NONE), **limits
        ),
        inner=door.client,
        journal=stage.journal,
        clock=now,
        ulids=Ulids(1),
        count=lambda name, n=1: stage.story.extend([f"count {name}"] * n),
    )
    await listener.start()
    links.start(now)
    try:
        yield Bench(stage, listener.port, links), listener
    finally:
        await listener.stop()
        links.stop()
        await tasks.stop()


async def test_whoever_comes_is_nobody_and_the_record_says_so() -> None:
    async with ScriptedPlant() as plant, plain(plant) as (bench, listener):
        client = await Client.connect(bench)
        assert await client.ask(read(1, 7)) == value(7)
        (connection,) = listener._connections
        assert connection.caller is not None
        identity = connection.caller.identity
        assert (identity.subject, identity.kind, identity.auth, identity.roles) == (
            "anonymous:old-hmi",
            Kind.NOBODY,
            Authentication.NONE,
            (),
        )
        assert bench.stage.story[0] == "event auth"
        client.close()
        await until(lambda: not listener._connections)


async def test_connections_have_a_bound_and_idle_ones_go() -> None:
    async with ScriptedPlant() as plant, plain(plant, most_connections=2, idle_s=0.2) as (bench, listener):
        first, second = await Client.connect(bench), await Client.connect(bench)
        await until(lambda: len(listener._connections) == 2)
        third = await Client.connect(bench)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await third.ask(read(1, 1))
        ended = asyncio.ensure_future(first.reader.read())
        async with asyncio.timeout(5):
            while not ended.done():
                assert await second.ask(read(1, 2)) == value(2)
                listener.close_idle()
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("refusal", "answer"),
    [
        (Refusal.ILLEGAL_FUNCTION, b"\x86\x01"),
        (Refusal.ILLEGAL_ADDRESS, b"\x86\x02"),
        (Refusal.SILENCE, None),
    ],
)
async def test_a_listener_says_no_as_its_clients_can_bear(refusal: Refusal, answer: bytes | None) -> None:
    async with ScriptedPlant() as plant, plain(plant, refusal) as (bench, _):
        client = await Client.connect(bench)
        for tid in range(6):
            client.send(write(tid, 1, 1))
            denied = tid + 1
            await until(lambda: sum(x.startswith("denied ") for x in bench.stage.story) == denied)  # noqa: B023
            if answer is not None:
                assert await client.answer() == (tid, answer)
        client.send(read(9, 7))
        assert await client.answer() == (9, value(7)), "silence takes no place among the outstanding"
        client.send(read(10, 0, 0))
        assert await client.answer() == (10, b"\x83\x03"), "what policy was not asked is said as ever"
        assert [seen[7] for seen in plant.device.seen] == [3]
