"""`audit search`: records that fit all conditions, newest page first, and on with --follow."""

import argparse
import sys
import time

import msgspec

from gateway.audit.index import Index
from gateway.audit.outcome import OUTCOMES
from gateway.audit.query import Filters
from gateway.cli.audit import given
from gateway.model.errors import GatewayError
from gateway.model.operation import Action
from gateway.model.record import RecordKind

FOLLOW_S = 0.5
"Pause between two looks for new records."
TEXTS = (
    ("who", "part of the subject; or a source address, serial number, beginning of a fingerprint"),
    ("asset", "name of the asset"),
    ("tag", "name of the tag"),
    ("reason", "code of a reason, or its beginning up to a dot"),
    ("operation", "kind of operation, or its beginning up to a dot: admin, modbus.write_single_register"),
    ("grant", "name of a grant that allowed it"),
    ("revision", "beginning of the digest of the bundle that decided"),
    ("listener", "name of the listener it came in by"),
)
WORDS: tuple[tuple[str, list[str], str], ...] = (
    ("action", [*Action], "what was wanted"),
    ("decision", ["allow", "deny", "would_deny"], "deny finds refused connections too"),
    ("kind", [*RecordKind], "kind of record"),
    ("outcome", [*OUTCOMES], "intents that ended so; unknown: perhaps done"),
)


NAMES = (*(name for name, _ in TEXTS), *(name for name, _, _ in WORDS))
"Conditions of all of these commands, as filters call them too."


def conditions(parser: argparse.ArgumentParser) -> None:
    """The conditions that all commands with an index share."""
    for name, text in TEXTS:
        parser.add_argument(f"--{name}", help=text)
    for name, choices, text in WORDS:
        known = [str(choice) for choice in choices]
        parser.add_argument(f"--{name}", choices=known, metavar="WORD", help=f"{text}: {', '.join(known)}")
    parser.add_argument("--since", help="2026-11-23T08:00:00Z, or how long ago: 90s, 15m, 2h, 7d")
    parser.add_argument("--until", help="the same, exclusive")


def filters(args: argparse.Namespace) -> Filters:
    """The conditions given."""
    since_ns, until_ns = given.when(args.since), given.when(args.until)
    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        raise GatewayError("--since is later than --until")
    return Filters(**{name: getattr(args, name) for name in NAMES}, since_ns=since_ns, until_ns=until_ns)


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "search", "find records; all conditions must hold")
    given.kept(parser)
    conditions(parser)
    parser.add_argument("--changed-from", type=float, metavar="VALUE", help="writes that found this value")
    parser.add_argument(
        "--changed-to", "--value", type=float, metavar="VALUE", help="writes of this value, in the tag's unit"
    )
    parser.add_argument("--text", help="words that must all be in it; `pump*` is a beginning")
    parser.add_argument("--limit", type=int, default=100, help="the newest so many (default: 100)")
    parser.add_argument("--cursor", type=int, metavar="INDEX", help="the page before this index")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as records are written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find; exit code 1 where nothing fits, or the journal is damaged."""
    wanted = _wanted(args)
    index = given.index(args)
    try:
        shown = _page(index, wanted, as_json=args.json)
        if len(shown) == wanted.limit and not args.follow:
            print(f"there may be more: --cursor {shown[0]}", file=sys.stderr)
        while args.follow:
            sys.stdout.flush()
            time.sleep(FOLLOW_S)
            after = index.size - 1
            index.refresh()
            _page(index, msgspec.structs.replace(wanted, after=after), as_json=args.json)
    finally:
        index.close()
    if given.warned(index.damaged):
        return 1
    if not shown:
        print("no records match", file=sys.stderr)
    return 0 if shown else 1


def _wanted(args: argparse.Namespace) -> Filters:
    if args.limit < 1:
        raise GatewayError("--limit must be at least 1")
    checks: tuple[tuple[bool, str], ...] = (
        (args.text is not None and not args.text.strip("* "), "--text needs a word"),
        (args.follow and args.cursor is not None, "--follow and --cursor go different ways"),
    )
    for wrong, why in checks:
        if wrong:
            raise GatewayError(why)
    wanted = filters(args)
    return msgspec.structs.replace(
        wanted,
        kind=wanted.kind or (RecordKind.INTENT.value if wanted.outcome else None),
        changed_from=args.changed_from,
        changed_to=args.changed_to,
        text=args.text,
        before=args.cursor,
        limit=args.limit,
    )


def _page(index: Index, wanted: Filters, *, as_json: bool) -> list[int]:
    """Print what fits; gives the indices, oldest first."""
    shown = []
    for number, data, came in index.search(wanted):
        given.record(index.openings, number, data, came, as_json=as_json)
        shown.append(number)
    return shown
