"""A question, and what a grant gives, in words: numbers as on the wire, values as people know them."""

from collections.abc import Callable, Iterable
from typing import Any

Question = dict[str, Any]
Grant = dict[str, Any]
Units = Callable[[str], tuple[float, str] | None]
"Resolution and unit of a tag; None where it is not known."

MOST_NAMED = 6
"Names told of a list; the rest is counted."

VERBS = {"admin": "do", "subscribe": "subscribe to"}
"Of actions that are no verb by themselves."


def no_units(tag: str) -> None:
    """Where nobody knows the tags."""


def listed(names: Iterable[Any]) -> str:
    """`a, b and 3 more`; `nothing` where there is none."""
    told = [str(name) for name in names]
    if len(told) > MOST_NAMED:
        told = [*told[:MOST_NAMED], f"{len(told) - MOST_NAMED} more"]
    if len(told) > 1:
        return f"{', '.join(told[:-1])} and {told[-1]}"
    return told[0] if told else "nothing"


def span(first: int, last: int) -> str:
    """`7`, or `8-11`."""
    return str(first) if first == last else f"{first}-{last}"


def quantity(tag: str, q: int, units: Units) -> str:
    """`950 (95 %)`: quanta, and what they mean where that is known and not the same."""
    known = units(tag)
    if known is None or known == (1.0, ""):
        return str(q)
    return f"{q} ({float(f'{q * known[0]:.12g}'):g} {known[1]}".rstrip() + ")"


def subject(question: Question) -> str:
    """Who asks, with the roles that the certificate claims."""
    who = question["subject"]
    roles = f" ({listed(who['roles'])})" if who["roles"] else ""
    return f"{who['id']}{roles}"


def addressed(question: Question) -> str:
    """What of Modbus is asked for: `holding 8-11`, `function 43, MEI type 14`."""
    modbus = question["modbus"]
    if modbus is None:
        return "nothing of Modbus"
    if modbus["table"] is not None and modbus["start"] is not None and modbus["count"]:
        return f"{modbus['table']} {span(modbus['start'], modbus['start'] + modbus['count'] - 1)}"
    told = f"function {modbus['fc']}"
    for name, text in (("sub", "sub-function"), ("mei", "MEI type"), ("file", "file"), ("record", "record")):
        if modbus[name] is not None:
            told += f", {text} {modbus[name]}"
    return told


def area(entry: dict[str, Any]) -> str:
    """One entry of a grant's `modbus`."""
    if "table" in entry:
        told = f"{entry['table']} {', '.join(span(*each) for each in entry['ranges'])}"
        return told + (f" by function {listed(entry['fcs'])}" if "fcs" in entry else "")
    told = f"function {listed(entry['fcs'])}"
    for name, text in (("subs", "sub-function"), ("meis", "MEI type")):
        if name in entry:
            told += f", {text} {listed(entry[name])}"
    for name in ("files", "records"):
        if name in entry:
            told += f", {name} {', '.join(span(*each) for each in entry[name])}"
    return told


def nodes(entry: dict[str, Any]) -> str:
    """One entry of a grant's `opcua`."""
    told = (
        listed([*entry.get("nodes", ()), *entry.get("paths", ())]) if {"nodes", "paths"} & set(entry) else ""
    )
    for name, text in (("methods", "methods"), ("attributes", "attributes"), ("services", "by service")):
        if name in entry:
            told += f", {text} {listed(entry[name])}"
    if "min_interval_ms" in entry:
        told += f", every {entry['min_interval_ms']} ms or slower"
    if "most_history_s" in entry:
        told += f", at most {entry['most_history_s']} s of history"
    return told.removeprefix(", ")


def node(question: Question) -> str:
    """What of OPC UA is asked for: `ns=…;s=Tank.SP, attribute Value by service Read`."""
    opcua = question["opcua"]
    if opcua is None:
        return "nothing of OPC UA"
    told = [f"{opcua['node']}"] if opcua["node"] else []
    told += [f"{name} {opcua[name]}" for name in ("method", "attribute") if opcua[name]]
    pace = opcua.get("sampling_ms")
    pace = opcua.get("publishing_ms") if pace in (None, -1) else pace
    every = "" if pace is None else f" every {pace} ms"
    return f"{', '.join(told)}{every} by service {opcua['service']}".removeprefix(" ")


def scope(question: Question) -> str:
    """What an act on the gateway is about, as grants name it; empty for other operations."""
    return str(question["admin"]["scope"] or "gateway") if question["admin"] else ""


def wish(question: Question, units: Units) -> str:
    """What is wanted, as the end of `… may not`: `write 950 (95 %) to plc-1.sp (holding 0 of plc-1)`."""
    op, points = question["op"], question["points"]
    values = [(point["tag"], point["q"]) for point in points if point["q"] is not None]
    if values:
        what = " and ".join(f"{quantity(tag, q, units)} to {tag}" for tag, q in values)
    else:
        what = listed(point["tag"] for point in points) if points else ""
    place = _place(question)
    verb = VERBS.get(op["action"], op["action"])
    return f"{verb} {what} ({place})" if what and place else f"{verb} {what or place}"


def _place(question: Question) -> str:
    asset = question["target"]["asset"]
    of = f" of {asset}" if asset else ""
    if question["modbus"] is not None:
        return addressed(question) + of
    if question.get("opcua"):
        return f"{node(question)}{of}"
    if question["northbound"] and question["northbound"]["topic"]:
        return f"topic {question['northbound']['topic']}"
    if question.get("admin"):
        about = ", ".join(
            str(question["admin"][name]) for name in ("scope", "value") if question["admin"][name]
        )
        return f"{question['op']['kind']} ({about})" if about else str(question["op"]["kind"])
    return f"{question['op']['kind']}{of}"


def window(name: str, windows: dict[str, Any]) -> str:
    """`working-hours (mon-fri …)`: a named time, where policy data defines it."""
    said = windows.get(name)
    if said is None or "days" not in said:
        return f"{name} (opened on request)" if said is not None else name
    days = ", ".join(said["days"])
    return f"{name} ({days} {said['from']}-{said['to']} {said['zone']})"
