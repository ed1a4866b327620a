"""`dmz-gateway audit …`: read, search, explain and prove the journal. Never writes into it.

Whoever looks at a journal that cannot be read to its end is told so, with exit code 1: it is not all.
"""

import argparse
import json
import stat
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit import tell, verify
from gateway.audit.index import Filters, Index
from gateway.audit.outcome import OUTCOMES, words
from gateway.audit.reader import Walk, records, segments
from gateway.model.errors import GatewayError
from gateway.model.operation import Action
from gateway.model.record import RecordKind

FOLLOW_S = 0.2
"Pause between two looks at the end of the journal."
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
OWN = ("format", "lock")
"Files by which a data folder is a gateway's, so that an index may be kept in it."


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the group."""
    group = commands.add_parser("audit", help="read, search and verify the journal")
    audit = group.add_subparsers(title="audit commands", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        parser = audit.add_parser(name, help=text, description=text)
        parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
        parser.add_argument("--json", action="store_true", help="for programs")
        return parser

    last = command("tail", "show the newest records")
    last.add_argument("-n", type=int, default=10, help="how many (default: 10)")
    last.add_argument("-f", "--follow", action="store_true", help="go on as records are written")
    last.set_defaults(run=tail)

    find = command("search", "find records; all conditions must hold")
    for name, text in (
        ("who", "part of the subject, or the source address"),
        ("asset", "name of the asset"),
        ("tag", "name of the tag"),
        ("reason", "code of a reason, or its beginning up to a dot"),
    ):
        find.add_argument(f"--{name}", help=text)
    for name, choices, text in (
        ("action", [*Action], "what was wanted"),
        ("decision", ["allow", "deny"], "deny finds refused connections too"),
        ("kind", [*RecordKind], "kind of record"),
        ("outcome", [*OUTCOMES], "intents that ended so; unknown: perhaps done"),
    ):
        known = [str(choice) for choice in choices]
        find.add_argument(f"--{name}", choices=known, metavar="WORD", help=f"{text}: {', '.join(known)}")
    find.add_argument("--since", help="2026-11-23T08:00:00Z, or how long ago: 90s, 15m, 2h, 7d")
    find.add_argument("--until", help="the same, exclusive")
    find.add_argument("--limit", type=int, default=100, help="the newest so many (default: 100)")
    find.set_defaults(run=search)

    one = command("show", "tell one record and what belongs to it")
    one.add_argument("id", help="ULID or index")
    one.set_defaults(run=show)

    check = command("verify", "prove that nothing signed was changed")
    check.add_argument("--vkey", help="verifier key, or a file with it (default: journal/log.vkey)")
    check.add_argument("--checkpoint", type=Path, help="a checkpoint kept elsewhere, to hold the log against")
    check.set_defaults(run=run_verify)


def _journal(args: argparse.Namespace) -> Path:
    data: Path = args.data
    if not (data / "journal" / "segments").is_dir():
        raise GatewayError(f"{data} holds no journal; name the data folder with --data")
    return data / "journal"


def _print(index: int, data: bytes, came: str | None = None, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f'{{"index":{index},"record":{data.decode()}}}\n')
    else:
        print(tell.line(index, _told(data), came))


def _warned(damaged: int | None) -> bool:
    """Whether the journal cannot be read to its end; said where it is."""
    if damaged is not None:
        sys.stdout.flush()
        print(f"the journal is damaged at record {damaged}: run audit verify", file=sys.stderr)
    return damaged is not None


def _told(data: bytes) -> dict[str, Any]:
    return msgspec.json.decode(data, type=dict[str, Any])


def tail(args: argparse.Namespace) -> int:
    """The newest records; exit code 1 where the journal is damaged among or behind them."""
    journal = _journal(args)
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
    came = {} if args.json else dict(_outcomes(newest))
    for index, data in newest:
        _print(index, data, came.get(index), as_json=args.json)
    if _warned(min(damaged, default=None)):
        return 1
    if args.follow:
        sys.stdout.flush()
        for index, data in _following(journal, newest[-1][0] + 1 if newest else begin):
            _print(index, data, as_json=args.json)
            sys.stdout.flush()
    return 0


def _outcomes(newest: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, str]]:
    """What came of the intents among these records: an outcome stands behind its intent."""
    intents: dict[str, int] = {}
    for index, data in newest:
        record = _told(data)
        if record["kind"] == RecordKind.INTENT:
            intents[record["id"]] = index
        elif record["kind"] == RecordKind.OUTCOME and record["about"] in intents:
            yield intents[record["about"]], words(record["result"] or {})


def _following(journal: Path, start: int) -> Iterator[tuple[int, bytes]]:
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


def search(args: argparse.Namespace) -> int:
    """Find; exit code 1 where nothing fits, or the journal is damaged."""
    since_ns, until_ns = _when(args.since), _when(args.until)
    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        raise GatewayError("--since is later than --until")
    if args.limit < 1:
        raise GatewayError("--limit must be at least 1")
    filters = Filters(
        who=args.who,
        asset=args.asset,
        tag=args.tag,
        action=args.action,
        decision=args.decision,
        reason=args.reason,
        kind=args.kind or (RecordKind.INTENT.value if args.outcome else None),
        outcome=args.outcome,
        since_ns=since_ns,
        until_ns=until_ns,
        limit=args.limit,
    )
    index = _index(args)
    try:
        found = 0
        for number, data, came in index.search(filters):
            _print(number, data, came, as_json=args.json)
            found += 1
    finally:
        index.close()
    if _warned(index.damaged):
        return 1
    if not found:
        print("no records match", file=sys.stderr)
    return 0 if found else 1


def _index(args: argparse.Namespace) -> Index:
    """The index: kept beside a gateway's journal, private where the folder is none or is marked read-only."""
    journal = _journal(args)
    own = all((args.data / name).is_file() for name in OWN) and args.data.stat().st_mode & stat.S_IWUSR
    index = Index(journal, args.data / "index.db" if own else None)
    index.refresh()
    return index


