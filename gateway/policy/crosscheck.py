"""The cross-check: some of OPA's decisions are asked of the embedded engine too, on the very same bytes.

Both engines were seen to fail open, each in its own way (docs/decisions/0002), and both sit behind the same
loader, so they must agree on decision and explanation. Where they do not, nobody knows what the policy
means: the answer is no, somebody is told, and the question is kept with both answers, so that whoever looks
into it can ask again.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.model.decision import Allowed, Decision, Denied
from gateway.policy.engine import Engine, failed

MOST_KEPT = 100
"Counterexamples kept. One is enough to find a fault; a fault that all questions meet must not fill a disk."
CODE = "engine.cross_check"

Alarm = Callable[[str, dict[str, Any]], None]


class CrossCheck:
    """Compares one decision in `one_in`; 1 compares all, 0 none."""

    def __init__(self, one_in: int, folder: Path | None, alarm: Alarm) -> None:
        """`folder` keeps the counterexamples; None keeps none."""
        self._one_in = one_in
        self._left = one_in
        self._folder = folder
        self._alarm = alarm
        self.compared = 0
        self.disagreed = 0

    def judge(self, decision: Decision, engine: Engine) -> Decision:
        """The decision, or a denial where the embedded engine says something else."""
        if self._one_in <= 0:
            return decision
        self._left -= 1
        if self._left > 0:
            return decision
        self._left = self._one_in
        self.compared += 1
        other = engine.evaluate(decision.question, decision.evaluation)
        if says(other) == says(decision):
            return decision
        self.disagreed += 1
        return self._differs(decision, other)

    def _differs(self, decision: Decision, other: Decision) -> Denied:
        kept = self._keep(decision, other)
        denied = failed(decision.revision, "the two engines disagree; see the alarm", decision.question, CODE)
        self._alarm("policy.engines_differ", {"evaluation": decision.evaluation, "kept": kept})
        return denied

    def _keep(self, decision: Decision, other: Decision) -> str:
        """Write it down; where, or why not. A disk that fails changes nothing about the denial."""
        if self._folder is None:
            return "nowhere: no folder is set"
        found = {
            "revision": decision.revision,
            "input": json.loads(decision.question),  # so that the file as it is can be sent to OPA
            "opa": told(decision),
            "embedded": told(other),
        }
        name = f"{decision.evaluation}.json"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if sum(1 for _ in self._folder.iterdir()) >= MOST_KEPT:
                return f"nowhere: there are {MOST_KEPT} already"
            file = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w") as out:
                json.dump(found, out, indent=1)
        except OSError as error:
            return f"nowhere: {error.strerror}"
        return name


def says(decision: Decision) -> tuple[Any, ...]:
    """Decision and explanation, so that two can be compared: sets may come in another order, no more."""
    obligations = decision.obligations if isinstance(decision, Allowed) else ()
    # By their texts: 1 and true are equal in Python, and not in policy.
    return (
        type(decision),
        decision.revision,
        *(sorted({repr(each) for each in said}) for said in (decision.reasons, obligations, decision.grants)),
    )


def told(decision: Decision) -> dict[str, Any]:
    """What a decision says, for people."""
    said: dict[str, Any] = {
        "allow": isinstance(decision, Allowed),
        "reasons": msgspec.to_builtins(decision.reasons),
        "grants": list(decision.grants),
    }
    if isinstance(decision, Allowed):
        said["obligations"] = msgspec.to_builtins(decision.obligations)
    return said
