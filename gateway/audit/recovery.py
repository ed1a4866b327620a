"""Opening a log that an earlier run left, however it ended.

What was promised is at or below the newest checkpoint, or was on stable storage; anything else behind the
last whole record is cut, and what was cut is told. A log that no longer agrees with its newest checkpoint
is not opened: the operator must look, and `audit verify` names the first record that is wrong.
"""

from collections import Counter
from hashlib import sha256

import msgspec
from msgspec import Struct

from gateway.audit import framing, tiles
from gateway.audit.log import CHECKPOINT, CHECKPOINTS, SEGMENTS, STEP, Log
from gateway.audit.note import Checkpoint, notes, opened
from gateway.audit.signer import Signer
from gateway.audit.storage import File, Storage, write_all
from gateway.audit.tree import leaf
from gateway.model.errors import JournalError

NOTES_TAIL = 64 << 10
"""Bytes at the end of the checkpoints that are looked at: a hundred of them or more. What lies before was
checked when it was the newest; `audit verify` checks all of them."""
LOOKED_BACK = 2
"Segments in which intents without outcome are looked for: an intent is settled within seconds."


class Cut(Struct, frozen=True):
    """What recovery took away behind the last whole record."""

    index: int
    "Index that the first cut record would have had."
    bytes: int
    sha256: str
    "Of the bytes cut, for comparison with an image of the disk."
    why: str


class Open(Struct, frozen=True):
    """An intent whose outcome nobody wrote down."""

    id: str
    wall_ns: int


class Left(Struct, kw_only=True):
    """What an earlier run left behind."""

    size: int = 0
    gone: int = 0
    "Records before the first segment: retention took them, says `audit verify` or says that it did not."
    cut: Cut | None = None
    cut_notes: int = 0
    "Bytes of an unfinished checkpoint that were cut."
    rebuilt: bool = False
    "The tiles were not what the records say and were written anew."
    intents: dict[str, Open] = msgspec.field(default_factory=dict)
    windows: set[str] = msgspec.field(default_factory=set)
    "Read windows that are in the log already."
    begun: dict[str, int] = msgspec.field(default_factory=dict)
    "Of those that have several records: how many of their entries are in the log, the first ones."
    parts: Counter[tuple[str, bool]] = msgspec.field(default_factory=Counter)
    "How many of their records are, by window and whether an earlier recovery wrote them."
    last_wall_ns: int | None = None
    trusted_ns: int = 0
    "Wall time of the newest record that was written with a trusted clock; 0 where there is none."
    clean: bool = True
    "The last record says that the gateway stopped."


class _Note(Struct):
    window: str | None = None
    event: str | None = None


class _Parts(Struct):
    recovered: bool = False
    parts: int = 1


class _What(Struct):
    entries: list[msgspec.Raw] | dict[str, msgspec.Raw] = []


class _Window(Struct):
    note: _Parts
    what: _What


class _Brief(Struct):
    """As much of a record as recovery needs."""

    id: str
    kind: str
    wall_ns: int
    clock: str = ""
    about: str | None = None
    note: _Note | None = None


_BRIEF = msgspec.json.Decoder(_Brief)
_WINDOW = msgspec.json.Decoder(_Window)


def recover(storage: Storage, signer: Signer, segment_bytes: int) -> tuple[Log, Left]:
    """Open the log, or raise JournalError that names what is wrong and where."""
    left = Left()
    last, notes_end = _newest(storage, signer, left)
    firsts = sorted(int(name[:-4]) for name in storage.names(SEGMENTS) if name.endswith(".seg"))
    grown = _grown(storage, firsts, last, left)
    if isinstance(grown, str):
        left = Left(cut_notes=left.cut_notes, rebuilt=True)
        grown = _rebuilt(storage, firsts, last, left)
    if isinstance(grown, str):
        raise JournalError(f"the journal is not what was signed: {grown}; see `audit verify`")
    tree, used = grown
    log = Log(storage, signer, tree, segment_bytes)
    if firsts:
        log.adopt(_segment(storage, firsts[-1]), used)
    if last is not None:
        signer.remember(last)
    log.vault.adopt(log.size)
    log.adopt_notes(storage.open(CHECKPOINTS), notes_end)
    storage.sync_folder("")
    left.size, left.gone = log.size, firsts[0] if firsts else 0
    return log, left


