"""A decision that was recorded: its question, exactly as the engine was given it, and what was said to it.

Found by the id of its record, or by that of the evaluation that the record names. A record can hold several
decisions: of a frame with several operations, or the distinct questions of a read window.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.audit.index import Index
from gateway.audit.openings import Openings
from gateway.audit.reader import SEGMENTS, records
from gateway.author.form import UnaskableError, complete
from gateway.author.recorded import is_closed
from gateway.author.words import Question, Units
from gateway.model.errors import GatewayError
from gateway.policy import bundle
from gateway.policy.bundle import Bundle

MOST = 20
"Decisions of one record that are explained; a window holds thousands, and each has its own evaluation id."
BUNDLES = "bundles"
"Folder of the data folder in which the gateway keeps every bundle that was active, by revision."


class Decided(Struct, frozen=True, kw_only=True):
    """One decision."""

    record: str
    wall_ns: int
    question: Question
    why: dict[str, Any]
    "As recorded."
    filled: tuple[str, ...] = ()
    "Fields that dmz.input/1 has now and had not then: asked as null."


class Found(Struct, frozen=True):
    """The decisions of a record, and what the record knows of its tags."""

    decisions: tuple[Decided, ...]
    more: int
    "Decisions beyond `MOST`."
    units: Units


def find(journal: Path, ulid: str, index: Path | None = None) -> Found:
    """The decisions of that record, or the one of that evaluation. Raises GatewayError if there is none.

    `index` is where the journal's search index may be kept, as `audit search` does; without it a private one
    is made and thrown away.
    """
    data = _record(journal, ulid, index)
    if data is None:
        raise GatewayError(f"no decision {ulid} in {journal}; see dmz-gateway audit search --decision deny")
    record = msgspec.json.decode(Openings(journal).opened(*data), type=dict[str, Any])
    asked = list(_decisions(record))
    named = [each for each in asked if each[1].get("evaluation") == ulid]
    chosen = named or asked
    if not chosen:
        raise GatewayError(f"record {ulid} is of kind {record.get('kind')}: policy decided nothing there")
    decided = tuple(_decided(record, *each) for each in chosen[:MOST])
    return Found(decided, max(0, len(chosen) - MOST), _units(record))


def bundle_of(data: Path, revision: str) -> Bundle | None:
    """The bundle of that revision as the gateway kept it; None where it is not there. Raises PolicyError."""
    if not (len(revision) == 64 and revision.isalnum()):
        return None
    folder = data / BUNDLES / revision
    return bundle.read(folder) if folder.is_dir() else None


def journal_of(path: Path) -> Path:
    """The journal of a data folder, or the folder itself if it is one. Raises GatewayError."""
    for folder in (path / "journal", path):
        if (folder / SEGMENTS).is_dir():
            return folder
    raise GatewayError(f"{path} holds no journal; name the data folder, or its journal")


def _record(journal: Path, ulid: str, kept: Path | None) -> tuple[int, bytes] | None:
    index = Index(journal, kept)
    try:
        index.refresh()
        found = index.by_id(ulid)
    finally:
        index.close()
    if found:
        return min(found)
    said = b'"evaluation":"' + ulid.encode() + b'"'
    return next((each for each in records(journal) if said in each[1]), None)


def _decisions(record: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Question and `why` of each decision; the question is null where policy was not asked."""
    why = record.get("why")
    if not isinstance(why, dict):
        return
    entries = (record.get("what") or {}).get("entries")
    if entries is not None:
        for entry in entries:
            said = {name: entry.get(name) for name in ("grants", "reasons", "evaluation")}
            yield (why.get("input") or {}) | (entry.get("input") or {}), {**why, **said}
        return
    for part in (why, *(why.get("also") or ())):
        yield part.get("input"), part


def _decided(record: dict[str, Any], question: Any, why: dict[str, Any]) -> Decided:
    if is_closed(question):
        raise GatewayError(f"record {record['id']} cannot be asked again: sensitive fields were dropped")
    if not isinstance(question, dict) or "schema" not in question:
        said = "; ".join(f"{one.get('code')} ({one.get('msg')})" for one in why.get("reasons") or ())
        raise GatewayError(f"record {record['id']} keeps no question that policy could answer: {said}")
    try:
        filled = complete(question)
    except UnaskableError as error:
        raise GatewayError(f"record {record['id']} cannot be asked again: {error}") from None
    return Decided(
        record=record["id"], wall_ns=record["wall_ns"], question=question, why=why, filled=tuple(filled)
    )


def _units(record: dict[str, Any]) -> Units:
    """Resolution and unit of the tags, as far as the values of the record tell them."""
    what = record.get("what") or {}
    known: dict[str, tuple[float, str]] = {}
    for operation in (what, *(what.get("also") or ())):
        for point in operation.get("points") or ():
            for q, value in (
                (point.get("q"), point.get("value")),
                (point.get("q_prev"), point.get("value_prev")),
            ):
                if q and value is not None:
                    known[point["tag"]] = (float(f"{value / q:.12g}"), point.get("unit") or "")
    return known.get
