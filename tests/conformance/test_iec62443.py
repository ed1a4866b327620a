"""The page on IEC 62443-4-2 names tests that exist, and says what is missing where nothing shows it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from .iec62443 import PAGE, TABLE, TESTS, Row, page


@cache
def functions(file: Path) -> frozenset[str]:
    """The tests of a file that pytest would collect and run."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
            if "xfail" not in marks and "mark.skip(" not in marks:
                found.add(node.name)
    return frozenset(found)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.id))
def test_a_row_is_shown_by_tests_that_exist_or_says_what_is_missing(row: Row) -> None:
    for test in row.tests:
        file, _, name = test.partition("::")
        there = functions(TESTS / file)
        assert there if name == "*" else name in there, test
    assert bool(row.tests) == (row.verdict in ("shown", "in part"))
    assert row.note or row.verdict == "shown"
    assert row.words


def test_every_requirement_is_there_once() -> None:
    ids = [row.id for row in TABLE]
    assert len(set(ids)) == len(ids)
    named = {number for each in ids for number in re.findall(r"\d\.\d+", each)}
    wanted = {
        "1": (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14),
        "2": (1, 4, 5, 6, 7, 8, 9, 10, 11, 12),
        "3": (*range(1, 15),),
        "4": (1, 2, 3),
        "5": (1, 2, 3),
        "6": (1, 2),
        "7": (1, 2, 3, 4, 6, 7, 8),
    }
    assert named == {f"{group}.{number}" for group, numbers in wanted.items() for number in numbers}


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.conformance.iec62443"
    assert "Self-assessed" in page()
