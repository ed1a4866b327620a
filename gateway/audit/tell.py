"""Records as sentences: who did what to which device, old and new value, under which rule, what came."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.audit.deeds import Told, deed, many, window, wish
from gateway.audit.outcome import outcome, words

RESULTS = {
    "ok": "The device accepted it.",
    "exception": "It was refused there: {}.",
    "timeout": "The device did not answer: whether it was done is not known.",
    "not_sent": "It was not sent.",
}
UNKNOWN = "Outcome: {}; whether it was done is not known."
DECIDING = ("guardrail", "base", "site", "grant", "default")
"Kinds of reasons, those that decide first: a grant that nearly fits is a hint. Other kinds come before all."
EVENTS = {
    "approval requested": "{who} needs the word of {by_role} (request {request}): {what}",
    "approval used": "approval {request} was used: {what}; granted by {by}",
    "window over": "the window {name} is over; {by} had opened it",
    "break_glass over": "the broken glass of {by} is over ({name})",
}
"What people's acts lead to. The signed statements are told by `details`."
CAME = {"accepted": "came in by", "unidentified": "came in unidentified by"}
WENT = {"refused": "was refused by", "cut": "was cut off by"}


def moment(wall_ns: int) -> str:
    """A wall-clock time, UTC, to the millisecond."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}Z"


