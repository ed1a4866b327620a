"""A bundle that a person activates on a real gateway: rehearsed, on trial, taken back, confirmed."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from gateway import cli
from tests.faults.site import Client, Site, until

DENIED = b"\x86\x01"
WRITTEN = pack(">BHH", 6, 12, 7)
NO_READS = ("    roles: [operator]\n    actions: [read]", "    roles: [nobody]\n    actions: [read]")
NO_WRITES = ("ranges: [[10, 19]]}]\n", "ranges: [[10, 11]]}]\n")
"""The operator's recipe (tests/faults/site.py) loses register 12."""


class Plant:
    """A site whose gateway has the admin API, and Pat, who owns its policy."""

    def __init__(self, folder: Path, port: int, policy: str = "bundle: policies") -> None:
        self.site = Site(folder, more=f"admin: {{port: {port}, zone: plant}}\n")
        text = self.site.config.read_text().replace("bundle: policies", policy)
        self.site.config.write_text(text)
        self.people = {name: self.site.pki.issue("person", "plant", name) for name in ("pat", "lea", "sam")}
        self.port = port
        self.said = ""

    def does(self, *words: str, code: int = 0, by: str = "pat") -> dict[str, Any]:
        """What a person does by the product's own commands; what it says as JSON."""
        whole = [*words, *self.as_person(by)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            came = cli.main([*whole, "--json"])
        self.said = err.getvalue()
        assert came == code, out.getvalue() + self.said
        text = out.getvalue()
        return json.loads(text) if text.startswith("{") else {}

    def as_person(self, name: str) -> list[str]:
        """Options by which a command asks this gateway as that person."""
        who = self.people[name]
        options = ("--gateway", f"https://localhost:{self.port}", "--ca", self.site.pki.root)
        return [*map(str, (*options, "--cert", who.cert, "--key", who.key))]

    def bundle(self, *changes: tuple[str, str], name: str = "new") -> str:
        """A copy of what is configured, with grants changed."""
        folder = self.site.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.site.policies, folder)
        (folder / "tests" / "people.yaml").unlink()  # it holds the shipped rights of people
        grants = folder / "data" / "grants.yaml"
        text = grants.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        grants.write_text(text)
        return str(folder)

    @property
    def policy(self) -> dict[str, Any]:
        """What the gateway's status says of policy."""
        told: dict[str, Any] = self.site.status()["policy"]
        return told

    def hmi(self) -> Client:
        return self.site.client("hmi-1")

    def events(self, result: str) -> list[dict[str, Any]]:
        """Records about policy with that result."""
        return [each["note"] for each in self.site.records("policy") if each["note"]["result"] == result]


@pytest.fixture
def plant(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Plant]:
    made = Plant(tmp_path, free_port())
    with made.site:
        made.site.run()
        yield made


def test_what_flips_is_told_and_nothing_changes_until_it_is_activated(plant: Plant) -> None:
    hmi = plant.hmi()
    hmi.read(30)
    before = plant.policy["revision"]
    new = plant.bundle(NO_READS)
    told = plant.does("policy", "activate", new, "--check")
    (session,) = [each for each in told["impact"]["sessions"] if each["subject"].endswith("hmi-1")]
    assert session["becomes"] == "deny"
    assert session["what"] == ["read plc-1.level"]
    assert session["source"] == "127.0.0.1"
    assert plant.policy["revision"] == before
    assert hmi.read(30)[0] == 3
    done = plant.does("policy", "activate", new)
    assert done["impact"]["narrowed"] == told["impact"]["narrowed"] > 0
    assert plant.policy["revision"] == done["revision"]
    assert hmi.read(30)[0] == 0x83
    (note,) = [each for each in plant.events("activated") if "by" in each]
    assert note["by"] == "spiffe://demo.example/person/pat"
    assert note["impact"]["narrowed"] == told["impact"]["narrowed"]


def test_on_trial_it_is_taken_back_unless_it_is_confirmed(plant: Plant) -> None:
    hmi, before = plant.hmi(), plant.policy["revision"]
    new = plant.bundle(NO_WRITES)
    assert hmi.write(12, 7) == WRITTEN
    tried = plant.does("policy", "activate", new, "--confirm-within", "5s")
    assert hmi.write(12, 7) == DENIED
    assert plant.policy["waiting"]["revision"] == tried["revision"]
    plant.does("policy", "activate", plant.bundle(NO_READS, name="third"), code=1)
    assert "waits for confirmation" in plant.said
    until("it is not taken back", lambda: plant.policy["waiting"] is None)
    assert plant.policy["revision"] == before
    assert hmi.write(12, 7) == WRITTEN
    (note,) = plant.events("returned")
    assert note["why"] == "nobody confirmed it in time"
    plant.does("policy", "confirm", code=2)
    again = plant.does("policy", "activate", new, "--confirm-within", "1m")
    kept = plant.does("policy", "confirm", again["revision"][:12])
    assert kept["instead_of"] == before
    assert plant.policy["pinned"]["by"] == "spiffe://demo.example/person/pat"
    assert hmi.write(12, 7) == DENIED


