"""`audit verify`: prove that nothing signed was changed."""

import argparse
import sys
from pathlib import Path

from gateway.audit import verify
from gateway.cli.audit import given


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "verify", "prove that nothing signed was changed")
    parser.add_argument("--vkey", help="verifier key, or a file with it (default: journal/log.vkey)")
    parser.add_argument(
        "--checkpoint", type=Path, help="a checkpoint kept elsewhere, to hold the log against"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify offline; exit code 1 where something was changed."""
    journal = given.journal(args)
    vkey = args.vkey or str(journal / "log.vkey")
    if args.vkey is None:
        print(
            "audit verify: using the key beside the log; only a key kept elsewhere proves more",
            file=sys.stderr,
        )
    return verify.run(journal, vkey, args.checkpoint, as_json=args.json)
