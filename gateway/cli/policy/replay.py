"""dmz-gateway policy replay: recorded operations decided again under another bundle; what turns, and why.

    policy replay --bundle NEW -c gateway.yaml --since 7d        against what was recorded
    policy replay --bundle NEW --old OLD --input inspected.json  against another bundle

Exit 0: done. 1: something that was denied would be allowed, and --no-widening was given. 2: the call, the
bundle or the corpus is wrong.
"""

import argparse
import json
from pathlib import Path

from gateway.author import replay
from gateway.author.answers import Answers
from gateway.author.grouping import Turn
from gateway.author.recorded import Seen
from gateway.author.replay import Replay
from gateway.cli.policy import changes, given, sources
from gateway.policy.loader import load


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy replay`."""
    parser = given.command(below, "replay", "decide recorded operations again under another bundle")
    parser.add_argument("--bundle", type=Path, required=True, metavar="NEW", help="the bundle to try")
    parser.add_argument(
        "--old", type=Path, metavar="OLD", help="compare with this bundle, not with the record"
    )
    parser.add_argument(
        "--no-widening",
        action="store_true",
        help="exit 1 if anything denied becomes allowed, or an obligation goes",
    )
    sources.add(parser, required=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decide again, and say what turns."""
    new = Answers(load(given.read(args.bundle)))
    old = None if args.old is None else Answers(load(given.read(args.old)))
    seen, progress = Seen(), sources.Progress(args.progress)
    found = replay.run(sources.recorded(args, seen, progress), new, old, seen)
    progress.end(f"{seen.records} records, {found.operations} operations decided again")
    if args.json:
        print(json.dumps(found.as_json()))
    else:
        _say(found)
    return 1 if found.widens and args.no_widening else 0


def _say(found: Replay) -> None:
    against = "what was recorded" if found.old is None else f"revision {found.old[:12]}"
    print(
        f"{found.operations} operations ({found.questions} questions, {found.evaluated} evaluated) under "
        f"revision {found.new[:12]}, against {against}"
    )
    counts = found.groups.counts
    print(
        f"{counts[Turn.WIDENS]} would be allowed that were denied, {counts[Turn.NARROWS]} denied that were "
        f"allowed, {counts[Turn.OBLIGES]} allowed under other obligations"
    )
    for line in changes.lines(found.groups):
        print(line)
    if found.unknown:
        print(f"note: of {found.unknown} operations nobody knows what policy said; compare with --old")
    if found.other_hours:
        print(f"note: {found.other_hours} questions were asked with the windows of the new bundle's hours")
    for words in sources.unused(found.seen):
        print(f"note: {words}")
