"""Steps of the tour over OPC UA: what a certified application may read, write, call and watch.

The client is asyncua. What the server holds is asked of it directly, past the gateway, and what it was asked
is in its own log.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.demo.step import Skipped, hold
from gateway.demo.world import World

if TYPE_CHECKING:
    from gateway.demo.opcua_client import Session, Way

SETPOINT = "Tank.LevelSetpoint"


def _ways(world: World) -> "tuple[Way, Way]":
    """Through the gateway, and past it: only the demo is in a place to do that."""
    if not world.opcua:
        raise Skipped("OPC UA (asyncua is not installed)")
    from gateway.demo.opcua_client import Way  # asyncua may be missing
    from gateway.demo.opcua_plant import PATH

    certificate, key = world.certificate("mes-1")
    issued = world.pki / "plant" / "issued"
    host = "opc.tcp://127.0.0.1"
    return (
        Way(f"{host}:{world.ports['opcua']}/plc-2", issued / "gw-ua.pem", certificate, key),
        Way(f"{host}:{world.ports['plc-2']}{PATH}", issued / "plc-2.pem", certificate, key),
    )


async def _refused(doing: Any) -> str:
    """The name of the status with which something was refused, or empty where it was done."""
    from asyncua import ua

    try:
        await doing
    except ua.UaStatusCodeError as error:
        return type(error).__name__
    return ""


def _holds(world: World, name: str) -> Any:
    """What the server itself says."""

    async def ask() -> Any:
        async with _ways(world)[1].session() as plc:
            return await plc.read(name)

    return asyncio.run(ask())


def read(world: World) -> str:
    """The MES reads the tank's values, and gets what the server holds."""
    through, past = _ways(world)

    async def compare() -> tuple[Any, Any, tuple[float, float, float]]:
        async with through.session() as mes, past.session() as plc:
            before = await plc.read("Tank.Level")
            level = await mes.read("Tank.Level")
            after = await plc.read("Tank.Level")
            return await mes.read("Tank.Recipe"), await plc.read("Tank.Recipe"), (before, level, after)

    told, plant, (before, level, after) = asyncio.run(compare())
    hold(told == plant, f"gateway said {told}, the server {plant}")
    hold(min(before, after) - 0.5 <= level <= max(before, after) + 0.5, f"level {level}, {before}…{after}")
    return f"recipe {told}, level {level:.1f} %"


def write(world: World) -> str:
    """The MES writes the level's set point within its limits: it arrives once, as what it is."""
    old = _holds(world, SETPOINT)
    new = 65.0 if old != 65.0 else 60.0
    before = len(world.asked("plc-2", "Write"))

    async def write_it(mes: "Session") -> Any:
        await mes.write(SETPOINT, new)
        return await mes.read(SETPOINT)

    back = _with(world, write_it)
    hold(back == new, f"read back {back}")
    arrived = [(line["node"], line["value"]) for line in world.asked("plc-2", "Write")[before:]]
    hold([value for _, value in arrived] == [new], f"the server received {arrived}")
    return f"set point {old} % -> {new} %, received once, read back"


def denied_write(world: World) -> str:
    """The MES writes a set point beyond its limits, and the pump's speed, which no grant covers."""
    before, seen = _holds(world, SETPOINT), len(world.asked("plc-2", "Write"))

    async def try_both(mes: "Session") -> list[str]:
        return [
            await _refused(mes.write(SETPOINT, 97.0)),
            await _refused(mes.write("Tank.PumpSpeedSetpoint", 50.0)),
        ]

    codes = _with(world, try_both)
    hold(codes == ["BadUserAccessDenied"] * 2, f"expected BadUserAccessDenied twice, got {codes}")
    after = _holds(world, SETPOINT)
    hold(before == after, f"the set point went from {before} to {after}")
    hold(len(world.asked("plc-2", "Write")) == seen, "a write reached the server")
    return f"BadUserAccessDenied; the set point is still {after} %, the server heard nothing of it"


def denied_method(world: World) -> str:
    """The MES starts a batch, which it may, and resets the totaliser, which it may not."""
    before = len(world.asked("plc-2", "Call"))

    async def call_both(mes: "Session") -> tuple[list[Any], str]:
        return await mes.call("Tank.StartBatch", 2.0), await _refused(mes.call("Tank.ResetTotal"))

    (seconds,), code = _with(world, call_both)
    hold(code == "BadUserAccessDenied", f"expected BadUserAccessDenied, got {code}")
    arrived = [line["method"].rpartition("=")[2] for line in world.asked("plc-2", "Call")[before:]]
    hold(arrived == ["Tank.StartBatch"], f"the server was asked for {arrived}")
    return f"StartBatch took {seconds:.0f} s for 2 m3; ResetTotal BadUserAccessDenied, and never asked for"


def subscribe(world: World) -> str:
    """The MES watches the level: notifications come with the server's own time."""

    async def watch(mes: "Session") -> list[Any]:
        return await mes.watch("Tank.Level", 4)

    got = _with(world, watch)
    times = [one.SourceTimestamp for one in got]
    hold(times == sorted(times) and len(set(times)) == len(times), f"times {times}")
    hold(all(one.StatusCode.is_good() for one in got), f"status {[one.StatusCode.name for one in got]}")
    items = [line["node"].rpartition("=")[2] for line in world.asked("plc-2", "CreateMonitoredItems")]
    hold("Tank.Level" in items, "the server has no such item")
    span = (times[-1] - times[0]).total_seconds()
    return f"{len(got)} notifications, {span:.1f} s between first and last, each good"


def _with(world: World, does: Any) -> Any:
    """What somebody does in a session through the gateway."""

    async def go() -> Any:
        async with _ways(world)[0].session() as mes:
            return await does(mes)

    return asyncio.run(go())
