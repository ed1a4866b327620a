"""The stage of northbound scenarios: tags and values, a policy of names, a journal that keeps notes."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from gateway.guard.passage import Door
from gateway.model.asset import Asset, DataType, Span, Table, Tag
from gateway.model.decision import Allowed, Approval, Decision, Denied, Obligation, Reason, Waived
from gateway.model.identity import Authentication, Caller, Identity, Kind
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Operation
from gateway.model.record import RecordKind
from gateway.model.sample import Quality
from gateway.publish.values import Reading, Values
from gateway.publish.vetting import Vetting
from tests.scenarios.stage import Memory, Moment

GATEWAY = Caller(
    identity=Identity(
        subject="spiffe://demo.example/gateway/gw-1",
        kind=Kind.GATEWAY,
        auth=Authentication.INTERNAL,
        zone="plant",
    ),
    source="internal",
    listener="internal",
    zone="plant",
    tls=None,
    connection="01GATEWAY",
)
PLC = Asset(name="plc-1", host="127.0.0.1", port=1, registers=(Span(Table.INPUT, 0, 100),))


def tag(name: str, **changes: Any) -> Tag:
    """A tag of plc-1 in per cent, with a range."""
    settings: dict[str, Any] = {
        "name": f"plc-1.{name}",
        "asset": "plc-1",
        "path": f"acme/demo/{name}",
        "table": Table.INPUT,
        "address": 0,
        "type": DataType.UINT16,
        "unit": "%",
        "low": 0.0,
        "high": 100.0,
        "stale_ms": 5000,
        **changes,
    }
    return Tag(**settings)


class Naming:
    """A policy: everything is allowed but operations on the tags, or of the kinds, that `denies` names.

    What is allowed on a tag that `obliges` names comes with those obligations.
    """

    def __init__(self) -> None:
        self.revision = "rev-1"
        self.denies: set[str] = set()
        self.obliges: dict[str, tuple[Obligation, ...]] = {}
        self.slow = False
        self.stuck = False
        self.asked: list[Operation] = []

    def _say(self, operation: Operation) -> Decision:
        names = {point.tag for point in operation.points} | {operation.kind}
        if names & self.denies:
            return Denied(revision=self.revision, reasons=(Reason("site.named", "site"),))
        owed = tuple([each for name in sorted(names) for each in self.obliges.get(name, ())])
        return Allowed(revision=self.revision, grants=("g",), evaluation="01EVALUATION", obligations=owed)

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        self.asked.append(operation)
        return None if self.slow else self._say(operation)

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        if self.stuck:
            await asyncio.Event().wait()
        return self._say(operation)


class Notes(Memory):
    """A journal that keeps notes of events and the names of denials."""

    def __init__(self) -> None:
        super().__init__([])
        self.notes: list[tuple[RecordKind, dict[str, Any]]] = []
        self.denials: list[tuple[str, str]] = []

    def denied(self, caller: Caller, operation: Operation, decision: Denied | Waived, now: Now) -> None:
        self.denials.append((decision.reasons[0].code, operation.points[0].tag if operation.points else ""))

    def event(
        self,
        kind: RecordKind,
        note: dict[str, Any],
        now: Now,
        *,
        caller: Caller | None = None,
        source: str | None = None,
    ) -> None:
        self.notes.append((kind, note))


class Counts(dict[str, int]):
    """Metrics as a dictionary."""

    def __call__(self, name: str, n: int = 1) -> None:
        self[name] = self.get(name, 0) + n


class North:
    """Values, policy and journal for one northbound test."""

    def __init__(self, *tags: Tag, clock: Callable[[], Now] | None = None) -> None:
        self.moment = Moment()
        self.now: Callable[[], Now] = clock or self.moment
        self.policy = Naming()
        self.journal = Notes()
        self.door = Door(self.policy, self.journal)
        self.counts = Counts()
        self.random = random.Random(7)  # noqa: S311
        self.values = Values(tags, (PLC,), self.now())

    def read(self, name: str, value: float | None, quality: Quality = Quality.GOOD, reason: str = "") -> None:
        """The plant said this about `plc-1.<name>`, now."""
        self.values.update([Reading(f"plc-1.{name}", value, quality, reason)], self.now())

    def vetting(self, sink: str, zone: str = "it") -> Vetting:
        return Vetting(self.values, sink=sink, zone=zone, door=self.door, caller=GATEWAY, count=self.counts)


def later(now: Now, seconds: float) -> Now:
    """That much after."""
    ns = int(seconds * SECOND)
    return Now(now.wall_ns + ns, now.mono_ns + ns, now.trusted, now.judge_ns + ns)
