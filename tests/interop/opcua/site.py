"""A gateway with an OPC UA door in a folder: configuration, policy, the real process. Servers stand alone.

    with plant(pki, …, "asyncua", name="plc-a") as plc, Site(folder, pki, {"plc-a": plc}) as site:
        site.url("plc-a")

`ua-peer` is an engineer, who may do what `grants` says; `ua-stranger` has a certificate and no role.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.audit.reader import records
from gateway.demo.opcua_nodes import NAMESPACE
from gateway.shipped import folder as shipped
from tests.pki import Credential, Pki

from .plant import ROOT, Plant

T = TypeVar("T")

START_S = 40.0
END_S = 10.0

CONFIG = """\
gateway: {{name: gw-1, site: demo, data: ./data, certificate: {issued}/gw-1.pem, key: {issued}/gw-1.key}}
zones:
  - {{name: plant, anchors: {pki}/plant/anchors.pem, crls: [{pki}/plant/crl.pem]}}
opcua:
  - {{name: opcua-north, host: 127.0.0.1, port: {port}, zone: plant, certificate: {issued}/gw-ua.pem,
     key: {issued}/gw-ua.key, names: [localhost], assets: [{assets}], requests_per_s: 20000}}
assets:
{servers}
tags:
{tags}
policy: {{bundle: policies}}
audit: {{origin: demo.example/gw-1, key: {issued}/log-1.key}}
"""

SERVER = """\
  - {{name: {name}, protocol: opcua, endpoint: "{url}",
     opcua: {{server_certificate: "{cert}", sessions: 20, publishing: 100ms}}}}"""

TAG = """\
  - {{name: {name}.limited, asset: {name}, path: acme/demo/{name}/limited,
     node: "nsu={namespace};s=Specimen.Limited", type: float64, resolution: 1, range: [0, 100]}}"""

WRITTEN = ("Tank.LevelSetpoint", "Tank.Level", "Specimen.Writable", "Specimen.WritableArray")
"Nodes that the engineer may write, whatever the server says to it."

CALLED = ("Tank.StartBatch", "Tank.SelfTest", "Tank.NoSuch")
"Methods that the engineer may call. Tank.ResetTotal is not among them."

SUBSCRIPTION = [
    "CreateSubscription",
    "ModifySubscription",
    "SetPublishingMode",
    "DeleteSubscriptions",
    "SetMonitoringMode",
    "DeleteMonitoredItems",
]


def node(name: str) -> str:
    """A node of a server, as policy and records write it."""
    return f"nsu={NAMESPACE};s={name}"


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, look: Callable[[], T | None], within_s: float = 10.0) -> T:
    """Look again and again until something is seen."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {within_s} s in vain: {what}"
        time.sleep(0.02)


def grants(assets: list[str]) -> list[dict[str, Any]]:
    """What an engineer may do, and the collector. Everything in `Vault` is nobody's."""
    seen = [node("Tank*"), node("Specimen*"), node("No.Such"), "i=*"]
    common: dict[str, Any] = {"roles": ["engineer"], "protocols": ["opcua"], "assets": assets}
    limits = {f"{name}.limited": {"min": 10, "max": 90} for name in assets}
    return [
        {
            **common,
            "id": "engineer-reads",
            "actions": ["read"],
            "opcua": [{"nodes": seen, "attributes": ["Value", "DisplayName"]}],
        },
        {**common, "id": "engineer-browses", "actions": ["browse"], "opcua": [{"nodes": seen}]},
        {
            **common,
            "id": "engineer-subscribes",
            "actions": ["subscribe"],
            "opcua": [{"nodes": seen}, {"services": SUBSCRIPTION}],
        },
        {
            **common,
            "id": "engineer-writes",
            "actions": ["write"],
            "opcua": [{"nodes": [node(name) for name in WRITTEN]}],
        },
        {
            **common,
            "id": "engineer-writes-within-limits",
            "actions": ["write"],
            "opcua": [{"nodes": [node("Specimen.Limited")]}],
            "tags": list(limits),
            "limits": limits,
        },
        {
            **common,
            "id": "engineer-calls",
            "actions": ["call"],
            "opcua": [{"nodes": [node("Tank")], "methods": [node(name) for name in CALLED]}],
        },
        {
            "id": "collector",
            "roles": ["collector"],
            "protocols": ["opcua"],
            "assets": assets,
            "actions": ["read", "browse", "subscribe"],
            "opcua": [{"nodes": [node("Specimen.Limited"), "i=2255"]}, {"services": SUBSCRIPTION}],
        },
    ]


