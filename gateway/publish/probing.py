"""One read of one tag or node, told whole: the raw value beside what the tag makes of it, status and times.

Through the passage as the gateway itself, like what the collector asks; nothing that is collected changes.
"""

import asyncio
from collections.abc import Callable
from math import isfinite
from struct import Struct as Layout
from typing import Any

from gateway.guard.passage import Door, enter, finish
from gateway.guard.ports import Answer, Plant
from gateway.guard.verdict import Forward, Pending, Refuse
from gateway.model.asset import Tag
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.sample import Sample
from gateway.publish.collector import READS
from gateway.publish.opcua_browsing import jsonable
from gateway.publish.opcua_items import reading
from gateway.publish.pages import rfc3339
from gateway.publish.ports import Session
from gateway.publish.values import decimal
from gateway.wire.modbus import functions, points
from gateway.wire.modbus.meaning import Place
from gateway.wire.opcua import asking
from gateway.wire.opcua.codes import status_name
from gateway.wire.opcua.nodeid import find, prefixes
from gateway.wire.opcua.notifications import read_values
from gateway.wire.opcua.values import Typed, ns_ticks
from gateway.wire.quanta import LastValues, quanta, rounded

_PDU = Layout(">BHH")


class NoProbeError(Exception):
    """There is no value, and why."""


async def probe_node(
    session: Session, node: str, tag: Tag | None, clock: Callable[[], Now]
) -> dict[str, Any]:
    """Read the value of a node."""
    there = find(node, session.namespaces)
    if there is None:
        raise NoProbeError(f"{node}: the server has no such namespace")
    answer = await session.ask(asking.read([there.encode()], 1, ns_ticks(clock().wall_ns)))
    if isinstance(answer, Why):
        raise NoProbeError(_why(answer))
    if not answer.good:
        raise NoProbeError(f"the server says {status_name(answer.status)}")
    values = read_values(answer, prefixes(session.namespaces))
    if not isinstance(values, tuple):
        raise NoProbeError(f"the server's answer cannot be read: {values.what}")
    now, (value,) = clock(), values
    typed = value.value
    told: dict[str, Any] = {
        "node": node,
        "type": typed.type if typed is not None else None,
        "raw": jsonable(typed) if isinstance(typed, Typed) else None,
        "status": f"0x{value.status:08X} {status_name(value.status)}",
        "source_time": None if value.source_ns is None else rfc3339(value.source_ns),
        "server_time": None if value.server_ns is None else rfc3339(value.server_ns),
        "received": rfc3339(now.wall_ns),
    }
    if tag is not None:
        said = reading(tag, value, now, 0)
        told |= {"value": said.value, "quality": said.quality.value, "reason": said.reason}
        told |= {"unit": tag.unit, "q": None if said.value is None else quanta(tag, said.value)}
    return told


class Heard:
    """The sink of a probe."""

    __slots__ = ("_future",)

    gone = False

    def __init__(self) -> None:
        self._future: asyncio.Future[tuple[Answer, Now] | Why] = asyncio.get_running_loop().create_future()

    def answered(self, permit: object, answer: Answer, at: Now) -> None:
        """The device says something."""
        if not self._future.done():
            self._future.set_result((answer, at))

    def failed(self, permit: object, why: Why) -> None:
        """It says nothing."""
        if not self._future.done():
            self._future.set_result(why)

    async def wait(self) -> tuple[Answer, Now] | Why:
        """What came of it."""
        return await self._future


async def probe_registers(
    tag: Tag,
    place: Place,
    plant: Plant,
    *,
    door: Door,
    caller: Caller,
    last: LastValues,
    clock: Callable[[], Now],
) -> dict[str, Any]:
    """Read what a Modbus tag occupies."""
    span, now = tag.span, clock()
    request = functions.read_request(place.asset.unit, _PDU.pack(READS[span.table], span.start, span.count))
    if not isinstance(request, functions.Request):
        raise NoProbeError(f"{tag.name}: that is no request: {request}")
    verdict = enter(request, place.operations(request, last, now), caller, door, now)
    if isinstance(verdict, Pending):
        verdict = await finish(verdict, door, now)
    if not isinstance(verdict, Forward):
        raise NoProbeError(_why(verdict.why if isinstance(verdict, Refuse) else Why.DENIED))
    heard = Heard()
    plant.send(verdict.permit, heard, clock())
    came = await heard.wait()
    if isinstance(came, Why):
        raise NoProbeError(_why(came))
    answer, at = came
    told: dict[str, Any] = {
        "table": span.table.value,
        "address": span.start,
        "count": span.count,
        "received": rfc3339(at.wall_ns),
        "unit": tag.unit,
    }
    if isinstance(answer, functions.DeviceException):
        reason = f"exception_{answer.code:02x}"
        return told | {"raw": None, "value": None, "quality": "bad", "reason": reason, "q": None}
    raw = points.raw(tag, answer.data, span.start, span.table)
    value = points.decode(tag, answer.data, span.start, span.table)
    value = None if value is None else decimal(rounded(tag, value))
    return told | {
        "registers": answer.data.hex(" ", 2),
        "type": tag.type.value,
        "raw": raw if raw is None or isfinite(raw) else str(raw),
        "value": value,
        "quality": "bad" if value is None else "good",
        "reason": "undecodable" if value is None else "",
        "q": None if value is None else quanta(tag, value),
    }


def collected(sample: Sample | None) -> dict[str, Any] | None:
    """What the collector knows of it."""
    if sample is None:
        return None
    return {
        "value": sample.value,
        "quality": sample.quality.value,
        "reason": sample.reason,
        "time": rfc3339(sample.at_ns),
        "received": rfc3339(sample.received_ns),
    }


def _why(why: Why) -> str:
    return {
        Why.DENIED: "policy does not let the gateway read it",
        Why.NO_PATH: "there is no connection to the device",
        Why.NO_ANSWER: "the device does not answer",
        Why.BUSY: "the device is busy",
        Why.NOT_RECORDED: "the journal cannot record it, so it is not asked",
    }.get(why, why.value)
