"""What a start finds after a crash: intents without outcome, windows that were open, gaps."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import carry, framing, gap, generations
from gateway.audit.journal import Journal
from gateway.audit.reader import records
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk, Storage
from gateway.model.record import Accepted, Durable
from tests.unit.audit import world
from tests.unit.audit.test_journal import of_kind, started, told, until
from tests.unit.audit.world import ALLOW, READ_OK, Clock, caller, reading, writing


def crashed(journal: Journal) -> None:
    """As far as the disk can see: nothing more is written."""
    assert journal._timer is not None
    journal._timer.cancel()
    committer, journal._committer = journal._committer, None
    assert committer is not None
    committer.finish()  # what is under way lands; a test puts its own files in place only then
    while not committer.ended:
        time.sleep(0.001)


async def landed(journal: Journal) -> None:
    """Everything handed over is durable."""
    journal._tick()
    await until(lambda: journal._backlog.under_way == 0)


def test_an_intent_without_outcome_gets_the_outcome_unknown_once(tmp_path: Path) -> None:
    async def run() -> str:
        clock = Clock()
        journal = await started(tmp_path, clock)
        done = await journal.intent(caller(), (writing(),), (ALLOW,), clock())
        assert isinstance(done, Durable)
        journal.outcome(done, caller(), {"status": "ok"}, clock())
        await landed(journal)
        left = await journal.intent(caller(), (writing(),), (ALLOW,), clock())
        assert isinstance(left, Durable)
        crashed(journal)
        return left.record

    left = asyncio.run(run())
    found = world.journal(tmp_path, Clock(), seed=99).open()
    assert found.unknown == (left,)
    assert not found.clean
    last = of_kind(tmp_path, "outcome")[-1]
    assert (last["about"], last["result"]["status"]) == (left, "unknown")
    assert world.journal(tmp_path, Clock(), seed=100).open().unknown == ()


def test_open_windows_survive_a_crash_up_to_the_last_tick(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        operation, other = reading(), reading(start=50, tag="plc-1.flow")
        for _ in range(3):
            receipt = journal.read(caller(), operation, READ_OK, clock.forward(1))
            assert isinstance(receipt, Accepted)
            receipt.answered(b"\1")
            await landed(journal)
        second = journal.read(caller(), other, READ_OK, clock())
        assert isinstance(second, Accepted)
        second.failed("timeout")
        await landed(journal)
        receipt = journal.read(caller(), operation, READ_OK, clock())  # after the last tick: may be lost
        crashed(journal)

    asyncio.run(run())
    assert world.journal(tmp_path, Clock(), seed=99).open().windows == 1
    (window,) = of_kind(tmp_path, "window")
    assert window["note"]["recovered"] is True
    first, second = window["what"]["entries"]
    assert (first["asked"], first["answered"], first["failed"]) == (3, 3, 0)
    assert (second["asked"], second["answered"], second["failed"]) == (1, 0, 1)
    assert first["last_ns"] - first["first_ns"] == 2_000_000_000
    assert window["who"]["subject"] == "spiffe://plant.example/hmi-3"
    assert world.journal(tmp_path, Clock(), seed=100).open().windows == 0, "saved once"


def test_a_window_already_in_the_log_is_not_saved_again(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        receipt = journal.read(caller(), reading(), READ_OK, clock())
        assert isinstance(receipt, Accepted)
        receipt.answered(b"x")
        await landed(journal)
        side = {name: (tmp_path / name).read_bytes() for name in carry.NAMES}
        clock.forward(11)
        await until(lambda: of_kind(tmp_path, "window"))
        crashed(journal)
        for name, data in side.items():  # as if the row that closes it had not arrived
            (tmp_path / name).write_bytes(data)

    asyncio.run(run())
    assert world.journal(tmp_path, Clock(), seed=99).open().windows == 0
    assert len(of_kind(tmp_path, "window")) == 1


def cut_behind_the_first(folder: Path, kind: str) -> None:
    """As if power had failed before what follows the first record of that kind was on the disk."""
    (segment,) = (folder / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    scan = framing.Scan(lambda count, offset: bytes(data[offset : offset + count]), 0)
    next(each for each in scan if json.loads(each)["kind"] == kind)
    data[scan.offset :] = bytes(len(data) - scan.offset)
    segment.write_bytes(data)


def test_of_a_window_that_was_written_in_part_the_rest_is_saved_and_nothing_twice(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock, checkpoint_s=1000.0)
        for start in range(300):
            receipt = journal.read(caller(), reading(start=start), READ_OK, clock())
            assert isinstance(receipt, Accepted)
            receipt.answered(b"x")
        await landed(journal)
        side = {name: (tmp_path / name).read_bytes() for name in carry.NAMES}
        clock.forward(11)
        await until(lambda: len(of_kind(tmp_path, "window")) > 2)
        crashed(journal)
        for name, data in side.items():
            (tmp_path / name).write_bytes(data)

    asyncio.run(run())
    side = {name: (tmp_path / name).read_bytes() for name in carry.NAMES}
    cut_behind_the_first(tmp_path, "window")
    assert world.journal(tmp_path, Clock(), seed=99).open().windows == 1

    def starts() -> list[int]:
        entries = [e for w in of_kind(tmp_path, "window") for e in w["what"]["entries"]]
        assert {e["asked"] for e in entries} == {1}
        return [e["input"]["modbus"]["start"] for e in entries]

    assert starts() == list(range(300))
    for name, data in side.items():  # power fails again, before the side file was emptied
        (tmp_path / name).write_bytes(data)
    assert world.journal(tmp_path, Clock(), seed=100).open().windows == 0
    assert starts() == list(range(300))


def test_tiles_are_not_believed_where_the_newest_checkpoint_ends_a_segment(tmp_path: Path) -> None:
    """They are never synced: after a power cut one may be anything."""
    signer = Signer(world.KEY, world.ORIGIN)
    log, _ = recover(Disk(tmp_path), signer, 1)
    for signed in (True, False, False):
        log.append([b"%d" % log.size + bytes(65_000) for _ in range(32)])  # a segment
        if signed:
            log.checkpoint()
    size, root = log.size, log.root()
    log.close()
    assert len(list((tmp_path / "segments").iterdir())) == 3
    (tmp_path / "tile/0/000.p/32").write_bytes(bytes(32 * 32))
    again, left = recover(Disk(tmp_path), Signer(world.KEY, world.ORIGIN), 1)
    assert (again.size, again.root(), left.rebuilt) == (size, root, True)
    again.close()


def test_the_side_file_stays_small_and_a_new_generation_keeps_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "SMALLEST_LIMIT", 2000)
    monkeypatch.setattr(generations, "MOST_AT_ONCE", 3)

    async def run() -> int:
        clock = Clock()
        journal = await started(tmp_path, clock, window_s=1000.0)
        operations = [reading(start=i) for i in range(20)]
        largest = 0
        for round_ in range(300):
            for operation in operations if round_ % 100 == 0 else operations[:5]:
                receipt = journal.read(caller(), operation, READ_OK, clock.forward(0.01))
                assert isinstance(receipt, Accepted)
                receipt.answered(b"x")
            await landed(journal)
            largest = max(largest, *((tmp_path / name).stat().st_size for name in carry.NAMES))
        assert journal._windows._generations.number > 2
        crashed(journal)
        return largest

    largest = asyncio.run(run())
    assert largest < 60_000
    world.journal(tmp_path, Clock(), seed=99).open()
    entries = {
        e["input"]["modbus"]["start"]: e["asked"]
        for w in of_kind(tmp_path, "window")
        for e in w["what"]["entries"]
    }
    assert entries == {start: 300 if start < 5 else 3 for start in range(20)}


@pytest.mark.parametrize("keep", [0, 10, 16, 20, 100, 500])
def test_a_torn_side_file_costs_rows_not_the_start(tmp_path: Path, keep: int) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        journal.read(caller(), reading(), READ_OK, clock())
        await landed(journal)
        crashed(journal)

    asyncio.run(run())
    for name in carry.NAMES:
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:keep] + b"\xff" * 30)
    world.journal(tmp_path, Clock(), seed=99).open()


def test_the_start_record_tells_what_was_found(tmp_path: Path) -> None:
    world.journal(tmp_path, Clock()).open()
    (segment,) = (tmp_path / "segments").glob("*.seg")
    size = len(list(records(tmp_path)))
    data = bytearray(segment.read_bytes())
    used = len(data.rstrip(b"\0"))
    data[used + 5 : used + 9] = b"torn"
    segment.write_bytes(data)
    found = world.journal(tmp_path, Clock(), seed=99).open()
    assert found.cut is not None
    start: dict[str, Any] = told(tmp_path)[size]
    assert start["note"]["event"] == "start"
    assert start["note"]["recovery"]["cut"]["index"] == size
    assert start["note"]["recovery"]["cut"]["bytes"] == found.cut.bytes
    assert start["note"]["recovery"]["clean"] is False


def test_a_gap_noted_by_the_last_run_is_told_by_the_next(tmp_path: Path) -> None:
    world.journal(tmp_path, Clock()).open()
    (tmp_path / "gap.json").write_text(json.dumps({"why": "Input/output error", "missed": {"read": 7}}))
    assert world.journal(tmp_path, Clock(), seed=99).open().gap
    (gap,) = of_kind(tmp_path, "gap")
    assert gap["note"]["missed"] == {"read": 7}
    assert (tmp_path / "gap.json").read_text().isspace(), "told once; its room is kept for the next"


def test_a_disk_that_hangs_takes_one_thread_for_the_gap_and_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else that waits in a thread (names, certificates, policy) must find one."""
    asked, back = [], threading.Event()

    def hangs(_: Storage, note: bytes) -> None:
        asked.append(note)
        back.wait(20)

    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        journal._fail("the disk does not answer", clock())
        monkeypatch.setattr(gap, "keep", hangs)
        for _ in range(50):
            clock.forward(1)
            journal._tick()
            await asyncio.sleep(0)
        assert len(asked) == 1
        back.set()
        await journal.stop()

    asyncio.run(run())
    first, last = json.loads(asked[0]), json.loads(asked[-1])
    assert last["to_ns"] - first["to_ns"] == 49_000_000_000, "and once more at the end"
