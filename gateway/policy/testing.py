"""A bundle's own tests: Rego rules named `test_…`, and YAML tables of questions and expected answers.

Both run on the embedded engine before a bundle can become active. A table (tests/*.yaml):

    bases:                      # whole questions, by name; those of tests/bases.yaml are known everywhere
      read: {schema: dmz.input/1, …}
    cases:
      - name: nobody writes while the plant is frozen
        base: write
        patch: {state: {freeze: true}}      # objects are merged, everything else replaces
        allow: false
        codes: [guardrail.freeze]           # exactly the codes of the reasons, in any order
        grants: [operator-pump]             # where given: exactly these
        obligations: [audit]                # where given: exactly these types
"""

import copy
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from gateway.model.decision import Allowed, Decision
from gateway.model.errors import Fault, PolicyError
from gateway.policy import documents
from gateway.policy.bundle import line_of, parse_yaml
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy

BASES = "tests/bases.yaml"
"Where questions lie that all tables may start from."
TEST = "test_"
"How the names of rules that are tests begin, as OPA has it."
MOST_REMEMBERED = 64
"Tables kept parsed: a reload after a change of data reads none of them again, and takes 50 ms, not 250."


class Result(Struct, frozen=True, kw_only=True):
    """One test."""

    name: str
    where: str
    passed: bool
    detail: str = ""
    obstacle: bool = False
    """Whether a bundle that fails so must not become active: something is allowed that should not be, a Rego
    test fails, or the engine does. A denial where an allow was expected is none: taking rights away is the
    emergency brake, and no test may hold it."""
    missed: bool = False
    "Whether it is denied, or obliged to more, although an allow was expected."
    why: tuple[str, ...] = ()
    "Of a row that fails: each reason that was not expected, in its rule's own words."


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a table."""

    name: str
    base: str
    patch: dict[str, Any] = {}
    allow: bool
    codes: list[str]
    grants: list[str] | None = None
    obligations: list[str] | None = None


class Row(Struct, frozen=True):
    """A case at its place, with its whole question."""

    file: str
    place: int
    case: Case
    question: dict[str, Any]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file."""

    bases: dict[str, Any] = {}
    cases: list[Case] = []


def run(policy: Policy) -> list[Result]:
    """Every test of the bundle, in the order of files and lines. A bundle without tests gives none."""
    engine = Engine(policy, tests=True)
    results = []
    for module in policy.tests:
        for rule in module.rules:
            if rule.path[-1].startswith(TEST):
                held = engine.holds(".".join(("data", *rule.path)))
                results.append(
                    Result(
                        name=".".join(rule.path),
                        where=f"{module.name}:{rule.line}",
                        passed=held is True,
                        detail="" if held is True else str(held),
                        obstacle=held is not True,
                    )
                )
    engine = Engine(policy)
    results += [
        judge(row, engine.evaluate(json.dumps(row.question).encode(), ""), policy) for row in rows(policy)
    ]
    return results


def rows(policy: Policy) -> list[Row]:
    """Every row of every table."""
    return _rows(
        tuple((name, text) for name, text in policy.bundle.tests.items() if not name.endswith(".rego"))
    )


@lru_cache(maxsize=2)
def _rows(texts: tuple[tuple[str, str], ...]) -> list[Row]:
    """Remembered, because holding each question against its schema takes as long as all the evaluations."""
    tables = {name: _table(name, text) for name, text in texts}
    common = tables[BASES].bases if BASES in tables else {}
    found = []
    for name, table in tables.items():
        bases = {**common, **table.bases}
        for place, case in enumerate(table.cases):
            found.append(Row(name, place, case, _question(f"{name}: {case.name}", case, bases)))
    return found


@lru_cache(maxsize=MOST_REMEMBERED)
def _table(name: str, text: str) -> Table:
    try:
        return msgspec.convert(parse_yaml(name, text) or {}, Table)
    except msgspec.ValidationError as error:
        raise PolicyError([Fault(f"{name}:1", str(error), "see gateway/policy/testing.py")]) from None


def _question(where: str, case: Case, bases: dict[str, Any]) -> dict[str, Any]:
    if case.base not in bases:
        raise PolicyError([Fault(where, f"there is no base {case.base}", f"one of {sorted(bases)}")])
    asked: dict[str, Any] = patched(bases[case.base], case.patch)
    error = next(documents.schema("input").iter_errors(asked), None)
    if error is not None:
        path = ".".join(str(step) for step in error.absolute_path)
        raise PolicyError([Fault(where, f"not a dmz.input/1: {path}: {error.message}", "mend the patch")])
    return asked


def patched(base: Any, patch: Any) -> Any:
    """Objects merge, everything else replaces. Unlike RFC 7396, null is a value and removes nothing."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = {name: copy.deepcopy(value) for name, value in base.items()}
    for name, value in patch.items():
        merged[name] = patched(merged.get(name), value)
    return merged


def judge(row: Row, decision: Decision, policy: Policy) -> Result:
    """Whether a decision is what the row expects."""
    case, allowed = row.case, isinstance(decision, Allowed)
    codes = sorted({reason.code for reason in decision.reasons})
    got: list[str] = []
    if allowed is not case.allow:
        got.append("allowed, expected denied" if allowed else "denied, expected allowed")
    types = [one.type for one in decision.obligations] if isinstance(decision, Allowed) else []
    for name, actual, expected in (
        ("codes", codes, case.codes),
        ("grants", decision.grants, case.grants),
        ("obligations", types, case.obligations),
    ):
        if expected is not None and sorted(actual) != sorted(expected):
            got.append(f"{name} {_listed(actual)}, expected {_listed(expected)}")
    line = line_of(policy.bundle.tests[row.file], ("cases", row.place)) if got else 0
    # Allowed by the grants expected, and only obliged to more: a right was narrowed, as by a denial.
    narrowed = allowed and len(got) == 1 and _more(types, case.obligations)
    engine = any(reason.kind == "engine" for reason in decision.reasons)
    return Result(
        name=case.name,
        where=f"{row.file}:{line}" if got else row.file,
        passed=not got,
        detail="; ".join(got),
        obstacle=bool(got) and ((allowed and not narrowed) or engine),
        missed=case.allow and (not allowed or narrowed),
        why=_unexpected(decision, case) if got else (),
    )


def _more(types: list[str], expected: list[str] | None) -> bool:
    """Whether all that was expected is there, and something beside it."""
    return expected is not None and len(types) > len(expected) and set(expected) <= set(types)


def _unexpected(decision: Decision, case: Case) -> tuple[str, ...]:
    reasons = {reason for reason in decision.reasons if reason.code not in case.codes}
    return tuple(sorted(f"{reason.code}: {reason.msg}" for reason in reasons))


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(sorted(names))}]"
