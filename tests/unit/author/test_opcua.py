"""The author's tools about OPC UA: who may what, why, and what another bundle would change."""

from functools import cache
from typing import Any

import msgspec
import pytest

from gateway.author import difference
from gateway.author.answers import Answers
from gateway.author.explain import explain
from gateway.author.who_may import who_may
from gateway.model.identity import Caller
from gateway.model.operation import Operation
from gateway.policy import question
from gateway.policy.bundle import Bundle
from gateway.policy.loader import Policy, load
from tests.policy.questions import ANNA, LEVEL, NOW, OPEN, PANEL, conditioned, node, panel, shipped


@cache
def policy() -> Policy:
    return load(conditioned())


def asked(who: Caller, what: Operation) -> dict[str, Any]:
    return question.document(who, what, OPEN, "0" * 26, NOW)


def no_units(_: str) -> None:
    return None


def test_an_allow_for_a_user_names_both_grants() -> None:
    told = explain(policy(), asked(panel(on_behalf_of=ANNA), node()), no_units)
    assert told.decision == "allow"
    assert [each.grant for each in told.matched] == ["panel-by-opcua", "tank-users-by-opcua"]
    alone = explain(policy(), asked(panel(), node()), no_units)
    assert [each.grant for each in alone.matched] == ["panel-by-opcua"]


def test_a_denial_for_a_user_names_the_grant_that_the_user_lacks() -> None:
    told = explain(policy(), asked(panel(on_behalf_of="user:ben"), node()), no_units)
    assert told.decision == "deny"
    assert "no grant gives this to the user on top" in told.sentence
    assert not told.no_grant_helps
    assert told.own_grant is not None
    assert told.own_grant["subjects"] == ["user:ben"]
    assert told.own_grant["opcua"] == [{"services": ["Read"], "nodes": [LEVEL]}]


def test_what_the_application_lacks_is_told_of_the_application() -> None:
    told = explain(policy(), asked(panel(), node(node="nsu=urn:demo:plc;s=Pump")), no_units)
    assert told.own_grant is not None
    assert told.own_grant["subjects"] == [PANEL]


def test_who_may_names_nodes_and_methods() -> None:
    rights = {each.grant: each.what for each in who_may(conditioned(), "call", "plc-1")}
    assert f"{LEVEL}, methods {LEVEL}.Reset" in rights["panel-writes-by-opcua"]


def small(*grants: dict[str, Any]) -> Bundle:
    bundle = shipped()
    data = {
        **bundle.data,
        "conduits": [{"from": "plant", "to": "plant", "protocols": ["opcua"]}],
        "role_bindings": {PANEL: ["panel"], ANNA: ["shift"]},
        "grants": list(grants),
    }
    return msgspec.structs.replace(bundle, data=data, tests={})


def given(
    name: str, who: str, *entries: dict[str, Any], actions: tuple[str, ...] = ("read",)
) -> dict[str, Any]:
    named = {"subjects": [who]} if ":" in who else {"roles": [who]}
    return {
        "id": name,
        **named,
        "actions": list(actions),
        "protocols": ["opcua"],
        "assets": ["plc-1"],
        "opcua": list(entries),
    }


WIDE = given("app", PANEL, {"nodes": ["nsu=urn:demo:plc;s=*"]})
PUMP = "nsu=urn:demo:plc;s=Pump"


@pytest.mark.parametrize("who", [ANNA, "shift"])
def test_what_a_user_gets_more_is_found(who: str) -> None:
    old = small(WIDE, given("user", who, {"nodes": [LEVEL]}))
    new = small(WIDE, given("user", who, {"nodes": [LEVEL, PUMP]}))
    found = difference.run(Answers(load(old)), Answers(load(new)), 0, lambda *_: None)
    assert found.widens
    back = difference.run(Answers(load(new)), Answers(load(old)), 0, lambda *_: None)
    assert not back.widens


def test_what_an_application_gets_more_by_a_secure_channel_is_found() -> None:
    old = small(given("app", PANEL, {"nodes": [LEVEL]}))
    new = small(given("app", PANEL, {"nodes": [LEVEL, PUMP]}))
    assert difference.run(Answers(load(old)), Answers(load(new)), 0, lambda *_: None).widens


def test_a_subscription_service_more_is_found() -> None:
    one = ("subscribe",)
    old = small(given("app", PANEL, {"services": ["CreateSubscription"]}, actions=one))
    new = small(given("app", PANEL, {"services": ["CreateSubscription", "ModifySubscription"]}, actions=one))
    assert difference.run(Answers(load(old)), Answers(load(new)), 0, lambda *_: None).widens
