"""OPA is the other opinion: the same decisions on the same bundle, and nothing to complain about."""

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.model.decision import Allowed, Decision
from gateway.model.operation import MUTATING
from gateway.policy import opa, question
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy, load
from gateway.shipped import folder
from tests.policy.questions import NOW, callers, conditioned, facts, operations, shipped

POLICIES = folder("policies")
REGO = [str(POLICIES / name) for name in ("core", "base", "site")]
TESTS = [str(path) for path in sorted((POLICIES / "tests").glob("*.rego"))]

pytestmark = pytest.mark.needs("opa")

Component = Callable[[str], str]


def test_check_strict(component: Component) -> None:
    command = [component("opa"), "check", "--strict", *REGO, *TESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_formatted(component: Component) -> None:
    command = [component("opa"), "fmt", "--diff", "--fail", *REGO, *TESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_rego_tests_on_the_source_folders(component: Component) -> None:
    command = [component("opa"), "test", *REGO, str(POLICIES / "data"), *TESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout


def test_all_tests_of_the_bundle_hold_on_opa(component: Component) -> None:
    results = opa.run(load(shipped()), component("opa"))
    assert [result for result in results if not result.passed] == []
    assert len(results) > 90


def test_a_written_bundle_is_an_opa_bundle(component: Component, tmp_path: Path) -> None:
    bundle = shipped()
    bundle.write_to(tmp_path)
    command = [component("opa"), "eval", "--bundle", str(tmp_path), "--format", "raw", "data.dmz.decision"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert (answer["allow"], answer["revision"]) == (False, bundle.revision)


def test_the_same_decisions_on_random_questions(component: Component) -> None:
    policy = load(conditioned())
    dice = random.Random(62443)  # noqa: S311  dice for tests, not for secrets
    asked = [random_question(dice) for _ in range(4_000)]
    ours, theirs = ask_ours(policy, asked), opa.decide(policy, asked, component("opa"))
    pairs = zip(asked, ours, theirs, strict=True)
    assert [(document, us, them) for document, us, them in pairs if says(us) != says(them)] == []
    assert sum(isinstance(one, Allowed) for one in ours) > 100
    assert not any(failed(one) for one in ours)


def test_of_damaged_questions_none_is_allowed_that_opa_denies(component: Component) -> None:
    """No gateway sends these. Where OPA goes on over a wrong type, regorus stops, and that is a denial."""
    policy = load(conditioned())
    dice = random.Random(62351)  # noqa: S311  dice for tests, not for secrets
    asked = [random_question(dice) for _ in range(2_000)]
    for document in asked:
        damage(dice, document)
    ours, theirs = ask_ours(policy, asked), opa.decide(policy, asked, component("opa"))
    pairs = zip(ours, theirs, strict=True)
    assert [(us, them) for us, them in pairs if says(us) != says(them) and not failed(us)] == []
    assert 0 < sum(failed(us) for us in ours) < 500


def failed(decision: Decision) -> bool:
    return decision.reasons[0].code == "engine.error"


def random_question(dice: random.Random) -> dict[str, Any]:
    who, what = dice.choice(callers()), dice.choice(operations(dice, 20))
    writes = dice.choice((0, 119, 120)) if what.action in MUTATING else None
    return question.document(who, what, facts(dice), "0" * 26, NOW, writes)


def damage(dice: random.Random, document: dict[str, Any]) -> None:
    """What no gateway sends: an engine must still come to the same answer."""
    name = dice.choice([key for key in document if key != "schema"])
    inner = document[name]
    if not isinstance(inner, dict) or dice.random() < 0.2:
        document[name] = dice.choice((None, {}, []))
        return
    field = dice.choice(list(inner))
    if dice.random() < 0.5:
        del inner[field]
    else:
        inner[field] = dice.choice((None, "", -1, True))


def ask_ours(policy: Policy, asked: list[dict[str, Any]]) -> list[Decision]:
    engine = Engine(policy)
    return [engine.evaluate(question.encode(document), "") for document in asked]


def says(decision: Decision) -> tuple[Any, ...]:
    """Sets may come in another order; nothing else may differ."""
    obligations = decision.obligations if isinstance(decision, Allowed) else ()
    reasons = {(reason.code, reason.kind, reason.msg) for reason in decision.reasons}
    return type(decision), reasons, set(obligations), set(decision.grants)
