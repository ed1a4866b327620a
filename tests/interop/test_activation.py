"""A bundle activated by a person on a real gateway: rehearsed, on trial, taken back, confirmed, overridden."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import contextlib
import io
import json
import shutil
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

    def does(self, *words: str, exit: int = 0, by: str = "pat") -> dict[str, Any]:
        """What a person does by the product's own commands; what it says as JSON."""
        who = self.people[by]
        options = ("--gateway", f"https://localhost:{self.port}", "--ca", self.site.pki.root)
        whole = [*words, *map(str, (*options, "--cert", who.cert, "--key", who.key))]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main([*whole, "--json"])
        self.said = err.getvalue()
        assert code == exit, out.getvalue() + self.said
        text = out.getvalue()
        return json.loads(text) if text.startswith("{") else {}

    def bundle(self, *changes: tuple[str, str], name: str = "new") -> str:
        """A copy of what is configured, with grants changed."""
        folder = self.site.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.site.policies, folder)
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
    plant.does("policy", "activate", plant.bundle(NO_READS, name="third"), exit=1)
    assert "waits for confirmation" in plant.said
    until("it is not taken back", lambda: plant.policy["waiting"] is None)
    assert plant.policy["revision"] == before
    assert hmi.write(12, 7) == WRITTEN
    (note,) = plant.events("returned")
    assert note["why"] == "nobody confirmed it in time"
    plant.does("policy", "confirm", exit=2)
    again = plant.does("policy", "activate", new, "--confirm-within", "1m")
    kept = plant.does("policy", "confirm", again["revision"][:12])
    assert kept["instead_of"] == before
    assert plant.policy["pinned"]["by"] == "spiffe://demo.example/person/pat"
    assert hmi.write(12, 7) == DENIED


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
    kinds = [each["what"]["kind"] for each in plant.site.records("intent") if each["what"]["protocol"] == "https"]
    assert kinds.count("admin.rollback") == 2
    assert kinds.count("admin.activate") == 2
