"""`audit export-tiles`: the journal as a folder that any C2SP tlog-tiles tool reads."""

import argparse
from pathlib import Path

from gateway.audit.bundles import export
from gateway.audit.proof import reading
from gateway.cli.audit import given
from gateway.cli.audit.prove import signed


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "export-tiles", "write the signed journal as a C2SP tlog-tiles folder")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it."""
    journal = given.journal(args)
    checkpoint, note, _ = signed(journal)
    count = export(journal, args.folder, checkpoint, note, reading(journal))
    print(f"{args.folder}: {count} of {checkpoint.size} records, checkpoint and tiles")
    return 0
