"""Which class each record becomes: one row a kind, and a table inside where a kind means several things."""

from collections.abc import Callable

from gateway.audit.outcome import outcome
from gateway.export.classes import (
    ALLOWED,
    API_ACTIVITY,
    AUTHENTICATION,
    CRITICAL,
    DENIED,
    FAILURE,
    FINDING,
    HIGH,
    INFORMATIONAL,
    LIFECYCLE,
    LOG_ACTIVITY,
    LOW,
    MEDIUM,
    NEW,
    OBSERVED,
    OTHER,
    RESOLVED,
    STATE_CHANGE,
    SUCCESS,
    EventClass,
    Shape,
)
from gateway.export.objects import Told, part, rows
from gateway.model.operation import MUTATING
from gateway.model.record import RecordKind

ACTIVITIES: dict[str, tuple[int, str]] = {
    "read": (2, ""),
    "browse": (2, ""),
    "subscribe": (1, ""),
    "write": (3, ""),
    "admin": (3, ""),
    "call": (OTHER, "Call"),
    "publish": (OTHER, "Publish"),
}
"By action of an operation: activity of API Activity."
GLASS = "break_glass"
"In names of events about somebody who passes policy in an emergency."
BREAKS, ENDS = "admin.break_glass", "admin.end_break_glass"
"Operations by which that begins, and ends before its time."
AWAY = ("opa_away", "opa_reads_end")
"Results that say that policy's own engine does not answer."


def shape(record: Told) -> Shape:
    """What a record becomes. A kind that is newer than this table becomes an event of the log itself."""
    row = SHAPES.get(str(record.get("kind")))
    return row(record) if row is not None else Shape(of=LOG_ACTIVITY, activity=OTHER)


def _activity(record: Told) -> tuple[int, str]:
    return ACTIVITIES.get(str(part(record, "what").get("action")), (OTHER, "Operation"))


def _would(record: Told) -> bool:
    """Whether a stage let pass what policy denies: the record itself, or a read of a window."""
    entries = rows(part(record, "what"), "entries")
    return any(each.get("decision") == "would_deny" for each in (part(record, "why"), *entries))


def _intent(record: Told) -> Shape:
    kind = part(record, "what").get("kind")
    if kind == BREAKS:
        return Shape(of=FINDING, activity=1, severity=HIGH, status=NEW, action=ALLOWED)
    if kind == ENDS:
        return Shape(of=FINDING, activity=3, severity=HIGH, status=RESOLVED, action=ALLOWED)
    activity, name = _activity(record)
    would = _would(record)
    return Shape(
        of=API_ACTIVITY,
        activity=activity,
        activity_name=name,
        severity=LOW if would else INFORMATIONAL,
        status=OTHER,
        status_name="Pending",
        action=OBSERVED if would else ALLOWED,
    )


ENDED: dict[str, tuple[int, int]] = {
    "ok": (SUCCESS, INFORMATIONAL),
    "exception": (FAILURE, LOW),
    "not_sent": (FAILURE, LOW),
    "timeout": (0, MEDIUM),
    "unknown": (0, MEDIUM),
}
"Status and severity of an outcome. Whether something was done in the last two cases nobody knows."


READ_BACK = {"True": (SUCCESS, INFORMATIONAL), "False": (FAILURE, HIGH), "None": (0, MEDIUM)}
"The same of a read-back, by whether it is what was written; null: there was no answer."


def _outcome(record: Told) -> Shape:
    result = part(record, "result")
    status, severity = ENDED[outcome(result)]
    again = result.get("readback")
    if isinstance(again, dict):
        status, severity = READ_BACK.get(str(again.get("matches")), READ_BACK["None"])
    name = "Read back" if isinstance(again, dict) else "Outcome"
    return Shape(of=API_ACTIVITY, activity=OTHER, activity_name=name, severity=severity, status=status)


def _denial(record: Told) -> Shape:
    activity, name = _activity(record)
    changes = part(record, "what").get("action") in MUTATING
    would = _would(record)
    return Shape(
        of=API_ACTIVITY,
        activity=activity,
        activity_name=name,
        severity=LOW if would or not changes else MEDIUM,
        status=None if would else FAILURE,
        action=OBSERVED if would else DENIED,
    )


def _window(record: Told) -> Shape:
    activity, name = _activity(record)
    would, status = _would(record), _answered(record)
    return Shape(
        of=API_ACTIVITY,
        activity=activity,
        activity_name=name,
        severity=LOW if would or status == FAILURE else INFORMATIONAL,
        status=status,
        status_name="Partial" if status == OTHER else "",
        action=OBSERVED if would else ALLOWED,
    )


def _answered(record: Told) -> int:
    """Whether the reads of a window had values: all, some or none; unknown where none has ended."""
    entries = rows(part(record, "what"), "entries")
    answered, failed = (any(each.get(name) for each in entries) for name in ("answered", "failed"))
    if answered and failed:
        return OTHER
    return SUCCESS if answered else FAILURE if failed else 0


