"""Two bundles compared: on the boundary grid, and on recorded operations where there are any.

`new` never allows more than `old` is claimed of the points that were asked, with their number, and of nothing
else. A point where it allows more is a counterexample: a question that `policy explain` answers.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from gateway.author import grid
from gateway.author.answers import Answers
from gateway.author.bases import Base, bases
from gateway.author.grid import Point
from gateway.author.grouping import Groups, Turn
from gateway.author.replay import Replay
from gateway.author.vocabulary import Vocabulary

Progress = Callable[[int], None]


class Difference(Struct, kw_only=True):
    """What the grid found, and the replay of what was recorded."""

    old: str
    new: str
    bases: int
    points: int = 0
    "Questions of the grid."
    allowed: int = 0
    "Of these, allowed by either: a grid that meets only denials would say nothing."
    groups: Groups
    strange: tuple[str, ...] = ()
    "Members of grants that the grid does not vary."
    left: int = 0
    "Bases beyond the bound, not tried."
    replay: Replay | None = None

    @property
    def widens(self) -> bool:
        """Whether `new` allows anything that `old` denies or binds more, on all that was asked."""
        recorded = self.replay is not None and self.replay.widens
        return recorded or self.groups.counts[Turn.WIDENS] + self.groups.loosened > 0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        counts = self.groups.counts
        return {
            "old": self.old,
            "new": self.new,
            "never_allows_more": not self.widens,
            "points": self.points,
            "bases": self.bases,
            "allowed": self.allowed,
            "widens": counts[Turn.WIDENS],
            "narrows": counts[Turn.NARROWS],
            "obliges": counts[Turn.OBLIGES],
            "loosens": self.groups.loosened,
            "not_grouped": {each.value: count for each, count in self.groups.beyond.items() if count},
            "not_varied": list(self.strange),
            "bases_left": self.left,
            "groups": [group.as_json() for group in self.groups.sorted()],
            "replay": None if self.replay is None else self.replay.as_json(),
        }


def run(old: Answers, new: Answers, pairs: int, progress: Progress) -> Difference:
    """Ask both every point of the grid."""
    words, starts, left = _starts(old, new)
    found = Difference(
        old=old.revision,
        new=new.revision,
        bases=len(starts),
        groups=Groups(),
        strange=tuple(sorted(words.strange)),
        left=left,
    )
    for point in _points(words, starts, pairs):
        found.points += 1
        progress(found.points)
        before, after = old.of(point.question), new.of(point.question)
        found.allowed += before.allow or after.allow
        if before != after:
            found.groups.add(new.hours.put(point.question), before, after, name=point.name)
    return found


def points(old: Answers, new: Answers, pairs: int) -> Iterator[Point]:
    """The grid of two bundles."""
    words, starts, _ = _starts(old, new)
    return _points(words, starts, pairs)


def _points(words: Vocabulary, starts: list[Base], pairs: int) -> Iterator[Point]:
    yield from grid.singles(starts, words)
    yield from grid.pairs(starts, words, pairs)


def _starts(old: Answers, new: Answers) -> tuple[Vocabulary, list[Base], int]:
    """Words, bases, and how many more bases there are than are tried."""
    words = Vocabulary(old.policy.bundle, new.policy.bundle)
    starts = _bases(old, new, words)
    kept = starts[: grid.MOST_BASES]
    return words, kept, len(starts) - len(kept)


def _bases(old: Answers, new: Answers, words: Vocabulary) -> list[Base]:
    """From the grants of both; from one that is the same in both once."""
    made: dict[bytes, Base] = {}
    for answers in (new, old):
        data = answers.policy.bundle.data
        for base in bases(data["grants"], data, words, answers.allows):
            made.setdefault(msgspec.json.encode(base.question, order="deterministic"), base)
    return list(made.values())
