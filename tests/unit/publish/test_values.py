"""The latest value of every tag."""

from gateway.model.asset import DataType
from gateway.model.moment import SECOND
from gateway.model.sample import Quality
from gateway.publish.values import Reading, Subscription, Values
from tests.scenarios.north import PLC, North, later, tag
from tests.scenarios.stage import Moment

NOW = Moment()()


def test_at_start_every_tag_is_bad_with_reason_restart_and_no_value() -> None:
    north = North(tag("a"), tag("b"))
    for name in ("plc-1.a", "plc-1.b"):
        sample = north.values.sample(name)
        assert sample is not None
        assert (sample.value, sample.quality, sample.reason, sample.sequence) == (
            None,
            Quality.BAD,
            "restart",
            0,
        )
    assert north.values.qualities() == {"good": 0, "uncertain": 0, "bad": 2}
    assert north.values.last("plc-1.a") is None


def test_a_bad_reading_keeps_the_last_value_known_and_its_age() -> None:
    north = North(tag("a", resolution=0.5))
    north.read("a", 41.5)
    at = north.now().mono_ns
    north.moment.advance(10)
    north.read("a", None, Quality.BAD, "timeout")
    sample = north.values.sample("plc-1.a")
    assert sample is not None
    assert (sample.quality, sample.reason, sample.sequence) == (Quality.BAD, "timeout", 2)
    assert north.values.last("plc-1.a") == (83, at)


def test_last_is_in_the_tags_resolution() -> None:
    north = North(tag("a", scale=0.1, resolution=0.1), tag("on", type=DataType.BOOL))
    north.read("a", 41.5)
    north.read("on", True)
    assert north.values.last("plc-1.a") == (415, north.now().mono_ns)
    assert north.values.last("plc-1.on") == (1, north.now().mono_ns)
    assert north.values.last("no-such") is None


def test_a_subscriber_gets_every_name_once_and_the_newest_value() -> None:
    north = North(*[tag(f"t{n}") for n in range(10)])
    woken: list[int] = []
    subscription = north.values.subscribe(lambda: woken.append(1))
    assert len(subscription) == 10  # all of them are news to who comes
    while subscription.take():
        pass
    for n in range(1000):
        north.values.update(
            [Reading("plc-1.t3", n % 100, Quality.GOOD), Reading("plc-1.t4", 1, Quality.GOOD)], north.now()
        )
    assert len(subscription) == 2  # never more than there are tags
    assert len(woken) == 1001  # once a batch
    assert subscription.take() == "plc-1.t3"
    sample = north.values.sample("plc-1.t3")
    assert sample is not None
    assert (sample.value, sample.sequence) == (99, 1000)
    assert subscription.take() == "plc-1.t4"
    assert subscription.take() is None
    north.values.unsubscribe(subscription)
    north.read("t3", 1.0)
    assert len(subscription) == 0


def test_other_tags_keep_those_that_are_defined_as_before() -> None:
    north = North(tag("a"), tag("b"), tag("c"))
    for name in ("a", "b", "c"):
        north.read(name, 5.0)
    subscription = north.values.subscribe(lambda: None)
    now = later(north.now(), 1)
    north.values.replace((tag("a"), tag("b", scale=2.0), tag("d")), (PLC,), now)
    qualities = {name: sample.reason for name in north.values.names if (sample := north.values.sample(name))}
    assert qualities == {"plc-1.a": "", "plc-1.b": "restart", "plc-1.d": "restart"}
    assert len(subscription) == 3
    north.read("c", 5.0)  # a poll that was still under way
    assert north.values.sample("plc-1.c") is None
    assert len(subscription) == 3


def test_names_after_are_the_rest_of_the_order() -> None:
    north = North(tag("c"), tag("a"), tag("b"))
    assert north.values.names == ("plc-1.a", "plc-1.b", "plc-1.c")
    assert north.values.after("plc-1.a") == ("plc-1.b", "plc-1.c")
    assert north.values.after("plc-1.bb") == ("plc-1.c",)
    assert north.values.after("plc-1.c") == ()


def test_a_write_counts_as_the_value_from_its_decision_until_a_later_poll() -> None:
    north = North(tag("a"))
    values, moment = north.values, north.moment
    north.read("a", 700)
    moment.advance(1)
    values.writing("plc-1.a", 400, north.now().mono_ns)
    moment.advance(1)
    north.read("a", 700)
    assert values.last("plc-1.a") == (400, north.now().mono_ns - 10**9), "that poll may be from before it"
    values.written("plc-1.a", True, north.now().mono_ns)
    assert values.last("plc-1.a") == (400, north.now().mono_ns)
    moment.advance(1)
    north.read("a", 410)
    assert values.last("plc-1.a") == (410, north.now().mono_ns)


def test_after_a_write_that_may_not_have_been_done_nobody_knows_the_value() -> None:
    north = North(tag("a"))
    values, moment = north.values, north.moment
    north.read("a", 700)
    moment.advance(1)
    values.writing("plc-1.a", 400, north.now().mono_ns)
    values.written("plc-1.a", False, north.now().mono_ns)
    assert values.last("plc-1.a") is None
    moment.advance(1)
    north.read("a", 700)
    assert values.last("plc-1.a") == (700, north.now().mono_ns)
    values.writing("no.tag", 1, 1)
    values.written("no.tag", True, 1)
    assert values.last("no.tag") is None


def test_what_the_plant_confirms_is_young_again_and_no_new_sample() -> None:
    values, news = _confirmed()
    values.confirm(["plc-1.level"], NOW.mono_ns + 4 * SECOND, later(NOW, 5))
    sample = values.sample("plc-1.level")
    assert sample is not None
    assert (sample.value, sample.sequence, sample.received_ns) == (1.0, 1, NOW.wall_ns)
    assert sample.mono_ns == NOW.mono_ns + 4 * SECOND
    assert news.take() is None, "it was not stale, so nothing has changed for anybody"
    values.confirm(["plc-1.level"], NOW.mono_ns, later(NOW, 6))
    assert values.sample("plc-1.level") == sample, "never older"


def test_who_was_told_that_it_is_stale_hears_that_it_is_not_any_more() -> None:
    values, news = _confirmed()
    values.confirm(["plc-1.level", "unknown"], NOW.mono_ns + 9 * SECOND, later(NOW, 10))
    assert news.take() == "plc-1.level"


def test_nothing_is_confirmed_of_a_value_that_is_bad() -> None:
    values, _ = _confirmed()
    values.update([Reading("plc-1.level", None, Quality.BAD, "timeout")], NOW)
    bad = values.sample("plc-1.level")
    values.confirm(["plc-1.level"], NOW.mono_ns + 4 * SECOND, later(NOW, 5))
    assert values.sample("plc-1.level") == bad


def test_a_reading_can_say_when_it_was_acquired_and_how_old_it_may_be() -> None:
    values, _ = _confirmed()
    values.update([Reading("plc-1.level", 2.0, Quality.GOOD, "", 123, 2 * SECOND)], NOW)
    sample = values.sample("plc-1.level")
    assert sample is not None
    assert (sample.at_ns, sample.received_ns, sample.mono_ns) == (
        123,
        NOW.wall_ns,
        NOW.mono_ns - 2 * SECOND,
    )


def _confirmed() -> tuple[Values, Subscription]:
    values = Values([tag("level")], [PLC], NOW)
    values.update([Reading("plc-1.level", 1.0, Quality.GOOD)], NOW)
    news = values.subscribe(lambda: None)
    news.keep(())
    return values, news
