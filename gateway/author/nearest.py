"""The grants nearest to a question that was denied, and the smallest change of each that would allow it.

Fewest missing conditions first; among equals, those that are least to give: other addresses before another
person, another person before another action. Every change is applied to the data in memory, held against the
rules that a gateway loads a bundle by, and asked again. Only what then is allowed is said to allow it.
"""

import json
from typing import Any

import msgspec
from msgspec import Struct

from gateway.author.conditions import Lacking, lacking
from gateway.author.edits import Edit, applied, edits
from gateway.author.sides import Side, View, side
from gateway.author.words import Question, scope
from gateway.model.decision import Allowed, Decision
from gateway.policy import documents
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy

MOST_NEAR = 3
"Grants told. Whoever needs more looks at the list of them."
FAR = 4
"A grant that lacks this many conditions is about something else."
WEIGHT = {"action": 8, "protocol": 8, "asset": 4, "subject": 2, "operation": 2}
"How much it gives to give a missing condition, beside 1 for any other."


class Change(Struct, frozen=True, kw_only=True):
    """Something that could be done."""

    said: tuple[str, ...]
    "Each step, with file and line where it is one of data."
    data: tuple[tuple[tuple[str | int, ...], Any], ...] = ()
    "Each path in the data and what to write there."
    would_allow: bool
    "Applied, loaded and asked again: allowed."
    instead: str = ""
    "What came of it otherwise."
    note: str = ""


class Near(Struct, frozen=True, kw_only=True):
    """A grant that nearly gives it."""

    grant: str
    where: str
    lacks: tuple[Side, ...]
    change: Change | None
    "None where no change of this grant can be worked out."


class Asking:
    """A policy, asked about a question under changed data."""

    def __init__(self, policy: Policy, view: View) -> None:
        self.policy = policy
        self.view = view
        self._engine = Engine(policy)

    def decision(self, question: Question) -> Decision:
        """What the policy says as it is."""
        return self._engine.evaluate(json.dumps(question).encode(), "")

    def changed(self, changes: list[Edit], note: str = "") -> Change:
        """What comes of changes of data."""
        bundle = msgspec.structs.replace(self.view.bundle, data=applied(self.view.data, changes))
        said = tuple(f"{edit.said} ({self.view.bundle.where(edit.path)})" for edit in changes)
        data = tuple((edit.path, edit.value) for edit in changes)
        faults = documents.faults(bundle)
        if faults:
            instead = f"no gateway would load it: {faults[0].what}; {faults[0].mend}"
            return Change(said=said, data=data, would_allow=False, instead=instead, note=note)
        engine = Engine(msgspec.structs.replace(self.policy, bundle=bundle))
        decision = engine.evaluate(json.dumps(self.view.question).encode(), "")
        allowed = isinstance(decision, Allowed)
        instead = "" if allowed else f"still denied: {', '.join(codes(decision))}"
        return Change(said=said, data=data, would_allow=allowed, instead=instead, note=note)


def codes(decision: Decision) -> list[str]:
    """The codes of its reasons, each once."""
    return sorted({reason.code for reason in decision.reasons})


def nearest(asking: Asking, found: list[Lacking] | None = None) -> list[Near]:
    """The nearest grants, the nearest first."""
    view = asking.view
    if found is None:
        found = lacking(asking.policy, view.question)
    lacks = [each for each in found if 0 < len(each.conditions) < FAR]
    other = [each for each in lacks if not {"action", "protocol"}.intersection(each.conditions)]
    if any(_limits(each, view) for each in other):
        # A grant that limits no value would give this one and every other: no small change.
        other = [each for each in other if _limits(each, view)]
    told: list[Near] = []
    enough: tuple[int, int] | None = None
    for each in sorted(other, key=lambda each: _far(each, view))[:MOST_NEAR]:
        if enough is not None and _far(each, view)[:2] > enough:
            break  # Others would give more.
        near = _near(each, asking)
        told.append(near)
        if enough is None and near.change is not None and near.change.would_allow:
            enough = _far(each, view)[:2]
    return told


def _limits(each: Lacking, view: View) -> bool:
    """Whether the grant limits the values that are to be written."""
    limits = view.data["grants"][each.place].get("limits", {})
    return view.question["op"]["action"] == "write" and any(
        point["tag"] in limits for point in view.question["points"]
    )


