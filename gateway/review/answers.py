"""Finding: each wish has a function that answers it from the journal, its index and its tiles.

A record stands in an answer exactly as it is stored. A page ends where it has MOST_PAGE bytes, and says where
the next one begins.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.audit import proof, tell
from gateway.audit.index import Index
from gateway.audit.note import Checkpoint, opened, verifier_key
from gateway.audit.paper import csv, page
from gateway.audit.query import Filters, find
from gateway.audit.report import WHOLE, report
from gateway.audit.timeline import timeline
from gateway.model.errors import JournalError
from gateway.review.jobs import Answer, Found, Nothing
from gateway.review.wishes import Follow, Grown, Newest, Prove, Report, Search, Show, Wish, said

MOST_PAGE = 1024 * 1024
"Bytes of a page's records, more or less: the one that passes it is the last."
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
CSV = "text/csv; charset=utf-8"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_encode = msgspec.json.Encoder().encode
_told = msgspec.json.Decoder(dict[str, Any]).decode


def answer(wish: Wish, journal: Path, index: Index) -> Answer:
    """What there is. Raises JournalError where the journal cannot say it."""
    return _ANSWERS[type(wish)](wish, journal, index)


def _search(wish: Search, _: Path, index: Index) -> Answer:
    rows = find(index.db, _filters(wish), wish.limit + 1)
    found: list[dict[str, Any]] = []
    length, following = 0, None
    for at, row in enumerate(rows):
        if at == wish.limit or length >= MOST_PAGE:
            following = rows[at - 1].n
            break
        for n, data in index.stored([row.n]):
            line = tell.line(n, index.openings.told(n, data), row.came)
            each = _stored(index, n, data)
            found.append({"line": line, **each})
            length += len(line) + sum(len(part) for part in each.values() if isinstance(part, msgspec.Raw))
    return _json({"records": found, "next": following}, index)


def _follow(wish: Follow, _: Path, index: Index) -> Answer:
    filters = Filters(who=wish.who, asset=wish.asset, since_ns=_ns(wish.since), until_ns=_ns(wish.until))
    found = timeline(index, filters)
    return _json({"entries": found.entries, "left_out": found.left_out}, index)


def _report(wish: Report, _: Path, index: Index) -> Answer:
    filters = Filters(who=wish.who, asset=wish.asset, since_ns=_ns(wish.since), until_ns=_ns(wish.until))
    names = WHOLE if wish.section is None else (wish.section,)
    if wish.format == "csv" and len(names) > 1:
        return Nothing(400, "bad_request", f"csv is one table: add section, one of {', '.join(WHOLE)}")
    tables = report(index, filters, names)
    match wish.format:
        case "json":
            return _json({"tables": tables}, index)
        case "csv":
            return Found(csv(tables[0]).encode(), CSV)
        case "html":
            return Found(page("Audit report", _about(wish, index), tables).encode(), HTML)


def _show(wish: Show, _: Path, index: Index) -> Answer:
    found = index.by_id(wish.record)
    if not found:
        return _none(wish.record)
    sentence = tell.sentence([index.openings.told(n, data) for n, data in found])
    records = [_stored(index, n, data) for n, data in found]
    return _json({"sentence": sentence, "records": records}, index)


def _stored(index: Index, n: int, data: bytes) -> dict[str, Any]:
    """A record as it is stored, and beside it what its commitments open to, if any."""
    opened = index.openings.opened(n, data)
    more = {} if opened is data else {"opened": msgspec.Raw(opened)}
    return {"index": n, "record": msgspec.Raw(data), **more}


def _prove(wish: Prove, journal: Path, index: Index) -> Answer:
    checkpoint, note = _signed(journal)
    found = next((each for each in index.by_id(wish.record) if _is(wish.record, *each)), None)
    if found is None:
        return _none(wish.record)
    if found[0] >= checkpoint.size:
        what = f"record {found[0]} is not signed yet, {checkpoint.size} are: try again in a second"
        return Nothing(404, "not_signed", what)
    return Found(proof.record_proof(*found, checkpoint, note, _reading(journal)), TEXT)


def _newest(_: Newest, journal: Path, __: Index) -> Answer:
    return Found(_signed(journal)[1], TEXT)


def _grown(wish: Grown, journal: Path, _: Index) -> Answer:
    checkpoint, note = _signed(journal)
    new = checkpoint.size if wish.new is None else wish.new
    if not 0 < wish.old <= new <= checkpoint.size:
        what = f"from 1 to {checkpoint.size}, and `from` not beyond `to`: so many records are signed"
        return Nothing(400, "bad_request", what)
    hashes = proof.Hashes(_reading(journal), new)
    told = {
        "from": wish.old,
        "to": new,
        "from_root": _base64(proof.Hashes(_reading(journal), wish.old).root()),
        "to_root": _base64(hashes.root()),
        "hashes": [_base64(each) for each in hashes.consistency(wish.old)],
        "checkpoint": note.decode(),
    }
    return Found(_encode(told))


def _filters(wish: Search) -> Filters:
    given = {
        name: getattr(wish, name) for name in wish.__struct_fields__ if name in Filters.__struct_fields__
    }
    return Filters(**given, since_ns=_ns(wish.since), until_ns=_ns(wish.until), before=wish.cursor)


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND * 1000


def _json(told: dict[str, Any], index: Index) -> Found:
    """`damaged` says that the journal cannot be read from that record on: nothing behind it was searched."""
    return Found(_encode({**told, "indexed": index.size, "damaged": index.damaged}))


def _about(wish: Report, index: Index) -> list[str]:
    """What the page is of."""
    about = [f"Asked for: {unquote(said(wish))}, from a journal of {index.size} records."]
    if index.damaged is not None:
        about.append(f"The journal is damaged at record {index.damaged}: this is not all.")
    return about


def _none(record: str) -> Nothing:
    return Nothing(404, "no_record", f"there is no record {record}, or retention has taken it")


def _is(name: str, n: int, data: bytes) -> bool:
    return name in (str(n), _told(data)["id"])


def _signed(journal: Path) -> tuple[Checkpoint, bytes]:
    """The newest checkpoint and its note, which our own key has signed."""
    try:
        key = verifier_key((journal / "log.vkey").read_text())
        note = (journal / "checkpoint").read_bytes()
        return opened(note, key), note
    except (OSError, ValueError) as error:
        raise JournalError(f"there is no checkpoint yet, or none that counts: {error}") from error


def _reading(journal: Path) -> proof.Read:
    def read(name: str) -> bytes | None:
        try:
            return (journal / name).read_bytes()
        except FileNotFoundError:
            return None

    return read


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_ANSWERS: dict[type[Wish], Callable[[Any, Path, Index], Answer]] = {
    Search: _search,
    Follow: _follow,
    Report: _report,
    Show: _show,
    Prove: _prove,
    Newest: _newest,
    Grown: _grown,
}
