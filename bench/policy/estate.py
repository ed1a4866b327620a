"""What is decided about: plants of any size, their grants, who asks and what.

An asset has five grants, one for each role: four give reads of all tables, the operators' writes of one
register. So 200 assets have 1,000 grants, and 2,000 have 10,000.
"""

import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.programs import ROOT
from gateway.model.asset import Table
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import Now
from gateway.model.operation import Action, ModbusTarget, Operation, Point, Protocol
from gateway.policy import bundle as bundles
from gateway.policy.bundle import Bundle
from gateway.policy.facts import Facts

ROLES = ("operator", "viewer", "engineer", "collector", "auditor")
SUBJECT = "spiffe://bench.example/plant/hmi-1"
RANGES = 50
"Asked of each asset, spread over all four tables (DESIGN §12)."
WRITES = 0.01
"Share of what is asked."
TABLES = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
FACTS = Facts(mode="run", freeze=False, windows=("always",), crl="fresh", clock="trusted", trusted=True)
NOW = Now(wall_ns=1_795_400_000_000_000_000, mono_ns=0, trusted=True, judge_ns=1_795_400_000_000_000_000)


class Asked(Struct, frozen=True):
    """One thing that somebody asks."""

    caller: Caller
    operation: Operation
    writes_60s: int | None = None


def bundle(folder: Path, assets: int, number: int = 0) -> Bundle:
    """A bundle for that many assets. Another number is another revision that decides alike."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "policies", folder, ignore=shutil.ignore_patterns("tests", "site", "data"))
    (folder / "data").mkdir()
    for name, document in _data([f"plc-{place}" for place in range(assets)], number).items():
        (folder / "data" / f"{name}.json").write_bytes(msgspec.json.encode({name: document}))
    return bundles.read(folder)


def _data(names: list[str], number: int) -> dict[str, Any]:
    tables = [{"table": table.value, "ranges": [[0, 499], [500, 999]]} for table in TABLES]
    reads = [
        {
            "id": f"{name}-{role}-reads",
            "roles": [role],
            "actions": ["read"],
            "protocols": ["modbus"],
            "assets": [name],
            "modbus": tables,
        }
        for name in names
        for role in ROLES[1:]
    ]
    writes = [
        {
            "id": f"{name}-operator",
            "roles": ["operator"],
            "actions": ["read", "write"],
            "protocols": ["modbus"],
            "assets": [name],
            "modbus": [{"table": "holding", "ranges": [[0, 0]]}],
        }
        for name in names
    ]
    night = {"days": ["sun"], "from": "03:00", "to": "04:00", "zone": "UTC"}
    return {
        "assets": {name: {"kind": "plc", "zone": "plant"} for name in names},
        "conduits": [{"from": "plant", "to": "plant", "protocols": ["modbus"]}],
        "role_bindings": {SUBJECT: ["operator", "engineer"]},
        "windows": {f"unused-{number}": night},
        "bounds": {
            "writes_60s": 10_000,
            "previous_age_ms": 10_000,
            "writable": {name: {"holding": [[0, 0]]} for name in names},
            "limits": {},
        },
        "grants": reads + writes,
    }


def callers(many: int) -> list[Caller]:
    """Connections of one subject, which policy cannot tell apart."""
    identity = Identity(
        subject=SUBJECT,
        kind=Kind.WORKLOAD,
        auth=Authentication.MTLS,
        zone="plant",
        roles=("operator", "engineer"),
        role_state=RoleState.OK,
        fingerprint="00" * 32,
        serial="01",
        issuer="CN=Bench CA",
        ski="00" * 20,
    )
    return [
        Caller(
            identity=identity,
            source=f"10.0.0.{place}",
            listener="modbus",
            zone="plant",
            tls="1.3",
            connection=f"{place}",
        )
        for place in range(many)
    ]


def reads(assets: int) -> list[Operation]:
    """Every range of every asset."""
    return [_read(asset, place) for asset in range(assets) for place in range(RANGES)]


def _read(asset: int, place: int) -> Operation:
    table, fc = list(TABLES.items())[place % len(TABLES)]
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.READ,
        kind="modbus.read",
        asset=f"plc-{asset}",
        asset_kind="plc",
        modbus=ModbusTarget(unit=asset % 247 + 1, fc=fc, table=table, start=place * 8, count=8),
    )


def write(asset: int) -> Operation:
    """A write of the register that operators may write."""
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.WRITE,
        kind="modbus.write_single_register",
        asset=f"plc-{asset}",
        asset_kind="plc",
        modbus=ModbusTarget(unit=asset % 247 + 1, fc=6, table=Table.HOLDING, start=0, count=1, values=(425,)),
        points=(Point(f"plc-{asset}.setpoint", 425, 400, 800),),
    )


def mixed(dice: random.Random, assets: int, many: int) -> list[Asked]:
    """What four connections ask in random order: reads, and now and then a write."""
    who, what = callers(4), reads(assets)
    changes = [write(asset) for asset in range(assets)]
    return [
        Asked(dice.choice(who), dice.choice(changes), 3)
        if dice.random() < WRITES
        else Asked(dice.choice(who), dice.choice(what))
        for _ in range(many)
    ]
