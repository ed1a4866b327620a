"""`dmz-gateway inspect` on OPC UA with the configuration of a site: assets, trust of the zone, listeners."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway.shipped import folder
from gateway.wire.opcua.security import Credentials
from tests.interop import captures
from tests.interop.captures import packets, pcap
from tests.interop.opcua.site import write_policy
from tests.interop.test_inspect import Result, call
from tests.opcua import Pair, at, credentials
from tests.pki import Credential, Pki, pki
from tests.unit.capture.conversation import Two
from tests.unit.inspect.opcua_talk import CREATE, READ_NAMESPACES, Talk, read

__all__ = ["pki"]
pytest.importorskip("scapy", reason="extra `capture` is not installed")

CONFIG = """\
gateway: {{name: gw-1, site: demo, data: ./data, certificate: {issued}/insp-gw.pem,
  key: {issued}/insp-gw.key}}
zones:
  - {{name: plant, anchors: {pki}/plant/anchors.pem, crls: [{pki}/plant/crl.pem]}}
opcua:
  - {{name: opcua-north, host: 127.0.0.1, port: 4840, zone: plant, certificate: {issued}/insp-ua.pem,
     key: {issued}/insp-ua.key, names: [localhost], assets: [plc-1], policies: [Aes256_Sha256_RsaPss],
     users: {{anonymous: false, passwords: {passwords}}}}}
assets:
  - {{name: plc-1, protocol: opcua, endpoint: "{endpoint}",
     opcua: {{server_certificate: {issued}/insp-plc.pem}}}}
policy: {{bundle: policies}}
audit: {{origin: demo.example/gw-1, key: {issued}/insp-log.key}}
"""


def of(credential: Credential) -> Credentials:
    """As a channel takes it."""
    leaf = x509.load_pem_x509_certificates(credential.cert.read_bytes())[0]
    key = load_pem_private_key(credential.key.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return Credentials((leaf.public_bytes(Encoding.DER),), key)


class Site:
    """A configuration that `check` accepts, and captures of its day."""

    def __init__(self, folder_: Path, made: Pki, endpoint: str = "opc.tcp://10.0.0.1:4840") -> None:
        self.folder, self.pki = folder_, made
        self.issue("gateway-server", "insp-gw")
        self.issue("log-signer", "insp-log")
        self.issue("opcua-application", "insp-ua")
        self.plc = self.issue("opcua-application", "insp-plc")
        passwords = folder_ / "passwords"
        passwords.touch(mode=0o600)
        write_policy(folder_ / "policies", ["plc-1"])
        self.config = folder_ / "gateway.yaml"
        issued = made.dir / "plant" / "issued"
        text = CONFIG.format(issued=issued, pki=made.dir, endpoint=endpoint, passwords=passwords)
        self.config.write_text(text)

    def issue(self, profile: str, name: str) -> Credential:
        path = self.pki.dir / "plant" / "issued" / f"{name}.pem"
        if path.exists():
            return Credential(path, path.with_suffix(".key"))
        return self.pki.issue(profile, "plant", name)

    def handshake(self, client: Credentials, server: Credentials | None = None) -> Path:
        """A capture of a channel that is opened."""
        pair = Pair(client=client, server=server or of(self.plc))
        two = Two().handshake()
        for data in (pair.client.hello(), None):
            two.say(0, data if data is not None else pair.client.open(at()))
            pair.server.receive(two.sent[-1].data, at())
            out = pair.server.take()
            two.say(1, out)
            pair.client.receive(out, at())
        return pcap(self.folder / "a.pcap", packets(two, port=4840))

    def inspect(self, capture: Path, *words: object) -> Result:
        return call(capture, "-c", self.config, "--would-refuse", *words)


@pytest.fixture
def site(tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(captures, "START_S", int(pki.now.timestamp()) + 60)
    return Site(tmp_path, pki)


def stopped(result: Result) -> set[tuple[str, str | None]]:
    return {(each["code"], each["asset"]) for each in result.lines[-1]["stopped"]["always"]}


def test_the_zones_trust_says_who_would_be_let_in(site: Site) -> None:
    capture = site.handshake(of(site.issue("opcua-application", "insp-mes")))
    shown = site.inspect(capture).out
    assert "to the gateway: admitted\n" in shown
    assert "to the gateway: pinned (assets[].opcua.server_certificate)" in shown
    assert not (site.folder / "data").exists(), "inspect writes nothing"
    codes = stopped(site.inspect(capture, "--json"))
    assert codes == {("policy", "plc-1")}, "the listener has another policy alone"


def test_strangers_and_other_servers_would_not_be(site: Site) -> None:
    capture = site.handshake(credentials("stranger"), credentials("other"))
    result = site.inspect(capture, "--json")
    assert {code for code, _ in stopped(result)} == {
        "certificate.untrusted",
        "certificate.other_pinned",
        "policy",
    }
    assert "the gateway would refuse it: other_pinned: another than" in site.inspect(capture).out


def test_what_an_administrator_approved_is_let_in(site: Site) -> None:
    stranger = credentials("stranger")
    trusted = site.folder / "data" / "trust" / "plant" / "trusted"
    trusted.mkdir(parents=True)
    (trusted / "stranger.der").write_bytes(stranger.leaf)
    assert ("policy", "plc-1") in stopped(site.inspect(site.handshake(stranger), "--json"))
    assert "certificate.untrusted" not in site.inspect(site.handshake(stranger)).out


def test_an_asset_is_found_by_endpoint_and_by_the_path_of_the_url(tmp_path: Path, pki: Pki) -> None:
    for name, endpoint, asset in (
        ("a", "opc.tcp://10.0.0.1:4840", "plc-1"),
        ("b", "opc.tcp://192.0.2.7:4841", "plc-1"),  # the clients' side: its URL ends in /plc-1
    ):
        (tmp_path / name).mkdir()
        site = Site(tmp_path / name, pki, endpoint)
        talk = Talk().open().ask(CREATE).ask(READ_NAMESPACES, read_answer=True).ask(read("ns=1;s=T", 3))
        words = ("--as", "10.0.0.5=urn:demo.example:plant:ua-peer:", "--json")
        result = site.inspect(talk.write(tmp_path / "c.pcap"), *words)
        assert {asset_ for _, asset_ in stopped(result)} == {asset}
        decided = [each for line in result.lines for each in line.get("decisions", ()) if each]
        assert {each["asset"] for each in decided} == {asset}
        assert [each["reasons"] for each in decided] == [["grant.matched"], ["grant.nodes"]]
        denied = result.lines[-1]["stopped"]["enforce"]
        assert [(each["code"], each["then"]) for each in denied] == [("grant.nodes", "BadUserAccessDenied")]


def test_a_server_that_is_no_asset_is_stopped(tmp_path: Path, pki: Pki) -> None:
    site = Site(tmp_path, pki, "opc.tcp://192.0.2.7:4841")
    talk = Talk(url="opc.tcp://10.0.0.1:4840/other").open().ask(CREATE).ask(READ_NAMESPACES)
    words = ("--json", "--policy", folder("policies"), "--as", "10.0.0.5=urn:demo:panel")
    result = site.inspect(talk.write(tmp_path / "c.pcap"), *words)
    assert ("unmapped_server", None) in stopped(result)
    assert [each["reasons"] for line in result.lines for each in line.get("decisions", ())] == [
        ["wire.unmapped_server"]
    ]


def test_users_that_the_listener_does_not_take_are_named(site: Site) -> None:
    talk = Talk().open().ask(CREATE).activate()
    result = site.inspect(talk.write(site.folder / "c.pcap"), "--json")
    assert ("user", "plc-1") in stopped(result)