def _when(text: str | None) -> int | None:
    """Nanoseconds since 1970 of a moment, or of so long ago."""
    if text is None:
        return None
    if text[-1:] in SPANS and text[:-1].isdigit():
        return time.time_ns() - int(text[:-1]) * SPANS[text[-1]] * 1_000_000_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise GatewayError(f"{text!r} is no time: 2026-11-23T08:00:00Z, 90s, 15m, 2h, 7d") from error
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def show(args: argparse.Namespace) -> int:
    """Tell one record; exit code 1 where there is none, or the journal is damaged."""
    index = _index(args)
    try:
        found = index.by_id(args.id)
    finally:
        index.close()
    if not found:
        if not _warned(index.damaged):
            print(f"no record {args.id}", file=sys.stderr)
        return 1
    told = [_told(data) for _, data in found]
    sentence = tell.sentence(told)
    if args.json:
        parts = ",".join(f'{{"index":{n},"record":{data.decode()}}}' for n, data in found)
        sys.stdout.write(f'{{"sentence":{json.dumps(sentence)},"records":[{parts}]}}\n')
    else:
        print(sentence)
        for (number, _), record in zip(found, told, strict=True):
            print(f"\nrecord {number}")
            print("\n".join(tell.details(record)))
    return 1 if _warned(index.damaged) else 0


def run_verify(args: argparse.Namespace) -> int:
    """Verify offline; exit code 1 where something was changed."""
    journal = _journal(args)
    vkey = args.vkey or str(journal / "log.vkey")
    if args.vkey is None:
        print(
            "audit verify: using the key beside the log; only a key kept elsewhere proves more",
            file=sys.stderr,
        )
    return verify.run(journal, vkey, args.checkpoint, as_json=args.json)
