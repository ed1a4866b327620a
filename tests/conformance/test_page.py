"""The page says what the tests have shown, and the table names a test for everything."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from .modbus_security import PROFILE, TABLE, Requirement
from .page import PAGE, judged, not_held, page

ROWS = (*TABLE, *PROFILE)
FILES = sorted(file.stem for file in Path(__file__).parent.glob("test_*.py"))


def shown_by() -> dict[str, str]:
    """Every test of a requirement in this folder, as `file.function`: what pytest collects."""
    found = {}
    for file in FILES:
        module = importlib.import_module(f"tests.conformance.{file}")
        for name, value in inspect.getmembers(module, inspect.isfunction):
            if re.match(r"test_(r|s|iana)_", name) and value.__module__ == module.__name__:
                found[f"{file}.{name}"] = name
    return found


def test_every_requirement_of_the_specification_has_a_row() -> None:
    numbers = sorted(set(range(1, 68)) - {9, 15})
    assert sorted(row.id for row in TABLE) == sorted([*(f"R-{number:02}" for number in numbers), "IANA"])
    assert len({row.id for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.id))
def test_a_row_names_its_own_test(row: Requirement) -> None:
    assert row.test in shown_by()
    name = row.test.split(".")[1]
    assert name.startswith(f"test_{row.id.lower().replace('-', '_')}_")
    assert row.words
    assert row.reason or row.verdict == "pass"
    assert row.verdict != "fail", "`fail` is what a test says, not what a table wishes"


def test_every_test_of_a_requirement_is_named_by_one_row() -> None:
    named = [row.test for row in ROWS]
    assert sorted(named) == sorted(shown_by())


def test_every_named_test_was_collected(request: pytest.FixtureRequest) -> None:
    """A test that is there but marked away, or hidden by another of its name, shows nothing."""
    collected = {
        f"{item.path.stem}.{item.originalname}"
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent
    }
    if not any(name.startswith("test_handshake.") for name in collected):
        pytest.skip("this file was run alone")
    assert {row.test for row in ROWS} <= collected
    skipped = [item for item in request.session.items if item.get_closest_marker("xfail")]
    assert not [item for item in skipped if item.path.parent == Path(__file__).parent]


def test_what_fails_or_does_not_run_is_never_a_pass() -> None:
    row = TABLE[0]
    name = row.test.split(".")[1]
    assert judged(row, {name}) == "fail"
    assert f"| {row.id} | {row.level} | {row.words} | **fail** |" in page({name})
    held = {each.test.split(".")[1]: True for each in ROWS}
    assert not_held(held) == set()
    assert not_held({**held, name: False}) == {name}
    assert not_held({}) == set(held)


def test_the_page_is_fresh(failed: set[str]) -> None:
    assert PAGE.read_text() == page(failed), "run python -m tests.conformance.page"
