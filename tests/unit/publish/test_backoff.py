"""Pauses."""

# ruff: noqa: S311 - dice that fall the same way each time

from random import Random

from gateway.model.moment import SECOND
from gateway.publish.backoff import FIRST_S, BackOff


def test_pauses_double_up_to_the_limit_with_jitter() -> None:
    pause = BackOff(30.0, Random(1))
    pauses = [pause.failed(0) for _ in range(100)]
    for n, seconds in enumerate(pauses):
        full = min(30.0, FIRST_S * 2**n)
        assert full / 2 <= seconds <= full
    assert len(set(pauses[10:])) > 50
    assert pause.failures == 100


def test_after_an_answer_it_begins_anew() -> None:
    pause = BackOff(30.0, Random(1))
    assert not pause.waiting(0)
    for _ in range(5):
        pause.failed(10 * SECOND)
    assert pause.waiting(10 * SECOND)
    assert not pause.waiting(10 * SECOND + 30 * SECOND)
    pause.answered()
    assert not pause.waiting(10 * SECOND)
    assert pause.failed(0) <= FIRST_S


def test_a_year_of_failures_does_not_overflow() -> None:
    pause = BackOff(30.0, Random(1))
    pause.failures = 10_000_000
    assert pause.failed(0) <= 30.0
