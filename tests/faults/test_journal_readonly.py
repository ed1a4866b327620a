"""The journal's file system becomes read-only under a running gateway (issue 5, must hold 2).

A small ext4 in a file is mounted for it and then aborted, which is what the kernel itself does where a file
system says `errors=remount-ro`. Where nothing can be mounted, strace answers EROFS instead.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import find

from .site import Site, after_last_start, until, value
from .test_journal_unwritable import NOT_RECORDED, write_until_refused

READS_S = 3


@contextmanager
def aborted_ext4(site: Site) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    image = site.folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    site.data.mkdir()
    mkfs = shutil.which("mkfs.ext4")
    made = mkfs is not None and subprocess.run([mkfs, "-q", str(image)], check=False).returncode == 0
    if not made or not _mount("-o", "loop", str(image), str(site.data)):
        pytest.skip("no loop device here; the injected error stands in")
    try:
        site.run()
        yield (
            lambda: _done(_mount("-o", "remount,abort", str(site.data))),
            lambda: _done(_again(site, image)),
        )
    finally:
        site.kill()
        subprocess.run(["umount", "-l", str(site.data)], check=True)


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


def _again(site: Site, image: Path) -> bool:
    """What an operator does: stop, unmount, check, mount."""
    assert site.end() == 0
    subprocess.run(["umount", str(site.data)], check=True)
    subprocess.run(["e2fsck", "-fy", str(image)], check=False, capture_output=True)
    return _mount("-o", "loop", str(image), str(site.data))


def _done(worked: bool) -> None:
    assert worked


@contextmanager
def injected_error(site: Site) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Every pwrite of the journal fails from one on; it is there before anybody writes."""
    strace = find("strace")
    assert strace is not None
    site.run(
        *(strace, "-D", "-f", "-qq", "-o", str(site.folder / "trace")),
        *("-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EROFS:when=120+"),
    )
    yield lambda: None, lambda: _done(site.end() == 0)


WAYS: list[Any] = [
    pytest.param(aborted_ext4, marks=pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")),
    pytest.param(injected_error, marks=pytest.mark.needs("strace")),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_read_only_disk_stops_writes_bounds_reads_and_loses_nothing(tmp_path: Path, way: Any) -> None:
    with (
        Site(tmp_path, audit=f"reads_without_journal: {READS_S}s", writes_60s=9_000) as site,
        way(site) as (spoil, mend),
    ):
        assert site.plant is not None
        hmi, view = site.client("hmi-1"), site.client("view-1")
        for number in range(3):
            assert hmi.write(10, number)[0] == 6
        spoil()
        before = len(site.plant.written)
        confirmed = write_until_refused(hmi)
        failed_at = time.monotonic()
        assert len(site.plant.written) == before + confirmed, "the write that was refused did not go out"
        assert "ead-only" in site.status()["journal"]["failed"]
        assert view.read(5) == value(5), "reads go on"
        until("reads stop", lambda: view.read(5) == b"\x83\x04", READS_S + 10)
        assert READS_S - 1.5 < time.monotonic() - failed_at < READS_S + 2
        assert hmi.write(10, 9) == NOT_RECORDED
        written = list(site.plant.written)
        mend()
        site.run()
        assert site.client("hmi-1").write(10, 77)[0] == 6, "the new start writes again"
        run = list(after_last_start(site.records()))
        assert run[0]["note"]["recovery"]["clean"] is False
        site.end()
        assert site.verify()["open_intent_count"] == 0
        intents = [each for each in site.records("intent") if each["what"]["protocol"] == "modbus"]
        values = [each["what"]["modbus"]["values"] for each in intents]
        for pdu in written:
            assert [pdu[3] << 8 | pdu[4]] in values, "every act has its intent"
