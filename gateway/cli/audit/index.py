"""`audit index`: bring the search index up to date, or build it anew.

Searches do this themselves. It is kept as `index.db` in a gateway's data folder; for a journal that lies
elsewhere it is private and lasts as long as the search, unless `--index FILE` says where to keep it.
"""

import argparse
import json
import time

from gateway.cli.audit import given


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "index", "bring the search index up to date; it may be deleted at any time")
    given.kept(parser)
    parser.add_argument("--rebuild", action="store_true", help="build it anew")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Index; exit code 1 where the journal is damaged."""
    begun = time.monotonic()
    index = given.index(args, rebuild=args.rebuild)
    try:
        told = {
            "records": index.size,
            "rebuilt": index.rebuilt,
            "full_text": index.full_text,
            "seconds": round(time.monotonic() - begun, 3),
        }
    finally:
        index.close()
    if args.json:
        print(json.dumps(told))
    else:
        without = "" if told["full_text"] else "; no full text: this SQLite has no FTS5"
        how = "built anew" if told["rebuilt"] else "up to date"
        print(f"{told['records']} records indexed, {how} in {told['seconds']:.1f} s{without}")
    return 1 if given.warned(index.damaged) else 0
