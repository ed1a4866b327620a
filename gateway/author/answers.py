"""One bundle, ready to answer recorded and made-up questions; equal ones are evaluated once.

Equal means equal at every path that the bundle's rules can read (policy/cache.py has the argument). Unlike
the gateway's cache this one holds writes as well, because nothing happens here.
"""

import hashlib

import msgspec
from msgspec import Struct

from gateway.author.form import Question
from gateway.author.hours import Hours
from gateway.model.decision import Allowed, Decision, Obligation
from gateway.policy import question as asking
from gateway.policy.cache import key
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy

MOST_REMEMBERED = 200_000
"Answers kept, about 150 bytes each; beyond it all are forgotten, which costs time only."
MOST_SAID = 10_000
"Different answers kept once; beyond it they are kept again."
DIGEST_BYTES = 16

Codes = tuple[tuple[str, str], ...]
"Code and kind of each reason, sorted."


class Answer(Struct, frozen=True):
    """What one bundle says to one question."""

    allow: bool
    codes: Codes
    grants: tuple[str, ...] = ()
    obligations: tuple[str, ...] | None = ()
    "As canonical JSON, sorted; null where they were not recorded."


def told(obligation: Obligation) -> str:
    """An obligation as text, equal for equal ones."""
    return obligation_text({"type": obligation.type, **dict(obligation.params)})


def obligation_text(fields: object) -> str:
    """The same of a recorded one."""
    return msgspec.json.encode(fields, order="deterministic").decode()


def answer_of(decision: Decision) -> Answer:
    """What of a decision is compared."""
    return Answer(
        allow=isinstance(decision, Allowed),
        codes=tuple(sorted((reason.code, reason.kind) for reason in decision.reasons)),
        grants=tuple(sorted(decision.grants)),
        obligations=tuple(sorted(map(told, decision.obligations))) if isinstance(decision, Allowed) else (),
    )


class Answers:
    """One bundle's answers. Lives in the thread that made it, as its engine does."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.revision = policy.bundle.revision
        self.hours = Hours(policy.bundle.data.get("windows", {}))
        self.evaluated = 0
        self._engine = Engine(policy)
        self._known: dict[bytes, Answer] = {}
        self._said: dict[Answer, Answer] = {}

    def of(self, question: Question) -> Answer:
        """The answer, with the windows that are open under this bundle."""
        asked = self.hours.put(question)
        place = hashlib.blake2b(key(asked, self.policy.paths), digest_size=DIGEST_BYTES).digest()
        known = self._known.get(place)
        if known is not None:
            return known
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        if len(self._said) >= MOST_SAID:
            self._said.clear()
        fresh = answer_of(self.decide(asked))
        known = self._known[place] = self._said.setdefault(fresh, fresh)
        return known

    def allows(self, question: Question) -> bool:
        """Whether the answer is yes."""
        return self.of(question).allow

    def decide(self, question: Question) -> Decision:
        """The whole decision on a question as it stands, evaluated."""
        self.evaluated += 1
        return self._engine.evaluate(asking.encode(question), question["op"]["id"])
