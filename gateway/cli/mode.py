"""dmz-gateway mode: how far policy is enforced where, and the plant mode; show and set, as a person."""

import argparse
from typing import Any

from gateway.cli import person
from gateway.model.stage import Stage


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `mode` and its commands."""
    group = commands.add_parser("mode", help="plant mode, and how far policy is enforced: show and set")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = person.options()
    show = verbs.add_parser("show", parents=[common], help="what is set, by whom, instead of what")
    show.set_defaults(run=person.answers(_show))
    plant = verbs.add_parser("plant", parents=[common], help="set the plant mode")
    plant.add_argument("mode", help="as policy data name it: run, maintenance …")
    plant.set_defaults(run=person.answers(_plant))
    for scope in ("listener", "asset"):
        verb = verbs.add_parser(scope, parents=[common], help=f"set the stage of one {scope}")
        verb.add_argument("name")
        verb.add_argument("stage", choices=[stage.value for stage in Stage])
        verb.set_defaults(run=person.answers(_stage), scope=scope)


def _show(args: argparse.Namespace) -> int:
    told = person.person(args).get("/admin/v1/state")
    told = {name: told[name] for name in ("mode", "stages", "set", "damaged")}
    lines = [f"plant mode {told['mode']}"]
    lines += [f"{scope} {stage or 'not set (enforce)'}" for scope, stage in sorted(told["stages"].items())]
    lines += [f"  {_set(each)}" for each in told["set"]]
    if told["damaged"]:
        lines.append(f"what people set cannot be read, so everything is enforced: {told['damaged']}")
    return person.say(args, told, lines)


def _plant(args: argparse.Namespace) -> int:
    told = person.person(args).post("/admin/v1/mode", {"mode": args.mode})
    return person.say(args, told, [f"plant mode {told['value']} (before: {told['before']})"])


def _stage(args: argparse.Namespace) -> int:
    scope = f"{args.scope}:{args.name}"
    told = person.person(args).post("/admin/v1/stage", {"scope": scope, "stage": args.stage})
    return person.say(args, told, [f"{scope} {told['value']} (before: {told['before'] or 'not set'})"])


def _set(each: dict[str, Any]) -> str:
    return f"{each['scope']} was set to {each['value']} by {each['by']} at {each['at']}"
