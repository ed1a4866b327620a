"""A gateway killed while a bundle is on trial: what was before it counts, and that is told."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.site import ROOT, until
from tests.interop.test_activation import DENIED, NO_WRITES, WRITTEN, Plant


@pytest.fixture
def killed(tmp_path: Path, free_port: Callable[[], int]) -> Plant:
    """A gateway that was killed during a trial that takes rights away."""
    plant = Plant(tmp_path, free_port())
    plant.site.run()
    plant.does("policy", "activate", plant.bundle(NO_WRITES), "--confirm-within", "1h")
    assert plant.hmi().write(12, 7) == DENIED
    plant.site.kill()
    return plant


def test_a_trial_ends_with_the_process(killed: Plant) -> None:
    with killed.site:
        tried = json.loads((killed.site.data / "state" / "activated.json").read_text())["waiting"]["revision"]
        killed.site.run()
        assert killed.policy["waiting"] is None
        assert killed.policy["revision"] != tried
        assert killed.hmi().write(12, 7) == WRITTEN
        alarms = [each["note"] for each in killed.site.records("finding")]
        (told,) = [note for note in alarms if note.get("alarm") == "activation_returned"]
        assert told["revision"] == tried
        killed.does("policy", "confirm", tried, code=2)
        assert killed.site.end() == 0
        assert killed.site.proved().ok


def test_the_serial_of_a_trial_is_not_the_highest(killed: Plant) -> None:
    """Or the next release, numbered after the last that held, would be refused as rolled back."""
    with killed.site:
        state = json.loads((killed.site.data / "state" / "policy").read_text())
        assert state == {"serial": 0, "revision": ""}
        killed.site.run()
        assert killed.does("policy", "rollback", "--list")["highest"] == 0
        done = killed.does("policy", "activate", killed.bundle(NO_WRITES))
        until("the serial is not noted", lambda: _serial(killed) == done["serial"])


def test_whenever_it_is_killed_it_starts_with_a_bundle_that_held(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Killed at any time around an activation without trial: the old one or the new one, never none."""
    plant = Plant(tmp_path, free_port())
    with plant.site:
        plant.site.run()
        before = plant.policy["revision"]
        for wait_s in (0.0, 0.15, 0.4):
            who = plant.people["pat"]
            options = ("--gateway", f"https://localhost:{plant.port}", "--ca", plant.site.pki.root)
            words = [
                "policy",
                "activate",
                plant.bundle(NO_WRITES),
                *options,
                "--cert",
                who.cert,
                "--key",
                who.key,
            ]
            asking = subprocess.Popen(
                [sys.executable, "-m", "gateway", *map(str, words)],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(wait_s)  # the moment of the kill, not something that is waited for
            plant.site.kill()
            asking.wait(30)
            plant.site.run()
            pinned = plant.policy["pinned"]
            assert plant.policy["revision"] == (before if pinned is None else pinned["revision"])
            assert plant.hmi().read(30)[0] == 3
        assert plant.site.end() == 0
        assert plant.site.proved().ok


def _serial(plant: Plant) -> int:
    return int(json.loads((plant.site.data / "state" / "policy").read_text())["serial"])
