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
    "tags",
    "break_glass",
    "demo",
)
"Modules of this package, each with `add(commands)`."


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; or of one group, so that a question need not wait for parts it does not use."""
    top = argparse.ArgumentParser(
        prog="dmz-gateway", description="A zero-trust gateway between a plant and IT."
    )
    top.add_argument("--version", action="version", version=f"dmz-gateway {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS if only is None else (only,):
        importlib.import_module(f"gateway.cli.{group}").add(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit code 0 done, 1 the answer is no, 2 the call or configuration is wrong."""
    words = sys.argv[1:] if argv is None else argv
    named = words[0].replace("-", "_") if words else ""
    args = parser(named if named in GROUPS else None).parse_args(words)
    try:
        return int(args.run(args))
    except GatewayError as error:
        print(f"dmz-gateway: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
