"""`audit drop`: sensitive fields go for good, by whom they name or by age; every proof still holds.

It leaves an order in the journal folder. The gateway that runs puts it on record, waits until that is signed,
and then overwrites the openings; where none runs, the next that is started does. Copies that were made
before, exported events and backups are not reached.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from pathlib import Path

from gateway.audit import dropping
from gateway.cli.audit import given
from gateway.model.errors import GatewayError

WAIT_S = 90.0
"How long a running gateway may take: a signed record, and the index."
LOOK_S = 0.2


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "drop", "drop sensitive fields for good; every proof still holds")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--subject", metavar="NAME", help="of records that name this subject, user or address")
    which.add_argument("--before", metavar="TIME", help="of records before 2026-11-23T08:00:00Z, or 90d ago")
    parser.add_argument("--dry-run", action="store_true", help="only say of how many records")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Order it, and wait for it; exit code 1 where there is nothing to drop, or it is not done yet."""
    journal = given.journal(args)
    if args.subject is not None:
        order = dropping.about(journal, args.subject)
    else:
        order = dropping.aged(journal, given.when(args.before) or 0)
    count = sum(last - first + 1 for first, last in order.ranges) if order is not None else 0
    if order is None or args.dry_run:
        return _told(
            args, count, "nothing is dropped" if order is None else "would be dropped", done=bool(count)
        )
    orders = dropping.parts(order)
    for number, part in enumerate(orders, 1):
        file = dropping.leave(journal, part)
        if not _runs(args.data):
            rest = "" if number == len(orders) else f" ({number} of {len(orders)} parts; order the rest then)"
            return _told(args, count, f"ordered; a gateway drops them when it is started{rest}", done=False)
        _wait(file)
    return _told(args, count, "dropped", done=True)


def _wait(file: Path) -> None:
    until = time.monotonic() + WAIT_S
    while file.exists():
        if time.monotonic() > until:
            raise GatewayError(f"{file} is not carried out yet: the log of the gateway says why")
        time.sleep(LOOK_S)


def _told(args: argparse.Namespace, count: int, what: str, *, done: bool) -> int:
    if args.json:
        print(json.dumps({"records": count, "what": what}))
    else:
        print(f"{count} records: {what}", file=sys.stdout if done else sys.stderr)
    return 0 if done else 1


def _runs(data: Path) -> bool:
    """Whether a gateway holds the data folder."""
    try:
        lock = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
