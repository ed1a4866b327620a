"""The collector over the real link against a pymodbus server, which is then stopped and started again."""

import asyncio
from collections.abc import Callable
from time import monotonic_ns, time_ns

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType as Kind
from pymodbus.simulator import SimData, SimDevice

from gateway.model.asset import Asset, DataType, Order, Span, Table, Tag
from gateway.model.moment import Now
from gateway.publish.collector import Collector
from gateway.publish.poll_plan import plan
from gateway.publish.values import Values
from gateway.relay.link import Links, PlantLink
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.interop.mosquitto import until
from tests.scenarios.north import GATEWAY, North


def clock() -> Now:
    return Now(time_ns(), monotonic_ns(), True, time_ns())


def device() -> SimDevice:
    holding = [SimData(0, values=[100, 200, 0x41AC, 0x0000, 0xFFFF, 0x0002], datatype=Kind.REGISTERS)]
    return SimDevice(id=1, simdata=holding)


def tag(asset: str, address: int, kind: DataType = DataType.UINT16, **changes: object) -> Tag:
    return Tag(
        name=f"{asset}.r{address}",
        asset=asset,
        path=f"{asset}/r{address}",
        table=Table.HOLDING,
        address=address,
        type=kind,
        poll_ms=100,
        **changes,  # type: ignore[arg-type]
    )


async def served(port: int) -> ModbusTcpServer:
    server = ModbusTcpServer(device(), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    return server


async def stop(server: ModbusTcpServer) -> None:
    await server.shutdown()  # type: ignore[no-untyped-call]


def test_values_of_a_real_server_and_the_server_stopped_polling_of_others_unharmed(
    free_port: Callable[[], int],
) -> None:
    async def scenario() -> None:
        north = North(clock=clock)
        ports = {"a": free_port(), "b": free_port()}
        servers = {name: await served(port) for name, port in ports.items()}
        assets = [
            Asset(
                name=name, host="127.0.0.1", port=port, timeout_ms=500, registers=(Span(Table.HOLDING, 0, 6),)
            )
            for name, port in ports.items()
        ]
        tags = [
            make
            for name in ports
            for make in (
                tag(name, 0, scale=0.1),
                tag(name, 1),
                tag(name, 2, DataType.FLOAT32, resolution=0.1),
                tag(name, 4, DataType.INT32, word_order=Order.LITTLE),
            )
        ]
        north.values = Values(tags, assets, clock())
        tasks, links = Tasks(), Links()
        plants = {
            one.name: links.add(PlantLink(one, door=north.door, clock=clock, tasks=tasks)) for one in assets
        }
        collector = Collector(
            values=north.values,
            door=north.door,
            caller=GATEWAY,
            clock=clock,
            tasks=tasks,
            random=north.random,
            count=north.counts,
            backoff_s=1.0,
        )
        places = {one.name: Place(one, [each for each in tags if each.asset == one.name]) for one in assets}
        collector.replace([poll for one in assets for poll in plan(one, tags, 8)], places, plants)
        links.start(clock)
        tasks.start(collector.run(), "collector")

        def told(name: str) -> tuple[object, str]:
            released = north.vetting("test").released(name, clock())
            assert released is not None
            return released.sample.value, released.sample.reason

        try:
            expected = {"r0": 10.0, "r1": 200, "r2": 21.5, "r4": 0x2FFFF}
            for asset in ("a", "b"):
                for name, value in expected.items():
                    await until(lambda n=f"{asset}.{name}", v=value: told(n) == (v, ""))
            await stop(servers["a"])
            await until(
                lambda: {told(f"a.{name}") for name in expected} <= {(None, "device_down"), (None, "timeout")}
            )
            sample = north.values.sample("b.r1")
            assert sample is not None
            before = sample.sequence

            def goes_on() -> bool:
                latest = north.values.sample("b.r1")
                return latest is not None and latest.sequence >= before + 5 and told("b.r1") == (200, "")

            await until(goes_on)
            servers["a"] = await served(ports["a"])
            await until(lambda: told("a.r2") == (21.5, ""))
        finally:
            await tasks.stop()
            links.stop()
            for server in servers.values():
                await stop(server)

    asyncio.run(scenario())
