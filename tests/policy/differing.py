"""Questions at the edges of a bundle's data, and questions that no gateway asks.

`boundaries` goes through every grant: each of its subjects and listeners, and for each range, limit, step,
window, mode and age the last value that is in and the first that is out. `damaged` breaks the form of a
question anywhere: fields missing, doubled in meaning, of another type, null, huge.
"""

import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.model.operation import Action, AdminTarget, OpcuaTarget, Operation, Protocol
from gateway.policy import question
from gateway.policy.bundle import Bundle
from gateway.policy.testing import patched
from tests.policy.questions import NOW, OPEN, caller, callers, facts, operations, publish, read, write

Document = dict[str, Any]

ODD: tuple[Any, ...] = (
    *(None, True, False, "", [], {}, [None], [[]], [1, "1"], {"a": 1}),
    *(0, 1, -1, 1 << 53, (1 << 53) + 1, 1 << 63, 1 << 64, 10**30, -(10**30), 0.1, 1.5, -0.0, 1e300),
    *("\0", "é\N{GRINNING FACE}", "modbus", "plc-1", "*", "../..", "spiffe://", "x" * 2_000, "1", "null"),
)
"What takes the place of a value."

OPCUA = Operation(
    protocol=Protocol.OPCUA,
    action=Action.WRITE,
    kind="opcua.write",
    asset="plc-1",
    asset_kind="plc",
    opcua=OpcuaTarget(service="Write", node="nsu=urn:acme:plc;s=Tank.SP", attribute="Value", value=7),
)
ADMIN = Operation(
    protocol=Protocol.HTTPS,
    action=Action.ADMIN,
    kind="admin.open_window",
    admin=AdminTarget(scope="asset:plc-1", value="maintenance", minutes=30),
)
KINDS = (
    "admin.approve",
    "admin.break_glass",
    "admin.set_stage",
    "admin.activate",
    "admin.rollback",
    "admin.x",
)


def ordinary(dice: random.Random) -> Document:
    """What a gateway could ask, of every protocol and action."""
    who, state = dice.choice(callers()), facts(dice)
    what = dice.choice((dice.choice(operations(dice, 20)),) * 4 + (OPCUA, ADMIN))
    asked = question.document(who, what, state, "0" * 26, NOW, dice.choice((None, 0, 119, 120)))
    if what is ADMIN:
        asked["op"]["kind"] = dice.choice(KINDS)
    if what is OPCUA:
        asked["op"]["action"] = dice.choice(tuple(Action)).value
    if dice.random() < 0.1:
        asked["state"]["approval"] = {"id": "0" * 26, "by": [dice.choice(callers()).identity.subject]}
    return asked


def damaged(dice: random.Random, asked: Document) -> Document:
    """The same with one to four faults of form."""
    broken = copy.deepcopy(asked)
    for _ in range(dice.choice((1, 1, 2, 4))):
        path = dice.choice(list(_places(broken)))
        node: Any = broken
        for step in path[:-1]:
            node = node[step]
        how = dice.random()
        if how < 0.3:
            del node[path[-1]]
        else:
            node[path[-1]] = copy.deepcopy(dice.choice(ODD))
        if how > 0.95 and isinstance(node, dict):
            node["more"] = copy.deepcopy(dice.choice(ODD))
        if not broken:
            break
    return broken


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from _places(inner, (*path, name))


def boundaries(bundle: Bundle) -> list[Document]:
    """Every edge of every grant, both sides of it."""
    return [asked for grant in bundle.data["grants"] for asked in _around(grant, bundle.data)]


def _around(grant: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Document]:
    for base in _bases(grant, data):
        yield base
        for patch in (*_areas(grant), *_values(grant, data), *_conditions(grant, data)):
            yield patched(base, patch)


def _bases(grant: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Document]:
    """A question that fits in subject, action, protocol and asset, for each of them."""
    for subject, roles in _subjects(grant, data):
        for action in grant["actions"]:
            for protocol in grant["protocols"]:
                bare = write() if action == "write" else publish() if action == "publish" else read()
                who = caller(subject, *roles, listener=next(iter(grant.get("listeners", ["modbus-north"]))))
                asked = question.document(who, bare, OPEN, "0" * 26, NOW, 3)
                op = {"action": action, "protocol": protocol}
                asset = next(iter(grant.get("assets", [None])))
                yield patched(asked, {"op": op, "target": {"asset": asset}})


def _subjects(grant: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for subject, roles in data["role_bindings"].items():
        if subject in grant.get("subjects", ()) or set(roles) & set(grant.get("roles", ())):
            yield subject, roles
    if "subject_kinds" in grant:
        yield "anonymous:legacy", []


def _areas(grant: Mapping[str, Any]) -> Iterator[Document]:
    for area in grant.get("modbus", ()):
        for fc in (*area.get("fcs", ()), 1, 3, 6, 16, 24, 90):
            yield {"modbus": {"fc": fc, "table": area.get("table")}}
        for first, last in area.get("ranges", ()):
            for start in (first - 1, first, last, last + 1):
                for count in (0, 1, 2, last - start + 1, last - start + 2):
                    yield {"modbus": {"table": area["table"], "start": start, "count": count}}
        for name, one in (("sub", "subs"), ("mei", "meis")):
            for value in area.get(one, ()):
                for near in (value - 1, value, value + 1):
                    yield {"modbus": {"fc": area["fcs"][0], "table": None, name: near}}
        for name, one in (("file", "files"), ("record", "records")):
            for value in (edge for pair in area.get(one, ()) for edge in pair):
                for near in (value - 1, value, value + 1):
                    yield {
                        "modbus": {"fc": area["fcs"][0], "table": None, "file": 1, "record": 0, name: near}
                    }


def _values(grant: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Document]:
    oldest = data["bounds"].get("previous_age_ms", 0)
    limits = {**data["bounds"].get("limits", {}), **grant.get("limits", {})}
    for tag, limit in limits.items():
        for edge in (limit["min"], limit["max"]):
            for q in (edge - 1, edge, edge + 1, None):
                yield {"points": [{"tag": tag, "q": q, "q_prev": q, "age_ms": 0}]}
        step = limit.get("max_delta", 0)
        for delta in (step, step + 1, -step, -step - 1):
            point = {"tag": tag, "q": limit["min"] + step + 1, "q_prev": limit["min"] + step + 1 - delta}
            for age in (None, -1, 0, oldest, oldest + 1):
                yield {"points": [{**point, "age_ms": age}]}
    for count in (0, data["bounds"]["writes_60s"] - 1, data["bounds"]["writes_60s"], None):
        yield {"state": {"writes_60s": count}}


def _conditions(grant: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Document]:
    for window in (*grant.get("windows", ()), *data["windows"]):
        for trusted in (True, False):
            yield {"time": {"windows": [window], "trusted": trusted}}
    for mode in (*grant.get("modes", ()), "run", "no such mode"):
        yield {"state": {"mode": mode}}
    for listener in (*grant.get("listeners", ()), "no-such-listener"):
        yield {"conn": {"listener": listener}}
    for topic in grant.get("topics", ()):
        for near in (topic, topic.removesuffix("#"), topic.removesuffix("/#"), f"{topic[:-1]}x"):
            yield {"northbound": {"topic": near, "consumer": "broker", "format": "json"}}
    for crl in ("fresh", "stale", "grace_over", "missing"):
        yield {"state": {"crl": crl}}
    yield {"state": {"freeze": True}}
    yield {"target": {"asset": "no-such-asset"}}
    yield {"target": {"kind": "safety"}}
