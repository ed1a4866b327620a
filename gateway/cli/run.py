"""dmz-gateway run: be a gateway, until told to stop."""

import argparse
import logging
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `run`."""
    command = commands.add_parser("run", help="run a gateway")
    command.add_argument("-c", "--config", type=Path, required=True, help="gateway.yaml")
    command.add_argument("-v", "--verbose", action="store_true", help="log more")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM. Exit 2 where the configuration or the data folder cannot be used."""
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    from gateway.app import serve  # the other commands need not load the whole gateway

    serve(args.config)
    return 0
