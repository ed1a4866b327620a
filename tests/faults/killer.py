"""Kills the writer again and again, and looks after each life whether the journal kept its word.

    python -m tests.faults.killer FOLDER ROUNDS SEED

The writer (`writer`) is forked, so that a round takes milliseconds and not the start of a Python. Every
`LIVES` rounds the journal is checked as a whole and a new one begins. Between two lives the end of the log
is sometimes torn, as a power failure would do: a kill alone leaves the page cache whole. Prints what it saw
as JSON; an AssertionError and exit 1 say what was broken. Every other journal keeps what is sensitive by
commitment: then no record may lack its opening.
"""

import asyncio
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from gateway.audit import framing
from gateway.audit.log import SEGMENTS
from gateway.audit.openings import Openings
from gateway.audit.reader import records
from gateway.audit.signer import Signer
from gateway.audit.verify import verify
from tests.faults.writer import write
from tests.unit.audit import world

LIVES = 50
"Rounds with one journal."
MOST_RECEIPTS = 300
"A life ends after at most so many."
TORN_EVERY = 8
LIFE_S = 30.0


class Life:
    """What one writer said before it was killed."""

    def __init__(self, said: str) -> None:
        lines = [line.split() for line in said[: said.rfind("\n") + 1].splitlines()]
        self.receipts = [(words[1], int(words[2])) for words in lines if words[0] == "receipt"]
        self.refused = [words for words in lines if words[0] == "refused"]


def live(folder: Path, receipts: int, *, sealed: bool) -> Life:
    """Fork the writer, kill it soon after so many receipts."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(writing, 1)
        try:
            asyncio.run(write(folder, sys.maxsize, sealed=sealed))
        finally:
            os._exit(3)
    os.close(writing)
    said, deadline = b"", time.monotonic() + LIFE_S
    try:
        while said.count(b"receipt") < receipts:
            assert time.monotonic() < deadline, said[-500:]
            if select.select([reading], [], [], 1)[0]:
                more = os.read(reading, 1 << 16)
                assert more, f"the writer ended by itself: {said[-500:]!r}"
                said += more
    finally:
        os.kill(child, signal.SIGKILL)
        while more := os.read(reading, 1 << 16):
            said += more
        os.close(reading)
        os.waitpid(child, 0)
    return Life(said.decode())


def tear(folder: Path, rng: random.Random) -> int:
    """Put half a record behind the last whole one, its length at least; the index that it would have had."""
    path = max((folder / SEGMENTS).glob("*.seg"))
    with path.open("r+b") as file:
        fd = file.fileno()
        scan = framing.Scan(lambda count, offset: os.pread(fd, count, offset), int(path.stem))
        for _ in scan:
            pass
        whole = framing.frame(scan.index, rng.randbytes(rng.randrange(16, 4000)) + b"}")
        os.pwrite(fd, whole[: rng.randrange(framing.FRAME.size // 2, len(whole))], scan.offset)
    return scan.index


def check(folder: Path, lives: list[Life], torn: set[int], seen: Counter[str], *, sealed: bool) -> None:
    """Close the journal once more, and hold everything that was said against it."""
    world.journal(folder, world.Clock(), seed=time.time_ns() % 2**60).open()
    report = verify(folder, Signer(world.KEY, world.ORIGIN).verifier)
    assert report.ok, report
    assert report.open_intent_count == 0
    openings = Openings(folder)
    assert sealed == bool(report.opened)
    assert report.dropped == report.unopened == 0
    kept = [json.loads(data) for _, data in records(folder)]
    intents = {record["id"]: index for index, record in enumerate(kept) if record["kind"] == "intent"}
    outcomes = Counter(record["about"] for record in kept if record["kind"] == "outcome")
    for life in lives:
        assert not life.refused, life.refused
        for record, index in life.receipts:
            assert record in intents, "an act without its intent"
            assert intents[record] == index, "an acknowledged record is not where it was acknowledged"
            assert openings.has(index) == sealed, "an acknowledged record whose opening is missing"
    assert set(outcomes) == set(intents), "every intent has an outcome, if only `unknown`"
    assert set(outcomes.values()) == {1}, "and only one"
    told = {cut["index"] for record in kept if (cut := _cut(record)) is not None}
    assert torn <= told, "a torn end that nobody was told of"
    seen["acts"] += sum(len(life.receipts) for life in lives)
    seen["records"] += len(kept)
    seen["opened"] += report.opened
    seen["torn"] += len(torn)
    seen["unknown"] += sum(
        record["kind"] == "outcome" and record["result"]["status"] == "unknown" for record in kept
    )


def _cut(record: dict[str, Any]) -> dict[str, Any] | None:
    note = record["note"] or {}
    recovery = note.get("recovery") if record["kind"] == "lifecycle" else None
    return recovery["cut"] if recovery else None


def main(folder: Path, rounds: int, seed: int) -> Counter[str]:
    """So many kills."""
    rng = random.Random(seed)  # noqa: S311 (when to kill)
    seen: Counter[str] = Counter()
    while seen["rounds"] < rounds:
        journal = folder / f"journal-{seen['rounds']}"
        sealed = bool((seed + seen["rounds"] // LIVES) % 2)
        lives: list[Life] = []
        torn: set[int] = set()
        for _ in range(min(LIVES, rounds - seen["rounds"])):
            lives.append(live(journal, rng.randrange(1, MOST_RECEIPTS), sealed=sealed))
            seen["rounds"] += 1
            if rng.randrange(TORN_EVERY) == 0:
                torn.add(tear(journal, rng))
        check(journal, lives, torn, seen, sealed=sealed)
        shutil.rmtree(journal)
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201 # its answer
