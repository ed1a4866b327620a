"""The offline verifier, one file to copy: it needs Python 3.11 and `cryptography`, and nothing else of ours.

    python verify.py JOURNAL VKEY [--checkpoint FILE]        a whole journal folder
    python verify.py record.tlog-proof VKEY [--record FILE]  one record
    python verify.py grown.tlog-growth VKEY --checkpoint OLD that a log only grew since a kept checkpoint

It shares no code with the journal on purpose: a mistake would have to be made twice to stay unseen. Formats:
docs/reference/verifier.md. It writes nothing, and works while the journal is being written.

A whole journal is walked in order; the tree that grows is compared with every checkpoint ever signed. At or
below the newest checkpoint any byte changed, record removed, inserted or swapped, and any cut is an error;
records above it are named as not covered. Records that retention took away must have been told in a signed
record; their hashes are still here and count like records. What the folder alone cannot show is a log cut
back together with its checkpoints, or replaced as a whole: a checkpoint kept elsewhere does (`--checkpoint`).

Where the tree goes wrong between two checkpoints the tiles say which record it is, as long as they
themselves still lead to the signed root; otherwise the first record of the interval is named.

What a record keeps by commitment is opened where its opening is there: one that opens something else than
was committed to, or is gone without a record that says so, is an error too. The tree needs no opening.
"""

import argparse
import base64
import binascii
import heapq
import json
import os
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any, Protocol
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HASH = 32
EMPTY = sha256(b"").digest()
"Root of a log without records."
WIDTH = 256
"Hashes in a full tile (C2SP tlog-tiles)."
ED25519 = 1
"Signature type of plain Ed25519 note signatures (C2SP signed-note)."
LINES = 5
"Lines of a note in `checkpoints`: origin, size, root, nothing, one signature."
LONGEST_NOTE = 1024
"Most bytes of one of them."
DASH = "— ".encode()
PROOF = "c2sp.org/tlog-proof@v1"
MOST_HASHES = 63
"Of one proof: a tree of 2⁶³ records needs no more (C2SP tlog-witness)."
MOST_FILE_BYTES = 1 << 20
"Of a proof, a record or a key: more is none of these."
MAGIC = b"dmz.segment/1\n\0\0"
HEAD_BYTES = 32
FRAME = Struct(">II")
PLACE = Struct(">QI")
MOST_RECORD_BYTES = 65_535
CHUNK = 1 << 20
"Bytes read at once."
MOST_LISTED = 1000
"Intents without outcome that are named; more are only counted."
PROGRESS_EVERY = 200_000
"Records between two lines of progress."
WRONG = "the record is not the one that was signed"
KIND_BYTES = 120
"Where the kind of a record stands: schema, id and kind come first."
RETENTION = b'"event":"retention"'
DROP = b'"event":"drop"'
COMMITTED = "committed"
MARK = b'"committed":{'
"In every record that holds a commitment."
DOMAIN = b"dmz.commitment/1\n"
OPENINGS_MAGIC = b"dmz.openings/1\n\0"
ROW = Struct(">IIQq")
ROW_PLACE = Struct(">QqI")


# -- the tree: RFC 6962 §2.1 -----------------------------------------------------------------------------


def leaf(data: bytes) -> bytes:
    """Hash of one record: exactly the stored bytes."""
    return sha256(b"\0" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree that grows at its right end: only the roots of its complete subtrees, tallest first."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def push(self, value: bytes) -> None:
        """Add one leaf hash."""
        size = self.size
        while size & 1:
            value = sha256(b"\1" + self._peaks.pop() + value).digest()
            size >>= 1
        self._peaks.append(value)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle tree hash."""
        if not self._peaks:
            return EMPTY
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node(peak, result)
        return result


def included(value: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the path leads from that leaf hash to that root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, result = index, size - 1, value
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            result = node(sibling, result)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            result = node(result, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and result == root


def grown(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `new` leaves begins with that of `old` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node(sibling, first), node(sibling, second)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            second = node(second, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


# -- checkpoints: C2SP signed-note and tlog-checkpoint ---------------------------------------------------


class Key(Protocol):
    """Whose signature counts."""

    @property
    def name(self) -> str:
        """The key's name, which is the log's origin."""

    @property
    def raw(self) -> bytes:
        """The 32 bytes of the public key (RFC 8032)."""

    @property
    def id(self) -> bytes:
        """The 4 bytes that go before a signature."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key as `verifier_key` reads it."""

    name: str
    raw: bytes

    @property
    def id(self) -> bytes:
        """First 4 bytes of SHA-256(name, newline, type, key)."""
        return sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.raw).digest()[:4]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log promised: its first `size` records have that root."""

    origin: str
    size: int
    root: bytes


def verifier_key(text: str) -> VerifierKey:
    """Read `name+hexid+base64`. Raises ValueError that says what is wrong with it."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0]:
        raise ValueError("a verifier key looks like name+hexid+base64")
    raw = _unbase64(parts[2])
    if raw is None or len(raw) != 1 + HASH or raw[0] != ED25519:
        raise ValueError("not an Ed25519 verifier key")
    key = VerifierKey(parts[0], raw[1:])
    if key.id.hex() != parts[1]:
        raise ValueError("the key id does not belong to this name and key")
    return key


