"""The two sides of each condition of a grant: what the grant gives, and what was asked, in words.

The same for a condition that holds and for one that does not; which of the two is asked of the engine
(conditions.py). A condition that this table does not know is told as it stands in the grant.
"""

import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from gateway.author.words import (
    Grant,
    Question,
    Units,
    addressed,
    area,
    listed,
    node,
    nodes,
    quantity,
    scope,
    window,
)
from gateway.policy.bundle import Bundle

KEYS: dict[str, tuple[str, ...]] = {
    "action": ("actions",),
    "protocol": ("protocols",),
    "asset": ("assets",),
    "subject": ("roles", "subjects", "subject_kinds"),
    "operation": ("operations",),
    "listener": ("listeners",),
    "mode": ("modes",),
    "window": ("windows",),
    "addresses": ("modbus",),
    "tags": ("tags",),
    "limits": ("limits",),
    "topic": ("topics",),
    "consumer": ("consumers",),
    "format": ("formats",),
    "nodes": ("opcua",),
    "scope": ("scopes",),
    "value": ("values",),
    "minutes": ("most_minutes",),
    "break_glass": ("break_glass",),
}
"Condition -> the fields of a grant that make it."


class View(Struct, frozen=True):
    """What an explanation looks at."""

    question: Question
    bundle: Bundle
    units: Units

    @property
    def data(self) -> dict[str, Any]:
        """The bundle's data."""
        return self.bundle.data


class Side(Struct, frozen=True, kw_only=True):
    """One condition of one grant."""

    condition: str
    gives: str
    asked: str
    where: str
    "File and line of the condition in the grant, or of the grant where it does not name it."


def side(condition: str, place: int, view: View) -> Side:
    """A condition of the grant at that place."""
    grant = view.data["grants"][place]
    named = next((key for key in KEYS.get(condition, (condition, f"{condition}s")) if key in grant), None)
    words = _SIDES.get(condition)
    gives, asked = words(grant, view) if words else (json.dumps(grant.get(named)), "another one")
    path = ("grants", place) if named is None else ("grants", place, named)
    return Side(condition=condition, gives=gives, asked=asked, where=view.bundle.where(path))


def names(condition: str, grant: Grant) -> bool:
    """Whether the grant says anything about it."""
    return any(key in grant for key in KEYS.get(condition, (condition, f"{condition}s")))


def _list(key: str, asked: Callable[[Question], Any]) -> Callable[[Grant, View], tuple[str, str]]:
    def words(grant: Grant, view: View) -> tuple[str, str]:
        given = asked(view.question)
        return listed(grant.get(key, ())), "none" if given is None else str(given)

    return words


def _subject(grant: Grant, view: View) -> tuple[str, str]:
    parts = [f"role {role}" for role in grant.get("roles", ())]
    parts += grant.get("subjects", ())
    parts += [f"anybody of kind {kind}" for kind in grant.get("subject_kinds", ())]
    return listed(parts), roles_told(view)


def roles_told(view: View) -> str:
    """The subject, and which roles count for it, or why one does not."""
    who = view.question["subject"]
    bound = view.data["role_bindings"].get(who["id"], [])
    told = str(who["id"])
    if who["auth"] == "none":
        return f"{told}, whom nobody identified"
    if view.question["op"]["protocol"] != "modbus" or who["auth"] == "internal":
        return f"{told}, bound to {listed(bound)}"
    claimed = who["roles"]
    if not bound:
        return f"{told}, whom role_bindings do not name; the certificate claims {listed(claimed)}"
    return f"{told}, bound to {listed(bound)}; the certificate claims {listed(claimed)}"


def _window(grant: Grant, view: View) -> tuple[str, str]:
    gives = listed(window(name, view.data.get("windows", {})) for name in grant.get("windows", ()))
    time = view.question["time"]
    if not time["trusted"]:
        return gives, "at a time that the clock could not be trusted for"
    return gives, f"while {listed(time['windows'])} was open"


def _mode(grant: Grant, view: View) -> tuple[str, str]:
    return f"mode {listed(grant.get('modes', ()))}", f"in mode {view.question['state']['mode']}"


