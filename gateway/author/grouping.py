"""What changes, put together: who, what, why, with counts and examples; ten thousand flips are ten lines.

Everything is bounded: groups, ranges and examples of each. What does not fit is counted, never dropped in
silence.
"""

from enum import StrEnum
from typing import Any

from gateway.author.answers import Answer
from gateway.author.form import Question

MOST_GROUPS = 2_000
"Groups kept apart; what comes beyond is counted by turn only."
MOST_EXAMPLES = 5
"Ids named in a group."
MOST_RANGES = 40
"Address ranges named in a group; more are said as the span around them."
MOST_TAGS = 20
"Tags named in a group."


class Turn(StrEnum):
    """How two answers differ."""

    WIDENS = "deny to allow"
    NARROWS = "allow to deny"
    OBLIGES = "obligations"


def turn(before: Answer, after: Answer) -> Turn | None:
    """How, or None where the same is allowed under the same obligations."""
    if before.allow is not after.allow:
        return Turn.WIDENS if after.allow else Turn.NARROWS
    known = before.obligations is not None and after.obligations is not None
    if after.allow and known and before.obligations != after.obligations:
        return Turn.OBLIGES
    return None


def loosens(before: Answer, after: Answer) -> bool:
    """Whether an obligation that held is gone, or is another one.

    Which of two rates is the stricter is not known here, so both ways count.
    """
    return (
        turn(before, after) is Turn.OBLIGES
        and before.obligations is not None
        and after.obligations is not None
        and not set(before.obligations) <= set(after.obligations)
    )


class Ranges:
    """Whole numbers as ranges, joined where the gap between two is at most `gap`."""

    __slots__ = ("gap", "spans")

    def __init__(self, gap: int = 0) -> None:
        self.gap = gap
        self.spans: list[tuple[int, int]] = []
        "First and last, sorted, apart."

    def add(self, first: int, last: int) -> None:
        """Add one range."""
        apart = [
            span for span in self.spans if last + self.gap + 1 < span[0] or span[1] + self.gap + 1 < first
        ]
        if len(apart) < len(self.spans):
            met = [span for span in self.spans if span not in apart]
            first, last = min(first, met[0][0]), max(last, met[-1][1])
        self.spans = sorted([*apart, (first, last)])

    def bound(self, most: int) -> None:
        """Keep no more than so many: then the span around them."""
        if len(self.spans) > most:
            self.spans = [(self.spans[0][0], self.spans[-1][1])]

    def __str__(self) -> str:
        return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self.spans)


