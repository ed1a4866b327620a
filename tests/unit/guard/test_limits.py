"""Ceilings with a hand-moved clock, and the bounds of what they remember."""

from gateway.guard import limits
from gateway.guard.limits import Rates, WriteCounts
from gateway.model.moment import SECOND


def test_writes_are_forgotten_after_sixty_seconds() -> None:
    counts = WriteCounts()
    for second in range(5):
        counts.note("s", "a", second * SECOND)
    assert counts.count("s", "a", 5 * SECOND) == 5
    assert counts.count("s", "a", 62 * SECOND) == 2
    assert counts.count("s", "a", 64 * SECOND) == 0
    assert counts.count("other", "a", 5 * SECOND) == 0
    assert counts.count("s", "b", 5 * SECOND) == 0


def test_the_number_of_writes_counted_is_bounded() -> None:
    counts = WriteCounts()
    for _ in range(limits.MOST_TIMES + 10):
        counts.note("s", "a", SECOND)
    assert counts.count("s", "a", SECOND) == limits.MOST_TIMES


def test_the_number_of_subjects_is_bounded_and_the_oldest_goes() -> None:
    counts = WriteCounts()
    for number in range(limits.MOST_SUBJECTS + 1):
        counts.note(f"s{number}", "a", SECOND)
    assert counts.count("s0", "a", SECOND) == 0
    assert counts.count("s1", "a", SECOND) == 1
    assert len(counts._times) == limits.MOST_SUBJECTS


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    rates = Rates()
    assert [rates.take(("k",), 3, 1, SECOND) for _ in range(4)] == [True, True, True, False]
    assert rates.take(("k",), 3, 1, SECOND + SECOND // 3 + 1)
    assert not rates.take(("k",), 3, 1, SECOND + SECOND // 3 + 1)
    assert [rates.take(("k",), 3, 1, 100 * SECOND) for _ in range(4)] == [True, True, True, False]


def test_a_rate_of_nothing_gives_nothing() -> None:
    rates = Rates()
    assert not rates.take(("k",), 0, 1, SECOND)
    assert not rates.take(("k",), 1, 0, SECOND)
    assert not rates.take(("k",), -1, -1, SECOND)
    assert not rates.take(("k",), float("nan"), 1, SECOND)


def test_the_number_of_buckets_is_bounded() -> None:
    rates = Rates()
    for number in range(limits.MOST_SUBJECTS + 5):
        rates.take((str(number),), 1, 1, SECOND)
    assert len(rates._buckets) == limits.MOST_SUBJECTS