def _addresses(grant: Grant, view: View) -> tuple[str, str]:
    """Of the grant's entries those for the same table, if there are any."""
    modbus, entries = view.question["modbus"], grant.get("modbus", [])
    asked = addressed(view.question)
    if modbus is not None and modbus["table"] is not None:
        entries = [each for each in entries if each.get("table") == modbus["table"]] or entries
        asked += "" if asked.startswith("function") else f" by function {modbus['fc']}"
    return "; ".join(map(area, entries)) or "nothing of Modbus", asked


def _tags(grant: Grant, view: View) -> tuple[str, str]:
    points = [point["tag"] for point in view.question["points"]]
    return listed(grant.get("tags", ())), listed(points) if points else "an address that is no tag"


def _limits(grant: Grant, view: View) -> tuple[str, str]:
    gives = [f"{tag} {_limit(tag, limit, view.units)}" for tag, limit in grant.get("limits", {}).items()]
    asked = [_asked(point, grant.get("limits", {}), view) for point in view.question["points"]]
    return "; ".join(gives), "; ".join(asked) or "an address that is no tag"


def _limit(tag: str, limit: dict[str, int], units: Units) -> str:
    told = f"from {quantity(tag, limit['min'], units)} to {quantity(tag, limit['max'], units)}"
    if "max_delta" in limit:
        told += f", in steps of at most {quantity(tag, limit['max_delta'], units)}"
    return told


def _asked(point: dict[str, Any], limits: dict[str, Any], view: View) -> str:
    """A point's value, and by what it misses its limit."""
    tag, q, before = point["tag"], point["q"], point["q_prev"]
    limit = limits.get(tag)
    if limit is None:
        return f"{tag}, which has no limit here"
    if q is None:
        return f"{tag}, and nobody knows what it would become"
    told = quantity(tag, q, view.units)
    if not limit["min"] <= q <= limit["max"]:
        return f"{told}, which is {'below' if q < limit['min'] else 'above'} it"
    if "max_delta" not in limit:
        return told
    if not young(point, view.data):
        return f"{told}, and the last value polled is too old or not known to measure the step"
    step = abs(q - before)
    far = f", a step of {quantity(tag, step, view.units)} from {quantity(tag, before, view.units)}"
    return told + far + (", which is too large" if step > limit["max_delta"] else "")


def _nodes(grant: Grant, view: View) -> tuple[str, str]:
    return "; ".join(map(nodes, grant.get("opcua", ()))) or "nothing of OPC UA", node(view.question)


def _scope(grant: Grant, view: View) -> tuple[str, str]:
    return listed(grant.get("scopes", ())), scope(view.question) or "no act on the gateway"


def _value(grant: Grant, view: View) -> tuple[str, str]:
    return listed(grant.get("values", ())), str((view.question["admin"] or {}).get("value"))


def _minutes(grant: Grant, view: View) -> tuple[str, str]:
    asked = (view.question["admin"] or {}).get("minutes")
    told = "no end" if asked is None else f"{asked} minutes"
    return f"at most {grant.get('most_minutes')} minutes", told


def _glass(_grant: Grant, view: View) -> tuple[str, str]:
    broken = view.question["state"].get("break_glass")
    return "only to who has broken the glass", f"under break-glass {broken}" if broken else "without that"


def young(point: dict[str, Any], data: dict[str, Any]) -> bool:
    """Whether the last value polled is known, and young enough to be a measure (`data.dmz.lib.young`)."""
    most = data["bounds"]["previous_age_ms"]
    return point["q_prev"] is not None and point["age_ms"] is not None and 0 <= point["age_ms"] <= most


_SIDES: dict[str, Callable[[Grant, View], tuple[str, str]]] = {
    "action": _list("actions", lambda question: question["op"]["action"]),
    "protocol": _list("protocols", lambda question: question["op"]["protocol"]),
    "asset": _list("assets", lambda question: question["target"]["asset"]),
    "subject": _subject,
    "operation": _list("operations", lambda question: question["op"]["kind"]),
    "listener": _list("listeners", lambda question: question["conn"]["listener"]),
    "mode": _mode,
    "window": _window,
    "addresses": _addresses,
    "tags": _tags,
    "limits": _limits,
    "topic": _list("topics", lambda question: (question["northbound"] or {}).get("topic")),
    "consumer": _list("consumers", lambda question: (question["northbound"] or {}).get("consumer")),
    "format": _list("formats", lambda question: (question["northbound"] or {}).get("format")),
    "break_glass": _glass,
    "nodes": _nodes,
    "scope": _scope,
    "value": _value,
    "minutes": _minutes,
}
