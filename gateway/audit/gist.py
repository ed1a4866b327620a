"""What the index keeps of a record: its shape, and what is its own.

A *shape* is everything about a record that many records share: who, from where, what, on which asset and
tags, decided how, by which rules. A million records have some thousand shapes, so that a question about them
is answered over the shapes first, and their counts are known before one record is looked at.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from gateway.audit import tell
from gateway.audit.outcome import outcome, words

TURNED_AWAY = ("refused", "cut")
"Results of authentication that are found as denials are."
LONGEST_TEXT = 2000
"Characters of free text of one record that can be searched."
MOST_REGISTERS = 2000
"One request writes no more."
_OWN = re.compile(r"^[0-9A-HJKMNP-TV-Z]{26}$")
"ULIDs differ in every record: they are looked up (`refs`), not searched as text."


class _Digest(Struct):
    """A value that was too long, as its hash and length."""

    sha256: str = ""
    "Empty where it was dropped."


class _Promise(Struct):
    """A commitment that nobody can open any more."""

    of: list[str] = []


class _Who(Struct):
    subject: str | None = None
    fingerprint: str | None = None
    serial: str | None = None
    source: str | None = None
    listener: str | None = None
    on_behalf_of: str | None = None


class _Point(Struct):
    tag: str = ""
    q: int | None = None
    q_prev: int | None = None
    value: float | None = None
    value_prev: float | None = None
    committed: _Promise | None = None


class _Admin(Struct):
    subject: str | None = None
    scope: str | None = None
    value: str | None = None
    request: str | None = None


class _Reason(Struct):
    code: str = ""
    kind: str = ""
    msg: str = ""


class _Question(Struct):
    points: list[_Point] | _Digest | None = None


class _Entry(Struct):
    action: str | None = None
    input: _Question | None = None
    reasons: list[_Reason] = []
    grants: list[str] = []
    decision: str | None = None
    asked: int = 0
    failed: int = 0


class _Modbus(Struct):
    table: str | None = None
    start: int | None = None
    count: int | None = None
    values: list[int] | _Digest | None = None
    committed: _Promise | None = None


class _What(Struct):
    modbus: _Modbus | None = None
    action: str | None = None
    kind: str | None = None
    asset: str | None = None
    points: list[_Point] | _Digest | None = None
    admin: _Admin | None = None
    entries: list[_Entry] | _Digest | None = None
    also: "list[_What] | _Digest | None" = None


class _Approval(Struct):
    id: str = ""
    by: list[str] = []


class _Why(Struct):
    decision: str | None = None
    stage: str | None = None
    revision: str | None = None
    origin: str | None = None
    reasons: list[_Reason] | _Digest | None = None
    grants: list[str] | _Digest | None = None
    approval: _Approval | None = None
    also: "list[_Why] | _Digest | None" = None


class _Record(Struct):
    id: str
    kind: str
    wall_ns: int
    who: _Who | None = None
    what: _What | None = None
    why: _Why | None = None
    result: dict[str, Any] | None = None
    about: str | None = None
    note: msgspec.Raw = msgspec.Raw(b"null")


class _Least(Struct):
    """What is still known of a record that is not as it should be."""

    id: str = ""
    kind: str = ""
    wall_ns: int = 0


class _Ranges(Struct):
    ranges: list[tuple[int, int]] = []


class _Drop(Struct):
    note: _Ranges


class Shape(Struct, frozen=True, gc=False):
    """What many records share. Null or empty: it does not apply."""

    kind: str
    who: str = ""
    source: str = ""
    behalf: str = ""
    fingerprint: str = ""
    serial: str = ""
    listener: str = ""
    asset: str = ""
    action: str = ""
    operation: str = ""
    "Kind of the operation: `modbus.write_single_register`, `admin.break_glass` …"
    decision: str = ""
    revision: str = ""
    origin: str = ""
    because: str = ""
    "Code of the reason that decides."
    event: str = ""
    "What a record without operation tells: `start`, `activated`, `expiry`, `accepted` …"
    assets: tuple[str, ...] = ()
    "Of the other operations of the frame."
    actions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    "Codes, as recorded."
    grants: tuple[str, ...] = ()


class Change(Struct, frozen=True, gc=False):
    """One value that an operation would write: engineering units where known, else quanta.

    Where no tag names the place, `tag` is table and address, and the value is raw.
    """

    tag: str
    old: float | None
    new: float | None
    "Null where it was dropped: that something was written is known, and not what."


class Gist(Struct, gc=False):
    """What the index keeps of one record."""

    id: str
    wall_ns: int
    shape: Shape
    text: str = ""
    "Its free text: messages, reasons in words, what people wrote."
    about: str | None = None
    times: int = 1
    "How many it stands for: reads of a window, counted denials of a flood."
    counts: tuple[int, ...] = ()
    "Of a window: how often each tag of the shape was asked for."
    outcome: str | None = None
    came: str | None = None
    changes: tuple[Change, ...] = ()
    refs: tuple[str, ...] = ()
    "Ids of requests, approvals and other records that it names."


_full = msgspec.json.Decoder(_Record)
_least = msgspec.json.Decoder(_Least)
_drop = msgspec.json.Decoder(_Drop)
_note = msgspec.json.Decoder(dict[str, Any] | None)
NOBODY, NOTHING, UNSAID = _Who(), _What(), _Why()


def gist(data: bytes) -> Gist:
    """What the index keeps of these stored bytes; of odd ones as much as can be read."""
    try:
        return _gist(_full.decode(data))
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        least = _least.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        least = _Least()
    return Gist(least.id, least.wall_ns, Shape(least.kind))


def dropped(data: bytes) -> list[tuple[int, int]]:
    """First and last index of what a record says was dropped."""
    try:
        return _drop.decode(data).note.ranges
    except (msgspec.MsgspecError, RecursionError):
        return []


def _gist(record: _Record) -> Gist:
    by, what, why = record.who or NOBODY, record.what or NOTHING, record.why or UNSAID
    kind = record.kind
    if kind == "outcome":
        result = record.result or {}
        shape = Shape(
            kind, by.subject or "", by.source or "", event="readback" if "readback" in result else ""
        )
        came = None if "readback" in result else words(result)
        ended = None if "readback" in result else outcome(result)
        return Gist(
            record.id,
            record.wall_ns,
            shape,
            text=_said(result),
            about=record.about,
            outcome=ended,
            came=came,
        )
    if kind == "window":
        return _window(record, by, what, why)
    return _plain(record, by, what, why)


def _window(record: _Record, by: _Who, what: _What, why: _Why) -> Gist:
    """Reads: every tag with how often it was asked for."""
    asked: dict[str, int] = {}
    actions: dict[str, None] = {}
    reasons: dict[str, None] = {}
    grants: dict[str, None] = {}
    times = 0
    decision = why.decision or ""
    for entry in what.entries if isinstance(what.entries, list) else ():
        times += entry.asked
        points = entry.input.points if entry.input is not None else None
        for point in points if isinstance(points, list) else ():
            asked[point.tag] = asked.get(point.tag, 0) + entry.asked
        if entry.action is not None:
            actions[entry.action] = None
        for reason in entry.reasons:
            reasons[reason.code] = None
        for grant in entry.grants:
            grants[grant] = None
    tags = tuple(sorted(asked))
    shape = Shape(
        "window",
        by.subject or "",
        by.source or "",
        by.on_behalf_of or "",
        by.fingerprint or "",
        by.serial or "",
        by.listener or "",
        what.asset or "",
        what.action or "",
        "",
        decision,
        why.revision or "",
        "",
        "",
        "",
        (),
        tuple(sorted(actions)),
        tags,
        tuple(sorted(reasons)),
        tuple(sorted(grants)),
    )
    return Gist(record.id, record.wall_ns, shape, times=times, counts=tuple(asked[tag] for tag in tags))


def _plain(record: _Record, by: _Who, what: _What, why: _Why) -> Gist:
    note = _note.decode(record.note) or {}
    others = what.also if isinstance(what.also, list) else []
    whys = [why, *(why.also if isinstance(why.also, list) else ())]
    points = [p for each in (what, *others) if isinstance(each.points, list) for p in each.points]
    reasons = [r for each in whys if isinstance(each.reasons, list) for r in each.reasons]
    grants = [g for each in whys if isinstance(each.grants, list) for g in each.grants]
    admin = what.admin
    turned = record.kind == "auth" and note.get("result") in TURNED_AWAY
    codes = [reason.code for reason in reasons]
    codes += [
        note[field] for field in ("reason", "code", "finding", "alarm") if isinstance(note.get(field), str)
    ]
    listed = note.get("reasons")
    codes += [str(each) for each in listed] if isinstance(listed, list) else []
    tags = [point.tag for point in points]
    if isinstance(note.get("tag"), str):
        tags.append(note["tag"])
    shape = Shape(
        record.kind,
        by.subject or "",
        by.source or "",
        by.on_behalf_of or "",
        by.fingerprint or "",
        by.serial or "",
        by.listener or _text(note, "listener"),
        what.asset or _text(note, "asset"),
        what.action or "",
        what.kind or "",
        "deny" if turned else why.decision or "",
        why.revision or (_text(note, "revision") if record.kind == "policy" else ""),
        why.origin or "",
        _deciding(reasons, codes),
        _text(note, "event") or _text(note, "result") or _text(note, "what") or _text(note, "of"),
        tuple(dict.fromkeys(each.asset for each in others if each.asset)),
        tuple(dict.fromkeys(each.action for each in others if each.action)),
        tuple(dict.fromkeys(tags)),
        tuple(dict.fromkeys(codes)),
        tuple(dict.fromkeys(grants)),
    )
    times = note.get("count") if record.kind == "suppressed" else 1
    said = [reason.msg for reason in reasons if reason.msg]
    if admin is not None:
        said += [each for each in (admin.subject, admin.scope, admin.value) if each]
    said.append(_said(note))
    if why.approval is not None:
        said += why.approval.by
    return Gist(
        record.id,
        record.wall_ns,
        shape,
        text=" ".join(said)[:LONGEST_TEXT],
        about=record.about,
        times=times if isinstance(times, int) else 1,
        changes=(*_changes(points), *(raw for each in (what, *others) for raw in _untagged(each))),
        refs=_refs(admin, why, note),
    )


def _changes(points: list[_Point]) -> Iterator[Change]:
    for point in points:
        if point.value is not None:
            yield Change(point.tag, point.value_prev, point.value)
        elif point.q is not None:
            yield Change(point.tag, None if point.q_prev is None else float(point.q_prev), float(point.q))
        elif point.committed is not None and "q" in point.committed.of:
            yield Change(point.tag, None, None)


def _untagged(what: _What) -> Iterator[Change]:
    """Raw values of a Modbus write to addresses that no tag names: `holding 12`."""
    target = what.modbus
    if what.action != "write" or what.points or target is None:
        return
    if target.committed is not None and "values" in target.committed.of:
        for at in range(min(target.count or 1, MOST_REGISTERS)):
            yield Change(f"{target.table} {(target.start or 0) + at}", None, None)
    if not isinstance(target.values, list):
        return
    for at, value in enumerate(target.values):
        yield Change(f"{target.table} {(target.start or 0) + at}", None, float(value))


def _deciding(reasons: list[_Reason], codes: list[str]) -> str:
    if reasons:
        return min(reasons, key=lambda each: tell.rank(each.kind)).code
    return codes[0] if codes else ""


def _refs(admin: _Admin | None, why: _Why, note: dict[str, Any]) -> tuple[str, ...]:
    found = [
        admin.request if admin is not None else None,
        why.approval.id if why.approval is not None else None,
    ]
    found += [note.get(field) for field in ("request", "id", "intent")]
    return tuple(dict.fromkeys(each for each in found if isinstance(each, str) and each))


def _text(note: dict[str, Any], field: str) -> str:
    value = note.get(field)
    return value if isinstance(value, str) else ""


def _said(note: dict[str, Any]) -> str:
    """The words in a note, without ids and numbers."""
    return " ".join(_strings(note))[:LONGEST_TEXT]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not _OWN.match(value):
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
