"""Coverage of a bundle's tests: what they reach, what not, and that shipped policies stay above a gate."""

from pathlib import Path

from gateway.author.coverage import coverage, stopped
from gateway.policy.loader import load
from tests.policy.questions import shipped
from tests.unit.policy.bundles import HEAD, changed

GATE = 90.0
"Percent of the lines of the shipped policies that their own tests reach."


def test_shipped_policies_stay_above_the_gate() -> None:
    reached = coverage(load(shipped()))
    assert reached.percent >= GATE, {file.name: file.missed for file in reached.files if file.missed}
    assert {file.name for file in reached.files} == set(shipped().modules)


RULE = """deny contains {"code": "site.x", "msg": "m"} if {
	input.op.action == "browse"
	input.target.asset == "meter-1"
	input.conn.zone == "plant"
}
"""


def test_a_line_behind_one_that_never_held_is_not_reached(tmp_path: Path) -> None:
    changes = {"site/demo/more.rego": HEAD + RULE, "tests/more.yaml": "cases: []\n"}
    (file,) = [
        f for f in coverage(load(changed(tmp_path, dict(changes)))).files if f.name.endswith("more.rego")
    ]
    assert file.missed[-1] == 8, "nobody browses the meter from the plant"
    assert 6 not in file.missed, "it is asked of every question"


TEST = """package tests.more

import future.keywords.not

asked := {"op": {"action": "browse"}, "target": {"asset": "meter-1"}, "conn": {"zone": "plant"}}

test_x if {
	count(data.site.demo.deny) == 1 with input as asked
}
"""


def test_rego_tests_count_as_tables_do(tmp_path: Path) -> None:
    policy = load(changed(tmp_path, {"site/demo/more.rego": HEAD + RULE, "tests/more_test.rego": TEST}))
    (file,) = [file for file in coverage(policy).files if file.name.endswith("more.rego")]
    assert (file.missed, file.percent) == ((), 100.0)


def test_a_grant_that_no_table_uses_is_named(tmp_path: Path) -> None:
    grants = shipped().files["data/grants.yaml"].decode()
    line = grants.count("\n") + 1
    grants += "  - {id: idle, roles: [nobody-has], actions: [read], protocols: [https], assets: [plc-1]}\n"
    unused = dict(coverage(load(changed(tmp_path, {"data/grants.yaml": grants}))).grants)
    assert unused["idle"] == f"data/grants.yaml:{line}"
    assert "operator-reads" not in unused


def test_where_a_failing_test_stopped(tmp_path: Path) -> None:
    body = (
        "\tdecision := data.dmz.decision with input as {}\n\tnot decision.allow\n\tdecision.allow\n\ttrue\n"
    )
    text = f"package tests.more\n\nimport future.keywords.not\n\ntest_x if {{\n{body}}}\n\ntest_y if true\n"
    policy = load(changed(tmp_path, {"tests/more_test.rego": text}))
    assert stopped(policy, "tests.more.test_x") == "tests/more_test.rego:8"
    assert stopped(policy, "tests.more.test_nothing") == ""
