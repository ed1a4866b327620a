"""Devices behind RTU: pymodbus's server on a serial line and on TCP, several units on one line, bad lines.

Must-hold of the issue on Modbus in depth, point 5: reading, writing, exceptions, checksum errors, late
answers, silence, and recovery without anybody doing anything.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from struct import pack
from time import monotonic

import pytest
import uvloop
from msgspec.structs import replace

from gateway.model.asset import Asset, Parity, Quirk, SerialLine, Transport
from gateway.model.operation import Action
from gateway.relay.link import Links, PlantLink
from gateway.relay.link.rtu import MUTE, NOISE_S, silence_s
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.interop.reading_back import read_back
from tests.scenarios.stage import CALLER, Stage

from .lines import Cable, Converter, Reply, checked, on_a_cable, rtu_over_tcp
from .test_relay import Bench, Client, Unknown, now, until, value

TCP = {"host": "127.0.0.1", "transport": Transport.RTU_OVER_TCP}
NO_PARITY = SerialLine(parity=Parity.NONE)


@asynccontextmanager
async def gateway(*assets: Asset) -> AsyncIterator[Bench]:
    """A gateway's Modbus half; unit n of the client is the n-th asset."""
    stage = Stage()
    for asset in assets:
        for action in (Action.READ, Action.WRITE):
            stage.engine.allows[(action, asset.name)] = ()
    tasks, links = Tasks(), Links()

    def link(asset: Asset) -> PlantLink:
        return links.add(PlantLink(asset, door=stage.door, clock=now, tasks=tasks, lines=links.lines))

    routes = {number: Route(Place(asset, []), link(asset)) for number, asset in enumerate(assets, 1)}
    door = ModbusDoor(
        routes=routes,
        outstanding=64,
        door=stage.door,
        last=Unknown(),
        links=links,
        tasks=tasks,
        clock=now,
        own_link=link,
        suspicion=Suspicion(stage.journal, stage.counted.append),
        read_back=read_back(stage, tasks, now),
    )
    server = await asyncio.get_running_loop().create_server(
        lambda: door.client(replace(CALLER)), "127.0.0.1", 0
    )
    links.start(now)
    bench = Bench(stage, server.sockets[0].getsockname()[1], links)
    try:
        yield bench
    finally:
        server.close()
        links.stop()
        await tasks.stop()
        await asyncio.sleep(0)


def asset(port: int = 0, name: str = "plc-1", **settings: object) -> Asset:
    return Asset(**{"name": name, "timeout_ms": 300, "port": port, **TCP, **settings})  # type: ignore[arg-type]


def on_cable(cable: Cable, unit: int = 1, **settings: object) -> Asset:
    serial: dict[str, object] = {"host": cable.gateway, "transport": Transport.SERIAL, "serial": NO_PARITY}
    return asset(**{"name": f"unit-{unit}", "unit": unit, **serial, **settings})  # type: ignore[arg-type]


def ask(fc: int, first: int, word: int = 1, unit: int = 1, tid: int = 1) -> bytes:
    return pack(">HHHBBHH", tid, 0, 6, unit, fc, first, word)


def registers(fc: int, *words: int) -> bytes:
    return pack(f">BB{len(words)}H", fc, 2 * len(words), *words)


async def ordinary_calls(client: Client) -> None:
    """One of each that plants use, the device's own exception among them."""
    assert await client.ask(ask(3, 5, 3)) == registers(3, 1005, 1006, 1007)
    assert await client.ask(ask(4, 98, 2)) == registers(4, 98, 99)
    assert await client.ask(ask(1, 0, 10)) == b"\x01\x02\x49\x02"
    assert await client.ask(ask(2, 0, 10)) == b"\x02\x02\x55\x01"
    assert await client.ask(ask(6, 7, 0x1234)) == ask(6, 7, 0x1234)[7:]
    assert await client.ask(ask(3, 7)) == registers(3, 0x1234)
    many = pack(">HHHBBHHB2H", 1, 0, 11, 1, 16, 8, 2, 4, 21, 22)
    assert await client.ask(many) == pack(">BHH", 16, 8, 2)
    assert await client.ask(ask(3, 8, 2)) == registers(3, 21, 22)
    assert await client.ask(ask(5, 1, 0xFF00)) == ask(5, 1, 0xFF00)[7:]
    assert await client.ask(ask(1, 0, 3)) == b"\x01\x01\x03"
    assert await client.ask(ask(3, 99, 2)) == b"\x83\x02"
    assert await client.ask(ask(3, 0, 100)) == registers(
        3, *range(1000, 1007), 0x1234, 21, 22, *range(1010, 1100)
    )


