"""The table of failures names its tests: each of them exists, and no row goes without."""

import re
from pathlib import Path

import pytest

from .site import ROOT

PAGE = ROOT / "docs" / "guides" / "failure-policy.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FEWEST_ROWS = 14


def rows() -> list[list[str]]:
    """The cells of each row."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row[0]))
def test_a_row_says_all_there_is_to_say_and_its_tests_exist(row: list[str]) -> None:
    failure, reads, writes, seen, way_out, tests = row
    assert all((failure, reads, writes, seen, way_out))
    named = NAMED.findall(tests)
    assert named
    assert len(named) == tests.count("::"), "a name that is not written as the others are"
    for path, name in named:
        text = (ROOT / path).read_text() if Path(ROOT / path).exists() else ""
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{path} has no {name}"


def test_no_row_is_missing() -> None:
    assert len(rows()) >= FEWEST_ROWS
