"""What was learnt, as grants for review: data to be merged by a person, with its evidence beside it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from gateway.author.form import Question
from gateway.author.grouping import Ranges
from gateway.author.learn import CAPTURED, Cell, Learning, Pattern
from gateway.policy.bundle import Bundle
from gateway.policy.facts import DAYS

PREFIX = "learned"
LONGEST_NAME = 60
"Characters of a subject and asset in a grant's id."


class Proposal(Struct, frozen=True):
    """One grant, why, and questions that it must allow: one for each of its areas."""

    grant: dict[str, Any]
    evidence: dict[str, Any]
    examples: tuple[tuple[dict[str, Any] | None, Question], ...]
    "Area (null over other protocols) and a question that was recorded."


def proposals(learning: Learning) -> list[Proposal]:
    """A grant for each pattern, in the order of their names."""
    taken = {grant["id"] for grant in learning.answers.policy.bundle.data["grants"]}
    found = []
    for _, pattern in sorted(learning.patterns.items(), key=lambda item: str(item[0])):
        name = _name(pattern, taken)
        taken.add(name)
        found.append(_proposal(name, pattern))
    return found


def merged(bundle: Bundle, grants: list[dict[str, Any]]) -> Bundle:
    """The bundle as it would be with these grants; for trying, never for use."""
    data = {**bundle.data, "grants": [*bundle.data["grants"], *grants]}
    return msgspec.structs.replace(bundle, data=data, revision="0" * len(bundle.revision))


def _proposal(name: str, pattern: Pattern) -> Proposal:
    kind, who = pattern.who
    grant: dict[str, Any] = {
        "id": name,
        kind: [who],
        "actions": [pattern.action],
        "protocols": [pattern.protocol],
    }
    if pattern.asset is not None:
        grant["assets"] = [pattern.asset]
    if CAPTURED not in pattern.listeners:
        grant["listeners"] = sorted(pattern.listeners)
    examples: list[tuple[dict[str, Any] | None, Question]] = []
    if pattern.protocol == "modbus":
        examples = list(_areas(pattern))
        grant["modbus"] = [area for area, _ in examples]
    else:
        grant["operations"] = sorted(pattern.kinds)
        examples = [(None, question) for question in pattern.examples.values()]
    if pattern.topics and pattern.action == "publish":
        grant["topics"] = sorted(pattern.topics)
    if pattern.limits:
        grant["limits"] = {tag: _limit(each) for tag, each in sorted(pattern.limits.items())}
    return Proposal(grant, _evidence(pattern), tuple(examples))


def _limit(seen: Any) -> dict[str, int]:
    step = {} if seen.step is None else {"max_delta": seen.step}
    return {"min": seen.least, "max": seen.most, **step}


def _areas(pattern: Pattern) -> Iterator[tuple[dict[str, Any], Question]]:
    """Entries of the grant's `modbus`: functions with the same addresses share one."""
    joined: dict[str, tuple[dict[str, Any], Question]] = {}
    for cell, ranges in sorted(pattern.cells.items(), key=lambda item: str(item[0])):
        area = _area(cell, ranges)
        alike = str({name: value for name, value in area.items() if name != "fcs"})
        known = joined.setdefault(alike, (area, pattern.examples[cell]))
        known[0]["fcs"] = sorted({*known[0]["fcs"], *area["fcs"]})
    yield from joined.values()


def _area(cell: Cell, ranges: Ranges) -> dict[str, Any]:
    spans = [list(span) for span in ranges.spans]
    what, code = cell[0], cell[1]
    match what:
        case "file":
            return {"fcs": [code], "files": [[cell[2], cell[2]]], "records": spans}
        case "function":
            part = {8: {"subs": [cell[2]]}, 43: {"meis": [cell[2]]}}.get(int(code or 0), {})
            return {"fcs": [code], **part}
        case _:
            return {"table": what, "ranges": spans, "fcs": [code]}


def _evidence(pattern: Pattern) -> dict[str, Any]:
    return {
        "operations": pattern.count,
        "questions": pattern.questions,
        "first_ns": pattern.first_ns,
        "last_ns": pattern.last_ns,
        "sources": sorted(pattern.sources),
        "kinds": sorted(pattern.kinds),
        "days": [DAYS[day] for day in sorted(pattern.days)],
        "hours_utc": str(_ranges(pattern.hours)),
    }


def _ranges(hours: Mapping[int, int]) -> Ranges:
    found = Ranges()
    for hour in hours:
        found.add(hour, hour)
    return found


def _name(pattern: Pattern, taken: set[str]) -> str:
    """An id that is not taken: who, action, asset."""
    who = pattern.who[1].rstrip("/").rpartition("/")[2].rpartition("=")[2]
    words = [PREFIX, who, pattern.action, pattern.protocol, pattern.asset or ""]
    stem = "-".join(filter(None, (re.sub(r"[^A-Za-z0-9_.]+", "-", word).strip("-") for word in words)))
    stem = stem[:LONGEST_NAME]
    names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)
