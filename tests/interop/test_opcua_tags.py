"""A running gateway with OPC UA tags: values by HTTPS, what people find with `tags`, and what is recorded."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from gateway import cli
from gateway.admin.client import AnswerIsNoError, Person
from gateway.config.read import read
from gateway.publish.poll_plan import asset_cost
from tests.pki import Credential, Pki, pki

from .opcua.plant import Plant, plant
from .opcua.site import SUBSCRIPTION, Site, free_port, node, until

__all__ = ["pki"]

ASSET = "plc-a"
NORTH = """\
admin: {{host: 127.0.0.1, port: {admin}, zone: it, certificate: {it}/gw-1.pem, key: {it}/gw-1.key}}
north:
  https: {{host: 127.0.0.1, port: {https}, zone: it, certificate: {it}/gw-1.pem, key: {it}/gw-1.key}}
collector: {{backoff: 1s}}
"""
TAGS = (
    {"name": "counter", "node": node("Specimen.Counter"), "type": "uint32", "stale": "3s"},
    {"name": "later", "node": node("Tank.Temperature"), "type": "float64", "resolution": 0.1},
    {"name": "secret", "node": node("Vault.Secret"), "type": "float64", "resolution": 1},
    {
        "name": "half",
        "node": node("Specimen.Int16"),
        "type": "int16",
        "scale": 0.5,
        "resolution": 0.5,
        "unit": "bar",
    },
)


class TagSite(Site):
    """With HTTPS and the admin API, a consumer, and a person who makes tags."""

    def __init__(self, folder: Path, pki: Pki, server: Plant) -> None:
        super().__init__(folder, pki, {ASSET: server})
        self.server = server
        self.https, self.admin = free_port(), free_port()
        it = pki.dir / "it" / "issued"
        issue("gateway-server", pki, "gw-1")
        self.ann = issue("person", pki, "ann")
        self.bob = issue("person", pki, "bob")
        self.reader = issue("it-client", pki, "reader")
        tags = "".join(
            "  - "
            + json.dumps({**one, "asset": ASSET, "path": f"acme/{one['name']}", "poll": "100ms"})
            + "\n"
            for one in TAGS
        )
        text = self.config.read_text()
        text = text.replace(
            "opcua:\n",
            f"  - {{name: it, anchors: {pki.dir}/it/anchors.pem, crls: [{pki.dir}/it/crl.pem]}}\nopcua:\n",
            1,
        )
        text = text.replace("tags:\n", f"tags:\n{tags}", 1)
        self.config.write_text(text + NORTH.format(admin=self.admin, https=self.https, it=it))
        self.grant()

    def grant(self, *seen: str) -> None:
        """Let the collector have the counter and so many nodes more, and ann look."""
        data = self.policies / "data"
        grants = json.loads((data / "grants.yaml").read_text())["grants"]
        kept = [each for each in grants if each["id"] not in ("collector", "ann", "reader")]
        own = ("Specimen*", "Tank", "Tank.Level", "Tank.StartBatch")
        nodes = [*map(node, own), "i=2255", "i=85", *seen]
        common: dict[str, Any] = {"protocols": ["opcua"], "assets": [ASSET], "roles": ["collector"]}
        opcua = [{"nodes": nodes}, {"services": SUBSCRIPTION}]
        kept += [
            {**common, "id": "collector", "actions": ["read", "browse", "subscribe"], "opcua": opcua},
            {
                "id": "ann",
                "roles": ["tag-maker"],
                "actions": ["read"],
                "protocols": ["https"],
                "operations": ["admin.browse", "admin.probe"],
                "scopes": [f"asset:{ASSET}"],
            },
            {
                "id": "reader",
                "roles": ["it-reader"],
                "actions": ["read"],
                "protocols": ["https"],
                "assets": [ASSET],
                "tags": [str(one["name"]) for one in TAGS],
            },
        ]
        (data / "grants.yaml").write_text(json.dumps({"grants": kept}))
        bindings = json.loads((data / "role_bindings.yaml").read_text())["role_bindings"]
        bindings |= {
            "spiffe://demo.example/person/ann": ["tag-maker"],
            "spiffe://demo.example/it/reader": ["it-reader"],
        }
        (data / "role_bindings.yaml").write_text(json.dumps({"role_bindings": bindings}))
        conduits = json.loads((data / "conduits.yaml").read_text())["conduits"]
        conduits += [
            {"from": "it", "to": "gateway", "protocols": ["https"]},
            {"from": "it", "to": "plant", "protocols": ["https"]},
        ]
        (data / "conduits.yaml").write_text(json.dumps({"conduits": conduits}))

    def person(self, who: Credential, port: int | None = None) -> Person:
        where = f"https://localhost:{port or self.admin}"
        return Person(where, self.pki.dir / "it" / "anchors.pem", who.cert, who.key, int(time()))

    def tag(self, name: str) -> dict[str, Any]:
        """A tag as IT gets it."""
        return self.person(self.reader, self.https).get(f"/api/v1/tags/{name}")

    def command(self, *words: str) -> list[str]:
        """A command of ann's."""
        where = [
            "--gateway",
            f"https://localhost:{self.admin}",
            "--ca",
            str(self.pki.dir / "it" / "anchors.pem"),
        ]
        return ["tags", *words, *where, "--cert", str(self.ann.cert), "--key", str(self.ann.key)]


