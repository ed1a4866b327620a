"""The search index: a SQLite file that follows from the journal and may be thrown away at any time.

The process that searches brings it up to date itself, in `index.db` of a gateway's data folder where it may
write there, else in a private file that SQLite deletes: evidence that lies elsewhere is never written beside.
The journal is only read, and never locked: the gateway may be running. One process at a time writes the
index, and holds a lock file of its own meanwhile; the file is in rollback mode, not WAL, because SQLite
before 3.51.3 can corrupt a WAL database with two connections.

What is found is read from the journal, with its check: the index is never the truth. It knows which log it
belongs to (origin, size and root of a checkpoint that it covers, and the last record taken in), and is built
anew where that does not fit. Where the journal cannot be read, `damaged` says so, and the index goes no
further than there, so that the next search says it again.

What can be dropped is taken in as it can be opened now, except into the full text; when a record says that
openings are dropped, what came of them is overwritten here (`secure_delete`).
"""

import fcntl
import os
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from gateway.audit import tiles
from gateway.audit.commitment import MARK
from gateway.audit.framing import FRAME, MOST_BYTES, frame
from gateway.audit.intake import Intake
from gateway.audit.openings import Openings
from gateway.audit.query import Filters, find
from gateway.audit.reader import Segment, Walk, segments
from gateway.audit.storage import Disk
from gateway.model.errors import JournalError

VERSION = 7
MOST_FOUND = 100_000
"Records one search may give."
LOCK_WAIT_S = 120.0
"How long a search waits for another one that is bringing the index up to date; then it builds its own."
LOCK_LOOK_S = 0.05
MOST_RELATED = 100
"Records told beside one."
LIKELY_BYTES = 4096
"Most records are shorter, and are read at once."
MOST_OPEN = 64
"Segments kept open between two looks."
MOST_DIGITS = 18
"Of a size: more is no size that fits 63 bits."
PROGRESS = 20_000
"Records between two words about progress."
BUSY_S = LOCK_WAIT_S
"How long a look waits while another process writes the file: as long as it takes to build."

Progress = Callable[[int, int], None]
"Told how many bytes of how many are taken in."

_SCHEMA = """
create table record(n integer primary key, id text, wall_ns integer, shape integer, doc integer,
  times integer, counts blob, pair integer, outcome text, came text, offset integer);
create index record_id on record(id);
create table shape(id integer primary key, key blob unique, count integer, times integer, kind text, who text,
  source text, behalf text, fingerprint text, serial text, listener text, asset text, action text,
  operation text, decision text, revision text, origin text, because text, event text);
create table facet(shape integer, field text, value text);
create index facet_field on facet(field, value, shape); create index facet_shape on facet(shape, field);
create table doc(id integer primary key, key blob unique, shape integer, count integer);
create table change(n integer, at integer, tag text, old real, new real, primary key(n, at)) without rowid;
create table ref(value text, n integer, primary key(value, n)) without rowid; create index ref_n on ref(n);
create table minute(minute integer primary key, first integer, last integer);
create table sealed(n integer primary key);
create table place(n integer, segment integer, offset integer, begun integer, last blob, origin text,
  size integer, root blob);
"""
_AFTER = """
create index if not exists record_shape on record(shape, n, wall_ns, times);
create index if not exists record_doc on record(doc, n, wall_ns);
create index if not exists record_pair on record(pair) where pair is not null;
create index if not exists record_odd on record(outcome, n, shape, wall_ns) where outcome <> 'ok';
create index if not exists change_new on change(new); create index if not exists change_old on change(old);
"""
"Made when everything is in: sorting once is faster than keeping order a million times."
_AGED = """
update shape set count = count - (select count(*) from record r where r.shape = shape.id and r.n < ?);
update doc set count = count - (select count(*) from record r where r.doc = doc.id and r.n < ?);
delete from change where n < ?;
delete from ref where n < ?;
delete from sealed where n < ?;
delete from record where n < ?
"""
_CLOSED = """
delete from facet where shape in (select id from shape where count = 0);
update shape set who = null, source = null, behalf = null, fingerprint = null, serial = null,
  key = randomblob(16) where count = 0;
update doc set key = randomblob(16) where count = 0
"""
"Shapes that only dropped records had. Their numbers stay taken: texts of others lead to them."
_FULL_TEXT = "create virtual table said using fts5(text, content='', detail=full, tokenize='unicode61')"
_SETTINGS = (
    "synchronous = off",  # it can be built again
    "cache_size = -131072",
    "mmap_size = 1073741824",
    "temp_store = memory",
)


