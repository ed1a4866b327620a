"""Counting in the index: how often something happened in a period, from the shapes' index alone."""

import sqlite3
from typing import Any

from msgspec import Struct

from gateway.audit.query import Filters, shapes, span

DAY_NS = 86_400_000_000_000


class Count(Struct, frozen=True, gc=False):
    """How often one shape was seen in one stretch of time."""

    shape: int
    bucket: int
    "Number of the stretch since 1970; 0 where there is one only."
    times: int
    "Operations: a window counts its reads, a `suppressed` record what it stands for."
    records: int
    first_ns: int
    last_ns: int
    first: int
    "Index of the first record."
    last: int


class Said(Struct, frozen=True, gc=False):
    """What a shape says, as far as reports group by it."""

    kind: str | None
    who: str | None
    source: str | None
    asset: str | None
    action: str | None
    operation: str | None
    decision: str | None
    revision: str | None
    because: str | None
    event: str | None


_SAID = ", ".join(Said.__struct_fields__)


def counts(
    db: sqlite3.Connection, filters: Filters, more: str = "1", bucket_ns: int = 0
) -> list[tuple[Said, Count]]:
    """Counts of every shape that fits the conditions (and the fixed text `more`), by stretches of time."""
    low, high = span(db, filters)
    if low > high:
        return []
    where, values = shapes(filters)
    bucket = f"r.wall_ns / {bucket_ns}" if bucket_ns else "0"
    query = f"""select r.shape, {bucket}, sum(r.times), count(*), min(r.wall_ns), max(r.wall_ns), min(r.n), max(r.n)
        from record r indexed by record_shape
        where r.shape in (select id from shape where {where or "1"} and {more})
        and r.n between ? and ? and r.wall_ns >= ? and r.wall_ns < ? group by 1, 2"""  # noqa: E501, S608
    until = filters.until_ns if filters.until_ns is not None else 1 << 62
    rows = db.execute(query, (*values, low, high, filters.since_ns or 0, until)).fetchall()
    said = {row[0]: _said(db, row[0]) for row in rows}
    return [(said[row[0]], Count(*row)) for row in rows]


def _said(db: sqlite3.Connection, shape: int) -> Said:
    row: Any = db.execute(f"select {_SAID} from shape where id = ?", (shape,)).fetchone()  # noqa: S608
    return Said(*row)


def tags(db: sqlite3.Connection, shape: int) -> list[str]:
    """The tags of a shape."""
    query = "select value from facet where shape = ? and field = 'tag' order by value"
    return [tag for (tag,) in db.execute(query, (shape,))]