async def test_pymodbus_on_a_serial_line() -> None:
    with Cable() as cable:
        async with on_a_cable(cable, 1), gateway(on_cable(cable)) as bench:
            await ordinary_calls(await Client.connect(bench))


async def test_pymodbus_as_rtu_over_tcp(free_port: Callable[[], int]) -> None:
    port = free_port()
    async with rtu_over_tcp(port, 1), gateway(asset(port)) as bench:
        await ordinary_calls(await Client.connect(bench))


async def test_units_on_one_line_take_turns_and_get_their_own_values() -> None:
    with Cable() as cable:
        assets = [on_cable(cable, unit, timeout_ms=2000) for unit in (1, 2, 3)]
        async with on_a_cable(cable, 1, 2, 3), gateway(*assets) as bench:
            client = await Client.connect(bench)
            for tid in range(60):
                client.send(ask(3, tid, unit=tid % 3 + 1, tid=tid))
            answers = dict([await client.answer() for _ in range(60)])
            assert answers == {tid: registers(3, 1000 * (tid % 3 + 1) + tid) for tid in range(60)}
            sent = b"".join(cable.carried)
            frames = [sent[at : at + 8] for at in range(0, len(sent), 8)]
            assert all(checked(frame[:-2]) == frame for frame in frames)
            units = [frame[0] for frame in frames]
            assert sorted(units) == [1] * 20 + [2] * 20 + [3] * 20
            assert sum(one != other for one, other in pairwise(units)) > 50, "turns, not one after the other"


async def test_a_dead_unit_costs_its_neighbours_less_than_its_time_out_and_a_half() -> None:
    with Cable(dead=9) as cable:
        assets = [on_cable(cable, 1, timeout_ms=2000), on_cable(cable, 9, timeout_ms=200)]
        async with on_a_cable(cable, 1), gateway(*assets) as bench:
            client, other = await Client.connect(bench), await Client.connect(bench)
            took = []
            for turn in range(5):
                other.send(ask(3, 0, unit=2))
                await until(lambda: cable.carried[-1:] == [checked(bytes.fromhex("090300000001"))])
                begun = monotonic()
                assert await client.ask(ask(3, turn)) == registers(3, 1000 + turn)
                took.append(monotonic() - begun)
                assert await other.answer() == (1, b"\x83\x0b")
            # What a unit costs it costs every time; a machine that is busy is so once.
            assert median(took) < 0.2 * 1.5 + 0.15, took


async def test_a_wrong_checksum_is_0b_once_and_then_all_is_well() -> None:
    spoil = [True]

    def noise(data: bytes) -> bytes:
        if spoil and len(data) > 4:
            spoil.clear()
            return data[:3] + bytes([data[3] ^ 1]) + data[4:]
        return data

    with Cable(noise) as cable:
        async with on_a_cable(cable, 1), gateway(on_cable(cable)) as bench:
            client = await Client.connect(bench)
            assert await client.ask(ask(3, 5)) == b"\x83\x0b"
            assert bench.stage.story[-2:] == ["failed wrong_answer", "event finding"]
            assert await client.ask(ask(3, 6)) == registers(3, 1006)


async def test_a_write_whose_answer_is_spoiled_is_0b_and_was_sent_once() -> None:
    with Cable(lambda data: data[:-1] + bytes([data[-1] ^ 0xFF])) as cable:
        async with on_a_cable(cable, 1), gateway(on_cable(cable)) as bench:
            client = await Client.connect(bench)
            assert await client.ask(ask(6, 5, 55)) == b"\x86\x0b"
            assert b"".join(cable.carried) == checked(bytes.fromhex("0106 0005 0037"))
            cable.to_gateway = bytes
            assert await client.ask(ask(3, 5)) == registers(3, 55)
            assert b"".join(cable.carried).count(bytes.fromhex("010600050037")) == 1


async def test_a_silent_line_is_0b_and_comes_back() -> None:
    with Cable(lambda _: b"") as cable:
        async with on_a_cable(cable, 1), gateway(on_cable(cable)) as bench:
            client = await Client.connect(bench)
            for _ in range(MUTE + 1):
                assert await client.ask(ask(3, 5)) == b"\x83\x0b"
            cable.to_gateway = bytes
            assert await client.ask(ask(3, 6)) == registers(3, 1006)