def _segment(storage: Storage, first: int) -> File:
    return storage.open(f"{SEGMENTS}/{framing.name(first)}")


def _newest(storage: Storage, signer: Signer, left: Left) -> tuple[Checkpoint | None, int]:
    """The newest checkpoint, and where the next goes; an unfinished one at the end is cut."""
    file = storage.open(CHECKPOINTS)
    try:
        last, end, size = _newest_note(file, signer)
        left.cut_notes = size - end
        if left.cut_notes:
            file.truncate(end)
            file.fdatasync()
    finally:
        file.close()
    newest = storage.read(CHECKPOINT)
    if newest:
        try:
            beside = opened(newest, signer.verifier)
        except ValueError as error:
            if last is None:
                raise JournalError(f"{CHECKPOINT} does not count: {error}") from error
        else:
            last = beside if last is None or beside.size > last.size else last
    return last, end


def _newest_note(file: File, signer: Signer) -> tuple[Checkpoint | None, int, int]:
    """The newest whole checkpoint of the file, where it ends, and where the file does."""
    size = file.size()
    start = max(0, size - NOTES_TAIL)
    data = file.pread(size - start, start)
    if start:
        # A signature is the last line of a note: the next note begins behind it.
        signature = data.find(b"\n\n\xe2\x80\x94 ")
        begin = data.find(b"\n", signature + 2) + 1 if signature >= 0 else 0
        if not begin:
            raise JournalError(f"{CHECKPOINTS}: no checkpoint in its last {NOTES_TAIL} bytes")
        start, data = start + begin, data[begin:]
    end = 0
    last: Checkpoint | None = None
    for at, note in notes(data):
        if note.count(b"\n") < 5 or not note.strip(b"\0"):
            break
        try:
            checkpoint = opened(note, signer.verifier)
        except ValueError as error:
            if at + len(note) == len(data):
                break
            raise JournalError(
                f"{CHECKPOINTS}: the checkpoint at byte {start + at} does not count: {error}"
            ) from error
        if last is not None and checkpoint.size < last.size:
            raise JournalError(f"{CHECKPOINTS}: the checkpoint at byte {start + at} steps back")
        last, end = checkpoint, at + len(note)
    return last, start + end, size


Grown = tuple[tiles.Tiles, int]


def _grown(storage: Storage, firsts: list[int], last: Checkpoint | None, left: Left) -> Grown | str:
    """The tree from the tiles and the last segments; a text where they do not agree with the checkpoint."""
    begin = firsts[-LOOKED_BACK:][0] if firsts else 0
    tree = tiles.load(storage, begin)
    if tree is None or (begin and (last is None or last.size < begin)):
        return "the tiles are not enough"
    return _replayed(storage, tree, firsts, begin, last, left)


def _rebuilt(storage: Storage, firsts: list[int], last: Checkpoint | None, left: Left) -> Grown | str:
    """The tree from every record there is; of what retention took only the tiles know."""
    begin = firsts[0] if firsts else 0
    tree = tiles.load(storage, begin)
    if tree is None:
        return f"records 0 to {begin - 1} are gone, and the tiles with their hashes are missing or damaged"
    return _replayed(storage, tree, firsts, begin, last, left)


