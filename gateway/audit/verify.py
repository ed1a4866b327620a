"""The offline verifier: a journal folder and a verifier key in, the first bad record out.

    python -m gateway.audit.verify FOLDER VKEY [--checkpoint FILE]

It needs only the standard library and `cryptography`, writes nothing, and works while the journal is being
written. It walks every record in order, grows the tree, and compares it with every checkpoint ever signed.
At or below the newest checkpoint any byte changed, record removed, inserted or swapped, and any cut is an
error; records above it are named as not covered. A checkpoint that a reviewer kept (`--checkpoint`) catches
what the folder alone cannot: a log cut back together with its checkpoints, or replaced as a whole.

Where the tree goes wrong between two checkpoints the tiles say which record it is, as long as they
themselves still lead to the signed root; otherwise the first record of the interval is named.
"""

import argparse
import heapq
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.audit.deeds import many
from gateway.audit.note import LINES, LONGEST, Checkpoint, VerifierKey, opened, verifier_key
from gateway.audit.reader import Segment, Walk, segments
from gateway.audit.tiles import HASH, WIDTH, path
from gateway.audit.tree import EMPTY, Frontier, leaf, root

MOST_LISTED = 1000
"Intents without outcome that are named; more are only counted."
PROGRESS_EVERY = 200_000
"Records between two lines of progress."
SIGNATURE = "— ".encode()
WRONG = "the record is not the one that was signed"
HEAD_BYTES = 120
"Where the kind of a record stands: schema, id and kind come first."


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
    covered: int = 0
    "Records at or below the newest checkpoint."
    root: str = ""
    "Hex root of the newest checkpoint."
    checkpoints: int = 0
    first_bad: Finding | None = None
    uncovered: int = 0
    "Whole records above the newest checkpoint: not yet signed."
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
    key: VerifierKey,
    *,
    kept: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a whole journal. Never raises for what is wrong with it; OSError where it cannot be read."""
    report = Report()
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

    def __init__(self, folder: Path, key: VerifierKey, kept: bytes | None) -> None:
        self._key = key
        self._path = folder / "checkpoints"
        newest = _read(folder / "checkpoint")
        self._end = self._path.stat().st_size if self._path.exists() else 0
        known = [
            self._opened(note, name, 0)
            for name, note in (("checkpoint", newest), ("the kept checkpoint", kept))
            if note
        ]
        last = self._tail()
        if last is not None:
            known.append(last)
        if not known:
            raise _BadError(0, "there is no checkpoint: nothing here is signed")
        self._beside = sorted(known, key=lambda checkpoint: checkpoint.size)
        self.newest = self._beside[-1]
        self._merged = heapq.merge(self._history(), self._beside, key=lambda checkpoint: checkpoint.size)
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
            checkpoint = opened(note, self._key)
        except ValueError as error:
            raise _BadError(index, f"{name}: {error}") from error
        if checkpoint.origin != self._key.name:
            raise _BadError(index, f"{name} is of another log, {checkpoint.origin}")
        return checkpoint

    def _tail(self) -> Checkpoint | None:
        """The last whole checkpoint of the history."""
        if not self._end:
            return None
        with self._path.open("rb") as file:
            file.seek(max(0, self._end - 2 * LONGEST))
            lines = file.read(2 * LONGEST).splitlines(keepends=True)
        ends = [i for i, line in enumerate(lines) if line.startswith(SIGNATURE) and line.endswith(b"\n")]
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
                note = b"".join(file.readline(LONGEST) for _ in range(LINES))
                if at + len(note) >= self._end and not note.endswith(b"\n"):
                    return  # Half written: the newest is still on its way, or was when power failed.
                checkpoint = self._opened(note, f"checkpoint at byte {at}", size)
                if checkpoint.size < size:
                    raise _BadError(checkpoint.size, f"checkpoint at byte {at}: smaller than the one before")
                at, size = at + len(note), checkpoint.size
                yield checkpoint


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _walk(folder: Path, promises: _Promises, report: Report, progress: Callable[[int], None] | None) -> None:
    promise = promises.next()
    while promise is not None and promise.size == 0:
        if promise.root != EMPTY:
            raise _BadError(0, "a checkpoint of the empty log has another root")
        promise = promises.next()
    agreed = _Agreed()
    try:
        _grow(folder, promises, promise, agreed, report, progress)
    except _BadError as bad:
        # Something before may be wrong too, and was not noticed because no checkpoint had come yet.
        wrong = _first_wrong(folder, agreed.size, bad.finding.index, promises.newest)
        if wrong is not None and wrong < bad.finding.index:
            raise _BadError(wrong, WRONG) from bad
        raise
    report.checkpoints = promises.count
    report.uncovered = max(0, report.records - report.covered)


@dataclass(slots=True)
class _Agreed:
    """How far the records are what was signed."""

    size: int = 0


def _grow(
    folder: Path,
    promises: _Promises,
    promise: Checkpoint | None,
    agreed: _Agreed,
    report: Report,
    progress: Callable[[int], None] | None,
) -> None:
    """Grow the tree by every record and hold it against every promise."""
    tree = Frontier()
    intents: dict[str, int] = {}
    for data in _records(folder, report):
        tree.push(leaf(data))
        _follow(data, intents)
        while promise is not None and promise.size == tree.size:
            if tree.root() != promise.root:
                raise _BadError(*_blame(folder, agreed.size, promise))
            agreed.size = promise.size
            promise = promises.next()
        if progress is not None and tree.size % PROGRESS_EVERY == 0:
            progress(tree.size)
    report.open_intent_count = len(intents)
    report.open_intents = list(intents)[:MOST_LISTED]


def _records(folder: Path, report: Report) -> Iterator[bytes]:
    """Every whole record. Damage at or below the newest checkpoint raises; above it, the tail is named."""
    known = segments(folder)
    for at, segment in enumerate(known):
        if segment.first != report.records:
            _end(report, f"a segment is missing before {segment.path.name}")
            return
        walk = Walk(segment)
        try:
            for data in walk:
                report.records += 1
                yield data
            final = at + 1 == len(known)
            fault = walk.scan.fault
            behind = _behind(walk) if final else walk.size() - walk.scan.offset
        finally:
            walk.close()
        if fault is not None or behind:
            what = fault or "bytes behind the last record"
            _end(report, f"{segment.path.name} at byte {walk.scan.offset}: {what}")
            return
    if report.records < report.covered:
        raise _BadError(report.records, f"the log ends, but {report.covered} records were signed")


def _end(report: Report, what: str) -> None:
    if report.records < report.covered:
        raise _BadError(report.records, what)
    report.tail = what


def _behind(walk: Walk) -> int:
    """How many bytes behind the last record are not zero."""
    return sum(len(piece) - piece.count(0) for piece in walk.rest())


def _follow(data: bytes, intents: dict[str, int]) -> None:
    """Keep the intents that have no outcome yet."""
    start = data[:HEAD_BYTES]
    if b'"kind":"intent"' in start:
        intents[str(_json(data).get("id"))] = 1
    elif b'"kind":"outcome"' in start:
        intents.pop(str(_json(data).get("about")), None)


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _blame(folder: Path, agreed: int, promise: Checkpoint) -> tuple[int, str]:
    """Which record between the last checkpoint that fits and the first that does not."""
    wrong = _first_wrong(folder, agreed, promise.size, promise)
    if wrong is not None:
        return wrong, WRONG
    return agreed, f"the root of {promise.size} records is not the one signed (good up to {agreed})"


def _first_wrong(folder: Path, start: int, end: int, promise: Checkpoint) -> int | None:
    """The first record of a range that is not what the tiles say, if the tiles lead to the signed root."""
    signed = _tile_leaves(folder, promise)
    if signed is None:
        return None
    for index, data in enumerate(_from(folder, start, end), start):
        if leaf(data) != signed[index // WIDTH][index % WIDTH]:
            return index
    return None


class _TileLeaves:
    """Leaf hashes by tile, read when needed."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._cache: tuple[int, list[bytes]] = (-1, [])

    def __getitem__(self, number: int) -> list[bytes]:
        if self._cache[0] != number:
            self._cache = (number, self.read(number) or [])
        return self._cache[1]

    def read(self, number: int) -> list[bytes] | None:
        width = min(WIDTH, self._size - number * WIDTH)
        for candidate in (WIDTH, *range(width, WIDTH)):
            data = _read(self._folder / path(0, number, candidate))
            if len(data) == candidate * HASH:
                return [data[i : i + HASH] for i in range(0, width * HASH, HASH)]
        return None


