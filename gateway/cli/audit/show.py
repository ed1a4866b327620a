"""`audit show`: one record as a sentence, and what belongs to it."""

import argparse
import json
import sys

from gateway.audit import tell
from gateway.cli.audit import given


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "show", "tell one record and what belongs to it")
    parser.add_argument("id", help="ULID or index")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell one record; exit code 1 where there is none, or the journal is damaged."""
    index = given.index(args)
    try:
        found = index.by_id(args.id)
    finally:
        index.close()
    if not found:
        if not given.warned(index.damaged):
            print(f"no record {args.id}", file=sys.stderr)
        return 1
    told = [given.told(data) for _, data in found]
    sentence = tell.sentence(told)
    if args.json:
        parts = ",".join(f'{{"index":{n},"record":{data.decode()}}}' for n, data in found)
        sys.stdout.write(f'{{"sentence":{json.dumps(sentence)},"records":[{parts}]}}\n')
    else:
        print(sentence)
        for (number, _), record in zip(found, told, strict=True):
            print(f"\nrecord {number}")
            print("\n".join(tell.details(record)))
    return 1 if given.warned(index.damaged) else 0
