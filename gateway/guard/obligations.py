"""What policy may oblige us to do. Carried out, or denied: there is no third way.

| obligation        | carried out how                                              |
|-------------------|--------------------------------------------------------------|
| audit             | nothing is left to do: every decision is recorded            |
| rate(n, per_s)    | a token bucket per subject, asset and grant                  |
| expire(within_ms) | the permit dies that long after the decision                 |

Every other name (approval, read back, mask, round …) is a denial until it has a row here.
"""

from gateway.guard.limits import Rates
from gateway.model.decision import Allowed, Denied, Obligation, Reason
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation


def _number(obligation: Obligation, name: str) -> float | None:
    value = obligation.param(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def carry_out(
    allowed: Allowed, caller: Caller, operation: Operation, rates: Rates, now: Now
) -> tuple[Allowed, int | None] | Denied:
    """The decision and when its permit expires (monotonic ns or None), or Denied if one cannot be met."""
    expires: int | None = None
    for obligation in allowed.obligations:
        code = None
        match obligation.type:
            case "audit":
                pass
            case "rate":
                n, per_s = _number(obligation, "n"), _number(obligation, "per_s")
                key = (caller.identity.subject, operation.asset or "", *allowed.grants)
                if n is None or per_s is None:
                    code = "obligation.malformed"
                elif not rates.take(key, n, per_s, now.mono_ns):
                    code = "obligation.rate"
            case "expire":
                within = _number(obligation, "within_ms")
                if within is None:
                    code = "obligation.malformed"
                else:
                    expires = min(expires or (1 << 63), now.mono_ns + int(within * 1_000_000))
            case _:
                code = "obligation.unknown"
        if code is not None:
            return Denied(
                revision=allowed.revision,
                reasons=(Reason(code, "engine", f"obligation {obligation.type} cannot be met"),),
                grants=allowed.grants,
                origin=allowed.origin,
                evaluation=allowed.evaluation,
                question=allowed.question,
            )
    return allowed, expires
