"""What a rule compares with `input`: what cannot hold, or cannot fail, is refused with its line."""

from pathlib import Path

import pytest

from gateway.model.errors import PolicyError
from gateway.policy.loader import load
from tests.policy.questions import shipped
from tests.unit.policy.bundles import HEAD, changed

REFUSED: list[tuple[str, int, str, str]] = [
    # body of a rule from line 6 on, line, what is said, what mends it
    ('\tinput.modbus.fc == "3"', 6, 'input.modbus.fc is never "3", so the comparison never holds', "integer"),
    ('\t"3" == input.modbus.fc', 6, 'input.modbus.fc is never "3"', "integer"),
    ('\tinput.op.action == "wirte"', 6, 'input.op.action is never "wirte"', 'perhaps "write"'),
    ('\tinput.op.action != "wirte"', 6, "so the comparison always holds", 'perhaps "write"'),
    ('\tinput.op.protocol == "dnp3"', 6, 'is never "dnp3"', 'one of "modbus"'),
    ('\tinput.op.action in {"read", "wirte"}', 6, 'input.op.action is never "wirte"', 'perhaps "write"'),
    ('\tnot input.op.action in ["wirte"]', 6, 'input.op.action is never "wirte"', 'perhaps "write"'),
    ('\tinput.modbus["fc"] == "3"', 6, 'input.modbus.fc is never "3"', "integer"),
    ('\tinput.modbus.start < "9"', 6, 'and "9" is not: Rego orders them by type', "of the same type"),
    ('\t"9" >= input.modbus.start', 6, 'and "9" is not: Rego orders them by type', "of the same type"),
    ("\tinput.modbus.unit == 256", 6, "input.modbus.unit is never 256", "integer"),
    ("\tinput.state.freeze == 1", 6, "input.state.freeze is never 1", "boolean"),
    ('\tinput.state.freeze == "true"', 6, 'input.state.freeze is never "true"', "boolean"),
    ("\tinput.subject.id == null", 6, "input.subject.id is never null", "string"),
    ('\tsome point in input.points\n\tpoint.q == "5"', 7, 'input.points[_].q is never "5"', "integer"),
    ("\tsome _, point in input.points\n\tpoint.tag == 5", 7, "input.points[_].tag is never 5", "string"),
    ("\tevery point in input.points {\n\t\tpoint.tag != 5\n\t}", 7, "the comparison always holds", "string"),
    ("\tinput.points[_].tag == 5", 6, "input.points[_].tag is never 5", "string"),
    ('\taction := input.op.action\n\taction == "wirte"', 7, 'input.op.action is never "wirte"', "write"),
    ("\t3 in input.time.windows", 6, "input.time.windows[_] is never 3", "string"),
    ('\tinput.op.kind == "x"\n\tinput.modbus == 3', 7, "input.modbus is never 3", "object"),
]


@pytest.mark.parametrize(("body", "line", "what", "mend"), REFUSED)
def test_what_cannot_hold_is_refused(tmp_path: Path, body: str, line: int, what: str, mend: str) -> None:
    bundle = changed(tmp_path, {"site/demo/more.rego": f"{HEAD}x if {{\n{body}\n}}\n"})
    with pytest.raises(PolicyError) as caught:
        load(bundle)
    (fault,) = caught.value.faults
    assert fault.where == f"site/demo/more.rego:{line}"
    assert what in fault.what
    assert mend in fault.mend


FINE = [
    "input.modbus.fc == 3",
    "input.modbus == null",
    "input.target.asset != null",
    'input.conn.tls in {"1.2", "1.3", null}',
    "input.modbus.start >= 0",
    'input.op.kind == "modbus.anything"',
    'input.target.asset < "m"',
    "input.modbus.fc in data.bounds.writes_60s",
    "input.modbus.start + 1 == 3",
    'count(input.op.action) == "what a function gives is not followed"',
    '"day-shift" in input.time.windows',
]


def test_what_can_hold_is_not(tmp_path: Path) -> None:
    text = HEAD + "".join(f"x if {line}\n\n" for line in FINE)
    text += 'f(point) if point.q == "a parameter"\n'
    load(changed(tmp_path, {"site/demo/more.rego": text}))


TWICE = """x if {
	some value in input.points
	value.tag == "t"
}

y if {
	value := input.modbus.fc
	value == 3
} else if {
	value := input.op.action
	value == "write"
}
"""


def test_a_variable_that_is_bound_to_two_things_is_not_followed(tmp_path: Path) -> None:
    load(changed(tmp_path, {"site/demo/more.rego": HEAD + TWICE}))


def test_tests_may_ask_what_they_like(tmp_path: Path) -> None:
    text = 'package tests.more\n\nimport future.keywords.not\n\ntest_x if not input.modbus.fc == "3"\n'
    load(changed(tmp_path, {"tests/more_test.rego": text}))


def test_the_shipped_rules_compare_a_lot() -> None:
    """Or the reader has become blind."""
    found = [one for module in load(shipped()).modules for rule in module.rules for one in rule.comparisons]
    assert len(found) > 60
    assert {one.operator for one in found} >= {"==", "!=", ">=", "in"}
