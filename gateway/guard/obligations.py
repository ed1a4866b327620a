"""What policy may oblige us to do. Carried out, or denied: there is no third way.

| obligation          | carried out how                                                              |
|---------------------|------------------------------------------------------------------------------|
| audit               | nothing is left to do: every decision is recorded                            |
| rate(n, per_s)      | a token bucket per subject, asset and grant                                  |
| expire(within_ms)   | the permit dies that long after the decision                                 |
| expire(at_ns)       | … or at that time, which needs a trusted clock                               |
| approval(by, …)     | denied, and a request waits for people; core leaves it out once they agreed  |

Every other name is a denial until it has a row here.
"""

from collections.abc import Callable

from msgspec import Struct

from gateway.guard.limits import Rates
from gateway.guard.ports import Approvals
from gateway.model.decision import Allowed, Denied, Obligation, Reason
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation

APPROVAL = "approval"


class Duty(Struct, frozen=True):
    """One obligation, and everything that may be asked to carry it out."""

    obligation: Obligation
    allowed: Allowed
    caller: Caller
    operation: Operation
    rates: Rates
    approvals: Approvals
    now: Now

    def number(self, name: str) -> float | None:
        """A parameter that is a number, or null."""
        value = self.obligation.param(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class Unmet(Struct, frozen=True):
    """Why it is a denial."""

    code: str
    msg: str
    kind: str = "obligation"
    "`engine` where policy asked for something that makes no sense: that is waived in no stage."


Carried = int | Unmet | None
"When the permit dies (monotonic ns), why there is none, or nothing."

MALFORMED = Unmet(
    "obligation.malformed", "an obligation lacks what it needs, or has it in another form", "engine"
)


def _audit(_: Duty) -> Carried:
    return None


def _rate(duty: Duty) -> Carried:
    n, per_s = duty.number("n"), duty.number("per_s")
    if n is None or per_s is None:
        return MALFORMED
    key = (duty.caller.identity.subject, duty.operation.asset or "", *duty.allowed.grants)
    if duty.rates.take(key, n, per_s, duty.now.mono_ns):
        return None
    return Unmet("obligation.rate", f"at most {n:g} in {per_s:g} seconds; wait, or ask for less")


def _expire(duty: Duty) -> Carried:
    within, at = duty.number("within_ms"), duty.number("at_ns")
    if within is not None:
        return duty.now.mono_ns + int(within * 1_000_000)
    if at is None:
        return MALFORMED
    left = int(at) - duty.now.wall_ns
    if left <= 0 or not duty.now.trusted:
        return Unmet("obligation.expired", "the time is over, or the clock is not believed")
    return duty.now.mono_ns + left


def _approval(duty: Duty) -> Carried:
    by = duty.obligation.param("by")
    if not isinstance(by, str) or not by:
        return MALFORMED
    request = duty.approvals.request(duty.caller, duty.operation, duty.obligation, duty.now)
    if not request:
        return Unmet("obligation.approval", f"needs approval by {by}, and too many requests wait already")
    return Unmet("obligation.approval", f"needs approval by {by}: request {request} waits for it")


KNOWN: dict[str, Callable[[Duty], Carried]] = {
    "audit": _audit,
    "rate": _rate,
    "expire": _expire,
    APPROVAL: _approval,
}
"How each is carried out."


def unmet(allowed: Allowed, why: Unmet) -> Denied:
    """The denial that a decision becomes."""
    return Denied(
        revision=allowed.revision,
        reasons=(Reason(why.code, why.kind, why.msg),),
        grants=allowed.grants,
        origin=allowed.origin,
        evaluation=allowed.evaluation,
        question=allowed.question,
    )


def needs_approval(decision: object) -> bool:
    """Whether policy allows it only once people have agreed."""
    return isinstance(decision, Allowed) and any(one.type == APPROVAL for one in decision.obligations)


def carry_out(
    allowed: Allowed, caller: Caller, operation: Operation, rates: Rates, approvals: Approvals, now: Now
) -> tuple[Allowed, int | None] | Denied:
    """The decision and when its permit expires (monotonic ns or None), or Denied if one cannot be met."""
    expires: int | None = None
    for obligation in allowed.obligations:
        perform = KNOWN.get(obligation.type)
        carried: Carried
        if perform is None:
            what = f"the gateway knows no obligation {obligation.type}"
            carried = Unmet("obligation.unknown", what, "engine")
        else:
            carried = perform(Duty(obligation, allowed, caller, operation, rates, approvals, now))
        if isinstance(carried, Unmet):
            return unmet(allowed, carried)
        if carried is not None:
            expires = carried if expires is None else min(expires, carried)
    return allowed, expires
