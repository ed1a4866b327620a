"""Expiry alarms: at 90, 30 and 7 days and at the end, each once (invariant 11)."""

from gateway.identity.expiry import DAY, Alarm, Expiries, Level

END = 1_800_000_000_000_000_000


def days(alarms: tuple[Alarm, ...]) -> list[tuple[str, Level, int]]:
    return [(alarm.name, alarm.level, alarm.days_left) for alarm in alarms]


def test_each_level_is_raised_once_on_the_way() -> None:
    expiries = Expiries()
    raised = []
    for left in range(100, -3, -1):
        raised += days(expiries.alarms([("gateway", END)], END - left * DAY))
    assert raised == [
        ("gateway", Level.DAYS_90, 90),
        ("gateway", Level.DAYS_30, 30),
        ("gateway", Level.DAYS_7, 7),
        ("gateway", Level.EXPIRED, 0),
    ]


def test_first_seen_late_raises_only_what_is_worst() -> None:
    alarms = Expiries().alarms([("a", END), ("b", END + 90 * DAY)], END - 5 * DAY)
    assert days(alarms) == [("a", Level.DAYS_7, 5)]


def test_a_renewed_certificate_starts_afresh_and_a_clock_gone_back_does_not() -> None:
    expiries = Expiries()
    assert len(expiries.alarms([("a", END)], END - DAY)) == 1
    assert expiries.alarms([("a", END)], END - 60 * DAY) == ()
    assert expiries.alarms([("a", END)], END - DAY) == ()
    assert expiries.alarms([("a", END + 400 * DAY)], END - DAY) == ()
    assert days(expiries.alarms([("a", END + 400 * DAY)], END + 399 * DAY)) == [("a", Level.DAYS_7, 1)]


def test_what_is_remembered_is_what_was_last_shown() -> None:
    expiries = Expiries()
    expiries.alarms([(str(n), END) for n in range(100)], END)
    expiries.alarms([("0", END)], END)
    assert len(expiries._raised) == 1
