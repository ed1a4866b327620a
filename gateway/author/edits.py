"""The smallest change of one grant, or of a role binding, that makes one of its conditions hold.

Each editor answers for one condition: what to write where, and how far that is from what is there, so that
the nearest comes first. None of them decides whether the change is a good one, or whether it is enough: every
change is applied and asked again before it is told (nearest.py).
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from gateway.author.sides import View, young
from gateway.author.words import Grant, addressed, node, quantity, scope, span

Path = tuple[str | int, ...]


class Edit(Struct, frozen=True):
    """One value to write into the data."""

    path: Path
    value: Any
    said: str
    "`widen holding 0-9 of grant operator-reads to 0-11`."
    distance: int = 0
    "Addresses or quanta beyond what is given."


Editor = Callable[[Grant, Path, View], list[Edit] | None]
"From a grant at that path; None where no change of data makes the condition hold."


def edits(condition: str, place: int, view: View) -> list[Edit] | None:
    """What makes one condition of the grant at that place hold."""
    editor = _EDITORS.get(condition)
    return None if editor is None else editor(view.data["grants"][place], ("grants", place), view)


def applied(data: dict[str, Any], changes: list[Edit]) -> dict[str, Any]:
    """The data with the changes. Nothing of the given data is changed, nor shared where it was written."""
    changed = dict(data)
    for change in changes:
        changed[str(change.path[0])] = _put(changed.get(str(change.path[0])), change.path[1:], change.value)
    return changed


def _put(node: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        items = list(node or ())
        if step == len(items):
            items.append(None)
        items[step] = _put(items[step], tuple(rest), value)
        return items
    fields = dict(node or {})
    fields[step] = _put(fields.get(step), tuple(rest), value)
    return fields


def _added(key: str, what: str, asked: Callable[[View], Any]) -> Editor:
    """Of a list of names: add the one that was asked for."""

    def editor(grant: Grant, path: Path, view: View) -> list[Edit] | None:
        name = asked(view)
        if name is None or (key == "assets" and key not in grant):
            return None
        given = list(grant.get(key, ()))
        said = f"add {what}{name} to {key} of grant {grant['id']}"
        return [Edit((*path, key), [*given, name], said)]

    return editor


def _subject(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    """Bind a role where that is enough: over Modbus the certificate has to claim it as well."""
    who = view.question["subject"]
    if who["kind"] == "nobody":
        return None
    bound = view.data["role_bindings"].get(who["id"], [])
    by_binding = view.question["op"]["protocol"] != "modbus" or who["auth"] == "internal"
    role = next((role for role in grant.get("roles", ()) if by_binding or role in who["roles"]), None)
    if role is not None and role not in bound:
        said = f"bind role {role} to {who['id']}"
        return [Edit(("role_bindings", who["id"]), [*bound, role], said)]
    subjects = [*grant.get("subjects", ()), who["id"]]
    return [Edit((*path, "subjects"), subjects, f"add {who['id']} to subjects of grant {grant['id']}")]


def _window(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    time = view.question["time"]
    known = [name for name in time["windows"] if name in view.data.get("windows", {})]
    if not time["trusted"] or not known:
        return None
    said = f"add {known[0]}, which was open, to windows of grant {grant['id']}"
    return [Edit((*path, "windows"), [*grant["windows"], known[0]], said)]


def _addresses(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    modbus = view.question["modbus"]
    if modbus is None:
        return None
    if modbus["table"] is None:
        return _function(grant, path, modbus)
    if modbus["start"] is None or not modbus["count"]:
        return None
    first, last = modbus["start"], modbus["start"] + modbus["count"] - 1
    options = [
        edit
        for at, entry in enumerate(grant.get("modbus", ()))
        if entry.get("table") == modbus["table"] and _by(entry, modbus["fc"])
        for edit in _widened(entry, (*path, "modbus", at), first, last, grant["id"])
    ]
    if options:
        return [min(options, key=lambda edit: edit.distance)]
    entry = {"table": modbus["table"], "ranges": [[first, last]]}
    if modbus["fc"] == FIFO:
        entry["fcs"] = [FIFO]
    return [_entry(grant, path, entry, f"{addressed(view.question)}", last - first + 1)]


FIFO = 24
"Must be named in a grant: what it reads lies elsewhere than its pointer."


def _by(entry: dict[str, Any], fc: int) -> bool:
    return fc in entry["fcs"] if "fcs" in entry else fc != FIFO


def _widened(entry: dict[str, Any], path: Path, first: int, last: int, grant: str) -> list[Edit]:
    found = []
    for at, (low, high) in enumerate(entry["ranges"]):
        more = max(0, low - first) + max(0, last - high)
        wide = [min(low, first), max(high, last)]
        said = f"widen {entry['table']} {span(low, high)} of grant {grant} to {span(*wide)}"
        found.append(Edit((*path, "ranges", at), wide, said, more))
    return found


def _function(grant: Grant, path: Path, modbus: dict[str, Any]) -> list[Edit] | None:
    """An entry for a function that addresses no table."""
    fc = modbus["fc"]
    entry: dict[str, Any] = {"fcs": [fc]}
    for code, key, field in ((8, "subs", "sub"), (43, "meis", "mei")):
        if fc == code:
            if modbus[field] is None:
                return None
            entry[key] = [modbus[field]]
    if fc in (20, 21):
        if None in (modbus["file"], modbus["record"]) or not modbus["count"]:
            return None
        entry["files"] = [[modbus["file"]] * 2]
        entry["records"] = [[modbus["record"], modbus["record"] + modbus["count"] - 1]]
    return [_entry(grant, path, entry, f"function {fc}", 1)]


def _entry(grant: Grant, path: Path, entry: dict[str, Any], what: str, distance: int) -> Edit:
    at = len(grant.get("modbus", ()))
    return Edit((*path, "modbus", at), entry, f"add {what} to modbus of grant {grant['id']}", distance)


def _tags(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    missing = [p["tag"] for p in view.question["points"] if p["tag"] not in grant["tags"]]
    if not missing:
        return None
    said = f"add {', '.join(missing)} to tags of grant {grant['id']}"
    return [Edit((*path, "tags"), [*grant["tags"], *missing], said)]


def _limits(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    found: list[Edit] = []
    if not view.question["points"]:
        return None
    for point in view.question["points"]:
        tag, q, limit = point["tag"], point["q"], grant["limits"].get(point["tag"])
        at = (*path, "limits", tag)
        if q is None:
            return None
        if limit is None:
            said = f"give {tag} a limit in grant {grant['id']}, from {q} to {q}"
            found.append(Edit(at, {"min": q, "max": q}, said))
            continue
        edge, over = ("min", limit["min"] - q) if q < limit["min"] else ("max", q - limit["max"])
        if over > 0:
            now = f"{quantity(tag, limit[edge], view.units)} to {quantity(tag, q, view.units)}"
            word = "lower" if edge == "min" else "raise"
            said = f"{word} {edge} of {tag} in grant {grant['id']} from {now}"
            found.append(Edit((*at, edge), q, said, over))
        if "max_delta" in limit:
            if not young(point, view.data):
                return None
            step = abs(q - point["q_prev"])
            if step > limit["max_delta"]:
                said = f"raise max_delta of {tag} in grant {grant['id']} from {limit['max_delta']} to {step}"
                found.append(Edit((*at, "max_delta"), step, said, step - limit["max_delta"]))
    return found or None


def _nodes(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    """An entry of its own: which of the others a node belongs to is not for us to guess."""
    opcua = view.question["opcua"]
    if opcua is None or (opcua["node"] is None and view.question["op"]["action"] != "subscribe"):
        return None
    entry: dict[str, Any] = {"services": [opcua["service"]]}
    if opcua["node"] is not None:
        entry["nodes"] = [opcua["node"]]
    if opcua["method"] is not None:
        entry["methods"] = [opcua["method"]]
    elif opcua["attribute"] not in (None, "Value"):
        entry["attributes"] = [opcua["attribute"]]
    at = len(grant.get("opcua", ()))
    return [
        Edit((*path, "opcua", at), entry, f"add {node(view.question)} to opcua of grant {grant['id']}", 1)
    ]


def _minutes(grant: Grant, path: Path, view: View) -> list[Edit] | None:
    asked, given = (view.question["admin"] or {}).get("minutes"), grant["most_minutes"]
    if asked is None or asked <= given:
        return None
    said = f"raise most_minutes of grant {grant['id']} from {given} to {asked}"
    return [Edit((*path, "most_minutes"), asked, said, asked - given)]


_EDITORS: dict[str, Editor] = {
    "action": _added("actions", "", lambda view: view.question["op"]["action"]),
    "protocol": _added("protocols", "", lambda view: view.question["op"]["protocol"]),
    "asset": _added("assets", "", lambda view: view.question["target"]["asset"]),
    "subject": _subject,
    "operation": _added("operations", "", lambda view: view.question["op"]["kind"]),
    "listener": _added("listeners", "", lambda view: view.question["conn"]["listener"]),
    "mode": _added("modes", "mode ", lambda view: view.question["state"]["mode"]),
    "window": _window,
    "addresses": _addresses,
    "tags": _tags,
    "limits": _limits,
    "topic": _added("topics", "", lambda view: (view.question["northbound"] or {}).get("topic")),
    "consumer": _added("consumers", "", lambda view: (view.question["northbound"] or {}).get("consumer")),
    "format": _added("formats", "", lambda view: (view.question["northbound"] or {}).get("format")),
    "nodes": _nodes,
    "scope": _added("scopes", "", lambda view: scope(view.question) or None),
    "value": _added("values", "", lambda view: (view.question["admin"] or {}).get("value")),
    "minutes": _minutes,
}
