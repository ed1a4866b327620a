"""dmz-gateway policy: what people who write policy need, without a gateway running.

    policy check BUNDLE     would a gateway use it (its tests included); what looks mistyped; what is slow
    policy test BUNDLE      its own tests, on the embedded engine and on OPA where that is installed

Exit 0: yes. 1: no (a fault, a failing test). 2: there is nothing to check, or tests cannot run because the
bundle does not load.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from gateway.model.errors import Fault, PolicyError
from gateway.policy import bundle, documents, opa, testing
from gateway.policy.cache import Projection
from gateway.policy.decider import prepare
from gateway.policy.loader import Policy, load
from gateway.policy.testing import Result


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy` and what is below it."""
    group = commands.add_parser("policy", help="check and test policy bundles")
    below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = below.add_parser("check", help="would a gateway use this bundle")
    check.add_argument("--paths", action="store_true", help="list what of its input a decision can read")
    check.set_defaults(run=run_check)
    test = below.add_parser("test", help="run a bundle's own tests")
    test.add_argument("--no-opa", action="store_true", help="on the embedded engine only")
    test.set_defaults(run=run_test)
    for command in (check, test):
        command.add_argument(
            "bundle", type=Path, metavar="BUNDLE", help="folder with core/ base/ site/ data/"
        )
        command.add_argument("--json", action="store_true", help="for programs")


def run_check(args: argparse.Namespace) -> int:
    """Check a bundle as a gateway does before it uses it."""
    folder = _folder(args.bundle)
    try:
        policy = prepare(bundle.read(folder))
    except PolicyError as error:
        _say_faults(error.faults, as_json=args.json)
        return 1
    report = _report(policy)
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"ok: revision {report['revision']}, {report['grants']} grants, {report['rules']} rules")
    for warning in _warnings(policy):
        print(f"warning: {warning}")
    for path, where in report["uncacheable"].items():
        print(f"slow: input.{path} ({where}) differs in every question, so no decision can be shared")
    if args.paths:
        print(f"a decision can read {len(report['reads'])} fields of its input:")
        for path, where in report["reads"].items():
            print(f"  input.{path:<24} {where}")
    return 0


def run_test(args: argparse.Namespace) -> int:
    """Run a bundle's tests on every engine there is. Raises PolicyError if it does not load."""
    policy = load(bundle.read(_folder(args.bundle)))
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


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise PolicyError(
            [Fault(str(folder), "no such folder", "name the folder that holds core/ and data/")]
        )
    return folder


def _report(policy: Policy) -> dict[str, Any]:
    where = {".".join(path): place for path, place in policy.readers.items()}
    spoilers = [".".join(path) for path in Projection(policy.paths).spoilers]
    return {
        "revision": policy.bundle.revision,
        "modules": len(policy.modules),
        "rules": sum(len(module.rules) for module in policy.modules),
        "tests": len(policy.tests),
        "grants": len(policy.bundle.data["grants"]),
        "reads": dict(sorted(where.items())),
        "uncacheable": {path: where[path] for path in spoilers},
        "warnings": [asdict(warning) for warning in _warnings(policy)],
        "faults": [],
    }


def _warnings(policy: Policy) -> list[Fault]:
    return [*policy.warnings, *documents.doubts(policy.bundle)]


def _say_faults(faults: list[Fault], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"faults": [asdict(fault) for fault in faults]}))
        return
    for fault in faults:
        print(fault)
    faults_are = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    print(f"{faults_are}: a gateway would keep its old bundle")


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