class Index:
    """Open, up to date with `refresh`, and ready to search."""

    def __init__(self, journal: Path, file: Path | None) -> None:
        self._journal = journal
        self._file = file if file is not None and _writable(file) else None
        self.openings = Openings(journal)
        self._segments: list[Segment] = []
        self.damaged: int | None = None
        "Index of the first record met that cannot be read."
        self._promised = ("", 0)
        "Origin of the newest checkpoint, and how many records it covers; with fewer the end is gone."
        self.rebuilt = False
        "Whether the last refresh began anew."
        self._fds: dict[int, int] = {}
        "Segments that were read, by their first index."
        self.db = self._opened()

    @property
    def size(self) -> int:
        """Records from the first to the last that is indexed."""
        row = self.db.execute("select n from place").fetchone()
        return int(row[0]) if row is not None else 0

    @property
    def full_text(self) -> bool:
        """Whether this SQLite can search texts."""
        return bool(self.db.execute("select 1 from sqlite_master where name = 'said'").fetchone())

    def close(self) -> None:
        """Let go of it."""
        self.db.close()
        self._let_go()

    def _open_segment(self, segment: Segment) -> int:
        fd = self._fds.get(segment.first)
        if fd is None:
            if len(self._fds) >= MOST_OPEN:
                self._let_go()
            fd = self._fds[segment.first] = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        return fd

    def _let_go(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _opened(self) -> sqlite3.Connection:
        """Its connection. Nothing is read of the file yet: another process may be making it."""
        target: Path | str = self._file if self._file is not None else ""
        db = sqlite3.connect(target, isolation_level=None, timeout=BUSY_S)
        for setting in _SETTINGS:
            with suppress(sqlite3.DatabaseError):  # no database at all: `refresh` makes one
                db.execute(f"pragma {setting}")
        return db

    # taking in ----------------------------------------------------------------------------------------------

    def refresh(self, progress: Progress | None = None, *, rebuild: bool = False) -> int:
        """Take in what was written since; gives the index of the next record."""
        lock = self._locked()
        try:
            self._let_go()
            self._promised = self._checkpoint()  # before the segments: what it covers is in them
            self._segments = segments(self._journal)
            try:
                return self._brought(progress, rebuild=rebuild)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) or self._file is None:
                    raise JournalError(f"the index cannot be written: {error}") from error
                self.db.close()
                self._file.unlink(missing_ok=True)
                self.db = self._opened()
                return self._brought(progress, rebuild=True)
        finally:
            if lock is not None:
                os.close(lock)

    def _brought(self, progress: Progress | None, *, rebuild: bool) -> int:
        """Up to date in one transaction: whoever looks meanwhile sees what was there before.

        Where something can be dropped nothing is left in a page that is free, nor a copy that moved.
        """
        self.db.execute(f"pragma secure_delete = {'on' if self.openings.any else 'off'}")
        self.db.execute("begin immediate")
        try:
            if rebuild or not self._fits():
                self.rebuilt = True
                _remake(self.db)
            self._age()
            n = self._take(progress)
            self.db.execute("commit")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("rollback")
            raise
        return n

    def _locked(self) -> int | None:
        """The right to write the file; a private one is made where another process does not let go of it."""
        if self._file is None:
            return None
        lock = os.open(f"{self._file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= until:
                    os.close(lock)
                    self.db.close()
                    self._file = None
                    self.db = self._opened()
                    return None
                time.sleep(LOCK_LOOK_S)
            else:
                return lock

    def _fits(self) -> bool:
        """Whether what is in the index is the beginning of this very log."""
        if self.db.execute("pragma user_version").fetchone()[0] != VERSION:
            return False
        row = self.db.execute("select n, segment, begun, last, size, root from place").fetchone()
        if row is None:
            return False
        n, segment, begun, last, size, root = row
        if size:
            tree = tiles.load(Disk(self._journal), size)
            if tree is not None and tree.frontier.root() != root:
                return False
        if not n:
            return True
        stored = self._stored(n - 1, begun) if any(s.first == segment for s in self._segments) else None
        self.damaged = None
        if stored is None:  # aged out, or damaged since: the records before it say which log this is
            return bool(size) or self._begins_as_known()
        return bool(sha256(stored).digest() == last)

    def _begins_as_known(self) -> bool:
        row = self.db.execute("select n, id, offset from record order by n limit 1").fetchone()
        stored = self._stored(row[0], row[2]) if row is not None else None
        self.damaged = None
        return stored is not None and f'"id":"{row[1]}"'.encode() in stored

    def _age(self) -> None:
        """Records of segments that retention has taken away are not found any more."""
        first = self._segments[0].first if self._segments else 0
        if self.db.execute("select 1 from record where n < ? limit 1", (first,)).fetchone() is None:
            return
        for statement in filter(str.strip, _AGED.split(";")):
            self.db.execute(statement, (first,))

    def _take(self, progress: Progress | None) -> int:
        db, known = self.db, self._segments
        row = db.execute("select n, segment, offset, begun, last from place").fetchone()
        n, segment, offset, begun, last = row or (0, 0, 0, 0, b"")
        if not n and known:
            n = known[0].first
        sizes = {each.first: each.path.stat().st_size for each in known if each.first >= segment}
        total, done = sum(sizes.values()), 0
        intake = Intake(db)
        data = b""
        for at, each in enumerate(known):
            if each.first < segment:
                continue
            following = known[at + 1].first if at + 1 < len(known) else None
            walk = Walk(each)
            try:
                scan = walk.scan
                if each.first == segment and offset:
                    scan.resume(n, offset)
                for data in walk:
                    opened = self.openings.opened(scan.index - 1, data) if MARK in data else data
                    intake.take(scan.index - 1, data, scan.offset - len(data) - FRAME.size, opened)
                    if progress is not None and scan.index % PROGRESS == 0:
                        progress(done + scan.offset, total)
                if self.damaged is None:
                    if scan.index > n:
                        begun, last = scan.offset - len(data) - FRAME.size, sha256(data).digest()
                    n, segment, offset = scan.index, each.first, scan.offset
                    self.damaged = walk.damage(following)
            finally:
                walk.close()
            done += sizes.get(each.first, 0)
        intake.finish()
        self._forget(intake)
        _each(db, _AFTER)
        if self.damaged is None and n < self._promised[1]:
            self.damaged = n
        origin, size, root = self._signed(n)
        db.execute("delete from place")
        place = (n, segment, offset, begun, last, origin, size, root)
        db.execute("insert into place values (?,?,?,?,?,?,?,?)", place)
        if progress is not None:
            progress(total, total)
        return int(n)

    def _forget(self, intake: Intake) -> None:
        """Take in anew, closed, what records say is dropped."""
        for first, last in intake.dropped:
            query = "select n, offset from sealed join record using (n) where n between ? and ?"
            for n, offset in self.db.execute(query, (first, last)).fetchall():
                stored = self._stored(n, offset)
                if stored is not None:
                    intake.close(n, stored)
        if intake.dropped:
            _each(self.db, _CLOSED)

    def _signed(self, n: int) -> tuple[str, int, bytes]:
        """Origin, size and root of the newest checkpoint, if the index has all it covers."""
        origin, size = self._promised
        tree = tiles.load(Disk(self._journal), size) if 0 < size <= n else None
        return (origin, size, tree.frontier.root()) if tree is not None else ("", 0, b"")

    def _checkpoint(self) -> tuple[str, int]:
        """Origin and size as the newest checkpoint says; whether it is signed is `verify`'s question."""
        note = Disk(self._journal).read("checkpoint") or b""
        lines = note.decode(errors="replace").split("\n")
        if len(lines) < 3 or not lines[1].isdigit() or len(lines[1]) > MOST_DIGITS:
            return "", 0
        return lines[0], int(lines[1])

    # looking ------------------------------------------------------------------------------------------------

    def search(self, filters: Filters) -> Iterator[tuple[int, bytes, str | None]]:
        """The newest records that fit, oldest first, and what came of each intent."""
        rows = find(self.db, filters, min(filters.limit, MOST_FOUND))
        for row in reversed(rows):
            for n, data in self.stored([row.n]):
                yield n, data, row.came

    def by_id(self, ulid: str) -> list[tuple[int, bytes]]:
        """The record of that id or index, what it completes, and what completes it; in order."""
        condition, value = ("n = ?", int(ulid)) if ulid.isdigit() and len(ulid) < 20 else ("id = ?", ulid)
        row = self.db.execute(f"select n, pair from record where {condition}", (value,)).fetchone()  # noqa: S608
        if row is None:
            return []
        lead = row[1] if row[1] is not None else row[0]
        rows = self.db.execute(
            "select n from record where n in (?, ?) or pair = ? order by n", (row[0], lead, lead)
        )
        return list(self.stored([n for (n,) in rows]))

    def related(self, n: int) -> list[int]:
        """Records that name the same request or record, or this one, or that this one names; in order."""
        query = """select n from ref where value in (select value from ref where n = ?1)
            or value = (select id from record where n = ?1)
            union select n from record where id in (select value from ref where n = ?1) order by 1 limit ?2"""
        return [found for (found,) in self.db.execute(query, (n, MOST_RELATED)) if found != n]

    def came(self, n: int) -> str | None:
        """What came of an intent, in words; null where no outcome is recorded."""
        row = self.db.execute("select came from record where n = ?", (n,)).fetchone()
        return row[0] if row is not None else None

    def moment(self, name: str) -> tuple[int, int] | None:
        """Index and time of the record of that id or index."""
        condition, value = ("n = ?", int(name)) if name.isdigit() and len(name) < 20 else ("id = ?", name)
        row = self.db.execute(f"select n, wall_ns from record where {condition}", (value,)).fetchone()  # noqa: S608
        return (row[0], row[1]) if row is not None else None

    def stored(self, wanted: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Those records as the journal has them; one that is no longer there whole is left out, and told."""
        for n in wanted:
            row = self.db.execute("select offset from record where n = ?", (n,)).fetchone()
            data = self._stored(n, row[0]) if row is not None else None
            if data is not None:
                yield n, data

    def _stored(self, n: int, offset: int) -> bytes | None:
        """A record as the journal has it; null, and `damaged`, where it is no longer there whole."""
        at = bisect_right(self._segments, n, key=lambda each: each.first) - 1
        if at < 0:
            return None
        try:
            fd = self._open_segment(self._segments[at])
        except FileNotFoundError:
            return None  # aged out since
        block = os.pread(fd, LIKELY_BYTES, offset)
        size = FRAME.unpack_from(block)[0] if len(block) >= FRAME.size else 0
        if FRAME.size + size > len(block) and size <= MOST_BYTES:
            block = os.pread(fd, FRAME.size + size, offset)
        data = block[FRAME.size : FRAME.size + size]
        if size and frame(n, data) == block[: FRAME.size + size]:
            return data
        self.damaged = n if self.damaged is None else min(n, self.damaged)
        return None


def _writable(file: Path) -> bool:
    """Whether an index may be kept there: the folder may be read-only, or somebody else's."""
    try:
        os.close(os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True


def _remake(db: sqlite3.Connection) -> None:
    """Empty tables."""
    names = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
    for name in sorted(names, key=lambda each: each != "said"):  # with it go the tables that it is made of
        if not name.startswith(("said_", "sqlite_")):
            db.execute(f"drop table if exists {name}")
    _each(db, _SCHEMA)
    with suppress(sqlite3.OperationalError):  # this SQLite has no FTS5: `--text` says so
        db.execute(_FULL_TEXT)
    db.execute(f"pragma user_version = {VERSION}")


def _each(db: sqlite3.Connection, statements: str) -> None:
    """One after the other; `executescript` would commit first."""
    for statement in filter(str.strip, statements.split(";")):
        db.execute(statement)
