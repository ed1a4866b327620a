"""Which lines of its rules a bundle's own tests reach, on the embedded engine, and which grants they use.

A line is covered when a test made the engine evaluate it: what stands there was asked at least once. That a
line is covered does not say that it is right; that one is not covered says that nobody knows.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import regorus
from msgspec import Struct

from gateway.model.errors import PolicyError
from gateway.policy import testing
from gateway.policy.engine import ENTRYPOINT, LET_THROUGH
from gateway.policy.loader import Policy
from gateway.policy.module import Module, Rule, engine_fault


class File(Struct, frozen=True, kw_only=True):
    """One module."""

    name: str
    covered: int
    missed: tuple[int, ...]
    "Lines, from 1."

    @property
    def percent(self) -> float:
        """Of the lines that can be evaluated; 100 where there are none."""
        return _percent(self.covered, len(self.missed))


class Coverage(Struct, frozen=True, kw_only=True):
    """What the tests of a bundle reach."""

    files: tuple[File, ...]
    grants: tuple[tuple[str, str], ...]
    "Grants that no table's question was allowed by: id, and file and line."

    @property
    def percent(self) -> float:
        """Over all modules of core, base and site."""
        return _percent(sum(f.covered for f in self.files), sum(len(f.missed) for f in self.files))


def coverage(policy: Policy) -> Coverage:
    """Run every test with an eye on what it reaches. Raises PolicyError where the engine fails."""
    covered: dict[str, set[int]] = {}
    missed: dict[str, set[int]] = {}

    def note(report: dict[str, Any]) -> None:
        for file in report["files"]:
            covered.setdefault(file["path"], set()).update(file["covered"])
            missed.setdefault(file["path"], set()).update(file["not_covered"])

    _guarded(lambda: note(_of_rules(policy)))
    used: set[str] = set()
    _guarded(lambda: note(_of_tables(policy, used)))
    grants = policy.bundle.data["grants"]
    return Coverage(
        files=tuple(
            File(name=name, covered=len(covered[name]), missed=tuple(sorted(missed[name] - covered[name])))
            for name in sorted(covered)
            if name in policy.bundle.modules
        ),
        grants=tuple(
            (grant["id"], policy.bundle.where(("grants", place)))
            for place, grant in enumerate(grants)
            if grant["id"] not in used
        ),
    )


def stopped(policy: Policy, name: str) -> str:
    """File and line of the statement at which a failing Rego test stopped; empty where that is not known."""
    found = _test(policy, name)
    if found is None:
        return ""
    module, rule, following = found
    engine = _engine(policy, tests=True)
    _guarded(lambda: engine.eval_rule_as_json(f"data.{name}"))
    for file in json.loads(engine.get_coverage_report_as_json())["files"]:
        if file["path"] == module.name:
            reached = [line for line in file["covered"] if rule.line <= line < following]
            return f"{module.name}:{max(reached)}" if reached else ""
    return ""


def _test(policy: Policy, name: str) -> tuple[Module, Rule, int] | None:
    """The rule of a test, and where the next rule of its module begins."""
    for module in policy.tests:
        for rule in module.rules:
            if ".".join(rule.path) == name:
                behind = [other.line for other in module.rules if other.line > rule.line]
                return module, rule, min(behind, default=1 << 31)
    return None


def _of_rules(policy: Policy) -> dict[str, Any]:
    engine = _engine(policy, tests=True)
    for module in policy.tests:
        for rule in module.rules:
            if rule.path[-1].startswith(testing.TEST):
                with suppress(RuntimeError):  # fails as a test, which is told elsewhere
                    engine.eval_rule_as_json(".".join(("data", *rule.path)))
    return dict(json.loads(engine.get_coverage_report_as_json()))


def _of_tables(policy: Policy, used: set[str]) -> dict[str, Any]:
    engine = _engine(policy, tests=False)
    for row in testing.rows(policy):
        engine.set_input_json(json.dumps(row.question))
        try:
            answer = json.loads(engine.eval_rule_as_json(ENTRYPOINT))
        except RuntimeError:  # a malformed question may end an evaluation: a denial, and no reason to stop
            continue
        if isinstance(answer, dict) and answer["allow"]:
            used.update(answer["grants"])
    return dict(json.loads(engine.get_coverage_report_as_json()))


def _engine(policy: Policy, *, tests: bool) -> Any:
    engine = regorus.Engine()
    engine.set_enable_coverage(True)
    modules, data = dict(policy.bundle.modules), policy.bundle.indexed()
    if tests:
        modules |= {module.name: policy.bundle.tests[module.name] for module in policy.tests}
        data = policy.bundle.stamped()
    for name, text in modules.items():
        engine.add_policy(name, text)
    engine.add_data_json(json.dumps(data, allow_nan=False))
    return engine


def _guarded(run: Callable[[], object]) -> None:
    try:
        run()
    except LET_THROUGH:
        raise
    except BaseException as error:  # noqa: BLE001  panics are no Exception
        raise PolicyError([engine_fault("tests", error)]) from None


def _percent(covered: int, missed: int) -> float:
    return round(100 * covered / (covered + missed), 1) if covered + missed else 100.0
