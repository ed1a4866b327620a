"""A slow disk, and one that stops answering: slow is not failed, silent for ten seconds is (must hold 2).

What happens between, where an intent waits longer than its two seconds, is in test_journal_unwritable.py.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .site import Client, Site, after_last_start, until, value
from .test_journal_unwritable import NOT_RECORDED

pytestmark = pytest.mark.needs("strace")

DELAY_S = 0.3
"Of every fdatasync; a quiet disk takes a tenth of a millisecond."
WRITERS = 6
READS_S = 2


def slow(site: Site, strace: str, inject: str) -> None:
    """Run it with every fdatasync as `inject` says."""
    words = ("-D", "-f", "-qq", "-o", str(site.folder / "trace"), "-e", "trace=fdatasync", "-e")
    site.run(strace, *words, f"inject=fdatasync:{inject}")


def test_a_slow_disk_makes_writes_slow_and_nothing_else(
    tmp_path: Path, component: Callable[[str], str]
) -> None:
    """All that wait are written by one sync, so six writers are as fast as one; reads wait for nobody."""
    with Site(tmp_path, writes_60s=9_000, in_flight=4) as site:
        slow(site, component("strace"), f"delay_enter={int(DELAY_S * 1e6)}:when=30+")
        clients = [site.client("hmi-1") for _ in range(WRITERS)]
        until("the disk is slow", lambda: _seconds(clients[0]) > DELAY_S, 30)
        took: list[float] = []
        threads = [threading.Thread(target=lambda c=c: took.append(_seconds(c))) for c in clients]
        view = site.client("view-1")
        for thread in threads:
            thread.start()
        longest = 0.0
        while any(thread.is_alive() for thread in threads):
            asked = time.monotonic()
            assert view.read(5) == value(5)
            longest = max(longest, time.monotonic() - asked)
        assert len(took) == WRITERS, "each was confirmed"
        assert longest < DELAY_S, "a read never waits for the disk"
        assert max(took) < 2, "they shared a sync"
        assert site.status()["journal"]["failed"] is None


def _seconds(client: Client) -> float:
    """How long one confirmed write took."""
    began = time.monotonic()
    assert client.write(10, int(began) & 0xFFFF)[0] == 6
    return time.monotonic() - began


def test_a_disk_that_stops_answering_has_failed(tmp_path: Path, component: Callable[[str], str]) -> None:
    """One sync takes 14 seconds: after ten the journal believes it no more, though it succeeds in the end."""
    with Site(tmp_path, audit=f"reads_without_journal: {READS_S}s", writes_60s=9_000) as site:
        slow(site, component("strace"), "delay_enter=14000000:when=60")
        hmi, view = site.client("hmi-1"), site.client("view-1")
        confirmed = 0
        while hmi.write(10, confirmed) != NOT_RECORDED:
            confirmed += 1
        assert site.plant is not None
        assert len(site.plant.written) == confirmed
        until("it has failed", lambda: site.status()["journal"]["failed"], 15)
        assert "does not answer" in site.status()["journal"]["failed"]
        assert hmi.write(10, 5) == NOT_RECORDED
        until("reads stop", lambda: view.read(5) == b"\x83\x04", READS_S + 5)
        until("the sync returns", lambda: "DELAYED" in (site.folder / "trace").read_text(), 20)
        assert hmi.write(10, 5) == NOT_RECORDED, "what was late is not believed"
        assert len(site.plant.written) == confirmed
        site.end()
        site.run()
        gap = next(each for each in after_last_start(site.records()) if each["kind"] == "gap")["note"]
        assert "does not answer" in gap["why"]
        assert site.client("hmi-1").write(10, 7)[0] == 6
        site.end()
        assert site.verify()["open_intent_count"] == 0
