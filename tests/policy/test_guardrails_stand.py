"""Nothing in base, site or data switches a guardrail off: the loader refuses it, or the denial stays one.

Site modules are put together from a small grammar of what somebody would try, grants are as wide as the
schema lets them be, and what a guardrail denies of the shipped bundle is asked of each bundle that loads.
"""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.model.decision import Allowed
from gateway.model.errors import PolicyError
from gateway.model.operation import MUTATING
from gateway.policy import grants, question
from gateway.policy.bundle import Bundle
from gateway.policy.engine import Engine
from gateway.policy.loader import load
from tests.policy.questions import NOW, callers, conditioned, facts, operations
from tests.unit.policy.bundles import changed

HEADS = ("deny", "deny", "obligation", "allow", "decision", "override", "used", "x")
FORMS = ("{head} := {value} if {body}", "{head} contains {value} if {body}", "default {head} := {value}")
VALUES = (
    "true",
    "false",
    "set()",
    "[]",
    '{"code": "site.x", "msg": "x"}',
    '{"type": "audit"}',
    "data.dmz.allow",
)
BODIES = (
    "true",
    "false",
    "not data.dmz.lib.changes",
    "count(data.dmz.guardrails.deny) > 0",
    "data.dmz.guardrails.deny == set()",
    "data.dmz.decision.allow",
    'input.op.action == "write"',
    "input.state.freeze",
    "data.dmz.guardrails.deny := set()",
    "true with data.dmz.guardrails.deny as set()",
)
PACKAGES = ("site.demo", "site.demo", "site.demo", "dmz", "dmz.guardrails", "dmz.people", "dmz.opcua")
DATA = (
    "dmz: {guardrails: {deny: []}}",
    "dmz: {people: {deny: []}, opcua: {deny: []}}",
    "guardrails: []",
    "deny: []",
    "grant_index: {assets: {}, others: {}}",
)


def module(dice: random.Random) -> str:
    rules = [
        dice.choice(FORMS).format(
            head=dice.choice(HEADS), value=dice.choice(VALUES), body=dice.choice(BODIES)
        )
        for _ in range(dice.randint(1, 3))
    ]
    return f"package {dice.choice(PACKAGES)}\n\nimport future.keywords.not\n\n" + "\n\n".join(rules) + "\n"


def widest(bundle: Bundle) -> Bundle:
    """Everybody may do everything that the loader lets a grant say."""
    ends = [{"table": table, "ranges": [[0, 65_535]]} for table in ("coil", "discrete", "input", "holding")]
    modbus = [*ends, {"fcs": [7, 11, 12, 17]}, {"fcs": [8], "subs": [0, 2, 11]}, {"fcs": [43], "meis": [14]}]
    who = {"subject_kinds": ["workload", "person", "gateway", "local"], "assets": ["plc-1", "meter-1"]}
    wide: list[dict[str, Any]] = [
        {"id": "m", **who, "actions": ["read", "write", "call"], "protocols": ["modbus"], "modbus": modbus},
        {"id": "n", **who, "actions": ["read", "browse"], "protocols": ["https"]},
        {"id": "o", **who, "actions": ["publish"], "protocols": ["mqtt"], "topics": ["acme/#", "dmz/#"]},
        {
            "id": "p",
            "subject_kinds": who["subject_kinds"],
            "actions": ["admin", "read"],
            "protocols": ["https", "control"],
            "operations": sorted(grants.ACTS | grants.VIEWS | grants.CONTROL),
        },
        {
            "id": "q",
            **who,
            "actions": ["read", "browse", "subscribe"],
            "protocols": ["opcua"],
            "opcua": [{"nodes": ["nsu=urn:demo:plc;s=T*", "i=2*"], "attributes": ["Value", "WriteMask"]}],
        },
    ]
    all_of_it = {"coil": [[0, 65_535]], "discrete": [[0, 65_535]], "input": [[0, 65_535]]}
    bounds = bundle.data["bounds"]
    writable = {asset: {**all_of_it, "holding": [[0, 65_535]]} for asset in ("plc-1", "meter-1")}
    data = {**bundle.data, "grants": wide, "bounds": {**bounds, "writable": writable}}
    return msgspec.structs.replace(bundle, data=data, revision="1" * 64)


@pytest.fixture(scope="module")
def stopped() -> list[bytes]:
    """Questions that a guardrail denies, as many of each code as there are, up to twelve."""
    dice = random.Random(62443)  # noqa: S311  dice for tests, not for secrets
    engine = Engine(load(conditioned()))
    found: dict[str, set[bytes]] = {}
    who, what = callers(), operations(dice, 2_000)
    for _ in range(6_000):
        operation = dice.choice(what)
        writes = dice.choice((0, 119, 120)) if operation.action in MUTATING else None
        text = question.encode(
            question.document(dice.choice(who), operation, facts(dice), "0" * 26, NOW, writes)
        )
        for reason in engine.evaluate(text, "").reasons:
            if reason.kind == "guardrail":
                found.setdefault(reason.code, set()).add(text)
    assert len(found) > 22, sorted(found)
    return sorted({text for texts in found.values() for text in sorted(texts)[:12]})


def test_no_grant_switches_a_guardrail_off(stopped: list[bytes]) -> None:
    wide = Engine(load(widest(conditioned())))
    decisions = [wide.evaluate(text, "") for text in stopped]
    assert [text for text, one in zip(stopped, decisions, strict=True) if isinstance(one, Allowed)] == []
    only = [one for one in decisions if {reason.kind for reason in one.reasons} == {"guardrail"}]
    assert len(only) > len(stopped) // 4, "the grants give what guardrails deny"


def test_no_module_and_no_data_switches_a_guardrail_off(stopped: list[bytes], tmp_path: Path) -> None:
    dice = random.Random(62351)  # noqa: S311  dice for tests, not for secrets
    loaded = refused = 0
    for number in range(120):
        changes: dict[str, str | None] = {"site/demo/more.rego": module(dice)}
        if dice.random() < 0.2:
            changes["data/more.yaml"] = dice.choice(DATA) + "\n"
        try:
            bundle = changed(tmp_path / str(number), changes)
            engine = Engine(load(widest(bundle)))
        except PolicyError:
            refused += 1
            continue
        loaded += 1
        for text in dice.sample(stopped, 60):
            assert not isinstance(engine.evaluate(text, ""), Allowed), changes
    assert loaded > 5
    assert refused > 40
