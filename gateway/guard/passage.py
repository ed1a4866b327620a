"""The one path from a frame to the plant: understand, decide, record, act, record.

Listeners, the collector and every API are callers of these functions; there is no second way and no back
door for ourselves. The caller has understood the frame (`wire/<protocol>/meaning.py` gave the operations);
`enter` decides, and records what changes nothing; `finish` waits for what must be waited for; the plant
link acts on the permit; `settle` records what came of it.

A read whose decision is at hand goes through `enter` without suspending. Everything that changes the plant
goes the Pending way, because its intent must be durable before the first byte leaves (invariant 1).
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from gateway.guard.approvals import NobodyApproves, ask_again, spend
from gateway.guard.epoch import Epoch
from gateway.guard.limits import Rates, WriteCounts
from gateway.guard.obligations import carry_out, needs_approval
from gateway.guard.permit import ActPermit, Permit, ReadPermit
from gateway.guard.ports import Approvals, Engine, Frame, Journal, Parted, Stages
from gateway.guard.stages import Enforced, waive
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.decision import (
    Allowed,
    Decision,
    Denied,
    Origin,
    Passed,
    Reason,
    Waived,
    Why,
)
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import MUTATING, Operation
from gateway.model.record import Accepted, Durable, Gap, NotRecorded
from gateway.model.stage import Stage


class Door:
    """What a passage needs beside the frame: policy, the journal, what people agreed to, and the ceilings."""

    __slots__ = ("approvals", "engine", "epoch", "journal", "rates", "stages", "writes")

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        approvals: Approvals | None = None,
        stages: Stages | None = None,
    ) -> None:
        """Where nobody can approve, what needs approval is denied; where no stage is set, all is enforced."""
        self.engine = engine
        self.journal = journal
        self.approvals: Approvals = approvals or NobodyApproves()
        self.stages: Stages = stages or Enforced()
        self.epoch = Epoch()
        self.writes = WriteCounts()
        self.rates = Rates()


def enter(
    frame: Frame, operations: tuple[Operation, ...], caller: Caller, door: Door, now: Now
) -> Verdict | Pending:
    """Decide every operation of a frame. Forward needs all of them allowed and a receipt for each."""
    if len(operations) == 1 and operations[0].action not in MUTATING:
        return _enter_read(frame, operations, caller, door, now)
    decisions = tuple([decide(operation, caller, door, now) for operation in operations])
    passed: list[Passed] = []
    for operation, decision in zip(operations, decisions, strict=True):
        if decision is None or operation.action in MUTATING or needs_approval(decision):
            return Pending(frame, caller, operations, decisions, door.epoch.value)
        if type(decision) is Allowed and not decision.obligations:
            passed.append(decision)
    if passed and len(passed) == len(decisions):  # plainly allowed: nothing to carry out, to part or to waive
        return _receipts(frame, operations, tuple(passed), caller, door, now)
    return _pass_reads(frame, operations, decisions, caller, door, now)


def _enter_read(
    frame: Frame, operations: tuple[Operation, ...], caller: Caller, door: Door, now: Now
) -> Verdict | Pending:
    """The common case, the same five beats with nothing to gather: one read, one decision, one receipt."""
    operation = operations[0]
    decision = decide(operation, caller, door, now)
    if decision is None:
        return Pending(frame, caller, operations, (None,), door.epoch.value)
    if not isinstance(decision, Allowed) or decision.obligations:
        if needs_approval(decision):
            return Pending(frame, caller, operations, (decision,), door.epoch.value)
        return _pass_reads(frame, operations, (decision,), caller, door, now)
    receipt = door.journal.read(caller, operation, decision, now)
    if isinstance(receipt, NotRecorded):
        return Refuse(Why.NOT_RECORDED)
    return Forward(ReadPermit(frame, caller, operations, (decision,), (receipt,)))


async def finish(pending: Pending, door: Door, now: Now) -> Verdict:
    """Wait for the decisions that are missing, and for the intent to be durable."""
    operations, caller = pending.operations, pending.caller
    decisions = []
    for operation, decision in zip(operations, pending.decisions, strict=True):
        if decision is None:
            decision = await door.engine.ask(caller, operation, now, _writes(operation, caller, door, now))
            _note(operation, decision, caller, door, now)
        if needs_approval(decision):
            writes = _writes(operation, caller, door, now)
            decision = await ask_again(operation, decision, caller, door.engine, door.approvals, writes, now)
            _note(operation, decision, caller, door, now)
        decisions.append(decision)
    if not any(operation.action in MUTATING for operation in operations):
        return _pass_reads(pending.frame, operations, tuple(decisions), caller, door, now)
    judged = _judge(pending.frame, operations, tuple(decisions), caller, door, now)
    if judged is None:
        return Refuse(Why.DENIED)
    operations, passed = judged.operations, judged.passed
    match await door.journal.intent(caller, operations, passed, now):
        case Durable() as durable:
            until, since = judged.expires_ns, pending.epoch
            return Forward(
                ActPermit(judged.frame, caller, operations, passed, durable, until, door.epoch, since)
            )
        case NotRecorded():
            return Refuse(Why.NOT_RECORDED)


def settle(
    permit: Permit, result: dict[str, Any], data: bytes | Sequence[bytes | str], door: Door, now: Now
) -> None:
    """Record what came of a permit: the plant's answer, or why there is none.

    `data` are the value bytes; or, for a frame of several parts, those of each, or why a part has none.
    """
    if isinstance(permit, ActPermit):
        door.journal.outcome(permit.intent, permit.caller, result, now)
        return
    for at, receipt in enumerate(permit.receipts):
        if isinstance(receipt, Accepted):
            came = data if isinstance(data, bytes) else data[at]
            if result["status"] != "ok":
                receipt.failed(result["status"])
            elif isinstance(came, bytes):
                receipt.answered(came)
            else:
                receipt.failed(came)


def decide(operation: Operation, caller: Caller, door: Door, now: Now) -> Decision | None:
    """Policy's answer if at hand. What the wire could not read is denied without asking (invariant 2)."""
    if operation.unreadable is not None:
        reason = Reason(
            f"wire.{operation.unreadable}", "wire", "the gateway could not read what this would do"
        )
        return Denied(revision=door.engine.revision, reasons=(reason,), origin=Origin.UNASKED)
    if operation.action not in MUTATING:
        return door.engine.decide(caller, operation, now)
    decision = door.engine.decide(caller, operation, now, _writes(operation, caller, door, now))
    _note(operation, decision, caller, door, now)
    return decision