def _revoked(plant: Plant) -> None:
    plant.site.pki.revoke("plant", "pat")
    cut = "pat's connection is not cut"
    plant.site.wait_record(cut, lambda each: each["kind"] == "auth" and each["note"]["result"] == "cut")


def _another_mode(plant: Plant) -> None:
    plant.does("mode", "plant", "maintenance", by="lea")


@pytest.mark.parametrize(
    ("change", "why"), [(_revoked, "not_admitted"), (_another_mode, "policy_changed")], ids=["who", "facts"]
)
def test_what_allowed_an_activation_must_hold_until_it_is_active(
    plant: Plant, change: Callable[[Plant], None], why: str
) -> None:
    """It waits for the workshop, here as long as the test wants, and its permit was spent before."""
    before, workshop = plant.policy["revision"], plant.site.workshop()
    assert workshop is not None
    os.kill(workshop, signal.SIGSTOP)
    try:
        command = ["policy", "activate", plant.bundle(NO_WRITES), *plant.as_person("pat")]
        activating = subprocess.Popen(
            [sys.executable, "-m", "gateway", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        asked = plant.site.wait_record(
            "it is not asked for",
            lambda each: each["kind"] == "intent" and each["what"]["kind"] == "admin.activate",
        )
        change(plant)
    finally:
        os.kill(workshop, signal.SIGCONT)
    assert activating.wait(30) != 0
    told = plant.site.wait_record("no outcome", lambda each: each.get("about") == asked["id"])
    assert (told["result"]["status"], told["result"]["why"]) == ("failed", why)
    assert plant.policy["revision"] == before
    assert plant.hmi().write(12, 7) == WRITTEN


def test_rolling_back_on_trial_takes_it_back_and_later_is_a_new_release(plant: Plant) -> None:
    hmi, before = plant.hmi(), plant.policy["revision"]
    plant.does("policy", "activate", plant.bundle(NO_WRITES), "--confirm-within", "1m")
    assert plant.does("policy", "rollback")["revision"] == before
    assert plant.policy["revision"] == before
    first = plant.does("policy", "activate", plant.bundle(NO_WRITES))
    assert hmi.write(12, 7) == DENIED
    back = plant.does("policy", "rollback", "--confirm-within", "1m")
    assert back["rolls_back"]
    assert back["serial"] == first["serial"] + 1
    plant.does("policy", "confirm")
    assert hmi.write(12, 7) == WRITTEN
    kinds = [
        each["what"]["kind"] for each in plant.site.records("intent") if each["what"]["protocol"] == "https"
    ]
    assert kinds.count("admin.rollback") == 2
    assert kinds.count("admin.activate") == 2


def test_it_stands_in_the_configured_ones_place_until_that_changes(plant: Plant) -> None:
    source = plant.policy["revision"]
    first = plant.does("policy", "activate", plant.bundle(NO_WRITES))
    assert first["instead_of"] == source
    plant.site.kill()
    plant.site.run()
    assert plant.policy["revision"] == first["revision"]
    assert plant.hmi().write(12, 7) == DENIED
    roles = plant.site.policies / "data" / "role_bindings.yaml"
    roles.write_text(roles.read_text() + "  spiffe://demo.example/plant/hmi-2: [viewer]\n")
    until("the source does not win", lambda: plant.policy["pinned"] is None)
    assert plant.policy["revision"] not in (source, first["revision"])
    assert plant.hmi().write(12, 7) == WRITTEN
    (note,) = plant.events("source")
    assert note["why"] == "the configured source changed"
    plant.site.kill()
    plant.site.run()
    assert plant.hmi().write(12, 7) == WRITTEN


def test_a_source_that_changed_while_the_gateway_was_down_wins_at_start(plant: Plant) -> None:
    plant.does("policy", "activate", plant.bundle(NO_WRITES))
    plant.site.kill()
    roles = plant.site.policies / "data" / "role_bindings.yaml"
    roles.write_text(roles.read_text() + "  spiffe://demo.example/plant/hmi-2: [viewer]\n")
    plant.site.run()
    assert plant.policy["pinned"] is None
    assert plant.hmi().write(12, 7) == WRITTEN


@pytest.mark.parametrize("spoilt", ["activated.json", "activated/{}.tar.gz"])
def test_what_is_spoilt_is_told_and_the_configured_bundle_counts(plant: Plant, spoilt: str) -> None:
    source = plant.policy["revision"]
    done = plant.does("policy", "activate", plant.bundle(NO_WRITES))
    plant.site.kill()
    file = plant.site.data / "state" / spoilt.format(done["revision"])
    file.write_bytes(file.read_bytes()[:-20])
    plant.site.run()
    assert plant.policy["revision"] == source
    told = [each["note"] for each in plant.site.records() if each["kind"] in ("policy", "finding")]
    assert any("cannot be" in str(note.get("why")) for note in told)


def test_what_two_people_must_want_is_activated_once_the_other_has_agreed(plant: Plant) -> None:
    """The same archive again is the same act: the digest of the approval covers the revision."""
    both = (
        "operations: [admin.activate, admin.confirm, admin.rollback, admin.set_stage]",
        "operations: [admin.activate]\n    approval: {by: shift-lead, within_s: 900}",
    )
    leads = ("    scopes: [asset:plc-1]\n", "")
    plant.does("policy", "activate", plant.bundle(both, leads, name="careful"))
    archive = plant.site.folder / "wanted.tar.gz"
    with contextlib.redirect_stdout(io.StringIO()):
        assert (
            cli.main(["policy", "build", plant.bundle(NO_WRITES), "-o", str(archive), "--serial", "auto"])
            == 0
        )
    plant.does("policy", "activate", str(archive), code=1)
    assert "obligation.approval" in plant.said
    (waiting,) = plant.does("approvals", "list", by="lea")["approvals"]
    assert waiting["requester"] == "spiffe://demo.example/person/pat"
    plant.does("approvals", "grant", waiting["request"], "--yes", by="lea")
    other = plant.site.folder / "other.tar.gz"
    with contextlib.redirect_stdout(io.StringIO()):
        assert (
            cli.main(["policy", "build", plant.bundle(NO_READS), "-o", str(other), "--serial", "auto"]) == 0
        )
    plant.does("policy", "activate", str(other), code=1)
    plant.does("policy", "activate", str(archive))
    assert plant.hmi().write(12, 7) == DENIED
    acts = [each for each in plant.site.records("intent") if each["what"]["kind"] == "admin.activate"]
    assert acts[-1]["why"]["approval"]["by"] == ["spiffe://demo.example/person/lea"]


def test_who_owns_no_policy_activates_none_and_what_is_no_bundle_is_refused(plant: Plant) -> None:
    new = plant.bundle(NO_WRITES)
    before = plant.policy["revision"]
    for words in (("activate", new), ("activate", new, "--check")):
        plant.does("policy", *words, code=1, by="sam")
    rubbish = plant.site.folder / "rubbish.tar.gz"
    rubbish.write_bytes(b"no archive")
    plant.does("policy", "activate", str(rubbish), code=1)
    assert "not gzip" in plant.said
    (plant.site.folder / "new" / "site" / "demo" / "site.rego").write_text(
        "package site.demo\nx := http.send({})\n"
    )
    plant.does("policy", "activate", new, code=1)
    assert plant.policy["revision"] == before
    until("a refusal is not recorded", lambda: len(plant.events("refused")) == 2)


@pytest.mark.needs("openssl")
def test_a_signed_gateway_takes_signed_ones_only_and_its_own_archive_may_grow_old(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """What stands in the place of an archive has a higher serial than it: that is no rolled back source."""
    plant = Plant(tmp_path, free_port(), "bundle: dmz.tar.gz, signing: {keys: [release.pem], scope: plant}")
    key = tmp_path / "release.key"
    for words in (
        f"genpkey -algorithm ed25519 -out {key}",
        f"pkey -in {key} -pubout -out {tmp_path}/release.pem",
    ):
        subprocess.run(["openssl", *words.split()], capture_output=True, check=True)
    key.chmod(0o600)
    signed = ("--signing-key", str(key), "--scope", "plant")
    with contextlib.redirect_stdout(io.StringIO()):
        build = [
            "policy",
            "build",
            str(plant.site.policies),
            "-o",
            str(tmp_path / "dmz.tar.gz"),
            "--serial",
            "5",
        ]
        assert cli.main([*build, *signed]) == 0
    with plant.site:
        plant.site.run()
        source = plant.policy["revision"]
        plant.does("policy", "activate", plant.bundle(NO_WRITES), code=1)
        assert "is not signed" in plant.said
        done_now = plant.does(
            "policy", "activate", plant.bundle(NO_WRITES), *signed, "--confirm-within", "1m"
        )
        assert done_now["signed_by"] == "release"
        plant.does("policy", "confirm")
        for _ in range(2):
            assert plant.policy["revision"] == done_now["revision"]
            assert plant.site.status()["refused"] == {}
            plant.site.end()
            plant.site.run()
        plant.does("policy", "rollback", code=2)
        back = plant.does("policy", "rollback", *signed)
        assert (back["rolls_back"], back["serial"]) == (True, done_now["serial"] + 1)
        assert plant.hmi().write(12, 7) == WRITTEN
        assert back["instead_of"] == source
