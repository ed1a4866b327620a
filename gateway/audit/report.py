"""What a reviewer asks of a period, as tables: who wrote what, who broke the glass, what was refused, what is
missing. Each table is answered by itself; `page` and `csv` write them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from gateway.audit import deeds, tell
from gateway.audit.counting import DAY_NS, Count, Said, counts, tags
from gateway.audit.index import Index
from gateway.audit.query import Filters, Row, find, shapes, span

MOST_ROWS = 1_000
"Rows of one table; what is left out is said."
MOST_LISTED = 5_000
"Records looked at one by one for one table."

TAKES_OVER = ("activated", "returned")
"Results of policy records after which their revision decides."

Cell = str | int | float | None


class Table(Struct):
    """One answer."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    note: str = ""
    "What must be known to read it, such as rows left out."
    days: list[tuple[str, int]] = []
    "Counts by day, where a picture says more."


def _whole(filters: Filters, **changes: Any) -> Filters:
    return msgspec.structs.replace(filters, **changes)


def _records(index: Index, filters: Filters) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Records with their bytes decoded, oldest first."""
    for row in reversed(find(index.db, filters, MOST_LISTED)):
        for n, data in index.stored([row.n]):
            yield row, index.openings.told(n, data)


def _bounded(table: Table) -> Table:
    left = len(table.rows) - MOST_ROWS
    if left > 0:
        table.rows = table.rows[:MOST_ROWS]
        table.note = f"{table.note} {left} more rows are not shown.".strip()
    return table


# what was done ------------------------------------------------------------------


def writes(index: Index, filters: Filters) -> Table:
    """Who wrote which value how often, and what it was before the first and after the last."""
    low, high = span(index.db, filters)
    where, values = shapes(_whole(filters, kind="intent"))
    until = filters.until_ns if filters.until_ns is not None else 1 << 62
    query = f"""select s.who, s.asset, c.tag, count(*), sum(r.outcome = 'ok'), min(r.n), max(r.n)
        from record r indexed by record_shape cross join change c on c.n = r.n join shape s on s.id = r.shape
        where r.shape in (select id from shape where {where}) and r.n between ? and ?
        and r.wall_ns >= ? and r.wall_ns < ? group by 1, 2, 3 order by 4 desc"""  # noqa: S608 (fixed)
    rows: list[tuple[Cell, ...]] = []
    for who, asset, tag, asked, done, first, last in index.db.execute(
        query, (*values, low, high, filters.since_ns or 0, until)
    ):
        old, new = _value(index, first, tag, "old"), _value(index, last, tag, "new")
        rows.append((who, asset, tag, asked, done, old, new, _wall(index, first), _wall(index, last)))
    columns = (
        "who", "asset", "tag", "asked", "done", "before the first", "asked last", "first", "last",
    )  # fmt: skip
    return _bounded(Table("writes", "Who wrote what", columns, rows))


def _value(index: Index, n: int, tag: str, column: str) -> Cell:
    query = f"select {column} from change where n = ? and tag = ?"  # noqa: S608 (fixed)
    row = index.db.execute(query, (n, tag)).fetchone()
    return row[0] if row is not None else None


def _wall(index: Index, n: int) -> str:
    return tell.moment(index.db.execute("select wall_ns from record where n = ?", (n,)).fetchone()[0])


def let_through(index: Index, filters: Filters) -> Table:
    """Acts that policy would have denied, and that only a stage let through."""
    rows: list[tuple[Cell, ...]] = [
        (row.n, tell.moment(row.wall_ns), tell.brief(record, row.came))
        for row, record in _records(index, _whole(filters, decision="would_deny", kind="intent"))
    ]
    return _bounded(Table("let_through", "Let through, not enforced yet", ("record", "when", "what"), rows))


def touched(index: Index, filters: Filters) -> Table:
    """Everything somebody read, wrote or was refused, by asset: what a vendor touched."""
    sums: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(lambda: [0, set(), 1 << 62, 0])
    for said, count in counts(index.db, filters, "asset is not null and kind <> 'outcome'"):
        did = "refused" if said.decision == "deny" else said.action or said.kind or ""
        row = sums[said.who or "", said.asset or "", did]
        row[0] += count.times
        row[1].update(tags(index.db, count.shape))
        row[2], row[3] = min(row[2], count.first_ns), max(row[3], count.last_ns)
    rows: list[tuple[Cell, ...]] = [
        (*key, times, ", ".join(sorted(named)), tell.moment(first), tell.moment(last))
        for key, (times, named, first, last) in sorted(sums.items())
    ]
    columns = ("who", "asset", "what", "times", "tags", "first", "last")
    return _bounded(Table("touched", "Who touched what", columns, rows))


def unknown(index: Index, filters: Filters) -> Table:
    """Acts of which nobody knows whether they were done."""
    rows: list[tuple[Cell, ...]] = [
        (row.n, tell.moment(row.wall_ns), tell.brief(record, row.came))
        for outcome in ("unknown", "timeout")
        for row, record in _records(index, _whole(filters, outcome=outcome, kind="intent"))
    ]
    rows.sort(key=lambda row: int(row[0] or 0))
    return _bounded(Table("unknown", "Acts with no known outcome", ("record", "when", "what"), rows))


# what was refused ------------------------------------------------------------------


def denials(index: Index, filters: Filters) -> Table:
    """Refusals by the reason that decided, beside the period of the same length before it."""
    since, until = _period(index, filters)
    length = until - since
    now = _refusals(index, _whole(filters, since_ns=since, until_ns=until))
    then = _refusals(index, _whole(filters, since_ns=since - length, until_ns=since))
    this, before = Counter[str](), Counter[str]()
    who: defaultdict[str, Counter[str]] = defaultdict(Counter)
    days = Counter[int]()
    for said, count in now:
        reason = said.because or "no reason"
        this[reason] += count.times
        days[count.bucket] += count.times
        who[reason][said.who or said.source or "somebody"] += count.times
    for said, count in then:
        before[said.because or "no reason"] += count.times
    rows: list[tuple[Cell, ...]] = [
        (reason, this[reason], before[reason], this[reason] - before[reason], _most(who[reason]))
        for reason in sorted({*this, *before}, key=lambda each: before[each] - this[each])
    ]
    columns = ("reason", "this period", "period before", "change", "most by")
    every = range(since // DAY_NS, (until - 1) // DAY_NS + 1) if length < 400 * DAY_NS else sorted(days)
    series = [(tell.moment(day * DAY_NS)[:10], days[day]) for day in every]
    note = "What rose most stands first. Refusals that a flood only counted are in the numbers."
    return _bounded(Table("denials", "Refusals by reason", columns, rows, note, series))


def refused(index: Index, filters: Filters) -> Table:
    """Refusals, one reason and subject a row: for one asset, with `--asset`."""
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for said, count in _refusals(index, filters):
        row = sums[said.because or "no reason", said.who or said.source or "somebody", said.asset or ""]
        row[0] += count.times
        row[1], row[2] = max(row[1], count.last_ns), max(row[2], count.last)
    rows: list[tuple[Cell, ...]] = [
        (*key, times, tell.moment(at), n)
        for key, (times, at, n) in sorted(sums.items(), key=lambda each: -each[1][0])
    ]
    columns = ("reason", "who", "asset", "times", "last", "last record")
    return _bounded(Table("refused", "Everything refused", columns, rows))


def _refusals(index: Index, filters: Filters) -> list[tuple[Said, Count]]:
    more = "(decision = 'deny' or (kind = 'suppressed' and event = 'denial'))"
    return counts(index.db, filters, more, DAY_NS)


def _most(by: Counter[str]) -> str:
    return ", ".join(f"{who} ({times})" for who, times in by.most_common(2))


def _period(index: Index, filters: Filters) -> tuple[int, int]:
    """From when to when, where the filters leave it open."""
    first, last = index.db.execute("select min(minute), max(minute) + 1 from minute").fetchone()
    since = filters.since_ns if filters.since_ns is not None else (first or 0) * 60_000_000_000
    until = filters.until_ns if filters.until_ns is not None else (last or 0) * 60_000_000_000
    return since, max(until, since + 1)


# what people decided ------------------------------------------------------------------


def glass(index: Index, filters: Filters) -> Table:
    """Who broke the glass, why, for how long, and each thing that they did meanwhile."""
    rows: list[tuple[Cell, ...]] = []
    for row, record in _records(index, _whole(filters, operation="admin.break_glass", kind="intent")):
        who = (record.get("who") or {}).get("subject") or ""
        aim = (record.get("what") or {}).get("admin") or {}
        if row.came != "ok":
            rows.append(
                (who, tell.moment(row.wall_ns), "", aim.get("value"), row.n, "", f"not done: {row.came}")
            )
            continue
        until = _glass_over(index, who, row, aim)
        rows.append((who, tell.moment(row.wall_ns), tell.moment(until), aim.get("value"), row.n, "", ""))
        during = Filters(who=who, kind="intent", since_ns=row.wall_ns, until_ns=until, after=row.n)
        for act, told in _records(index, during):
            rows.append((who, tell.moment(act.wall_ns), "", "", act.n, deeds.deed(told, act.came), ""))
    columns = ("who", "from", "until", "reason", "record", "did meanwhile", "remark")
    return _bounded(Table("glass", "Broken glass, and what was done meanwhile", columns, rows))


def _glass_over(index: Index, who: str, begun: Row, aim: dict[str, Any]) -> int:
    """When it ended: by the record that says so, else when its time was over."""
    planned = begun.wall_ns + int(aim.get("minutes") or 0) * 60_000_000_000
    ends = [
        row.wall_ns
        for row, record in _records(index, Filters(event="break_glass over", after=begun.n, limit=100))
        if (record.get("note") or {}).get("by") == who
    ]
    ends += [
        row.wall_ns
        for row in find(index.db, Filters(who=who, operation="admin.end_break_glass", after=begun.n), 100)
        if row.came == "ok"
    ]
    return min([*ends, *([planned] if aim.get("minutes") else [])], default=begun.wall_ns)


def approvals(index: Index, filters: Filters) -> Table:
    """Who wanted what, who answered, and when it was used."""
    found: dict[str, dict[str, Cell]] = {}
    order = ("approval requested", "approval used")
    for event in order:
        for row, record in _records(index, _whole(filters, kind="admin", event=event)):
            note = record.get("note") or {}
            request = str(note.get("request") or note.get("id") or "")
            told = found.setdefault(request, {"request": request})
            told["what"] = note.get("what") or told.get("what")
            if event == order[0]:
                told |= {
                    "wanted by": (record.get("who") or {}).get("subject"),
                    "asked": tell.moment(row.wall_ns),
                }
            else:
                told |= {"used": tell.moment(row.wall_ns), "answered by": ", ".join(note.get("by") or ())}
    for word in ("approve", "refuse"):
        for row, record in _records(index, _whole(filters, operation=f"admin.{word}", kind="intent")):
            request = str(((record.get("what") or {}).get("admin") or {}).get("request") or "")
            who = (record.get("who") or {}).get("subject")
            told = found.setdefault(request, {"request": request})
            said = f"{who} ({'approved' if word == 'approve' else 'refused'}, {row.came or 'no outcome'})"
            told["answers"] = f"{told['answers']}; {said}" if told.get("answers") else said
            told["answered"] = tell.moment(row.wall_ns)
    columns = ("request", "what", "wanted by", "asked", "answers", "answered", "answered by", "used")
    rows = [tuple(each.get(column) for column in columns) for each in found.values()]
    return _bounded(Table("approvals", "Requests and who approved them", columns, rows))


def policies(index: Index, filters: Filters) -> Table:
    """Which bundle decided from when to when; the one that was active at the beginning comes first.

    A trial that is taken back ends with `returned`: the record names the bundle that decides again.
    """
    every = _whole(filters, kind="policy", since_ns=None, until_ns=None)
    noted = {word: [*_records(index, _whole(every, event=word))] for word in (*TAKES_OVER, "confirmed")}
    active = sorted((each for word in TAKES_OVER for each in noted[word]), key=lambda each: each[0].n)
    since, until_ns = filters.since_ns or 0, filters.until_ns
    rows: list[tuple[Cell, ...]] = []
    for at, (row, record) in enumerate(active):
        following = active[at + 1][0] if at + 1 < len(active) else None
        over = following.wall_ns if following is not None else None
        if (over is not None and over <= since) or (until_ns is not None and row.wall_ns >= until_ns):
            continue
        note = record.get("note") or {}
        until = tell.moment(over) if over is not None else "now"
        why = note.get("by") or note.get("signed_by") or ""
        how = _how(note, [told for each, told in noted["confirmed"] if _between(row, each, following)])
        revision = str(note.get("revision") or "")
        rows.append((revision, tell.moment(row.wall_ns), until, str(why), how, row.n))
    columns = ("revision", "from", "until", "by", "how", "record")
    return _bounded(Table("policies", "Which policy was active when", columns, rows))


def _between(begun: Row, each: Row, over: Row | None) -> bool:
    return begun.n < each.n and (over is None or each.n < over.n)


def _how(note: dict[str, Any], confirmed: list[dict[str, Any]]) -> str:
    """By which right it decides: for good, on trial, confirmed, or because a trial was taken back."""
    if note.get("result") == "returned":
        return f"returned: {note.get('why')}"
    by = [
        str(each["note"].get("by"))
        for each in confirmed
        if each["note"].get("revision") == note.get("revision")
    ]
    if by:
        return f"confirmed by {by[0]}"
    return f"on trial until {note['confirm_until']}" if note.get("confirm_until") else "activated"


# what is missing, what is due ------------------------------------------------------------------


def gaps(index: Index, filters: Filters) -> Table:
    """Where the record is not whole, and every start that found something to mend."""
    rows: list[tuple[Cell, ...]] = []
    for row, record in _records(index, _whole(filters, kind="gap")):
        note = record.get("note") or {}
        missed = ", ".join(f"{n} {kind}" for kind, n in (note.get("missed") or {}).items())
        ends = [tell.moment(note[name]) for name in ("from_ns", "to_ns") if note.get(name)]
        rows.append(
            (row.n, tell.moment(row.wall_ns), "gap", str(note.get("why") or ""), missed, " to ".join(ends))
        )
    for row, record in _records(index, _whole(filters, kind="lifecycle", event="start")):
        found = (record.get("note") or {}).get("recovery") or {}
        if found.get("size") and not found.get("clean"):
            rows.append((row.n, tell.moment(row.wall_ns), "recovery", tell.brief(record), "", ""))
    rows.sort(key=lambda row: int(row[0] or 0))
    return _bounded(
        Table("gaps", "Gaps and recoveries", ("record", "when", "kind", "why", "missed", "span"), rows)
    )


def expiry(index: Index, filters: Filters) -> Table:
    """Certificates and lists that were about to expire."""
    rows: list[tuple[Cell, ...]] = []
    for row, record in _records(index, _whole(filters, kind="lifecycle", event="expiry")):
        note = record.get("note") or {}
        rows.append((tell.moment(row.wall_ns), note.get("name"), note.get("level"), note.get("days_left")))
    return _bounded(Table("expiry", "Alarms of expiry", ("when", "what", "level", "days left"), rows))


SECTIONS: dict[str, Callable[[Index, Filters], Table]] = {
    "writes": writes,
    "let_through": let_through,
    "glass": glass,
    "approvals": approvals,
    "denials": denials,
    "refused": refused,
    "unknown": unknown,
    "gaps": gaps,
    "policies": policies,
    "expiry": expiry,
    "touched": touched,
}
"In the order in which a whole report has them."
WHOLE = tuple(SECTIONS)


def report(index: Index, filters: Filters, names: tuple[str, ...] = WHOLE) -> list[Table]:
    """These tables of a period."""
    return [SECTIONS[name](index, filters) for name in names]
