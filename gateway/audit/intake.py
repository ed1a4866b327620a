"""Taking records into the index, many at a time.

An intent is written down as `unknown` until its outcome comes by; most outcomes come while their intent is
still in hand, and cost no second look.
"""

import sqlite3
from collections import Counter, OrderedDict
from hashlib import blake2b
from struct import pack
from typing import Any

import msgspec

from gateway.audit.gist import Gist, Shape, dropped, gist

BATCH = 10_000
"Records in hand before they are written."
MOST_OPEN = 50_000
"Intents remembered for their outcomes; older ones are looked up."
MOST_SHAPES = 100_000
"Shapes and documents remembered; others are looked up."
DROP = "drop"
"Event of the record that says what was dropped."
MINUTE = 60_000_000_000
_ID, _SHAPE, _DOC, _PAIR, _OUTCOME, _CAME = 1, 3, 4, 7, 8, 9
"Places in a row of `record`."
SINGLE = (
    "kind",
    "who",
    "source",
    "behalf",
    "fingerprint",
    "serial",
    "listener",
    "asset",
    "action",
    "operation",
    "decision",
    "revision",
    "origin",
    "because",
    "event",
)
LISTED = (
    ("asset", "assets"),
    ("action", "actions"),
    ("tag", "tags"),
    ("reason", "reasons"),
    ("grant", "grants"),
)
"What a facet is called, and where a shape lists it."
_key = msgspec.msgpack.Encoder().encode


