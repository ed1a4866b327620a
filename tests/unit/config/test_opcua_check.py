"""dmz-gateway check about OPC UA: what certificates, users, pinned servers and policy have to say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.shipped import folder
from tests.pki import Pki
from tests.unit.config.example import line_of
from tests.unit.config.test_check import call, said_of

Site = Callable[..., Path]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI with what the example names, an application certificate among it."""
    made = Pki(tmp_path_factory.mktemp("check") / "pki")
    made.issue("gateway-server", "plant", "gw-1")
    made.issue("gateway-server", "it", "gw-1")
    made.issue("log-signer", "plant", "log-1")
    made.issue("opcua-application", "plant", "ua-1")
    made.issue("opcua-application", "plant", "ua-2")
    return made


@pytest.fixture
def plant(opcua_site: Site, authority: Pki) -> Site:
    """The example with real certificates, and a policy that lets the gateway and others reach the server."""
    home = opcua_site().parent
    shutil.rmtree(home / "pki")
    shutil.copytree(authority.dir, home / "pki")
    leaf = x509.load_pem_x509_certificates((home / "pki/plant/issued/ua-1.pem").read_bytes())[0]
    (home / "pki/tank-2.der").write_bytes(leaf.public_bytes(Encoding.DER))
    (home / "policies").rmdir()
    shutil.copytree(folder("policies"), home / "policies")
    for name in ("grants", "bounds"):
        file = home / f"policies/data/{name}.yaml"
        file.write_text(file.read_text().replace("plc-1.level_sp", "plc-1.level"))
    data(home, "assets", "  plc-1:", "  tank-2: {kind: plc, zone: plant}\n  plc-1:")
    file = home / "policies/data/conduits.yaml"
    file.write_text(
        "conduits:\n"
        "  - {from: plant, to: plant, protocols: [modbus, opcua]}\n"
        "  - {from: gateway, to: plant, protocols: [modbus, mqtt, opcua]}\n"
        "  - {from: it, to: plant, protocols: [https]}\n"
    )
    grant = "  - id: own-nodes\n    roles: [collector]\n    actions: [read]\n    protocols: [opcua]\n"
    grant += "    assets: [tank-2]\n    opcua: [{nodes: [i=2255]}]\n\n"
    data(home, "grants", "  - id: operator-reads\n", f"{grant}  - id: operator-reads\n")
    return opcua_site


def data(home: Path, name: str, old: str, new: str) -> None:
    """Replace text, once, in a document of policy data."""
    file = home / f"policies/data/{name}.yaml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_a_server_and_its_listener_are_summed_up(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_of(plant(), capsys)
    assert code == 0, said
    lines = [line for line in said.splitlines() if line.startswith("warning")]
    assert [line for line in lines if "tank-2" in line or "opcua-north" in line or "ua-1" in line] == []
    assert "opcua-north  opc.tcp://127.0.0.1:14840  zone plant  tank-2  SignAndEncrypt" in said
    assert "users: anonymous" in said
    assert (
        "tank-2  plc  opc.tcp://10.0.0.9:4840/UA/Server  1 nodes watched  at most 5 sessions  opcua-north"
        in said
    )


