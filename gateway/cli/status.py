"""dmz-gateway status and reload: ask a running gateway through its control socket."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gateway.config.document import open_document
from gateway.model.errors import ConfigError, Fault, GatewayError
from gateway.ops.control import ask


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `status` and `reload`."""
    for name, does in (
        ("status", "show assets, queues, sessions, expiries, clock and journal of a running gateway"),
        ("reload", "make a running gateway read policy, trust, certificates and tags again"),
    ):
        command = commands.add_parser(name, help=does)
        where = command.add_mutually_exclusive_group(required=True)
        where.add_argument("-c", "--config", type=Path, help="gateway.yaml of the running gateway")
        where.add_argument("--data", type=Path, help="its data folder")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=status if name == "status" else reload)


def status(args: argparse.Namespace) -> int:
    """Print the status. Exit 1 where something is not as it should be."""
    answer = _ask(args, "status")
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(_lines(answer)))
    return 0 if answer.get("ready") else 1


def reload(args: argparse.Namespace) -> int:
    """Reload. Exit 1 where something was refused; what was in force stays."""
    answer = _ask(args, "reload")
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(_lines(answer)))
    return 1 if "error" in answer or "refused" in answer else 0


def _ask(args: argparse.Namespace, command: str) -> dict[str, Any]:
    data = args.data or data_folder(args.config)
    try:
        answer = ask(data / "control.sock", command)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise GatewayError(f"no gateway is running on {data}") from error
    except PermissionError as error:
        raise GatewayError(f"{data}/control.sock belongs to another user") from error
    if "error" in answer and command == "status":
        print(f"dmz-gateway: {answer['error']}", file=sys.stderr)
    return answer


def data_folder(config: Path) -> Path:
    """The data folder that a configuration names. Nothing else of it need be right: it may be half edited."""
    named = open_document(config, config.name).get(("gateway", "data"))
    if not isinstance(named, str) or not named:
        raise ConfigError([Fault(str(config), "names no gateway.data", "name it, or give --data")])
    return config.parent / named


def _lines(answer: dict[str, Any], indent: str = "") -> list[str]:
    """A tree that people can read: nested names are indented, lists of tables get a line each."""
    lines: list[str] = []
    for name, value in answer.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{name}:")
            lines += [indent + "  " + "  ".join(f"{k}={_word(v)}" for k, v in row.items()) for row in value]
        else:
            first, *more = _word(value).split("\n")
            lines.append(f"{indent}{name}: {first}")
            lines += [f"{indent}{' ' * len(name)}  {line}" for line in more]
    return lines


def _word(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_word(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(str(v) for v in value) or "-"
    if value is None:
        return "-"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
