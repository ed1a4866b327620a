"""The gateway's configuration and policy for one run: many assets behind one listener, all on one plant.

Unit n of the listener is asset `plc-n`, whose unit on the plant is n too, so that a blind relay and the
gateway are asked the same. Policy is the shipped bundle with its data replaced: the client's role may read
the first thousand addresses of every table and write holding register 0 of each asset.
"""

import itertools
import shutil
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.certificates import CLIENT, ROLE, Pki
from bench.programs import ROOT
from gateway.config.settings import Security

SPACE = "0-999"
MOST_CONNECTIONS = 2048
"Room for the idle connections."


class Links(Struct, frozen=True):
    """What each asset allows upstream."""

    connections: int
    in_flight: int


WIDE = Links(4, 16)
"What DESIGN §12 measures with."
DEFAULT = Links(1, 1)
"What an asset gets that says nothing."

LISTENER = "modbus"
_CALLERS: dict[Security, dict[str, Any]] = {
    Security.MUTUAL: {"roles": [ROLE]},
    Security.NONE: {"subject_kinds": ["nobody"], "listeners": [LISTENER]},
}
"Whom the grants are for: without TLS nobody is identified, and a grant must say so and name the listener."


class Scene(Struct, frozen=True):
    """What stands behind a subject, and how it is reached."""

    assets: int
    "Units 1 to this."
    links: Links = WIDE
    security: Security = Security.MUTUAL


class Site:
    """The files of one gateway."""

    def __init__(self, folder: Path, pki: Pki, scene: Scene, *, port: int, plant: int) -> None:
        """Write gateway.yaml and the bundle into an empty folder."""
        folder.mkdir(parents=True)
        self.scene = scene
        self.config = folder / "gateway.yaml"
        self.data = folder / "data"
        self._bundle = folder / "policies"
        names = [f"plc-{unit}" for unit in range(1, scene.assets + 1)]
        _policies(self._bundle, names, _CALLERS[scene.security])
        # JSON is YAML 1.2
        self.config.write_bytes(
            msgspec.json.format(msgspec.json.encode(_config(pki, scene, port, plant, names)))
        )
        self._revisions = itertools.count(1)

    def reload_policy(self) -> None:
        """Change the bundle in a way that changes no decision: a new digest, so every cached one is void."""
        fresh = self._bundle.parent / "windows.fresh"
        fresh.write_text(_yaml({"windows": {f"unused-{next(self._revisions)}": _NIGHT}}))
        fresh.replace(self._bundle / "data" / "windows.yaml")


def _config(pki: Pki, scene: Scene, port: int, plant: int, names: list[str]) -> dict[str, Any]:
    return {
        "gateway": {
            "name": "bench",
            "site": "bench",
            "data": "./data",
            "certificate": str(pki.server),
            "key": str(pki.server_key),
        },
        "zones": [{"name": "plant", "anchors": str(pki.zone), "crls": [str(pki.crl)]}],
        "listeners": [
            {
                "name": LISTENER,
                "host": "127.0.0.1",
                "port": port,
                "zone": "plant",
                "tls": scene.security,
                "most_connections": MOST_CONNECTIONS,
                "units": {str(unit): name for unit, name in enumerate(names, 1)},
            }
        ],
        "assets": [
            {
                "name": name,
                "endpoint": f"127.0.0.1:{plant}",
                "unit": unit,
                "connections": scene.links.connections,
                "in_flight": scene.links.in_flight,
                "timeout": "10s",
                "registers": {table: [SPACE] for table in ("holding", "input", "coil", "discrete")},
            }
            for unit, name in enumerate(names, 1)
        ],
        "policy": {"bundle": "policies"},
        "audit": {"origin": "bench.example/gateway", "key": str(pki.log_key)},
        "collector": {"enabled": False},
    }


def _policies(bundle: Path, names: list[str], callers: dict[str, Any]) -> None:
    shutil.copytree(ROOT / "policies", bundle, ignore=shutil.ignore_patterns("tests", "site"))
    data = bundle / "data"
    shutil.rmtree(data)
    data.mkdir()
    for name, document in _data(names, callers).items():
        (data / f"{name}.yaml").write_text(_yaml({name: document}))


def _data(names: list[str], callers: dict[str, Any]) -> dict[str, Any]:
    tables = [{"table": t, "ranges": [[0, 999]]} for t in ("coil", "discrete", "input", "holding")]
    setpoint = [{"table": "holding", "ranges": [[0, 0]]}]
    who = {**callers, "protocols": ["modbus"], "assets": names}
    return {
        "assets": {name: {"kind": "plc", "zone": "plant"} for name in names},
        "conduits": [{"from": "plant", "to": "plant", "protocols": ["modbus"]}],
        "role_bindings": {CLIENT: [ROLE]},
        "windows": {"unused-0": _NIGHT},
        "bounds": {
            "writes_60s": 10_000,
            "previous_age_ms": 10_000,
            "writable": {name: {"holding": [[0, 0]]} for name in names},
            "limits": {},
        },
        "grants": [
            {"id": "bench-reads", "actions": ["read"], "modbus": tables, **who},
            {"id": "bench-writes", "actions": ["write"], "modbus": setpoint, **who},
        ],
    }


_NIGHT = {"days": ["sun"], "from": "03:00", "to": "04:00", "zone": "UTC"}


def _yaml(document: dict[str, Any]) -> str:
    """JSON is YAML 1.2."""
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"