def issue(profile: str, pki: Pki, name: str) -> Credential:
    path = pki.dir / "it" / "issued" / f"{name}.pem"
    return Credential(path, path.with_suffix(".key")) if path.exists() else pki.issue(profile, "it", name)


@pytest.fixture(scope="module")
def site(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TagSite]:
    folder = tmp_path_factory.mktemp("tags")
    with plant(pki, folder / "plc", free_port(), "asyncua", name="plc-tags") as server:
        made = TagSite(folder / "gw", pki, server)
        with made:
            yield made


def good(site: TagSite, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        told = site.tag(name)
        return told if told["quality"] == "good" else None

    return until(f"{name} is not good: {site.tag(name)}", look)


def test_values_reach_the_https_api_with_the_servers_time(site: TagSite) -> None:
    counter = good(site, "counter")
    until("it counts", lambda: site.tag("counter")["value"] > counter["value"])
    half = good(site, "half")
    assert (half["value"], half["unit"]) == (-16384.0, "bar")
    assert half["time"].startswith("2026-01-01T00:00:00.5")
    assert half["received"] > half["time"]
    secret = site.tag("secret")
    assert (secret["value"], secret["quality"], secret["reason"]) == (None, "bad", "denied")


def test_what_is_collected_is_recorded_as_the_gateways_own(site: TagSite) -> None:
    good(site, "counter")
    seen = site.server.seen(service="CreateMonitoredItems")
    assert seen
    assert not any("Vault" in json.dumps(each) for each in seen), "what is denied never reached the server"
    denied = [each for each in site.records("denial") if "Vault.Secret" in json.dumps(each)]
    assert denied
    assert all("spiffe://demo.example/gateway/gw-1" in json.dumps(each) for each in denied)


def test_tags_browse_lists_what_there_is_to_choose_from(
    site: TagSite, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(site.command("browse", ASSET, "--depth", "3")) == 0
    text = capsys.readouterr().out
    assert f"Level  {node('Tank.Level')}  variable Double" in text
    assert f"StartBatch  {node('Tank.StartBatch')}  method" in text
    assert cli.main(site.command("browse", ASSET, "--node", node("Specimen"), "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    found = {each["name"]: each for each in told["nodes"]}
    assert found["UInt16"] == {
        "node": node("Specimen.UInt16"),
        "name": "UInt16",
        "path": "/UInt16",
        "depth": 1,
        "kind": "variable",
        "type": "UInt16",
        "value": 65535,
    }
    assert found["Bad"]["status"] == "BadSensorFailure"
    assert found["Secret"]["status"] == "denied"
    assert "value" not in found["Secret"], "the gateway itself may not read it"
    assert cli.main(site.command("browse", ASSET, "--node", node("Specimen"), "--most", "5", "--json")) == 0
    few = json.loads(capsys.readouterr().out)
    assert (len(few["nodes"]), few["truncated"]) == (5, True)
    assert cli.main(site.command("browse", ASSET, "--node", node("Tank"), "--yaml")) == 0
    stubs = capsys.readouterr().out
    head, _, rest = site.config.read_text().partition("tags:\n")
    behind = rest[rest.index("policy:") :]
    written = tmp_path / "gateway.yaml"
    written.write_text(
        head + stubs + behind.replace("policy: {bundle: policies}", f"policy: {{bundle: {site.policies}}}")
    )
    (level,) = [each for each in read(written, asset_cost).tags if each.node == node("Tank.Level")]
    assert (level.name, level.type.value) == ("plc-a.level", "float64")


def test_tags_probe_shows_raw_beside_scaled(site: TagSite, capsys: pytest.CaptureFixture[str]) -> None:
    good(site, "half")
    assert cli.main(site.command("probe", "half", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["raw"], told["type"], told["value"], told["q"]) == (-32768, "Int16", -16384.0, -32768)
    assert told["status"] == "0x00000000 Good"
    assert told["source_time"].startswith("2026-01-01T00:00:00.5")
    assert told["collected"]["value"] == -16384.0
    assert cli.main(site.command("probe", node("Specimen.Uncertain"), "--asset", ASSET)) == 0
    text = capsys.readouterr().out
    assert "7.25" in text
    assert "UncertainLastUsableValue" in text


def test_only_who_is_granted_looks_and_only_at_what_the_gateway_may_see(
    site: TagSite, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AnswerIsNoError) as no:
        site.person(site.bob).post("/admin/v1/tags/browse", {"asset": ASSET})
    assert (no.value.status, no.value.code) == (403, "denied")
    with pytest.raises(AnswerIsNoError) as no:
        site.person(site.reader).post("/admin/v1/tags/probe", {"tag": "half"})
    assert no.value.code == "not_a_person"
    assert cli.main(site.command("probe", "secret")) == 1
    assert "policy does not let the gateway read it" in capsys.readouterr().err
    for body, code in (
        ({"tag": "nobody"}, "unknown_tag"),
        ({"asset": "nobody", "node": "i=85"}, "unknown_asset"),
        ({"asset": ASSET, "node": "ns=2;s=x"}, "bad_node"),
        ({"asset": ASSET}, "bad_request"),
    ):
        with pytest.raises(AnswerIsNoError) as no:
            site.person(site.ann).post("/admin/v1/tags/probe", body)
        assert no.value.code == code


def test_policy_and_tags_that_change_reach_what_is_collected(site: TagSite) -> None:
    good(site, "counter")
    assert site.tag("later")["reason"] == "denied"
    before = site.config.read_text()
    site.grant(node("Tank.Temperature"))
    good(site, "later")
    site.grant()
    until("it is denied again", lambda: site.tag("later")["reason"] == "denied")
    site.config.write_text(before.replace('"scale": 0.5', '"scale": 2'))
    until("the tag means something else", lambda: site.tag("half")["value"] == -65536)
    site.config.write_text(before)
    until("and again", lambda: site.tag("half")["value"] == -16384)


def test_a_server_that_goes_and_comes_back_is_bad_meanwhile_and_good_again(site: TagSite) -> None:
    good(site, "counter")
    site.server.kill()
    gone = until("it is gone", lambda: (told := site.tag("counter"))["quality"] == "bad" and told)
    assert (gone["value"], gone["reason"]) == (None, "device_down")
    site.server.start()
    good(site, "counter")