def opened(note: bytes, key: Key) -> Checkpoint:
    """The checkpoint in a note that the key signed. Raises ValueError that says why it does not count."""
    text, blank, signatures = note.rpartition(b"\n\n")
    if not blank:
        raise ValueError("no signature")
    text += b"\n"
    checkpoint = _checkpoint(text)
    if checkpoint.origin != key.name:
        raise ValueError(f"it is of another log, {checkpoint.origin}")
    for line in signatures.decode("utf-8", "replace").splitlines():
        words = line.split(" ")
        blob = _unbase64(words[2]) if len(words) == 3 and words[0] == "—" and words[1] == key.name else None
        if blob is None or blob[:4] != key.id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(blob[4:], text)
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None
        return checkpoint
    raise ValueError("no signature by this key")


def _checkpoint(text: bytes) -> Checkpoint:
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if len(lines) < 4 or not all(lines[:3]):
        raise ValueError("not a checkpoint: origin, size and root are missing")
    size, root = _number(lines[1]), _unbase64(lines[2])
    if size is None:
        raise ValueError("not a checkpoint: the size is not a number")
    if root is None or len(root) != HASH:
        raise ValueError("not a checkpoint: the root is not a SHA-256 hash")
    return Checkpoint(lines[0], size, root)


def _number(text: str) -> int | None:
    """A decimal as C2SP writes it: ASCII, no sign, no leading zeros."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or text != str(int(text)):
        return None
    return int(text)


def _unbase64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


# -- one record, and growth ------------------------------------------------------------------------------


@dataclass(slots=True)
class Proved:
    """What a proof file shows."""

    ok: bool
    what: str
    "In words: what is shown, or why nothing is."
    origin: str = ""
    size: int = 0
    "Of the checkpoint in the file."
    index: int | None = None
    "Of the record."
    record: str | None = None
    "The record itself."
    opened: list[str] = field(default_factory=list)
    "What its commitments open to, as JSON."


def prove_record(proof: bytes, key: Key, record: bytes | None = None, opening: bytes | None = None) -> Proved:
    """Check a `.tlog-proof` file; the record comes from its `extra` line unless it is given.

    An opening must open commitments of that record, each as it was committed to.
    """
    try:
        index, hashes, extra, note = _read_proof(proof)
        checkpoint = opened(note, key)
    except ValueError as error:
        return Proved(False, str(error))
    data = record if record is not None else extra
    shown = Proved(False, "", checkpoint.origin, checkpoint.size, index)
    if data is None:
        shown.what = "the file does not hold the record: give its bytes with --record"
    elif record is not None and extra is not None and record != extra:
        shown.what = "the record given is not the one in the file"
    elif not included(leaf(data), index, checkpoint.size, hashes, checkpoint.root):
        shown.what = f"the record is not number {index} of the log that was signed"
    else:
        members = [] if opening is None else _opened(data, opening)
        if members is None:
            shown.what = f"the opening is not what record {index} committed to"
            return shown
        shown.ok, shown.record = True, data.decode("utf-8", "replace")
        shown.opened = members
        shown.what = f"record {index} is in {checkpoint.origin}, one of the {checkpoint.size} under root "
        shown.what += checkpoint.root.hex()
    return shown


def prove_growth(growth: bytes, key: Key, kept: bytes | None) -> Proved:
    """Check that the log only grew since the kept checkpoint. Raises ValueError where none is given."""
    if kept is None:
        raise ValueError("the file proves growth: name the checkpoint you kept with --checkpoint")
    try:
        before = opened(kept, key)
        old, hashes, note = _read_growth(growth)
        after = opened(note, key)
    except ValueError as error:
        return Proved(False, str(error))
    shown = Proved(False, "", after.origin, after.size)
    if before.size != old:
        shown.what = f"the file proves growth from {old}, the kept checkpoint is of {before.size}"
    elif not grown(old, before.root, after.size, after.root, hashes):
        shown.what = f"the log of {after.size} records does not begin with the {old} that were kept"
    else:
        shown.ok = True
        shown.what = f"{after.origin} only grew, from {old} to {after.size} records"
    return shown


def _read_proof(data: bytes) -> tuple[int, list[bytes], bytes | None, bytes]:
    """Index, hashes, extra and checkpoint of a `.tlog-proof` (C2SP tlog-proof)."""
    lines, note = _lines(data)
    if not lines or lines.pop(0) != PROOF:
        raise ValueError(f"not a proof: it does not begin with {PROOF}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _unbase64(lines.pop(0)[6:])
        if extra is None:
            raise ValueError("not a proof: the extra line is no base64")
    index = _number(lines.pop(0)[6:]) if lines and lines[0].startswith("index ") else None
    if index is None:
        raise ValueError("not a proof: no index")
    return index, _hashes(lines), extra, note


def _read_growth(data: bytes) -> tuple[int, list[bytes], bytes]:
    """Old size, hashes and new checkpoint (the body of C2SP tlog-witness `add-checkpoint`)."""
    lines, note = _lines(data)
    old = _number(lines.pop(0)[4:]) if lines and lines[0].startswith("old ") else None
    if old is None:
        raise ValueError("not a proof of growth: no old size")
    return old, _hashes(lines), note


def _lines(data: bytes) -> tuple[list[str], bytes]:
    head, blank, note = data.partition(b"\n\n")
    if not blank:
        raise ValueError("not a proof: no checkpoint")
    try:
        return head.decode("ascii").split("\n"), note
    except UnicodeDecodeError:
        raise ValueError("not a proof: not ASCII") from None


def _hashes(lines: list[str]) -> list[bytes]:
    hashes = [_unbase64(line) for line in lines]
    if len(hashes) > MOST_HASHES:
        raise ValueError("not a proof: too many hashes")
    if any(value is None or len(value) != HASH for value in hashes):
        raise ValueError("not a proof: a line is no SHA-256 hash")
    return [value for value in hashes if value is not None]


# -- commitments -----------------------------------------------------------------------------------------


def _promises(value: Any) -> Iterator[dict[str, Any]]:
    """Every commitment in a record."""
    if isinstance(value, dict):
        if isinstance(value.get(COMMITTED), dict):
            yield value[COMMITTED]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _promises(each)


def _opened(data: bytes, opening: bytes) -> list[str] | None:
    """What the commitments of a record open to; null where one does not, or opens something else."""
    left = {str(each.get("sha256")): each for each in _promises(_json(data))}
    found = []
    try:
        for salt, text in json.loads(opening):
            raw = text.encode()
            size = len(raw).to_bytes(8, "big")
            promise = left.pop(sha256(DOMAIN + bytes.fromhex(salt) + size + raw).hexdigest())
            members = json.loads(raw)
            if len(salt) != 2 * HASH or sorted(members) != sorted(promise["of"]):
                return None
            found.append(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return None if left else found


class _Openings:
    """Openings in the order of the log, read beside the records; a gateway may be writing and dropping."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "openings"
        self.here = self._folder.is_dir()
        self._first, self._data, self._at = -1, b"", HEAD_BYTES
        self._next: tuple[int, bytes | None] | None = None
        self._read = -1
        "Index of the last row read."
        self.good = self.shut = 0
        self.faults: list[tuple[int, str]] = []
        "What is wrong, unless a record says that it was dropped."
        self.told: list[tuple[int, int]] = []
        "First and last index of what records say was dropped."

    def beside(self, index: int, data: bytes) -> None:
        """Hold a record against its opening."""
        while (self._next is None or self._next[0] < index) and self._advance():
            pass
        opening: bytes | None = None
        if self._next is not None and self._next[0] == index:
            opening, self._next = self._next[1], None
        if opening is None:
            self.shut += MARK in data
            if MARK in data and self.here:
                self.faults.append((index, "its opening is gone, and no record says that it was dropped"))
        elif _opened(data, opening) is None:
            self.faults.append((index, "its opening is not what the record committed to"))
        else:
            self.good += 1

    def _advance(self) -> bool:
        """Read one more row; false where there is none yet."""
        if len(self._data) < self._at + ROW.size and not self._more():
            return False
        size, check, index, wall_ns = ROW.unpack_from(self._data, self._at)
        start = self._at + ROW.size
        opening = self._data[start : start + size]
        if not size or len(opening) < size:
            return self._more() and self._advance()
        self._at = start + size
        if index <= self._read:
            self.faults.append((index, "openings are out of order"))
        self._read = max(self._read, index)
        whole = crc32(opening, crc32(ROW_PLACE.pack(index, wall_ns, size))) == check
        self._next = (index, opening if whole or any(opening) else None)
        return True

    def _more(self) -> bool:
        """The next file, or what has come to this one."""
        names = [each.stem for each in self._folder.glob("*.opn")]
        known = sorted(int(each) for each in names if each.isascii() and each.isdigit())
        for first in known[bisect_left(known, self._first) :]:
            data = _read(self._folder / f"{first:020d}.opn")
            if first != self._first:
                start = OPENINGS_MAGIC + first.to_bytes(8, "big")
                self._first, self._data, self._at = first, data, HEAD_BYTES
                if data and data[:HEAD_BYTES] != start + crc32(start).to_bytes(4, "big") + bytes(4):
                    self.faults.append((first, "the head of its openings is damaged"))
            else:
                self._data = data
            if len(self._data) >= self._at + ROW.size + 1:
                size = ROW.unpack_from(self._data, self._at)[0]
                if size and len(self._data) >= self._at + ROW.size + size:
                    return True
        return False

    def judge(self, report: "Report") -> None:
        """After the walk: raises for the first that is wrong and was not dropped."""
        told = self._joined()
        wrong = [(i, what) for i, what in self.faults if not _within(i, told)]
        if wrong:
            raise _BadError(*min(wrong))
        report.opened = self.good
        report.dropped, report.unopened = (self.shut, 0) if self.here else (0, self.shut)
        if told:
            self._first, self._data, self._at, self._next, self._read = -1, b"", HEAD_BYTES, None, -1
            while self._advance():
                if self._next is not None and self._next[1] is not None and _within(self._next[0], told):
                    report.undone += 1

    def _joined(self) -> list[tuple[int, int]]:
        """What was told, rising and without overlaps: there may be very many."""
        joined: list[tuple[int, int]] = []
        for first, last in sorted(each for each in self.told if each[0] <= each[1]):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        return joined


