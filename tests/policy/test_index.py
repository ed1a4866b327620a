"""The index of grants only narrows where core looks: it changes no decision; a wrong one gives nothing."""

import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.model.decision import Allowed, Decision
from gateway.model.operation import MUTATING
from gateway.policy import index, opa, question
from gateway.policy.bundle import Bundle
from gateway.policy.engine import Engine
from gateway.policy.loader import load
from tests.policy.questions import NOW, OPEN, caller, callers, conditioned, facts, operations, read, shipped

ASSETS = ("plc-1", "meter-1", "plc-2", None)
WAYS = [("read", "modbus"), ("read", "https"), ("browse", "https"), ("publish", "mqtt")]


def about_the_gateway(grant: dict[str, Any]) -> bool:
    """What it names goes with the ways to the gateway only."""
    own = ("admin.", "audit.", "control.")
    named = [kind for kind in grant.get("operations", ()) if kind.startswith(own)]
    return "admin" in grant["actions"] or bool(named)


def random_grants(dice: random.Random, many: int) -> list[dict[str, Any]]:
    """The bundle's grants, torn apart and put together anew in another order."""
    fixed = {"opcua", "break_glass", "approval"}  # what they name fits their own actions and protocols only
    whole = [
        grant
        for grant in conditioned().data["grants"]
        if not fixed.intersection(grant) and not about_the_gateway(grant)
    ]
    found = []
    for number in range(many):
        grant = dict(dice.choice(whole), id=f"g{number}")
        assets = dice.sample([name for name in ASSETS if name], dice.randint(1, 3))
        if "write" in grant["actions"]:
            assets = ["plc-1"]
        if dice.random() < 0.3:
            grant.pop("assets", None)
        elif dice.random() < 0.5:
            grant["assets"] = assets
        if "write" not in grant["actions"] and dice.random() < 0.4:
            ways = dice.choices(WAYS, k=dice.randint(1, 3))
            grant["actions"] = [action for action, _ in ways]
            grant["protocols"] = [protocol for _, protocol in ways]
            if "modbus" not in grant["protocols"]:
                grant.pop("modbus", None)
        found.append(grant)
    return found


def with_grants(grants: list[dict[str, Any]]) -> Bundle:
    bundle = conditioned()
    assets = {**bundle.data["assets"], "plc-2": {"kind": "plc", "zone": "plant"}}
    return msgspec.structs.replace(bundle, data={**bundle.data, "assets": assets, "grants": grants})


def random_questions(dice: random.Random, many: int) -> list[dict[str, Any]]:
    found = []
    who, what = callers(), operations(dice, 400)
    for _ in range(many):
        operation = dice.choice(what)
        if dice.random() < 0.3:
            operation = msgspec.structs.replace(operation, asset=dice.choice(ASSETS))
        now = facts(dice) if dice.random() < 0.5 else OPEN
        writes = 3 if operation.action in MUTATING else None
        found.append(question.document(dice.choice(who), operation, now, "0" * 26, NOW, writes))
    return found


def says(decision: Decision) -> tuple[Any, ...]:
    obligations = decision.obligations if isinstance(decision, Allowed) else ()
    return type(decision), decision.reasons, obligations, decision.grants


def ask(engine: Engine, asked: list[dict[str, Any]]) -> list[Decision]:
    return [engine.evaluate(question.encode(document), "") for document in asked]


