"""Learning: from what was let through to the narrowest grants that would have let it through.

For each subject (or role), asset and action: the addresses that were touched, joined only over gaps of at
most `gap`, each with the functions used; for writes of tags the least and the greatest value and the greatest
step. Windows are not learnt: when something was seen is told beside the grant, for a person to judge.

What guardrails, base or site rules deny, whoever asks, and what lies beyond the bundle's bounds, is not
learnt but listed: no grant could give it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from gateway.author.answers import Answers
from gateway.author.form import Question
from gateway.author.grouping import Ranges
from gateway.author.recorded import Recorded
from gateway.model.moment import SECOND
from gateway.policy import areas

MOST_PATTERNS = 20_000
"Grants in the making; more subjects and assets than that are no plant."
MOST_NAMED = 1_000
"Causes listed by name for what is not learnt."
MOST_SOURCES = 20
"Addresses named as evidence of one grant."
BY_PERSON = frozenset({"admin"})
"Actions that are people's acts: these are granted by hand."
LEARNT = frozenset({"modbus", "https", "mqtt"})
"Protocols whose operations are learnt."
ALWAYS = frozenset({"guardrail", "base", "site", "engine"})
"Kinds of reasons that no grant lifts."
LIFTED = frozenset({"guardrail.nobody"})
"A guardrail that a grant lifts: nobody gets what is granted to nobody."
CAPTURED = "inspect"
"The listener's name where a capture was read without a configuration."
CHANGING = frozenset({"write", "call"})

Who = tuple[str, str]
"`subjects`, `roles` or `subject_kinds`, and the name."
Key = tuple[Who, str, str, str | None, bool]
"Who, protocol, action, asset, and whether values are judged."
Cell = tuple[int | str | None, ...]
"Table, bound and function of addresses; or the function and its parts."


class Limit(Struct):
    """Values of one tag that were written."""

    least: int
    most: int
    step: int | None
    "The greatest; null where one of them is not known."


class Pattern:
    """One grant in the making."""

    def __init__(self, key: Key, first: Recorded) -> None:
        self.who, self.protocol, self.action, self.asset, self.judged = key
        self.count = self.questions = 0
        self.first_ns, self.last_ns = first.first_ns, first.last_ns
        self.hours: Counter[int] = Counter()
        self.days: set[int] = set()
        self.sources: set[str] = set()
        self.listeners: set[str] = set()
        self.kinds: set[str] = set()
        self.topics: set[str] = set()
        self.cells: dict[Cell, Ranges] = {}
        self.examples: dict[Cell, Question] = {}
        "The first question of each cell."
        self.limits: dict[str, Limit] = {}

    def add(self, each: Recorded, cell: Cell, span: tuple[int, int], gap: int) -> None:
        """One more that it must give."""
        question = each.question
        self.count += each.count
        self.questions += 1
        self.first_ns, self.last_ns = min(self.first_ns, each.first_ns), max(self.last_ns, each.last_ns)
        moment = datetime.fromtimestamp(each.first_ns // SECOND, UTC)
        self.hours[moment.hour] += each.count
        self.days.add(moment.weekday())
        if len(self.sources) < MOST_SOURCES:
            self.sources.add(question["conn"]["src"])
        self.listeners.add(question["conn"]["listener"])
        self.kinds.add(question["op"]["kind"])
        if question["northbound"] is not None and question["northbound"]["topic"] is not None:
            self.topics.add(question["northbound"]["topic"])
        self.cells.setdefault(cell, Ranges(gap)).add(*span)
        self.examples.setdefault(cell, question)
        for point in question["points"] if self.judged else ():
            self._limit(point)

    def _limit(self, point: Mapping[str, Any]) -> None:
        q, before = point["q"], point["q_prev"]
        step = None if before is None else abs(q - before)
        known = self.limits.get(point["tag"])
        if known is None:
            self.limits[point["tag"]] = Limit(q, q, step)
            return
        known.least, known.most = min(known.least, q), max(known.most, q)
        known.step = None if step is None or known.step is None else max(known.step, step)


class Refusal(Struct, frozen=True):
    """Something that no grant can give."""

    why: str
    subject: str
    kind: str
    asset: str | None


class Learning:
    """What was learnt, against one bundle."""

    def __init__(self, answers: Answers, *, gap: int, by_role: bool) -> None:
        self.answers = answers
        self.patterns: dict[Key, Pattern] = {}
        self.refused: Counter[Refusal] = Counter()
        self.count = 0
        "Operations that were looked at."
        self._gap, self._by_role = gap, by_role
        self._bounds = answers.policy.bundle.data["bounds"]

    def learn(self, corpus: Iterable[Recorded], *, denied_too: bool) -> None:
        """Take in what was let through; with `denied_too` also what was denied."""
        for each in corpus:
            if each.passed or denied_too:
                self.count += each.count
                why = self._obstacle(each.question)
                if why is None:
                    why = self._take(each)
                if why is not None:
                    self._refuse(each, why)

    def _obstacle(self, question: Question) -> str | None:
        """Why no grant can give it, if none can."""
        op, subject = question["op"], question["subject"]
        if op["action"] in BY_PERSON or op["protocol"] == "control":
            return "acts of people are granted by hand"
        if op["protocol"] not in LEARNT:
            return f"operations over {op['protocol']} are not learnt"
        if subject["kind"] == "nobody" and question["conn"]["listener"] == CAPTURED:
            return f"nobody knows who {question['conn']['src']} is: say so with --as"
        answer = self.answers.of(question)
        codes = () if answer.allow else answer.codes
        always = [code for code, kind in codes if kind in ALWAYS and code not in LIFTED]
        return ", ".join(always) or None

    def _take(self, each: Recorded) -> str | None:
        question = each.question
        op, asset = question["op"], question["target"]["asset"]
        cell, span = _cell(question)
        if op["action"] in CHANGING and question["modbus"] is not None:
            bound = self._bound(question)
            if bound is None:
                return "beyond bounds.writable"
            cell = (*cell, bound)
        judged = op["action"] in CHANGING and self._judged(question)
        if judged and any(self._too_far(point) for point in question["points"]):
            return "a step beyond bounds.limits, or from a value that nobody knows"
        key: Key = self._who(question), op["protocol"], op["action"], asset, judged
        pattern = self.patterns.get(key)
        if pattern is None:
            if len(self.patterns) >= MOST_PATTERNS:
                return "too many subjects and assets to learn at once"
            pattern = self.patterns[key] = Pattern(key, each)
        pattern.add(self._without_old_steps(each), cell, span, self._gap)
        return None

    def _refuse(self, each: Recorded, why: str) -> None:
        question = each.question
        full = len(self.refused) >= MOST_NAMED
        who = "others" if full else question["subject"]["id"]
        about = Refusal(why, who, question["op"]["kind"], question["target"]["asset"])
        self.refused[about] += each.count

    def _who(self, question: Question) -> Who:
        subject = question["subject"]
        if subject["kind"] == "nobody":
            return "subject_kinds", "nobody"
        if self._by_role:
            bound = self.answers.policy.bundle.data["role_bindings"].get(subject["id"], ())
            claimed = question["op"]["protocol"] == "modbus" and subject["auth"] == "mtls"
            roles = [role for role in bound if not claimed or role in subject["roles"]]
            if roles:
                return "roles", roles[0]
        return "subjects", subject["id"]

    def _bound(self, question: Question) -> int | None:
        """Which of the bounds of what may be written it lies in: ranges are never joined across them."""
        modbus, asset = question["modbus"], question["target"]["asset"]
        writable = self._bounds["writable"].get(asset, {})
        if modbus["table"] is not None:
            first, last = _span(modbus)
            bounds = writable.get(modbus["table"], [])
            return next((at for at, (low, high) in enumerate(bounds) if low <= first and last <= high), None)
        area = _untabled(modbus)
        return None if area is None or list(areas.beyond(area, asset, self._bounds["writable"])) else 0

    def _judged(self, question: Question) -> bool:
        """Whether a limit can be held against every tag that it writes."""
        masked = question["modbus"] is not None and question["modbus"]["and_mask"] is not None
        points = question["points"]
        return bool(points) and all(
            point["q"] is not None and (not masked or self._is_young(point)) for point in points
        )

    def _is_young(self, point: Mapping[str, Any]) -> bool:
        age = point["age_ms"]
        return point["q_prev"] is not None and age is not None and 0 <= age <= self._bounds["previous_age_ms"]

    def _too_far(self, point: Mapping[str, Any]) -> bool:
        step = self._bounds["limits"].get(point["tag"], {}).get("max_delta")
        if step is None:
            return False
        return not self._is_young(point) or abs(point["q"] - point["q_prev"]) > step

    def _without_old_steps(self, each: Recorded) -> Recorded:
        """A value polled too long ago says nothing about a step."""
        points = each.question["points"]
        if all(point["q_prev"] is None or self._is_young(point) for point in points):
            return each
        known = [point if self._is_young(point) else {**point, "q_prev": None} for point in points]
        return Recorded(
            question={**each.question, "points": known},
            said=each.said,
            passed=each.passed,
            count=each.count,
            first_ns=each.first_ns,
            last_ns=each.last_ns,
            id=each.id,
        )


def _span(modbus: Mapping[str, Any]) -> tuple[int, int]:
    return modbus["start"], modbus["start"] + max(1, modbus["count"]) - 1


def _cell(question: Question) -> tuple[Cell, tuple[int, int]]:
    """What of the protocol it addresses, and the addresses."""
    modbus = question["modbus"]
    if modbus is None:
        return (None,), (0, 0)
    if modbus["table"] is not None:
        return (modbus["table"], modbus["fc"]), _span(modbus)
    if modbus["file"] is not None:
        first = modbus["record"]
        return ("file", modbus["fc"], modbus["file"]), (first, first + max(1, modbus["count"]) - 1)
    part = {8: modbus["sub"], 43: modbus["mei"]}.get(modbus["fc"])
    return ("function", modbus["fc"], part), (0, 0)


def _untabled(modbus: Mapping[str, Any]) -> areas.Area | None:
    """The area of a function that addresses no table."""
    code = modbus["fc"]
    if modbus["file"] is not None:
        record, count = modbus["record"], max(1, modbus["count"])
        file = modbus["file"]
        return {"fcs": [code], "files": [[file, file]], "records": [[record, record + count - 1]]}
    parts = {8: {"subs": [modbus["sub"]]}, 43: {"meis": [modbus["mei"]]}}
    return {"fcs": [code], **parts.get(code, {})}
