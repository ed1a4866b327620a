"""Obligations: each is carried out as the table of `guard/obligations.py` says, or the answer is no."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.guard.obligations import KNOWN, to_read_back
from gateway.guard.passage import enter, finish, intent
from gateway.guard.ports import Frame
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.asset import DataType, Table, Tag
from gateway.model.decision import Allowed, Obligation, Why
from gateway.model.moment import SECOND
from gateway.model.operation import Action, ModbusTarget, NorthTarget, Operation, Point, Protocol
from gateway.model.sample import Quality, Released, Sample
from gateway.model.stage import Stage as Rollout
from gateway.publish import pages, uns
from tests.scenarios.north import tag

from .stage import CALLER, READ, WRITE, Bytes, Stage

LEVEL = tag("level", resolution=0.1, scale=0.1)
NORTH = Operation(
    protocol=Protocol.HTTPS,
    action=Action.READ,
    kind="https.read_tag",
    asset="plc-1",
    north=NorthTarget(consumer="historian"),
    points=(Point(LEVEL.name),),
)


def obligation(kind: str, **params: Any) -> Obligation:
    return Obligation(kind, tuple(sorted(params.items())))


def holding(*points: Point, table: Table | None = Table.HOLDING) -> Operation:
    target = ModbusTarget(unit=1, fc=16, table=table, start=0, count=1)
    return replace(WRITE, modbus=target, points=points)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def send(stage: Stage, frame: Frame, *operations: Operation) -> Verdict:
    verdict = enter(frame, operations, CALLER, stage.door, stage.now())
    if isinstance(verdict, Pending):
        verdict = asyncio.run(finish(verdict, stage.door, stage.now()))
    return verdict


def denials(stage: Stage) -> list[str]:
    return [line.split()[-1] for line in stage.story if line.startswith("denied")]


def sample(
    stage: Stage, value: float | None = 41.3, quality: Quality = Quality.GOOD, age_s: float = 0
) -> Released:
    now = stage.now()
    taken = now.mono_ns - int(age_s * SECOND)
    return Released(
        Sample(
            tag=LEVEL.name,
            value=value,
            quality=quality,
            at_ns=taken,
            received_ns=taken,
            mono_ns=taken,
            sequence=7,
        )
    )


def body(stage: Stage, released: Released, of: Tag = LEVEL) -> dict[str, Any] | None:
    """What IT is told; None where it is refused."""
    verdict = send(stage, pages.TagBody(released, of), NORTH)
    if not isinstance(verdict, Forward):
        return None
    data = verdict.permit.spend(stage.engine.revision, stage.now.ns)
    assert data is not None
    told: dict[str, Any] = json.loads(data)
    return told


# to IT ------------------------------------------------------------------------------------------------


def test_a_masked_tag_is_there_without_its_value_and_says_why(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("mask"))
    told = body(stage, sample(stage))
    assert told is not None
    assert (told["value"], told["quality"], told["reason"]) == (None, "bad", "masked")


@pytest.mark.parametrize(
    ("value", "step", "rounded"),
    [
        (41.3, 1, 41.3),
        (41.3, 10, 41.0),
        (41.3, 50, 40.0),
        (42.5, 50, 40.0),
        (47.5, 50, 50.0),
        (-0.3, 10, 0.0),
    ],
)
def test_a_rounded_value_goes_in_steps_of_quanta(
    stage: Stage, value: float, step: int, rounded: float
) -> None:
    stage.grant(Action.READ, obligation("round", step=step))
    told = body(stage, sample(stage, value))
    assert told is not None
    assert (told["value"], told["quality"]) == (rounded, "good")


def test_two_steps_are_both_kept_and_a_mask_wins(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("round", step=10), obligation("round", step=25))
    told = body(stage, sample(stage, 17.0))
    assert told is not None
    assert told["value"] == 15.0, "a multiple of 10 and of 25 quanta: of 50"
    stage.grant(Action.READ, obligation("round", step=10), obligation("mask"))
    told = body(stage, sample(stage))
    assert told is not None
    assert told["reason"] == "masked"


def test_an_integer_stays_one(stage: Stage) -> None:
    whole = replace(LEVEL, scale=1.0, resolution=1.0)
    stage.grant(Action.READ, obligation("round", step=5))
    verdict = send(stage, pages.TagBody(sample(stage, 42), whole), NORTH)
    assert isinstance(verdict, Forward)
    assert b'"value":40,' in (verdict.permit.spend("rev-1", stage.now.ns) or b"")


def test_what_cannot_be_rounded_is_refused_or_without_value(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("round", step=5))
    assert body(stage, sample(stage, True), replace(LEVEL, type=DataType.BOOL)) is None
    assert denials(stage) == ["obligation.round"]
    told = body(stage, sample(stage, 1e300), replace(LEVEL, type=DataType.FLOAT64))
    assert told is not None
    assert (told["value"], told["reason"]) == (None, "round")


def test_the_permit_holds_what_policy_obliged_to_and_nothing_else(stage: Stage) -> None:
    stage.grant(Action.PUBLISH, obligation("round", step=100))
    message = uns.TagMessage(released=sample(stage), tag=LEVEL, topic="t", gateway="g", expiry_s=60)
    verdict = send(stage, message, replace(NORTH, protocol=Protocol.MQTT, action=Action.PUBLISH))
    assert isinstance(verdict, Forward)
    assert json.loads(verdict.permit.frame.encode())["v"] == 40.0
    assert json.loads(message.encode())["v"] == 41.3


@pytest.mark.parametrize("kind", ["mask", "round"])
@pytest.mark.parametrize("operation", [READ, WRITE], ids=["read", "write"])
def test_in_the_plant_nothing_is_masked_so_it_is_denied(
    stage: Stage, kind: str, operation: Operation
) -> None:
    stage.grant(operation.action, obligation(kind, **({"step": 2} if kind == "round" else {})))
    assert send(stage, Bytes(b"frame"), operation) == Refuse(Why.DENIED)
    assert denials(stage) == ["obligation.only_north"]


@pytest.mark.parametrize(
    ("quality", "age_s", "passes"),
    [
        (Quality.GOOD, 0, True),
        (Quality.GOOD, 2, True),
        (Quality.GOOD, 2.001, False),
        (Quality.UNCERTAIN, 0, False),
        (Quality.BAD, 0, False),
    ],
)
def test_quality_to_it_is_good_and_young(stage: Stage, quality: Quality, age_s: float, passes: bool) -> None:
    stage.grant(Action.READ, obligation("quality", max_age_ms=2000))
    assert (body(stage, sample(stage, quality=quality, age_s=age_s)) is not None) == passes
    assert denials(stage) == ([] if passes else ["obligation.quality"])


def test_quality_is_judged_before_the_mask(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("mask"), obligation("quality", max_age_ms=2000))
    assert body(stage, sample(stage)) is not None


# to the plant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "passes"),
    [
        ((Point("a", 1, 2, 500),), True),
        ((Point("a", 1, 2, 501),), False),
        ((Point("a", 1, None, None),), False),
        ((Point("a", 1, 2, 500), Point("b", 1, None, None)), False),
        ((Point("a", 1, None, 0),), False),
        ((), False),
    ],
)
def test_a_write_needs_what_is_known_of_every_tag(
    stage: Stage, points: tuple[Point, ...], passes: bool
) -> None:
    stage.grant(Action.WRITE, obligation("quality", max_age_ms=500))
    assert isinstance(send(stage, Bytes(b"frame"), holding(*points)), Forward) == passes
    assert denials(stage) == ([] if passes else ["obligation.quality"])


def test_a_read_of_the_plant_has_no_quality_yet(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("quality", max_age_ms=500))
    assert send(stage, Bytes(b"frame"), replace(READ, points=(Point("a"),))) == Refuse(Why.DENIED)


@pytest.mark.parametrize(
    "operation",
    [
        holding(),
        holding(Point("a", None)),
        holding(Point("a", 1), Point("b", None)),
        holding(Point("a", 1), table=None),
        replace(holding(Point("a", 1)), modbus=None),
        replace(holding(Point("a", 1)), protocol=Protocol.OPCUA),
        replace(holding(Point("a", 1)), action=Action.CALL),
    ],
)
def test_what_cannot_be_read_back_is_denied(stage: Stage, operation: Operation) -> None:
    stage.grant(Action.WRITE, obligation("readback", tolerance=0))
    stage.grant(Action.CALL, obligation("readback", tolerance=0))
    assert send(stage, Bytes(b"frame"), operation) == Refuse(Why.DENIED)
    assert denials(stage) == ["obligation.readback"]


def test_a_door_finds_what_it_must_read_back(stage: Stage) -> None:
    stage.grant(Action.WRITE, obligation("readback", tolerance=3), obligation("readback", tolerance=1))
    stage.grant(Action.READ)
    write = holding(Point("a", 1))
    verdict = send(stage, Bytes(b"frame"), write, READ)
    assert isinstance(verdict, Forward)
    durable = intent(verdict.permit)
    assert durable is not None
    assert durable.record == "01INTENT"
    (owed,) = to_read_back(verdict.permit.operations, verdict.permit.decisions)
    assert (owed.operation, owed.tolerance) == (write, 1)
    read = send(stage, Bytes(b"frame"), READ)
    assert isinstance(read, Forward)
    assert intent(read.permit) is None


def test_expire_at_needs_a_clock_that_is_believed(stage: Stage) -> None:
    at = stage.now.ns + SECOND
    stage.grant(Action.READ, obligation("expire", at_ns=at))
    verdict = send(stage, Bytes(b"frame"), READ)
    assert isinstance(verdict, Forward)
    assert verdict.permit.expires_mono_ns == at, "this stage's two clocks are one"
    now = stage.now()
    doubted = enter(Bytes(b"frame"), (READ,), CALLER, stage.door, replace(now, trusted=False))
    assert doubted == Refuse(Why.DENIED)
    stage.now.advance(1)
    assert send(stage, Bytes(b"frame"), READ) == Refuse(Why.DENIED)
    assert denials(stage) == ["obligation.expired"] * 2


def test_the_earliest_expiry_counts(stage: Stage) -> None:
    stage.grant(Action.WRITE, obligation("expire", within_ms=900))
    stage.grant(Action.READ, obligation("expire", within_ms=300))
    verdict = send(stage, Bytes(b"frame"), WRITE, READ)
    assert isinstance(verdict, Forward)
    assert verdict.permit.expires_mono_ns == stage.now.ns + 300_000_000


def test_each_of_two_rates_is_kept(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("rate", n=2, per_s=1), obligation("rate", n=10, per_s=60))
    passed = 0
    for _ in range(60):
        passed += isinstance(send(stage, Bytes(b"frame"), READ), Forward)
        stage.now.advance(1)
    assert passed == 19, "the ten of the slower rate, and what fills up again within a minute"


def test_a_rate_is_the_subjects_on_the_asset_whichever_grants_match(stage: Stage) -> None:
    """Overlapping grants must not give a bucket for each way in which they can be matched."""
    stage.grant(Action.READ, obligation("rate", n=2, per_s=60))
    passed = 0
    for grants in (("a",), ("b",), ("a", "b"), ("c",)):
        stage.engine.grants = grants
        passed += isinstance(send(stage, Bytes(b"frame"), READ), Forward)
    assert passed == 2


# of another form --------------------------------------------------------------------------------------

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("quality", {}),
    ("quality", {"max_age_ms": "500"}),
    ("quality", {"max_age_ms": -1}),
    ("quality", {"max_age_ms": True}),
    ("readback", {}),
    ("readback", {"tolerance": -1}),
    ("readback", {"tolerance": None}),
    ("round", {}),
    ("round", {"step": 0}),
    ("round", {"step": 1.5}),
    ("round", {"step": -5}),
    ("rate", {"n": 1}),
    ("expire", {}),
    ("expire", {"within_ms": 900, "at_ns": 1}),
    ("approval", {}),
    ("approval", {"by": ""}),
    ("approval", {"by": 7}),
    ("approval", {"by": "shift-lead", "within_s": 0}),
    ("approval", {"by": "shift-lead", "within_s": -60}),
    ("approval", {"by": "shift-lead", "within_s": "60"}),
    ("approval", {"by": "shift-lead", "within_s": None}),
    ("approval", {"by": "shift-lead", "within_s": True}),
    ("approval", {"by": "shift-lead", "within_sec": 60}),
    ("audit", {"loud": True}),
    ("mask", {"step": 1}),
    ("round", {"step": 2, "digits": 1}),
    ("rate", {"n": 1, "per_s": 1, "per_m": 1}),
    ("expire", {"within_ms": 900, "within_s": 1}),
    ("quality", {"max_age_ms": 500, "min": 1}),
    ("readback", {"tolerance": 0, "within_s": 1}),
]


class Watching:
    """Every listener and asset only watches."""

    def of(self, listener: str, asset: str | None) -> Rollout:
        return Rollout.OBSERVE


@pytest.mark.parametrize(("kind", "params"), [*MALFORMED, ("dance", {}), ("", {})])
def test_invariant_5_what_makes_no_sense_is_denied_in_every_stage(
    stage: Stage, kind: str, params: dict[str, Any]
) -> None:
    stage.door.stages = Watching()
    stage.grant(Action.WRITE, obligation(kind, **params))
    assert send(stage, Bytes(b"frame"), holding(Point("a", 1, 1, 1))) == Refuse(Why.DENIED)
    assert denials(stage) == ["obligation.malformed" if kind in KNOWN else "obligation.unknown"]


def test_every_obligation_that_can_be_malformed_is_tried() -> None:
    stray = {kind for kind, params in MALFORMED if params.keys() - KNOWN[kind].params}
    assert stray == {kind for kind, _ in MALFORMED} == KNOWN.keys()


def test_audit_asks_for_nothing_more(stage: Stage) -> None:
    stage.grant(Action.READ, obligation("audit"))
    verdict = send(stage, Bytes(b"frame"), READ)
    assert isinstance(verdict, Forward)
    (decision,) = verdict.permit.decisions
    assert isinstance(decision, Allowed)
