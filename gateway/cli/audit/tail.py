"""`audit tail`: the newest records, and those that follow."""

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.audit.openings import Openings
from gateway.audit.outcome import words
from gateway.audit.reader import Walk, records, segments
from gateway.cli.audit import given
from gateway.model.record import RecordKind

FOLLOW_S = 0.2
"Pause between two looks at the end of the journal."


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "tail", "show the newest records")
    parser.add_argument("-n", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as records are written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The newest records; exit code 1 where the journal is damaged among or behind them."""
    journal = given.journal(args)
    openings = Openings(journal)
    count = max(args.n, 0)
    begin = 0
    newest: deque[tuple[int, bytes]] = deque(maxlen=count)
    damaged: list[int] = []
    for segment in reversed(segments(journal)):
        begin = segment.first
        damaged.clear()
        newest = deque(records(journal, begin, damaged), maxlen=count)
        if len(newest) == count:
            break
    came = {} if args.json else dict(outcomes(newest))
    for index, data in newest:
        given.record(openings, index, data, came.get(index), as_json=args.json)
    if given.warned(min(damaged, default=None)):
        return 1
    if args.follow:
        sys.stdout.flush()
        for index, data in following(journal, newest[-1][0] + 1 if newest else begin):
            given.record(openings, index, data, as_json=args.json)
            sys.stdout.flush()
    return 0


def outcomes(newest: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, str]]:
    """What came of the intents among these records: an outcome stands behind its intent."""
    intents: dict[str, int] = {}
    for index, data in newest:
        record = given.told(data)
        if record["kind"] == RecordKind.INTENT:
            intents[record["id"]] = index
        elif record["kind"] == RecordKind.OUTCOME and record["about"] in intents:
            yield intents[record["about"]], words(record["result"] or {})


def following(journal: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Every record from that index on, for ever."""
    offset, first = 0, -1
    while True:
        known = [s for s in segments(journal) if s.first <= start]
        if known:
            segment = known[-1]
            offset = offset if segment.first == first else 0
            first = segment.first
            walk = Walk(segment)
            try:
                if offset:
                    walk.scan.resume(start, offset)
                for data in walk:
                    if walk.scan.index > start:
                        yield start, data
                        start += 1
                offset = walk.scan.offset if walk.scan.index == start else 0
            finally:
                walk.close()
        time.sleep(FOLLOW_S)
