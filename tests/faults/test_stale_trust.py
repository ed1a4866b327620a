"""Invariant 11 on the whole process: stale lists, a boot in 1970, expired certificates. Polling never stops.

The gateway runs under faketime, so every wall clock that its program asks says the wrong time; what
test_moved_clock.py shows of `Clock` and `admit` alone, here the plant, the clients and the journal see.
"""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .site import Site, after_last_start, until, value

WRITTEN = bytes.fromhex("06000a0007")
DENIED = b"\x86\x01"
POLL = bytes.fromhex("03001e0001")
"What the collector of a site asks for, five times a second."


def polls(site: Site) -> int:
    """How often the plant was polled."""
    assert site.plant is not None
    return sum(adu[7:] == POLL for adu in site.plant.seen)


def polling_goes_on(site: Site) -> None:
    """Five polls from now on."""
    before = polls(site)
    until("polling goes on", lambda: polls(site) >= before + 5)


def faked(site: Site, faketime: str, moment: datetime) -> None:
    """Run the gateway with the machine's wall clock at that moment; it goes on from there.

    Not behind the faketime program, which stays in between and dies alone: with its library, which it names.
    """
    asked = [faketime, "-m", "2026-11-23 00:00:00", "printenv", "LD_PRELOAD"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    fake = {"FAKETIME": f"@{moment:%Y-%m-%d %H:%M:%S}", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}
    site.run(env={"LD_PRELOAD": library, "DONT_FAKE_MONOTONIC": "1", **fake})


def states(site: Site, kind: str) -> list[dict[str, Any]]:
    """What policy was told of the state when clients asked, in the records of that kind of the newest run."""
    return [
        record["why"]["input"]["state"]
        for record in after_last_start(site.records())
        if record["kind"] == kind and record["who"]["listener"] == "modbus-north"
    ]


def refused(site: Site, name: str) -> bool:
    """Whether a new connection gets no answer."""
    try:
        site.client(name).read(5)
    except (EOFError, OSError):
        return True
    return False


@pytest.fixture
def faketime(component: Callable[[str], str]) -> str:
    return component("faketime")


def ages(site: Site, days: int) -> None:
    """Sign the plant's list again, so that its nextUpdate lies so many days in the past."""
    site.pki.sign_crl("plant", site.pki.now - timedelta(days=30 + days))


def test_a_list_that_is_stale_within_its_grace_is_told_and_stops_nothing(tmp_path: Path) -> None:
    with Site(tmp_path, audit="window: 1s") as site:
        text = site.config.read_text().replace("crl_grace: 24h", "crl_grace: 72h")
        site.config.write_text(text)
        ages(site, 1)
        site.run()
        hmi = site.client("hmi-1")
        assert hmi.read(5) == value(5)
        assert hmi.write(10, 7) == WRITTEN
        polling_goes_on(site)
        assert site.status()["trust"][0]["crl"] == "stale"
        site.end()
        assert {state["crl"] for state in states(site, "intent")} == {"stale"}
        assert {state["crl"] for state in states(site, "window")} == {"stale"}


def test_invariant_11_a_list_beyond_its_grace_denies_writes_and_nothing_else(tmp_path: Path) -> None:
    with Site(tmp_path, audit="window: 1s") as site:
        ages(site, 2)
        site.run()
        hmi = site.client("hmi-1")
        assert hmi.read(5) == value(5)
        assert hmi.write(10, 7) == DENIED
        polling_goes_on(site)
        denial = site.wait_record("the denial", lambda record: record["kind"] == "denial")
        assert "guardrail.crl" in {reason["code"] for reason in denial["why"]["reasons"]}
        site.pki.sign_crl("plant")
        until("a fresh list counts on the live connection", lambda: hmi.write(10, 7) == WRITTEN, 5)
        assert hmi.read(5) == value(5)
        site.end()
        told = {state["crl"] for state in states(site, "window")}
        assert told == {"grace_over", "fresh"}, "each window has one of both"


@pytest.mark.needs("faketime")
def test_a_boot_in_1970(tmp_path: Path, faketime: str) -> None:
    grace_s = 4
    more = f"clock: {{grace: {grace_s}s}}\n"
    with Site(tmp_path, audit="window: 1s", more=more, writes_60s=9_000) as site:
        site.run()
        site.end()
        faked(site, faketime, datetime(1970, 1, 1, 0, 10, tzinfo=UTC))
        hmi = site.client("hmi-1")
        assert hmi.write(10, 7) == WRITTEN, "within the grace"
        assert hmi.read(5) == value(5)
        assert site.status()["clock"]["state"] == "untrusted"
        until("the grace ends", lambda: hmi.write(10, 7) == DENIED, grace_s + 10)
        assert hmi.read(5) == value(5), "reads go on, on the same connection"
        assert site.client("view-1").read(5) == value(5), "and whoever comes gets in"
        assert site.status()["clock"]["state"] == "grace_over"
        polling_goes_on(site)
        site.pki.revoke("plant", "view-1")
        until("and whoever is revoked does not", lambda: refused(site, "view-1"))
        site.end()
        run = list(after_last_start(site.records()))
        assert {record["clock"] for record in run[1:]} == {"untrusted"}
        assert datetime.fromtimestamp(run[1]["wall_ns"] / 1e9, UTC).year == 1970, "the clock was really moved"
        assert {state["clock"] for state in states(site, "window")} == {"untrusted", "grace_over"}
        denials = [record["why"]["reasons"] for record in run if record["kind"] == "denial"]
        assert {reason["code"] for reasons in denials for reason in reasons} == {"guardrail.clock"}
        assert site.verify()["ok"]
        site.run()
        assert site.client("hmi-1").write(10, 7) == WRITTEN, "the clock is right again"


@pytest.mark.needs("faketime")
def test_a_boot_in_1970_of_a_gateway_that_never_ran(tmp_path: Path, faketime: str) -> None:
    """Nothing but the release says which time it cannot be; younger certificates are not valid yet."""
    with Site(tmp_path) as site:
        faked(site, faketime, datetime(1970, 1, 1, 0, 10, tzinfo=UTC))
        polling_goes_on(site)
        assert site.status()["clock"]["state"] == "untrusted"
        assert site.verify()["ok"]


@pytest.mark.needs("faketime")
def test_the_journal_knows_the_time_where_the_state_file_is_lost(tmp_path: Path, faketime: str) -> None:
    """A clock set back to before the newest record is not believed, even if nothing else says so."""
    with Site(tmp_path) as site:
        site.run()
        site.end()
        (site.data / "state" / "clock").unlink()
        faked(site, faketime, site.pki.now - timedelta(days=10))
        assert site.status()["clock"]["state"] == "untrusted"


@pytest.mark.needs("faketime")
def test_invariant_11_an_expired_gateway_certificate_alarms_and_polling_goes_on(
    tmp_path: Path, faketime: str
) -> None:
    with Site(tmp_path, gateway_days=20) as site:
        site.run()
        site.end()
        faked(site, faketime, site.pki.now + timedelta(days=21))
        polling_goes_on(site)
        alarm = site.wait_record(
            "the alarm",
            lambda record: (
                record["kind"] == "lifecycle"
                and record["note"].get("level") == "expired"
                and record["note"]["name"] == "certificate pki/plant/issued/gw-1.pem"
            ),
        )
        assert alarm["note"]["days_left"] < 0
        assert "gw-1.pem" in site.log_text()
        expiries = {each["name"]: each["days_left"] for each in site.status()["expiries"]}
        assert expiries["certificate pki/plant/issued/gw-1.pem"] < 0
        assert site.status()["clock"]["state"] == "trusted"


@pytest.mark.needs("faketime")
@pytest.mark.parametrize(("days_before", "level"), [(80, "90_days"), (20, "30_days"), (5, "7_days")])
def test_expiry_alarms_in_time(tmp_path: Path, faketime: str, days_before: int, level: str) -> None:
    with Site(tmp_path, gateway_days=100) as site:
        faked(site, faketime, site.pki.now + timedelta(days=100 - days_before))
        alarm = site.wait_record(
            "the alarm",
            lambda record: (
                record["kind"] == "lifecycle"
                and record["note"].get("name") == "certificate pki/plant/issued/gw-1.pem"
            ),
        )
        assert (alarm["note"]["level"], alarm["note"]["days_left"]) == (level, days_before - 1)
