"""`audit prove`: a file that shows to somebody without this gateway that a record is in its log."""

import argparse
import os
import sys
from pathlib import Path

from gateway.audit import proof
from gateway.audit.note import Checkpoint, VerifierKey, opened, verifier_key
from gateway.audit.openings import Openings
from gateway.audit.reader import records
from gateway.cli.audit import given
from gateway.model.errors import GatewayError

GROWTH = ".tlog-growth"


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(
        below, "prove", "prove to somebody else that a record is in the log, or that it grew"
    )
    parser.add_argument("id", nargs="?", help="ULID or index of the record")
    parser.add_argument("-o", "--output", type=Path, help=f"file to write (default: ID{proof.SUFFIX})")
    parser.add_argument("--record", type=Path, help="its bytes, where retention took them from the journal")
    parser.add_argument(
        "--consistency", type=Path, metavar="OLD", help="prove growth since this checkpoint that was kept"
    )
    parser.add_argument(
        "--opening", type=Path, metavar="FILE", help="write what opens its commitments into this file, too"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the proof; exit code 1 where there is nothing to prove it of."""
    if (args.id is None) == (args.consistency is None):
        raise GatewayError("audit prove takes the ID of a record, or --consistency OLD")
    journal = given.journal(args)
    newest, note, key = signed(journal)
    if args.consistency is not None:
        try:
            old = opened(args.consistency.read_bytes(), key)
        except (OSError, ValueError) as error:
            raise GatewayError(f"{args.consistency}: {error}") from error
        made = proof.growth_proof(old, newest, note, proof.reading(journal))
        return _write(args.output or Path(f"{old.size}-{newest.size}{GROWTH}"), made)
    found = _record(args, journal)
    if found is None:
        print(f"no record {args.id}", file=sys.stderr)
        return 1
    if found[0] >= newest.size:
        print(f"record {found[0]} is not signed yet: {newest.size} are", file=sys.stderr)
        return 1
    made = proof.record_proof(*found, newest, note, proof.reading(journal))
    if args.opening is not None:
        opening = Openings(journal).opening(found[0])
        if opening is None:
            raise GatewayError(
                f"record {found[0]} has no opening: it keeps nothing by commitment, or was dropped"
            )
        _write(args.opening, opening)
    return _write(args.output or Path(f"{args.id}{proof.SUFFIX}"), made)


def signed(journal: Path) -> tuple[Checkpoint, bytes, VerifierKey]:
    """The newest checkpoint, its note, and the key beside the log."""
    try:
        key = verifier_key((journal / "log.vkey").read_text())
        note = (journal / "checkpoint").read_bytes()
        return opened(note, key), note, key
    except (OSError, ValueError) as error:
        raise GatewayError(f"{journal} has no checkpoint to prove anything by: {error}") from error


def _record(args: argparse.Namespace, journal: Path) -> tuple[int, bytes] | None:
    """Index and bytes of the record that was named."""
    if args.id.isdigit():
        number = int(args.id)
        if args.record is not None:
            return number, args.record.read_bytes()
        first = next(records(journal, number), None)
        return first if first is not None and first[0] == number else None
    index = given.index(args)
    try:
        return next(((n, d) for n, d in index.by_id(args.id) if given.told(d)["id"] == args.id), None)
    finally:
        index.close()


def _write(file: Path, made: bytes) -> int:
    """Never over something that is there: it may be somebody's evidence."""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "wb") as out:
            out.write(made)
    except FileExistsError as error:
        raise GatewayError(f"{file} is there already") from error
    except OSError as error:
        raise GatewayError(f"cannot write {file}: {error.strerror}") from error
    print(file)
    return 0
