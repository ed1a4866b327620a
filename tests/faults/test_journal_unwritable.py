"""Invariant 10, on the whole process: the disk says no, so writes stop; reads go on for a while; it is told.

Three ways in which a disk says no: the system reports an error for one fdatasync and is fine afterwards
(strace puts it there), the file system is full (a small one, mounted by root), a file may not grow (a limit
of the process).
"""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import find

from .site import Client, Site, after_last_start, until, value

READS_S = 2
NOT_RECORDED = b"\x86\x04"
MOST_WRITES = 2_000
"By then the disk must have said no: an intent with its outcome is about 4 KiB."


@contextmanager
def failing_fdatasync(site: Site) -> Iterator[Callable[[], None]]:
    """One fdatasync fails, somewhere behind the start; every later one would succeed."""
    strace = find("strace")
    assert strace is not None
    site.run(
        *(strace, "-D", "-f", "-qq", "-o", str(site.folder / "trace")),
        *("-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=80"),
    )
    yield lambda: None


@contextmanager
def full_disk(site: Site) -> Iterator[Callable[[], None]]:
    """The data folder is a file system of 3 MiB; mending makes it larger."""
    site.data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(site.data)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no mounting here; the limit on file size stands in")
    try:
        site.run()
        yield lambda: _remount(site.data)
    finally:
        site.kill()
        subprocess.run(["umount", "-l", str(site.data)], check=True)


