"""Who asks over OPC UA: applications, users on top of them, and the gateway itself."""

from functools import cache
from typing import Any

import pytest
from asyncua.ua import ObjectIds
from msgspec.structs import replace

from gateway.model.decision import Allowed, Decision
from gateway.model.identity import Authentication, Caller, Kind
from gateway.model.operation import Action, Operation
from gateway.policy import documents, nodes, question
from gateway.policy.engine import Engine
from gateway.policy.facts import Facts
from gateway.policy.loader import load
from tests.policy.questions import ANNA, GATEWAY, LEVEL, NOW, OPEN, caller, conditioned, node, panel, shipped

OWN = {
    "id": "collector-nodes",
    "roles": ["collector"],
    "actions": ["read", "browse", "subscribe"],
    "protocols": ["opcua"],
    "assets": ["plc-1"],
    "opcua": [
        {"nodes": ["i=2255"]},
        {
            "nodes": ["i=84", "i=85", "nsu=urn:demo:plc;s=*"],
            "attributes": ["Value", "DataType", "DisplayName"],
        },
        {"services": ["CreateSubscription", "DeleteSubscriptions"]},
    ],
}
"What the gateway needs of a server whose nodes it collects."


@cache
def engine() -> Engine:
    return Engine(load(conditioned()))


def decide(who: Caller, what: Operation, facts: Facts = OPEN) -> Decision:
    return engine().evaluate(question.encode(question.document(who, what, facts, "0" * 26, NOW, 0)), "")


def codes(who: Caller, what: Operation, facts: Facts = OPEN) -> set[str]:
    return {reason.code for reason in decide(who, what, facts).reasons}


def test_an_application_reads_what_it_is_granted() -> None:
    assert isinstance(decide(panel(), node()), Allowed)
    assert codes(panel(), node(node="nsu=urn:demo:plc;s=Pump")) == {"grant.nodes"}


def test_a_user_gets_no_more_than_both_have() -> None:
    decision = decide(panel(on_behalf_of=ANNA), node())
    assert isinstance(decision, Allowed)
    assert set(decision.grants) == {"panel-by-opcua", "tank-users-by-opcua"}
    assert codes(panel(on_behalf_of="user:nobody"), node()) == {"guardrail.on_behalf_of"}
    by_path = replace(node(service="Browse", node="nsu=urn:demo:plc;s=Pump"), action=Action.BROWSE)
    assert isinstance(decide(panel(), by_path), Allowed)
    assert codes(panel(on_behalf_of=ANNA), by_path) == {"guardrail.on_behalf_of"}
    fast = replace(node(service="CreateMonitoredItems", sampling_ms=499), action=Action.SUBSCRIBE)
    assert codes(panel(on_behalf_of=ANNA), fast) == {"grant.nodes"}, "the user's grant has no interval"


def test_what_the_user_owes_is_owed() -> None:
    write = replace(node(service="Write", type="Double", value=7), action=Action.WRITE)
    alone, together = decide(panel(), write), decide(panel(on_behalf_of=ANNA), write)
    assert isinstance(alone, Allowed)
    assert isinstance(together, Allowed)
    owed = {each.type for each in together.obligations} - {each.type for each in alone.obligations}
    assert owed == {"approval"}


def test_a_user_is_nobody_by_itself() -> None:
    for auth in Authentication:
        who = caller(ANNA, auth=auth, listener="opcua-north")
        assert "guardrail.identity" in codes(who, node())


@pytest.mark.parametrize("auth", set(Authentication) - {Authentication.OPCUA})
def test_only_a_secure_channel_proves_an_application(auth: Authentication) -> None:
    who = panel()
    other = replace(who.identity, auth=auth)
    moved = Caller(
        identity=other, source=who.source, listener=who.listener, zone=who.zone, tls=None, connection="01"
    )
    assert "guardrail.identity" in codes(moved, node())