async def test_a_late_answer_on_a_serial_line_is_nobodys() -> None:
    with Cable() as cable:
        async with on_a_cable(cable, 1), gateway(on_cable(cable, timeout_ms=200)) as bench:
            client = await Client.connect(bench)
            cable.delay_s = 0.27
            assert await client.ask(ask(3, 40)) == b"\x83\x0b"
            cable.delay_s = 0.0
            for tid in range(5):
                assert await client.ask(ask(3, tid)) == registers(3, 1000 + tid)


async def test_the_line_is_silent_between_frames() -> None:
    """From the end of an answer to the next request: 3.5 characters, here of 1200 baud."""
    slow = SerialLine(baud=1200, parity=Parity.NONE)
    stamps: list[tuple[str, float]] = []

    def note(data: bytes) -> bytes:
        stamps.append(("answer", monotonic()))
        return data

    with Cable(note) as cable:
        carried = on_cable(cable, serial=slow)
        async with on_a_cable(cable, 1), gateway(carried) as bench:
            client = await Client.connect(bench)
            sent = cable._from_gateway

            def from_gateway() -> None:
                stamps.append(("request", monotonic()))
                sent()

            asyncio.get_running_loop().add_reader(cable._near[0], from_gateway)
            client.send(b"".join(ask(3, tid, tid=tid) for tid in range(5)))
            for _ in range(5):
                await client.answer()
    pauses = [two[1] - one[1] for one, two in pairwise(stamps) if (one[0], two[0]) == ("answer", "request")]
    assert len(pauses) == 4
    assert min(pauses) >= silence_s(carried) > 0.029


async def test_a_file_that_is_no_line_is_0a() -> None:
    absent = asset(name="plc-1", host="/dev/null", transport=Transport.SERIAL)
    async with gateway(absent) as bench:
        client = await Client.connect(bench)
        assert await client.ask(ask(3, 5)) == b"\x83\x0a"


async def test_a_line_that_is_unplugged_is_0a_and_comes_back_when_plugged_in(tmp_path: Path) -> None:
    plug = tmp_path / "line"
    carried = asset(host=str(plug), transport=Transport.SERIAL, serial=NO_PARITY)
    async with gateway(carried) as bench:
        client = await Client.connect(bench)
        with Cable() as cable:
            plug.symlink_to(cable.gateway)
            async with on_a_cable(cable, 1):
                assert await client.ask(ask(3, 5)) == registers(3, 1005)
            plug.unlink()
        assert await client.ask(ask(3, 5)) == b"\x83\x0a"
        with Cable() as cable:
            plug.symlink_to(cable.gateway)
            async with on_a_cable(cable, 1):
                await comes_back(client, registers(3, 1005))


async def comes_back(client: Client, right: bytes, seconds: float = 5) -> None:
    """Nobody does anything but ask, and the right answer comes again."""
    async with asyncio.timeout(seconds):
        while await client.ask(ask(3, 5)) != right:  # noqa: ASYNC110 # it polls what has no event
            await asyncio.sleep(0.05)


def test_the_serial_transport_works_on_the_loop_that_the_gateway_runs_on() -> None:
    async def calls() -> None:
        with Cable() as cable:
            async with on_a_cable(cable, 1), gateway(on_cable(cable)) as bench:
                await ordinary_calls(await Client.connect(bench))

    uvloop.run(calls())


# a converter that does as a script says ------------------------------------------------------------


async def late(box: Converter, request: bytes, reply: Reply) -> None:
    if len(box.seen) == 1:
        await asyncio.sleep(0.4)
    await reply(box.answer(request))


async def twice(box: Converter, request: bytes, reply: Reply) -> None:
    await reply(box.answer(request) * 2)


async def other_unit(box: Converter, request: bytes, reply: Reply) -> None:
    answer = box.answer(request)
    await reply(checked(b"\x02" + answer[1:-2]) if len(box.seen) == 1 else answer)


async def other_function(box: Converter, request: bytes, reply: Reply) -> None:
    answer = box.answer(request)
    await reply(checked(b"\x01\x04" + answer[2:-2]) if len(box.seen) == 1 else answer)


async def too_long(box: Converter, request: bytes, reply: Reply) -> None:
    await reply(b"\x01\x03\xff" + bytes(300) if len(box.seen) == 1 else box.answer(request))


async def too_short(box: Converter, request: bytes, reply: Reply) -> None:
    """Two registers were asked for, one comes, in a frame that is right in itself."""
    await reply(checked(b"\x01\x03\x02\x00\x28") if len(box.seen) == 1 else box.answer(request))


