"""The passage, told as scenarios; invariants 1, 2, 5 and 6 of DESIGN §4 by name."""

import asyncio

import pytest

from gateway.guard.passage import enter, finish, settle
from gateway.guard.permit import ActPermit, ReadPermit
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.decision import Obligation, Why
from gateway.model.operation import Action, Operation, Protocol

from .stage import CALLER, READ, WRITE, Bytes, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


def send(stage: Stage, *operations: Operation, frame: bytes = b"frame") -> Verdict:
    verdict = enter(Bytes(frame), operations, CALLER, stage.door, stage.now())
    if isinstance(verdict, Pending):
        verdict = asyncio.run(finish(verdict, stage.door, stage.now()))
    return verdict


def spend(stage: Stage, verdict: Verdict) -> bytes | None:
    assert isinstance(verdict, Forward)
    return verdict.permit.spend(stage.engine.revision, stage.now.ns)


def test_a_read_is_decided_recorded_and_passes_without_waiting(stage: Stage) -> None:
    stage.grant(Action.READ)
    verdict = enter(Bytes(b"frame"), (READ,), CALLER, stage.door, stage.now())
    assert isinstance(verdict, Forward)
    assert stage.story == ["decide read writes=None", "read read"]
    assert spend(stage, verdict) == b"frame"
    settle(verdict.permit, {"status": "ok"}, b"\x01\x02", stage.door, stage.now())
    settle(verdict.permit, {"status": "exception_02"}, b"", stage.door, stage.now())
    assert stage.story[2:] == ["answered 0102", "failed exception_02"]