def _far(each: Lacking, view: View) -> tuple[int, int, int]:
    distance = sum(
        edit.distance for condition in each.conditions for edit in edits(condition, each.place, view) or ()
    )
    return len(each.conditions), sum(WEIGHT.get(name, 1) for name in each.conditions), distance


def _near(each: Lacking, asking: Asking) -> Near:
    view = asking.view
    steps: list[Edit] | None = []
    for condition in each.conditions:
        more = edits(condition, each.place, view)
        steps = None if steps is None or more is None else [*steps, *more]
    note = _shared(steps or [], each.place, view)
    return Near(
        grant=view.data["grants"][each.place]["id"],
        where=view.bundle.where(("grants", each.place)),
        lacks=tuple(side(condition, each.place, view) for condition in each.conditions),
        change=asking.changed(steps, note) if steps else None,
    )


def _shared(steps: list[Edit], place: int, view: View) -> str:
    """YAML lets grants share lines by an anchor; who changes them changes all of these grants."""
    grants = view.data["grants"]
    keys = {edit.path[2] for edit in steps if edit.path[:2] == ("grants", place)}
    sharing = [
        str(grant["id"])
        for at, grant in enumerate(grants)
        if at != place and any(grant.get(key) is grants[place].get(key, place) for key in keys)
    ]
    return f"shares these lines with {', '.join(sharing)}: write them out first" if sharing else ""


def own_grant(asking: Asking, *, for_user: bool = False) -> tuple[dict[str, Any], Change] | None:
    """The grant that gives this subject, or the user on top of it, exactly this and nothing more; None where
    nobody can be named.
    """
    question, grants = asking.view.question, asking.view.data["grants"]
    op, modbus = question["op"], question["modbus"]
    if question["subject"]["kind"] == "nobody":
        return None
    grant: dict[str, Any] = {
        "id": _unused("new-grant", {each["id"] for each in grants}),
        "subjects": [question["subject"]["on_behalf_of" if for_user else "id"]],
        "actions": [op["action"]],
        "protocols": [op["protocol"]],
    }
    if question["target"]["asset"] is not None:
        grant["assets"] = [question["target"]["asset"]]
    for name, part in (("modbus", "addresses"), ("opcua", "nodes")):
        if question.get(name) is not None:
            view = msgspec.structs.replace(asking.view, bundle=_with(asking.view, {**grant, name: []}))
            entry = edits(part, len(grants), view)
            if not entry:
                return None
            grant[name] = [entry[0].value]
    if modbus is not None:
        grant["modbus"] = [{**grant["modbus"][0], "fcs": [modbus["fc"]]}]
    if modbus is None and question.get("opcua") is None:
        grant["operations"] = [op["kind"]]
    if question.get("admin") is not None:
        grant |= _act(question["admin"], scope(question))
    if op["action"] == "publish" and question["northbound"]:
        grant["topics"] = [question["northbound"]["topic"]]
    if op["action"] == "write" and question["points"]:
        grant["tags"] = [point["tag"] for point in question["points"]]
        if all(point["q"] is not None for point in question["points"]):
            bounds = asking.view.data["bounds"]["limits"]
            grant["limits"] = {
                point["tag"]: {**bounds.get(point["tag"], {}), "min": point["q"], "max": point["q"]}
                for point in question["points"]
            }
    added = Edit(("grants", len(grants)), grant, f"add grant {grant['id']}")
    return grant, asking.changed([added])


def _act(admin: dict[str, Any], about: str) -> dict[str, Any]:
    """What of an act on the gateway was asked for, and no more."""
    given: dict[str, Any] = {"scopes": [about]}
    if admin["value"] is not None:
        given["values"] = [admin["value"]]
    if admin["minutes"] is not None:
        given["most_minutes"] = admin["minutes"]
    return given


def _with(view: View, grant: dict[str, Any]) -> Any:
    data = {**view.data, "grants": [*view.data["grants"], grant]}
    return msgspec.structs.replace(view.bundle, data=data)


def _unused(name: str, taken: set[str]) -> str:
    at = 1
    while (told := name if at == 1 else f"{name}-{at}") in taken:
        at += 1
    return told
