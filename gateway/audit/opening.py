"""What a start writes before anything else: that it starts, and what it found.

Intents without outcome get the outcome `unknown`, windows that were open become records marked `recovered`,
a gap of the last run is told. Then everything is signed.
"""

import msgspec
from msgspec import Struct

from gateway import __version__
from gateway.audit import carry, gap
from gateway.audit.entry import Writer
from gateway.audit.log import Log
from gateway.audit.recovery import Cut, Left, recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Storage
from gateway.audit.window import entry_json, window_records
from gateway.model.moment import Now
from gateway.model.record import RecordKind


class Recovery(Struct, frozen=True, kw_only=True):
    """What opening found, and did about it."""

    size: int
    "Records that the earlier runs left."
    gone: int
    "How many of them are before the first segment."
    clean: bool
    "The last run ended by itself."
    cut: Cut | None
    cut_checkpoint_bytes: int
    rebuilt_tiles: bool
    unknown: tuple[str, ...]
    "Intents without outcome: nobody knows whether the plant saw them."
    windows: int
    "Read windows saved from the side file."
    gap: bool
    trusted_ns: int
    "The newest time that a record of the earlier runs vouches for: no clock may be before it."


def open_log(
    storage: Storage, signer: Signer, segment_bytes: int, writer: Writer, now: Now
) -> tuple[Log, Recovery]:
    """The recovered log, with the records of this start in it, signed."""
    log, left = recover(storage, signer, segment_bytes)
    carried = carry.read(storage)
    untold = gap.kept(storage)
    windows, saved = _windows(writer, carried, left, now)
    recovery = Recovery(
        size=left.size,
        gone=left.gone,
        clean=left.clean,
        cut=left.cut,
        cut_checkpoint_bytes=left.cut_notes,
        rebuilt_tiles=left.rebuilt,
        unknown=tuple(left.intents),
        windows=saved,
        gap=untold is not None,
        trusted_ns=left.trusted_ns,
    )
    records = [_start(writer, recovery, left, now), *_unknown(writer, left, now), *windows]
    if untold is not None:
        records.append(_gap(writer, untold, now))
    log.append(records)
    log.prepare()
    log.checkpoint()
    gap.clear(storage)
    return log, recovery


def _start(writer: Writer, recovery: Recovery, left: Left, now: Now) -> bytes:
    note = {"event": "start", "version": __version__, "last_wall_ns": left.last_wall_ns, "recovery": recovery}
    _, data = writer.record(RecordKind.LIFECYCLE, now, note=note)
    return data


def _unknown(writer: Writer, left: Left, now: Now) -> list[bytes]:
    result = {"status": "unknown", "why": "the gateway ended before the outcome was written"}
    return [
        writer.record(RecordKind.OUTCOME, now, about=intent.id, result=result)[1]
        for intent in left.intents.values()
    ]


def _windows(writer: Writer, carried: list[carry.Carried], left: Left, now: Now) -> tuple[list[bytes], int]:
    records: list[bytes] = []
    saved = 0
    for window in carried:
        told = msgspec.json.decode(window.common)
        note = {**told["note"], "recovered": True}
        if note["window"] in left.windows:
            continue  # Its records were durable; only the row that says so was not.
        entries = sorted(window.entries.items())[left.begun.get(note["window"], 0) :]  # in their order there
        rows = [entry_json(head, count) for _, (head, count) in entries if count[0]]
        if rows:
            saved += 1
            records += window_records(writer, told["common"], rows, note, now)
    return records, saved


def _gap(writer: Writer, untold: bytes, now: Now) -> bytes:
    try:
        note = msgspec.json.decode(untold, type=dict[str, object])
    except msgspec.MsgspecError:
        note = {"why": "the journal failed; what it knew of the gap is lost"}
    _, data = writer.record(RecordKind.GAP, now, note=note)
    return data
