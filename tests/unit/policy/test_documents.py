"""Policy data: what does not fit its form, or goes beyond its bounds, names file and line."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.policy import documents
from gateway.policy.bundle import Bundle
from tests.policy.questions import shipped
from tests.unit.policy.bundles import changed

HEAD = "grants:\n"
WRITE = "  - {id: g, roles: [operator], actions: [write], protocols: [modbus], assets: [plc-1],\n"
READ = "  - {id: g, roles: [operator], actions: [read], protocols: [modbus],\n"

GRANTS: list[tuple[str, str, int, str]] = [
    # what, the grant, line of the fault, what it says
    ("unknown field", READ + "     asset: [plc-1]}\n", 2, "'asset' was unexpected"),
    (
        "unknown action",
        "  - id: g\n    roles: [a]\n    actions: [reed]\n    protocols: [modbus]\n",
        4,
        "'reed'",
    ),
    ("nobody", "  - {id: g, actions: [read], protocols: [modbus]}\n", 2, "not valid under any"),
    ("empty list", READ + "     windows: []}\n", 3, "non-empty"),
    ("obligation nobody knows", READ + "     obligations: [{type: approve}]}\n", 3, "'approve'"),
    ("wildcard in the middle", READ + "     topics: [a/#/b]}\n", 3, "a/#/b"),
    ("value as text", READ + "     limits: {a: {min: '1', max: 2}}}\n", 3, "'1' is not of type 'integer'"),
    ("unknown asset", READ + "     assets: [plc-9]}\n", 3, "plc-9 is no asset"),
    ("unknown window", READ + "     windows: [never]}\n", 3, "never is not defined"),
    ("limits upside down", READ + "     limits: {a: {min: 2, max: 1}}}\n", 3, "min is above max"),
    (
        "beyond the upper bound",
        WRITE + "     limits: {plc-1.level_sp: {min: 50, max: 951, max_delta: 1}}}\n",
        3,
        "beyond bounds.limits",
    ),
    (
        "beyond the lower bound",
        WRITE + "     limits: {plc-1.level_sp: {min: 49, max: 950, max_delta: 1}}}\n",
        3,
        "beyond bounds.limits",
    ),
    (
        "too large a step",
        WRITE + "     limits: {plc-1.level_sp: {min: 50, max: 950, max_delta: 401}}}\n",
        3,
        "max_delta",
    ),
    ("any step", WRITE + "     limits: {plc-1.level_sp: {min: 50, max: 950}}}\n", 3, "max_delta"),
    (
        "beyond writable",
        WRITE + "     modbus: [{table: holding, ranges: [[0, 1]]}]}\n",
        3,
        "beyond bounds.writable",
    ),
    (
        "across writable ranges",
        WRITE + "     modbus: [{table: holding, ranges: [[0, 19]]}]}\n",
        3,
        "beyond bounds",
    ),
    (
        "a table nobody writes",
        WRITE + "     modbus: [{table: input, ranges: [[0, 0]]}]}\n",
        3,
        "beyond bounds",
    ),
    (
        "an asset nobody writes",
        WRITE.replace("plc-1", "meter-1") + "     modbus: [{table: coil, ranges: [[0, 0]]}]}\n",
        3,
        "beyond bounds.writable",
    ),
    (
        "a range upside down",
        WRITE + "     modbus: [{table: coil, ranges: [[1, 0]]}]}\n",
        3,
        "ends before it begins",
    ),
    (
        "twice the same id",
        READ + "     assets: [plc-1]}\n" + READ + "     assets: [plc-1]}\n",
        4,
        "two grants g",
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "what"), [row[1:] for row in GRANTS], ids=[row[0] for row in GRANTS]
)
def test_grants_are_refused(tmp_path: Path, text: str, line: int, what: str) -> None:
    faults = documents.faults(changed(tmp_path, {"data/grants.yaml": HEAD + text}))
    found = [(fault.where, fault.what) for fault in faults]
    assert any(where == f"data/grants.yaml:{line}" and what in said for where, said in found), found


def test_a_grant_at_its_bounds_is_taken(tmp_path: Path) -> None:
    text = (
        WRITE
        + "     modbus: [{table: holding, ranges: [[0, 0], [10, 19]]}, {table: coil, ranges: [[0, 1]]}],\n"
    )
    text += (
        "     limits: {plc-1.level_sp: {min: 50, max: 950, max_delta: 400}, plc-1.other: {min: 0, max: 9}}}\n"
    )
    assert documents.faults(changed(tmp_path, {"data/grants.yaml": HEAD + text})) == []


def test_no_write_on_a_safety_system(tmp_path: Path) -> None:
    assets = "assets:\n  plc-1: {kind: safety, zone: plant}\n  meter-1: {kind: meter, zone: plant}\n"
    faults = documents.faults(changed(tmp_path, {"data/assets.yaml": assets}))
    assert [fault.what for fault in faults] == [
        "grant operator-level-setpoint: plc-1 is a safety system, which is read only",
        "grant operator-pump: plc-1 is a safety system, which is read only",
    ]
    assert all(fault.where.startswith("data/grants.yaml:") for fault in faults)


OTHERS: list[tuple[str, str, str, str]] = [
    (
        "data/windows.yaml",
        "windows:\n  w: {days: [mon], from: '06:00', to: '14:00', zone: Mars/Olympus}\n",
        "2",
        "no time",
    ),
    (
        "data/windows.yaml",
        "windows:\n  w: {days: [mon], from: '06:00', to: '06:00', zone: UTC}\n",
        "2",
        "empty or endless",
    ),
    (
        "data/windows.yaml",
        "windows:\n  w: {days: [mon], from: '6:00', to: '14:00', zone: UTC}\n",
        "2",
        "6:00",
    ),
    ("data/role_bindings.yaml", "role_bindings:\n  hmi-1: [operator]\n", "2", "hmi-1"),
    ("data/assets.yaml", "assets:\n  plc-1: {kind: plc}\n", "2", "'zone' is a required property"),
    ("data/conduits.yaml", "conduits:\n  - {from: it, to: plant, protocols: [ftp]}\n", "2", "'ftp'"),
    ("data/bounds.yaml", "bounds:\n  writes_60s: -1\n", "2", "-1 is less than the minimum"),
]


@pytest.mark.parametrize(("name", "text", "line", "what"), OTHERS)
def test_other_documents_are_refused(tmp_path: Path, name: str, text: str, line: str, what: str) -> None:
    found = [(fault.where, fault.what) for fault in documents.faults(changed(tmp_path, {name: text}))]
    assert any(where == f"{name}:{line}" and what in said for where, said in found), found


@pytest.mark.parametrize("name", ["assets", "conduits", "role_bindings", "bounds", "grants"])
def test_documents_that_core_needs_must_be_there(name: str) -> None:
    found = documents.faults(without(name))
    assert any(name in fault.what for fault in found)


def without(name: str) -> Bundle:
    bundle = shipped()
    data: dict[str, Any] = {key: value for key, value in bundle.data.items() if key != name}
    return msgspec.structs.replace(bundle, data=data)


def test_windows_may_be_missing_where_no_grant_asks_for_them() -> None:
    assert documents.faults(without("windows")) == []
