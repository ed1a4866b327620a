"""Approvals: policy is asked again with what people agreed to, and that is used up before the act, once."""

import asyncio

import pytest
from msgspec.structs import replace

from gateway.guard.passage import enter, finish
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.decision import Allowed, Approval, Decision, Denied, Obligation, Reason, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation

from .stage import CALLER, READ, WRITE, Bytes, Stage

NEEDED = Obligation("approval", (("by", "supervisor"), ("within_s", 600)))
BOSS = "spiffe://demo.example/people/boss"


class People:
    """What people agreed to: each operation's kind with how often it may still be claimed."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.granted: dict[str, str] = {}
        self.spent: set[str] = set()
        self.disk_full = False
        self.room = True

    def claim(self, caller: Caller, operation: Operation, now: Now) -> Approval | None:
        request = self.granted.get(operation.kind)
        self.story.append(f"claim {operation.kind}")
        return None if request is None or request in self.spent else Approval(id=request, by=(BOSS,))

    def spend(self, approval: Approval, now: Now) -> bool:
        self.story.append(f"spend {approval.id}")
        if self.disk_full or approval.id in self.spent:
            return False
        self.spent.add(approval.id)
        return True

    def request(self, caller: Caller, operation: Operation, obligation: Obligation, now: Now) -> str:
        self.story.append(f"request {operation.kind} by {obligation.param('by')}")
        return f"01REQ-{operation.kind}" if self.room else ""


class Asks:
    """Policy that wants an approval for some kinds, and leaves the obligation out once it has one."""

    def __init__(self, story: list[str], *needing: str) -> None:
        self.story = story
        self.needing = set(needing)
        self.revision = "rev-1"
        self.denies_with_approval = False

    def _say(self, operation: Operation, approval: Approval | None) -> Decision:
        if approval is not None and self.denies_with_approval:
            return Denied(revision=self.revision, reasons=(Reason("site.closed", "site"),))
        owed = (NEEDED,) if operation.kind in self.needing and approval is None else ()
        return Allowed(revision=self.revision, grants=("g",), obligations=owed)

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        return self._say(operation, None)

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        self.story.append(f"ask {operation.kind} {approval.id if approval else '-'} writes={writes_60s}")
        return self._say(operation, approval)


class Site:
    def __init__(self, *needing: str) -> None:
        self.stage = Stage()
        self.story = self.stage.story
        self.people = People(self.story)
        self.policy = Asks(self.story, *needing)
        self.stage.door.engine, self.stage.door.approvals = self.policy, self.people

    def enter(self, *operations: Operation) -> Verdict | Pending:
        return enter(Bytes(b"frame"), operations, CALLER, self.stage.door, self.stage.now())

    def finish(self, verdict: Verdict | Pending) -> Verdict:
        if isinstance(verdict, Pending):
            return asyncio.run(finish(verdict, self.stage.door, self.stage.now()))
        return verdict

    def send(self, *operations: Operation) -> Verdict:
        return self.finish(self.enter(*operations))


@pytest.fixture
def site() -> Site:
    return Site("write")


def test_without_an_approval_nothing_acts_and_a_request_waits_for_people(site: Site) -> None:
    assert site.send(WRITE) == Refuse(Why.DENIED)
    assert site.story == ["claim write", "request write by supervisor", "denied write obligation.approval"]


def test_with_one_policy_is_asked_again_and_it_is_spent_before_the_intent(site: Site) -> None:
    site.people.granted["write"] = "01REQ"
    verdict = site.send(WRITE)
    assert isinstance(verdict, Forward)
    assert site.story == ["claim write", "ask write 01REQ writes=0", "spend 01REQ", "intent write"]
    (decision,) = verdict.permit.decisions
    assert isinstance(decision, Allowed)
    assert decision.approval == Approval(id="01REQ", by=(BOSS,)), "both people are in the record"


def test_an_approval_is_used_once(site: Site) -> None:
    site.people.granted["write"] = "01REQ"
    assert isinstance(site.send(WRITE), Forward)
    assert site.send(WRITE) == Refuse(Why.DENIED)
    assert site.story.count("intent write") == 1


def test_what_waits_for_people_uses_up_no_writes(site: Site) -> None:
    for _ in range(5):
        site.send(WRITE)
    site.people.granted["write"] = "01REQ"
    assert isinstance(site.send(WRITE), Forward)
    now = site.stage.now()
    assert site.stage.door.writes.count(CALLER.identity.subject, "plc-1", now.mono_ns) == 1


def test_of_two_frames_that_claim_one_approval_one_acts(site: Site) -> None:
    """Both have claimed before either has spent, as two requests do that wait for OPA at once."""
    site.people.granted["write"] = "01REQ"

    async def both() -> list[Verdict]:
        door, now = site.stage.door, site.stage.now()
        waiting = [site.enter(WRITE), site.enter(WRITE)]
        gate = asyncio.Barrier(2)
        ask = site.policy.ask

        async def together(*words: object) -> Decision:
            await gate.wait()
            return await ask(*words)  # type: ignore[arg-type]

        site.policy.ask = together  # type: ignore[method-assign,assignment]
        return await asyncio.gather(
            *(finish(each, door, now) for each in waiting if isinstance(each, Pending))
        )

    verdicts = asyncio.run(both())
    assert site.story[:2] == ["claim write", "claim write"]
    assert sorted(isinstance(each, Forward) for each in verdicts) == [False, True]
    assert site.story.count("intent write") == 1
    assert "denied write obligation.approval_spent" in site.story


def test_what_cannot_be_marked_as_used_does_not_act(site: Site) -> None:
    site.people.granted["write"] = "01REQ"
    site.people.disk_full = True
    assert site.send(WRITE) == Refuse(Why.DENIED)
    assert site.story[-1] == "denied write obligation.approval_spent"
    assert "intent write" not in site.story


def test_a_journal_that_fails_after_it_was_spent_lets_nothing_act_and_it_stays_spent(site: Site) -> None:
    site.people.granted["write"] = "01REQ"
    site.stage.journal.broken = True
    assert site.send(WRITE) == Refuse(Why.NOT_RECORDED)
    assert site.people.spent == {"01REQ"}


def test_an_approval_is_no_permission(site: Site) -> None:
    site.people.granted["write"] = "01REQ"
    site.policy.denies_with_approval = True
    assert site.send(WRITE) == Refuse(Why.DENIED)
    assert not site.people.spent, "it was of no use, so it is not used up"


def test_a_frame_of_two_operations_needs_both_and_spends_none_if_one_is_missing() -> None:
    """Function 23 writes and reads; each may need its own approval."""
    site = Site("write", "read")
    site.people.granted["write"] = "01W"
    assert site.send(WRITE, READ) == Refuse(Why.DENIED)
    assert not site.people.spent
    site.people.granted["read"] = "01R"
    assert isinstance(site.send(WRITE, READ), Forward)
    assert site.people.spent == {"01W", "01R"}
    assert site.story[-1] == "intent write+read"


def test_one_approval_does_not_count_for_two_operations_of_a_frame() -> None:
    site = Site("write")
    site.people.granted["write"] = "01W"
    assert site.send(WRITE, replace(WRITE, asset="plc-1")) == Refuse(Why.DENIED)
    assert "intent write+write" not in site.story


def test_a_read_that_needs_an_approval_waits_like_a_write() -> None:
    site = Site("read")
    assert isinstance(site.enter(READ), Pending)
    assert site.send(READ) == Refuse(Why.DENIED)
    site.people.granted["read"] = "01R"
    assert isinstance(site.send(READ), Forward)
    assert site.send(READ) == Refuse(Why.DENIED)
    assert site.story.count("spend 01R") == 1


def test_where_no_more_requests_fit_the_answer_is_still_no(site: Site) -> None:
    site.people.room = False
    assert site.send(WRITE) == Refuse(Why.DENIED)


def test_a_door_without_people_never_lets_it_pass() -> None:
    stage = Stage()
    stage.grant(Action.WRITE, NEEDED)
    verdict = enter(Bytes(b"frame"), (WRITE,), CALLER, stage.door, stage.now())
    assert isinstance(verdict, Pending)
    assert asyncio.run(finish(verdict, stage.door, stage.now())) == Refuse(Why.DENIED)
    assert stage.story[-1] == "denied write obligation.approval"
