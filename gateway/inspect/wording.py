"""Words and fields that lines of both protocols share."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.inspect.breakage import Break
from gateway.inspect.conversation import Times
from gateway.inspect.refusals import stopping
from gateway.model.decision import Allowed, Decision
from gateway.model.moment import SECOND
from gateway.model.operation import Operation


def decided(operation: Operation | None, decision: Decision | None, question: bytes | None) -> dict[str, Any]:
    """What policy said of an operation; null where it was not asked."""
    said = "not judged" if decision is None else "allowed" if isinstance(decision, Allowed) else "denied"
    return {
        "decision": said,
        "action": operation.action if operation else None,
        "kind": operation.kind if operation else None,
        "asset": operation.asset if operation else None,
        "reasons": [] if decision is None else [reason.code for reason in decision.reasons],
        "kinds": [] if decision is None else [reason.kind for reason in decision.reasons],
        "grants": [] if decision is None else list(decision.grants),
        "stops": None if decision is None else next((stops for stops, _ in stopping(decision)), None),
        "question": msgspec.Raw(question) if question is not None else None,
    }


def broken(each: Break) -> dict[str, Any]:
    """What the gateway would break."""
    return {"what": each.what, "then": each.then, "quirk": each.quirk}


def said_moment(time_ns: int) -> str:
    """A moment of the capture."""
    seconds, rest = divmod(time_ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def spoken(times: Times) -> str:
    """How often, and where to look."""
    frames = ", ".join(map(str, times.frames)) + ("…" if times.count > len(times.frames) else "")
    return f"{times.count} × (frame {frames})"
