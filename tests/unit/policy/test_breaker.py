"""The breaker, its time moved by hand."""

from gateway.policy.breaker import FAILURES, IDLE_NS, PROBE_NS, Breaker

SECOND = 1_000_000_000
START = 1_000 * SECOND


def gone(breaker: Breaker, now: int = START) -> None:
    """Fail as often as makes it away."""
    for _ in range(FAILURES):
        breaker.failed(now, now)
    assert breaker.away


def test_away_only_after_failures_in_a_row() -> None:
    breaker = Breaker(60 * SECOND)
    for _ in range(FAILURES - 1):
        assert not breaker.failed(START, START)
    breaker.succeeded(START + 1)
    for number in range(FAILURES):
        assert not breaker.away
        assert breaker.failed(START + 2, START + 2) is (number == FAILURES - 1)
    assert breaker.away
    assert not breaker.failed(START + 3, START + 3), "told once"


def test_one_success_ends_it_and_is_told_once() -> None:
    breaker = Breaker(60 * SECOND)
    assert not breaker.succeeded(START), "it never was away"
    gone(breaker, START + 1)
    assert breaker.succeeded(START + 2)
    assert not breaker.away
    assert not breaker.succeeded(START + 3)


def test_what_was_asked_before_the_last_success_fails_late_and_counts_for_nothing() -> None:
    breaker = Breaker(0)
    gone(breaker)
    breaker.succeeded(START + 100)
    for _ in range(2 * FAILURES):
        assert not breaker.failed(START + 99, START + 200)
    assert not breaker.away
    assert breaker.reads(START + 200)


def test_probes_are_due_often_while_it_fails_and_seldom_while_it_answers() -> None:
    breaker = Breaker(60 * SECOND)
    assert breaker.due(START), "at once: nobody knows yet"
    breaker.succeeded(START)
    assert not breaker.due(START + IDLE_NS - 1)
    assert breaker.due(START + IDLE_NS)
    breaker.failed(START, START)
    assert not breaker.due(START + PROBE_NS - 1)
    assert breaker.due(START + PROBE_NS)
    assert 2 * PROBE_NS < SECOND, "normal again within a second"


def test_reads_go_on_from_the_first_failure_for_the_time_set_and_no_longer() -> None:
    breaker = Breaker(60 * SECOND)
    assert breaker.reads(START)
    assert breaker.without_ns(START) == 0
    breaker.failed(START, START)
    gone(breaker, START + 10)
    assert breaker.without_ns(START + 60 * SECOND) == 60 * SECOND
    assert breaker.reads(START + 60 * SECOND - 1)
    assert not breaker.reads(START + 60 * SECOND)
    breaker.succeeded(START + 70 * SECOND)
    assert breaker.reads(START + 70 * SECOND)
    gone(breaker, START + 80 * SECOND)
    assert breaker.reads(START + 139 * SECOND), "each outage has its own time"


def test_no_time_without_it_means_no_reads_at_once_even_for_who_looked_before_it_failed() -> None:
    breaker = Breaker(0)
    assert breaker.reads(START)
    breaker.failed(START, START + 5)
    assert not breaker.reads(START + 5)
    assert not breaker.reads(START), "a question that began before the failure was noticed"
