"""Cursors, times and validators of the HTTPS API."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.publish import pages


@given(st.from_regex(pages.NAME, fullmatch=True))
def test_a_cursor_comes_back_as_its_name(name: str) -> None:
    assert pages.after(pages.cursor(name)) == name


@given(st.text())
def test_anything_else_is_no_cursor_or_a_name(text: str) -> None:
    name = pages.after(text)
    assert name is None or pages.NAME.fullmatch(name)


@pytest.mark.parametrize(
    ("wall_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_400_000_123_456_789, "2026-11-23T02:13:20.123Z"),
        (951_782_400_999_999_999, "2000-02-29T00:00:00.999Z"),
    ],
)
def test_times_are_rfc_3339(wall_ns: int, text: str) -> None:
    assert pages.rfc3339(wall_ns) == text


def test_a_page_is_json() -> None:
    assert json.loads(pages.page([b'{"a":1}', b'{"b":2}'], "abc")) == {
        "tags": [{"a": 1}, {"b": 2}],
        "next": "abc",
    }
    assert json.loads(pages.page([], None)) == {"tags": [], "next": None}
