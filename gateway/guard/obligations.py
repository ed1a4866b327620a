"""What policy may oblige us to do. Carried out, or denied: there is no third way.

| obligation          | carried out how                                                              |
|---------------------|------------------------------------------------------------------------------|
| audit               | nothing is left to do: every decision is recorded                            |
| rate(n, per_s)      | a token bucket per subject, asset and rate, whichever grant or rule asks it  |
| expire(within_ms)   | the permit dies that long after the decision                                 |
| expire(at_ns)       | … or at that time, which needs a trusted clock                               |
| approval(by, …)     | denied, and a request waits for people; core leaves it out once they agreed  |
| quality(max_age_ms) | to IT: the sample is good and no older; a write: so is what is known of each tag |
| readback(tolerance) | the door reads what was written again, and tells a difference (`to_read_back`) |
| mask                | to IT only: the value stays here, and the tag says so                        |
| round(step)         | to IT only: the nearest multiple of so many quanta                           |

Every other name is a denial until it has a row here, and so is a parameter that its row does not have: one
mistyped would leave a default where a bound was meant. One that cannot be carried out for what is asked (a
value that nobody sends, a write that nobody can read) is a denial too.
"""

from collections.abc import Callable, Sequence
from math import lcm

from msgspec import Struct

from gateway.guard.limits import Rates
from gateway.guard.ports import Approvals, Frame, NorthFrame
from gateway.guard.release import masked, rounded
from gateway.model.asset import DataType
from gateway.model.decision import Allowed, Denied, Obligation, Passed, Reason
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation, Protocol
from gateway.model.sample import Quality

APPROVAL = "approval"
READBACK = "readback"


class Duty(Struct, frozen=True):
    """One obligation, and everything that may be asked to carry it out."""

    obligation: Obligation
    frame: Frame
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


class Masked(Struct, frozen=True):
    """The value stays in the plant."""


class Rounded(Struct, frozen=True):
    """The value goes in steps."""

    step: int
    "Quanta."


Carried = int | Masked | Rounded | Unmet | None
"When the permit dies (monotonic ns), what is done to the value, why there is no permit, or nothing."

MALFORMED = Unmet(
    "obligation.malformed", "an obligation lacks what it needs, or has it in another form", "engine"
)
ONLY_NORTH = Unmet("obligation.only_north", "only a tag's value on its way to IT can be masked or rounded")


def _audit(_: Duty) -> Carried:
    return None


def _rate(duty: Duty) -> Carried:
    n, per_s = duty.number("n"), duty.number("per_s")
    if n is None or per_s is None:
        return MALFORMED
    # Each rate has a bucket of its own: in one for two, the faster would fill it for the slower. Grants are
    # no part of it: which of them match hangs on what is asked, so whoever asks would choose their bucket.
    rate = f"{n!r} in {per_s!r}"
    key = (duty.caller.identity.subject, duty.operation.asset or "", rate)
    if duty.rates.take(key, n, per_s, duty.now.mono_ns):
        return None
    return Unmet("obligation.rate", f"at most {n:g} in {per_s:g} seconds; wait, or ask for less")


def _expire(duty: Duty) -> Carried:
    within, at = duty.number("within_ms"), duty.number("at_ns")
    if within is not None and at is None:
        return duty.now.mono_ns + int(within * 1_000_000)
    if at is None or within is not None:
        return MALFORMED
    left = int(at) - duty.now.wall_ns
    if left <= 0 or not duty.now.trusted:
        return Unmet("obligation.expired", "the time is over, or the clock is not believed")
    return duty.now.mono_ns + left


def _approval(duty: Duty) -> Carried:
    by, within_s = duty.obligation.param("by"), duty.number("within_s")
    bounded = "within_s" in dict(duty.obligation.params)
    if not isinstance(by, str) or not by or (bounded and (within_s is None or within_s <= 0)):
        return MALFORMED
    request = duty.approvals.request(duty.caller, duty.operation, duty.obligation, duty.now)
    if not request:
        return Unmet("obligation.approval", f"needs approval by {by}, and too many requests wait already")
    return Unmet("obligation.approval", f"needs approval by {by}: request {request} waits for it")


def _quality(duty: Duty) -> Carried:
    most_ms = duty.number("max_age_ms")
    if most_ms is None or most_ms < 0:
        return MALFORMED
    operation, frame = duty.operation, duty.frame
    if isinstance(frame, NorthFrame):
        sample = frame.released.sample
        ages_ms = [(duty.now.mono_ns - sample.mono_ns) / 1_000_000] if sample.quality is Quality.GOOD else []
    elif operation.action is Action.WRITE and all(point.q_prev is not None for point in operation.points):
        ages_ms = [point.age_ms for point in operation.points if point.age_ms is not None]
    else:
        ages_ms = []
    if not ages_ms or len(ages_ms) < len(operation.points) or max(ages_ms) > most_ms:
        return Unmet("obligation.quality", f"no good value is known that is at most {most_ms:g} ms old")
    return None


