"""dmz-gateway policy diff: does one bundle allow more than another, on everything that could be asked.

    policy diff OLD NEW                      on the boundary grid of both bundles' data and rules
    policy diff OLD NEW -c gateway.yaml      and on what a gateway recorded

Exit 0: NEW allows nothing, of all that was asked, that OLD denies. 1: it does; counterexamples are named, and
--json has each as a question for `policy explain --input`. 2: the call or a bundle is wrong.
"""

import argparse
import json
from pathlib import Path

from gateway.author import difference, grid, replay
from gateway.author.answers import Answers
from gateway.author.difference import Difference
from gateway.author.grouping import Turn
from gateway.author.recorded import Seen
from gateway.cli.policy import changes, given, sources
from gateway.policy.loader import load

MOST_PAIRS = 10_000_000
"Points with two changes that one may ask for: an hour of them."


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy diff`."""
    parser = given.command(below, "diff", "does a bundle allow more than another; counterexamples")
    given.add_bundle(parser, "old", "OLD")
    given.add_bundle(parser, "new", "NEW")
    parser.add_argument(
        "--pairs",
        type=int,
        default=grid.PAIRS,
        metavar="N",
        help=f"points of the grid with two changes (default: {grid.PAIRS})",
    )
    parser.add_argument(
        "--questions", type=Path, metavar="FILE", help="write the counterexamples, one a line"
    )
    sources.add(parser, required=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask both bundles everything, and say where they differ."""
    old, new = (Answers(load(given.read(each))) for each in (args.old, args.new))
    progress = sources.Progress(args.progress)
    pairs = min(max(0, args.pairs), MOST_PAIRS)
    found = difference.run(old, new, pairs, lambda count: progress("points", count))
    progress.end(f"{found.points} points of the grid")
    if sources.is_given(args):
        seen = Seen()
        found.replay = replay.run(sources.recorded(args, seen, progress), new, old, seen)
        progress.end(f"{seen.records} records")
    if args.questions is not None:
        _write(args.questions, found)
    if args.json:
        print(json.dumps(found.as_json()))
    else:
        _say(found)
    return 1 if found.widens else 0


def _write(file: Path, found: Difference) -> None:
    """A new file; what is there already is not touched."""
    with file.open("x") as out:
        for group in found.groups.sorted():
            if group.turn is Turn.WIDENS or group.loosens:
                out.write(json.dumps(group.question) + "\n")


def _say(found: Difference) -> None:
    counts = found.groups.counts
    print(
        f"{found.points} points around {found.bases} questions that grants give; {found.allowed} of them are "
        "allowed by either bundle"
    )
    for line in changes.lines(found.groups, recorded=False):
        print(line)
    asked = f"{found.points} points of the grid"
    if found.replay is not None:
        print(f"\nrecorded: {found.replay.operations} operations")
        for line in changes.lines(found.replay.groups):
            print(line)
        for words in sources.unused(found.replay.seen):
            print(f"note: {words}")
        asked += f" and {found.replay.operations} recorded operations"
    if found.strange:
        print(f"note: the grid does not vary these conditions of grants: {', '.join(found.strange)}")
    if found.left:
        print(f"note: {found.left} more questions that grants give were not tried: too many")
    print()
    if found.widens:
        print(f"NEW allows what OLD denies: {counts[Turn.WIDENS]} of {asked}")
        print(f"NEW drops or changes what OLD obliges to: {found.groups.loosened} of them")
    else:
        print(f"NEW never allows more than OLD on {asked}. That is a grid, not a proof.")