def _replayed(
    storage: Storage,
    tree: tiles.Tiles,
    firsts: list[int],
    begin: int,
    last: Checkpoint | None,
    left: Left,
) -> Grown | str:
    """Grow the tree by the records from `begin` on; a text that names the index where it goes wrong."""
    signed = last.size if last is not None else 0
    used = 0
    if not firsts:
        return (tree, 0) if signed == 0 else f"{signed} records were signed, there are none"
    if firsts[0] > signed:
        return f"the first segment begins at {firsts[0]}, not at 0"
    if last is not None and begin == signed and tree.frontier.root() != last.root:
        return f"the tiles over the first {signed} records"
    for first in firsts:
        if first < begin:
            continue
        if first != tree.frontier.size:
            return f"index {tree.frontier.size}: a segment is missing before {first}"
        file = _segment(storage, first)
        try:
            grown = _grow(tree, file, first, last, left, final=first == firsts[-1])
        finally:
            file.close()
        if isinstance(grown, str):
            return grown
        used = grown
    return tree, used


def _grow(
    tree: tiles.Tiles, file: File, first: int, last: Checkpoint | None, left: Left, *, final: bool
) -> int | str:
    """Grow the tree by one segment's records; where they end, or what is wrong with them."""
    signed = last.size if last is not None else 0
    scan = framing.Scan(file.pread, first)
    unsigned = framing.HEAD.size
    for data in scan:
        tree.push(leaf(data))
        _take(left, data)
        if tree.frontier.size == signed:
            unsigned = scan.offset
        if last is not None and tree.frontier.size == signed and tree.frontier.root() != last.root:
            return f"the root of the first {signed} records, of which the last are in {framing.name(first)}"
    if not final:
        if scan.fault or scan.offset != file.size():
            return f"index {scan.index}: {scan.fault or 'bytes behind the end of the segment'}"
        return scan.offset
    if tree.frontier.size < signed:
        return f"index {scan.index}: {scan.fault or 'the log ends'}, but {signed} records were signed"
    used = _clean(file, scan, first, left)
    if not left.clean:
        _write_again(file, unsigned, used)
    return used


def _write_again(file: File, start: int, end: int) -> None:
    """Write once more what no checkpoint covers: after a failed fdatasync the cache may lie about it."""
    for at in range(start, end, STEP):
        write_all(file, file.pread(min(STEP, end - at), at), at)
    file.fdatasync()


def _clean(file: File, scan: framing.Scan, first: int, left: Left) -> int:
    """Zero what lies behind the last whole record, and say what it was."""
    if scan.offset == 0:
        write_all(file, framing.head(first), 0)
        scan.offset = framing.HEAD.size
    digest, count, size = sha256(), 0, file.size()
    for at in range(scan.offset, size, STEP):
        chunk = file.pread(STEP, at)
        if any(chunk):
            count = at - scan.offset + len(chunk.rstrip(b"\0"))
        digest.update(chunk)
    if count:
        left.cut = Cut(scan.index, count, digest.hexdigest(), scan.fault or "bytes behind the last record")
    if count or scan.fault:
        file.truncate(scan.offset)
        file.fdatasync()
    return scan.offset


def _take(left: Left, data: bytes) -> None:
    try:
        brief = _BRIEF.decode(data)
        window = _WINDOW.decode(data) if brief.kind == "window" else None
    except (msgspec.MsgspecError, RecursionError):
        return
    left.last_wall_ns = brief.wall_ns
    if brief.clock == "trusted":
        left.trusted_ns = brief.wall_ns
    left.clean = brief.note is not None and brief.note.event == "stop"
    match brief.kind:
        case "intent":
            left.intents[brief.id] = Open(brief.id, brief.wall_ns)
        case "outcome" if brief.about is not None:
            left.intents.pop(brief.about, None)
        case "window" if window is not None and brief.note is not None and brief.note.window is not None:
            _take_window(left, brief.note.window, window)


def _take_window(left: Left, window: str, said: _Window) -> None:
    """Its records are handed over together, and yet power may fail between them."""
    parts, entries = said.note.parts, said.what.entries
    if parts > 1:  # one entry that is too long for a record stands there as its hash
        left.begun[window] = left.begun.get(window, 0) + (len(entries) if isinstance(entries, list) else 1)
        left.parts[window, said.note.recovered] += 1
    if parts <= 1 or left.parts[window, said.note.recovered] == parts:
        left.windows.add(window)
