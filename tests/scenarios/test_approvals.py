"""Two people and one write, told as conversations through the passage, with a clock moved by hand."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

from pathlib import Path
from typing import Any

import pytest

from gateway.admin.impossible import Impossible
from gateway.guard.passage import Door, enter, finish, settle
from gateway.guard.verdict import Forward, Pending, Refuse
from gateway.model.decision import Allowed, Approval, Decision, Denied, Reason, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation
from gateway.model.stage import Stage
from tests.pki import Credential, Pki, fresh_pki, pki  # noqa: F401
from tests.scenarios.stage import Bytes, Words
from tests.unit.admin.people import BY, WRITE, Site, issued, write

ANN = "spiffe://demo.example/person/admin-ann"
BOB = "spiffe://demo.example/person/admin-bob"


class Supervised(Words):
    """Writes to plc-1 need as many supervisors as `needs` says; Ann and Bob are two."""

    needs = 1

    def _weigh(self, operation: Operation, approval: Approval | None) -> Decision:
        if operation.action is not Action.WRITE or operation.asset != "plc-1":
            return Denied(revision=self.revision, reasons=(Reason("default", "default"),))
        agreed = set(approval.by if approval is not None else ()) & {ANN, BOB}
        obligations = () if len(agreed) >= self.needs else (BY,)
        return Allowed(revision=self.revision, grants=("g",), obligations=obligations)

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        return self._weigh(operation, None)

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        return self._weigh(operation, approval)


class Shift:
    """An HMI that writes, Ann and Bob who may approve, and the journal's story of it."""

    def __init__(self, pki: Pki, folder: Path) -> None:
        self.site = Site(pki, folder)
        self.story = self.site.story
        self.policy = Supervised(self.story)
        self.site.stages = {}
        self.restart()

    def restart(self) -> None:
        self.site.restart()
        self.door = Door(self.policy, self.site.journal, self.site.approvals, self.site.posture)

    async def writes(self, operation: Operation = WRITE, caller: Caller | None = None) -> bool:
        """The HMI writes; whether the plant was written."""
        caller, now = caller or self.site.hmi, self.site.clock()
        verdict = enter(Bytes(b"w"), (operation,), caller, self.door, now)
        assert isinstance(verdict, Pending)
        verdict = await finish(verdict, self.door, now)
        if isinstance(verdict, Forward):
            assert verdict.permit.spend(self.policy.revision, now.mono_ns) == b"w"
            settle(verdict.permit, {"status": "ok"}, b"", self.door, now)
            return True
        assert verdict in (Refuse(Why.DENIED), Refuse(Why.NOT_RECORDED))
        return False

    def waiting(self) -> list[str]:
        """What people see in their list."""
        return [
            r["request"] for r in self.site.approvals.recent(99, self.site.clock()) if r["state"] == "pending"
        ]

    def grants(self, who: Credential, **how: Any) -> None:
        """Somebody grants what waits."""
        (request,) = self.waiting()
        self.site.say(who, request, **how)


@pytest.fixture
def shift(pki: Pki, tmp_path: Path) -> Shift:
    return Shift(pki, tmp_path)


async def test_the_hmi_asks_ann_agrees_the_hmi_asks_again_and_then_it_is_used_up(shift: Shift) -> None:
    assert not await shift.writes()
    shift.grants(shift.site.ann)
    assert await shift.writes()
    assert not await shift.writes()
    assert shift.story == [
        "admin: approval requested",
        "denied modbus.write_single_register obligation.approval",
        "admin: approval used",
        "intent modbus.write_single_register",
        "outcome ok",
        "admin: approval requested",
        "denied modbus.write_single_register obligation.approval",
    ]


async def test_the_hmi_changes_its_mind_by_one_and_needs_another_approval(shift: Shift) -> None:
    assert not await shift.writes(write(500))
    shift.grants(shift.site.ann)
    assert not await shift.writes(write(501))
    assert await shift.writes(write(500))


async def test_ann_agrees_and_the_hmi_comes_too_late(shift: Shift) -> None:
    assert not await shift.writes()
    shift.grants(shift.site.ann, within_s=600)
    shift.site.clock.advance(600)
    assert not await shift.writes()
    assert len(shift.waiting()) == 1


async def test_ann_agrees_too_late_and_nobody_waits_any_more(shift: Shift) -> None:
    assert not await shift.writes()
    shift.site.clock.advance(3600)
    assert shift.waiting() == []


async def test_a_dangerous_write_needs_ann_and_bob(shift: Shift) -> None:
    shift.policy.needs = 2
    assert not await shift.writes()
    (request,) = shift.waiting()
    shift.site.say(shift.site.ann, request)
    assert not await shift.writes()
    shift.site.say(shift.site.bob, request)
    assert await shift.writes()
    assert not await shift.writes()


async def test_somebody_without_the_role_agrees_and_policy_still_says_no(shift: Shift) -> None:
    assert not await shift.writes()
    (request,) = shift.waiting()
    shift.site.say(issued(shift.site.pki, "person", "it", "admin-carl"), request)
    assert not await shift.writes()
    shift.site.say(shift.site.ann, request)
    assert await shift.writes()


async def test_bob_says_no_and_asking_again_does_not_help(shift: Shift) -> None:
    assert not await shift.writes()
    (request,) = shift.waiting()
    shift.site.say(shift.site.bob, request, "refuse")
    assert not await shift.writes()
    assert shift.waiting() == []


async def test_ann_is_dismissed_before_her_approval_is_used(fresh_pki: Pki, tmp_path: Path) -> None:
    shift = Shift(fresh_pki, tmp_path)
    assert not await shift.writes()
    shift.grants(shift.site.ann)
    fresh_pki.revoke("it", "admin-ann")
    assert shift.site.trust["it"].reload()
    assert not await shift.writes()


async def test_ann_cannot_write_on_her_own_word(shift: Shift) -> None:
    ann = shift.site.caller(shift.site.ann, "it", "admin")
    assert not await shift.writes(caller=ann)
    with pytest.raises(Impossible, match="who asked"):
        shift.grants(shift.site.ann)
    assert not await shift.writes(caller=ann)
    shift.grants(shift.site.bob)
    assert await shift.writes(caller=ann)


async def test_the_gateway_restarts_between_the_two_and_between_use_and_use(shift: Shift) -> None:
    assert not await shift.writes()
    shift.restart()
    shift.grants(shift.site.ann)
    shift.restart()
    assert await shift.writes()
    shift.restart()
    assert not await shift.writes()


async def test_an_approval_whose_intent_could_not_be_recorded_is_used_all_the_same(shift: Shift) -> None:
    assert not await shift.writes()
    shift.grants(shift.site.ann)
    shift.site.journal.broken = True
    assert not await shift.writes()
    shift.site.journal.broken = False
    assert not await shift.writes()


async def test_two_connections_of_the_hmi_share_one_approval_and_one_of_them_writes(shift: Shift) -> None:
    assert not await shift.writes()
    shift.grants(shift.site.ann)
    claimed = [shift.site.approvals.claim(shift.site.hmi, WRITE, shift.site.clock()) for _ in range(2)]
    assert claimed[0] == claimed[1] is not None
    spent = [shift.site.approvals.spend(each, shift.site.clock()) for each in claimed if each is not None]
    assert spent == [True, False]


async def test_while_only_watching_the_write_passes_and_people_are_still_asked(shift: Shift) -> None:
    shift.site.stages = {"listener:modbus": Stage.MONITOR}
    shift.restart()
    assert await shift.writes()
    assert len(shift.waiting()) == 1
