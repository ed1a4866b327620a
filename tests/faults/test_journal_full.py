"""Somebody else fills the disk (must hold 2); what the journal fills is in test_journal_unwritable.py."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import ROOT, Site, after_last_start, until, value
from .test_journal_unwritable import NOT_RECORDED, write_until_refused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Its data folder is a file system of 12 MiB."""
    with Site(tmp_path, writes_60s=9_000) as site:
        site.data.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(site.data)]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("no mounting here")
        try:
            yield site
        finally:
            site.kill()
            subprocess.run(["umount", "-l", str(site.data)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            return path
    return path


def test_writes_stop_before_a_record_is_cut_short_and_go_on_when_there_is_room(site: Site) -> None:
    """The space of the next records was taken before: what is confirmed until then is kept."""
    site.run()
    assert site.plant is not None
    hmi = site.client("hmi-1")
    assert hmi.write(10, 1)[0] == 6
    until("little room is told", lambda: site.status()["journal"]["low_space"])
    filler = fill(site.data)
    confirmed = write_until_refused(hmi)
    assert confirmed > 3, "there was head-room"
    assert "No space" in site.status()["journal"]["failed"]
    assert hmi.write(10, 2) == NOT_RECORDED
    assert hmi.read(5) == value(5), "reads go on for a while"
    filler.unlink()
    assert hmi.write(10, 3) == NOT_RECORDED, (
        "room alone does not mend it: a person looks, and starts it again"
    )
    written = list(site.plant.written)
    assert len(written) == confirmed + 1
    site.end()
    site.run()
    run = list(after_last_start(site.records()))
    assert any(each["kind"] == "gap" and "No space" in each["note"]["why"] for each in run)
    assert site.client("hmi-1").write(10, 4)[0] == 6
    site.end()
    assert site.verify()["open_intent_count"] == 0
    values = [each["what"]["modbus"]["values"] for each in site.records("intent") if each["what"]["modbus"]]
    for pdu in written:
        assert [pdu[3] << 8 | pdu[4]] in values, "every act has its intent"


def test_a_gateway_does_not_start_without_room_for_its_journal(site: Site) -> None:
    site.run()
    site.end()
    filler = fill(site.data)
    refused = subprocess.run(
        [sys.executable, "-m", "gateway", "run", "-c", str(site.config)],
        cwd=site.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode != 0
    assert "No space left" in refused.stderr + refused.stdout
    filler.unlink()
    site.run()
    assert site.client("hmi-1").write(10, 4)[0] == 6
    site.end()
    site.verify()
