"""Callers, operations and journals for the audit tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.commitment import Sealer
from gateway.audit.journal import Journal
from gateway.audit.signer import Signer
from gateway.audit.storage import Storage
from gateway.config.settings import AuditSection
from gateway.model.asset import Table
from gateway.model.decision import Allowed, Denied, Obligation, Origin, Reason
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import Now
from gateway.model.operation import Action, ModbusTarget, Operation, Point, Protocol
from gateway.model.ulid import Ulids

ORIGIN = "test.example/gw-1"
WALL = 1_795_400_000_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Clock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.mono_ns = 1_000_000_000

    def __call__(self) -> Now:
        wall = WALL + self.mono_ns
        return Now(wall_ns=wall, mono_ns=self.mono_ns, trusted=True, judge_ns=wall)

    def forward(self, seconds: float) -> Now:
        self.mono_ns += int(seconds * 1e9)
        return self()


def caller(
    subject: str = "spiffe://plant.example/hmi-3", source: str = "10.0.0.7", connection: str = "C1"
) -> Caller:
    identity = Identity(
        subject=subject,
        kind=Kind.WORKLOAD,
        auth=Authentication.MTLS,
        zone="plant",
        roles=("operator",),
        role_state=RoleState.OK,
        fingerprint="ab" * 32,
    )
    return Caller(
        identity=identity, source=source, listener="north", zone="plant", tls="1.3", connection=connection
    )


def reading(start: int = 0, asset: str = "plc-1", tag: str = "plc-1.level") -> Operation:
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.READ,
        kind="modbus.read_holding_registers",
        asset=asset,
        asset_kind="plc",
        modbus=ModbusTarget(unit=1, fc=3, table=Table.HOLDING, start=start, count=10),
        points=(Point(tag),),
    )


def writing(
    start: int = 0, values: tuple[int, ...] = (425,), q: int = 425, q_prev: int | None = 400
) -> Operation:
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.WRITE,
        kind="modbus.write_multiple_registers",
        asset="plc-1",
        asset_kind="plc",
        modbus=ModbusTarget(
            unit=1, fc=16, table=Table.HOLDING, start=start, count=len(values), values=values
        ),
        points=(Point("plc-1.level_sp", q, q_prev, 10),),
    )


QUESTION = b'{"schema":"dmz.input/1",  "op":{"id":"EVAL"}}'
"Odd spacing on purpose: it must come back verbatim."
ALLOW = Allowed(
    revision="r" * 64,
    reasons=(Reason("grant.hmi", "grant", "operators may"),),
    obligations=(Obligation("audit", (("level", "full"),)),),
    grants=("hmi",),
    evaluation="EVAL",
    question=QUESTION,
)
READ_OK = Allowed(revision="r" * 64, grants=("hmi-read",), origin=Origin.CACHED)
DENY = Denied(revision="r" * 64, reasons=(Reason("default.no_grant", "default", "no grant"),))


def describe(who: Caller, operation: Operation, now: Now, ulid: str) -> bytes:
    return msgspec.json.encode(
        {
            "schema": "dmz.input/1",
            "op": {"id": ulid, "action": operation.action, "kind": operation.kind},
            "subject": {"id": who.identity.subject},
            "conn": {"src": who.source},
            "target": {"asset": operation.asset},
            "modbus": operation.modbus,
            "points": operation.points,
            "state": {"mode": "run"},
            "time": {"ns": now.wall_ns},
        }
    )


def units(tag: str) -> tuple[float, str] | None:
    return (0.1, "%") if tag.startswith("plc-1.level") else None


def section(**changes: Any) -> AuditSection:
    return msgspec.structs.replace(AuditSection(origin=ORIGIN, key=Path("unused")), **changes)


def journal(
    folder: Path,
    clock: Callable[[], Now],
    *,
    alarms: list[str] | None = None,
    storage: Storage | None = None,
    seed: int = 7,
    signer: Signer | None = None,
    sealer: Sealer | None = None,
    **changes: Any,
) -> Journal:
    told: list[str] = [] if alarms is None else alarms
    by = signer if signer is not None else Signer(KEY, ORIGIN)
    return Journal(
        folder,
        origin=by.verifier.name,
        signer=by,
        gateway="gw-1",
        settings=section(**changes),
        ulids=Ulids(seed),
        describe=describe,
        clock=clock,
        alarm=told.append,
        units=units,
        sealer=sealer,
        storage=storage,
    )
