"""The clock jumps under a running gateway: reads go on by the monotonic clock, writes only for a grace.

faketime's library reads how far to be off from a file, again and again; the monotonic clock is left alone.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .site import Site, after_last_start, until, value
from .test_stale_trust import DENIED, WRITTEN, polling_goes_on

pytestmark = pytest.mark.needs("faketime")

GRACE_S = 2


@pytest.mark.parametrize("jump", ["-3d", "+400d"])
def test_writes_stop_after_the_grace_and_come_back_with_the_time(
    tmp_path: Path, component: Callable[[str], str], jump: str
) -> None:
    asked = [component("faketime"), "-m", "2026-11-23 00:00:00", "printenv", "LD_PRELOAD"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    off = tmp_path / "off"
    off.write_text("+0\n")
    with Site(tmp_path, more=f"clock: {{grace: {GRACE_S}s}}\n", writes_60s=9_000) as site:
        site.run(
            env={
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": str(off),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        )
        hmi = site.client("hmi-1")
        assert hmi.write(10, 7) == WRITTEN
        off.write_text(f"{jump}\n")
        until("the jump is seen", lambda: site.status()["clock"]["state"] == "untrusted")
        until("writes are denied", lambda: hmi.write(10, 7) == DENIED, GRACE_S + 10)
        assert hmi.read(5) == value(5), "reads go on, on the same connection"
        assert site.client("view-1").read(5) == value(5), "nobody's certificate is judged by that time"
        polling_goes_on(site)
        off.write_text("+0\n")
        until("and come back with the time", lambda: hmi.write(10, 7) == WRITTEN)
        site.end()
        run = list(after_last_start(site.records()))
        assert {record["clock"] for record in run} == {"trusted", "untrusted"}
        mono = [record["mono_ns"] for record in run if record["kind"] in ("intent", "denial")]
        assert mono == sorted(mono), "in order by the monotonic clock"
        assert site.verify()["ok"]