class Group:
    """Operations of one subject, of one kind on one asset, whose answer turns for the same reasons."""

    def __init__(self, turned: Turn, question: Question, before: Answer, after: Answer) -> None:
        modbus = question["modbus"]
        self.turn = turned
        self.subject: str = question["subject"]["id"]
        self.kind: str = question["op"]["kind"]
        self.asset: str | None = question["target"]["asset"]
        self.table: str | None = None if modbus is None else modbus["table"]
        self.before, self.after = before, after
        self.count = 0
        self.distinct = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.examples: list[str] = []
        self.question = question
        "The first one met, for `policy explain --input`."
        self.ranges = Ranges()
        self.others: set[str] = set()
        "Nodes, topics, files and functions, where addresses do not say it."
        self.tags: set[str] = set()

    def add(self, question: Question, count: int, first_ns: int, last_ns: int, name: str) -> None:
        """One more, asked so many times."""
        self.count += count
        self.distinct += 1
        self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(self.last_ns, last_ns)
        if len(self.examples) < MOST_EXAMPLES and name not in self.examples:
            self.examples.append(name)
        modbus = question["modbus"]
        if modbus is not None and modbus["table"] is not None and modbus["start"] is not None:
            self.ranges.add(modbus["start"], modbus["start"] + max(1, modbus["count"] or 1) - 1)
            self.ranges.bound(MOST_RANGES)
        elif len(self.others) < MOST_TAGS:
            self.others |= {_elsewhere(question)} - {""}
        for point in question["points"]:
            if len(self.tags) < MOST_TAGS:
                self.tags.add(point["tag"])

    @property
    def loosens(self) -> bool:
        """Whether what is allowed as before is allowed without an obligation that held."""
        return loosens(self.before, self.after)

    @property
    def lost(self) -> list[str]:
        """The grants that gave it before and give it no more."""
        return [grant for grant in self.before.grants if grant not in self.after.grants]

    @property
    def gained(self) -> list[str]:
        """The grants that give it only now."""
        return [grant for grant in self.after.grants if grant not in self.before.grants]

    @property
    def lifted(self) -> list[str]:
        """The codes that denied it before."""
        return [] if self.before.allow else [code for code, _ in self.before.codes]

    @property
    def denying(self) -> list[str]:
        """The codes that deny it now."""
        return [] if self.after.allow else [code for code, _ in self.after.codes]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "turn": self.turn.value,
            "subject": self.subject,
            "kind": self.kind,
            "asset": self.asset,
            "table": self.table,
            "ranges": self.ranges.spans,
            "others": sorted(self.others),
            "tags": sorted(self.tags),
            "count": self.count,
            "distinct": self.distinct,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "codes_before": [code for code, _ in self.before.codes],
            "codes_after": [code for code, _ in self.after.codes],
            "grants_lost": self.lost,
            "grants_gained": self.gained,
            "obligations_before": _list(self.before.obligations),
            "obligations_after": _list(self.after.obligations),
            "loosens": self.loosens,
            "examples": self.examples,
            "question": self.question,
        }


def _list(texts: tuple[str, ...] | None) -> list[str] | None:
    return None if texts is None else list(texts)


def _elsewhere(question: Question) -> str:
    """What an operation addresses where it is no range of a table."""
    modbus, opcua, north = question["modbus"], question["opcua"], question["northbound"]
    if modbus is not None:
        file = "" if modbus["file"] is None else f" file {modbus['file']}"
        return f"function {modbus['fc']}{file}"
    if opcua is not None:
        return str(opcua.get("method") or opcua.get("node") or "")
    return "" if north is None else str(north["topic"] or "")


class Groups:
    """All groups of one comparison."""

    def __init__(self) -> None:
        self.counts: dict[Turn, int] = dict.fromkeys(Turn, 0)
        self.beyond: dict[Turn, int] = dict.fromkeys(Turn, 0)
        "Operations in no group, because there are too many groups."
        self.loosened = 0
        "Operations that are allowed as before, without an obligation that they had."
        self._groups: dict[tuple[Any, ...], Group] = {}

    def add(
        self,
        question: Question,
        before: Answer,
        after: Answer,
        *,
        count: int = 1,
        moments: tuple[int, int] | None = None,
        name: str = "",
    ) -> Turn | None:
        """Compare two answers to a question, and keep the difference."""
        turned = turn(before, after)
        if turned is None:
            return None
        self.counts[turned] += count
        self.loosened += count * loosens(before, after)
        modbus = question["modbus"]
        place = (
            turned,
            question["subject"]["id"],
            question["op"]["kind"],
            question["target"]["asset"],
            None if modbus is None else modbus["table"],
            before,
            after,
        )
        group = self._groups.get(place)
        if group is None:
            if len(self._groups) >= MOST_GROUPS:
                self.beyond[turned] += count
                return turned
            group = self._groups[place] = Group(turned, question, before, after)
        at = question["time"]["ns"]
        first_ns, last_ns = moments or (at, at)
        group.add(question, count, first_ns, last_ns, name or question["op"]["id"])
        return turned

    def sorted(self) -> list[Group]:
        """What widens first, then what narrows, then obligations; the most frequent first."""
        order = list(Turn)
        return sorted(
            self._groups.values(),
            key=lambda each: (order.index(each.turn), -each.count, each.subject, each.kind, each.asset or ""),
        )