def _note(
    operation: Operation, decision: Decision | Waived | None, caller: Caller, door: Door, now: Now
) -> None:
    """A write counts as soon as it passes: those that wait for their record would all pass at once.

    One that waits for people does not, or whoever repeats it until they agree has no writes left then.
    """
    if operation.action in MUTATING and _passes(decision):
        door.writes.note(caller.identity.subject, operation.asset or "", now.mono_ns)


def _passes(decision: Decision | Waived | None) -> bool:
    return isinstance(decision, Allowed | Waived) and not needs_approval(decision)


def _writes(operation: Operation, caller: Caller, door: Door, now: Now) -> int | None:
    if operation.action not in MUTATING:
        return None
    return door.writes.count(caller.identity.subject, operation.asset or "", now.mono_ns)


def intent(permit: Permit) -> Durable | None:
    """The record of what a permit lets change; null where it changes nothing."""
    return permit.intent if isinstance(permit, ActPermit) else None


class _Judged(Struct, frozen=True):
    """What passes: which operations, by what, with which bytes, and until when (monotonic ns)."""

    operations: tuple[Operation, ...]
    passed: tuple[Passed, ...]
    frame: Frame
    expires_ns: int | None


def _judge(
    frame: Frame,
    operations: tuple[Operation, ...],
    decisions: tuple[Decision | None, ...],
    caller: Caller,
    door: Door,
    now: Now,
) -> _Judged | None:
    """Everything passes, its obligations carried out; or None. Every denial is in the journal.

    Of a frame that can be parted passes what is allowed, if it is anything.
    """
    passed: list[Passed] = []
    kept: list[int] = []
    expiries: list[int] = []
    for at, (operation, decision) in enumerate(zip(operations, decisions, strict=True)):
        judged: Passed | Denied | None = decision
        if isinstance(decision, Allowed) and decision.obligations:
            carried = carry_out(frame, decision, caller, operation, door.rates, door.approvals, now)
            if isinstance(carried, Denied):
                judged = carried
            else:
                frame = carried.frame
                if carried.expires_ns is not None:
                    expiries.append(carried.expires_ns)
        if isinstance(judged, Denied):
            judged = waive(judged, operation, caller, door.stages)
            if not _passes(decision):  # one that passed until its obligation was unmet is counted already
                _note(operation, judged, caller, door, now)
        if isinstance(judged, Denied) or (isinstance(judged, Waived) and judged.stage is Stage.MONITOR):
            door.journal.denied(caller, operation, judged, now)
        if isinstance(judged, Allowed | Waived):
            passed.append(judged)
            kept.append(at)
    if not passed:
        return None
    if len(passed) != len(operations):
        if not isinstance(frame, Parted) or frame.parts != len(operations):
            return None
        frame = frame.only(tuple(kept))
        operations = tuple([operations[at] for at in kept])
    unspent = spend(operations, passed, door.approvals, now)
    if unspent is not None:
        door.journal.denied(caller, *unspent, now)
        return None
    return _Judged(operations, tuple(passed), frame, min(expiries, default=None))


def _pass_reads(
    frame: Frame,
    operations: tuple[Operation, ...],
    decisions: tuple[Decision | None, ...],
    caller: Caller,
    door: Door,
    now: Now,
) -> Verdict:
    judged = _judge(frame, operations, decisions, caller, door, now)
    if judged is None:
        return Refuse(Why.DENIED)
    return _receipts(judged.frame, judged.operations, judged.passed, caller, door, now, judged.expires_ns)


def _receipts(
    frame: Frame,
    operations: tuple[Operation, ...],
    passed: tuple[Passed, ...],
    caller: Caller,
    door: Door,
    now: Now,
    expires_ns: int | None = None,
) -> Verdict:
    """A receipt for each read, or none passes."""
    receipts: list[Accepted | Gap] = []
    for operation, decision in zip(operations, passed, strict=True):
        receipt = door.journal.read(caller, operation, decision, now)
        if isinstance(receipt, NotRecorded):
            return Refuse(Why.NOT_RECORDED)
        receipts.append(receipt)
    return Forward(ReadPermit(frame, caller, operations, passed, tuple(receipts), expires_ns))