class Intake:
    """One transaction's worth of taking in."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: list[list[Any]] = []
        self._first = 0
        self._open: OrderedDict[str, int] = OrderedDict()
        self._shapes: dict[Shape, int] = {}
        self._docs: dict[tuple[int, str], int] = {}
        self._shape_counts: Counter[int] = Counter()
        self._shape_times: Counter[int] = Counter()
        self._doc_counts: Counter[int] = Counter()
        self._minutes: dict[int, list[int]] = {}
        self._changes: list[tuple[Any, ...]] = []
        self._refs: list[tuple[str, int]] = []
        self._sealed: list[tuple[int]] = []
        self.dropped: list[tuple[int, int]] = []
        "First and last index of records of which it was said that they cannot be opened any more."
        self._text = bool(db.execute("select 1 from sqlite_master where name = 'said'").fetchone())
        self._last_shape: int = db.execute("select coalesce(max(id), 0) from shape").fetchone()[0]
        self._last_doc: int = db.execute("select coalesce(max(id), 0) from doc").fetchone()[0]

    def take(self, n: int, data: bytes, offset: int, opened: bytes) -> None:
        """One record, its index, where it lies in its segment, and what it says where it could be opened.

        Words cannot be taken out of the full text again: it has those that are stored, and no others.
        """
        told = said = gist(opened)
        if opened is not data:
            said = gist(data)
            self._sealed.append((n,))
        if told.shape.event == DROP and told.shape.kind == "lifecycle":
            self.dropped += dropped(data)
        shape = self._shapes.get(told.shape) or self._shape(told.shape)
        place = (shape, said.text)
        doc = self._docs.get(place) or self._doc(place, said)
        counts = pack(f"<{len(told.counts)}I", *told.counts) if told.counts else None
        outcome = told.outcome
        pair = None
        if told.about is not None:
            pair = self._ended(told)
        elif told.shape.kind == "intent":
            outcome = "unknown"
            self._open[told.id] = n
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        self._rows.append(
            [n, told.id, told.wall_ns, shape, doc, told.times, counts, pair, outcome, told.came, offset]
        )
        self._shape_counts[shape] += 1
        self._shape_times[shape] += told.times
        self._doc_counts[doc] += 1
        minute = self._minutes.get(told.wall_ns // MINUTE)
        if minute is None:
            self._minutes[told.wall_ns // MINUTE] = [n, n]
        else:
            minute[1] = n
        for at, each in enumerate(told.changes):
            self._changes.append((n, at, each.tag, each.old, each.new))
        for ref in told.refs:
            self._refs.append((ref, n))
        if len(self._rows) >= BATCH:
            self._flush()

    def close(self, n: int, data: bytes) -> None:
        """Take a record in again as it is stored: nobody can open it any more. After `finish`."""
        db, told = self._db, gist(data)
        shape = self._shape(told.shape)
        doc = self._doc((shape, told.text), told)
        was = db.execute("select shape, doc, times from record where n = ?", (n,)).fetchone()
        for sign, of, text in ((-1, was[0], was[1]), (1, shape, doc)):
            change = (sign, sign * was[2], of)
            db.execute("update shape set count = count + ?, times = times + ? where id = ?", change)
            db.execute("update doc set count = count + ? where id = ?", (sign, text))
        db.execute("update record set shape = ?, doc = ? where n = ?", (shape, doc, n))
        for table in ("change", "sealed"):
            db.execute(f"delete from {table} where n = ?", (n,))  # noqa: S608
        rows = [(n, at, each.tag, each.old, each.new) for at, each in enumerate(told.changes)]
        db.executemany("insert into change values (?,?,?,?,?)", rows)

    def finish(self) -> None:
        """Write what is in hand."""
        self._flush()
        db = self._db
        db.executemany(
            "update shape set count = count + ?, times = times + ? where id = ?",
            [(count, self._shape_times[shape], shape) for shape, count in self._shape_counts.items()],
        )
        db.executemany(
            "update doc set count = count + ? where id = ?", [(c, d) for d, c in self._doc_counts.items()]
        )
        db.executemany(
            "insert into minute values (?,?,?) on conflict do update set"
            " first = min(first, excluded.first), last = max(last, excluded.last)",
            [(minute, *ends) for minute, ends in self._minutes.items()],
        )

    def _ended(self, told: Gist) -> int | None:
        """An outcome: where its intent is; says there how it ended."""
        about = told.about or ""
        n = self._open.get(about)
        if n is None:
            row = self._db.execute("select n from record where id = ?", (about,)).fetchone()
            if row is None:
                return None
            n = int(row[0])
        if told.outcome is None:
            return n
        if self._rows and n >= self._rows[0][0]:
            row = self._rows[n - self._rows[0][0]]
            if row[0] == n:
                row[_OUTCOME], row[_CAME] = told.outcome, told.came
                return n
        self._db.execute("update record set outcome = ?, came = ? where n = ?", (told.outcome, told.came, n))
        return n

    def _flush(self) -> None:
        db = self._db
        db.executemany("insert or replace into record values (?,?,?,?,?,?,?,?,?,?,?)", self._rows)
        db.executemany("insert or replace into change values (?,?,?,?,?)", self._changes)
        db.executemany("insert or ignore into ref values (?,?)", self._refs)
        db.executemany("insert or ignore into sealed values (?)", self._sealed)
        for rows in (self._rows, self._changes, self._refs, self._sealed):
            rows.clear()

    def _shape(self, shape: Shape) -> int:
        """Its number, new or known."""
        if len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
        key = blake2b(_key(shape), digest_size=16).digest()
        row = self._db.execute("select id from shape where key = ?", (key,)).fetchone()
        if row is not None:
            self._shapes[shape] = int(row[0])
            return int(row[0])
        self._last_shape += 1
        number = self._shapes[shape] = self._last_shape
        single = [getattr(shape, field) or None for field in SINGLE]
        marks = ",".join("?" * (len(single) + 4))
        self._db.execute(f"insert into shape values ({marks})", (number, key, 0, 0, *single))  # noqa: S608
        facets = [(number, name, value) for name, field in LISTED for value in getattr(shape, field)]
        facets += [
            (number, name, getattr(shape, name)) for name in ("asset", "action") if getattr(shape, name)
        ]
        self._db.executemany("insert into facet values (?,?,?)", dict.fromkeys(facets))
        return number

    def _doc(self, place: tuple[int, str], told: Gist) -> int:
        """The number of the text that is searched: the words of the shape and the record's own."""
        if len(self._docs) >= MOST_SHAPES:
            self._docs.clear()
        key = blake2b(f"{place[0]} {place[1]}".encode(errors="replace"), digest_size=16).digest()
        row = self._db.execute("select id from doc where key = ?", (key,)).fetchone()
        if row is not None:
            self._docs[place] = int(row[0])
            return int(row[0])
        self._last_doc += 1
        number = self._docs[place] = self._last_doc
        self._db.execute("insert into doc values (?,?,?,0)", (number, key, place[0]))
        if self._text:
            shape = told.shape
            words = [getattr(shape, field) for field in SINGLE]
            words += [each for _, field in LISTED for each in getattr(shape, field)]
            said = " ".join([*words, told.text]).encode(errors="replace").decode()
            self._db.execute("insert into said(rowid, text) values (?,?)", (number, said))
        return number
