"""Stages: what a listener or asset that only watches lets through, and what it never does."""

import asyncio

import pytest
from msgspec.structs import replace

from gateway.guard.passage import decide, enter, finish
from gateway.guard.stages import PLANT, WAIVED
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.decision import Approval, Decision, Denied, Obligation, Passed, Reason, Waived, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, NorthTarget, Operation, Point, Protocol
from gateway.model.record import Accepted, Durable, Gap, NotRecorded
from gateway.model.stage import Stage as Rollout

from .north import GATEWAY
from .stage import CALLER, READ, WRITE, Bytes, Memory, Stage

KINDS = ["guardrail", "engine", "wire", "obligation", "site", "base", "grant", "default"]
"Every kind of reason there is (`model.decision.Reason`)."
STAGES = [Rollout.OBSERVE, Rollout.MONITOR, Rollout.ENFORCE]


class Denying:
    """Policy that denies all, for given kinds of reasons."""

    revision = "rev-1"

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        return Denied(revision="rev-1", reasons=tuple(Reason(f"{kind}.x", kind) for kind in self.kinds))

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        return self.decide(caller, operation, now) or Denied(revision="", reasons=())


class Keeping(Memory):
    """A journal that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__([])
        self.passed: list[Passed] = []
        self.refused: list[Denied | Waived] = []

    def read(
        self, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> Accepted | Gap | NotRecorded:
        self.passed.append(decision)
        return super().read(caller, operation, decision, now)

    async def intent(
        self, caller: Caller, operations: tuple[Operation, ...], decisions: tuple[Passed, ...], now: Now
    ) -> Durable | NotRecorded:
        self.passed += decisions
        return await super().intent(caller, operations, decisions, now)

    def denied(self, caller: Caller, operation: Operation, decision: Denied | Waived, now: Now) -> None:
        self.refused.append(decision)


class Set:
    """Stages as somebody set them, by asset."""

    def __init__(self, stage: Rollout) -> None:
        self.stage = stage
        self.asked: list[tuple[str, str | None]] = []

    def of(self, listener: str, asset: str | None) -> Rollout:
        self.asked.append((listener, asset))
        return self.stage


class Site:
    """A door with such a policy, in such a stage."""

    def __init__(self, kinds: tuple[str, ...], rollout: Rollout) -> None:
        self.stage = Stage()
        self.journal, self.stages = Keeping(), Set(rollout)
        door = self.stage.door
        door.engine, door.journal, door.stages = Denying(kinds), self.journal, self.stages

    def send(self, operation: Operation, caller: Caller = CALLER) -> Verdict:
        verdict = enter(Bytes(b"frame"), (operation,), caller, self.stage.door, self.stage.now())
        if isinstance(verdict, Pending):
            verdict = asyncio.run(finish(verdict, self.stage.door, self.stage.now()))
        return verdict


def operation(protocol: Protocol, action: Action) -> Operation:
    return Operation(protocol=protocol, action=action, kind=f"{protocol}.{action}", asset="plc-1")


@pytest.mark.parametrize("rollout", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_only_what_policy_denies_is_waived_and_only_where_clients_speak_to_the_plant(
    kind: str, rollout: Rollout
) -> None:
    for protocol in Protocol:
        for action in Action:
            site = Site((kind,), rollout)
            verdict = site.send(operation(protocol, action))
            waived = (
                rollout is not Rollout.ENFORCE
                and kind in {"obligation", "site", "base", "grant", "default"}
                and protocol in (Protocol.MODBUS, Protocol.OPCUA)
                and action is not Action.ADMIN
            )
            assert isinstance(verdict, Forward) == waived, (protocol, action)
            if waived:
                (decision,) = site.journal.passed
                assert isinstance(decision, Waived)
                assert (decision.stage, decision.reasons[0].kind) == (rollout, kind)
            else:
                assert verdict == Refuse(Why.DENIED)
                assert isinstance(site.journal.refused[0], Denied)


def test_the_table_knows_every_kind_that_it_waives() -> None:
    assert set(KINDS) > WAIVED
    assert set(Protocol) > PLANT


@pytest.mark.parametrize("kind", sorted(set(KINDS) - WAIVED))
def test_one_reason_that_is_never_waived_is_enough(kind: str) -> None:
    for kinds in (("site", kind), (kind, "default")):
        assert Site(kinds, Rollout.OBSERVE).send(WRITE) == Refuse(Why.DENIED)


def test_a_kind_of_reason_that_nobody_knows_and_none_at_all_deny() -> None:
    assert Site(("novel",), Rollout.OBSERVE).send(READ) == Refuse(Why.DENIED)
    assert Site((), Rollout.OBSERVE).send(READ) == Refuse(Why.DENIED)


def test_what_could_not_be_read_is_never_waived() -> None:
    site = Site(("grant",), Rollout.OBSERVE)
    assert site.send(replace(WRITE, unreadable="partial_tag")) == Refuse(Why.DENIED)
    assert site.send(replace(READ, unreadable="partial_tag")) == Refuse(Why.DENIED)


@pytest.mark.parametrize("operation", [READ, WRITE], ids=["read", "write"])
def test_the_gateways_own_polls_are_always_enforced(operation: Operation) -> None:
    site = Site(("grant",), Rollout.OBSERVE)
    assert site.send(operation, GATEWAY) == Refuse(Why.DENIED)
    assert not site.stages.asked


def test_what_goes_to_it_is_always_enforced() -> None:
    north = Operation(
        protocol=Protocol.MQTT,
        action=Action.PUBLISH,
        kind="mqtt.publish_tag",
        asset="plc-1",
        north=NorthTarget(topic="t", consumer="broker"),
        points=(Point("plc-1.level"),),
    )
    assert Site(("grant",), Rollout.OBSERVE).send(north) == Refuse(Why.DENIED)


@pytest.mark.parametrize(("rollout", "records"), [(Rollout.OBSERVE, 0), (Rollout.MONITOR, 1)])
@pytest.mark.parametrize("operation", [READ, WRITE], ids=["read", "write"])
def test_monitor_also_records_what_would_be_a_denial(
    operation: Operation, rollout: Rollout, records: int
) -> None:
    site = Site(("site",), rollout)
    assert isinstance(site.send(operation), Forward)
    assert len(site.journal.refused) == records
    assert all(isinstance(each, Waived) for each in site.journal.refused)


def test_the_stage_is_that_of_listener_and_asset_and_a_change_reaches_the_next_request() -> None:
    site = Site(("site",), Rollout.OBSERVE)
    assert isinstance(site.send(WRITE), Forward)
    assert site.stages.asked == [("modbus", "plc-1")]
    site.stages.stage = Rollout.ENFORCE
    assert site.send(WRITE) == Refuse(Why.DENIED)


def test_a_change_of_stage_while_a_decision_is_waited_for_counts() -> None:
    site = Site(("site",), Rollout.OBSERVE)
    first = enter(Bytes(b"frame"), (WRITE,), CALLER, site.stage.door, site.stage.now())
    assert isinstance(first, Pending)
    site.stages.stage = Rollout.ENFORCE
    assert asyncio.run(finish(first, site.stage.door, site.stage.now())) == Refuse(Why.DENIED)


def test_a_waived_write_has_its_durable_intent_all_the_same() -> None:
    site = Site(("default",), Rollout.OBSERVE)
    site.journal.broken = True
    assert site.send(WRITE) == Refuse(Why.NOT_RECORDED)


def test_a_waived_write_counts_for_the_budget_which_is_a_guardrail() -> None:
    site = Site(("grant",), Rollout.OBSERVE)
    for _ in range(3):
        site.send(WRITE)
    counted = site.stage.door.writes.count(CALLER.identity.subject, "plc-1", site.stage.now().mono_ns)
    assert counted == 3


def test_a_write_whose_unmet_obligation_is_waived_is_one_write() -> None:
    stage = Stage()
    stage.door.stages = Set(Rollout.OBSERVE)
    stage.grant(Action.WRITE, Obligation("rate", (("n", 1), ("per_s", 60))))
    for sent in (1, 2, 3):
        verdict = enter(Bytes(b"frame"), (WRITE,), CALLER, stage.door, stage.now())
        assert isinstance(verdict, Pending)
        assert isinstance(asyncio.run(finish(verdict, stage.door, stage.now())), Forward)
        assert stage.door.writes.count(CALLER.identity.subject, "plc-1", stage.now().mono_ns) == sent


def test_a_frame_passes_only_where_every_operation_does() -> None:
    """One operation is waived; another is denied for good: nothing of the frame leaves."""
    site = Site(("site",), Rollout.OBSERVE)
    odd = replace(READ, unreadable="partial_tag")
    verdict = enter(Bytes(b"frame"), (WRITE, odd), CALLER, site.stage.door, site.stage.now())
    assert isinstance(verdict, Pending)
    assert asyncio.run(finish(verdict, site.stage.door, site.stage.now())) == Refuse(Why.DENIED)
    assert not site.journal.passed


def test_a_waived_permit_dies_with_its_bundle() -> None:
    verdict = Site(("site",), Rollout.OBSERVE).send(WRITE)
    assert isinstance(verdict, Forward)
    assert verdict.permit.spend("rev-2", 0) is None


def test_asking_alone_waives_nothing() -> None:
    """`decide` says what policy says; only the passage lets through."""
    site = Site(("site",), Rollout.OBSERVE)
    decision = decide(READ, CALLER, site.stage.door, site.stage.now())
    assert isinstance(decision, Denied)
