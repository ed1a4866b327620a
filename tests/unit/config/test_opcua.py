"""Configurations of OPC UA: what reads, and every kind of mistake with its line and its mend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.config import nodes
from gateway.config.opcua import ONLY_MODBUS
from gateway.config.read import look, read
from gateway.model.asset import Asset, OpcuaMode, OpcuaPolicy, OpcuaUser, Speaks
from gateway.publish.poll_plan import asset_cost
from tests.unit.config.example import line_of

Site = Callable[..., Path]

MISTAKES: dict[str, dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("opcua_mistakes.yaml"))
WARNINGS: dict[str, dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("opcua_warnings.yaml"))


def test_a_server_a_listener_and_a_node_read(opcua_site: Site) -> None:
    file = opcua_site()
    assert look(file, asset_cost).warnings == ()
    settings = read(file, asset_cost)
    asset = settings.assets[2]
    assert (asset.name, asset.protocol, asset.host, asset.port) == ("tank-2", Speaks.OPCUA, "10.0.0.9", 4840)
    server = asset.opcua
    assert server is not None
    assert server.path == "/UA/Server"
    assert server.server_certificate == file.parent / "pki/tank-2.der"
    assert (server.policy, server.mode) == (OpcuaPolicy.BASIC256SHA256, OpcuaMode.SIGN_AND_ENCRYPT)
    assert (server.user, server.sessions, server.session_ms) == (OpcuaUser.ANONYMOUS, 5, 60_000)
    (door,) = settings.opcua
    assert (door.name, door.port, door.assets) == ("opcua-north", 14840, ("tank-2",))
    assert door.policies == tuple(OpcuaPolicy)
    assert door.modes == (OpcuaMode.SIGN_AND_ENCRYPT,)
    assert (door.users.anonymous, door.users.passwords) == (True, None)
    level = settings.tags[3]
    assert level.node == "nsu=urn:demo.example:tank-farm;s=Tank.Level"
    assert (level.table, level.bit) == (None, None)


@pytest.mark.parametrize(
    ("written", "host", "port", "path"),
    [
        ("opc.tcp://plc.example:4840", "plc.example", 4840, ""),
        ("plc.example:4840", "plc.example", 4840, ""),
        ('"opc.tcp://[fd00::5]:4840/a"', "fd00::5", 4840, "/a"),
        ("opc.tcp://10.0.0.9:48010/", "10.0.0.9", 48010, "/"),
    ],
)
def test_endpoints(opcua_site: Site, written: str, host: str, port: int, path: str) -> None:
    asset = read(opcua_site(("opc.tcp://10.0.0.9:4840/UA/Server", written))).assets[2]
    assert asset.opcua is not None
    assert (asset.host, asset.port, asset.opcua.path) == (host, port, path)


def test_everything_that_can_be_said_of_users(opcua_site: Site) -> None:
    more = """
    modes: [Sign, SignAndEncrypt]
    policies: [Aes256_Sha256_RsaPss]
    least_sampling: 100ms
    requests_per_s: 50
    names: [gw.example, 192.0.2.7]
    users:
      anonymous: false
      passwords: secret
      anchors: pki/plant/anchors.pem
      crls: [pki/plant/crl.pem]
      tokens: {issuer: "https://id.example", audience: plant, keys: secret}"""
    changes = ("assets: [tank-2]", f"assets: [tank-2]{more}")
    (door,) = read(opcua_site(changes)).opcua
    assert door.modes == (OpcuaMode.SIGN, OpcuaMode.SIGN_AND_ENCRYPT)
    assert door.policies == (OpcuaPolicy.AES256_SHA256_RSAPSS,)
    assert (door.least_sampling_ms, door.requests_per_s) == (100, 50)
    assert door.names == ("gw.example", "192.0.2.7")
    assert door.users.tokens is not None
    assert (door.users.tokens.issuer, door.users.tokens.audience) == ("https://id.example", "plant")


@pytest.mark.parametrize("kind", MISTAKES)
def test_one_mistake_one_fault_with_its_line_and_its_mend(opcua_site: Site, kind: str) -> None:
    row = MISTAKES[kind]
    file = opcua_site(tuple(row["change"]))
    faults = look(file, asset_cost).faults
    found = [fault for fault in faults if row["what"] in fault.what]
    assert len(found) == 1, faults
    assert found[0].where == line_of(file, row.get("at") or row["change"][1].strip())
    assert row["mend"] in found[0].mend
    assert len(faults) == 1, "no mistake draws others after it"


@pytest.mark.parametrize("kind", WARNINGS)
def test_what_is_allowed_and_worth_knowing(opcua_site: Site, kind: str) -> None:
    row = WARNINGS[kind]
    file = opcua_site(tuple(row["change"]))
    reading = look(file, asset_cost)
    assert reading.faults == ()
    (warning,) = reading.warnings
    assert warning.where == line_of(file, row.get("at") or row["change"][1].strip())
    assert row["what"] in warning.what


OTHER_VALUES = {
    "serial": "{baud: 9600}",
    "transport": "rtu-over-tcp",
    "quirks": "[echo]",
    "upstream": "per-client",
    "spacing": "1s",
    "coalesce": "1s",
    "heartbeat": "{coil: [0]}",
    "registers": "{coil: [0]}",
    "overlays": "[]",
}


@pytest.mark.parametrize("key", ONLY_MODBUS)
def test_keys_of_modbus_mean_nothing_for_a_server(opcua_site: Site, key: str) -> None:
    line = f"    {key}: {OTHER_VALUES.get(key, '1')}   # here\n"
    file = opcua_site(("    protocol: opcua\n", f"    protocol: opcua\n{line}"))
    (fault,) = look(file).faults
    assert fault.where == line_of(file, "# here")
    assert f"{key} means nothing for tank-2, which speaks opcua" in fault.what


@pytest.mark.parametrize("line", ["table: input", "address: 0", "bit: 1", "word_order: little"])
def test_keys_of_registers_mean_nothing_for_a_node(opcua_site: Site, line: str) -> None:
    file = opcua_site(("    type: float64\n", f"    type: float64\n    {line}   # here\n"))
    (fault,) = look(file).faults
    assert (fault.where, fault.mend) == (line_of(file, "# here"), "remove it")
    assert "means nothing for a node of tank-2" in fault.what


def test_a_gateway_that_only_collects_needs_no_listener(opcua_site: Site) -> None:
    file = opcua_site(("sessions: 5", "certificate: pki/plant/issued/ua-1.pem\n      key: secret"))
    text = file.read_text()
    file.write_text(text[: text.index("opcua:\n  - name")] + text[text.index("policy: {") :])
    assert look(file).faults == ()


def test_nodes_cost_no_polls(opcua_site: Site) -> None:
    costs: dict[str, float] = {}

    def cost(asset: Asset, tags: Any, gap: int) -> float:
        costs[asset.name] = asset_cost(asset, tags, gap)
        return costs[asset.name]

    assert look(opcua_site(), cost).faults == ()
    assert costs["tank-2"] == 0


@pytest.mark.parametrize(
    "node",
    [
        "i=2255",
        "nsu=urn:a;i=0",
        "nsu=urn:a;i=4294967295",
        'nsu=http://www.siemens.com/simatic-s7-opcua;s="DB"."Level"',
        "nsu=urn:a;s=x;y=z",
        "nsu=urn:a%3Bb%25c;s=x",
        "nsu=urn:a;g=09087e75-8e5e-499b-954f-f2a9603db28a",
        "nsu=urn:a;b=M/RbKBsRVkePCePcx24oRA==",
        "s=x",
    ],
)
def test_node_ids(node: str) -> None:
    assert nodes.amiss(node) is None


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ("ns=2;s=Tank.Level", "by an index"),
        ("nsu=http://opcfoundation.org/UA/;i=2255", "without its URI"),
        ("Tank.Level", "is not a node id"),
        ("nsu=urn:a;x=1", "is not a node id"),
        ("nsu=;s=x", "is not a node id"),
        ("nsu=urn:a;s=", "is not a node id"),
        ("nsu=urn:a;s=a\nb", "is not a node id"),
        ("svr=1;i=85", "is not a node id"),
        ("nsu=urn:a;i=01", "is not a number"),
        ("nsu=urn:a;i=-1", "is not a number"),
        ("nsu=urn:a;i=4294967296", "is not a number"),
        ("nsu=urn:a;i=٣", "is not a number"),
        ("nsu=urn:a%2fb;s=x", "%25"),
        ("nsu=urn:a%3bb;s=x", "%25"),
        ("nsu=urn:a;g=09087E75-8E5E-499B-954F-F2A9603DB28A", "is not a GUID"),
        ("nsu=urn:a;b=M/RbKBsRVkePCePcx24oRA", "is not base64"),
        ("nsu=urn:a;b=M/RbKBsRVkePCePcx24oRB==", "is not base64"),
        (f"s={'x' * 4097}", "more than 4096"),
    ],
)
def test_node_ids_that_are_none_or_spelt_otherwise(node: str, says: str) -> None:
    found = nodes.amiss(node)
    assert found is not None
    assert says in " ".join(found)
