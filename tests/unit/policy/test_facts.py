"""Windows: wall-clock time in the window's own zone, past midnight and over the change of summer time."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.model.moment import SECOND
from gateway.policy.facts import windows_now
from tests.policy.questions import shipped

WEEK = ["mon", "tue", "wed", "thu", "fri"]
WINDOWS = {
    "day": {"days": WEEK, "from": "06:00", "to": "14:00", "zone": "Europe/Berlin"},
    "night": {"days": ["fri"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"},
    "far": {"days": WEEK, "from": "06:00", "to": "14:00", "zone": "Asia/Tokyo"},
}

CASES = [
    # Berlin time, open windows; 2026-11-23 is a Monday
    ("2026-11-23 05:59:59", ("far",)),
    ("2026-11-23 06:00:00", ("day",)),
    ("2026-11-23 13:59:59", ("day",)),
    ("2026-11-23 14:00:00", ()),
    ("2026-11-22 22:00:00", ("far",)),  # Sunday there, Monday 06:00 in Tokyo
    ("2026-11-21 07:00:00", ()),  # a Saturday
    ("2026-11-20 22:00:00", ("night",)),
    ("2026-11-21 05:59:59", ("night",)),  # Saturday morning still belongs to Friday's night
    ("2026-11-21 06:00:00", ()),
    ("2026-11-20 05:00:00", ("far",)),  # Friday morning belongs to Thursday's night, which is none
    ("2026-03-27 06:30:00", ("day",)),  # before summer time
    ("2026-03-30 06:30:00", ("day", "far")),  # after: an hour earlier by UTC, so still 13:30 in Tokyo
]


@pytest.mark.parametrize(("said", "open_windows"), CASES)
def test_open_windows(said: str, open_windows: tuple[str, ...]) -> None:
    moment = datetime.fromisoformat(said).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert windows_now(WINDOWS, int(moment.timestamp()) * SECOND) == open_windows


ON_REQUEST: dict[str, dict[str, Any]] = {**WINDOWS, "vendor": {"on_request": True, "most_minutes": 240}}


@pytest.mark.parametrize(
    ("opened", "open_windows"),
    [
        ((), ("day",)),
        (("vendor",), ("day", "vendor")),
        (("vendor", "vendor"), ("day", "vendor")),
        (("night", "far"), ("day",)),  # those the clock opens, nobody else
        (("unknown",), ("day",)),
    ],
)
def test_people_open_only_windows_on_request(opened: tuple[str, ...], open_windows: tuple[str, ...]) -> None:
    monday = datetime(2026, 11, 23, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert windows_now(ON_REQUEST, int(monday.timestamp()) * SECOND, opened) == open_windows


def test_a_boot_in_1970_is_no_error() -> None:
    assert windows_now(WINDOWS, 0) == ("far",)  # a Thursday, 09:00 in Tokyo


def test_no_windows_are_none() -> None:
    assert windows_now({}, 1_795_400_000 * SECOND) == ()


def test_the_shipped_windows_can_be_read() -> None:
    monday = datetime(2026, 11, 23, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert windows_now(shipped().data["windows"], int(monday.timestamp()) * SECOND) == ("working-hours",)
