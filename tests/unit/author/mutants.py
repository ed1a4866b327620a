"""Bundles that differ from another in one thing."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.policy.bundle import Bundle
from tests.policy.questions import conditioned

Data = dict[str, Any]


def base() -> Bundle:
    """Few grants that use every condition, and rules that speak of what no grant names."""
    bundle = conditioned()
    data = copy.deepcopy(bundle.data)
    data["grants"] = [each for each in data["grants"] if each["id"] in KEPT]
    device = next(each for each in data["grants"] if each["id"] == "device")
    device["modbus"] = [{"fcs": [17]}, {"fcs": [20], "files": [[1, 4]], "records": [[0, 9]]}]
    device["actions"] = ["read"]
    data["grants"] += [
        {
            "id": "maintenance-writes",
            "roles": ["operator"],
            "actions": ["write"],
            "protocols": ["modbus"],
            "assets": ["plc-1"],
            "modbus": [{"table": "holding", "ranges": [[10, 19]], "fcs": [16]}],
        }
    ]
    modules = {**bundle.modules, "site/demo/extra.rego": SITE}
    return msgspec.structs.replace(bundle, data=data, modules=modules, revision="a" * 64)


KEPT = frozenset(
    {"night-reads", "device", "operator-level-setpoint", "operator-pump", "collector-status"}
    | {"it-reader-list", "it-reader-gateway"}
)
"Of the shipped grants and those with every condition; few, because each costs 250 questions a comparison."

SITE = """package site.extra_demo

import future.keywords.not

deny contains {"code": "site.valve", "msg": "m"} if {
	data.dmz.lib.changes
	input.target.asset == "plc-1"
	data.dmz.lib.touches("holding", 13)
}

deny contains {"code": "site.holiday", "msg": "m"} if {
	input.op.action == "write"
	input.state.mode == "holiday"
}

deny contains {"code": "site.laptop", "msg": "m"} if {
	input.op.action == "write"
	input.conn.listener == "laptops"
}
""".replace("site.extra_demo", "site.demo")


def with_data(bundle: Bundle, change: Callable[[Data], None]) -> Bundle:
    """With other data."""
    data = copy.deepcopy(bundle.data)
    change(data)
    return msgspec.structs.replace(bundle, data=data, revision="b" * 64)


def without(bundle: Bundle, code: str) -> Bundle:
    """Without the rule that denies with a code: it asks for what never is."""
    made = dict(bundle.modules)
    for name, text in bundle.modules.items():
        at = text.find(f'"code": "{code}"')
        if at >= 0:
            body = text.index("} if {", at) + len("} if {")
            made[name] = text[:body] + "\n\tfalse" + text[body:]
            return msgspec.structs.replace(bundle, modules=made, revision="c" * 64)
    raise KeyError(code)


def replaced(bundle: Bundle, old: str, new: str) -> Bundle:
    """With one line of its rules written otherwise."""
    made = {name: text.replace(old, new, 1) for name, text in bundle.modules.items()}
    if made == bundle.modules:
        raise KeyError(old)
    return msgspec.structs.replace(bundle, modules=made, revision="d" * 64)


def grant(data: Data, name: str) -> Data:
    """A grant by its id."""
    found: Data = next(each for each in data["grants"] if each["id"] == name)
    return found