@pytest.mark.parametrize("seed", range(4))
def test_the_same_decisions_with_and_without_it(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  dice for tests, not for secrets
    policy = load(with_grants(random_grants(dice, 40)))
    asked = random_questions(dice, 1_000)
    indexed, scanned = ask(Engine(policy), asked), ask(Engine(policy, tests=True), asked)
    pairs = zip(asked, indexed, scanned, strict=True)
    assert [
        (document, with_, without) for document, with_, without in pairs if says(with_) != says(without)
    ] == []
    assert sum(isinstance(one, Allowed) for one in indexed) > 20


@pytest.mark.needs("opa")
def test_opa_uses_the_same_index(component: Any) -> None:
    dice = random.Random(7)  # noqa: S311  dice for tests, not for secrets
    policy = load(with_grants(random_grants(dice, 40)))
    asked = random_questions(dice, 1_000)
    ours, theirs = ask(Engine(policy), asked), opa.decide(policy, asked, component("opa"))
    pairs = zip(asked, ours, theirs, strict=True)
    assert [
        (document, us, them)
        for document, us, them in pairs
        if (type(us), set(us.reasons), set(us.grants)) != (type(them), set(them.reasons), set(them.grants))
    ] == []
    assert sum(isinstance(one, Allowed) for one in theirs) > 20


def test_a_wrong_index_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place under every name, places that do not exist, and no place at all."""
    policy = load(conditioned())
    dice = random.Random(11)  # noqa: S311  dice for tests, not for secrets
    asked = random_questions(dice, 600)
    right = ask(Engine(policy), asked)

    def everything(grants: Sequence[Mapping[str, Any]]) -> index.Index:
        places = [-1, *range(len(grants) + 5)]
        actions = {str(document["op"]["action"]) for document in asked}
        protocols = ("modbus", "opcua", "https", "mqtt", "control")
        by_asset = dict.fromkeys(("plc-1", "meter-1", "plc-2", "plc-9"), places)
        return {
            "assets": {action: dict.fromkeys(protocols, by_asset) for action in actions},
            "others": {action: dict.fromkeys(protocols, places) for action in actions},
        }

    monkeypatch.setattr(index, "grant_index", everything)
    assert [says(one) for one in ask(Engine(policy), asked)] == [says(one) for one in right]
    monkeypatch.setattr(index, "grant_index", lambda _grants: {"assets": {}, "others": {}})
    assert not any(isinstance(one, Allowed) for one in ask(Engine(policy), asked))
    assert sum(isinstance(one, Allowed) for one in right) > 20


def test_what_it_says() -> None:
    grants = [
        {"actions": ["read", "browse"], "protocols": ["modbus"], "assets": ["a", "b", "a"]},
        {"actions": ["read"], "protocols": ["modbus", "https"], "assets": ["b"]},
        {"actions": ["browse", "browse"], "protocols": ["https"]},
    ]
    assert index.grant_index(grants) == {
        "assets": {
            "read": {"modbus": {"a": [0], "b": [0, 1]}, "https": {"b": [1]}},
            "browse": {"modbus": {"a": [0], "b": [0]}},
        },
        "others": {"browse": {"https": [2]}},
    }


def test_it_is_in_what_opa_gets_and_not_in_what_is_read_again(tmp_path: Any) -> None:
    bundle = shipped()
    bundle.write_to(tmp_path)
    written = json.loads((tmp_path / "data.json").read_text())
    assert written[index.DOCUMENT] == index.grant_index(bundle.data["grants"])
    assert index.DOCUMENT in json.loads((tmp_path / ".manifest").read_text())["roots"]
    assert index.DOCUMENT not in bundle.data


def cpu_us(document: bytes, *bundles: Bundle) -> list[float]:
    """CPU of one evaluation under each: the least of many in turns, so that other load does not count."""
    engines = [Engine(load(bundle)) for bundle in bundles]
    best = [float("inf")] * len(engines)
    for _ in range(120):
        for at, engine in enumerate(engines):
            begun = time.thread_time_ns()
            assert isinstance(engine.evaluate(document, ""), Allowed)
            best[at] = min(best[at], (time.thread_time_ns() - begun) / 1_000)
    return best


def test_a_thousand_grants_about_other_assets_cost_nothing() -> None:
    bundle = shipped()
    others = [f"plc-x{number}" for number in range(1_000)]
    area = {"table": "input", "ranges": [[0, 99]]}
    more = [
        {
            "id": f"g-{name}",
            "roles": ["operator"],
            "actions": ["read"],
            "protocols": ["modbus"],
            "assets": [name],
            "modbus": [area],
        }
        for name in others
    ]
    assets = {**bundle.data["assets"], **{name: {"kind": "plc", "zone": "plant"} for name in others}}
    large = {**bundle.data, "grants": [*more, *bundle.data["grants"]], "assets": assets}
    who = caller("spiffe://demo.example/plant/hmi-1", "operator")
    document = question.encode(question.document(who, read(), OPEN, "0" * 26, NOW))
    few, many = cpu_us(document, bundle, msgspec.structs.replace(bundle, data=large))
    assert many < 1.5 * few
