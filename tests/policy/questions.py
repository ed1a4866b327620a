"""Random callers, operations and facts around the demo plant, near the edges of its grants.

Each is made from one that is allowed by changing a few fields, so that a field that matters is often the
only difference between two questions.
"""

import random
from functools import cache
from typing import Any

from msgspec.structs import replace

from gateway.model.asset import Table
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import Now
from gateway.model.operation import (
    MUTATING,
    Action,
    AdminTarget,
    ModbusTarget,
    NorthTarget,
    OpcuaTarget,
    Operation,
    Point,
    Protocol,
)
from gateway.policy import bundle as bundles
from gateway.policy.bundle import Bundle
from gateway.policy.facts import Facts
from gateway.shipped import folder

HMI = "spiffe://demo.example/plant/hmi-1"
VIEW = "spiffe://demo.example/plant/view-1"
GATEWAY = "spiffe://demo.example/gateway/gw-1"
HISTORIAN = "spiffe://demo.example/it/historian-1"
NOBODY = "anonymous:legacy"
PANEL = "urn:demo:panel-1"
ANNA = "user:anna"
LEA = "spiffe://demo.example/person/lea"
SAM = "spiffe://demo.example/person/sam"
LEVEL = "nsu=urn:demo:plc;s=Tank.Level"

NOW = Now(wall_ns=1_795_400_000_123_456_789, mono_ns=5, trusted=True, judge_ns=1_795_400_000_123_456_789)
OPEN = Facts(mode="run", freeze=False, crl="fresh", clock="trusted", trusted=True)

