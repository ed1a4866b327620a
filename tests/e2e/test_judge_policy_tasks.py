"""The judge of the five tasks: right answers pass, and what a newcomer would get wrong does not."""

import re
import shutil
from pathlib import Path

import pytest

from gateway.shipped import folder
from tests.e2e.judge_policy_tasks import TASKS, judge

GRANTS = "data/grants.yaml"
LIMITS = "plc-1.level_sp: {min: 100, max: 900, max_delta: 300}"
PUMP = "    modbus: [{table: coil, ranges: [[0, 0]]}]\n"
STARTUP = """
# METADATA
# title: Nothing is written while the plant starts up
# custom:
#   code: site.startup
#   iec62443: SR 3.5
deny contains {
	"code": "site.startup",
	"msg": "nothing is written to plc-1 during start-up",
} if {
	data.dmz.lib.changes
	input.target.asset == "plc-1"
	input.state.mode == "startup"
}
"""
OWN_TEST = """cases:
  - {name: start-up, base: pump, patch: {state: {mode: startup}}, allow: false, codes: [site.startup]}
"""
Edits = tuple[tuple[str, str, str], ...]
"File, what is there (nothing: at the end), and what comes in its place."
BIND = ("data/role_bindings.yaml", "", "  spiffe://demo.example/plant/view-2: [viewer]\n")

WRITES = r"(?:^  #.*\n)*^  - id: .*\n(?:    .*\n)*?    actions: \[write\]\n(?:    .*\n)*"
SHIPPED = (folder("policies") / GRANTS).read_text()

RIGHT: dict[str, Edits] = {
    "1": (BIND,),
    "2": ((GRANTS, LIMITS, "plc-1.level_sp: {min: 200, max: 600, max_delta: 50}"),),
    "3": ((GRANTS, PUMP, PUMP + "    windows: [working-hours]\n"),),
    "4": (
        ("data/assets.yaml", "plc-1: {kind: plc", "plc-1: {kind: safety"),
        *((GRANTS, grant, "") for grant in re.findall(WRITES, SHIPPED, re.MULTILINE)),
    ),
    "5": (("site/demo/site.rego", "", STARTUP), ("tests/startup.yaml", "", OWN_TEST)),
}
WRONG: dict[str, Edits] = {
    "1": (("data/role_bindings.yaml", "", "  spiffe://demo.example/plant/view-2: [viewer, operator]\n"),),
    "2": ((GRANTS, LIMITS, "plc-1.level_sp: {min: 200, max: 600, max_delta: 300}"),),
    "3": (
        (
            GRANTS,
            "    tags: [plc-1.level_sp]\n",
            "    tags: [plc-1.level_sp]\n    windows: [working-hours]\n",
        ),
    ),
    "4": ((GRANTS, PUMP, "    modbus: [{table: coil, ranges: [[1, 1]]}]\n"),),
    "5": (("site/demo/site.rego", "", STARTUP.replace("site.startup", "site.starting")),),
}


def answered(place: Path, edits: Edits) -> Path:
    """An answer: the shipped policies with edits, and without the tests that these make wrong."""
    shutil.copytree(folder("policies"), place)
    for test in (place / "tests").glob("*"):
        if test.name != "bases.yaml":
            test.unlink()
    for name, old, new in edits:
        file = place / name
        text = file.read_text() if file.exists() else ""
        assert old in text
        file.write_text(text.replace(old, new) if old else text + new)
    return place


@pytest.mark.parametrize("task", TASKS)
def test_right_answers_pass(task: str, tmp_path: Path) -> None:
    assert judge(answered(tmp_path / task, RIGHT[task]), task) == []


@pytest.mark.parametrize("task", TASKS)
def test_wrong_answers_do_not(task: str, tmp_path: Path) -> None:
    assert judge(answered(tmp_path / task, WRONG[task]), task)
    assert judge(answered(tmp_path / "untouched", ()), task)