def test_a_revocation_list_counts_for_who_came_by_a_secure_channel() -> None:
    write = replace(node(service="Write", type="Double", value=7), action=Action.WRITE)
    assert OPEN.crl_of(panel().identity) == "fresh"
    for state in ("grace_over", "missing"):
        facts = replace(OPEN, crls=(("plant", state),))
        assert facts.crl_of(panel().identity) == state
        assert codes(panel(), write, facts) == {"guardrail.crl"}


@pytest.mark.parametrize("service", ["Publish", "Republish"])
def test_what_a_subscription_brings_goes_to_who_may_have_it(service: str) -> None:
    delivery = replace(node(service=service, node=None, attribute=None), action=Action.SUBSCRIBE)
    assert isinstance(decide(panel(), delivery), Allowed)
    assert isinstance(decide(panel(on_behalf_of=ANNA), delivery), Allowed)
    assert "grant.none" in codes(panel(), replace(delivery, asset="meter-1"))
    assert "guardrail.opcua_service" in codes(panel(), replace(delivery, action=Action.READ))


def _with_own_grant() -> Engine:
    bundle = shipped()
    data = {
        **bundle.data,
        "grants": [*bundle.data["grants"], OWN],
        "conduits": [*bundle.data["conduits"], {"from": "gateway", "to": "plant", "protocols": ["opcua"]}],
    }
    changed = replace(bundle, data=data, revision="2" * 64)
    assert documents.faults(changed) == []
    return Engine(load(changed))


def test_the_gateway_can_be_given_what_it_needs_of_a_server() -> None:
    me = caller(
        GATEWAY,
        "collector",
        kind=Kind.GATEWAY,
        auth=Authentication.INTERNAL,
        zone="gateway",
        listener="internal",
    )
    own = _with_own_grant()

    def allowed(action: Action, **target: Any) -> bool:
        asked = replace(node(path=None, security=None, mode=None, **target), action=action)
        text = question.encode(question.document(me, asked, OPEN, "0" * 26, NOW))
        return isinstance(own.evaluate(text, ""), Allowed)

    assert allowed(Action.READ, node="i=2255")
    assert allowed(Action.READ, node=LEVEL, attribute="DataType")
    assert allowed(Action.BROWSE, service="Browse", node="i=85", attribute=None)
    assert allowed(Action.BROWSE, service="BrowseNext", node=LEVEL, attribute=None)
    assert allowed(Action.SUBSCRIBE, service="CreateMonitoredItems", node=LEVEL, sampling_ms=1000)
    for service in ("CreateSubscription", "Publish", "Republish", "DeleteSubscriptions"):
        assert allowed(Action.SUBSCRIBE, service=service, node=None, attribute=None, publishing_ms=1000)
    assert not allowed(Action.READ, node="i=2274"), "other clients' sessions"
    assert not allowed(Action.BROWSE, service="Browse", node="i=2274", attribute=None)


@pytest.mark.parametrize("number", ["2290", "3706", "3707", "3708"])
def test_nobody_reads_about_the_sessions_of_others(number: str) -> None:
    names = {value: name for name, value in vars(ObjectIds).items() if isinstance(value, int)}
    assert "Diagnostics" in names[int(number)], "the standard's own number"
    assert "guardrail.opcua_diagnostics" in codes(panel(), node(node=f"i={number}"))
    assert "guardrail.opcua_diagnostics" in codes(panel(on_behalf_of=ANNA), node(node=f"i={number}"))


def test_services_are_the_same_for_the_loader_and_the_guardrail() -> None:
    text = shipped().modules["core/opcua.rego"]
    said = text[text.index("services := {") : text.index("# METADATA", text.index("services := {"))]
    for action, services in nodes.SERVICES.items():
        row = said[said.index(f'"{action}": {{') :]
        names = row[row.index("{") + 1 : row.index("}")]
        assert {name.strip().strip('"') for name in names.split(",") if name.strip()} == services