def test_invariant_1_no_write_without_a_durable_intent(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    first = enter(Bytes(b"frame"), (WRITE,), CALLER, stage.door, stage.now())
    assert isinstance(first, Pending), "a write never passes in one go"
    verdict = asyncio.run(finish(first, stage.door, stage.now()))
    assert isinstance(verdict, Forward)
    assert isinstance(verdict.permit, ActPermit)
    assert stage.story == ["decide write writes=0", "intent write"]
    settle(verdict.permit, {"status": "ok"}, b"", stage.door, stage.now())
    assert stage.story[-1] == "outcome ok"


def test_invariant_1_broken_journal_stops_writes_and_reads(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    stage.grant(Action.READ)
    stage.journal.broken = True
    assert send(stage, WRITE) == Refuse(Why.NOT_RECORDED)
    assert send(stage, READ) == Refuse(Why.NOT_RECORDED)
    stage.journal.gap = True
    assert isinstance(send(stage, READ), Forward), "reads go on for a bounded time, with a Gap"
    assert send(stage, WRITE) == Refuse(Why.NOT_RECORDED)


def test_invariant_2_policy_is_not_asked_about_what_could_not_be_read(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    odd = Operation(
        protocol=Protocol.MODBUS, action=Action.WRITE, kind="odd", asset="plc-1", unreadable="partial_tag"
    )
    assert send(stage, odd) == Refuse(Why.DENIED)
    assert stage.story == ["denied odd wire.partial_tag"]


def test_invariant_5_unknown_obligation_denies(stage: Stage) -> None:
    stage.grant(Action.READ, Obligation("dance"))
    stage.grant(Action.WRITE, Obligation("approve", (("by", "supervisor"),)))
    assert send(stage, READ) == Refuse(Why.DENIED)
    assert send(stage, WRITE) == Refuse(Why.DENIED)
    assert [line for line in stage.story if line.startswith("denied")] == [
        "denied read obligation.unknown",
        "denied write obligation.unknown",
    ]


@pytest.mark.parametrize("params", [(), (("n", 1),), (("n", "1"), ("per_s", 1)), (("n", True), ("per_s", 1))])
def test_invariant_5_malformed_obligation_denies(
    stage: Stage, params: tuple[tuple[str, int | str], ...]
) -> None:
    stage.grant(Action.READ, Obligation("rate", params))
    assert send(stage, READ) == Refuse(Why.DENIED)


def test_nothing_to_decide_is_not_permission(stage: Stage) -> None:
    stage.grant(Action.READ)
    assert send(stage) == Refuse(Why.DENIED)


def test_one_denied_operation_refuses_the_frame(stage: Stage) -> None:
    stage.grant(Action.READ)
    assert send(stage, WRITE, READ) == Refuse(Why.DENIED)
    assert "intent" not in " ".join(stage.story)
    assert "read read" not in stage.story, "nothing is counted as read when the frame is refused"


def test_a_frame_that_writes_and_reads_has_one_intent(stage: Stage) -> None:
    stage.grant(Action.READ)
    stage.grant(Action.WRITE)
    verdict = send(stage, WRITE, READ)
    assert isinstance(verdict, Forward)
    assert stage.story[-1] == "intent write+read"


def test_a_permit_works_once(stage: Stage) -> None:
    stage.grant(Action.READ)
    verdict = send(stage, READ)
    assert spend(stage, verdict) == b"frame"
    assert spend(stage, verdict) is None


def test_a_permit_dies_with_its_bundle(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    verdict = send(stage, WRITE)
    stage.engine.revision = "rev-2"
    assert spend(stage, verdict) is None


def test_policy_that_changes_while_the_intent_is_written_stops_the_write(stage: Stage) -> None:
    stage.grant(Action.WRITE)

    def change() -> None:
        stage.engine.revision = "rev-2"

    stage.journal.during_intent = change
    assert spend(stage, send(stage, WRITE)) is None


def test_facts_that_change_stop_acts_that_were_asked_for_before_and_no_reads(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    stage.grant(Action.READ)
    write, looked = send(stage, WRITE), send(stage, READ)
    stage.door.epoch.grow()
    assert spend(stage, write) is None
    assert spend(stage, looked) == b"frame"
    assert spend(stage, send(stage, WRITE)) == b"frame", "who asks again is decided anew"


@pytest.mark.parametrize("slow", [False, True])
def test_facts_that_change_while_a_write_waits_for_its_intent_stop_it(stage: Stage, slow: bool) -> None:
    stage.grant(Action.WRITE)
    stage.engine.slow = slow
    stage.journal.during_intent = stage.door.epoch.grow
    assert spend(stage, send(stage, WRITE)) is None


def test_an_expiring_permit_expires(stage: Stage) -> None:
    stage.grant(Action.READ, Obligation("expire", (("within_ms", 500),)))
    early, late = send(stage, READ), send(stage, READ)
    stage.now.advance(0.4)
    assert spend(stage, early) == b"frame"
    stage.now.advance(0.1)
    assert spend(stage, late) is None


def test_a_rate_is_kept_and_recovers(stage: Stage) -> None:
    stage.grant(Action.READ, Obligation("rate", (("n", 2), ("per_s", 10))))
    assert [isinstance(send(stage, READ), Forward) for _ in range(3)] == [True, True, False]
    stage.now.advance(5)
    assert [isinstance(send(stage, READ), Forward) for _ in range(2)] == [True, False]


def test_slow_policy_is_waited_for_and_nothing_passes_before(stage: Stage) -> None:
    stage.grant(Action.READ)
    stage.engine.slow = True
    first = enter(Bytes(b"frame"), (READ,), CALLER, stage.door, stage.now())
    assert isinstance(first, Pending)
    verdict = asyncio.run(finish(first, stage.door, stage.now()))
    assert isinstance(verdict, Forward)
    assert isinstance(verdict.permit, ReadPermit)
    assert stage.story == ["decide read writes=None", "ask read", "read read"]


def test_writes_are_counted_for_sixty_seconds(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    for _ in range(3):
        send(stage, WRITE)
        stage.now.advance(10)
    send(stage, WRITE)
    stage.now.advance(31)
    send(stage, WRITE)
    counts = [line.rpartition("=")[2] for line in stage.story if line.startswith("decide")]
    assert counts == ["0", "1", "2", "3", "3"]


def test_writes_that_wait_for_their_record_are_counted_already(stage: Stage) -> None:
    stage.grant(Action.WRITE)
    waiting = [enter(Bytes(b"frame"), (WRITE,), CALLER, stage.door, stage.now()) for _ in range(3)]
    assert all(isinstance(each, Pending) for each in waiting)
    counts = [line.rpartition("=")[2] for line in stage.story if line.startswith("decide")]
    assert counts == ["0", "1", "2"]


def test_decisions_of_two_bundles_are_no_permit(stage: Stage) -> None:
    stage.grant(Action.READ)
    stage.grant(Action.WRITE)
    first = enter(Bytes(b"frame"), (WRITE, READ), CALLER, stage.door, stage.now())
    assert isinstance(first, Pending)
    stage.engine.revision = "rev-2"
    mixed = Pending(first.frame, first.caller, first.operations, (first.decisions[0], None), first.epoch)
    verdict = asyncio.run(finish(mixed, stage.door, stage.now()))
    assert isinstance(verdict, Forward)
    for revision in ("rev-1", "rev-2"):
        assert verdict.permit.spend(revision, stage.now.ns) is None
