"""A long log does not make a slow start (issue 5, must hold 2): a start reads its end, not all of it.

    TORTURE_RECORDS=10000000 python -m pytest tests/faults/test_journal_at_scale.py

The records are made through the log itself, in large batches; they are as large as a small real one.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.audit.carry import NAMES
from gateway.audit.log import SEGMENTS, Log
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk, DiskFile
from tests.unit.audit import world

from .site import Site

RECORDS = int(os.environ.get("TORTURE_RECORDS", "300000"))
"`make torture` sets ten million: about 2.5 GB in the test's folder."
SEGMENT = 4 << 20 if RECORDS < 1_000_000 else 64 << 20
"As shipped where the log is long; small enough for many segments where it is not."
BATCH = 2000
ORIGIN = "demo.example/gw-1"
"Of the site's log."
READY_S = 10.0
MOST_READ = 3 * SEGMENT + (1 << 20)
"Bytes that a start may read: the last two segments, twice the unsigned tail, and what is small."


class Counting(Disk):
    """The disk, which counts what is read of it and how many files are open at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read_bytes = self.open_files = self.most_open = 0

    def open(self, name: str) -> DiskFile:
        self.open_files += 1
        self.most_open = max(self.most_open, self.open_files)
        return CountingFile(self, super().open(name))

    def read(self, name: str) -> bytes | None:
        data = super().read(name)
        self.read_bytes += len(data or b"")
        return data


class CountingFile(DiskFile):
    """One of its files."""

    __slots__ = ("_disk",)

    def __init__(self, disk: Counting, file: DiskFile) -> None:
        super().__init__(file._fd)
        self._disk = disk

    def pread(self, count: int, offset: int) -> bytes:
        data = super().pread(count, offset)
        self._disk.read_bytes += len(data)
        return data

    def close(self) -> None:
        self._disk.open_files -= 1
        super().close()


def fill(log: Log, count: int) -> None:
    """So many records, a checkpoint every 2,000: a second's worth on a busy site."""
    filler = "x" * 90
    encode = msgspec.json.Encoder().encode
    for start in range(log.size, log.size + count, BATCH):
        log.append(
            [
                encode(
                    {
                        "schema": "dmz.record/1",
                        "id": f"01JD{number:022d}",
                        "kind": "config",
                        "wall_ns": world.WALL + number,
                        "clock": "trusted",
                        "pad": filler,
                    }
                )
                for number in range(start, start + BATCH)
            ]
        )
        log.prepare()
        log.checkpoint()


def signer(site: Site) -> Signer:
    return Signer.load(site.folder / "pki/plant/issued/log-1.key", ORIGIN)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway whose log has `RECORDS` records, ended without a word."""
    with Site(tmp_path_factory.mktemp("long"), audit=f"segment: {SEGMENT >> 20}MiB") as site:
        site.data.mkdir(mode=0o700)
        (site.data / "format").write_text("1\n")
        log, _ = recover(Disk(site.data / "journal"), signer(site), SEGMENT)
        fill(log, RECORDS)
        log.close()
        yield site
        for path in (site.data / "journal" / SEGMENTS).glob("*.seg"):
            path.unlink()


def started(folder: Path, by: Signer) -> tuple[Counting, float]:
    """Open the journal as a start does; what it read, and how long it took."""
    disk = Counting(folder)
    journal = world.journal(folder, world.Clock(), storage=disk, signer=by, segment_bytes=SEGMENT)
    began = time.monotonic()
    journal.open()
    return disk, time.monotonic() - began


@pytest.mark.timeout(3600)
def test_a_start_reads_the_end_of_a_long_log_and_not_all_of_it(long: Site) -> None:
    folder = long.data / "journal"
    size = sum(path.stat().st_size for path in (folder / SEGMENTS).iterdir())
    disk, seconds = started(folder, signer(long))
    read = disk.read_bytes >> 20
    print(f"{RECORDS} records, {size >> 20} MiB: open in {seconds:.2f} s, {read} MiB read")  # noqa: T201 # with -s
    assert size > 2 * MOST_READ, "the log must be long for this to tell anything"
    assert disk.read_bytes < MOST_READ
    assert disk.most_open < 4 + len(NAMES), "segments are not kept open"
    assert seconds < READY_S


@pytest.mark.timeout(3600)
def test_the_gateway_is_ready_soon_after_a_long_log(long: Site) -> None:
    began = time.monotonic()
    long.run()
    seconds = time.monotonic() - began
    print(f"{RECORDS} records: the gateway is ready in {seconds:.2f} s")  # noqa: T201 # with -s
    try:
        assert long.client("hmi-1").write(10, 7)[0] == 6
        assert long.status()["journal"]["size"] > RECORDS
    finally:
        long.end()
    assert seconds < READY_S


def test_what_a_start_reads_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Twice as long: the second start reads no more."""
    by, small = Signer(world.KEY, world.ORIGIN), 4 << 20
    read: list[int] = []
    for _ in range(2):
        log, _ = recover(Disk(tmp_path), by, small)
        fill(log, 60_000)
        log.close()
        by = Signer(world.KEY, world.ORIGIN)
        disk, _ = started(tmp_path, by)
        read.append(disk.read_bytes)
    assert abs(read[1] - read[0]) <= small, read
