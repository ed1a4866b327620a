"""The search index: a SQLite file that follows from the journal and may be thrown away at any time.

The process that searches brings it up to date itself, in `index.db` of a gateway's data folder where it may
write there, else in a private file that SQLite deletes: evidence that lies elsewhere is never written beside.
Exactly one connection writes, and it holds a lock file while it does; the file is in rollback mode, not WAL,
because SQLite before 3.51.3 can corrupt a WAL database with two connections. What is found is read from the
journal, with its check: the index is never the truth. Where the journal cannot be read, `damaged` says so,
and the index goes no further than there, so that the next search says it again.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.audit.framing import FRAME, MOST_BYTES, frame
from gateway.audit.outcome import outcome, words
from gateway.audit.reader import Walk, segments

VERSION = 2
MOST_FOUND = 100_000
"Records one search may give."
TURNED_AWAY = ("refused", "cut")
"Results of authentication that are found as denials are."
_SCHEMA = """
create table record(n integer primary key, id text, wall_ns integer, kind text, who text, source text,
  asset text, action text, decision text, about text, outcome text, came text,
  segment integer, offset integer);
create index record_id on record(id); create index record_wall on record(wall_ns);
create index record_about on record(about) where about is not null;
create table word(field text, value text, n integer, primary key(field, value, n)) without rowid;
create table place(n integer, segment integer, offset integer, begun text);
"""


class Filters(Struct, frozen=True, kw_only=True):
    """What to look for; all that are given must hold."""

    who: str | None = None
    "Part of the subject, or the source address."
    asset: str | None = None
    tag: str | None = None
    action: str | None = None
    decision: str | None = None
    reason: str | None = None
    "Code of a reason, or its beginning."
    kind: str | None = None
    outcome: str | None = None
    "One of `OUTCOMES`; an intent without outcome is `unknown`."
    since_ns: int | None = None
    until_ns: int | None = None
    limit: int = 100
    "The newest so many."


class Index:
    """Open, up to date with `refresh`, and ready to search."""

    def __init__(self, journal: Path, file: Path | None) -> None:
        self._journal = journal
        self._lock: int | None = None
        self.damaged: int | None = None
        "Index of the first record met that cannot be read."
        self._db = self._opened(file)

    def _opened(self, file: Path | None) -> sqlite3.Connection:
        if file is not None and self._take_lock(file):
            try:
                return _prepared(sqlite3.connect(file, isolation_level=None))
            except sqlite3.Error:
                file.unlink(missing_ok=True)
                return _prepared(sqlite3.connect(file, isolation_level=None))
        return _prepared(sqlite3.connect("", isolation_level=None))

    def _take_lock(self, file: Path) -> bool:
        """Whether this process may write the file: another search may hold it, or the folder is read-only."""
        try:
            lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and not os.access(file, os.W_OK):
                raise PermissionError(file)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def close(self) -> None:
        """Let go of it."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def refresh(self) -> int:
        """Take in what was written since; gives how many records are indexed."""
        known = segments(self._journal)
        n, segment, offset = self._place(known)
        db = self._db
        db.execute("begin")
        for at, each in enumerate(known):
            if each.first < segment:
                continue
            following = known[at + 1].first if at + 1 < len(known) else None
            walk = Walk(each)
            try:
                if each.first == segment and offset:
                    walk.scan.resume(n, offset)
                for data in walk:
                    begin = walk.scan.offset - len(data) - FRAME.size
                    _take(db, walk.scan.index - 1, data, each.first, begin)
                if self.damaged is None:
                    n, segment, offset = walk.scan.index, each.first, walk.scan.offset
                    self.damaged = walk.damage(following)
            finally:
                walk.close()
        db.execute("update place set n = ?, segment = ?, offset = ?", (n, segment, offset))
        db.execute("commit")
        return n

    def _place(self, known: list[Any]) -> tuple[int, int, int]:
        """Where the last refresh stopped; the beginning, if this is another journal."""
        begun = ""
        if known:
            walk = Walk(known[0])
            try:
                begun = sha256(next(iter(walk), b"")).hexdigest()
            finally:
                walk.close()
        row = self._db.execute("select n, segment, offset, begun from place").fetchone()
        if row is not None and row[3] == begun:
            return int(row[0]), int(row[1]), int(row[2])
        self._db.executescript("delete from record; delete from word; delete from place")
        self._db.execute("insert into place values (0, 0, 0, ?)", (begun,))
        return 0, 0, 0

    def search(self, filters: Filters) -> Iterator[tuple[int, bytes, str | None]]:
        """The newest records that fit, oldest first, and what came of each intent."""
        where, values = _where(filters)
        query = f"select n, segment, offset, came from record {where} order by n desc limit ?"  # noqa: S608 (fixed texts)
        rows = self._db.execute(query, (*values, min(filters.limit, MOST_FOUND))).fetchall()
        for n, segment, offset, came in reversed(rows):
            data = self._stored(n, segment, offset)
            if data is not None:
                yield n, data, came

    def by_id(self, ulid: str) -> list[tuple[int, bytes]]:
        """The record of that id or index, what it completes, and what completes it; in order."""
        condition, value = ("n = ?", int(ulid)) if ulid.isdigit() and len(ulid) < 20 else ("id = ?", ulid)
        row = self._db.execute(f"select id, about from record where {condition}", (value,)).fetchone()  # noqa: S608
        if row is None:
            return []
        rows = self._db.execute(
            "select n, segment, offset from record where id in (?, ?) or about in (?, ?) order by n",
            (row[0], row[1], row[0], row[1]),
        ).fetchall()
        stored = [(n, self._stored(n, segment, offset)) for n, segment, offset in rows]
        return [(n, data) for n, data in stored if data is not None]

    def _stored(self, n: int, segment: int, offset: int) -> bytes | None:
        """A record as the journal has it; null, and `damaged`, where it is no longer there whole."""
        for each in segments(self._journal):
            if each.first == segment:
                with each.path.open("rb") as file:
                    file.seek(offset)
                    block = file.read(FRAME.size + MOST_BYTES)
                size = FRAME.unpack_from(block)[0] if len(block) >= FRAME.size else 0
                data = block[FRAME.size : FRAME.size + size]
                if size and frame(n, data) == block[: FRAME.size + size]:
                    return data
        self.damaged = n if self.damaged is None else min(n, self.damaged)
        return None


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("pragma synchronous = off")  # It can be built again.
    if db.execute("pragma user_version").fetchone()[0] != VERSION:
        db.executescript(
            "drop table if exists record; drop table if exists word; drop table if exists place;" + _SCHEMA
        )
        db.execute(f"pragma user_version = {VERSION}")
    return db


