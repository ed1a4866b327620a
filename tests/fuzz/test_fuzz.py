"""Every kept input, and most of a minute of new ones, under CI two: each reader in its own process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.identity.certificate import Refused, identify
from tests.pki import Pki, pki

from . import corpora
from .targets import JUDGED_NS, TARGETS

__all__ = ["pki"]

ROOT = Path(__file__).resolve().parents[2]
LEAST_RUNS = 2_000
"Fewer than this, and the readers were hardly fuzzed at all; a busy machine still makes ten times as many."
each_target = pytest.mark.parametrize("name", TARGETS)


def test_all_runs_are_given_out() -> None:
    assert sum(target.share for target in TARGETS.values()) == pytest.approx(1)


def test_the_corpora_are_small_and_of_targets_that_are_there() -> None:
    files = list(corpora.FOLDER.glob("*.hex"))
    assert {path.stem for path in files} == set(TARGETS)
    assert sum(path.stat().st_size for path in files) < corpora.MOST_BYTES


@each_target
def test_kept_inputs_break_no_promise(name: str) -> None:
    kept = corpora.kept(name)
    assert len(kept) > 10
    for data in kept:
        TARGETS[name].run(data)


@each_target
def test_new_inputs_break_no_promise(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seconds = target.ci_seconds if os.environ.get("CI") == "true" else target.seconds
    fuzzed = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz",
            name,
            "--runs=-1",
            f"--seconds={seconds}",
            f"--found={tmp_path}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=90,
        check=False,
    )
    assert fuzzed.returncode == 0, fuzzed.stderr[-4000:]
    runs = re.search(r"number_of_executed_units: (\d+)", fuzzed.stderr)
    assert runs is not None
    assert int(runs[1]) > LEAST_RUNS


def test_a_name_of_an_odd_type_is_refused(pki: Pki) -> None:
    """A certificate whose common name is a BIT STRING is refused, as others are that name nobody."""
    der = pki.with_names("plant", "odd-name", []).der
    head, common_name, tail = der.rpartition(b"\x06\x03\x55\x04\x03\x0c")
    odd = head + common_name[:-1] + b"\x03" + tail
    assert odd != der
    assert isinstance(identify(odd, "plant", JUDGED_NS), Refused)