def write_policy(folder: Path, assets: list[str]) -> None:
    """The shipped policy with data of this site."""
    shutil.copytree(shipped("policies"), folder)
    shutil.rmtree(folder / "tests")  # they are about the demo's data
    shutil.rmtree(folder / "site" / "demo")
    bounds = {
        "writes_60s": 10_000,
        "previous_age_ms": 10_000,
        "writable": {
            name: {
                "nodes": [node("Tank"), *map(node, WRITTEN), node("Specimen.Limited")],
                "methods": [node(one) for one in CALLED],
            }
            for name in assets
        },
        "limits": {f"{name}.limited": {"min": 0, "max": 100} for name in assets},
    }
    data: dict[str, Any] = {
        "assets": {name: {"kind": "plc", "zone": "plant"} for name in assets},
        "bounds": bounds,
        "conduits": [
            {"from": "plant", "to": "plant", "protocols": ["opcua"]},
            {"from": "gateway", "to": "plant", "protocols": ["opcua"]},
        ],
        "grants": grants(assets),
        "role_bindings": {
            "urn:demo.example:plant:ua-peer": ["engineer"],
            "spiffe://demo.example/gateway/gw-1": ["collector"],
        },
    }
    for name, value in data.items():
        (folder / "data" / f"{name}.yaml").write_text(json.dumps({name: value}))


class Site:
    """The gateway, its configuration and policy."""

    def __init__(self, folder: Path, pki: Pki, servers: Mapping[str, Plant]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.pki = pki
        self.folder = folder
        self.port = free_port()
        self.data = folder / "data"
        self.config = folder / "gateway.yaml"
        self.log = folder / "gateway.log"
        self.policies = folder / "policies"
        self.process: subprocess.Popen[bytes] | None = None
        for profile, name in (
            ("gateway-server", "gw-1"),
            ("log-signer", "log-1"),
            ("opcua-application", "gw-ua"),
        ):
            self.credential(profile, name)
        self.peer = self.credential("opcua-application", "ua-peer")
        self.stranger = self.credential("opcua-application", "ua-stranger")
        write_policy(self.policies, list(servers))
        self.config.write_text(
            CONFIG.format(
                issued=pki.dir / "plant" / "issued",
                pki=pki.dir,
                port=self.port,
                assets=", ".join(servers),
                servers="\n".join(
                    SERVER.format(name=name, url=one.url, cert=one.cert) for name, one in servers.items()
                ),
                tags="\n".join(TAG.format(name=name, namespace=NAMESPACE) for name in servers),
            )
        )

    def credential(self, profile: str, name: str) -> Credential:
        """A certificate of the zone, made once."""
        path = self.pki.dir / "plant" / "issued" / f"{name}.pem"
        if path.exists():
            return Credential(path, path.with_suffix(".key"))
        return self.pki.issue(profile, "plant", name)

    def url(self, asset: str) -> str:
        """The endpoint of an asset at the gateway."""
        return f"opc.tcp://127.0.0.1:{self.port}/{asset}"

    def run(self) -> None:
        """Start the gateway and wait until it listens."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "-c", str(self.config)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
            )
        until("the gateway does not listen", self._listens, START_S)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the gateway ended at start:\n{self.said()[-3000:]}"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def said(self) -> str:
        """What the process has said."""
        return self.log.read_text(errors="replace")

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Every whole record, oldest first, or those of one kind."""
        found = [json.loads(data) for _, data in records(self.data / "journal")]
        return [record for record in found if kind is None or record["kind"] == kind]

    def end(self) -> None:
        """End it."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        self.run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
