"""The gateway of the bench: one OPC UA server behind it, and a client that may read and watch its nodes."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from gateway.demo.opcua_nodes import NAMESPACE
from gateway.demo.opcua_plant import PATH
from gateway.identity import founding, profiles
from gateway.identity.request import Request
from gateway.shipped import folder as shipped

ASSET = "plc-1"
CLIENT = "bench-1"

CONFIG = """\
gateway: {{name: gw-1, site: bench, data: ./data, certificate: {issued}/gw-1.pem, key: {issued}/gw-1.key}}
zones:
  - {{name: plant, anchors: pki/plant/anchors.pem, crls: [pki/plant/crl.pem]}}
opcua:
  - {{name: opcua-north, host: 127.0.0.1, port: {port}, zone: plant, certificate: {issued}/gw-ua.pem,
     key: {issued}/gw-ua.key, assets: [{asset}], requests_per_s: 100000}}
assets:
  - {{name: {asset}, protocol: opcua, endpoint: "opc.tcp://127.0.0.1:{plant}{path}",
     opcua: {{server_certificate: {issued}/plc-1.pem}}}}
policy: {{bundle: policies}}
audit: {{origin: bench.example/gw-1, key: {issued}/log-1.key}}
"""

SUBSCRIPTION = ["CreateSubscription", "DeleteSubscriptions", "DeleteMonitoredItems"]


class Site(Struct, frozen=True):
    """A folder with everything."""

    folder: Path
    port: int
    plant: int

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway.yaml"

    @property
    def anchors(self) -> Path:
        """Who vouches for clients."""
        return self.folder / "pki" / "plant" / "anchors.pem"

    def shown(self, name: str) -> tuple[Path, Path]:
        """Somebody's certificate and key."""
        issued = self.folder / "pki" / "plant" / "issued"
        return issued / f"{name}.pem", issued / f"{name}.key"

    @property
    def direct(self) -> str:
        """The server's own endpoint."""
        return f"opc.tcp://127.0.0.1:{self.plant}{PATH}"

    @property
    def through(self) -> str:
        """The gateway's endpoint for it."""
        return f"opc.tcp://127.0.0.1:{self.port}/{ASSET}"


def make(folder: Path, port: int, plant: int) -> Site:
    """Write all files."""
    now = datetime.now(UTC)
    authority = founding.init(folder / "pki", "bench.example", profiles.load(shipped("pki")), now)
    for profile, name in (
        ("gateway-server", "gw-1"),
        ("log-signer", "log-1"),
        ("opcua-application", "gw-ua"),
        ("opcua-application", "plc-1"),
        ("opcua-application", CLIENT),
    ):
        hosts = authority.profiles.named(profile).hosts == "required"
        dns, ips = (("localhost",), ("127.0.0.1",)) if hosts else ((), ())
        authority.issue(Request(profile=profile, zone="plant", name=name, dns=dns, ips=ips), now)
    _policy(folder / "policies")
    site = Site(folder, port, plant)
    text = CONFIG.format(issued="pki/plant/issued", port=port, plant=plant, asset=ASSET, path=PATH)
    site.config.write_text(text)
    return site


def _policy(folder: Path) -> None:
    shutil.copytree(shipped("policies"), folder)
    shutil.rmtree(folder / "tests")
    shutil.rmtree(folder / "site" / "demo")
    nodes = [f"nsu={NAMESPACE};s=Bench*", "i=*"]
    grant = {"roles": ["client"], "protocols": ["opcua"], "assets": [ASSET]}
    data: dict[str, object] = {
        "assets": {ASSET: {"kind": "plc", "zone": "plant"}},
        "bounds": {"writes_60s": 100, "previous_age_ms": 10_000, "writable": {}, "limits": {}},
        "conduits": [
            {"from": "plant", "to": "plant", "protocols": ["opcua"]},
            {"from": "gateway", "to": "plant", "protocols": ["opcua"]},
        ],
        "grants": [
            {**grant, "id": "client-reads", "actions": ["read"], "opcua": [{"nodes": nodes}]},
            {
                **grant,
                "id": "client-watches",
                "actions": ["subscribe"],
                "opcua": [{"nodes": nodes}, {"services": SUBSCRIPTION}],
            },
            {
                **grant,
                "id": "gateway-looks",
                "roles": ["collector"],
                "actions": ["read"],
                "opcua": [{"nodes": ["i=2255"]}],
            },
        ],
        "role_bindings": {
            f"urn:bench.example:plant:{CLIENT}": ["client"],
            "spiffe://bench.example/gateway/gw-1": ["collector"],
        },
    }
    for name, value in data.items():
        (folder / "data" / f"{name}.yaml").write_text(json.dumps({name: value}))
