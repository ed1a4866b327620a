"""`audit search`: records that fit all conditions."""

import argparse
import sys

from gateway.audit.index import Filters
from gateway.audit.outcome import OUTCOMES
from gateway.cli.audit import given
from gateway.model.errors import GatewayError
from gateway.model.operation import Action
from gateway.model.record import RecordKind


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    find = given.command(below, "search", "find records; all conditions must hold")
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
    find.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find; exit code 1 where nothing fits, or the journal is damaged."""
    since_ns, until_ns = given.when(args.since), given.when(args.until)
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
    index = given.index(args)
    try:
        found = 0
        for number, data, came in index.search(filters):
            given.record(number, data, came, as_json=args.json)
            found += 1
    finally:
        index.close()
    if given.warned(index.damaged):
        return 1
    if not found:
        print("no records match", file=sys.stderr)
    return 0 if found else 1
