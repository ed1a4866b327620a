"""What to look for in the index, and the way there.

Every text in a statement here is fixed; whatever a caller gives is bound.

Every condition but time, values and outcome is about shapes, so how many records fit is known at once. Few:
they are gathered by index. Many: the log is walked backwards, and the page is full soon.
"""

import sqlite3
from typing import Any

import msgspec
from msgspec import Struct

from gateway.audit.intake import MINUTE
from gateway.audit.outcome import OUTCOMES
from gateway.model.errors import JournalError

FEW = 8
"Gather by index what is less than this part of the log; walk backwards for more."
LATEST_NS = 1 << 62
"Times beyond it, in 2116, or before 1970 mean all there is: SQLite's integers end soon after."
NEAR = 1e-9
"Two values that differ by less than this part are one: decimal fractions are not exact."


class Filters(Struct, frozen=True, kw_only=True):
    """What to look for; all that are given must hold."""

    who: str | None = None
    "Part of the subject or of whom it acts for; or the source address, fingerprint or serial number."
    asset: str | None = None
    tag: str | None = None
    action: str | None = None
    decision: str | None = None
    reason: str | None = None
    "Code of a reason, or its beginning."
    kind: str | None = None
    operation: str | None = None
    "Kind of the operation, or its beginning: `admin`, `admin.approve`."
    grant: str | None = None
    revision: str | None = None
    "Beginning of the bundle's digest."
    listener: str | None = None
    event: str | None = None
    outcome: str | None = None
    "One of `OUTCOMES`; an intent without outcome is `unknown`."
    changed_from: float | None = None
    changed_to: float | None = None
    text: str | None = None
    "Words; all must be there."
    since_ns: int | None = None
    until_ns: int | None = None
    before: int | None = None
    "Only records before this index: the cursor of the page before."
    after: int | None = None
    "Only records after this index."
    limit: int = 100
    "The newest so many."

    def __post_init__(self) -> None:
        for name in ("since_ns", "until_ns"):
            ns = getattr(self, name)
            if ns is not None and not 0 <= ns <= LATEST_NS:
                msgspec.structs.force_setattr(self, name, min(max(ns, 0), LATEST_NS))


class Row(Struct, frozen=True, gc=False):
    """One record found."""

    n: int
    wall_ns: int
    came: str | None
    times: int


_FACET = "id in (select shape from facet where field = '{}' and {})"
_CODE = "({0} = ? or substr({0}, 1, length(?) + 1) = ? || '.')"
_WHO = (
    "(instr(who, ?) or source = ? or instr(behalf, ?) or serial = ?"
    " or (length(?) >= 8 and instr(fingerprint, ?) = 1))"
)


def shapes(filters: Filters) -> tuple[str, list[Any]]:
    """The condition on shapes; every text in it is fixed, every value is bound."""
    table: list[tuple[str, Any]] = [
        (_WHO, filters.who),
        (_FACET.format("asset", "value = ?"), filters.asset),
        (_FACET.format("tag", "value = ?"), filters.tag),
        (_FACET.format("action", "value = ?"), filters.action),
        ("decision = ?", filters.decision),
        (_FACET.format("reason", _CODE.format("value")), filters.reason),
        ("kind = ?", filters.kind),
        (_CODE.format("operation"), filters.operation),
        (_FACET.format("grant", "value = ?"), filters.grant),
        ("substr(revision, 1, length(?)) = ?", filters.revision),
        ("listener = ?", filters.listener),
        ("event = ?", filters.event),
    ]
    given = [(text, value) for text, value in table if value is not None]
    values = [value for text, value in given for _ in range(text.count("?"))]
    if filters.who is not None:  # it stands first: serial number and fingerprint as the records have them
        printed = _printed(filters.who)
        values[3:6] = [printed.lstrip("0") or printed, printed, printed]
    return " and ".join(text for text, _ in given), values


def _printed(who: str) -> str:
    """A number as OpenSSL prints it, `serial=0A1B` or `sha256 Fingerprint=AB:CD:…`, as records have it."""
    bare = who.rpartition("=")[2].strip().replace(":", "").lower().removeprefix("0x")
    return bare if bare and set(bare) <= set("0123456789abcdef") else who


