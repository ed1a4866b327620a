"""Replay: recorded operations decided again under another bundle, and what turns.

Each is held against what policy said when it was recorded, or, with an old bundle, against what that says
now. A difference against the record can have two causes, the bundle and the gateway's version; against an
old bundle only one.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from gateway.author.answers import Answers
from gateway.author.grouping import Groups, Turn
from gateway.author.recorded import Recorded, Seen


class Replay(Struct, kw_only=True):
    """What came of it."""

    new: str
    old: str | None
    "Revisions; null: against what was recorded."
    operations: int = 0
    "Operations decided again, each as often as it happened."
    questions: int = 0
    "Recorded questions, where equal ones of one window are one."
    evaluated: int = 0
    "Evaluations under the new bundle: equal questions share one."
    unknown: int = 0
    "Operations of which nobody knows what policy said: not compared."
    other_hours: int = 0
    "Questions whose open windows are others by the new bundle's hours than they were."
    groups: Groups
    seen: Seen

    @property
    def widens(self) -> bool:
        """Whether anything that was denied is allowed, or allowed without an obligation that held."""
        return self.groups.counts[Turn.WIDENS] + self.groups.loosened > 0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        counts, beyond = self.groups.counts, self.groups.beyond
        return {
            "new": self.new,
            "old": self.old,
            "operations": self.operations,
            "questions": self.questions,
            "evaluated": self.evaluated,
            "unknown": self.unknown,
            "other_hours": self.other_hours,
            "widens": counts[Turn.WIDENS],
            "narrows": counts[Turn.NARROWS],
            "obliges": counts[Turn.OBLIGES],
            "loosens": self.groups.loosened,
            "not_grouped": {each.value: count for each, count in beyond.items() if count},
            "unasked": self.seen.unasked,
            "suppressed": self.seen.suppressed,
            "unusable": dict(self.seen.unusable),
            "filled": dict(self.seen.filled),
            "damaged": self.seen.damaged,
            "groups": [group.as_json() for group in self.groups.sorted()],
        }


def run(corpus: Iterable[Recorded], new: Answers, old: Answers | None, seen: Seen) -> Replay:
    """Decide them all again."""
    found = Replay(new=new.revision, old=None if old is None else old.revision, groups=Groups(), seen=seen)
    evaluated = new.evaluated
    for each in corpus:
        found.questions += 1
        before = each.said if old is None else old.of(each.question)
        if before is None:
            found.unknown += each.count
            continue
        found.operations += each.count
        asked = new.hours.put(each.question)
        found.other_hours += asked is not each.question
        found.groups.add(
            each.question,
            before,
            new.of(asked),
            count=each.count,
            moments=(each.first_ns, each.last_ns),
            name=each.id,
        )
    found.evaluated = new.evaluated - evaluated
    return found
