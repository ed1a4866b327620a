"""dmz-gateway policy check: would a gateway use this bundle (its tests included), and what looks mistyped."""

import argparse
import json
from typing import Any

from msgspec.structs import asdict

from gateway.cli.policy import given
from gateway.model.errors import Fault, PolicyError
from gateway.policy import documents
from gateway.policy.cache import Projection
from gateway.policy.decider import prepare
from gateway.policy.loader import Policy


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy check`."""
    check = given.command(below, "check", "would a gateway use this bundle")
    check.add_argument("--paths", action="store_true", help="list what of its input a decision can read")
    given.add_bundle(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check a bundle as a gateway does before it uses it."""
    given.there(args.bundle)
    try:
        policy = prepare(given.read(args.bundle))
    except PolicyError as error:
        given.say_faults(error.faults, as_json=args.json)
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
