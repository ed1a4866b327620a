"""When the wall clock is believed: 1970, jumps, restarts, full disks (invariant 11)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.settings import ClockSection
from gateway.model.moment import SECOND
from gateway.relay.clock import KEEP_EVERY_NS, MOST_DRIFT, RELEASED_NS, Clock

T0 = RELEASED_NS + 1_000_000 * SECOND
DAY = 86_400 * SECOND


class Hands:
    """Both clocks, moved by hand."""

    def __init__(self, wall: int = T0, mono: int = 5 * SECOND) -> None:
        self.wall, self.mono = wall, mono

    def move(self, ns: int) -> None:
        self.wall += ns
        self.mono += ns


Make = Callable[..., Clock]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "clock"


def clock(hands: Hands, state: Path, last_record_ns: int = 0, **section: int) -> Clock:
    return Clock(
        state, ClockSection(**section), last_record_ns, wall=lambda: hands.wall, mono=lambda: hands.mono
    )


def test_a_clock_that_runs_is_trusted_and_judges(state: Path) -> None:
    hands = Hands()
    subject = clock(hands, state)
    for _ in range(5):
        now = subject.now()
        assert (now.wall_ns, now.mono_ns, now.trusted, now.judge_ns) == (
            hands.wall,
            hands.mono,
            True,
            hands.wall,
        )
        assert subject.state(now) == "trusted"
        hands.move(DAY)


@pytest.mark.parametrize("source", ["release", "journal", "state"])
def test_a_boot_in_1970_is_judged_by_the_last_time_known_good(state: Path, source: str) -> None:
    floor = {"release": RELEASED_NS, "journal": T0 + 7, "state": T0 + 9}[source]
    if source == "state":
        state.write_bytes(b"%d\n" % floor)
    hands = Hands(wall=600 * SECOND)
    subject = clock(hands, state, last_record_ns=floor if source == "journal" else 0)
    hands.move(100 * SECOND)
    now = subject.now()
    assert (now.trusted, now.judge_ns, now.wall_ns) == (False, floor + 100 * SECOND, 700 * SECOND)
    hands.wall = T0 + DAY  # NTP has come
    assert subject.now().trusted


def test_the_grace_runs_from_the_first_doubt_and_ends_with_it(state: Path) -> None:
    hands = Hands(wall=0)
    subject = clock(hands, state, grace_s=3600)
    assert subject.state(subject.now()) == "untrusted"
    hands.move(3600 * SECOND)
    assert subject.state(subject.now()) == "untrusted"
    hands.move(1)
    assert subject.state(subject.now()) == "grace_over"
    hands.wall = T0
    assert subject.state(subject.now()) == "trusted"
    hands.wall = 0
    assert subject.state(subject.now()) == "untrusted"


@pytest.mark.parametrize("direction", [1, -1])
def test_a_jump_is_not_believed_and_time_goes_on_by_the_monotonic_clock(state: Path, direction: int) -> None:
    hands = Hands()
    subject = clock(hands, state, jump_s=60)
    subject.now()
    hands.wall += direction * 60 * SECOND
    assert subject.now().trusted, "exactly jump_s is not beyond it"
    hands.wall += direction
    now = subject.now()
    assert (now.trusted, now.judge_ns) == (False, T0 + direction * 60 * SECOND)
    hands.move(5 * SECOND)
    assert subject.now().judge_ns == T0 + direction * 60 * SECOND + 5 * SECOND
    hands.wall -= direction * 30 * SECOND
    assert subject.now().trusted, "it came back"


def test_small_steps_add_up_only_as_slowly_as_crystals_part(state: Path) -> None:
    hands = Hands()
    subject = clock(hands, state, jump_s=60)
    subject.keep(subject.now())
    for _ in range(3):  # somebody walks the clock ahead, 25 seconds a minute
        hands.move(KEEP_EVERY_NS)
        hands.wall += 25 * SECOND
        subject.keep(subject.now())
    assert not subject.now().trusted

    honest = Hands()
    subject = clock(honest, state.with_name("other"), jump_s=60)
    for _ in range(2000):  # an honest clock parts by 100 ppm: 7 minutes over this time
        honest.move(3600 * SECOND)
        honest.wall += 3600 * SECOND // (2 * MOST_DRIFT)
        now = subject.now()
        assert now.trusted
        subject.keep(now)


def test_the_last_time_known_good_survives_a_restart_and_is_written_once_a_minute(state: Path) -> None:
    hands = Hands()
    subject = clock(hands, state)
    subject.keep(subject.now())
    assert int(state.read_bytes()) == T0
    hands.move(KEEP_EVERY_NS - 1)
    subject.keep(subject.now())
    assert int(state.read_bytes()) == T0
    hands.move(1)
    subject.keep(subject.now())
    assert int(state.read_bytes()) == T0 + KEEP_EVERY_NS
    again = clock(Hands(wall=T0 + KEEP_EVERY_NS - 1), state)
    assert not again.now().trusted, "a nanosecond before the last time known good"


def test_an_untrusted_time_is_never_kept(state: Path) -> None:
    hands = Hands()
    subject = clock(hands, state, jump_s=60)
    subject.keep(subject.now())
    hands.move(KEEP_EVERY_NS)
    hands.wall += 10 * 365 * DAY
    subject.keep(subject.now())
    assert int(state.read_bytes()) == T0


@pytest.mark.parametrize("garbage", [b"", b"soon", b"-5", b"9" * 33, b"\xff\xfe"])
def test_a_damaged_state_file_says_nothing(state: Path, garbage: bytes) -> None:
    state.write_bytes(garbage)
    assert clock(Hands(), state).now().trusted


def test_a_state_file_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    subject = clock(Hands(), tmp_path / "missing" / "clock")
    subject.keep(subject.now())
    assert subject.error is not None
    assert subject.now().trusted
