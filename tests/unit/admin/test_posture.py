"""Stages, mode, windows and broken glass: how long they hold, across restarts, and with a damaged file."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.admin.impossible import Impossible
from gateway.admin.posture import MOST_GLASS_MINUTES, MOST_OPEN, OPENING, Opening
from gateway.model.stage import Stage
from tests.pki import Pki
from tests.unit.admin.people import WINDOWS, Site

ANN = "spiffe://demo.example/person/admin-ann"


@pytest.fixture
def site(pki: Pki, tmp_path: Path) -> Site:
    return Site(pki, tmp_path)


def refuses(code: str) -> pytest.RaisesExc[Impossible]:
    return pytest.raises(Impossible, check=lambda error: error.code == code)


STAGES = [
    (None, None, Stage.ENFORCE),
    (Stage.OBSERVE, None, Stage.OBSERVE),
    (None, Stage.MONITOR, Stage.MONITOR),
    (Stage.OBSERVE, Stage.MONITOR, Stage.MONITOR),
    (Stage.ENFORCE, Stage.OBSERVE, Stage.ENFORCE),
    (Stage.OBSERVE, Stage.ENFORCE, Stage.ENFORCE),
]


@pytest.mark.parametrize(("listener", "asset", "holds"), STAGES)
def test_the_stricter_of_listener_and_asset_holds(
    pki: Pki, tmp_path: Path, listener: Stage | None, asset: Stage | None, holds: Stage
) -> None:
    site = Site(pki, tmp_path)
    site.stages = {"listener:modbus": listener, "asset:plc-1": asset}
    site.restart()
    assert site.posture.of("modbus", "plc-1") is holds
    assert site.posture.of("other", "plc-9") is Stage.ENFORCE
    assert site.posture.of("other", None) is Stage.ENFORCE


def test_what_was_set_survives_until_the_file_says_otherwise(site: Site) -> None:
    told = site.posture.set_stage("listener:modbus", Stage.MONITOR, ANN, site.clock())
    assert told == {"scope": "listener:modbus", "value": "monitor", "before": "observe"}
    site.posture.set_mode("maintenance", ANN, site.clock())
    site.restart()
    assert site.posture.of("modbus", None) is Stage.MONITOR
    assert site.posture.mode == "maintenance"
    site.stages = {"listener:modbus": Stage.ENFORCE, "asset:plc-1": None}
    site.mode = "commissioning"
    site.restart()
    assert site.posture.of("modbus", None) is Stage.ENFORCE
    assert site.posture.mode == "commissioning"


def test_only_listeners_and_assets_that_are_there_have_a_stage(site: Site) -> None:
    for scope in ("listener:other", "asset:", "mode", "", "plc-1"):
        with refuses("unknown_scope"):
            site.posture.set_stage(scope, Stage.OBSERVE, ANN, site.clock())


def test_a_window_is_open_for_its_time(site: Site) -> None:
    site.posture.open_window("vendor-visit", 60, ANN, site.clock())
    site.clock.advance(3599)
    assert site.posture.windows(site.clock()) == ("vendor-visit",)
    site.clock.advance(1)
    assert site.posture.windows(site.clock()) == ()
    site.posture.sweep(site.clock())
    assert site.journal.notes[-1]["event"] == "window over"
    assert site.store.read(OPENING, Opening) == {}
    told = len(site.story)
    site.posture.sweep(site.clock())
    assert len(site.story) == told


def test_opening_it_again_begins_its_time_anew(site: Site) -> None:
    site.posture.open_window("vendor-visit", 60, ANN, site.clock())
    site.clock.advance(1800)
    site.posture.open_window("vendor-visit", 60, ANN, site.clock())
    site.clock.advance(3000)
    assert site.posture.windows(site.clock()) == ("vendor-visit",)
    assert len(site.store.read(OPENING, Opening)) == 1


def test_a_window_must_be_offered_and_no_longer_than_policy_says(site: Site) -> None:
    for name in ("working-hours", "no-such"):
        with refuses("unknown_window"):
            site.posture.open_window(name, 1, ANN, site.clock())
    with refuses("too_long"):
        site.posture.open_window("vendor-visit", 121, ANN, site.clock())
    with refuses("not_open"):
        site.posture.close_window("vendor-visit", site.clock())
    site.posture.open_window("vendor-visit", 120, ANN, site.clock())
    site.windows = {**WINDOWS, "vendor-visit": {**WINDOWS["vendor-visit"], "on_request": False}}
    assert site.posture.windows(site.clock()) == ()


def test_broken_glass_is_personal_alarmed_and_ends(site: Site) -> None:
    told = site.posture.break_glass(ANN, 30, "tank 2 runs over", site.clock())
    assert site.alarms == ["admin.break_glass"]
    assert site.posture.broken(site.clock()) == ((ANN, told["id"]),)
    shown = site.posture.status(site.clock())["break_glass"]
    assert (shown[0]["by"], shown[0]["reason"]) == (ANN, "tank 2 runs over")
    site.posture.break_glass(ANN, 30, "still", site.clock())
    assert len(site.posture.broken(site.clock())) == 1
    site.clock.advance(1799)
    assert site.posture.broken(site.clock())
    site.clock.advance(1)
    assert site.posture.broken(site.clock()) == ()
    with refuses("not_broken"):
        site.posture.end_glass(ANN, site.clock())


def test_what_is_open_survives_for_what_is_left_of_its_time(site: Site) -> None:
    site.posture.break_glass(ANN, 30, "tank 2 runs over", site.clock())
    site.posture.open_window("vendor-visit", 60, ANN, site.clock())
    site.clock.advance(1000)
    site.restart()
    assert len(site.posture.broken(site.clock())) == 1
    site.clock.advance(800)
    assert site.posture.broken(site.clock()) == ()
    assert site.posture.windows(site.clock()) == ("vendor-visit",)


def test_after_a_restart_an_untrusted_or_earlier_clock_leaves_nothing_open(site: Site) -> None:
    site.posture.break_glass(ANN, 30, "tank 2 runs over", site.clock())
    good = site.clock()
    for odd in (replace(good, trusted=False), replace(good, wall_ns=good.wall_ns - 1)):
        site.clock = lambda odd=odd: odd  # type: ignore[assignment] # a clock that stands still
        site.restart()
        assert site.posture.broken(odd) == ()


def test_a_row_that_somebody_wrote_lasts_no_longer_than_one_that_we_did(site: Site) -> None:
    now = site.clock()
    site.posture.break_glass(ANN, 30, "tank 2 runs over", now)
    ((name, opening),) = site.store.read(OPENING, Opening).items()
    site.store.write([(OPENING, name, replace(opening, until_ns=now.wall_ns + 10**18))])
    site.restart()
    site.clock.advance(MOST_GLASS_MINUTES * 60)
    assert site.posture.broken(site.clock()) == ()


def test_with_a_damaged_file_all_is_enforced_and_nothing_is_open(site: Site) -> None:
    site.posture.set_mode("maintenance", ANN, site.clock())
    site.posture.break_glass(ANN, 30, "tank 2 runs over", site.clock())
    site.posture.open_window("vendor-visit", 60, ANN, site.clock())
    site.store.close()
    site.file.write_bytes(b"\xff" * 8192)
    for extra in ("-wal", "-shm"):
        site.file.with_name(site.file.name + extra).unlink(missing_ok=True)
    site.alarms.clear()
    site.restart()
    assert site.alarms == ["admin.store_damaged"]
    assert site.posture.of("modbus", "plc-1") is Stage.ENFORCE  # although the configuration says observe
    assert site.posture.mode == "run"
    assert site.posture.windows(site.clock()) == ()
    assert site.posture.broken(site.clock()) == ()
    assert site.posture.status(site.clock())["damaged"]
    with refuses("not_kept"):
        site.posture.set_stage("listener:modbus", Stage.OBSERVE, ANN, site.clock())
    assert site.file.read_bytes() == b"\xff" * 8192


def test_so_much_is_open_at_once(site: Site) -> None:
    for number in range(MOST_OPEN):
        site.posture.break_glass(f"spiffe://demo.example/person/p{number}", 1, "drill", site.clock())
    with refuses("too_many"):
        site.posture.open_window("vendor-visit", 60, ANN, site.clock())
    site.posture.break_glass("spiffe://demo.example/person/p0", 1, "again", site.clock())
