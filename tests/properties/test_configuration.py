"""Whatever stands in the file: settings or faults, never both, never neither, and never an exception."""

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gateway.config.read import look
from gateway.publish.poll_plan import asset_cost
from tests.unit.config.example import FILES, KEYS, example

EXAMPLE: dict[str, Any] = YAML(typ="safe").load(example())

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 70_000)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "1s", "0ms", "9" * 40 + "h", "0-99", "99-0", "{path}", "{", "plc-1", "::", "../x", "\n"]
    )
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every value of a document."""
    pairs: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    return [way, *(place for step, inner in pairs for place in places(inner, (*way, step)))]


PLACES = places(EXAMPLE)[1:]


def changed(changes: list[tuple[tuple[str | int, ...], Any]]) -> dict[str, Any]:
    """The example with some values replaced, as far as the ways still lead anywhere."""
    document: Any = copy.deepcopy(EXAMPLE)
    for way, value in changes:
        around = document
        try:
            for step in way[:-1]:
                around = around[step]
            around[way[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    return dict(document)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), max_size=3))
def test_settings_or_faults(tmp_path: Path, changes: list[tuple[tuple[str | int, ...], Any]]) -> None:
    (tmp_path / "policies").mkdir(exist_ok=True)
    for name in (*FILES, *KEYS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(0o600)
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(changed(changes)))
    reading = look(file, asset_cost)
    assert (reading.settings is None) == bool(reading.faults)
    assert all(fault.what and fault.where.startswith(("gateway.yaml:",)) for fault in reading.faults)
