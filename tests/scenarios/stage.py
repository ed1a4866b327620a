"""The stage of passage scenarios: a policy of few words, a journal that only remembers, a hand-moved clock.

Everything that happens is written to one list, so that a scenario can assert the order of things.
"""

from collections.abc import Callable
from typing import Any

from gateway.guard.passage import Door
from gateway.model.decision import Allowed, Approval, Decision, Denied, Obligation, Passed, Reason, Waived
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, Operation, Protocol
from gateway.model.record import Accepted, Durable, Gap, NotRecorded, RecordKind


class Moment:
    """A clock that only moves when a scenario moves it."""

    def __init__(self) -> None:
        self.ns = 1_800_000_000 * SECOND

    def __call__(self) -> Now:
        return Now(self.ns, self.ns, True, self.ns)

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)


class Words:
    """A policy: what each (action, asset) may, else no. It can be made to need waiting, or to change."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.revision = "rev-1"
        self.allows: dict[tuple[Action, str | None], tuple[Obligation, ...]] = {}
        self.slow = False
        self.grants: tuple[str, ...] = ("g",)

    def _say(self, operation: Operation) -> Decision:
        obligations = self.allows.get((operation.action, operation.asset))
        if obligations is None:
            return Denied(revision=self.revision, reasons=(Reason("default", "default"),))
        return Allowed(revision=self.revision, grants=self.grants, obligations=obligations)

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        self.story.append(f"decide {operation.kind} writes={writes_60s}")
        return None if self.slow else self._say(operation)

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        self.story.append(f"ask {operation.kind}")
        return self._say(operation)


class Window(Accepted):
    def __init__(self, story: list[str]) -> None:
        self.story = story

    def answered(self, data: bytes) -> None:
        self.story.append(f"answered {data.hex()}")

    def failed(self, why: str) -> None:
        self.story.append(f"failed {why}")


class Memory:
    """A journal that remembers, and can be told to fail."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.broken = False
        self.gap = False
        self.during_intent: Callable[[], None] = lambda: None

    def read(
        self, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> Accepted | Gap | NotRecorded:
        if self.gap:
            return Gap(now.mono_ns + SECOND)
        if self.broken:
            return NotRecorded("broken")
        self.story.append(f"read {operation.kind}")
        return Window(self.story)

    async def intent(
        self, caller: Caller, operations: tuple[Operation, ...], decisions: tuple[Passed, ...], now: Now
    ) -> Durable | NotRecorded:
        self.during_intent()
        if self.broken:
            return NotRecorded("broken")
        self.story.append("intent " + "+".join(o.kind for o in operations))
        return Durable("01INTENT", 7)

    def outcome(self, intent: Durable, caller: Caller, result: dict[str, Any], now: Now) -> None:
        self.story.append(f"outcome {result['status']}")

    def denied(self, caller: Caller, operation: Operation, decision: Denied | Waived, now: Now) -> None:
        self.story.append(f"denied {operation.kind} {decision.reasons[0].code}")

    def event(
        self,
        kind: RecordKind,
        note: dict[str, Any],
        now: Now,
        *,
        caller: Caller | None = None,
        source: str | None = None,
    ) -> None:
        self.story.append(f"event {kind}")


class Bytes:
    """A frame of no protocol in particular."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encode(self) -> bytes:
        return self.data


CALLER = Caller(
    identity=Identity(
        subject="spiffe://demo.example/plant/hmi-1",
        kind=Kind.WORKLOAD,
        auth=Authentication.MTLS,
        zone="plant",
        roles=("operator",),
        role_state=RoleState.OK,
    ),
    source="127.0.0.1",
    listener="modbus",
    zone="plant",
    tls="1.3",
    connection="01CONN",
)
READ = Operation(protocol=Protocol.MODBUS, action=Action.READ, kind="read", asset="plc-1")
WRITE = Operation(protocol=Protocol.MODBUS, action=Action.WRITE, kind="write", asset="plc-1")


class Stage:
    """One scenario."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.counted: list[str] = []
        "What was counted for the metrics."
        self.now = Moment()
        self.engine = Words(self.story)
        self.journal = Memory(self.story)
        self.door = Door(self.engine, self.journal)

    def grant(self, action: Action, *obligations: Obligation) -> None:
        self.engine.allows[(action, "plc-1")] = obligations
