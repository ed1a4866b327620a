"""Records as sentences: who did what to which device, old and new value, under which rule, what came."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Told = dict[str, Any]

DONE = {
    "read": "read",
    "write": "wrote",
    "call": "called",
    "browse": "browsed",
    "subscribe": "subscribed to",
    "publish": "published",
    "admin": "administered",
}
RESULTS = {
    "ok": "The device accepted it.",
    "exception": "The device refused it.",
    "timeout": "The device did not answer: whether it was done is not known.",
    "unknown": "The gateway ended before the outcome was written: whether it was done is not known.",
    "not_sent": "It was not sent.",
}


def moment(wall_ns: int) -> str:
    """A wall-clock time, UTC, to the millisecond."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}Z"


def line(index: int, record: Told) -> str:
    """One record on one line."""
    return f"{index:>8}  {moment(record['wall_ns'])}  {record['kind']:<10} {_brief(record)}"


def sentence(records: Sequence[Told]) -> str:
    """What a record and its completions say, for a person."""
    lead = next((r for r in records if r["kind"] in ("intent", "denial")), records[0])
    told = f"{moment(lead['wall_ns'])}: {_brief(lead, full=True)}."
    outcome = next((r for r in records if r["kind"] == "outcome"), None)
    if outcome is not None:
        result = outcome.get("result") or {}
        rest = ", ".join(f"{k} {v}" for k, v in result.items() if k != "status" and v not in (None, ""))
        status = str(result.get("status"))
        told += f" {RESULTS.get(status, f'Result: {status}.')}" + (f" ({rest})" if rest else "")
    elif lead["kind"] == "intent":
        told += " No outcome is recorded (yet)."
    if lead.get("clock") == "untrusted":
        told += " The wall clock was not trusted then."
    return told


def details(record: Told) -> list[str]:
    """Every field that says something, one a line."""
    return [f"  {name}: {value}" for name, value in _flat("", record) if value not in (None, "", [], {})]


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            pair
            for name, each in value.items()
            for pair in _flat(f"{prefix}.{name}" if prefix else name, each)
        ]
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return [pair for at, each in enumerate(value) for pair in _flat(f"{prefix}[{at}]", each)]
    return [(prefix, value)]


def _brief(record: Told, *, full: bool = False) -> str:
    kind = record["kind"]
    by, what, note = (record.get(name) or {} for name in ("who", "what", "note"))
    result = record.get("result") or {}
    match kind:
        case "intent":
            return f"{_who(by, full=full)} {_deed(what)}, {_rule(record, full=full)}"
        case "denial":
            return f"{_who(by, full=full)} was refused: {_wish(what)}, {_rule(record, full=full)}"
        case "outcome":
            return f"outcome of {record.get('about')}: {result.get('status')}"
        case "window":
            entries = what.get("entries") or []
            asked = sum(e.get("asked", 0) for e in entries)
            tags = sorted({t for e in entries for t in _tags((e.get("input") or {}).get("points"))})
            named = ", ".join(tags[:5]) + (" …" if len(tags) > 5 else "")
            recovered = " (saved after a crash)" if note.get("recovered") else ""
            reader, asset = _who(by, full=full), what.get("asset")
            return f"{reader} read {asset} {asked} times: {named or 'no tag'}{recovered}"
        case "suppressed":
            return f"{note.get('count')} more {note.get('of')} records of {_who(by)}: {note.get('reason')}"
        case "lifecycle":
            return f"{note.get('event')}" + _found(note.get("recovery") or {})
        case _:
            rest = ", ".join(f"{k} {v}" for k, v in note.items() if v not in (None, ""))
            return f"{_who(by)}: {rest}" if by else rest


def _found(recovery: Told) -> str:
    """What a start found, if it was not as it should be."""
    parts = []
    if recovery.get("cut"):
        parts.append(f"{recovery['cut']['bytes']} bytes behind index {recovery['cut']['index']} were cut")
    if recovery.get("unknown"):
        parts.append(f"{len(recovery['unknown'])} intents have no outcome")
    if recovery and not recovery.get("clean"):
        parts.append("the last run did not end by itself")
    return f" ({'; '.join(parts)})" if parts else ""


def _who(by: Told, *, full: bool = False) -> str:
    subject = by.get("subject") or "somebody unknown"
    source = f" from {by['source']}" if by.get("source") else ""
    roles = f" ({', '.join(by['roles'])})" if full and by.get("roles") else ""
    behalf = f" on behalf of {by['on_behalf_of']}" if by.get("on_behalf_of") else ""
    return f"{subject}{roles}{behalf}{source}"


def _tags(points: Any) -> list[str]:
    return [point["tag"] for point in points or () if isinstance(point, dict) and "tag" in point]


def _deed(what: Told) -> str:
    verb = DONE.get(str(what.get("action")), str(what.get("action")))
    return f"{verb} {_object(what)} on {what.get('asset')}"


def _wish(what: Told) -> str:
    return f"{what.get('action')} {_object(what)} on {what.get('asset')}"


def _object(what: Told) -> str:
    """The tags with old and new values, or the addresses where no tag is there."""
    points = [_point(p) for p in what.get("points") or ()]
    if points:
        return ", ".join(points)
    modbus = what.get("modbus")
    if isinstance(modbus, dict):
        table, start, count = modbus.get("table"), modbus.get("start"), modbus.get("count")
        values = modbus.get("values")
        place = f"{table} {start}" + (
            f"…{start + count - 1}" if start is not None and count and count > 1 else ""
        )
        return f"{place if table else what.get('kind')}" + (f" = {values}" if values else "")
    return str(what.get("kind"))


def _point(point: Told) -> str:
    unit = f" {point['unit']}" if point.get("unit") else ""
    new, old = point.get("value"), point.get("value_prev")
    if new is None and point.get("q") is not None:
        new, old, unit = point["q"], point.get("q_prev"), " quanta"
    if new is None:
        return str(point.get("tag"))
    before = f" (before: {old:g}{unit})" if old is not None else " (before: not known)"
    return f"{point.get('tag')} = {new:g}{unit}{before}"


def _rule(record: Told, *, full: bool) -> str:
    why = record.get("why") or {}
    reasons = [r.get("code", "") for r in why.get("reasons") or ()]
    grants = why.get("grants") or []
    if why.get("decision") == "allow":
        told = f"allowed by {', '.join(grants) or ', '.join(reasons) or 'policy'}"
    else:
        told = f"denied by {', '.join(reasons) or 'default'}"
    return told + (f" under revision {str(why.get('revision'))[:12]}" if full else "")
