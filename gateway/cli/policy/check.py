"""dmz-gateway policy check: would a gateway use this bundle (its tests included), and what looks mistyped.

A fault is what a gateway would refuse; a warning is what somebody should look at. OPA's and Regal's own
checkers are asked as well, each in its own section, where they are installed. Exit 1 with a fault; with
`--strict` also with a warning.
"""

import argparse
import json
from typing import Any

import msgspec

from gateway.author import lint, tools
from gateway.author.lint import Finding
from gateway.author.tools import Section
from gateway.cli.policy import given
from gateway.model.errors import PolicyError
from gateway.policy.cache import Projection
from gateway.policy.decider import prepare
from gateway.policy.loader import Policy


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy check`."""
    check = given.command(below, "check", "would a gateway use this bundle, and what looks mistyped")
    check.add_argument("--paths", action="store_true", help="list what of its input a decision can read")
    check.add_argument("--strict", action="store_true", help="exit 1 with warnings as well")
    check.add_argument("--no-tools", action="store_true", help="do not ask opa and regal")
    given.add_bundle(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check a bundle as a gateway does before it uses it, and beyond."""
    given.there(args.bundle)
    policy: Policy | None = None
    sections: list[Section] = []
    try:
        bundle = given.read(args.bundle)
        sections = [] if args.no_tools else tools.ask(bundle, args.bundle)
        policy = prepare(bundle)
        findings = lint.warnings(policy)
    except PolicyError as error:
        findings = lint.refused(error.faults)
    said = [*findings, *(one for section in sections for one in section.findings)]
    if args.json:
        print(json.dumps(_report(policy, findings, sections)))
    else:
        _say(policy, findings, sections, paths=args.paths)
    return 1 if policy is None or (args.strict and said) else 0


def _report(policy: Policy | None, findings: list[Finding], sections: list[Section]) -> dict[str, Any]:
    found = msgspec.to_builtins(findings)
    report: dict[str, Any] = {
        "ok": policy is not None,
        "faults": [one for one in found if one["severity"] == lint.Severity.FAULT],
        "warnings": [one for one in found if one["severity"] == lint.Severity.WARNING],
        "tools": msgspec.to_builtins(sections),
    }
    if policy is None:
        return report
    where = _readers(policy)
    spoilers = [".".join(path) for path in Projection(policy.paths).spoilers]
    return report | {
        "revision": policy.bundle.revision,
        "modules": len(policy.modules),
        "rules": _rules(policy),
        "tests": len(policy.tests),
        "grants": len(policy.bundle.data["grants"]),
        "reads": where,
        "uncacheable": {path: where[path] for path in spoilers},
    }


def _say(policy: Policy | None, findings: list[Finding], sections: list[Section], *, paths: bool) -> None:
    if policy is not None:
        grants = len(policy.bundle.data["grants"])
        print(f"ok: revision {policy.bundle.revision}, {grants} grants, {_rules(policy)} rules")
    for finding in findings:
        print(finding)
    if policy is None:
        faults = "1 fault" if len(findings) == 1 else f"{len(findings)} faults"
        print(f"{faults}: a gateway would keep its old bundle")
    for section in sections:
        many = "1 finding" if len(section.findings) == 1 else f"{len(section.findings)} findings"
        told = many if section.findings else "holds"
        print(f"{section.tool}: {told if section.asked else 'not installed, so not asked'}")
        for finding in section.findings:
            print(f"  {finding}")
    if paths and policy is not None:
        where = _readers(policy)
        print(f"a decision can read {len(where)} fields of its input:")
        for path, place in where.items():
            print(f"  input.{path:<24} {place}")


def _rules(policy: Policy) -> int:
    return sum(len(module.rules) for module in policy.modules)


def _readers(policy: Policy) -> dict[str, str]:
    return dict(sorted((".".join(path), place) for path, place in policy.readers.items()))
