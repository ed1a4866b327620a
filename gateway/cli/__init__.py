"""dmz-gateway: one file a command group; this one only joins them."""

import argparse
import importlib
import sys

from gateway import __version__
from gateway.model.errors import GatewayError

GROUPS = (
    "run",
    "check",
    "status",
    "pki",
    "policy",
    "audit",
    "inspect",
    "approvals",
    "mode",
    "windows",
    "break_glass",
    "demo",
)
"Modules of this package, each with `add(commands)`."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="dmz-gateway", description="A zero-trust gateway between a plant and IT."
    )
    top.add_argument("--version", action="version", version=f"dmz-gateway {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS:
        importlib.import_module(f"gateway.cli.{group}").add(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit code 0 done, 1 the answer is no, 2 the call or configuration is wrong."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except GatewayError as error:
        print(f"dmz-gateway: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
