"""`audit timeline`: what happened in order; repeats are told once."""

import argparse
import sys

import msgspec

from gateway.audit.query import Filters
from gateway.audit.timeline import timeline, together
from gateway.cli.audit import given, search
from gateway.model.errors import GatewayError


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(
        below, "timeline", "what happened in order: of a subject, on an asset, before a record"
    )
    given.kept(parser)
    search.conditions(parser)
    parser.add_argument("--subject", dest="who", help="the same as --who")
    parser.add_argument(
        "--before", metavar="ID", help="what led to this record (ULID or index), or to a time"
    )
    parser.add_argument("--span", default="10m", help="how long before it (default: 10m)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell; exit code 1 where nothing happened, or the journal is damaged."""
    index = given.index(args)
    try:
        wanted = search.filters(args)
        if args.before is not None:
            wanted = _before(wanted, args.before, args.span, index.moment(args.before))
        told = timeline(index, wanted)
    finally:
        index.close()
    if args.json:
        for entry in told.entries:
            sys.stdout.write(msgspec.json.encode(entry).decode() + "\n")
    else:
        for line in together(told):
            print(line)
    if given.warned(index.damaged):
        return 1
    if not told.entries:
        print("nothing happened", file=sys.stderr)
    return 0 if told.entries else 1


def _before(wanted: Filters, text: str, span: str, found: tuple[int, int] | None) -> Filters:
    """The span that ends with a record, or at a time."""
    if wanted.since_ns is not None or wanted.until_ns is not None:
        raise GatewayError("--before says the period: no --since, no --until")
    if found is not None:
        n, until = found
        return msgspec.structs.replace(
            wanted, before=n, until_ns=until + 1, since_ns=until - given.length(span)
        )
    if text.isdigit() or len(text) == given.ULID:
        raise GatewayError(f"no record {text}")
    until = given.when(text) or 0
    return msgspec.structs.replace(wanted, until_ns=until, since_ns=until - given.length(span))