async def half(box: Converter, request: bytes, reply: Reply) -> None:
    answer = box.answer(request)
    await reply(answer[:4] if len(box.seen) == 1 else answer)


async def dripping(box: Converter, request: bytes, reply: Reply) -> None:
    for byte in box.answer(request):
        await reply(bytes([byte]))
        await asyncio.sleep(0.002)


RIGHT = (twice, dripping)


@pytest.mark.parametrize(
    "fault", [late, twice, other_unit, other_function, too_long, too_short, half, dripping]
)
async def test_a_faulty_answer_never_poisons_a_later_one(
    fault: Callable[[Converter, bytes, Reply], Awaitable[None]],
) -> None:
    async with Converter(fault) as box, gateway(asset(box.port)) as bench:
        client = await Client.connect(bench)
        first = await client.ask(ask(3, 40, 2))
        assert first == (registers(3, 40, 41) if fault in RIGHT else b"\x83\x0b")
        for tid in range(2, 12):
            assert await client.ask(ask(3, tid)) == value(tid)


async def test_a_line_that_does_not_fall_silent_is_opened_anew() -> None:
    async def babble(box: Converter, request: bytes, reply: Reply) -> None:
        if box.connections > 1:
            await reply(box.answer(request))
            return
        while True:
            await reply(b"\xff")
            await asyncio.sleep(0.01)

    async with Converter(babble) as box, gateway(asset(box.port)) as bench:
        client = await Client.connect(bench)
        begun = monotonic()
        await comes_back(client, value(5), NOISE_S + 3)
        assert box.connections == 2
        assert monotonic() - begun >= NOISE_S


async def test_a_line_that_gives_back_what_was_sent() -> None:
    async def echoing(box: Converter, request: bytes, reply: Reply) -> None:
        await reply(request[:3])
        await reply(request[3:] + box.answer(request))

    async with Converter(echoing) as box, gateway(asset(box.port, quirks=(Quirk.ECHO,))) as bench:
        client = await Client.connect(bench)
        assert await client.ask(ask(3, 5)) == value(5)
        assert await client.ask(ask(6, 5, 77)) == ask(6, 5, 77)[7:]
        assert await client.ask(ask(3, 5)) == value(77)
    async with Converter() as box, gateway(asset(box.port, quirks=(Quirk.ECHO,))) as bench:
        client = await Client.connect(bench)
        assert await client.ask(ask(3, 5)) == b"\x83\x0b", "an echo that does not come is a fault of the line"


async def test_one_request_is_on_the_line_whatever_the_assets_say() -> None:
    going = 0
    most = 0

    async def slow(box: Converter, request: bytes, reply: Reply) -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await asyncio.sleep(0.005)
        going -= 1
        await reply(box.answer(request))

    async with Converter(slow) as box:
        assets = [asset(box.port, f"m-{unit}", unit=unit, in_flight=4, connections=2) for unit in (1, 2)]
        async with gateway(*assets) as bench:
            client = await Client.connect(bench)
            for tid in range(30):
                client.send(ask(3, tid, unit=tid % 2 + 1, tid=tid))
            answers = dict([await client.answer() for _ in range(30)])
            assert answers == {tid: value(tid) for tid in range(30)}
            assert (most, box.connections) == (1, 1)


async def test_on_a_shared_line_a_write_goes_before_the_polls_of_other_devices() -> None:
    go = asyncio.Event()

    async def wait(box: Converter, request: bytes, reply: Reply) -> None:
        await go.wait()
        await reply(box.answer(request))

    async with Converter(wait) as box:
        assets = [asset(box.port, f"m-{unit}", unit=unit, timeout_ms=5000) for unit in (1, 2, 3, 4)]
        async with gateway(*assets) as bench:
            client = await Client.connect(bench)
            for tid in range(30):
                client.send(ask(3, tid, unit=tid % 3 + 1, tid=tid))
            await until(lambda: len(box.seen) == 1)
            client.send(ask(6, 7, 70, unit=4, tid=99))
            await until(lambda: any("intent" in line for line in bench.stage.story))
            go.set()
            for _ in range(31):
                await client.answer()
            assert [frame[1] for frame in box.seen].index(6) <= 2


@pytest.mark.parametrize("unit", [0, 248, 255])
async def test_broadcast_and_reserved_units_are_never_asked(unit: int) -> None:
    async with Converter() as box, gateway(asset(box.port, unit=unit)) as bench:
        client = await Client.connect(bench)
        assert await client.ask(ask(6, 5, 1)) == b"\x86\x0a"
        assert box.seen == []
