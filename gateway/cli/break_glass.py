"""dmz-gateway break-glass: grants for emergencies count for you, for a time, and everybody is told."""

import argparse
from typing import Any

from gateway.cli import person
from gateway.model.errors import GatewayError

DEFAULT_MINUTES = 30


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `break-glass`."""
    command = commands.add_parser(
        "break-glass",
        parents=[person.options()],
        help="make grants marked break_glass count for you, for a time; alarmed at once",
    )
    command.add_argument("verb", nargs="?", choices=["end", "show"], help="end it, or show who has")
    command.add_argument("--minutes", type=int, default=DEFAULT_MINUTES, help="default 30")
    command.add_argument("--reason", help="why; for the record")
    command.add_argument("--subject", help="with end: whose, where policy lets you")
    command.set_defaults(run=person.answers(_run))


def _run(args: argparse.Namespace) -> int:
    match args.verb:
        case "show":
            return _show(args)
        case "end":
            body = {"subject": args.subject} if args.subject else {}
            told = person.person(args).post("/admin/v1/break-glass/end", body)
            return person.say(args, told, ["it is over"])
        case _:
            return _break(args)


def _break(args: argparse.Namespace) -> int:
    if not args.reason:
        raise GatewayError("say why: --reason TEXT")
    body = {"minutes": args.minutes, "reason": args.reason}
    told = person.person(args).post("/admin/v1/break-glass", body)
    lines = [f"the glass is broken until {told['until']}; it is recorded, and alarmed ({told['id']})"]
    return person.say(args, told, lines)


def _show(args: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = person.person(args).get("/admin/v1/state")["break_glass"]
    lines = [f"{each['by']} until {each['until']}: {each['reason']}" for each in found]
    return person.say(args, {"break_glass": found}, lines or ["nobody has broken the glass"])
