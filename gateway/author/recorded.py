"""A recorded operation: the question it was, what policy said then, how often and when."""

from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from gateway.audit.places import COMMITTED
from gateway.author.answers import Answer, obligation_text
from gateway.author.form import Question, UnaskableError, complete

UNASKED = frozenset({"wire"})
"Kinds of reasons by which the gateway refuses before policy is asked, under any bundle."
FAILED = frozenset({"engine"})
"The engine failed: nobody knows what policy would have said."
UNMET = frozenset({"obligation"})
"Policy allowed, and an obligation was not met."
MOST_WHYS = 100
"Different causes counted by name."


class Recorded(Struct, frozen=True, kw_only=True):
    """One operation, or many that asked the same."""

    question: Question
    said: Answer | None
    "What policy said; null where nobody asked it, or nobody knows."
    passed: bool
    "Whether it was let through: allowed, denied but not enforced, or captured where no gateway was."
    count: int = 1
    first_ns: int
    last_ns: int
    id: str
    "The record, or the evaluation, by which `audit show` and `policy explain` find it."


class Seen(Struct, kw_only=True):
    """What was met on the way, so that nobody takes the corpus for more than it is."""

    records: int = 0
    operations: int = 0
    "Operations given out, each as often as it happened."
    unasked: int = 0
    "Refused before policy was asked: the same under any bundle."
    suppressed: int = 0
    "Only counted by the flood rule: no question was kept."
    unusable: Counter[str] = msgspec.field(default_factory=Counter)
    "Operations whose question cannot be asked again, by why."
    filled: Counter[str] = msgspec.field(default_factory=Counter)
    "Fields that were added to the schema since, and are null here; by path."
    damaged: list[int] = msgspec.field(default_factory=list)
    "Records that cannot be read."

    def unable(self, why: str, count: int = 1) -> None:
        """Count what cannot be used."""
        self.unusable[why if len(self.unusable) < MOST_WHYS else "others"] += count


def said(why: dict[str, Any]) -> Answer | None:
    """What policy said, from a record's `why` or an inspected operation; None where nobody knows."""
    reasons = why.get("reasons") or ()
    codes = tuple(sorted((each["code"], each["kind"]) for each in reasons))
    kinds = {kind for _, kind in codes}
    if kinds & FAILED:
        return None
    obligations = why.get("obligations")
    texts = None if obligations is None else tuple(sorted(map(obligation_text, obligations)))
    unmet = bool(kinds) and kinds <= UNMET
    return Answer(
        allow=unmet or why["decision"] in ("allow", "allowed"),
        codes=codes,
        grants=tuple(sorted(why.get("grants") or ())),
        obligations=None if unmet else texts,
    )


def is_unasked(why: dict[str, Any]) -> bool:
    """Whether policy was never asked."""
    return any(each["kind"] in UNASKED for each in why.get("reasons") or ())


def is_closed(value: Any) -> bool:
    """Whether something in a question was committed to, and nobody can open it any more."""
    if isinstance(value, list):
        return any(map(is_closed, value))
    return isinstance(value, dict) and (COMMITTED in value or any(map(is_closed, value.values())))


def usable(question: Question | None, count: int, seen: Seen) -> Question | None:
    """The question made whole, or None with the reason counted."""
    if question is not None and is_closed(question):
        seen.unable("sensitive fields of the question were dropped", count)
        return None
    if question is None or "schema" not in question:
        seen.unable("the record keeps no question" if question is None else "the question is kept as a hash")
        return None
    try:
        for path in complete(question):
            seen.filled[path] += count
    except UnaskableError as error:
        seen.unable(str(error), count)
        return None
    return question