def _tile_leaves(folder: Path, promise: Checkpoint) -> _TileLeaves | None:
    """The tiles' leaf hashes, if they still lead to the signed root."""
    leaves = _TileLeaves(folder, promise.size)
    tree = Frontier()
    for number in range(-(-promise.size // WIDTH)):
        hashes = leaves.read(number)
        if hashes is None:
            return None
        if len(hashes) == WIDTH:
            tree.push_subtree(root(hashes), WIDTH)
        else:
            for value in hashes:
                tree.push(value)
    return leaves if tree.root() == promise.root else None


def _from(folder: Path, start: int, end: int) -> Iterator[bytes]:
    known: list[Segment] = segments(folder)
    for at, segment in enumerate(known):
        if segment.first >= end or (at + 1 < len(known) and known[at + 1].first <= start):
            continue
        walk = Walk(segment)
        try:
            for index, data in enumerate(walk, segment.first):
                if index >= end:
                    return
                if index >= start:
                    yield data
        finally:
            walk.close()


def told(report: Report) -> list[str]:
    """The report for people."""
    lines = []
    if report.first_bad is not None:
        lines.append(f"BAD: first bad index {report.first_bad.index}: {report.first_bad.what}")
    else:
        lines.append(
            f"good: {many(report.covered, 'record')} under {many(report.checkpoints, 'checkpoint')}, "
            f"root {report.root}"
        )
    if report.uncovered:
        first, last = report.covered, report.records - 1
        place = f"at index {first}" if first == last else f"from index {first} to {last}"
        lines.append(f"not covered yet: {many(report.uncovered, 'record')} {place}")
    if report.tail is not None:
        lines.append(f"not covered, and not whole: {report.tail}")
    if report.open_intent_count:
        lines.append(f"intents without outcome: {report.open_intent_count}")
        lines += [f"  {name}" for name in report.open_intents]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: nothing was changed; 1: something was; 2: it could not be checked."""
    parser = argparse.ArgumentParser(prog="gateway.audit.verify", description="Verify a journal offline.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("vkey", help="name+hexid+base64, or a file that holds it")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint kept elsewhere")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    return run(args.folder, args.vkey, args.checkpoint, as_json=args.json)


def _key_text(vkey: str) -> str:
    """The key itself, or what its file holds."""
    if Path(vkey).is_file():
        return Path(vkey).read_text()
    if vkey.count("+") < 2:
        raise ValueError(f"there is no file {vkey}, and it is no verifier key (name+hexid+base64)")
    return vkey


def run(folder: Path, vkey: str, checkpoint: Path | None, *, as_json: bool) -> int:
    """Verify and print; shared by `audit verify` and the stand-alone program."""

    def progress(count: int) -> None:
        print(f"{count} records …", file=sys.stderr)  # noqa: T201 (this is a program)

    try:
        key = verifier_key(_key_text(vkey))
        kept = checkpoint.read_bytes() if checkpoint is not None else None
        (folder / "segments").stat()
        report = verify(folder, key, kept=kept, progress=progress)
    except (OSError, ValueError) as error:
        print(f"audit verify: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(asdict(report)) if as_json else "\n".join(told(report)))  # noqa: T201
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
