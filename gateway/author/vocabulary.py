"""The words of one or two bundles: every value at which an answer of theirs can change.

From the data: subjects, roles, listeners, zones, assets, windows, limits, ranges and their edges. From the
rules: the texts and numbers that they hold, so that a rule which speaks of an address or a mode that no grant
names is met as well.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import regorus

from gateway.author.hours import MINUTE
from gateway.model.moment import SECOND
from gateway.policy.bundle import Bundle
from gateway.policy.facts import DAYS

MOST_LITERALS = 200
"Texts, and numbers, of the rules that are tried; the shipped ones have about 100."
MOST_SUBJECTS = 40
"Subjects tried beside those that a grant names; of those with equal rights one stands for all."
MONDAY = 1_795_996_800_000_000_000
"2026-11-30T00:00:00Z, a Monday: the week in which windows are tried."
TABLES = frozenset({"coil", "discrete", "input", "holding"})
WEEK = 7 * 24 * 60
"Minutes of it."

KNOWN = frozenset(
    {
        *("id", "description", "roles", "subjects", "subject_kinds", "actions", "protocols", "assets"),
        *("operations", "modbus", "tags", "limits", "windows", "modes", "listeners", "topics"),
        *("obligations", "opcua", "consumers", "formats", "scopes", "values", "most_minutes"),
        *("break_glass", "approval"),
    }
)
"Members of a grant that the grid knows how to vary."


class Vocabulary:
    """What there is to try."""

    def __init__(self, *bundles: Bundle) -> None:
        self.bundles = bundles
        self.assets: dict[str, Mapping[str, Any]] = {}
        self.limits: dict[str, list[Mapping[str, int]]] = {}
        "Tag -> every limit that a grant or the bounds give it."
        self.moved = _moved(bundles)
        "Tags whose bounds are not the same in every bundle."
        self.edges: dict[tuple[str, str], set[int]] = {}
        "Asset and table -> addresses at the edges of ranges, on both sides."
        self.strange: set[str] = set()
        "Members of grants that the grid does not vary."
        self.texts: set[str] = set()
        self.numbers: set[int] = set()
        for bundle in bundles:
            self._data(bundle.data)
            for name, text in bundle.modules.items():
                shared = all(other.modules.get(name) == text for other in bundles)
                if not (shared and name.startswith("core/")):
                    self._literals(text)
        self.subjects = sorted(_representatives(bundles))
        self.roles = sorted(_all(bundles, "roles") | {r for b in bundles for r in _bound(b)})
        self.listeners = sorted(_all(bundles, "listeners"))
        self.modes = sorted(_all(bundles, "modes") | {"run", "maintenance"})
        self.operations = sorted(_all(bundles, "operations"))
        self.zones = sorted(
            {each[end] for b in bundles for each in b.data["conduits"] for end in ("from", "to")}
        )
        self.ages = sorted({b.data["bounds"]["previous_age_ms"] for b in bundles})
        self.budgets = sorted({b.data["bounds"]["writes_60s"] for b in bundles})
        self.topics = sorted(_all(bundles, "topics"))
        self.consumers, self.formats = _all(bundles, "consumers"), _all(bundles, "formats")
        self.values = _all(bundles, "values")
        self.minutes = {
            each["most_minutes"] + more
            for b in bundles
            for each in (*b.data["grants"], *b.data.get("windows", {}).values())
            if "most_minutes" in each
            for more in (0, 1)
        }
        self.windows = sorted({name for b in bundles for name in b.data.get("windows", {})})
        self.texts = set(sorted(self.texts)[:MOST_LITERALS])
        self.numbers = set(sorted(self.numbers)[:MOST_LITERALS])

    def moments(self) -> list[int]:
        """Instants on both sides of where a window begins or ends, in its own zone, all week."""
        minutes = {0}
        for bundle in self.bundles:
            for window in bundle.data.get("windows", {}).values():
                if "from" in window:
                    minutes |= set(_boundaries(window))
        return sorted(MONDAY + minute * MINUTE for minute in minutes)

    def _data(self, data: Mapping[str, Any]) -> None:
        self.assets |= data["assets"]
        for tag, limit in data["bounds"]["limits"].items():
            self.limits.setdefault(tag, []).append(limit)
        for asset, tables in data["bounds"]["writable"].items():
            for table, ranges in tables.items():
                if table in TABLES:
                    self._edges(asset, table, ranges)
        for grant in data["grants"]:
            self.strange |= set(grant) - KNOWN
            for tag, limit in grant.get("limits", {}).items():
                self.limits.setdefault(tag, []).append(limit)
            for area in grant.get("modbus", ()):
                for asset in grant.get("assets", ()) if "table" in area else ():
                    self._edges(asset, area["table"], area["ranges"])

    def _edges(self, asset: str, table: str, ranges: Iterable[tuple[int, int]]) -> None:
        edges = self.edges.setdefault((asset, table), set())
        for first, last in ranges:
            edges |= {first - 1, first, last, last + 1}

    def _literals(self, text: str) -> None:
        """What a module compares with. The words of a core that is the same in both are the schema's own."""
        engine = regorus.Engine()
        engine.add_policy("module", text)
        for form, value in _constants(json.loads(engine.get_ast_as_json())[0]["ast"]["rules"]):
            if form == "Number" and isinstance(value, int):
                self.numbers |= {value - 1, value, value + 1}
            elif isinstance(value, str) and 0 < len(value) <= 64 and " " not in value:
                self.texts.add(value)


def _constants(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for each in node:
            yield from _constants(each)
    elif isinstance(node, dict):
        for form, inner in node.items():
            if form in ("Number", "String", "RawString") and isinstance(inner, dict):
                yield form, inner.get("value")
            else:
                yield from _constants(inner)


def _moved(bundles: Iterable[Bundle]) -> set[str]:
    every = [bundle.data["bounds"]["limits"] for bundle in bundles]
    return {
        tag for limits in every for tag in limits if any(other.get(tag) != limits[tag] for other in every)
    }


def _all(bundles: Iterable[Bundle], member: str) -> set[str]:
    return {name for bundle in bundles for grant in bundle.data["grants"] for name in grant.get(member, ())}


def _bound(bundle: Bundle) -> set[str]:
    return {role for roles in bundle.data["role_bindings"].values() for role in roles}


def _representatives(bundles: Iterable[Bundle]) -> set[str]:
    """Subjects, of those with the same roles in every bundle the first; and all whom grants name."""
    every = list(bundles)
    named = sorted(_all(every, "subjects"))
    seen: dict[tuple[Any, ...], str] = {}
    for subject in sorted({name for b in every for name in b.data["role_bindings"]}):
        rights = tuple(tuple(sorted(b.data["role_bindings"].get(subject, ()))) for b in every)
        seen.setdefault(rights, subject)
    return {*seen.values(), *named[:MOST_SUBJECTS]}


def _boundaries(window: Mapping[str, Any]) -> Iterator[int]:
    """Minutes of the week around both ends of a window, on each day: the schedule may differ by day.

    The offset of the zone is that of this week.
    """
    for edge in (window["from"], window["to"]):
        hours, minutes = map(int, edge.split(":"))
        for day in range(len(DAYS)):
            at = day * 24 * 60 + hours * 60 + minutes - _offset(window["zone"])
            yield from ((at - 1) % WEEK, at % WEEK)


def _offset(zone: str) -> int:
    """Minutes that the zone is ahead of UTC in that week."""
    moment = datetime.fromtimestamp(MONDAY // SECOND, UTC).astimezone(ZoneInfo(zone))
    ahead = moment.utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds()) // 60
