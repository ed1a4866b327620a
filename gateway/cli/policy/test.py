"""dmz-gateway policy test: a bundle's own tests, on the embedded engine and on OPA where there is one."""

import argparse
import json
import shutil

from msgspec.structs import asdict

from gateway.cli.policy import given
from gateway.policy import opa, testing
from gateway.policy.loader import load
from gateway.policy.testing import Result


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy test`."""
    test = given.command(below, "test", "run a bundle's own tests")
    test.add_argument("--no-opa", action="store_true", help="on the embedded engine only")
    given.add_bundle(test)
    test.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a bundle's tests on every engine there is. Raises PolicyError if it does not load."""
    policy = load(given.read(args.bundle))
    results = {"embedded": testing.run(policy)}
    program = None if args.no_opa else shutil.which("opa")
    if program is not None:
        results["opa"] = opa.run(policy, program)
    failed = sum(not result.passed for found in results.values() for result in found)
    if args.json:
        engines = {engine: [asdict(result) for result in found] for engine, found in results.items()}
        print(json.dumps({"revision": policy.bundle.revision, "failed": failed, "engines": engines}))
    else:
        for engine, found in results.items():
            _say_results(engine, found)
        if program is None and not args.no_opa:
            print("opa: not installed, so not asked")
    nothing = not any(results.values())
    if nothing and not args.json:
        print("the bundle has no tests")
    return 1 if failed or nothing else 0


def _say_results(engine: str, found: list[Result]) -> None:
    for result in found:
        if not result.passed:
            print(f"{engine}: FAIL{_kind(result)} {result.where}: {result.name}: {result.detail}")
    passed = sum(result.passed for result in found)
    print(f"{engine}: {passed} of {len(found)} tests hold")


def _kind(result: Result) -> str:
    """What a gateway makes of it: only what holds a bundle up is a plain FAIL."""
    if result.obstacle:
        return ""
    return " (denies what was allowed)" if result.missed else " (denies for other reasons)"
