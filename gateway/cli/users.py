"""dmz-gateway pki user: the password file of OPC UA users (`opcua[].users.passwords`).

A password is asked on the terminal, or read as one line from a pipe. It is never an argument: those stand in
the shell's history and in the list of processes.
"""

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any

from gateway.identity import passwords
from gateway.identity.ledger import locked
from gateway.identity.passwords import MOST_SECRET, Passwords
from gateway.model.errors import GatewayError


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `user` and its commands to `pki`."""
    group = verbs.add_parser("user", help="the password file of OPC UA users")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--file", type=Path, required=True, help="the file of opcua[].users.passwords")
    common.add_argument("--json", action="store_true", help="print JSON")
    for name, run, does in (
        ("add", _add, "add a user, or set another password; asks on the terminal, or reads a line"),
        ("remove", _remove, "remove a user"),
    ):
        verb = commands.add_parser(name, parents=[common], help=does)
        verb.add_argument("name")
        verb.set_defaults(run=run)
    commands.add_parser("list", parents=[common], help="who is in it").set_defaults(run=_list)


def _add(args: argparse.Namespace) -> int:
    _read(args.file)  # a file that is not usable is said before anybody is asked
    secret = _ask(args.name)
    with locked(args.file.parent):
        before = _read(args.file)
        passwords.write(args.file, before.having(args.name, secret))
    did = "changed" if args.name in before.users else "added"
    return _say(args, {"user": args.name, "result": did}, [f"{did} {args.name} in {args.file}"])


def _remove(args: argparse.Namespace) -> int:
    with locked(args.file.parent):
        passwords.write(args.file, passwords.read(args.file).without(args.name))
    return _say(args, {"user": args.name, "result": "removed"}, [f"removed {args.name} from {args.file}"])


def _list(args: argparse.Namespace) -> int:
    names = sorted(passwords.read(args.file).users)
    return _say(args, {"users": names}, names or ["nobody"])


def _read(file: Path) -> Passwords:
    return passwords.read(file) if file.exists() else Passwords()


def _ask(name: str) -> bytes:
    if not sys.stdin.isatty():
        line = sys.stdin.readline(MOST_SECRET + 2)
        return line.rstrip("\r\n").encode()
    first = getpass.getpass(f"password of {name}: ")
    if getpass.getpass("again: ") != first:
        raise GatewayError("the two passwords differ; nothing was changed")
    return first.encode()


def _say(args: argparse.Namespace, facts: Any, lines: list[str]) -> int:
    print(json.dumps(facts, indent=2) if args.json else "\n".join(lines))
    return 0
