"""What was asked for or done, as words: the operations of a record, with old and new values.

That something was done is said only where an outcome says so. What could not be read, or is about no asset,
is named by what was asked for: the function and unit, the tag, the topic.
"""

from typing import Any

from gateway.audit.commitment import DROPPED, is_dropped
from gateway.audit.outcome import NONE_YET

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
COMMANDS = {
    "control.reload": "reload of the gateway",
    "admin.approve": "approval",
    "admin.refuse": "refusal of an approval",
    "admin.open_window": "opening of a window",
    "admin.close_window": "closing of a window",
    "admin.break_glass": "breaking of the glass",
    "admin.end_break_glass": "end of a broken glass",
    "admin.set_stage": "another stage",
    "admin.set_mode": "another mode",
    "admin.activate": "activation of a bundle",
    "admin.confirm": "confirmation of a bundle",
    "admin.rollback": "return to an older bundle",
}
"Operations whose kind is not what a person calls them."
MOST_TAGS = 5
"Tags of a window that are named on its line."


def many(count: Any, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def deed(record: Told, came: str | None) -> str:
    """An intent, by what came of it: done only if that is known."""
    what = record.get("what") or {}
    ended = f" (outcome: {came or NONE_YET})"
    if not _is_plain(what):
        return f"asked for {_thing(record)}{ended}"
    action = str(what.get("action"))
    if came == "ok":
        return f"{DONE.get(action, action)} {_place(what)}"
    return f"asked to {action} {_place(what)}{ended}"


def wish(record: Told) -> str:
    """What was refused."""
    what = record.get("what") or {}
    return f"{what.get('action')} {_place(what)}" if _is_plain(what) else f"asked for {_thing(record)}"


def window(what: Told) -> str:
    """The counts of a window, each action for itself."""
    by_action: dict[str, list[Told]] = {}
    for entry in what.get("entries") or ():
        by_action.setdefault(str(entry.get("action") or what.get("action")), []).append(entry)
    return "; ".join(_counted(action, entries, what.get("asset")) for action, entries in by_action.items())


def _counted(action: str, entries: list[Told], asset: Any) -> str:
    tags = sorted({tag for entry in entries for tag in _tags((entry.get("input") or {}).get("points"))})
    named = ", ".join(tags[:MOST_TAGS]) + (" …" if len(tags) > MOST_TAGS else "")
    times = many(sum(entry.get("asked", 0) for entry in entries), "time")
    failed = sum(entry.get("failed", 0) for entry in entries)
    times += f" ({failed} without an answer)" if failed else ""
    would = sum(entry.get("asked", 0) for entry in entries if entry.get("decision") == "would_deny")
    times += f" ({would} would be denied once enforced)" if would else ""
    kinds = ", ".join(sorted({_called(entry.get("kind")) for entry in entries}))
    if not asset:
        return f"asked for {named or kinds} {times}"
    return f"{DONE.get(action, action)} {asset} {times}: {named or kinds}"


def _is_plain(what: Told) -> bool:
    """Whether it is about an asset, and could be read."""
    return bool(what.get("asset")) and not (what.get("action") == "call" and what.get("unreadable"))


def _thing(record: Told) -> str:
    """What was asked for, where no asset or no operation is known."""
    what = record.get("what") or {}
    modbus, north, admin = (what.get(name) or {} for name in ("modbus", "north", "admin"))
    named = _called(what.get("kind"))
    on = f" on {what['asset']}" if what.get("asset") else ""
    if modbus:
        return f"{named} (unit {modbus.get('unit')}){on}"
    if admin:
        return named + _aims(admin)
    tags = ", ".join(_tags(what.get("points")))
    if not tags:
        reasons = (record.get("why") or {}).get("reasons") or ()
        tags = next((r.get("msg", "") for r in reasons if r.get("code") == "wire.unknown_tag"), "")
    topic = f" to {north['topic']}" if north.get("topic") else ""
    return named + (f" {tags}" if tags else "") + topic + on


def _aims(admin: Told) -> str:
    """What a person's act is about: `: enforce on asset:plc-1 for 30 minutes (request 01J…)`."""
    parts = []
    if admin.get("value"):
        parts.append(f": {admin['value']}")
    if admin.get("scope"):
        parts.append(f" on {admin['scope']}")
    if admin.get("subject"):
        parts.append(f" for {admin['subject']}")
    if admin.get("minutes"):
        parts.append(f" for {many(admin['minutes'], 'minute')}")
    if admin.get("request"):
        parts.append(f" (request {admin['request']})")
    return "".join(parts)


def _called(kind: Any) -> str:
    """A kind without its protocol."""
    return COMMANDS.get(str(kind)) or str(kind).partition(".")[2] or str(kind)


def _tags(points: Any) -> list[str]:
    return [point["tag"] for point in points or () if isinstance(point, dict) and "tag" in point]


def _place(what: Told) -> str:
    return f"{_object(what)} on {what.get('asset')}"


def _object(what: Told) -> str:
    """The tags with old and new values, or the addresses where no tag is there."""
    points = [_point(p) for p in what.get("points") or ()]
    if points:
        return ", ".join(points)
    modbus = what.get("modbus")
    if isinstance(modbus, dict):
        table, start, count = modbus.get("table"), modbus.get("start"), modbus.get("count")
        values = DROPPED if is_dropped(modbus, "values") else modbus.get("values")
        place = f"{table} {start}" + (
            f"…{start + count - 1}" if start is not None and count and count > 1 else ""
        )
        return f"{place if table else _called(what.get('kind'))}" + (f" = {values}" if values else "")
    opcua = what.get("opcua")
    if isinstance(opcua, dict):
        node = opcua.get("method") or opcua.get("path") or opcua.get("node")
        value = "" if opcua.get("value") is None else f" = {opcua['value']}"
        value = f" = {DROPPED}" if is_dropped(opcua, "value") else value
        return f"{node or _called(what.get('kind'))}{value}"
    return _called(what.get("kind"))


def _point(point: Told) -> str:
    unit = f" {point['unit']}" if point.get("unit") else ""
    new, old = point.get("value"), point.get("value_prev")
    if new is None and point.get("q") is not None:
        new, old, unit = point["q"], point.get("q_prev"), " quanta"
    if is_dropped(point, "q"):
        return f"{point.get('tag')} = {DROPPED}"
    if new is None:
        return str(point.get("tag"))
    before = f" (before: {old:g}{unit})" if old is not None else " (before: not known)"
    return f"{point.get('tag')} = {new:g}{unit}{before}"
