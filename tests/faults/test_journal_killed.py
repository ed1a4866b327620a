"""Real kills and real disk errors under a process that commits as fast as it can."""

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.reader import records
from gateway.audit.signer import Signer
from gateway.audit.verify import verify
from tests.unit.audit import world

ROUNDS = int(os.environ.get("TORTURE_KILLS", "60"))
"`make torture` sets 10,000."
PROCESSES = 2 if ROUNDS <= 100 else os.cpu_count() or 1
SEED = int(os.environ.get("TORTURE_SEED", "4"))
"When it is killed and what is torn; how far the process has come by then is the machine's dice."
IN_FLIGHT = 16
"Lines that the writer's eight tasks may print on receipts given before the failure was known."
KEY = Signer(world.KEY, world.ORIGIN).verifier
WRITER = [sys.executable, "-m", "tests.faults.writer"]


@pytest.mark.timeout(6 * 3600)
def test_every_act_has_its_intent_whenever_the_process_is_killed(tmp_path: Path) -> None:
    """Nothing acknowledged is lost or moved, torn ends are told. Half the journals keep what is sensitive by
    commitment, and all of it can be opened. `killer` looks after every life."""
    share = -(-ROUNDS // PROCESSES)
    killers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.killer", str(tmp_path / str(n)), str(share), str(SEED + n)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    seen: Counter[str] = Counter()
    for killer in killers:
        said, wrong = killer.communicate()
        assert killer.returncode == 0, wrong[-3000:]
        seen += Counter(json.loads(said))
    print(dict(seen), f"seed {SEED}")  # noqa: T201 # with -s
    assert seen["rounds"] >= ROUNDS
    assert seen["unknown"], "not one kill fell between an intent and its outcome: the test tells nothing"
    assert seen["opened"], "nothing was kept by commitment"
    assert seen["torn"] or ROUNDS < 100


@pytest.mark.needs("strace")
def test_a_failed_fdatasync_stops_writes_for_good(tmp_path: Path, component: Callable[[str], str]) -> None:
    inject = "inject=fdatasync:error=EIO:when=40"  # once: it would succeed again
    command = [
        component("strace"),
        "-f",
        "-qq",
        "-o",
        str(tmp_path / "trace"),
        "-e",
        "trace=fdatasync",
        "-e",
        inject,
    ]
    done = subprocess.run(
        [*command, *WRITER, str(tmp_path / "journal"), "3000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    words = [line.split()[0] for line in done.stdout.splitlines()]
    first = words.index("refused")
    assert "receipt" in words[:first]
    assert "receipt" not in words[first + IN_FLIGHT :], "believed a disk that had failed"
    acted = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("receipt")}
    again = world.journal(tmp_path / "journal", world.Clock(), seed=1)
    assert again.open().gap
    kept = {json.loads(data)["id"] for _, data in records(tmp_path / "journal")}
    assert acted <= kept
    gaps = [json.loads(data) for _, data in records(tmp_path / "journal") if b'"kind":"gap"' in data[:120]]
    assert gaps[0]["note"]["why"] == "Input/output error"
    assert gaps[0]["note"]["missed"]["intent"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root; the limit test stands in")
def test_a_full_disk_stops_writes_and_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("no mounting here; the limit test stands in")
    try:
        _fills(small / "journal", None)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_limit_on_file_size_stops_writes_and_loses_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_800_000, 1_800_000))

    _fills(tmp_path / "journal", limit)


def _fills(folder: Path, limit: Callable[[], None] | None) -> None:
    done = subprocess.run(
        [*WRITER, str(folder), "20000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        preexec_fn=limit,
    )
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    words = [line[0] for line in lines]
    first = words.index("refused")
    assert "receipt" in words[:first]
    assert "receipt" not in words[first + IN_FLIGHT :]
    acted = {line[1] for line in lines if line[0] == "receipt"}
    kept = {json.loads(data)["id"] for _, data in records(folder)}
    assert acted <= kept
    assert verify(folder, KEY).ok