ENTRIES: dict[str, Shape] = {
    "accepted": Shape(of=AUTHENTICATION, activity=1, status=SUCCESS, action=ALLOWED),
    "unidentified": Shape(of=AUTHENTICATION, activity=1, severity=LOW, status=SUCCESS, action=ALLOWED),
    "refused": Shape(of=AUTHENTICATION, activity=1, severity=MEDIUM, status=FAILURE, action=DENIED),
    "cut": Shape(of=AUTHENTICATION, activity=2, severity=MEDIUM, status=SUCCESS, action=DENIED),
}
"By `note.result` of an `auth` record."


def _auth(record: Told) -> Shape:
    return ENTRIES.get(str(part(record, "note").get("result")), ENTRIES["refused"])


def _finding(record: Told) -> Shape:
    alarm = "alarm" in part(record, "note")
    return Shape(of=FINDING, activity=1, severity=HIGH if alarm else MEDIUM, status=NEW)


def _state(record: Told) -> Shape:
    refused = part(record, "note").get("result") in ("refused", *AWAY)
    return Shape(
        of=STATE_CHANGE,
        activity=1,
        severity=HIGH if refused else INFORMATIONAL,
        status=FAILURE if refused else SUCCESS,
    )


def _admin(record: Told) -> Shape:
    event = str(part(record, "note").get("event"))
    if GLASS in event:
        return Shape(of=FINDING, activity=3, severity=HIGH, status=RESOLVED)
    if "request" in event:
        return Shape(of=API_ACTIVITY, activity=1, severity=LOW, status=SUCCESS)
    return Shape(of=API_ACTIVITY, activity=OTHER, activity_name="Admin event", status=SUCCESS)


LIVES: dict[str, Shape] = {
    "start": Shape(of=LIFECYCLE, activity=3, status=SUCCESS),
    "stop": Shape(of=LIFECYCLE, activity=4, status=SUCCESS),
}
"By `note.event` of a `lifecycle` record."
LOG_EVENTS: tuple[tuple[str, int], ...] = (
    ("retention", 2),
    ("aged", 2),
    ("removed", 2),
    ("drop", 2),
    ("archive", 4),
    ("rotat", 5),
    ("export", 3),
)
"What happens to the log itself: a part of the event's name, and the activity."


def _lifecycle(record: Told) -> Shape:
    note = part(record, "note")
    event = str(note.get("event"))
    if event in LIVES:
        return LIVES[event]
    for name, activity in LOG_EVENTS:
        if name in event:
            return Shape(of=LOG_ACTIVITY, activity=activity, status=SUCCESS)
    if "event" not in note:  # alarms: what expires
        return Shape(of=FINDING, activity=1, severity=MEDIUM, status=NEW)
    return Shape(of=LIFECYCLE, activity=OTHER, activity_name=event)


def _gap(_: Told) -> Shape:
    return Shape(of=LOG_ACTIVITY, activity=OTHER, activity_name="Gap", severity=CRITICAL, status=FAILURE)


FLOODED: dict[str, tuple[EventClass, int]] = {
    RecordKind.DENIAL: (API_ACTIVITY, OTHER),
    RecordKind.AUTH: (AUTHENTICATION, 1),
    RecordKind.FINDING: (FINDING, 2),
    RecordKind.WITHHELD: (API_ACTIVITY, 2),
}
"By `note.of` of a `suppressed` record: what those were that were counted, so that rules see the number."


def _suppressed(record: Told) -> Shape:
    of = str(part(record, "note").get("of"))
    kind, activity = FLOODED.get(of, (LOG_ACTIVITY, OTHER))
    denied = of in (RecordKind.DENIAL, RecordKind.WITHHELD)
    return Shape(
        of=kind,
        activity=activity,
        activity_name="Suppressed" if activity == OTHER else "",
        severity=MEDIUM,
        status=NEW if kind is FINDING else FAILURE if denied else None,
        action=DENIED if denied else None,
    )


def _withheld(_: Told) -> Shape:
    return Shape(of=API_ACTIVITY, activity=2, status=FAILURE, action=DENIED)


SHAPES: dict[str, Callable[[Told], Shape]] = {
    RecordKind.INTENT: _intent,
    RecordKind.OUTCOME: _outcome,
    RecordKind.DENIAL: _denial,
    RecordKind.WINDOW: _window,
    RecordKind.AUTH: _auth,
    RecordKind.FINDING: _finding,
    RecordKind.POLICY: _state,
    RecordKind.CONFIG: _state,
    RecordKind.ADMIN: _admin,
    RecordKind.LIFECYCLE: _lifecycle,
    RecordKind.GAP: _gap,
    RecordKind.SUPPRESSED: _suppressed,
    RecordKind.WITHHELD: _withheld,
}
"By kind of record."
