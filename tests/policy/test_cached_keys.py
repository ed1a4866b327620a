"""Every path that the shipped bundle can read is in the key: take any one out, and a wrong answer is shared.

For each path a rule is added that speaks where the path has another value, and two questions are asked that
differ in nothing else. With the path in the key they have two places; without it the second is answered what
the first was.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from gateway.model.asset import Table
from gateway.model.decision import Allowed, Decision
from gateway.model.identity import Authentication, Caller, Kind, RoleState
from gateway.model.operation import (
    Action,
    AdminTarget,
    ModbusTarget,
    NorthTarget,
    OpcuaTarget,
    Operation,
    Point,
    Protocol,
)
from gateway.policy import question
from gateway.policy.cache import Cache, Projection
from gateway.policy.engine import Engine
from gateway.policy.facts import Facts
from gateway.policy.loader import Policy, load
from gateway.policy.module import Path
from tests.policy.questions import HMI, NOW, OPEN, caller, conditioned
from tests.unit.policy.bundles import HEAD

Asked = tuple[Caller, Operation, Facts]
Change = Callable[[Asked], Asked]

NULL_WHEN_SHARED = {("state", "writes_60s"), ("state", "approval", "by")}
"What only writes have, and what people have approved: null in every question whose decision is shared."


def says(decision: Decision) -> tuple[Any, ...]:
    """What of a decision must not depend on where it comes from."""
    obligations = decision.obligations if isinstance(decision, Allowed) else ()
    return type(decision), decision.reasons, obligations, decision.grants


def base() -> Asked:
    """A question that has something everywhere."""
    operation = Operation(
        protocol=Protocol.MODBUS,
        action=Action.READ,
        kind="modbus.read_input_registers",
        asset="plc-1",
        asset_kind="plc",
        modbus=ModbusTarget(unit=1, fc=4, table=Table.INPUT, start=0, count=1),
        opcua=OpcuaTarget(service="Read"),
        north=NorthTarget(),
        admin=AdminTarget(),
        points=(Point("plc-1.level"),),
    )
    return caller(HMI, "operator"), operation, OPEN


def who(**change: Any) -> Change:
    """Another identity."""

    def changed(asked: Asked) -> Asked:
        identity = msgspec.structs.replace(asked[0].identity, **change)
        return msgspec.structs.replace(asked[0], identity=identity), asked[1], asked[2]

    return changed


def whence(**change: Any) -> Change:
    """Another connection."""
    return lambda asked: (msgspec.structs.replace(asked[0], **change), asked[1], asked[2])


def what(part: str = "", **change: Any) -> Change:
    """Another operation, in itself or in one of its targets."""

    def changed(asked: Asked) -> Asked:
        operation = asked[1]
        if part:
            inner = msgspec.structs.replace(getattr(operation, part), **change)
            return asked[0], msgspec.structs.replace(operation, **{part: inner}), asked[2]
        return asked[0], msgspec.structs.replace(operation, **change), asked[2]

    return changed


def when(**change: Any) -> Change:
    """Other facts."""
    return lambda asked: (asked[0], asked[1], msgspec.structs.replace(asked[2], **change))


CHANGES: dict[Path, Change] = {
    ("subject", "id"): who(subject="spiffe://demo.example/plant/other"),
    ("subject", "kind"): who(kind=Kind.PERSON),
    ("subject", "auth"): who(auth=Authentication.NONE),
    ("subject", "zone"): who(zone="lab"),
    ("subject", "roles"): who(roles=("viewer",)),
    ("subject", "role_state"): who(role_state=RoleState.MALFORMED),
    ("subject", "on_behalf_of"): who(on_behalf_of="oidc:alice"),
    ("conn", "zone"): whence(zone="lab"),
    ("conn", "src"): whence(source="10.9.9.9"),
    ("conn", "listener"): whence(listener="other"),
    ("conn", "tls"): whence(tls="1.2"),
    ("op", "protocol"): what(protocol=Protocol.HTTPS),
    ("op", "action"): what(action=Action.BROWSE),
    ("op", "kind"): what(kind="modbus.other"),
    ("target", "asset"): what(asset="meter-1"),
    ("target", "kind"): what(asset_kind="safety"),
    ("points",): what(points=(Point("plc-1.other"),)),
    ("modbus", "unit"): what("modbus", unit=0),
    ("modbus", "table"): what("modbus", table=Table.HOLDING),
    **{
        ("modbus", name): what("modbus", **{name: 14})
        for name in ("fc", "sub", "mei", "start", "count", "and_mask", "or_mask", "file", "record")
    },
    **{("northbound", name): what("north", **{name: "x/y"}) for name in ("topic", "consumer", "format")},
    **{
        ("opcua", name): what("opcua", **{name: "nsu=urn:x;s=y"})
        for name in (
            "service", "node", "path", "attribute", "index_range", "method", "type", "value", "security"
        )
    },
    **{
        ("opcua", name): what("opcua", **{name: 1_000})
        for name in ("sampling_ms", "publishing_ms", "history_start_ns", "history_end_ns")
    },
    ("opcua", "mode"): what("opcua", mode="Sign"),
    ("opcua", "arguments"): what("opcua", arguments=(1, "a", True)),
    **{("admin", name): what("admin", **{name: "x"}) for name in ("subject", "scope", "value", "request")},
    ("admin", "minutes"): what("admin", minutes=5),
    ("state", "mode"): when(mode="maintenance"),
    ("state", "freeze"): when(freeze=True),
    ("state", "clock"): when(clock="grace_over"),
    ("state", "crl"): when(crls=(("plant", "stale"),)),
    ("state", "break_glass"): when(break_glass=((HMI, "01J"),)),
    ("time", "windows"): when(windows=("working-hours",)),
    ("time", "trusted"): when(trusted=False),
}  # fmt: skip


@cache
def plain() -> Policy:
    return load(conditioned())


@cache
def probed() -> Policy:
    """The same with a rule for each path."""
    bundle = conditioned()
    modules = {**bundle.modules, "site/demo/probes.rego": HEAD + "\n".join(map(_probe, shared_paths()))}
    return load(msgspec.structs.replace(bundle, modules=modules))


def shared_paths() -> list[Path]:
    return [path for path in plain().paths if path not in NULL_WHEN_SHARED]


def _probe(path: Path) -> str:
    value = document(CHANGES[path](base()))
    for name in path:
        value = value[name]
    name = ".".join(path)
    return f'deny contains {{"code": "site.probe", "msg": "{name}"}} if input.{name} == {json.dumps(value)}\n'


def document(asked: Asked) -> Any:
    return json.loads(question.encode(question.document(*asked, "0" * 26, NOW)))


def evaluated(asked: Asked) -> Decision:
    return engine().evaluate(json.dumps(document(asked)).encode(), "")


@cache
def engine() -> Engine:
    return Engine(probed())


def shared(paths: tuple[Path, ...], one: Asked, other: Asked) -> Decision:
    """What a cache with that key answers to the second, when it knows the first."""
    found = Cache(Projection(paths), 100)
    found.facts(one[2])
    found.warm(one[0], one[1], evaluated(one), 0)
    found.facts(other[2])
    place = found.place(other[0], other[1])
    assert place is not None
    return found.at(place, 0) or evaluated(other)


def test_every_path_of_the_shipped_bundle_is_tried() -> None:
    """A new path in the shipped rules needs a change here."""
    assert set(plain().paths) <= set(CHANGES) | NULL_WHEN_SHARED
    assert set(plain().paths) == set(probed().paths)


@pytest.mark.parametrize("path", shared_paths(), ids=".".join)
def test_without_this_path_a_wrong_answer_is_shared(path: Path) -> None:
    one, other = base(), CHANGES[path](base())
    differing = [p for p in plain().paths if _at(document(one), p) != _at(document(other), p)]
    assert differing == [path], "they differ in nothing else"
    right = says(evaluated(other))
    assert right != says(evaluated(one))
    assert says(shared(plain().paths, one, other)) == right
    mutant = tuple(p for p in plain().paths if p != path)
    assert says(shared(mutant, one, other)) != right, "this path may be left out of the key"


def _at(node: Any, path: Path) -> Any:
    for name in path:
        node = node[name] if node is not None else None
    return node
