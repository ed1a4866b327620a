"""Approvals in the passage: policy is asked again with what people agreed to, and that is used up."""

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.guard.obligations import Unmet, unmet
from gateway.guard.ports import Approvals, Engine
from gateway.model.decision import Allowed, Approval, Decision, Denied, Obligation, Passed
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation

SPENT = Unmet("obligation.approval_spent", "the approval was used meanwhile; ask for another")


class NobodyApproves:
    """A door without people behind it."""

    def claim(self, caller: Caller, operation: Operation, now: Now) -> Approval | None:
        """Never."""
        return None

    def spend(self, approval: Approval, now: Now) -> bool:
        """Never."""
        return False

    def request(self, caller: Caller, operation: Operation, obligation: Obligation, now: Now) -> str:
        """There is nobody to ask."""
        return ""


async def ask_again(
    operation: Operation,
    decision: Decision,
    caller: Caller,
    engine: Engine,
    approvals: Approvals,
    writes_60s: int | None,
    now: Now,
) -> Decision:
    """Policy's answer to the same question with an approval in it; the first one where there is none."""
    approval = approvals.claim(caller, operation, now)
    if approval is None:
        return decision
    again = await engine.ask(caller, operation, now, writes_60s, approval)
    return replace(again, approval=approval) if isinstance(again, Allowed) else again


def spend(
    operations: Sequence[Operation], passed: Sequence[Passed], approvals: Approvals, now: Now
) -> tuple[Operation, Denied] | None:
    """Use up every approval that counted, when nothing else stands in the way. The first gone, if any.

    Two frames can claim one approval while each waits for its evaluation: only one of them spends it.
    """
    for operation, decision in zip(operations, passed, strict=True):
        if not isinstance(decision, Allowed) or decision.approval is None:
            continue
        if not approvals.spend(decision.approval, now):
            return operation, unmet(decision, SPENT)
    return None
