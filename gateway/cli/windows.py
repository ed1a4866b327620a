"""dmz-gateway windows: open a window that policy data offer on request, or close it."""

import argparse
from urllib.parse import quote

from gateway.cli import person


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `windows` and its commands."""
    group = commands.add_parser("windows", help="open and close windows that policy data offer on request")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = person.options()
    listing = verbs.add_parser("list", parents=[common], help="which are open, and which could be")
    listing.set_defaults(run=person.answers(_list))
    opening = verbs.add_parser("open", parents=[common], help="open one")
    opening.add_argument("name")
    opening.add_argument("--minutes", type=int, required=True)
    opening.set_defaults(run=person.answers(_open))
    closing = verbs.add_parser("close", parents=[common], help="close one before its time")
    closing.add_argument("name")
    closing.set_defaults(run=person.answers(_close))


def _list(args: argparse.Namespace) -> int:
    told = person.person(args).get("/admin/v1/state")
    told = {name: told[name] for name in ("windows", "on_request")}
    lines = [f"{each['window']} open until {each['until']}, by {each['by']}" for each in told["windows"]]
    opened = {each["window"] for each in told["windows"]}
    could = {name: most for name, most in told["on_request"].items() if name not in opened}
    lines += [f"{name} can be opened for at most {most} minutes" for name, most in could.items()]
    return person.say(args, told, lines or ["policy data offer no window on request"])


def _open(args: argparse.Namespace) -> int:
    path = f"/admin/v1/windows/{quote(args.name, safe='')}/open"
    told = person.person(args).post(path, {"minutes": args.minutes})
    return person.say(args, told, [f"{args.name} is open until {told['until']}"])


def _close(args: argparse.Namespace) -> int:
    told = person.person(args).post(f"/admin/v1/windows/{quote(args.name, safe='')}/close", {})
    return person.say(args, told, [f"{args.name} is closed"])
