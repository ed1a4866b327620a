"""What happened, in order, with what repeats told once.

Reads and refusals come in thousands that differ in nothing a reviewer asks about: neighbours of one kind, by
one subject, on one asset, are one entry with how often and until when. Everything else stands alone.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gateway.audit import tell
from gateway.audit.index import Index
from gateway.audit.query import Filters, find

MOST_RECORDS = 5_000
"Records one timeline is made of: the newest of its period; what is left out is said."
REPEATING = frozenset({"window", "denial", "suppressed", "auth"})
LEFT_OUT = frozenset({"outcome"})
"Told with the record that they complete."


class Entry(Struct):
    """One line: one record, or many alike."""

    first: int
    "Index of the first record."
    last: int
    from_ns: int
    to_ns: int
    records: int
    times: int
    text: str
    "The first of them as a sentence."

    def line(self) -> str:
        """For a person."""
        if self.records == 1:
            return f"{tell.moment(self.from_ns)}  {self.first:>8}  {self.text}"
        until = tell.moment(self.to_ns)[11:]
        count = f"{self.times} times in {self.records} records until {until}"
        return f"{tell.moment(self.from_ns)}  {self.first:>8}  {self.text}  [{count}]"


class Timeline(Struct):
    """The entries of a period."""

    entries: list[Entry]
    left_out: bool
    "Whether there is more before the first."


def timeline(index: Index, filters: Filters) -> Timeline:
    """What happened, oldest first."""
    rows = find(index.db, filters, MOST_RECORDS + 1)
    kept = rows[:MOST_RECORDS][::-1]
    entries: list[Entry] = []
    key: Any = None
    for row in kept:
        for n, data in index.stored([row.n]):
            record = index.openings.told(n, data)
            if record["kind"] in LEFT_OUT and "readback" not in (record.get("result") or {}):
                continue
            alike = _alike(record)
            if alike is not None and alike == key:
                entry = entries[-1]
                entry.last, entry.to_ns = n, row.wall_ns
                entry.records += 1
                entry.times += row.times
            else:
                text = tell.brief(record, row.came)
                entries.append(Entry(n, n, row.wall_ns, row.wall_ns, 1, row.times, text))
            key = alike
    return Timeline(entries, len(rows) > MOST_RECORDS)


def _alike(record: dict[str, Any]) -> Any:
    """What makes it one with its neighbours; null where it stands alone."""
    if record["kind"] not in REPEATING:
        return None
    by, what, why, note = (record.get(name) or {} for name in ("who", "what", "why", "note"))
    reasons = why.get("reasons") or ()
    return (
        record["kind"],
        by.get("subject"),
        by.get("source"),
        what.get("asset"),
        why.get("decision"),
        reasons[0].get("code") if reasons else note.get("code"),
        note.get("result"),
    )


def together(lines: Timeline) -> Iterator[str]:
    """For a person."""
    if lines.left_out:
        yield f"(only the newest {MOST_RECORDS} records: narrow the period for what was before)"
    for entry in lines.entries:
        yield entry.line()
