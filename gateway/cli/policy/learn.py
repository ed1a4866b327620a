"""dmz-gateway policy learn: least grants for what was let through, with tests, as files for review.

    policy learn --bundle BUNDLE -c gateway.yaml --since 7d -o learned/
    policy learn --bundle BUNDLE --input inspected.json --as 10.0.0.5=spiffe://plant/hmi-1:operator -o new/

Nothing is activated, and no file is written over. Exit 0: done. 1: nothing could be learnt, or something that
was seen would still be denied. 2: the call, the bundle or the corpus is wrong.
"""

import argparse
import json
from pathlib import Path

from gateway.author import learned_tests, proposal, review
from gateway.author.answers import Answers
from gateway.author.learn import Learning
from gateway.author.recorded import Seen
from gateway.cli.policy import given, sources
from gateway.model.errors import ConfigError, Fault
from gateway.policy.loader import load

MOST_GAP = 65_535
"Every address of a table."
MOST_SHOWN = 20


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy learn`."""
    parser = given.command(below, "learn", "least grants for what was let through, for review")
    parser.add_argument(
        "--bundle", type=Path, required=True, metavar="BUNDLE", help="the bundle that they are meant for"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="for the files")
    parser.add_argument(
        "--merge-gap", type=int, default=0, metavar="N", help="join ranges with at most N addresses between"
    )
    parser.add_argument("--by-role", action="store_true", help="for roles that are bound, not for subjects")
    parser.add_argument("--denied-too", action="store_true", help="learn what was denied as well")
    sources.add(parser, required=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Learn, and write it down."""
    if not 0 <= args.merge_gap <= MOST_GAP:
        raise ConfigError([Fault("--merge-gap", "is no number of addresses", f"0 to {MOST_GAP}")])
    policy = load(given.read(args.bundle))
    seen, progress = Seen(), sources.Progress(args.progress)
    learning = Learning(Answers(policy), gap=args.merge_gap, by_role=args.by_role)
    learning.learn(sources.recorded(args, seen, progress), denied_too=args.denied_too)
    progress.end(f"{seen.records} records, {learning.count} operations")
    found = proposal.proposals(learning)
    with_them = proposal.merged(policy.bundle, [each.grant for each in found])
    rows = learned_tests.rows(found, Answers(load(with_them)))
    files = review.write(args.output, learning, found, rows)
    if args.json:
        told = review.as_json(learning, found, rows)
        print(json.dumps({**told, "files": [str(file) for file in files]}))
    else:
        _say(learning, found, rows, files, seen)
    return 0 if found and not rows.refused else 1


def _say(
    learning: Learning,
    found: list[proposal.Proposal],
    rows: learned_tests.Rows,
    files: list[Path],
    seen: Seen,
) -> None:
    print(
        f"{learning.count} operations: {len(found)} grants, {len(rows.cases)} tests ({rows.denials} denials)"
    )
    for file in files:
        print(f"  {file}")
    for refusal, count in learning.refused.most_common(MOST_SHOWN):
        print(f"not learnable: {count} × {refusal.subject} {refusal.kind} {refusal.asset}: {refusal.why}")
    if len(learning.refused) > MOST_SHOWN:
        print(f"and {len(learning.refused) - MOST_SHOWN} more that are not learnable: see README.md")
    for name, codes in rows.refused:
        print(f"still denied: {name}: {', '.join(codes)}")
    for words in sources.unused(seen):
        print(f"note: {words}")
    print("nothing is in force: review the files, then merge them into the bundle")
