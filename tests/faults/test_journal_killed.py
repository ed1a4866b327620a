"""Real kills and real disk errors under a process that commits as fast as it can."""

import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.reader import records
from gateway.audit.signer import Signer
from gateway.audit.verify import verify
from tests.unit.audit import world

ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "20"))
"`make torture` sets 200."
IN_FLIGHT = 16
"Lines that the writer's eight tasks may print on receipts given before the failure was known."
KEY = Signer(world.KEY, world.ORIGIN).verifier
WRITER = [sys.executable, "-m", "tests.faults.writer"]


def lines_until_killed(folder: Path, receipts: int) -> list[str]:
    """Run the writer, kill it soon after so many receipts, and give every line it managed to print."""
    child = subprocess.Popen([*WRITER, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    printed = b""
    deadline = time.monotonic() + 30
    try:
        while printed.count(b"receipt") < receipts:
            assert time.monotonic() < deadline, printed[-500:]
            if select.select([child.stdout], [], [], 1)[0]:
                printed += os.read(child.stdout.fileno(), 65_536)
            assert child.poll() is None, "the writer ended by itself"
    finally:
        child.send_signal(signal.SIGKILL)
        printed += child.stdout.read()
        child.wait()
        child.stdout.close()
    return printed.decode().splitlines()[: printed.count(b"\n")]


def test_every_act_has_its_intent_whenever_the_process_is_killed(tmp_path: Path) -> None:
    acted: set[str] = set()
    rng = random.Random(4)  # noqa: S311 (when to kill)
    for _ in range(ROUNDS):
        lines = lines_until_killed(tmp_path, rng.randrange(1, 300))
        acted |= {line.split()[1] for line in lines if line.startswith("receipt ")}
        report = verify(tmp_path, KEY)
        assert report.ok, report
    last = world.journal(tmp_path, world.Clock(), seed=1)
    recovery = last.open()
    intents, outcomes = set(), dict[str, str]()
    for _, data in records(tmp_path):
        record = json.loads(data)
        if record["kind"] == "intent":
            intents.add(record["id"])
        elif record["kind"] == "outcome":
            assert record["about"] not in outcomes, "one outcome for each intent"
            outcomes[record["about"]] = record["result"]["status"]
    assert acted <= intents, "an act without its intent"
    assert set(outcomes) == intents, "every intent has an outcome, if only `unknown`"
    assert set(recovery.unknown) <= intents
    assert verify(tmp_path, KEY).open_intent_count == 0


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
