"""dmz-gateway demo: a simulated plant, a broker and the gateway in a folder of their own, to try or tour."""

import argparse
import importlib.util
import json
import signal
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from gateway.demo.world import World

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"All of them end the demo the same, orderly way."

LOOK_S = 0.25
"How often it is looked whether a child has ended."


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `demo`."""
    command = commands.add_parser("demo", help="a simulated plant and a gateway, to try")
    command.add_argument(
        "--tour", action="store_true", help="walk through it; exit 0 only if every step held"
    )
    command.add_argument(
        "--require",
        choices=["mqtt", "opcua"],
        action="append",
        default=[],
        help="fail where this part cannot be shown; repeatable",
    )
    command.add_argument("--keep", type=Path, metavar="DIR", help="use this folder, and leave it there")
    command.add_argument("--json", action="store_true", help="for programs: facts, or one object a step")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C (exit 0), or the tour (exit 1 if a step did not hold)."""
    if importlib.util.find_spec("pymodbus") is None:
        raise GatewayError("the demo's plant needs pymodbus: install dmz-gateway[demo]")
    from gateway.demo.children import Janitor  # other commands load no demo
    from gateway.demo.world import World

    if args.keep and args.keep.exists() and any(args.keep.iterdir()):
        raise GatewayError(f"{args.keep} is not empty, and nothing is overwritten")
    # SIGINT too: a shell starts background jobs with it ignored.
    before = {number: signal.signal(number, _interrupt) for number in ENDING}
    folder = args.keep.resolve() if args.keep else Path(tempfile.mkdtemp(prefix="dmz-demo-"))
    janitor = None if args.keep else Janitor(folder)
    world = World(folder)
    try:
        return _show(world, args)
    except KeyboardInterrupt:
        return 130 if args.tour else 0
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # whoever presses Ctrl-C twice still gets a clean end
        world.stop()
        if janitor:
            janitor.sweep()
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(world: "World", args: argparse.Namespace) -> int:
    from gateway.demo.say import what_to_try
    from gateway.demo.tour import tour

    if world.broker is None:
        if "mqtt" in args.require:
            raise GatewayError("mosquitto is not installed, and --require mqtt was given")
        if not args.json:
            print("skipped: MQTT (no mosquitto is installed)")
    if not world.opcua:
        if "opcua" in args.require:
            raise GatewayError("asyncua is not installed, and --require opcua was given")
        if not args.json:
            print("skipped: OPC UA (asyncua is not installed)")
    world.build()
    world.start()
    if args.tour:
        return tour(world, as_json=args.json)
    print(json.dumps(world.facts()) if args.json else what_to_try(world, kept=bool(args.keep)), flush=True)
    while True:
        time.sleep(LOOK_S)
        for name in world.children.ended():
            raise GatewayError(f"{name} ended by itself:\n{world.children.log(name)[-2000:]}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
