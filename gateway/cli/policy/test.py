"""dmz-gateway policy test: a bundle's own tests, on the embedded engine and on OPA where there is one.

    --coverage          which lines of its rules they reach, and which grants no table uses
    --threshold 90      the same, and exit 1 where they reach less than that percentage of the lines

Exit 1 where a test fails, where there is none, and below the threshold.
"""

import argparse
import json
import shutil
from typing import Any

import msgspec

from gateway.author import coverage as covering
from gateway.author.coverage import Coverage
from gateway.author.explain import explain
from gateway.author.words import span
from gateway.cli.policy import given
from gateway.model.errors import GatewayError
from gateway.policy import opa, testing
from gateway.policy.loader import Policy, load
from gateway.policy.testing import Result

MOST_EXPLAINED = 5
"Failing rows that are explained beyond their reasons: each asks the engine for every grant."


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy test`."""
    test = given.command(below, "test", "run a bundle's own tests")
    test.add_argument("--no-opa", action="store_true", help="on the embedded engine only")
    test.add_argument("--coverage", action="store_true", help="say which lines and grants no test reaches")
    test.add_argument(
        "--threshold", type=float, metavar="PERCENT", help="exit 1 below this coverage of lines"
    )
    given.add_bundle(test)
    test.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a bundle's tests on every engine there is. Raises PolicyError if it does not load."""
    if args.threshold is not None and not 0 <= args.threshold <= 100:
        raise GatewayError("--threshold is a percentage, from 0 to 100")
    policy = load(given.read(args.bundle))
    results = {"embedded": testing.run(policy)}
    program = None if args.no_opa else shutil.which("opa")
    if program is not None:
        results["opa"] = opa.run(policy, program)
    wanted = args.coverage or args.threshold is not None
    reached = covering.coverage(policy) if wanted else None
    failed = sum(not result.passed for found in results.values() for result in found)
    if args.json:
        print(json.dumps(_report(policy, results, failed, reached)))
    else:
        for engine, found in results.items():
            _say_results(engine, found)
        if program is None and not args.no_opa:
            print("opa: not installed, so not asked")
        _say_why(policy, results["embedded"])
        if not any(results.values()):
            print("the bundle has no tests")
        if reached is not None:
            _say_coverage(reached, args.threshold)
    low = args.threshold is not None and reached is not None and reached.percent < args.threshold
    return 1 if failed or low or not any(results.values()) else 0


def _report(
    policy: Policy, results: dict[str, list[Result]], failed: int, reached: Coverage | None
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "revision": policy.bundle.revision,
        "failed": failed,
        "engines": msgspec.to_builtins(results),
    }
    if reached is not None:
        report["coverage"] = {
            "percent": reached.percent,
            "files": [
                {"name": file.name, "percent": file.percent, "missed": file.missed} for file in reached.files
            ],
            "unused_grants": [{"grant": grant, "where": where} for grant, where in reached.grants],
        }
    return report


def _say_results(engine: str, found: list[Result]) -> None:
    for result in found:
        if not result.passed:
            print(f"{engine}: FAIL{_kind(result)} {result.where}: {result.name}: {result.detail}")
            for reason in result.why:
                print(f"  {reason}")
    passed = sum(result.passed for result in found)
    print(f"{engine}: {passed} of {len(found)} tests hold")


def _kind(result: Result) -> str:
    """What a gateway makes of it: only what holds a bundle up is a plain FAIL."""
    if result.obstacle:
        return ""
    return " (denies what was allowed)" if result.missed else " (denies for other reasons)"


def _say_why(policy: Policy, found: list[Result]) -> None:
    """Why the first few came out as they did: the statement that did not hold, or the explained decision."""
    questions = {(row.file, row.case.name): row.question for row in testing.rows(policy)}
    failing = sorted((result for result in found if not result.passed), key=lambda each: not each.obstacle)
    for result in failing[:MOST_EXPLAINED]:
        question = questions.get((result.where.partition(":")[0], result.name))
        if question is None:
            where = covering.stopped(policy, result.name)
            told = f"stopped at {where}" if where else ""
        else:
            told = explain(policy, question).sentence
        if told:
            print(f"why {result.name}: {told}")
    if len(failing) > MOST_EXPLAINED:
        print(f"and {len(failing) - MOST_EXPLAINED} more: mend these first")


def _say_coverage(reached: Coverage, threshold: float | None) -> None:
    for file in reached.files:
        if file.missed:
            missed = _lines(file.name, file.missed)
            print(f"{file.name}: {file.percent} % of its lines; no test reaches {missed}")
    for grant, where in reached.grants:
        print(f"{where}: no table is allowed anything by grant {grant}")
    wanted = f", {threshold:g} % wanted" if threshold is not None else ""
    print(f"coverage: {reached.percent} % of the lines of core, base and site{wanted}")


def _lines(name: str, missed: tuple[int, ...]) -> str:
    """`core/x.rego:131-133, 146`: neighbours together."""
    runs: list[list[int]] = []
    for line in missed:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return f"{name}:{', '.join(span(*each) for each in runs)}"