def plain(text: str) -> str:
    """On one line, and nothing in it that a terminal obeys or that turns what is read around.

    Names and messages were chosen by whoever connected: what is not printable stands as `\\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def line(index: int, record: Told, came: str | None = None) -> str:
    """One record on one line; `came` is the outcome of an intent in words, null where none is recorded."""
    return f"{index:>8}  {moment(record['wall_ns'])}  {record['kind']:<10} {brief(record, came)}"


def brief(record: Told, came: str | None = None) -> str:
    """The same without index, time and kind."""
    return plain(_brief(record, came))


def sentence(records: Sequence[Told]) -> str:
    """What a record and its completions say, for a person."""
    lead = next((r for r in records if r["kind"] in ("intent", "denial")), records[0])
    outcomes = [r for r in records if r["kind"] == "outcome"]
    ended = next((r for r in outcomes if "readback" not in (r.get("result") or {})), None)
    again = next((r["result"]["readback"] for r in outcomes if "readback" in (r.get("result") or {})), None)
    result = (ended or {}).get("result") or {}
    told = f"{moment(lead['wall_ns'])}: {_brief(lead, words(result) if ended else None, full=True)}."
    if ended is not None:
        rest = ", ".join(
            f"{k} {v}"
            for k, v in result.items()
            if k not in ("status", "code", "latency_ms") and v not in (None, "")
        )
        text = RESULTS.get(outcome(result), UNKNOWN).format(words(result))
        told += f" {text}" + (f" ({rest})" if rest else "")
    elif lead["kind"] == "intent":
        told += " No outcome is recorded (yet)."
    if isinstance(again, dict):
        told += f" {_read_back(again)}"
    if lead.get("clock") == "untrusted":
        told += " The wall clock was not trusted then."
    return plain(told)


def _read_back(again: Told) -> str:
    """What was there when the gateway looked."""
    if again.get("matches") is None:
        return f"Whether it is there is not known: it could not be read back ({again.get('why')})."
    points = again.get("points") or ()
    there = ", ".join(f"{p.get('tag')} = {p.get('q_read')} of {p.get('q_written')} quanta" for p in points)
    if again["matches"]:
        return f"Read back, it is there ({there})."
    return f"Read back, it is NOT there: {there}."


def details(record: Told) -> list[str]:
    """Every field that says something, one a line."""
    told = ((name, value) for name, value in _flat("", record) if value not in (None, "", [], {}))
    return [plain(f"  {name}: {value}") for name, value in told]


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


def _brief(record: Told, came: str | None, *, full: bool = False) -> str:
    by, what, note = (record.get(name) or {} for name in ("who", "what", "note"))
    match record["kind"]:
        case "intent":
            return f"{_who(by, full=full)} {deed(record, came)}, {_rule(record, full=full)}"
        case "denial":
            would = (record.get("why") or {}).get("decision") == "would_deny"
            refused = "would be refused once enforced" if would else "was refused"
            return f"{_who(by, full=full)} {refused}: {wish(record)}, {_rule(record, full=full)}"
        case "outcome" if isinstance((record.get("result") or {}).get("readback"), dict):
            return f"read back of {record.get('about')}: {_read_back(record['result']['readback'])}"
        case "outcome":
            return f"outcome of {record.get('about')}: {words(record.get('result') or {})}"
        case "window":
            recovered = " (saved after a crash)" if note.get("recovered") else ""
            return f"{_who(by, full=full)} {window(what)}{recovered}"
        case "suppressed":
            more = many(note.get("count"), f"more {note.get('of')} record")
            return f"{more} of {_who(by)}: {note.get('reason')}"
        case "lifecycle" if note.get("event") == "drop" and isinstance(note.get("ranges"), list):
            count = sum(last - first + 1 for first, last in note["ranges"])
            by = f", ordered by {note['by']}" if note.get("by") else ""
            return f"sensitive fields of up to {many(count, 'record')} dropped, by {note.get('why')}{by}"
        case "lifecycle" if "event" in note:
            return f"{note['event']}" + _found(note.get("recovery") or {})
        case "auth" if note.get("result") in CAME | WENT:
            return f"{_who(by)} {_door(note)}"
        case "admin" if note.get("event") in EVENTS:
            return EVENTS[note["event"]].format_map(defaultdict(lambda: "?", _listed(note), who=_who(by)))
        case _:
            rest = ", ".join(f"{k} {v}" for k, v in note.items() if v not in (None, ""))
            return f"{_who(by)}: {rest}" if by else rest


def _listed(note: Told) -> Told:
    """A note whose lists are read as one does."""
    return {name: " and ".join(map(str, v)) if isinstance(v, list) else v for name, v in note.items()}


def _door(note: Told) -> str:
    """Who came in how, or why not."""
    result, listener = note["result"], note.get("listener") or "the gateway"
    if result in CAME:
        return f"{CAME[result]} {listener} ({_way(note)})"
    message = f" ({note['message']})" if note.get("message") else ""
    return f"{WENT[result]} {listener}: {note.get('code')}{message}"


def _way(note: Told) -> str:
    """What the way in is secured by. An OPC UA session lies in a channel, whose own record says how."""
    if note.get("tls"):
        return f"TLS {note['tls']}"
    if note.get("what") == "channel":
        return f"OPC UA channel, {note.get('policy')}, {note.get('mode')}"
    if str(note.get("what", "")).startswith("session"):
        return f"OPC UA {note['what']}, {note.get('asset')}"
    return "no TLS"


def _found(recovery: Told) -> str:
    """What a start found, if it was not as it should be."""
    parts = []
    if recovery.get("cut"):
        cut = recovery["cut"]
        verb = "was" if cut["bytes"] == 1 else "were"
        parts.append(f"{many(cut['bytes'], 'byte')} behind index {cut['index']} {verb} cut")
    if recovery.get("unknown"):
        parts.append(f"{many(len(recovery['unknown']), 'intent')} without outcome")
    if recovery and not recovery.get("clean"):
        parts.append("the last run did not end by itself")
    return f" ({'; '.join(parts)})" if parts else ""


def _who(by: Told, *, full: bool = False) -> str:
    subject = by.get("subject") or "somebody"
    source = f" from {by['source']}" if by.get("source") else ""
    roles = f" ({', '.join(by['roles'])})" if full and by.get("roles") else ""
    behalf = f" on behalf of {by['on_behalf_of']}" if by.get("on_behalf_of") else ""
    return f"{subject}{roles}{behalf}{source}"


def _rule(record: Told, *, full: bool) -> str:
    why = record.get("why") or {}
    match why.get("decision"):
        case "allow":
            told = _allowed(why)
        case "would_deny":
            told = f"let through by stage {why.get('stage')}, else {_denied(why)}"
        case _:
            told = _denied(why)
    told += ", decided by the embedded engine (OPA was away)" if why.get("origin") == "fallback" else ""
    return told + (f" under revision {str(why.get('revision'))[:12]}" if full else "")


def _allowed(why: Told) -> str:
    reasons = dict.fromkeys(reason.get("code", "") for reason in why.get("reasons") or ())
    told = f"allowed by {', '.join(why.get('grants') or reasons) or 'policy'}"
    approval = why.get("approval")
    if isinstance(approval, dict):
        told += f" and approved by {', '.join(approval.get('by') or ())} (request {approval.get('id')})"
    return told


def _denied(why: Told) -> str:
    """Each code once, those that decide first, and what the first says (wire reasons say no more)."""
    reasons = sorted(why.get("reasons") or (), key=lambda reason: rank(reason.get("kind")))
    codes = list(dict.fromkeys(str(reason.get("code")) for reason in reasons)) or ["default"]
    if reasons and reasons[0].get("msg") and reasons[0].get("kind") != "wire":
        codes[0] += f" ({reasons[0]['msg']})"
    return f"denied by {', '.join(codes)}"


def rank(kind: str | None) -> int:
    """Reasons of a smaller rank decide."""
    return DECIDING.index(kind) if kind in DECIDING else -1
