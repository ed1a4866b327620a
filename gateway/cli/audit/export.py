"""`audit export`: records as events that SIEMs know, as JSON lines. For a running gateway, and for a copy."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gateway.audit import note
from gateway.audit.openings import Openings
from gateway.audit.reader import records
from gateway.cli.audit import given
from gateway.export import cloudevents
from gateway.export.fitting import fit
from gateway.export.ocsf import Event, event
from gateway.model.errors import GatewayError
from gateway.model.record import RecordKind

FORMATS = ("ocsf", "cloudevents")


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "export", "records as OCSF events, one JSON a line")
    parser.add_argument("--format", choices=FORMATS, default="ocsf", help="ocsf (default), or in CloudEvents")
    parser.add_argument("--since", metavar="TIME", help="2026-11-23T08:00:00Z, or 15m, 2h, 7d ago")
    parser.add_argument("--until", metavar="TIME", help="the same forms")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="INDEX", help="begin there")
    parser.add_argument(
        "--without", action="append", choices=[*map(str, RecordKind)], default=[], help="leave out a kind"
    )
    parser.add_argument(
        "--unsigned", action="store_true", help="also what no checkpoint covers yet: it may not be durable"
    )
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="`-`: standard output (default)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export; exit code 1 where the journal cannot be read to its end."""
    journal = given.journal(args)
    signed = _newest(journal)
    damaged: list[int] = []
    told = _events(args, journal, signed.origin, None if args.unsigned else signed.size, damaged)
    if args.output == "-":
        count = _write(told, sys.stdout.buffer, signed.origin, args.format)
    else:
        try:
            fd = os.open(args.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GatewayError(f"{args.output}: {error.strerror}") from None
        with os.fdopen(fd, "wb") as out:
            count = _write(told, out, signed.origin, args.format)
    print(f"audit export: {count} events of {signed.origin}", file=sys.stderr)
    return int(given.warned(damaged[0] if damaged else None))


def _newest(journal: Path) -> note.Checkpoint:
    """The newest checkpoint: it names the log, and what it covers is durable."""
    try:
        text, key = (journal / "checkpoint").read_bytes(), (journal / "log.vkey").read_text("ascii")
    except OSError as error:
        raise GatewayError(f"{journal} has no checkpoint yet: {error.strerror}") from None
    try:
        return note.opened(text, note.verifier_key(key.strip()))
    except ValueError as error:
        raise GatewayError(f"the checkpoint of {journal} does not count: {error}") from None


def _events(
    args: argparse.Namespace, journal: Path, origin: str, end: int | None, damaged: list[int]
) -> Iterator[Event]:
    since, until = given.when(args.since), given.when(args.until)
    openings = Openings(journal)
    for index, data in records(journal, args.first, damaged):
        if end is not None and index >= end:
            return
        made = event(index, data, origin, openings)
        early = since is not None and made.wall_ns < since
        late = until is not None and made.wall_ns >= until
        if not (early or late or made.kind in args.without):
            yield made


def _write(events: Iterator[Event], out: BinaryIO, origin: str, form: str) -> int:
    count = 0
    for each in events:
        data = fit(each).data if form == "ocsf" else cloudevents.envelope(each, origin)
        out.write(data + b"\n")
        count += 1
    out.flush()
    return count
