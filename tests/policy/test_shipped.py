"""The policy that ships: every reason is reached and documented, and nothing is allowed by accident."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.model.decision import Allowed
from gateway.policy import documents, question, testing
from gateway.policy.decider import prepare
from gateway.policy.engine import Engine
from gateway.policy.facts import Facts
from gateway.policy.loader import Policy, load
from gateway.shipped import folder
from tests.policy.questions import NOW, OPEN, caller, callers, neighbours, read, shipped, write
from tests.unit.policy.bundles import changed

POLICIES = folder("policies")
CODE = re.compile(r'"code": "([a-z_.]+)"')


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(shipped())


def test_its_own_tests_hold(policy: Policy) -> None:
    results = testing.run(policy)
    assert [result for result in results if not result.passed] == []
    assert len(results) > 90


def test_every_reason_code_is_reached_by_a_test(policy: Policy) -> None:
    shipped_codes = {code for text in policy.bundle.modules.values() for code in CODE.findall(text)}
    expected = {code for row in testing.rows(policy) for code in row.case.codes}
    rego = "".join(text for name, text in policy.bundle.tests.items() if name.endswith(".rego"))
    in_rego = set(re.findall(r'"(grant\.[a-z_]+)"', rego))
    assert shipped_codes - (expected | in_rego) == set()
    assert "grant.matched" in expected


def test_every_denial_says_what_it_is_and_why(policy: Policy) -> None:
    """Each `deny contains` stands below METADATA with a title and the code that it gives."""
    count = 0
    for name, text in policy.bundle.modules.items():
        for block in text.split("\n\n"):
            if "\ndeny contains" in block:
                count += 1
                (code,) = CODE.findall(block)
                assert block.startswith("# METADATA\n# title: "), name
                assert f"#   code: {code}\n" in block, name
                assert "#   iec62443: SR " in block, name
    assert count >= 15


def test_questions_fit_the_published_schema() -> None:
    for who, what, facts in neighbours()[::7]:
        asked = question.document(who, what, facts, "0" * 26, NOW)
        assert list(documents.schema("input").iter_errors(asked)) == []
    asked = question.document(caller(), write(), OPEN, "0" * 26, NOW, 3)
    assert list(documents.schema("input").iter_errors(asked)) == []
    assert asked["state"]["writes_60s"] == 3
    assert question.document(caller(), read(), OPEN, "0" * 26, NOW, 3)["state"]["writes_60s"] is None


def test_facts_that_nobody_set_allow_no_change(policy: Policy) -> None:
    engine = Engine(policy)
    for who in callers():
        asked = question.document(who, write(), Facts(), "0" * 26, NOW, 0)
        assert not isinstance(engine.evaluate(question.encode(asked), ""), Allowed)


def test_grants_that_write_are_named_by_asset() -> None:
    granted = documents.write_granted_assets(shipped())
    assert granted == {"plc-1": ["operator-level-setpoint", "operator-pump", "vendor-tunes", "on-call-pump"]}


def test_the_schemas_are_json_schema() -> None:
    for name in ("input", "decision", "data"):
        validator = documents.schema(name)
        validator.check_schema(validator.schema)
        assert (POLICIES / "schemas" / f"{name}.json").is_file()


EMERGENCIES: dict[str, tuple[str, Any]] = {
    "no grant is left": ("data/grants.yaml", {"grants": []}),
    "nobody has a role": ("data/role_bindings.yaml", {"role_bindings": {}}),
    "no conduit is left": ("data/conduits.yaml", {"conduits": []}),
    "plc-1 is put into quarantine": (
        "data/assets.yaml",
        {"assets": {"plc-1": {"kind": "plc", "zone": "away"}, "meter-1": {"kind": "meter", "zone": "plant"}}},
    ),
}


@pytest.mark.parametrize("what", EMERGENCIES)
def test_who_takes_rights_away_is_held_up_by_no_test(tmp_path: Path, what: str) -> None:
    name, data = EMERGENCIES[what]
    assert prepare(changed(tmp_path / "policies", {name: json.dumps(data)})).warnings, "and told"