def _within(index: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether it is in one of the ranges, which rise and do not overlap."""
    at = bisect_right(ranges, (index, 1 << 63))
    return at > 0 and ranges[at - 1][1] >= index


# -- a whole journal -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Finding:
    """What is wrong first."""

    index: int
    "Of the first record that is not what was signed."
    what: str


@dataclass(slots=True)
class Report:
    """What the verifier found."""

    ok: bool = True
    records: int = 0
    "Counting those that retention took."
    gone: int = 0
    "Records from 0 on that retention took: their hashes are here and were checked."
    covered: int = 0
    "Records at or below the newest checkpoint."
    root: str = ""
    "Hex root of the newest checkpoint."
    checkpoints: int = 0
    first_bad: Finding | None = None
    kept: bool = False
    "Held against a checkpoint kept elsewhere: without one a log put back to an older copy goes unnoticed."
    uncovered: int = 0
    "Whole records above the newest checkpoint: not yet signed."
    opened: int = 0
    "Records whose commitments open to what was committed to."
    dropped: int = 0
    "Records whose opening was dropped, as records say."
    undone: int = 0
    "Records of which signed records say that they are dropped, and that can be opened all the same."
    unopened: int = 0
    "Records with commitments where the folder of openings is not here."
    tail: str | None = None
    "What lies behind the last whole record, if anything does."
    open_intents: list[str] = field(default_factory=list)
    open_intent_count: int = 0


class _BadError(Exception):
    """The search is over."""

    def __init__(self, index: int, what: str) -> None:
        self.finding = Finding(index, what)
        super().__init__(what)


def verify(
    folder: Path,
    key: Key,
    *,
    kept: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a whole journal. Never raises for what is wrong with it; OSError where it cannot be read."""
    report = Report(kept=kept is not None)
    try:
        promises = _Promises(folder, key, kept)
        report.covered, report.root = promises.newest.size, promises.newest.root.hex()
        _walk(folder, promises, report, progress)
    except _BadError as bad:
        report.ok = False
        report.first_bad = bad.finding
    return report


class _Promises:
    """Every checkpoint in order of size, one at a time; each signature is checked on the way."""

    def __init__(self, folder: Path, key: Key, kept: bytes | None) -> None:
        self._key = key
        self._path = folder / "checkpoints"
        newest = _read(folder / "checkpoint")
        self._end = self._path.stat().st_size if self._path.exists() else 0
        self.kept = self._opened(kept, "the kept checkpoint", 0) if kept is not None else None
        known = [self.kept] if self.kept is not None else []
        if newest:
            known.append(self._opened(newest, "checkpoint", 0))
        last = self._tail()
        if last is not None:
            known.append(last)
        if not known:
            raise _BadError(0, "there is no checkpoint: nothing here is signed")
        beside = sorted(known, key=lambda checkpoint: checkpoint.size)
        self.newest = beside[-1]
        self._merged = heapq.merge(self._history(), beside, key=lambda checkpoint: checkpoint.size)
        self._given: Checkpoint | None = None
        self.count = 0

    def next(self) -> Checkpoint | None:
        """The next promise to hold the tree against."""
        found = next(self._merged, None)
        while found is not None and found == self._given:
            found = next(self._merged, None)  # The newest stands in two files.
        self._given = found
        self.count += found is not None
        return found

    def _opened(self, note: bytes, name: str, index: int) -> Checkpoint:
        try:
            return opened(note, self._key)
        except ValueError as error:
            raise _BadError(index, f"{name}: {error}") from error

    def _tail(self) -> Checkpoint | None:
        """The last whole checkpoint of the history."""
        if not self._end:
            return None
        with self._path.open("rb") as file:
            file.seek(max(0, self._end - 2 * LONGEST_NOTE))
            lines = file.read(2 * LONGEST_NOTE).splitlines(keepends=True)
        ends = [i for i, line in enumerate(lines) if line.startswith(DASH) and line.endswith(b"\n")]
        if not ends or ends[-1] < LINES - 1:
            return None
        try:
            return opened(b"".join(lines[ends[-1] - LINES + 1 : ends[-1] + 1]), self._key)
        except ValueError:
            return None  # The walk over the history will come to it and say what is wrong.

    def _history(self) -> Iterator[Checkpoint]:
        if not self._end:
            return
        at, size = 0, 0
        with self._path.open("rb") as file:
            while at < self._end:
                note = b"".join(file.readline(LONGEST_NOTE) for _ in range(LINES))
                if at + len(note) >= self._end and not note.endswith(b"\n"):
                    return  # Half written: the newest is still on its way, or was when power failed.
                checkpoint = self._opened(note, f"checkpoint at byte {at}", size)
                if checkpoint.size < size:
                    raise _BadError(checkpoint.size, f"checkpoint at byte {at}: smaller than the one before")
                at, size = at + len(note), checkpoint.size
                yield checkpoint


class _Growth:
    """The tree as it grows, held against every promise."""

    def __init__(self, folder: Path, promises: _Promises) -> None:
        self.tree = Tree()
        self.agreed = 0
        "How far the records are what was signed."
        self.fork: Checkpoint | None = None
        "Signed too, and of another log: where the two part cannot be told from here."
        self._folder = folder
        self._promises = promises
        self._promise = promises.next()
        self._compare()

    def push(self, value: bytes) -> None:
        """Add one leaf hash."""
        self.tree.push(value)
        if self._promise is not None and self._promise.size == self.tree.size:
            self._compare()

    def _compare(self) -> None:
        while self._promise is not None and self._promise.size == self.tree.size:
            promise = self._promise
            if self.tree.root() == promise.root:
                self.agreed = promise.size
            elif promise == self._promises.kept or 0 < promise.size == self.agreed:
                self.fork = self.fork or promise
            else:
                raise _BadError(*_blame(self._folder, self.agreed, promise))
            self._promise = self._promises.next()


def _walk(folder: Path, promises: _Promises, report: Report, progress: Callable[[int], None] | None) -> None:
    growth = _Growth(folder, promises)
    try:
        _grow(folder, growth, report, progress)
    except _BadError as bad:
        # Something before may be wrong too, and was not noticed because no checkpoint had come yet.
        wrong = _first_wrong(folder, growth.agreed, bad.finding.index, promises.newest)
        if wrong is not None and wrong < bad.finding.index:
            raise _BadError(wrong, WRONG) from bad
        raise
    report.checkpoints = promises.count
    report.uncovered = max(0, report.records - report.covered)


def _grow(folder: Path, growth: _Growth, report: Report, progress: Callable[[int], None] | None) -> None:
    """Every hash of what is gone, then every record."""
    known = _segments(folder)
    for value in _gone(folder, known[0][0] if known else 0):
        growth.push(value)
    report.gone = report.records = growth.tree.size
    intents: dict[str, int] = {}
    told = 0
    openings = _Openings(folder)
    for data in _records(known, report):
        growth.push(leaf(data))
        _follow(data, intents)
        if MARK in data:
            openings.beside(report.records - 1, data)
        if RETENTION in data and report.records <= report.covered:
            told = max(told, _first_kept(data))
        if DROP in data and report.records <= report.covered:
            openings.told += _ranges(data, report.records - 2)
        if progress is not None and report.records % PROGRESS_EVERY == 0:
            progress(report.records)
    if growth.fork is not None:
        last = growth.fork.size - 1
        what = f"another log of {last + 1} records was signed, too: they part at or before record {last}"
        raise _BadError(max(last, 0), what)
    if told < report.gone:
        what = f"records {told} to {report.gone - 1} are missing, and no signed record says that retention"
        raise _BadError(told, f"{what} took them")
    openings.told.append((0, told - 1))
    openings.judge(report)
    report.open_intent_count = len(intents)
    report.open_intents = list(intents)[:MOST_LISTED]


def _segments(folder: Path) -> list[tuple[int, Path]]:
    """Index of the first record and file of each segment, in order."""
    return sorted(
        (int(path.stem), path)
        for path in (folder / "segments").glob("*.seg")
        if path.stem.isascii() and path.stem.isdigit()
    )


class _Segment:
    """Walks one segment's records. Afterwards `index`, `offset` and `fault` say where and why it ended."""

    def __init__(self, first: int, path: Path) -> None:
        self.index, self.offset, self.path = first, 0, path
        self.fault: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            yield from self._walk(fd)
        finally:
            os.close(fd)

    def _walk(self, fd: int) -> Iterator[bytes]:
        start = MAGIC + self.index.to_bytes(8, "big")
        if os.pread(fd, HEAD_BYTES, 0) != start + crc32(start).to_bytes(4, "big") + bytes(4):
            self.fault = "the head of the segment is damaged"
            return
        self.offset = base = HEAD_BYTES
        buffer, at = b"", 0
        while True:
            if len(buffer) - at < FRAME.size + MOST_RECORD_BYTES:
                base += at
                buffer, at = os.pread(fd, CHUNK, base), 0
            if len(buffer) - at < FRAME.size:
                self.fault = "a record is cut short" if any(buffer[at:]) else None
                return
            size, check = FRAME.unpack_from(buffer, at)
            if size == 0:
                self.fault = "a record without a length" if check else None
                return
            end = at + FRAME.size + size
            if size > MOST_RECORD_BYTES or end > len(buffer):
                long = size > MOST_RECORD_BYTES
                self.fault = "a length that cannot be" if long else "a record is cut short"
                return
            data = buffer[at + FRAME.size : end]
            if crc32(data, crc32(PLACE.pack(self.index, size))) != check:
                self.fault = "the check does not fit"
                return
            at = end
            self.index += 1
            self.offset = base + at
            yield data

    def behind(self, *, final: bool) -> int:
        """Bytes behind the last record; in the newest segment zeros do not count."""
        count = 0
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while piece := file.read(CHUNK):
                count += len(piece) - (piece.count(0) if final else 0)
        return count


def _records(known: list[tuple[int, Path]], report: Report) -> Iterator[bytes]:
    """Every whole record. Damage at or below the newest checkpoint raises; above it, the tail is named."""
    for at, (first, path) in enumerate(known):
        if first != report.records:
            _end(report, f"a segment is missing before {path.name}")
            return
        segment = _Segment(first, path)
        for data in segment:
            report.records += 1
            yield data
        behind = segment.behind(final=at + 1 == len(known))
        if segment.fault is not None or behind:
            what = segment.fault or "bytes behind the last record"
            _end(report, f"{path.name} at byte {segment.offset}: {what}")
            return
    if report.records < report.covered:
        raise _BadError(report.records, f"the log ends, but {report.covered} records were signed")


def _end(report: Report, what: str) -> None:
    if report.records < report.covered:
        raise _BadError(report.records, what)
    report.tail = what


def _follow(data: bytes, intents: dict[str, int]) -> None:
    """Keep the intents that have no outcome yet."""
    start = data[:KIND_BYTES]
    if b'"kind":"intent"' in start:
        intents[str(_json(data).get("id"))] = 1
    elif b'"kind":"outcome"' in start:
        intents.pop(str(_json(data).get("about")), None)


def _first_kept(data: bytes) -> int:
    """What a retention record says: the index of the first record that was kept."""
    record = _json(data)
    note = record.get("note")
    if record.get("kind") != "lifecycle" or not isinstance(note, dict) or note.get("event") != "retention":
        return 0
    first = note.get("first_kept")
    return first if isinstance(first, int) else 0


def _ranges(data: bytes, newest: int) -> list[tuple[int, int]]:
    """What a record says was dropped: the first and last index of each range, of records before it only."""
    record = _json(data)
    note = record.get("note")
    if record.get("kind") != "lifecycle" or not isinstance(note, dict) or note.get("event") != "drop":
        return []
    ranges = note.get("ranges")
    return [
        (each[0], min(each[1], newest))
        for each in (ranges if isinstance(ranges, list) else [])
        if isinstance(each, list) and len(each) == 2 and all(type(end) is int for end in each)
    ]


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # the second where brackets stand in brackets, 30,000 deep
        return {}
    return value if isinstance(value, dict) else {}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


# -- which record it is: tiles ---------------------------------------------------------------------------


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    """File name of a tile, e.g. `tile/0/x001/x234/067.p/17`."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    text = "/".join([*("x" + group for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{text}" + ("" if width == WIDTH else f".p/{width}")


def _tile(folder: Path, number: int, width: int) -> list[bytes] | None:
    """The first hashes of a level 0 tile, from the full one or a partial one that is wide enough."""
    for candidate in (WIDTH, *range(width, WIDTH)):
        data = _read(folder / tile_path(0, number, candidate))
        if len(data) == candidate * HASH:
            return [data[i : i + HASH] for i in range(0, width * HASH, HASH)]
    return None


def _gone(folder: Path, end: int) -> Iterator[bytes]:
    """Hashes of the records before the first segment."""
    for number in range(-(-end // WIDTH)):
        hashes = _tile(folder, number, min(WIDTH, end - number * WIDTH))
        if hashes is None:
            raise _BadError(number * WIDTH, f"the record is gone and so is its hash ({tile_path(0, number)})")
        yield from hashes


def _blame(folder: Path, agreed: int, promise: Checkpoint) -> tuple[int, str]:
    """Which record between the last checkpoint that fits and the first that does not."""
    wrong = _first_wrong(folder, agreed, promise.size, promise)
    if wrong is not None:
        return wrong, WRONG
    return agreed, f"the root of {promise.size} records is not the one signed (good up to {agreed})"


def _first_wrong(folder: Path, start: int, end: int, promise: Checkpoint) -> int | None:
    """The first record of a range that is not what the tiles say, if the tiles lead to the signed root."""
    if not _tiles_lead_to(folder, promise):
        return None
    tile: tuple[int, list[bytes]] = (-1, [])
    for index, data in _from(folder, start, end):
        number = index // WIDTH
        if tile[0] != number:
            tile = (number, _tile(folder, number, min(WIDTH, promise.size - number * WIDTH)) or [])
        if leaf(data) != tile[1][index % WIDTH]:
            return index
    return None


def _tiles_lead_to(folder: Path, promise: Checkpoint) -> bool:
    tree = Tree()
    try:
        for value in _gone(folder, promise.size):
            tree.push(value)
    except _BadError:
        return False
    return tree.root() == promise.root


def _from(folder: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    known = _segments(folder)
    for at, (first, path) in enumerate(known):
        if first >= end or (at + 1 < len(known) and known[at + 1][0] <= start):
            continue
        for index, data in enumerate(_Segment(first, path), first):
            if index >= end:
                return
            if index >= start:
                yield index, data


# -- the program -----------------------------------------------------------------------------------------


def told(report: Report) -> list[str]:
    """The report for people."""
    lines = []
    if report.first_bad is not None:
        lines.append(f"BAD: first bad index {report.first_bad.index}: {report.first_bad.what}")
    else:
        lines.append(
            f"good: {_many(report.covered, 'record')} under {_many(report.checkpoints, 'checkpoint')}, "
            f"root {report.root}"
        )
    if report.ok and not report.kept:
        lines.append(
            "rollback: undetectable here; hold it against a checkpoint kept elsewhere (--checkpoint)"
        )
    if report.gone:
        lines.append(
            f"gone by retention: {_many(report.gone, 'record')}, {_range(0, report.gone - 1)}; "
            "their hashes are here and fit"
        )
    if report.opened or report.dropped:
        lines.append(f"commitments: {_many(report.opened, 'record')} open, {report.dropped} were dropped")
    if report.undone:
        lines.append(
            f"commitments: {_many(report.undone, 'record')} were to be dropped and can still be opened: "
            "a gateway that runs, or is started, finishes that"
        )
    if report.unopened:
        lines.append(
            f"commitments: no openings are here, {_many(report.unopened, 'record')} cannot be opened"
        )
    if report.uncovered:
        place = _range(report.covered, report.records - 1)
        lines.append(f"not covered yet: {_many(report.uncovered, 'record')} {place}")
    if report.tail is not None:
        lines.append(f"not covered, and not whole: {report.tail}")
    if report.open_intent_count:
        lines.append(f"intents without outcome: {report.open_intent_count}")
        lines += [f"  {name}" for name in report.open_intents]
    return lines


def _range(first: int, last: int) -> str:
    return f"at index {first}" if first == last else f"from index {first} to {last}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: it holds; 1: it does not; 2: it could not be checked."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify a journal, a record or growth.")
    parser.add_argument("what", type=Path, help="journal folder, .tlog-proof or .tlog-growth file")
    parser.add_argument("vkey", help="name+hexid+base64, or a file that holds it")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint kept elsewhere")
    parser.add_argument("--record", type=Path, help="the record's bytes, where the proof does not hold them")
    parser.add_argument("--opening", type=Path, help="what opens the record's commitments")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    return run(
        args.what,
        args.vkey,
        args.checkpoint,
        record=args.record,
        opening=args.opening,
        as_json=args.json,
    )


def run(
    what: Path,
    vkey: str,
    checkpoint: Path | None,
    *,
    record: Path | None = None,
    opening: Path | None = None,
    as_json: bool,
) -> int:
    """Verify and print; shared by `audit verify` and the stand-alone program."""
    try:
        key = verifier_key(_key_text(vkey))
        kept = _file(checkpoint) if checkpoint is not None else None
        if what.is_dir():
            (what / "segments").stat()
            return _print(verify(what, key, kept=kept, progress=_progress), as_json=as_json)
        data = _file(what)
        if data.startswith(b"old "):
            return _print(prove_growth(data, key, kept), as_json=as_json)
        given, opens = (None if each is None else _file(each) for each in (record, opening))
        return _print(prove_record(data, key, given, opens), as_json=as_json)
    except (OSError, ValueError) as error:
        print(f"audit verify: {error}", file=sys.stderr)  # noqa: T201 (this is a program)
        return 2


def _print(found: Report | Proved, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(asdict(found)))  # noqa: T201
    elif isinstance(found, Report):
        print("\n".join(map(_plain, told(found))))  # noqa: T201
    else:
        print(("good: " if found.ok else "BAD: ") + _plain(found.what))  # noqa: T201
        if found.record is not None:
            print(_plain(found.record))  # noqa: T201
            for each in found.opened:
                print(f"committed: {_plain(each)}")  # noqa: T201
    return 0 if found.ok else 1


def _plain(text: str) -> str:
    """On one line, with nothing that a terminal obeys: no forged file may overwrite BAD with good."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1].replace("\x7f", "\\u007f") for c in text)


def _progress(count: int) -> None:
    print(f"{count} records …", file=sys.stderr)  # noqa: T201


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MOST_FILE_BYTES + 1)
    if len(data) > MOST_FILE_BYTES:
        raise ValueError(f"{path} is too long to be what is asked for")
    return data


def _key_text(vkey: str) -> str:
    """The key itself, or what its file holds."""
    if Path(vkey).is_file():
        return _file(Path(vkey)).decode("utf-8", "replace")
    if vkey.count("+") < 2:
        raise ValueError(f"there is no file {vkey}, and it is no verifier key (name+hexid+base64)")
    return vkey


if __name__ == "__main__":
    sys.exit(main())
