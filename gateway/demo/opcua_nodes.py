"""The nodes of the demo's OPC UA server: a second tank, one node for each of its values, and three methods.

    Objects / Tank  (s=Tank)
      Level, Temperature, FlowIn, Total, HighLevel                      what is measured: read only
      LevelSetpoint, PumpSpeedSetpoint, BatchVolume, Recipe             what operators set, with limits
      PumpRun, ValveOpen, Maintenance
      StartBatch(volume m3) -> seconds     ResetTotal()     SelfTest(seconds) -> result

Ids are `nsu=urn:demo.example:tank-farm;s=Tank.<name>`. The level keeps a history of an hour.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from asyncua import Node, Server, ua
from asyncua.ua import VariantType as Kind

from gateway.demo.tank import PUMP_M3_H, Tank

NAMESPACE = "urn:demo.example:tank-farm"

HISTORY = timedelta(hours=1)

HISTORY_VALUES = 36_000
"An hour of values at ten a second."

LONGEST_TEST_S = 5.0

Method = Callable[..., Awaitable[Any]]
Status = ua.StatusCodes

PERCENT = (0.0, 100.0)


def node_id(identifier: str | int, index: int = 0) -> ua.NodeId:
    """A node id as the library wants it."""
    plain = ua.String(identifier) if isinstance(identifier, str) else ua.Int32(identifier)
    return ua.NodeId(plain, ua.Int16(index))


def status(code: int) -> ua.StatusCode:
    """A status code as the library wants it."""
    return ua.StatusCode(ua.UInt32(code))


@dataclass(frozen=True)
class Variable:
    """One value of the tank as a node. Without limits and a field to set it is read only."""

    name: str
    kind: Kind
    of: Callable[[Tank], Any]
    field: str | None = None
    "The model's field that a write sets."
    limits: tuple[float, float] | None = None
    "A PLC checks what it is told to do: beyond these a write is Bad_OutOfRange."
    length: int | None = None
    "Of an array: what is written must be as long."

    def refuses(self, value: Any) -> ua.StatusCode | None:
        """Why a written value is not taken, if it is not."""
        values = value if isinstance(value, list) else [value]
        if self.length is not None and (not isinstance(value, list) or len(value) != self.length):
            return status(Status.BadTypeMismatch)
        if self.limits and not all(self.limits[0] <= one <= self.limits[1] for one in values):
            return status(Status.BadOutOfRange)
        return None


VARIABLES = (
    Variable("Level", Kind.Double, lambda tank: tank.level_pct),
    Variable("Temperature", Kind.Double, lambda tank: tank.temperature_c),
    Variable("FlowIn", Kind.Float, lambda tank: tank.flow_in_m3_h),
    Variable("Total", Kind.UInt32, lambda tank: int(tank.total_l)),
    Variable("HighLevel", Kind.Boolean, lambda tank: tank.high_level),
    Variable("LevelSetpoint", Kind.Double, lambda tank: tank.level_sp_pct, "level_sp_pct", PERCENT),
    Variable(
        "PumpSpeedSetpoint", Kind.Double, lambda tank: tank.pump_speed_sp_pct, "pump_speed_sp_pct", PERCENT
    ),
    Variable("BatchVolume", Kind.Float, lambda tank: tank.batch_volume_m3, "batch_volume_m3", (0.0, 50.0)),
    Variable("Recipe", Kind.UInt16, lambda tank: list(tank.recipe), "recipe", length=10),
    Variable("PumpRun", Kind.Boolean, lambda tank: tank.pump_run, "pump_run"),
    Variable("ValveOpen", Kind.Boolean, lambda tank: tank.valve_open, "valve_open"),
    Variable("Maintenance", Kind.Boolean, lambda tank: tank.maintenance, "maintenance"),
)


def _argument(name: str, about: str) -> ua.Argument:
    return ua.Argument(Name=name, DataType=node_id(ua.ObjectIds.Double), Description=ua.LocalizedText(about))


class TankNodes:
    """A tank behind the nodes of a server. `publish` carries the model's values into them."""

    def __init__(self, server: Server, index: int, model: Tank) -> None:
        self.model = model
        self._server = server
        self._index = index
        self._by_node = {self.node_id(one.name): one for one in VARIABLES}
        self._shown: dict[str, Any] = {}

    def node_id(self, name: str) -> ua.NodeId:
        """The id of the node of that name on the tank."""
        return node_id(f"Tank.{name}", self._index)

    def variable(self, node: ua.NodeId) -> Variable | None:
        """The value of the tank that a node shows."""
        return self._by_node.get(node)

    async def make(self) -> None:
        """Make the nodes, under Objects."""
        objects = self._server.get_objects_node()
        tank = await objects.add_object(node_id("Tank", self._index), ua.QualifiedName("Tank", self._index))
        for one in VARIABLES:
            node = await tank.add_variable(
                self.node_id(one.name),
                ua.QualifiedName(one.name, self._index),
                ua.Variant(one.of(self.model), one.kind),
                datatype=node_id(one.kind.value),
            )
            if one.field:
                await node.set_writable()
        await self._methods(tank)
        level = self._server.get_node(self.node_id("Level"))
        await self._server.historize_node_data_change(level, HISTORY, HISTORY_VALUES)
        await self.publish()

    async def publish(self) -> None:
        """Write what has changed in the model to its nodes, with the moment as source timestamp."""
        for one in VARIABLES:
            now = one.of(self.model)
            if self._shown.get(one.name) != now:
                await self.show(one)

    async def show(self, one: Variable) -> None:
        """Write the model's value to its node."""
        self._shown[one.name] = one.of(self.model)
        now = ua.DateTime.now(UTC)
        await self._server.write_attribute_value(
            self.node_id(one.name), good(one.of(self.model), one.kind, now)
        )

    async def set(self, one: Variable, value: Any) -> None:
        """Somebody has written a value that is allowed."""
        if one.field:
            setattr(self.model, one.field, value)
        await self.show(one)

    async def _methods(self, tank: Node) -> None:
        volume = _argument("Volume", "m3, 0.1 to 5")
        seconds = _argument("Seconds", "s")
        methods: list[tuple[str, Method, list[ua.Argument], list[ua.Argument]]] = [
            ("StartBatch", self._start_batch, [volume], [seconds]),
            ("ResetTotal", self._reset_total, [], []),
            ("SelfTest", self._self_test, [seconds], [_argument("Result", "0: nothing found")]),
        ]
        for name, does, takes, gives in methods:
            await tank.add_method(self.node_id(name), ua.QualifiedName(name, self._index), does, takes, gives)

    async def _start_batch(self, _parent: ua.NodeId, *given: ua.Variant) -> Any:
        """A batch of a volume: how long the pump will take for it."""
        wrong = _arguments(given, 1)
        if wrong is not None:
            return wrong
        volume = given[0].Value
        if not 0.1 <= volume <= 5.0:
            return ua.CallMethodResult(
                StatusCode=status(Status.BadInvalidArgument),
                InputArgumentResults=[status(Status.BadOutOfRange)],
            )
        self.model.batch_volume_m3 = volume
        await self.publish()
        return [ua.Variant(volume / PUMP_M3_H * 3600, Kind.Double)]

    async def _reset_total(self, _parent: ua.NodeId, *given: ua.Variant) -> Any:
        """The totaliser begins anew: what was counted is lost."""
        wrong = _arguments(given, 0)
        if wrong is not None:
            return wrong
        self.model.total_l = 0.0
        await self.publish()
        return []

    async def _self_test(self, _parent: ua.NodeId, *given: ua.Variant) -> Any:
        """Something that takes its time."""
        wrong = _arguments(given, 1)
        if wrong is not None:
            return wrong
        await asyncio.sleep(min(LONGEST_TEST_S, max(0.0, given[0].Value)))
        return [ua.Variant(0.0, Kind.Double)]


def _arguments(given: tuple[ua.Variant, ...], count: int) -> ua.StatusCode | None:
    """What is wrong with the number or the types of a method's arguments; all of them are Double."""
    if len(given) != count:
        return status(Status.BadArgumentsMissing if len(given) < count else Status.BadTooManyArguments)
    if any(one.VariantType != Kind.Double for one in given):
        return status(Status.BadInvalidArgument)
    return None


def good(value: Any, kind: Kind, at: ua.DateTime) -> ua.DataValue:
    """A value as a server holds it, made at a moment."""
    variant = ua.Variant(value, kind)
    return ua.DataValue(variant, StatusCode=status(Status.Good), SourceTimestamp=at, ServerTimestamp=at)