CONDITIONED: list[dict[str, Any]] = [
    # Reads with every condition that the demo's own grants do not use.
    {
        "id": "night-reads",
        "subjects": [VIEW],
        "actions": ["read"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [{"table": "holding", "ranges": [[100, 199]], "fcs": [3]}],
        "windows": ["working-hours"],
        "modes": ["run"],
        "listeners": ["modbus-north"],
        "tags": ["plc-1.level_sp"],
    },
    {
        "id": "people-read",
        "subject_kinds": ["person"],
        "actions": ["read"],
        "protocols": ["modbus"],
        "assets": ["meter-1"],
        "modbus": [{"table": "input", "ranges": [[0, 9]]}],
    },
    {
        "id": "device",
        "roles": ["operator"],
        "actions": ["read", "write", "call"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [
            {"fcs": [7, 17]},
            {"fcs": [8], "subs": [0, 11]},
            {"fcs": [43], "meis": [14]},
            {"fcs": [20, 21], "files": [[1, 4]], "records": [[0, 9], [90, 99]]},
            {"table": "holding", "ranges": [[0, 0]], "fcs": [24]},
        ],
    },
    {
        "id": "nobody-reads",
        "subject_kinds": ["nobody"],
        "listeners": ["legacy"],
        "actions": ["read"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [{"table": "input", "ranges": [[0, 9]]}],
    },
    {
        "id": "nobody-writes",
        "subject_kinds": ["nobody"],
        "listeners": ["legacy"],
        "actions": ["write"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [{"table": "holding", "ranges": [[0, 0]]}],
    },
    {
        "id": "panel-by-opcua",
        "subjects": [PANEL],
        "actions": ["read", "browse", "subscribe"],
        "protocols": ["opcua"],
        "assets": ["plc-1"],
        "opcua": [
            {"nodes": ["nsu=urn:demo:plc;s=Tank.*"], "min_interval_ms": 500, "most_history_s": 3600},
            {"paths": ["/Plant/plc-1/#"], "services": ["Browse"]},
            {"services": ["CreateSubscription"], "min_interval_ms": 500},
        ],
    },
    {
        "id": "panel-writes-by-opcua",
        "subjects": [PANEL],
        "actions": ["write", "call"],
        "protocols": ["opcua"],
        "assets": ["plc-1"],
        "opcua": [
            {"nodes": [LEVEL]},
            {"nodes": [LEVEL], "methods": [f"{LEVEL}.Reset"], "arguments": [{"min": 0, "max": 9}]},
        ],
    },
    {
        # What a user on top of the panel has, by a role and by name: less than the panel itself.
        "id": "tank-users-by-opcua",
        "roles": ["tank-user"],
        "actions": ["read", "browse", "subscribe"],
        "protocols": ["opcua"],
        "assets": ["plc-1"],
        "opcua": [{"nodes": ["nsu=urn:demo:plc;s=Tank.*"]}, {"services": ["CreateSubscription"]}],
    },
    {
        "id": "anna-writes-by-opcua",
        "subjects": [ANNA],
        "actions": ["write"],
        "protocols": ["opcua"],
        "assets": ["plc-1"],
        "opcua": [{"nodes": [LEVEL]}],
        "approval": {"by": "shift-lead", "within_s": 60},
    },
    {
        "id": "panel-publishes",
        "subjects": [PANEL],
        "actions": ["read"],
        "protocols": ["https"],
        "assets": ["plc-1"],
        "consumers": [HISTORIAN],
        "formats": ["json"],
    },
    {
        "id": "glass-reads",
        "subjects": [VIEW],
        "actions": ["read"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [{"table": "holding", "ranges": [[300, 399]]}],
        "break_glass": True,
    },
    {
        "id": "agreed-reads",
        "subjects": [VIEW],
        "actions": ["read"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [{"table": "holding", "ranges": [[400, 499]]}],
        "approval": {"by": "shift-lead", "within_s": 60},
    },
]


@cache
def shipped() -> Bundle:
    """The bundle in this checkout. Nobody changes it, so it is read once."""
    return bundles.read(folder("policies"))


def conditioned() -> Bundle:
    """The same with grants that use every condition."""
    bundle = shipped()
    bounds = bundle.data["bounds"]
    plc = {
        **bounds["writable"]["plc-1"],
        "files": [{"files": [[1, 9]], "records": [[0, 99]]}],
        "nodes": ["nsu=urn:demo:plc;s=Tank.*"],
        "methods": [f"{LEVEL}.Reset"],
    }
    data = {
        **bundle.data,
        "conduits": [
            *bundle.data["conduits"],
            {"from": "plant", "to": "plant", "protocols": ["opcua", "https"]},
        ],
        "role_bindings": {**bundle.data["role_bindings"], ANNA: ["tank-user"]},
        "grants": [*bundle.data["grants"], *CONDITIONED],
        "bounds": {**bounds, "writable": {**bounds["writable"], "plc-1": plc}},
    }
    return replace(bundle, data=data, revision="0" * 64)


def caller(
    subject: str = HMI,
    *roles: str,
    kind: Kind = Kind.WORKLOAD,
    auth: Authentication = Authentication.MTLS,
    state: RoleState = RoleState.OK,
    zone: str = "plant",
    listener: str = "modbus-north",
    on_behalf_of: str | None = None,
) -> Caller:
    """Somebody on a connection."""
    identity = Identity(
        subject=subject,
        kind=kind,
        auth=auth,
        zone=zone,
        roles=roles,
        role_state=state,
        fingerprint="00",
        on_behalf_of=on_behalf_of,
    )
    return Caller(
        identity=identity, source="10.0.0.7", listener=listener, zone=zone, tls="1.3", connection="01"
    )


def panel(zone: str = "plant", on_behalf_of: str | None = None) -> Caller:
    """An application on a secure channel of OPC UA, perhaps with a user on top."""
    return caller(
        PANEL,
        auth=Authentication.OPCUA,
        state=RoleState.ABSENT,
        zone=zone,
        listener="opcua-north",
        on_behalf_of=on_behalf_of,
    )


def read(
    start: int = 0, count: int = 1, table: Table = Table.INPUT, fc: int = 4, asset: str = "plc-1"
) -> Operation:
    """A Modbus read."""
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.READ,
        kind="modbus.read_input_registers",
        asset=asset,
        asset_kind="plc",
        modbus=ModbusTarget(unit=1, fc=fc, table=table, start=start, count=count),
        points=(Point("plc-1.level"),),
    )


def write(start: int = 0, q: int | None = 425, previous: int | None = 400) -> Operation:
    """A write of one holding register."""
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.WRITE,
        kind="modbus.write_single_register",
        asset="plc-1",
        asset_kind="plc",
        modbus=ModbusTarget(unit=1, fc=6, table=Table.HOLDING, start=start, count=1, values=(425,)),
        points=(Point("plc-1.level_sp", q, previous, None if previous is None else 800),),
    )


def device(fc: int, action: Action = Action.READ, **target: Any) -> Operation:
    """A function that addresses no table."""
    return Operation(
        protocol=Protocol.MODBUS,
        action=action,
        kind="modbus.device",
        asset="plc-1",
        asset_kind="plc",
        modbus=ModbusTarget(unit=1, fc=fc, **target),
    )


def publish(topic: str | None = "acme/demo/tank-1/level") -> Operation:
    """A publication of one tag."""
    return Operation(
        protocol=Protocol.MQTT,
        action=Action.PUBLISH,
        kind="mqtt.publish_tag",
        asset="plc-1",
        asset_kind="plc",
        north=NorthTarget(topic=topic, consumer="broker", format="json"),
        points=(Point("plc-1.level"),),
    )


def fetch(kind: str = "https.read_tag", asset: str | None = "plc-1") -> Operation:
    """A read over HTTPS."""
    return Operation(
        protocol=Protocol.HTTPS,
        action=Action.READ,
        kind=kind,
        asset=asset,
        asset_kind="plc",
        north=NorthTarget(consumer=HISTORIAN, format="json"),
        points=(Point("plc-1.level"),),
    )


def node(**target: Any) -> Operation:
    """A read over OPC UA."""
    fields: dict[str, Any] = {
        "service": "Read",
        "node": LEVEL,
        "path": "/Plant/plc-1/Tank/Level",
        "attribute": "Value",
        "security": "Basic256Sha256",
        "mode": "SignAndEncrypt",
    }
    return Operation(
        protocol=Protocol.OPCUA,
        action=Action.READ,
        kind="opcua.read",
        asset="plc-1",
        asset_kind="plc",
        opcua=OpcuaTarget(**{**fields, **target}),
    )


def nodes() -> list[Operation]:
    """One of each action over OPC UA."""
    start = NOW.wall_ns
    return [
        node(),
        node(service="HistoryRead", history_start_ns=start, history_end_ns=start + 3_600 * 10**9),
        replace(node(service="Browse", node="nsu=urn:demo:plc;s=Pump", attribute=None), action=Action.BROWSE),
        replace(node(service="CreateMonitoredItems", sampling_ms=500), action=Action.SUBSCRIBE),
        replace(
            node(service="CreateMonitoredItems", sampling_ms=-1, publishing_ms=500), action=Action.SUBSCRIBE
        ),
        replace(
            node(service="CreateSubscription", node=None, attribute=None, publishing_ms=500),
            action=Action.SUBSCRIBE,
        ),
        *(
            replace(node(service=service, node=None, attribute=None), action=Action.SUBSCRIBE)
            for service in ("Publish", "Republish", "DeleteSubscriptions")
        ),
        replace(node(service="Write", type="Double", value=7), action=Action.WRITE),
        replace(
            node(service="Call", attribute=None, method=f"{LEVEL}.Reset", arguments=(5,)), action=Action.CALL
        ),
    ]


def act(kind: str, **target: Any) -> Operation:
    """What a person does to the gateway."""
    return Operation(
        protocol=Protocol.HTTPS, action=Action.ADMIN, kind=f"admin.{kind}", admin=AdminTarget(**target)
    )


def acts() -> list[Operation]:
    """Acts that somebody may do in the demo, and what is read about the gateway."""
    return [
        act("approve", subject=HMI, scope="asset:plc-1", value="modbus.write_single_coil", request="01K"),
        act("open_window", value="vendor-access", minutes=60),
        act("break_glass", subject=SAM, value="overflow", minutes=30),
        act("set_stage", scope="asset:plc-1", value="monitor"),
        act("set_mode", value="maintenance"),
        replace(fetch("admin.state", None), points=()),
    ]


def callers() -> list[Caller]:
    """Everybody, and everybody with one thing wrong."""
    gateway, internal = Kind.GATEWAY, Authentication.INTERNAL
    none, absent = Authentication.NONE, RoleState.ABSENT
    return [
        caller(HMI, "operator"),
        caller(HMI, "viewer"),
        caller(HMI, "operator", "viewer"),
        caller(HMI, state=RoleState.ABSENT),
        caller(HMI, "operator", state=RoleState.MALFORMED),
        caller(HMI, "operator", zone="it"),
        caller(HMI, "operator", zone="lab"),
        caller(HMI, "operator", on_behalf_of="oidc:alice"),
        caller(HMI, "operator", auth=Authentication.NONE),
        caller(HMI, "operator", kind=Kind.PERSON),
        caller(VIEW, "viewer"),
        caller(VIEW, "viewer", listener="other"),
        caller(VIEW, "operator"),
        caller("spiffe://demo.example/plant/nobody", "operator"),
        caller("hmi-1", "operator"),
        caller(GATEWAY, "collector", kind=gateway, auth=internal, zone="gateway", listener="internal"),
        caller(GATEWAY, "collector"),
        caller(HISTORIAN, zone="it", listener="https", state=RoleState.ABSENT),
        caller(HISTORIAN, "it-reader", zone="plant", listener="https"),
        caller("local:root", kind=Kind.LOCAL, auth=Authentication.CONTROL, zone="local", listener="control"),
        caller(NOBODY, kind=Kind.NOBODY, auth=none, state=absent, listener="legacy"),
        caller(NOBODY, kind=Kind.NOBODY, auth=none, state=absent, listener="modbus-north"),
        caller(NOBODY, kind=Kind.WORKLOAD, auth=none, state=absent, listener="legacy"),
        caller(HMI, "operator", kind=Kind.NOBODY, listener="legacy"),
        panel(),
        panel(on_behalf_of=ANNA),
        panel(on_behalf_of="user:nobody"),
        panel(zone="it"),
        caller(PANEL, listener="opcua-north", state=RoleState.ABSENT),
        caller(PANEL, listener="opcua-north", state=RoleState.ABSENT, auth=Authentication.INTERNAL),
        caller(LEA, kind=Kind.PERSON, listener="admin", state=RoleState.ABSENT),
        caller(SAM, "on-call", kind=Kind.PERSON, listener="admin"),
        caller(SAM, kind=Kind.WORKLOAD, listener="admin", state=RoleState.ABSENT),
        caller("spiffe://demo.example/person/pat", kind=Kind.PERSON, zone="it", listener="admin"),
    ]


def operations(dice: random.Random, many: int) -> list[Operation]:
    """That many operations: bases, and bases with one to three fields changed."""
    bases = [
        read(),
        read(table=Table.HOLDING, fc=3),
        read(table=Table.HOLDING, fc=3, start=100),
        read(asset="meter-1"),
        write(),
        publish(),
        fetch(),
        fetch("https.health", None),
        Operation(protocol=Protocol.CONTROL, action=Action.ADMIN, kind="control.reload"),
        *devices(),
        *nodes(),
        *acts(),
        _with(write(), fc=22, values=None, and_mask=0xFF00, or_mask=1),
    ]
    found = list(bases)
    while len(found) < many:
        operation = dice.choice(bases)
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            operation = _changed(dice, operation)
        found.append(operation)
    return found


def devices() -> list[Operation]:
    """One of each kind of function that addresses no table."""
    return [
        device(7),
        device(8, Action.CALL, sub=0, values=(1,)),
        device(43, mei=14, sub=1, start=0),
        device(20, file=4, record=90, count=10),
        device(21, Action.WRITE, file=1, record=9, count=1, values=(7,)),
    ]


OWN: dict[str, tuple[Any, ...]] = {
    "action": tuple(Action),
    "protocol": (Protocol.MODBUS, Protocol.HTTPS, Protocol.MQTT, Protocol.OPCUA),
    "kind": (
        "admin.list_approvals",
        "admin.break_glass",
        "control.status",
        "https.health",
        "https.metrics",
        "modbus.read_coils",
    ),
    "asset": ("plc-1", "meter-1", "plc-9", None),
    "asset_kind": ("plc", "meter", "safety", None),
    "points": (
        (),
        (Point("plc-1.level_sp"),),
        (Point("plc-1.level"), Point("plc-1.level_sp")),
        *((Point("plc-1.level_sp", q, 400, 10),) for q in (49, 50, 99, 100, 700, 701, 900, 901, 951)),
        (Point("plc-1.level_sp", 425, 400, 10_001),),
    ),
}
MODBUS: dict[str, tuple[Any, ...]] = {
    "unit": (0, 1, 2, 255),
    "fc": (1, 3, 4, 6, 7, 8, 11, 16, 17, 20, 21, 22, 24, 43, 65, 90, 126),
    "sub": (None, 0, 1, 4, 11),
    "mei": (None, 13, 14),
    "table": (*Table, None),
    "start": (0, 1, 9, 10, 98, 99, 100, 199, 200, 65_535, None),
    "count": (0, 1, 2, 10, 11, 100, 125, None),
    "file": (None, 0, 1, 4, 5),
    "record": (None, 0, 9, 10, 89, 90, 99),
    "and_mask": (None, 0, 0xFF00),
}
OPCUA: dict[str, tuple[Any, ...]] = {
    "service": ("Read", "Write", "HistoryRead", "HistoryUpdate", "CreateSubscription", "ModifySubscription"),
    "node": (LEVEL, f"{LEVEL}.x", "nsu=urn:demo:plc;s=Pump", "i=2267", "i=3707", None),
    "path": ("/Plant/plc-1/Pump", "/Plant/plc-10", None),
    "attribute": ("Value", "DisplayName", "WriteMask", None),
    "method": (f"{LEVEL}.Reset", "i=12886", None),
    "arguments": (None, (), (9,), (10,), ("9",), (1, 2)),
    "sampling_ms": (None, -1, 0, 499, 500),
    "publishing_ms": (None, 0, 499, 500),
    "history_start_ns": (None, 0, NOW.wall_ns, NOW.wall_ns - 1),
    "history_end_ns": (None, NOW.wall_ns, NOW.wall_ns + 3_600 * 10**9 + 1),
    "security": ("None", "Basic128Rsa15", "Aes256_Sha256_RsaPss", None),
    "mode": ("Sign", None),
}
ADMIN: dict[str, tuple[Any, ...]] = {
    "subject": (HMI, LEA, SAM, None),
    "scope": ("asset:plc-1", "asset:meter-1", None),
    "value": ("vendor-access", "working-hours", "monitor", "off", "maintenance", None),
    "minutes": (None, 0, 1, 30, 31, 60, 61, 120, 121, 240, 241),
    "request": ("01K", None),
}
NORTH: dict[str, tuple[Any, ...]] = {
    "topic": ("acme/demo/x", "acme/demo/", "acme/demo", "acme/other", "dmz/demo/gw-1/status", None),
    "consumer": ("broker", HISTORIAN, None),
    "format": ("json", "sparkplug", None),
}


def neighbours() -> list[tuple[Caller, Operation, Facts]]:
    """Everybody asks for reads that differ in one field; then facts that differ in one field."""
    night = Facts(mode="run", windows=("working-hours",), trusted=True, freeze=False, crl="fresh")
    conditional = replace(read(100, table=Table.HOLDING, fc=3), points=(Point("plc-1.level_sp"),))
    bases = [
        read(),
        conditional,
        read(asset="meter-1"),
        publish(),
        fetch(),
        fetch("https.health", None),
        _with(read(), fc=8, sub=0),
        _with(read(), fc=43, mei=14),
    ]
    asked = [(who, what, night) for base in bases for what in _one_changed(base) for who in callers()]
    reads = [operation for operation in devices() if operation.action not in MUTATING]
    for base in (*reads, device(8, sub=0)):
        asked += [(who, what, night) for what in _one_changed(base) for who in callers()[:2]]
    panel = [who for who in callers() if who.identity.subject in (PANEL, LEA)]
    shared = [operation for operation in (*nodes(), *acts()) if operation.action not in MUTATING]
    asked += [(who, what, night) for base in shared for what in _one_changed(base) for who in panel]
    glass = replace(night, break_glass=((VIEW, "01K"),))
    kept = read(300, table=Table.HOLDING, fc=3)
    asked += [(who, kept, now) for now in (night, glass) for who in callers()[10:12]]
    changes: tuple[dict[str, Any], ...] = ({}, {"mode": "off"}, {"windows": ()}, {"trusted": False})
    for change in changes:
        now = replace(night, **change)
        asked += [(who, conditional, now) for who in callers()[10:12]]
        asked += [(who, conditional, night) for who in callers()[10:12]]
    return asked


def _one_changed(base: Operation) -> list[Operation]:
    found = [base]
    for name, values in OWN.items():
        found += [replace(base, **{name: value}) for value in values]
    if base.modbus is not None:
        for name, values in MODBUS.items():
            found += [_with(base, **{name: value}) for value in values]
    if base.opcua is not None:
        for name, values in OPCUA.items():
            found += [_within(base, "opcua", **{name: value}) for value in values]
    if base.north is not None:
        for name, values in NORTH.items():
            found += [_within(base, "north", **{name: value}) for value in values]
    return [operation for operation in found if operation.action not in MUTATING]


def _with(base: Operation, **change: Any) -> Operation:
    return _within(base, "modbus", **change)


def _within(base: Operation, half: str, **change: Any) -> Operation:
    return replace(base, **{half: replace(getattr(base, half), **change)})


def _changed(dice: random.Random, operation: Operation) -> Operation:
    change: dict[str, Any]
    if operation.modbus is not None and dice.random() < 0.6:
        name = dice.choice(list(MODBUS))
        return _with(operation, **{name: dice.choice(MODBUS[name])})
    for half, fields in (("opcua", OPCUA), ("admin", ADMIN), ("north", NORTH)):
        if getattr(operation, half) is not None and dice.random() < 0.6:
            name = dice.choice(list(fields))
            return _within(operation, half, **{name: dice.choice(fields[name])})
    name = dice.choice(list(OWN))
    change = {name: dice.choice(OWN[name])}
    return replace(operation, **change)


def facts(dice: random.Random) -> Facts:
    """Facts, most of them ordinary."""
    return Facts(
        mode=dice.choice(("run", "run", "maintenance")),
        freeze=dice.random() < 0.2,
        windows=dice.choice(((), ("working-hours",), ("working-hours", "vendor-access"))),
        break_glass=dice.choice(((), ((SAM, "01K"), (VIEW, "01L")))),
        crl=dice.choice(("fresh", "fresh", "stale", "grace_over", "missing")),
        crls=(("plant", dice.choice(("fresh", "stale", "missing"))),) if dice.random() < 0.5 else (),
        clock=dice.choice(("trusted", "trusted", "untrusted", "grace_over")),
        trusted=dice.random() < 0.7,
    )