def span(db: sqlite3.Connection, filters: Filters) -> tuple[int, int]:
    """The first and last index that the times leave. The clock may step: a record's own time counts too."""
    low, high = 0, 1 << 62
    if filters.since_ns is not None or filters.until_ns is not None:
        since = (filters.since_ns or 0) // MINUTE
        until = (filters.until_ns if filters.until_ns is not None else 1 << 62) // MINUTE
        row = db.execute(
            "select min(first), max(last) from minute where minute between ? and ?", (since, until)
        )
        first, last = row.fetchone()
        low, high = (first, last) if first is not None else (1, 0)
    if filters.before is not None:
        high = min(high, filters.before - 1)
    if filters.after is not None:
        low = max(low, filters.after + 1)
    return low, high


def find(db: sqlite3.Connection, filters: Filters, limit: int) -> list[Row]:
    """The newest that fit, newest first."""
    low, high = span(db, filters)
    if low > high:
        return []
    where, values = shapes(filters)
    source = _way(db, filters, where, values)
    conditions: list[str] = ["r.n between ? and ?"]
    bound: list[Any] = [low, high]
    if filters.since_ns is not None:
        conditions.append("r.wall_ns >= ?")
        bound.append(filters.since_ns)
    if filters.until_ns is not None:
        conditions.append("r.wall_ns < ?")
        bound.append(filters.until_ns)
    if filters.text is not None:
        conditions.append(f"r.doc in (select id from doc where {_said(where)})")  # noqa: S608
        bound += [_words(filters.text), *values]
    elif where:
        conditions.append(f"r.shape in (select id from shape where {where})")  # noqa: S608
        bound += values
    if filters.outcome is not None:
        known = OUTCOMES[OUTCOMES.index(filters.outcome)]
        conditions.append(f"r.outcome = '{known}'" + ("" if known == "ok" else " and r.outcome <> 'ok'"))
    if _changed(filters):
        text, more = _changes(filters)
        conditions.append(f"r.n in (select n from change where {text})")  # noqa: S608
        bound += more
    query = f"select r.n from record r {source} where {' and '.join(conditions)} order by r.n desc limit ?"  # noqa: S608
    found = [n for (n,) in db.execute(query, (*bound, limit))]
    row = "select n, wall_ns, came, times from record where n = ?"
    return [Row(*db.execute(row, (n,)).fetchone()) for n in found]


def _way(db: sqlite3.Connection, filters: Filters, where: str, values: list[Any]) -> str:
    """How to go: by which index, or backwards through the log."""
    if _changed(filters):
        return ""
    if filters.outcome is not None and filters.outcome != "ok":
        return "indexed by record_odd"
    total = db.execute("select coalesce(sum(count), 0) from shape").fetchone()[0]
    if filters.text is not None:
        if not db.execute("select 1 from sqlite_master where name = 'said'").fetchone():
            raise JournalError("this SQLite has no full-text search (FTS5): use the other conditions")
        query = f"select coalesce(sum(count), 0) from doc where {_said(where)}"  # noqa: S608
        fit = db.execute(query, (_words(filters.text), *values)).fetchone()[0]
        return "indexed by record_doc" if fit * FEW < total else "not indexed"
    if where:
        fit = db.execute(f"select coalesce(sum(count), 0) from shape where {where}", values).fetchone()[0]  # noqa: S608
        return "indexed by record_shape" if fit * FEW < total else "not indexed"
    return "not indexed"


def _said(where: str) -> str:
    text = "id in (select rowid from said where said match ?)"
    return text + (f" and shape in (select id from shape where {where})" if where else "")  # noqa: S608


def _words(text: str) -> str:
    """Each word as a phrase, so that nothing in it is taken for an operator; `lev*` is a beginning."""
    words = []
    for word in text.replace("\0", " ").split():  # it would end the query inside a phrase
        begins = word.endswith("*")
        word = word.rstrip("*").replace('"', '""')
        words.append(f'"{word}"' + ("*" if begins else ""))
    return " ".join(words) or '""'


def _changed(filters: Filters) -> bool:
    return filters.changed_from is not None or filters.changed_to is not None


def _changes(filters: Filters) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    bound: list[Any] = []
    for column, value in (("old", filters.changed_from), ("new", filters.changed_to)):
        if value is not None:
            conditions.append(f"{column} between ? and ?")
            bound += [value - abs(value) * NEAR, value + abs(value) * NEAR]
    if filters.tag is not None:
        conditions.append("tag = ?")
        bound.append(filters.tag)
    return " and ".join(conditions), bound
