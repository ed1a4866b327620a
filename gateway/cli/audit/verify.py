"""`audit verify`: prove that nothing signed was changed, or that a proof file holds."""

import argparse
import sys
from pathlib import Path

from gateway.audit import verify
from gateway.cli.audit import given
from gateway.model.errors import GatewayError


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "verify", "prove that nothing signed was changed")
    parser.add_argument("--vkey", "--key", help="verifier key, or a file with it (default: journal/log.vkey)")
    parser.add_argument(
        "--checkpoint", type=Path, help="a checkpoint kept elsewhere, to hold the log against"
    )
    parser.add_argument("--proof", type=Path, help="check this proof file instead of the journal")
    parser.add_argument("--record", type=Path, help="the record's bytes, where the proof does not hold them")
    parser.add_argument("--opening", type=Path, help="what opens the record's commitments")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify offline; exit code 1 where something was changed."""
    if args.proof is not None:
        if args.vkey is None:
            raise GatewayError("audit verify --proof needs the key: --vkey name+hexid+base64, or its file")
        return verify.run(
            args.proof,
            args.vkey,
            args.checkpoint,
            record=args.record,
            opening=args.opening,
            as_json=args.json,
        )
    journal = given.journal(args)
    vkey = args.vkey or str(journal / "log.vkey")
    if args.vkey is None:
        print(
            "audit verify: using the key beside the log; only a key kept elsewhere proves more",
            file=sys.stderr,
        )
    return verify.run(journal, vkey, args.checkpoint, as_json=args.json)