def _readback(duty: Duty) -> Carried:
    tolerance, operation = duty.number("tolerance"), duty.operation
    if tolerance is None or tolerance < 0:
        return MALFORMED
    target, points = operation.modbus, operation.points
    if (
        operation.protocol is not Protocol.MODBUS
        or operation.action is not Action.WRITE
        or target is None
        or target.table is None
        or not points
        or any(point.q is None for point in points)
    ):
        return Unmet(
            "obligation.readback", "what this does cannot be read back: it names no tags, or no table"
        )
    return None


def _mask(duty: Duty) -> Carried:
    return Masked() if isinstance(duty.frame, NorthFrame) else ONLY_NORTH


def _round(duty: Duty) -> Carried:
    step = duty.number("step")
    if step is None or step < 1 or step != int(step):
        return MALFORMED
    if not isinstance(duty.frame, NorthFrame):
        return ONLY_NORTH
    if duty.frame.tag.type is DataType.BOOL:
        return Unmet("obligation.round", "a tag that is true or false has no steps")
    return Rounded(int(step))


def _unknown(duty: Duty) -> Carried:
    return Unmet("obligation.unknown", f"the gateway knows no obligation {duty.obligation.type}", "engine")


class Row(Struct, frozen=True):
    """One obligation that the gateway knows."""

    perform: Callable[[Duty], Carried]
    params: frozenset[str]
    "Every parameter that it can have."

    def carried(self, duty: Duty) -> Carried:
        """What comes of it."""
        stray = any(name not in self.params for name, _ in duty.obligation.params)
        return MALFORMED if stray else self.perform(duty)


def _row(perform: Callable[[Duty], Carried], *params: str) -> Row:
    return Row(perform, frozenset(params))


KNOWN: dict[str, Row] = {
    "audit": _row(_audit),
    "rate": _row(_rate, "n", "per_s"),
    "expire": _row(_expire, "within_ms", "at_ns"),
    APPROVAL: _row(_approval, "by", "within_s"),
    "quality": _row(_quality, "max_age_ms"),
    READBACK: _row(_readback, "tolerance"),
    "mask": _row(_mask),
    "round": _row(_round, "step"),
}
"How each is carried out, and by which parameters."


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
    if not isinstance(decision, Allowed) or not decision.obligations:
        return False
    return any(one.type == APPROVAL for one in decision.obligations)


class Obliged(Struct, frozen=True):
    """Everything that was asked for, carried out so far as it can be before the act."""

    frame: Frame
    "What may be sent: for IT perhaps less than what was asked for."
    expires_ns: int | None = None
    "When the permit dies (monotonic)."


def carry_out(
    frame: Frame,
    allowed: Allowed,
    caller: Caller,
    operation: Operation,
    rates: Rates,
    approvals: Approvals,
    now: Now,
) -> Obliged | Denied:
    """What the permit may hold, and how long; or Denied if one obligation cannot be met."""
    expiries: list[int] = []
    steps: list[int] = []
    mask = False
    for obligation in allowed.obligations:
        row = KNOWN.get(obligation.type)
        duty = Duty(obligation, frame, caller, operation, rates, approvals, now)
        carried = _unknown(duty) if row is None else row.carried(duty)
        match carried:
            case Unmet():
                return unmet(allowed, carried)
            case Masked():
                mask = True
            case Rounded(step):
                steps.append(step)
            case int():
                expiries.append(carried)
            case None:
                pass
    if isinstance(frame, NorthFrame) and mask:
        frame = frame.saying(masked(frame.released))
    elif isinstance(frame, NorthFrame) and steps:
        frame = frame.saying(rounded(frame.released, frame.tag, lcm(*steps)))  # a multiple of each
    return Obliged(frame, min(expiries, default=None))


class WrittenBack(Struct, frozen=True):
    """One write whose effect must be read, and how far it may be from what was written."""

    operation: Operation
    tolerance: float
    "Quanta."


def to_read_back(operations: Sequence[Operation], passed: Sequence[Passed]) -> tuple[WrittenBack, ...]:
    """What a door must read again once the device has accepted it. The narrowest tolerance counts."""
    found = []
    for operation, decision in zip(operations, passed, strict=True):
        if isinstance(decision, Allowed):
            asked = [each.param("tolerance") for each in decision.obligations if each.type == READBACK]
            tolerances = [float(each) for each in asked if isinstance(each, int | float)]
            if tolerances:
                found.append(WrittenBack(operation, min(tolerances)))
    return tuple(found)
