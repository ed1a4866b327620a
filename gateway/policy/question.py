"""The question: one operation as `dmz.input/1` (policies/schemas/input.json, docs/reference/input.md).

Closed: every field is always there, null where unknown, so that no rule meets an undefined field. Built in
parts that change at different rates, so that the cache can know a part by its object:

    part        fields                                                  changes with
    caller      subject, conn                                           the connection
    operation   op without id, target, modbus, opcua, northbound, admin, points   the operation
    facts       state without the below, time without ns                the plant, a window
    both        state.crl: of the lists of the caller's zone            those lists
                state.break_glass: whether this caller has broken it    that act
    request     op.id, time.ns, state.writes_60s, state.approval        every question
"""

from typing import Any

import msgspec
from msgspec.structs import asdict

from gateway.model.decision import Approval
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import (
    MUTATING,
    Action,
    ModbusTarget,
    OpcuaTarget,
    Operation,
    Point,
    Protocol,
)
from gateway.policy.facts import Facts

SCHEMA = "dmz.input/1"
MOST_QUANTA = 1 << 53
"Beyond this a number is not exact in every JSON reader, so engines could disagree about it."

Part = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def caller_part(caller: Caller) -> Part:
    """Who asks, and from where."""
    identity = caller.identity
    return {
        "subject": {
            "id": identity.subject,
            "kind": identity.kind.value,
            "auth": identity.auth.value,
            "zone": identity.zone,
            "roles": list(identity.roles),
            "role_state": identity.role_state.value,
            "cert": {
                "sha256": identity.fingerprint,
                "serial": identity.serial,
                "issuer": identity.issuer,
                "ski": identity.ski,
            },
            "on_behalf_of": identity.on_behalf_of,
        },
        "conn": {
            "zone": caller.zone,
            "src": caller.source,
            "listener": caller.listener,
            "tls": caller.tls,
        },
    }


def operation_part(operation: Operation) -> Part:
    """What is wanted. Raises ValueError for a number that engines could read differently."""
    return {
        "op": {
            "protocol": operation.protocol.value,
            "action": operation.action.value,
            "kind": operation.kind,
            "direction": _direction(operation),
        },
        "target": {"asset": operation.asset, "kind": operation.asset_kind, "endpoint": None},
        "modbus": None if operation.modbus is None else _modbus(operation.modbus),
        "opcua": None if operation.opcua is None else _opcua(operation.opcua),
        "northbound": None if operation.north is None else asdict(operation.north),
        "admin": None if operation.admin is None else asdict(operation.admin),
        "points": [_point(point) for point in operation.points],
    }


def facts_part(facts: Facts) -> Part:
    """What is true now for every question."""
    return {
        "state": {
            "mode": facts.mode,
            "freeze": facts.freeze,
            "clock": facts.clock,
        },
        "time": {"windows": list(facts.windows), "trusted": facts.trusted},
    }


def both_part(caller: Caller, facts: Facts) -> Part:
    """What is true now for this caller."""
    return {
        "state": {"crl": facts.crl_of(caller.identity), "break_glass": facts.glass_of(caller.identity)},
    }


def document(
    caller: Caller,
    operation: Operation,
    facts: Facts,
    ulid: str,
    now: Now,
    writes_60s: int | None = None,
    approval: Approval | None = None,
) -> Part:
    """The whole question. `writes_60s` is null for what changes nothing, whatever was given."""
    rest = operation_part(operation)
    supplied = facts_part(facts)
    own = {
        "writes_60s": writes_60s if operation.action in MUTATING else None,
        "approval": None if approval is None else {"id": approval.id, "by": list(approval.by)},
    }
    return {
        "schema": SCHEMA,
        "op": {"id": ulid, **rest.pop("op")},
        **caller_part(caller),
        **rest,
        "state": {**supplied["state"], **both_part(caller, facts)["state"], **own},
        "time": {"ns": now.wall_ns, **supplied["time"]},
    }


def encode(question: Part) -> bytes:
    """The question as JSON text. Raises UnicodeEncodeError for a lone surrogate."""
    return _encode(question)


def _direction(operation: Operation) -> str:
    if operation.protocol is Protocol.CONTROL or operation.action is Action.ADMIN:
        return "admin"
    north = operation.protocol in (Protocol.HTTPS, Protocol.MQTT) and operation.action not in MUTATING
    return "to_it" if north else "to_ot"


def _modbus(target: ModbusTarget) -> Part:
    return {
        "unit": target.unit,
        "fc": target.fc,
        "sub": target.sub,
        "mei": target.mei,
        "table": None if target.table is None else target.table.value,
        "start": target.start,
        "count": target.count,
        "values": None if target.values is None else list(target.values),
        "and_mask": target.and_mask,
        "or_mask": target.or_mask,
        "file": target.file,
        "record": target.record,
    }


def _opcua(target: OpcuaTarget) -> Part:
    arguments = None if target.arguments is None else [_exact(each) for each in target.arguments]
    return {**asdict(target), "value": _exact(target.value), "arguments": arguments}


def _exact(value: int | str | bool | None) -> int | str | bool | None:
    """A value that all engines read alike: integers that a double does not hold go as text."""
    return str(value) if type(value) is int and abs(value) > MOST_QUANTA else value


def _point(point: Point) -> Part:
    for number in (point.q, point.q_prev, point.age_ms):
        if number is not None and (type(number) is not int or abs(number) > MOST_QUANTA):
            raise ValueError(f"{point.tag}: {number!r} is not an integer within 2^53")
    return {"tag": point.tag, "q": point.q, "q_prev": point.q_prev, "age_ms": point.age_ms}
