"""dmz-gateway approvals: who waits for approval; grant or refuse, signed with your own key."""

import argparse
import sys
from typing import Any, Literal

from gateway.cli import person
from gateway.model.errors import GatewayError

Decision = Literal["grant", "refuse"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `approvals` and its commands."""
    group = commands.add_parser("approvals", help="who waits for approval; grant or refuse, signed by you")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = person.options()
    listing = verbs.add_parser("list", parents=[common], help="requests that wait, and recent ones")
    listing.add_argument("--all", action="store_true", help="also those that are over")
    listing.set_defaults(run=person.answers(_list))
    for decision, run in (("grant", _grant), ("refuse", _refuse)):
        verb = verbs.add_parser(decision, parents=[common], help=f"{decision} a request")
        verb.add_argument("id", help="id of the request, or its end as far as it is unique")
        verb.add_argument("-y", "--yes", action="store_true", help="do not ask on the terminal")
        if decision == "grant":
            verb.add_argument("--minutes", type=int, help="for less time than policy gives")
        verb.set_defaults(run=person.answers(run))


def _list(args: argparse.Namespace) -> int:
    told = person.person(args).get("/admin/v1/approvals")
    found = told["approvals"]
    if not args.all:
        found = [each for each in found if each["state"] in ("pending", "granted")]
        told["approvals"] = found
    return person.say(args, told, [line for each in found for line in _lines(each)] or ["nothing waits"])


def _grant(args: argparse.Namespace) -> int:
    return _answer(args, "grant")


def _refuse(args: argparse.Namespace) -> int:
    return _answer(args, "refuse")


def _answer(args: argparse.Namespace, decision: Decision) -> int:
    someone = person.person(args)
    listed = someone.get("/admin/v1/approvals")
    request = _named(listed["approvals"], args.id)
    within_s = int(request["within_s"])
    if decision == "grant" and args.minutes is not None:
        within_s = min(within_s, args.minutes * 60)
    someone.say(request, listed["gateway"], decision, within_s)  # what does not agree is not even shown
    print("\n".join(_lines(request)), file=sys.stderr if args.json else sys.stdout)
    if not args.yes and sys.stdin.isatty() and not _agrees(decision):
        print("dmz-gateway: nothing was signed", file=sys.stderr)
        return 1
    told = someone.answer(request, listed["gateway"], decision, within_s)
    done = "granted, once, until " + told["expires"] if decision == "grant" else "refused"
    return person.say(args, told, [f"{done}; signed by {someone.subject}"])


def _agrees(decision: Decision) -> bool:
    print(f"{decision}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def _named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    meant = [each for each in found if each["request"].endswith(name.upper())]
    if len(meant) != 1:
        raise GatewayError(f"{'no' if not meant else 'more than one'} request ends in {name!r}")
    return meant[0]


def _lines(request: dict[str, Any]) -> list[str]:
    lines = [
        f"{request['request']}  {request['state']}, until {request['until']}",
        f"  {request['what']}",
        f"  wants {' and '.join(request['by_role'])}; a grant counts for {request['within_s']} s",
    ]
    lines += [f"  {each['decision']} by {each['by']} at {each['issued']}" for each in request["answers"]]
    # Whoever asks has a hand in these words: none of them is to steer a terminal.
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]
