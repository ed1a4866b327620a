"""Tests for what was learnt: what was seen is allowed, and its nearest neighbours are denied.

Every row is asked of the bundle as it would be with the grants, and says what came out. A neighbour that is
allowed (another grant of the bundle gives it) makes no row: there is nothing to deny.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from gateway.author.answers import Answers
from gateway.author.form import Question
from gateway.author.proposal import Proposal
from gateway.author.variations import Change, changed

MOST_RANGES = 50
"Ranges of one area whose edges get rows."
STRANGER = "spiffe://stranger.example/one"
NEIGHBOURS = {1: 2, 2: 1, 3: 23, 4: 3, 5: 15, 6: 16, 15: 5, 16: 6, 20: 21, 21: 20, 22: 6, 23: 3, 24: 3}
"A function that does nearly the same."


class Rows(Struct, kw_only=True):
    """One table of tests."""

    bases: dict[str, Question]
    cases: list[dict[str, Any]]
    refused: list[tuple[str, list[str]]]
    "Rows that must be allowed and are denied all the same, with the codes: nothing may be in here."
    allowed: int = 0
    "Neighbours that other grants give."

    @property
    def denials(self) -> int:
        """Rows that expect a denial."""
        return sum(not case["allow"] for case in self.cases)


def rows(found: Sequence[Proposal], answers: Answers) -> Rows:
    """The table, asked of the bundle with the grants."""
    made = Rows(bases={}, cases=[], refused=[])
    for proposal in found:
        for at, (area, question) in enumerate(proposal.examples):
            base = f"{proposal.grant['id']}{f'.{at}' if at else ''}"
            made.bases[base] = question
            for change in _inside(area):
                _row(made, base, change, question, answers, expected=True)
            for change in _outside(proposal.grant, area, question):
                _row(made, base, change, question, answers, expected=False)
    return made


def _row(
    made: Rows, base: str, change: Change, question: Question, answers: Answers, *, expected: bool
) -> None:
    asked = changed(question, change)
    answer = answers.of(asked)
    codes = sorted({code for code, _ in answer.codes})
    name = f"{base}: {change[0]}"
    if answer.allow is not expected:
        if expected:
            made.refused.append((name, codes))
        else:
            made.allowed += 1
        return
    case: dict[str, Any] = {"name": name, "base": base, "allow": expected, "codes": codes}
    patch = dict(change[1])
    windows = answers.hours.put(asked)["time"]["windows"]
    if windows != question["time"]["windows"]:
        patch["time"] = {"windows": windows}
    if patch:
        case["patch"] = patch
    made.cases.append(case)


def _inside(area: dict[str, Any] | None) -> Iterator[Change]:
    yield "as seen", {}
    for first, last in (area or {}).get("ranges", ())[:MOST_RANGES]:
        yield f"{first}-{last}", {"modbus": {"start": first, "count": last - first + 1}}


def _outside(grant: dict[str, Any], area: dict[str, Any] | None, question: Question) -> Iterator[Change]:
    for first, last in (area or {}).get("ranges", ())[:MOST_RANGES]:
        if first > 0:
            yield f"below {first}", {"modbus": {"start": first - 1, "count": 1}}
        yield f"above {last}", {"modbus": {"start": last + 1, "count": 1}}
        yield f"{last} and one more", {"modbus": {"start": last, "count": 2}}
    for first, last in (area or {}).get("records", ()):
        yield f"record {last} and one more", {"modbus": {"record": last, "count": 2}}
        if first > 0:
            yield f"record below {first}", {"modbus": {"record": first - 1, "count": 1}}
    modbus = question["modbus"]
    if modbus is not None and NEIGHBOURS.get(modbus["fc"]) not in (None, *(area or {}).get("fcs", ())):
        yield f"function {NEIGHBOURS[modbus['fc']]}", {"modbus": {"fc": NEIGHBOURS[modbus["fc"]]}}
    yield from _values(grant, question)
    yield "by a stranger", {"subject": {"id": STRANGER}}
    yield "of another asset", {"target": {"asset": "asset-of-nobody"}}
    if question["op"]["action"] == "read":
        yield "as a write", {"op": {"action": "write"}, "state": {"writes_60s": 0}}


def _values(grant: dict[str, Any], question: Question) -> Iterator[Change]:
    """Just outside the limits of the tags that the example writes."""
    for at, point in enumerate(question["points"]):
        limit = grant.get("limits", {}).get(point["tag"])
        if limit is None:
            continue
        low, high = limit["min"], limit["max"]
        steps = [(f"below {low}", low - 1, low), (f"above {high}", high + 1, high)]
        if "max_delta" in limit:
            by = limit["max_delta"] + 1
            steps.append((f"by {by}", high, high - by))
        for words, q, before in steps:
            points = [dict(each) for each in question["points"]]
            points[at] |= {"q": q, "q_prev": before, "age_ms": 0}
            yield f"{point['tag']} {words}", {"points": points}
