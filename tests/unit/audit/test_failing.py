"""How the journal fails: at once, whatever the reason; it stops in time; and what it tells of it is true."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import backlog, gap
from gateway.audit import journal as journals
from gateway.audit.gap import GAP, GAP_BYTES
from gateway.audit.log import Log
from gateway.audit.signer import Hold, Signer
from gateway.audit.storage import Disk
from gateway.audit.windows import Windows
from gateway.model.record import Accepted, Durable, NotRecorded, RecordKind
from gateway.ops.folder import DataFolder
from tests.unit.audit import world
from tests.unit.audit.memory import Memory
from tests.unit.audit.test_journal import of_kind, started, until
from tests.unit.audit.world import ALLOW, READ_OK, Clock, caller, reading, writing


class Ticking(Clock):
    """Real time: a stop waits by it."""

    def __call__(self) -> Any:
        self.mono_ns = time.monotonic_ns()
        return super().__call__()


# an error that nobody thought of ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["append", "prepare", "checkpoint"])
def test_any_error_in_the_thread_fails_the_journal_at_once_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def run() -> None:
        clock, alarms = Clock(), list[str]()
        running = await started(tmp_path, clock, alarms=alarms, checkpoint_s=0.01)

        def broken(*_: object) -> None:
            raise ZeroDivisionError("a fault of ours")

        with monkeypatch.context() as breaking:
            breaking.setattr(Log, step, broken)
            receipt = asyncio.ensure_future(running.intent(caller(), (writing(),), (ALLOW,), clock()))
            await until(lambda: running.status()["failed"] or clock.forward(0.001) is None)
            assert clock.mono_ns < backlog.STALL, "it is not the stall that told"
            assert await receipt == NotRecorded("journal_failed") or step != "append"
        assert "a fault of ours" in running.status()["failed"]
        assert "a fault of ours" in alarms[0]
        again = await running.intent(caller(), (writing(),), (ALLOW,), clock())
        assert again == NotRecorded("journal_failed"), "and it stays so"
        await running.stop()

    asyncio.run(run())


def test_a_thread_that_is_gone_is_noticed_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        running = await started(tmp_path, clock)
        assert running._committer is not None
        running._committer.finish()
        await until(lambda: running.status()["failed"])
        assert "thread" in running.status()["failed"]
        await running.stop()

    asyncio.run(run())


# a stop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failed", [False, True])
def test_a_stop_does_not_wait_for_a_disk_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failed: bool
) -> None:
    """Neither for the thread that writes nor for the note of the gap, and it says what is not kept."""
    monkeypatch.setattr(journals, "STALL", 200_000_000)
    monkeypatch.setattr(journals, "LAST_WORD", 100_000_000)
    stuck = threading.Event()

    async def run() -> float:
        disk, clock, alarms = Memory(), Ticking(), list[str]()
        running = await started(tmp_path, clock, storage=disk, alarms=alarms)

        def wait(operation: str, name: str) -> None:
            stuck.wait(30)

        if failed:
            running._fail("the disk does not answer", clock())
        disk.fail = wait
        if not failed:
            running.event(RecordKind.CONFIG, {"event": "reload"}, clock())
        began = time.monotonic()
        await running.stop()
        took = time.monotonic() - began
        assert "what is known of the gap" in alarms[-1]
        assert running.status()["failed"] == "the disk does not answer"
        note = json.loads(running._lapse.note(clock(), running._backlog.queued))
        assert note["missed"].get("record", 0) == (0 if failed else running._backlog.queued)
        return took

    try:
        began = time.monotonic()
        assert asyncio.run(run()) < 5
        assert time.monotonic() - began < 8, "nor does the end of the loop wait for a thread of its pool"
    finally:
        stuck.set()


# what is told of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["held", "full"])
def test_writes_that_are_refused_with_nothing_lost_are_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    async def run() -> None:
        clock, signer = Clock(), Signer(world.KEY, world.ORIGIN)
        running = await started(tmp_path, clock, signer=signer)
        with monkeypatch.context() as changed:
            if why == "held":
                signer.held = Hold("log_unconfirmed", "nobody has answered", writes=False)
            else:
                changed.setattr(Log, "full", property(lambda _: True))
            refused = await running.intent(caller(), (writing(),), (ALLOW,), clock())
            code = "log_unconfirmed" if why == "held" else "journal_disk_full"
            assert refused == NotRecorded(code)
            clock.forward(2)
            await asyncio.sleep(0.05)
            assert running.status()["missed"] == {}
            assert running.status()["refused"] == {code: 1}
        signer.held = None
        assert isinstance(await running.intent(caller(), (writing(),), (ALLOW,), clock()), Durable)
        await running.stop()

    asyncio.run(run())
    assert of_kind(tmp_path, "gap") == []


def test_a_write_that_was_given_up_and_landed_is_no_gap(tmp_path: Path) -> None:
    """Its intent is on record, and that it was not sent."""

    async def run() -> None:
        disk, clock, stuck = Memory(), Clock(), threading.Event()
        running = await started(tmp_path, clock, storage=disk)

        def wait(operation: str, name: str) -> None:
            stuck.wait(20)

        disk.fail = wait
        receipt = asyncio.ensure_future(running.intent(caller(), (writing(),), (ALLOW,), clock()))
        await asyncio.sleep(0.03)
        clock.forward(backlog.INTENT_WAIT / 1e9 + 1)
        assert await receipt == NotRecorded("journal_slow")
        stuck.set()

        def held() -> bytes:
            return b"".join(bytes(node.cached) for node in disk.files.values())

        await until(lambda: b'"status":"not_sent"' in held())
        clock.forward(2)
        await running.stop()
        assert running.status()["refused"] == {"journal_slow": 1}
        assert b'"kind":"gap"' not in held()

    asyncio.run(run())


def test_reads_that_found_no_window_are_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "first", lambda *_: None)

    async def run() -> None:
        clock = Clock()
        running = await started(tmp_path, clock)
        assert not isinstance(running.read(caller(), reading(), READ_OK, clock()), Accepted)
        running._lapse.missed["intent"] += 2
        await running.stop()

    asyncio.run(run())
    assert [each["note"] for each in of_kind(tmp_path, "gap")] == [
        {"why": "windows_full", "missed": {"read": 1}},
        {"why": "queue_full", "missed": {"intent": 2}},
    ]


@pytest.mark.parametrize("left", [b"", bytes(GAP_BYTES), b" " * 512 + bytes(GAP_BYTES - 512)])
def test_a_note_that_a_power_cut_zeroed_is_no_gap(tmp_path: Path, left: bytes) -> None:
    world.journal(tmp_path, Clock()).open()
    (tmp_path / GAP).write_bytes(left)
    assert world.journal(tmp_path, Clock()).open().gap is False
    (tmp_path / GAP).write_bytes(b'{"why":"EIO","mis' + bytes(100))
    assert world.journal(tmp_path, Clock()).open().gap is True, "half a note is one"


def test_the_room_for_the_note_is_on_the_disk_before_it_is_needed() -> None:
    disk = Memory()
    gap.clear(disk)
    assert bytes(disk.files[GAP].stable) == b" " * GAP_BYTES
    assert disk.files[GAP].named


# where it lies ---------------------------------------------------------------------------------------------


def test_the_name_of_a_new_journal_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is synced in a folder whose own name is not would be gone with it."""
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr("gateway.audit.storage.os.fsync", fsync)
    Disk(tmp_path / "a" / "b" / "journal")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    synced.clear()
    (tmp_path / "c").mkdir()  # by somebody who did not sync it
    Disk(tmp_path / "c")
    assert synced == [str(tmp_path)]
    synced.clear()
    with DataFolder(tmp_path / "data") as folder:
        folder.sub("journal")
    assert synced.index(str(tmp_path)) < synced.index(str(tmp_path / "data"))