def test_and_in_json(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--json", "-c", plant()) == 0
    told = json.loads(capsys.readouterr().out)["summary"]
    server = told["assets"][2]
    assert (server["protocol"], server["unit"], server["polls"], server["nodes"]) == ("opcua", None, 0, 1)
    assert (server["sessions"], server["reached_by"]) == (5, ["opcua-north"])
    assert told["opcua"][0]["assets"] == ["tank-2"]


PLACES = {
    "key: pki/plant/issued/log-1.key": "certificate: pki/plant/issued/ua-1.pem",
    "key: pki/plant/issued/ua-2.key": "certificate: pki/plant/issued/ua-1.pem",
    "key: pki/plant/issued/ua-1.key": "certificate: pki/plant/issued/ua-2.pem",
}
"A key is told at its certificate."
TOKENS = "users: {tokens: {issuer: a, audience: b, keys: secret}}"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("key: pki/plant/issued/ua-1.key", "key: pki/plant/issued/log-1.key", "OPC UA needs an RSA key"),
        ("key: pki/plant/issued/ua-1.key", "key: pki/plant/issued/ua-2.key", "is not the key of"),
        ("certificate: pki/plant/issued/ua-1.pem", "certificate: pki/plant/crl.pem", "crl.pem"),
        ("pki/tank-2.der", "secret   # here", "secret"),
        ("pki/tank-2.der", "pki/it/issued/gw-1.pem   # here", "the policies take RSA 2048 to 4096"),
        (
            "sessions: 5",
            "certificate: pki/plant/issued/ua-2.pem\n      key: pki/plant/issued/ua-1.key",
            "is not the key of",
        ),
        ("sessions: 5", "user: fixed\n      user_name: gw\n      password: secret", "the first line of"),
        ("sessions: 5", "sessions: 4", ""),
        (
            "assets: [tank-2]",
            "assets: [tank-2]\n    users: {anchors: secret, crls: [pki/plant/crl.pem]}",
            "secret",
        ),
        ("assets: [tank-2]", f"assets: [tank-2]\n    {TOKENS}", "secret"),
    ],
)
def test_a_file_that_is_there_and_no_use(
    plant: Site, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
) -> None:
    file = plant((old, new))
    code, said = said_of(file, capsys)
    assert code == (2 if told else 0), said
    if told:
        (fault,) = [row for row in said.splitlines() if row.startswith("gateway.yaml:")]
        assert told in fault
        key = new.split("\n")[-1].strip()
        assert fault.startswith(line_of(file, PLACES.get(key, key)))


def test_a_name_that_the_certificate_does_not_have(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant(("assets: [tank-2]", "assets: [tank-2]\n    names: [gw.example, 127.0.0.1]"))
    code, said = said_of(file, capsys)
    assert code == 0
    (line,) = [row for row in said.splitlines() if "clients that come by" in row]
    assert line.startswith(f"warning: {line_of(file, 'names: [')}: clients that come by gw.example may")


def test_what_expires_soon_is_a_warning(
    plant: Site, authority: Pki, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = authority.issue("opcua-application", "plant", "ua-soon", days=20)
    file = plant(("server_certificate: pki/tank-2.der", "server_certificate: pki/soon.pem"))
    shutil.copy(soon.cert, file.parent / "pki/soon.pem")
    code, said = said_of(file, capsys)
    assert code == 0
    (line,) = [row for row in said.splitlines() if "soon.pem expires in" in row]
    assert line.startswith(f"warning: {line_of(file, 'server_certificate')}")


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "told"),
    [
        (
            "conduits",
            "[modbus, opcua]",
            "[modbus]",
            "assets: [tank-2]",
            "no conduit for opcua leads from plant",
        ),
        ("conduits", "mqtt, opcua]", "mqtt]", "- name: tank-2\n", "no conduit for opcua leads from gateway"),
        (
            "grants",
            "{nodes: [i=2255]}",
            "{nodes: [i=2256]}",
            "- name: tank-2\n",
            "read the namespaces of tank-2",
        ),
    ],
)
def test_policy_that_keeps_everybody_out_is_a_warning(
    plant: Site,
    capsys: pytest.CaptureFixture[str],
    name: str,
    old: str,
    new: str,
    line: str,
    told: str,
) -> None:
    file = plant()
    data(file.parent, name, old, new)
    code, said = said_of(file, capsys)
    assert code == 0
    (warning,) = [row for row in said.splitlines() if told in row]
    assert warning.startswith(f"warning: {line_of(file, line)}:")


def test_a_write_to_a_safety_system_is_refused_over_opcua_too(
    plant: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plant(("    protocol: opcua\n", "    protocol: opcua\n    kind: safety\n"))
    bounds = file.parent / "policies/data/bounds.yaml"
    text = bounds.read_text()
    start = text.index("    plc-1:\n")
    bounds.write_text(text[:start] + '    tank-2:\n      nodes: ["nsu=urn:x;s=SP"]\n' + text[start:])
    grant = "  - id: sp\n    roles: [operator]\n    actions: [write]\n    protocols: [opcua]\n"
    grant += '    assets: [tank-2]\n    opcua: [{nodes: ["nsu=urn:x;s=SP"]}]\n\n'
    data(file.parent, "grants", "  - id: operator-reads\n", f"{grant}  - id: operator-reads\n")
    code, said = said_of(file, capsys)
    assert code == 2
    assert "grant sp lets somebody write to tank-2, which is a safety system" in said
