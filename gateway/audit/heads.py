"""What a window's entries say beside their counts: the policy question and the answer, as JSON.

An entry's head depends on no caller, so the windows of all callers share it; what a window's entries have in
common is told once, for the window.
"""

from typing import Any

import msgspec

from gateway.audit.entry import Writer, who, word
from gateway.model.decision import Origin, Passed, Waived
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation

MOST_HEADS = 50_000
"Descriptions of operations kept for the next windows; beyond it all are forgotten."
COMMON = ("schema", "subject", "conn", "state", "time")
"Members of the policy question that every entry of a window shares; the others stand in each entry."

_encode = msgspec.json.Encoder().encode
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])

Version = tuple[str, Origin, str, tuple[str, ...]]
"What keeps entries about one operation apart."


def version(decision: Passed) -> Version:
    """What keeps entries about one operation apart. Cached or evaluated is no difference, fallback is."""
    said = decision.denied if isinstance(decision, Waived) else decision
    origin = Origin.FALLBACK if said.origin is Origin.FALLBACK else Origin.EVALUATED
    return word(decision), origin, said.revision, said.grants


class Heads:
    """Heads that were made, for the next windows."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._known: dict[int, tuple[Operation, tuple[str, Origin, str, tuple[str, ...], str], bytes]] = {}
        "Identity of an operation object (held here) -> what entries say about it."

    def common(
        self, window: str, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> dict[str, Any]:
        """What all entries of a window share."""
        question = self._question(window, caller, operation, decision, now)
        return {
            "who": who(caller),
            "what": {
                "protocol": operation.protocol,
                "action": operation.action,
                "asset": operation.asset,
                "asset_kind": operation.asset_kind,
            },
            "why": {
                "decision": "allow",
                "revision": decision.revision,
                "input": {name: question[name] for name in COMMON if name in question},
            },
        }

    def head(self, window: str, caller: Caller, operation: Operation, decision: Passed, now: Now) -> bytes:
        """What an entry says beside its counts."""
        said = decision.denied if isinstance(decision, Waived) else decision
        apart = (*version(decision), said.evaluation)
        known = self._known.get(id(operation))
        if known is not None and known[1] == apart:
            return known[2]
        question = self._question(window, caller, operation, decision, now)
        own = {name: value for name, value in question.items() if name not in COMMON}
        told: dict[str, Any] = {
            "action": operation.action,
            "kind": operation.kind,
            "input": own,
            "grants": said.grants,
            "reasons": said.reasons,
            "evaluation": said.evaluation,
        }
        if isinstance(decision, Waived):
            told |= {"decision": word(decision), "stage": decision.stage}
        if said.origin is Origin.FALLBACK:
            told["origin"] = said.origin
        head = _encode(told)[:-1]
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        self._known[id(operation)] = (operation, apart, head)
        return head

    def _question(
        self, window: str, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> dict[str, msgspec.Raw]:
        return _MEMBERS.decode(self._writer.question(caller, operation, decision, now, window))
