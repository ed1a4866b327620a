"""The key of the projection cache is injective: what differs for policy differs in the key."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.cache import Projection, key

ABSENT = object()
PATHS = (("a",), ("b", "c"))

VALUES: list[Any] = [
    ABSENT,
    None,
    True,
    False,
    0,
    1,
    1.0,
    -1,
    "",
    "1",
    "null",
    "true",
    "[]",
    [],
    [None],
    [1],
    [True],
    [[]],
    {},
    {"a": None},
    {"a": 1},
    {"a": True},
    1 << 53,
    (1 << 53) + 1,
]


def part(a: Any, c: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {} if a is ABSENT else {"a": a}
    if c is not ABSENT:
        whole["b"] = {"c": c}
    return whole


def tagged(value: Any) -> Any:
    """A value with its type at every level: the reference that the key is held against."""
    if isinstance(value, dict):
        return "object", tuple(sorted((name, tagged(inner)) for name, inner in value.items()))
    if isinstance(value, list):
        return "array", tuple(tagged(inner) for inner in value)
    return type(value).__name__, repr(value)


def test_all_pairs_differ() -> None:
    keys = {key(part(a, c), PATHS) for a, c in itertools.product(VALUES, VALUES)}
    assert len(keys) == len(VALUES) ** 2


TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON, JSON, JSON)
def test_equal_keys_mean_equal_values(a: Any, b: Any, c: Any, d: Any) -> None:
    same = (tagged(a), tagged(b)) == (tagged(c), tagged(d))
    assert (key(part(a, b), PATHS) == key(part(c, d), PATHS)) is same


def test_the_order_of_fields_does_not_matter() -> None:
    assert key({"a": {"x": 1, "y": 2}}, PATHS) == key({"a": {"y": 2, "x": 1}}, PATHS)


def test_a_path_through_something_else_is_absent() -> None:
    for other in (None, 1, "c", ["c"]):
        assert key({"b": other}, PATHS) == key({}, PATHS)


def test_what_spoils_sharing() -> None:
    assert Projection([("op", "kind"), ("time", "windows"), ("state",)]).spoilers == ()
    for path in (("op",), ("op", "id"), ("time",), ("time", "ns")):
        assert Projection([path]).spoilers == (path,)
