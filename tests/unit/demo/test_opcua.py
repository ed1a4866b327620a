"""The demo's OPC UA side without a socket: what the PLC refuses, and a policy that a gateway takes."""

import shutil
from pathlib import Path

import pytest

from gateway.demo.opcua_nodes import VARIABLES, Status
from gateway.demo.opcua_policy import BEHIND, lay_over
from gateway.policy.bundle import read
from gateway.policy.loader import load
from gateway.shipped import folder as shipped

NAMED = {one.name: one for one in VARIABLES}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("LevelSetpoint", 0.0, None),
        ("LevelSetpoint", 100.0, None),
        ("LevelSetpoint", 100.5, Status.BadOutOfRange),
        ("LevelSetpoint", -0.5, Status.BadOutOfRange),
        ("LevelSetpoint", float("nan"), Status.BadOutOfRange),
        ("Recipe", list(range(10)), None),
        ("Recipe", list(range(9)), Status.BadTypeMismatch),
        ("Recipe", 7, Status.BadTypeMismatch),
        ("PumpRun", False, None),
    ],
)
def test_the_plc_checks_what_it_is_told(name: str, value: object, code: int | None) -> None:
    refused = NAMED[name].refuses(value)
    assert (refused.value if refused else None) == code


def test_what_is_measured_cannot_be_set() -> None:
    assert {one.name for one in VARIABLES if one.field is None} == {
        "Level",
        "Temperature",
        "FlowIn",
        "Total",
        "HighLevel",
    }


def test_the_policy_laid_over_is_one_that_a_gateway_takes(tmp_path: Path) -> None:
    shutil.copytree(shipped("policies"), tmp_path / "policies")
    lay_over(tmp_path / "policies" / "data")
    policy = load(read(tmp_path / "policies"))
    grants = {grant["id"] for grant in policy.bundle.data["grants"]}
    assert {"operator-reads", "mes-level-setpoint", "mes-starts-batch"} <= grants
    for name, _, more in BEHIND:
        assert more in (tmp_path / "policies" / "data" / name).read_text()