def _remount(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


@contextmanager
def limited_file(site: Site) -> Iterator[Callable[[], None]]:
    """No file may grow beyond a little more than the first step of a segment."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, 1_200_000))

    site.run(limit=limit)
    yield lambda: None


WAYS: list[Any] = [
    pytest.param(failing_fdatasync, marks=pytest.mark.needs("strace")),
    pytest.param(full_disk, marks=pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")),
    limited_file,
]


@pytest.mark.parametrize("way", WAYS)
def test_writes_stop_reads_go_on_for_a_while_and_the_gap_is_told(tmp_path: Path, way: Any) -> None:
    audit = f"reads_without_journal: {READS_S}s"
    with Site(tmp_path, audit=audit, writes_60s=9_000) as site, way(site) as mend:
        assert site.plant is not None
        hmi, view = site.client("hmi-1"), site.client("view-1")
        confirmed = write_until_refused(hmi)
        failed_at = time.monotonic()
        assert confirmed > 3
        assert site.status()["ready"] is False
        assert site.status()["journal"]["failed"]
        assert "ALARM" in site.log_text()
        acts = len(site.plant.written)
        assert acts == confirmed, "the write that was refused, and the last before it, and nothing else"
        for number in range(20):
            assert hmi.write(10, number) == NOT_RECORDED
        assert view.read(5) == value(5)
        assert view.write(10, 1)[0] == 0x86

        lasted = until("reads stop", lambda: _refused_since(view, failed_at), READS_S + 10)
        assert READS_S - 1.5 < lasted < READS_S + 2
        assert len(site.plant.written) == acts, "no write reached the plant since"
        polls = at_rest(site.plant.seen)
        assert hmi.write(10, 5) == NOT_RECORDED
        time.sleep(0.5)  # more than two periods of the site's poll
        assert len(site.plant.seen) == polls, "the collector reads no longer, either"

        mend()
        until("what is known of the gap is beside the log", (site.data / "journal" / "gap.json").exists)
        assert site.end() == 0
        site.run()
        run = list(after_last_start(site.records()))
        gap = next(each for each in run if each["kind"] == "gap")["note"]
        assert gap["why"]
        assert gap["missed"]["intent"] >= 20
        assert gap["missed"]["read"] >= 1
        assert (gap["to_ns"] - gap["from_ns"]) / 1e9 > READS_S - 1
        again = site.client("hmi-1")
        assert again.write(10, 77)[0] == 6, "the new start writes again"
        assert site.client("view-1").read(5) == value(5)
        site.end()
        assert site.verify()["open_intent_count"] == 0
        intents = [each for each in site.records("intent") if each["what"]["protocol"] == "modbus"]
        assert len(intents) >= acts + 1
        values = [each["what"]["modbus"]["values"] for each in intents]
        for pdu in site.plant.written:
            assert [pdu[3] << 8 | pdu[4]] in values, "every act has its intent"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_the_gap_is_told_even_if_there_was_no_room_for_it_until_the_end(tmp_path: Path) -> None:
    with Site(tmp_path, writes_60s=9_000) as site, full_disk(site) as mend:
        hmi = site.client("hmi-1")
        write_until_refused(hmi)
        assert hmi.read(5) == value(5), "a read that is in no record"
        time.sleep(1.2)  # it tries once a second
        site.end()
        mend()
        site.run()
        assert any(each["kind"] == "gap" for each in after_last_start(site.records()))


@pytest.mark.needs("strace")
def test_a_disk_that_hangs_holds_up_writes_and_nothing_else(
    tmp_path: Path, component: Callable[[str], str]
) -> None:
    """Two syncs take 2.6 seconds each, an intent waits for two: what becomes of the writes is told, too."""
    hang = ("-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=2600000:when=60..61")
    with Site(tmp_path, writes_60s=9_000) as site:
        assert site.plant is not None
        site.run(component("strace"), "-D", "-f", "-qq", "-o", str(tmp_path / "trace"), *hang)
        hmi, view = site.client("hmi-1"), site.client("view-1")
        confirmed = write_until_refused(hmi)
        begun = time.monotonic()
        hmi.send(bytes.fromhex("06000a7777"), 7)
        longest = 0.0
        while time.monotonic() - begun < 1:
            asked = time.monotonic()
            assert view.read(5) == value(5)
            longest = max(longest, time.monotonic() - asked)
        assert longest < 0.5, "reads do not wait for the disk"
        assert hmi.answer() == (7, NOT_RECORDED)
        assert time.monotonic() - begun < 4
        given_up = site.wait_record(
            "the intent is durable in the end, and what came of it is told",
            lambda each: each["kind"] == "outcome" and each["result"].get("why") == "given_up",
        )
        assert given_up["result"]["status"] == "not_sent"
        assert len(site.plant.written) == confirmed
        assert bytes.fromhex("06000a7777") not in site.plant.written
        assert hmi.write(10, 5)[0] == 6, "slow is not failed"


def write_until_refused(hmi: Client) -> int:
    """Write different values until the answer is 04; how many were confirmed."""
    for number in range(MOST_WRITES):
        answer = hmi.write(10, 1000 + number)
        if answer == NOT_RECORDED:
            return number
        assert answer[0] == 6, answer
    raise AssertionError("the disk never said no")


def at_rest(seen: list[bytes]) -> int:
    """How much the plant has seen once what was on its way has arrived: nothing more for half a second."""
    count, since = len(seen), time.monotonic()

    def quiet() -> bool:
        nonlocal count, since
        if len(seen) != count:
            count, since = len(seen), time.monotonic()
        return time.monotonic() - since > 0.5

    until("the plant is left alone", quiet)
    return count


def _refused_since(view: Client, since: float) -> float | None:
    """Seconds from then on, once a read is answered 04; reads before must be right."""
    answer = view.read(5)
    if answer == b"\x83\x04":
        return time.monotonic() - since
    assert answer == value(5)
    return None


def test_status_still_answers_when_reads_have_stopped(tmp_path: Path) -> None:
    """Whoever must mend it asks what is wrong: with no journal the status says so, and blames no policy."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, 1_200_000))

    with Site(tmp_path, audit="reads_without_journal: 1s", writes_60s=9_000) as site:
        site.run(limit=limit)
        hmi = site.client("hmi-1")
        write_until_refused(hmi)
        until("reads stop", lambda: hmi.read(5) == b"\x83\x04")
        answer = site.status()
        assert "journal" in answer, answer
