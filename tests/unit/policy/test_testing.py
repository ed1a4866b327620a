"""Tables of questions: what they can say, and which failures keep a bundle from being used."""

from pathlib import Path

import pytest

from gateway.model.errors import PolicyError
from gateway.policy import testing
from gateway.policy.loader import load
from gateway.policy.testing import Result, patched
from tests.unit.policy.bundles import changed


def results(folder: Path, rows: str) -> list[Result]:
    policy = load(changed(folder, {"tests/more.yaml": "cases:\n" + rows}))
    return [result for result in testing.run(policy) if result.where.startswith("tests/more.yaml")]


ROWS: list[tuple[str, str, bool, bool]] = [
    # a row's expectation, what it fails with, whether it holds, whether a failure is an obstacle
    ("base: read, allow: true, codes: [grant.matched]", "", True, False),
    ("base: read, allow: false, codes: [grant.matched]", "allowed, expected denied", False, True),
    (
        "base: read, allow: true, codes: [grant.matched], grants: [other]",
        "grants [operator-reads], expected [other]",
        False,
        True,
    ),
    (
        "base: write, allow: true, codes: [grant.matched], obligations: []",
        "obligations [audit], expected []",
        False,
        False,
    ),
    (
        "base: write, allow: true, codes: [grant.matched], obligations: [rate]",
        "obligations [audit], expected [rate]",
        False,
        True,
    ),
    (
        "base: read, patch: {conn: {zone: it}}, allow: true, codes: [grant.matched]",
        "denied, expected allowed",
        False,
        False,
    ),
    (
        "base: read, patch: {conn: {zone: it}}, allow: false, codes: [other]",
        "codes [guardrail.conduit], expected [other]",
        False,
        False,
    ),
]


@pytest.mark.parametrize(("row", "detail", "passed", "obstacle"), ROWS)
def test_rows(tmp_path: Path, row: str, detail: str, passed: bool, obstacle: bool) -> None:
    (result,) = results(tmp_path, f"  - {{name: it, {row}}}\n")
    assert (result.passed, result.obstacle) == (passed, obstacle)
    assert detail in result.detail
    assert result.where == ("tests/more.yaml" if passed else "tests/more.yaml:2")


BROKEN: list[tuple[str, str]] = [
    ("  - {name: x, base: nothing, allow: true, codes: []}\n", "there is no base nothing"),
    ("  - {name: x, base: read, patch: {op: {colour: red}}, allow: true, codes: []}\n", "not a dmz.input/1"),
    (
        "  - {name: x, base: read, patch: {modbus: {unit: 300}}, allow: true, codes: []}\n",
        "not a dmz.input/1",
    ),
    ("  - {name: x, base: read, codes: []}\n", "allow"),
    ("  - {name: x, base: read, allow: true, codes: [], expect: deny}\n", "expect"),
    ("  - {name: x, name: y}\n", "duplicate key"),
]


@pytest.mark.parametrize(("row", "what"), BROKEN)
def test_tables_that_say_nothing_clear_are_refused(tmp_path: Path, row: str, what: str) -> None:
    with pytest.raises(PolicyError, match=r"tests/more.yaml") as caught:
        results(tmp_path, row)
    assert what in str(caught.value)


def test_null_is_a_value_in_a_patch() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert patched(base, {"a": {"b": None}, "d": []}) == {"a": {"b": None, "c": 2}, "d": []}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}
