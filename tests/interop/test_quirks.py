"""Devices that break the protocol in known ways: tolerated where the site says so, and nowhere else."""

from struct import pack

import pytest

from gateway.model.asset import Quirk

from .plants import Reply, ScriptedPlant
from .test_relay import Client, gateway, read, value, write


async def padded(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    """An exception of three bytes, counted as such."""
    await reply(request[:4] + b"\0\x04" + request[6:7] + bytes([request[7] | 0x80, 2, 0]))


async def overcounted(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    """An exception whose length counts a byte that never comes; reads of register 1 are answered."""
    if request[8:10] == b"\0\1":
        await reply(plant.device.answer(request))
    else:
        await reply(request[:4] + b"\0\x04" + request[6:7] + bytes([request[7] | 0x80, 2]))


async def own_ids(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    """Every answer comes under an id that the device likes."""
    await reply(pack(">H", 4711) + plant.device.answer(request)[2:])


async def test_an_exception_too_long_is_told_as_it_should_have_been() -> None:
    async with ScriptedPlant(padded) as plant, gateway(plant, quirks=(Quirk.EXCEPTION_PADDED,)) as bench:
        client = await Client.connect(bench)
        for tid in range(3):
            assert await client.ask(read(tid, 5)) == b"\x83\x02"
        assert plant.connections == 1


async def test_an_exception_that_counts_what_never_comes_loses_nothing() -> None:
    quirks = (Quirk.EXCEPTION_OVERCOUNTED,)
    async with ScriptedPlant(overcounted) as plant, gateway(plant, quirks=quirks) as bench:
        client = await Client.connect(bench)
        for tid in range(5):
            assert await client.ask(read(tid, 5)) == b"\x83\x02"
            assert await client.ask(read(tid, 1)) == value(1)
        assert plant.connections == 1


async def test_a_device_with_ids_of_its_own_is_asked_one_thing_at_a_time() -> None:
    quirks = (Quirk.ID_NOT_ECHOED,)
    async with ScriptedPlant(own_ids) as plant, gateway(plant, quirks=quirks, in_flight=8) as bench:
        client = await Client.connect(bench)
        client.send(b"".join(read(tid, 10 + tid) for tid in range(12)))
        assert dict([await client.answer() for _ in range(12)]) == {tid: value(10 + tid) for tid in range(12)}
        assert await client.ask(write(1, 7, 70)) == write(1, 7, 70)[7:]
        assert plant.connections == 1


@pytest.mark.parametrize("fault", [padded, overcounted, own_ids])
async def test_without_the_quirk_the_same_answer_is_none(fault: object) -> None:
    async with ScriptedPlant(fault) as plant, gateway(plant) as bench:  # type: ignore[arg-type]
        client = await Client.connect(bench)
        assert await client.ask(read(1, 5)) == b"\x83\x0b"
