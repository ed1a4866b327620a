"""A journal with every kind of record in it, written by the real one, and what an exporter is given of it."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.audit.journal import Journal
from gateway.audit.reader import records
from gateway.config.settings import ExportSection, Leave
from gateway.export.carriers import Carrier
from gateway.export.destination import Destination, Extent
from gateway.export.ocsf import Event
from gateway.export.receipt import Unreachable
from gateway.model.decision import Approval, Waived
from gateway.model.operation import Action, AdminTarget, NorthTarget, OpcuaTarget, Operation, Protocol
from gateway.model.record import Accepted, Durable, RecordKind
from gateway.model.stage import Stage
from tests.unit.audit import world

NOTES: tuple[tuple[RecordKind, dict[str, Any]], ...] = (
    (RecordKind.AUTH, {"result": "accepted", "tls": "1.3", "listener": "north"}),
    (RecordKind.AUTH, {"result": "unidentified", "listener": "plain"}),
    (RecordKind.AUTH, {"result": "refused", "code": "tls.unknown_ca", "message": "no", "listener": "north"}),
    (RecordKind.AUTH, {"result": "cut", "code": "trust.revoked", "message": "gone", "listener": "north"}),
    (RecordKind.FINDING, {"finding": "tid_reuse", "severity": "low", "asset": "plc-1", "side": "client"}),
    (RecordKind.FINDING, {"alarm": "readback.mismatch", "intent": "X"}),
    (RecordKind.POLICY, {"result": "active", "revision": "r" * 64}),
    (RecordKind.POLICY, {"result": "refused", "what": "policy", "why": "broken"}),
    (RecordKind.CONFIG, {"what": "certificates", "result": "loaded"}),
    (RecordKind.ADMIN, {"event": "approval requested", "by_role": "shift-lead", "request": "R", "kind": "x"}),
    (RecordKind.ADMIN, {"event": "approval used", "by": ["spiffe://p/anna"], "statement_1": "{}"}),
    (RecordKind.ADMIN, {"event": "window over", "id": "W", "name": "night", "by": "spiffe://p/anna"}),
    (RecordKind.ADMIN, {"event": "break_glass over", "id": "G", "name": "fire", "by": "spiffe://p/anna"}),
    (RecordKind.LIFECYCLE, {"what": "expiry", "name": "policy", "level": "warning", "days_left": 3}),
    (RecordKind.LIFECYCLE, {"event": "retention", "first": 0, "last": 9}),
    (RecordKind.GAP, {"why": "EIO", "missed": {"record": 2}, "from_ns": 1, "to_ns": 2}),
    (RecordKind.WITHHELD, {"tag": "plc-1.level", "reasons": ["range"], "sink": "https"}),
)
"What is told by notes alone."


def operations() -> list[Operation]:
    """One of each action, and of each protocol."""
    people = AdminTarget(subject="spiffe://p/anna", scope="asset:plc-1", minutes=30)
    return [
        world.writing(),
        replace(world.writing(), action=Action.CALL, kind="modbus.unknown", unreadable="unknown_function"),
        Operation(
            protocol=Protocol.OPCUA,
            action=Action.CALL,
            kind="opcua.call",
            asset="plc-2",
            asset_kind="plc",
            opcua=OpcuaTarget(service="Call", node="nsu=urn:plc;s=Tank", method="nsu=urn:plc;s=Empty"),
        ),
        Operation(protocol=Protocol.CONTROL, action=Action.ADMIN, kind="admin.break_glass", admin=people),
        Operation(protocol=Protocol.CONTROL, action=Action.ADMIN, kind="admin.set_stage", admin=people),
    ]


async def write(folder: Path, clock: world.Clock, **changes: Any) -> Journal:
    """A journal that has stopped, with every kind of record."""
    journal = world.journal(folder, clock, denials_in_full=2, **changes)
    journal.open()
    await journal.start(asyncio.get_running_loop())
    caller = world.caller()
    for operation in operations():
        allow = replace(world.ALLOW, approval=Approval(id="R", by=("spiffe://p/anna",)))
        receipt = await journal.intent(caller, (operation,), (allow,), clock())
        assert isinstance(receipt, Durable)
        status = (
            {"status": "exception_02", "code": 2}
            if operation.protocol is Protocol.OPCUA
            else {"status": "ok"}
        )
        journal.outcome(receipt, caller, status, clock())
        journal.outcome(receipt, caller, {"status": "ok", "readback": {"matches": False, "why": ""}}, clock())
        if operation.kind == "admin.set_stage":
            journal.outcome(receipt, caller, {"status": "timeout"}, clock())
    waived = Waived(denied=world.DENY, stage=Stage.MONITOR)
    north = NorthTarget(topic="acme/a", consumer="broker", format="uns-json")
    publish = Operation(protocol=Protocol.MQTT, action=Action.PUBLISH, kind="mqtt.publish_tag", north=north)
    for operation in (world.writing(), world.reading(), publish):
        for decision in (world.DENY, waived):
            journal.denied(caller, operation, decision, clock.forward(0.001))
    for operation, passed in (
        (world.reading(), world.READ_OK),
        (world.reading(asset="plc-3"), world.READ_OK),
        (world.reading(40), waived),
        (publish, world.READ_OK),
    ):
        counted = journal.read(caller, operation, passed, clock())
        assert isinstance(counted, Accepted)
        counted.answered(b"12")
    for kind, note in NOTES:
        journal.event(kind, note, clock(), caller=caller)
    for _ in range(5):
        journal.denied(caller, world.reading(90), world.DENY, clock())
        journal.event(RecordKind.AUTH, {"result": "refused", "code": "tls.no"}, clock(), source="10.9.9.9")
        journal.event(RecordKind.FINDING, {"finding": "short"}, clock(), source="not an address")
    clock.forward(11)
    await journal.stop()
    return journal


def written(folder: Path) -> list[tuple[int, bytes]]:
    """What is in a journal."""
    return list(records(folder))


class Shelf:
    """A receiver in memory that can be away, and that confirms or not."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.pending: list[Event] = []
        self.away = False
        self.receipts = True
        self.most_pending = 0
        self._events: dict[bytes, Event] = {}

    def render(self, event: Event) -> bytes:
        self._events[event.uid.encode()] = event
        return event.uid.encode()

    async def send(self, events: Any) -> None:
        if self.away:
            raise Unreachable("away")
        self.pending += [self._events[each] for each in events]
        self.most_pending = max(self.most_pending, len(self.pending))

    async def confirm(self) -> None:
        self.kept += self.pending
        self.pending = []
        if not self.receipts:
            raise Unreachable("no receipt")

    def abort(self) -> None:
        self.pending = []


def destination(
    folder: Path,
    carrier: Carrier,
    clock: world.Clock,
    extent: Callable[[], Extent],
    *,
    sleep: Any = None,
    alarms: list[tuple[str, dict[str, Any]]] | None = None,
    without: tuple[RecordKind, ...] = (),
    once: Leave = Leave.DURABLE,
    origin: str = world.ORIGIN,
) -> Destination:
    """One destination over `folder`/journal, its place in `folder`/state."""
    told = [] if alarms is None else alarms
    (folder / "state").mkdir(exist_ok=True)
    return Destination(
        ExportSection(name="siem", without=without, once=once),
        carrier,
        journal=folder / "journal",
        state=folder / "state",
        origin=origin,
        extent=extent,
        clock=clock,
        alarm=lambda code, known: told.append((code, known)),
        random=random.Random(1),  # noqa: S311
        **({"sleep": sleep} if sleep is not None else {}),
    )
