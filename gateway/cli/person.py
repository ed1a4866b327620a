"""How a person reaches the admin API of a gateway, for the commands that act there; no command of its own."""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.admin.client import AnswerIsNoError, Person
from gateway.config.document import open_document
from gateway.model.errors import ConfigError, Fault, GatewayError

DEFAULT_PORT = 8444
"As `admin.port` of the configuration."
FROM = {
    "gateway": ("DMZ_GATEWAY", "https://host:port of the admin API; a name in its certificate"),
    "ca": ("DMZ_CA", "PEM file of the authority that vouches for the gateway"),
    "cert": ("DMZ_CERT", "your certificate, PEM"),
    "key": ("DMZ_KEY", "its key, PEM, mode 0600"),
}
"Option -> environment variable and what it is."

Run = Callable[[argparse.Namespace], int]


def options() -> argparse.ArgumentParser:
    """Options that every such command takes."""
    common = argparse.ArgumentParser(add_help=False)
    for name, (variable, does) in FROM.items():
        common.add_argument(f"--{name}", help=f"{does} (or ${variable})")
    common.add_argument("-c", "--config", type=Path, help="gateway.yaml, for the address")
    common.add_argument("--json", action="store_true", help="print JSON")
    return common


def person(args: argparse.Namespace) -> Person:
    """The person that the options name."""
    found = {name: getattr(args, name) or os.environ.get(variable) for name, (variable, _) in FROM.items()}
    if not found["gateway"] and args.config is not None:
        found["gateway"] = _address(args.config)
    missing = [f"--{name} (or ${FROM[name][0]})" for name, value in found.items() if not value]
    if missing:
        raise GatewayError(f"name {', '.join(missing)}")
    anchors, certificate, key = (Path(str(found[name])).expanduser() for name in ("ca", "cert", "key"))
    return Person(str(found["gateway"]), anchors, certificate, key, int(datetime.now(UTC).timestamp()))


def answers(run: Run) -> Run:
    """A command whose gateway may say no: exit 1, with the reason on stderr, or as JSON."""

    @functools.wraps(run)
    def ask(args: argparse.Namespace) -> int:
        try:
            return run(args)
        except (KeyError, TypeError) as odd:
            raise GatewayError(f"the gateway's answer cannot be read: {odd!r}") from None
        except AnswerIsNoError as no:
            if args.json:
                print(json.dumps(no.told(), indent=2))
            print(f"dmz-gateway: {no}", file=sys.stderr)
            return 1

    return ask


def say(args: argparse.Namespace, told: dict[str, Any], lines: list[str]) -> int:
    """Print what came of it."""
    print(json.dumps(told, indent=2) if args.json else "\n".join(lines))
    return 0


def _address(config: Path) -> str:
    """The address that a configuration gives the admin API. Nothing else of the file need be right."""
    document = open_document(config, config.name)
    if document.get(("admin",)) is None:
        raise ConfigError([Fault(str(config), "has no section `admin`", "add one, or give --gateway")])
    host, port = document.get(("admin", "host")), document.get(("admin", "port"))
    host = host if isinstance(host, str) and host else "127.0.0.1"
    return f"https://{f'[{host}]' if ':' in host else host}:{port if isinstance(port, int) else DEFAULT_PORT}"