def _where(filters: Filters) -> tuple[str, list[Any]]:
    """The condition of a search; every text in it is fixed, every value is bound."""
    word = "n in (select n from word where field = '{}' and {})"
    table: list[tuple[str, Any]] = [
        ("(instr(who, ?) or source = ?)", filters.who),
        (word.format("asset", "value = ?"), filters.asset),
        (word.format("tag", "value = ?"), filters.tag),
        (word.format("action", "value = ?"), filters.action),
        ("decision = ?", filters.decision),
        (word.format("reason", "(value = ? or substr(value, 1, length(?) + 1) = ? || '.')"), filters.reason),
        ("kind = ?", filters.kind),
        ("coalesce(outcome, case kind when 'intent' then 'unknown' end) = ?", filters.outcome),
        ("wall_ns >= ?", filters.since_ns),
        ("wall_ns < ?", filters.until_ns),
    ]
    given = [(text, value) for text, value in table if value is not None]
    values = [value for text, value in given for _ in range(text.count("?"))]
    return ("where " + " and ".join(text for text, _ in given) if given else ""), values


def _take(db: sqlite3.Connection, n: int, data: bytes, segment: int, offset: int) -> None:
    try:
        record = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError:
        return
    by, what, why, note, result = (
        _part(record.get(name)) for name in ("who", "what", "why", "note", "result")
    )
    turned_away = record.get("kind") == "auth" and note.get("result") in TURNED_AWAY
    ended = (outcome(result), words(result)) if record.get("kind") == "outcome" else (None, None)
    if record.get("kind") == "outcome":
        db.execute("update record set outcome = ?, came = ? where id = ?", (*ended, record.get("about")))
    row = (
        n,
        record.get("id"),
        record.get("wall_ns"),
        record.get("kind"),
        by.get("subject") or "",
        by.get("source") or "",
        what.get("asset"),
        what.get("action"),
        "deny" if turned_away else why.get("decision"),
        record.get("about"),
        *ended,
        segment,
        offset,
    )
    db.execute("insert or replace into record values (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)
    found = [(field, str(value), n) for field, value in _words(record, what, why) if value]
    db.executemany("insert or ignore into word values (?,?,?)", found)


def _words(record: dict[str, Any], what: dict[str, Any], why: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a record can be found by, beside its columns."""
    for operation in (what, *map(_part, what.get("also") or ())):
        yield "asset", operation.get("asset")
        yield "action", operation.get("action")
        for point in operation.get("points") or ():
            yield "tag", _part(point).get("tag")
    for entry in map(_part, what.get("entries") or ()):
        yield "action", entry.get("action")
        for point in _part(entry.get("input")).get("points") or ():
            yield "tag", _part(point).get("tag")
        for reason in entry.get("reasons") or ():
            yield "reason", _part(reason).get("code")
    for part in (why, *map(_part, why.get("also") or ())):
        for reason in part.get("reasons") or ():
            yield "reason", _part(reason).get("code")
    note = _part(record.get("note"))
    yield "asset", note.get("asset")
    for field in ("reason", "code", "finding"):
        yield "reason", note.get(field)


def _part(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
