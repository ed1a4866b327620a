"""The collector on a stage: a plant that does as it is told, and a clock that is moved by hand."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from struct import pack
from typing import Any

import pytest

from gateway.guard.permit import Permit
from gateway.guard.ports import Sink
from gateway.model.asset import Asset, DataType, Span, Table, Tag
from gateway.model.decision import Why
from gateway.model.moment import SECOND, Now
from gateway.model.sample import Quality
from gateway.publish import collector as collecting
from gateway.publish.collector import Collector
from gateway.publish.poll_plan import plan
from gateway.publish.values import Values
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.frames import ReadSpan
from gateway.wire.modbus.functions import read_answer
from gateway.wire.modbus.meaning import Place
from tests.scenarios.north import GATEWAY, North, later


class Plant:
    """A device that keeps what it was sent until the scenario lets it answer."""

    def __init__(self, north: North, clock: Callable[[], Now]) -> None:
        self.north = north
        self.clock = clock
        self.waiting: list[tuple[Permit, Sink]] = []
        self.sent: list[tuple[float, int]] = []
        "When each request came (seconds since the start), and the first address it asked for."
        self.start_ns = north.now().mono_ns
        self.mode: Why | int | None = None
        "None: answers with register n holding n; a number: exception; else that failure; `hold` keeps quiet."
        self.hold = False

    def send(self, permit: Permit, sink: Sink, now: Now) -> None:
        assert isinstance(permit.frame, ReadSpan)
        seconds = (self.north.now().mono_ns - self.start_ns) / SECOND
        self.sent.append((seconds, permit.frame.start))
        self.waiting.append((permit, sink))

    def settle(self) -> int:
        """Answer everything that waits, as the mode says."""
        waiting, self.waiting = self.waiting, []
        for permit, sink in waiting:
            request = permit.frame
            assert isinstance(request, ReadSpan)
            assert permit.spend(self.north.policy.revision, self.north.now().mono_ns) is not None
            if isinstance(self.mode, Why):
                sink.failed(permit, self.mode)
                continue
            if self.mode is None:
                values = range(request.start, request.start + request.count)
                pdu = pack(f">BB{request.count}H", request.fc, 2 * request.count, *values)
            else:
                pdu = bytes([request.fc | 0x80, self.mode])
            answer = read_answer(request, pdu)
            sink.answered(permit, answer, self.clock())  # type: ignore[arg-type] # never a wrong answer
        return len(waiting)


def asset(name: str) -> Asset:
    return Asset(name=name, host="127.0.0.1", port=1, registers=(Span(Table.INPUT, 0, 200),))


def tag(asset: str, address: int, **changes: Any) -> Tag:
    settings: dict[str, Any] = {
        "name": f"{asset}.r{address}",
        "asset": asset,
        "path": f"{asset}/r{address}",
        "table": Table.INPUT,
        "address": address,
        "type": DataType.UINT16,
        "poll_ms": 1000,
        **changes,
    }
    return Tag(**settings)


class Scene(North):
    """Assets with tags, a plant each, and the collector."""

    def __init__(self, *tags: Tag, backoff_s: float = 30.0) -> None:
        super().__init__()
        names = sorted({tag.asset for tag in tags})
        assets = [asset(name) for name in names]
        self.values = Values(tags, assets, self.now())
        self.trusted = True
        self.plants = {name: Plant(self, self.clock) for name in names}
        self.tasks = Tasks()
        self.collector = Collector(
            values=self.values,
            door=self.door,
            caller=GATEWAY,
            clock=self.clock,
            tasks=self.tasks,
            random=self.random,
            count=self.counts,
            backoff_s=backoff_s,
        )
        self.polls = [poll for one in assets for poll in plan(one, tags, 0)]
        self.places = {one.name: Place(one, [tag for tag in tags if tag.asset == one.name]) for one in assets}
        self.collector.replace(self.polls, self.places, self.plants)

    def clock(self) -> Now:
        now = self.now()
        return Now(now.wall_ns, now.mono_ns, self.trusted, now.judge_ns)

    def run(self, seconds: float, *, step: float = 0.05, settle: bool = True) -> None:
        """Let time pass in small steps; plants that are not held answer in the same step."""
        for _ in range(round(seconds / step)):
            self.collector.tick(self.clock())
            for plant in self.plants.values():
                if settle and not plant.hold:
                    plant.settle()
            self.moment.advance(step)

    def told(self, name: str) -> tuple[object, str, str]:
        """What IT is told."""
        released = self.vetting("test").released(name, self.now())
        assert released is not None
        sample = released.sample
        return sample.value, sample.quality.value, sample.reason


def test_values_arrive_at_their_period_and_phase() -> None:
    scene = Scene(tag("a", 10), tag("a", 20), tag("a", 50, poll_ms=5000))
    assert scene.told("a.r10") == (None, "bad", "restart")
    scene.run(10)
    assert scene.told("a.r10") == (10, "good", "")
    assert scene.told("a.r50") == (50, "good", "")
    for poll in scene.polls:
        times = [seconds for seconds, start in scene.plants["a"].sent if start == poll.start]
        assert len(times) == 10_000 // poll.period_ms
        for n, seconds in enumerate(times):
            due = (poll.phase_ms + n * poll.period_ms) / 1000
            assert due <= seconds < due + 0.051  # on its grid, whatever the timer's steps were: no drift


def test_missed_ticks_are_skipped_not_bunched() -> None:
    scene = Scene(tag("a", 10))
    scene.run(2)
    scene.moment.advance(60.0)  # the machine was suspended
    before = len(scene.plants["a"].sent)
    scene.run(2)
    assert len(scene.plants["a"].sent) - before in (2, 3)
    assert scene.counts["polls_missed"] >= 59
    assert "polls_overrun" not in scene.counts


def test_never_two_of_one_poll_under_way() -> None:
    scene = Scene(tag("a", 10), tag("b", 10))
    scene.plants["a"].hold = True
    scene.run(5)
    assert len(scene.plants["a"].waiting) == 1
    assert len(scene.plants["b"].sent) == 5
    assert scene.counts["polls_overrun"] >= 3
    scene.run(1)
    assert scene.told("a.r10") == (None, "bad", "restart")
    assert scene.told("b.r10")[1] == "good"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (2, "exception_02"),
        (4, "exception_04"),
        (Why.NO_ANSWER, "timeout"),
        (Why.NO_PATH, "device_down"),
        (Why.BUSY, "busy"),
    ],
)
def test_a_device_that_brings_nothing_makes_its_tags_bad_with_the_reason_and_harms_nobody_else(
    mode: Why | int, reason: str
) -> None:
    scene = Scene(tag("a", 10), tag("b", 10))
    scene.run(3)
    assert scene.told("a.r10") == (10, "good", "")
    scene.plants["a"].mode = mode
    scene.run(4)
    assert scene.told("a.r10") == (None, "bad", reason)
    assert scene.values.last("a.r10") is not None  # for comparing a write with, the last one known stays
    assert scene.told("b.r10")[:2] == (10, "good")
    assert len(scene.plants["b"].sent) == 7
    scene.plants["a"].mode = None
    scene.run(8)
    assert scene.told("a.r10") == (10, "good", "")


def test_one_full_queue_is_no_news() -> None:
    scene = Scene(tag("a", 10))
    scene.run(2)
    scene.plants["a"].mode = Why.BUSY
    scene.run(1)
    assert scene.told("a.r10") == (10, "good", "")


def test_a_dead_device_is_left_alone_longer_each_time_and_probed_by_one_poll() -> None:
    scene = Scene(*[tag("a", 10 * n) for n in range(10)], backoff_s=8.0)
    scene.plants["a"].mode = Why.NO_PATH
    scene.run(60)
    # 10 polls a second alive; dead: at most every (half of 1, 2, 4, 8, 8, 8 …) seconds one
    assert 8 <= len(scene.plants["a"].sent) <= 20
    times = [seconds for seconds, _ in scene.plants["a"].sent]
    gaps = [after - before for before, after in pairwise(times[5:])]
    assert all(3.9 <= gap <= 8.3 for gap in gaps)
    assert {scene.told(f"a.r{10 * n}")[1:] for n in range(10)} == {("bad", "device_down")}
    assert len({start for _, start in scene.plants["a"].sent}) > 5  # probes take turns
    scene.plants["a"].mode = None
    scene.run(10)
    assert {scene.told(f"a.r{10 * n}")[1] for n in range(10)} == {"good"}


def test_when_a_device_goes_down_all_its_tags_say_so_at_once() -> None:
    scene = Scene(tag("a", 10), tag("a", 90, poll_ms=60_000))
    scene.run(61)
    assert scene.told("a.r90")[0] == 90
    scene.plants["a"].mode = Why.NO_PATH
    scene.run(1.1)
    assert scene.told("a.r90") == (None, "bad", "device_down")


def test_pauses_of_equal_devices_spread() -> None:
    scene = Scene(*[tag(f"d{n}", 10) for n in range(20)], backoff_s=8.0)
    for plant in scene.plants.values():
        plant.mode = Why.NO_PATH
    scene.run(40, step=0.01)
    last = {round(plant.sent[-1][0] % 1, 1) for plant in scene.plants.values()}
    assert len(last) > 3


def test_one_span_that_is_never_answered_does_not_silence_the_device() -> None:
    scene = Scene(tag("a", 10), tag("a", 50), tag("a", 90), backoff_s=10.0)
    plant = scene.plants["a"]
    for _ in range(600):
        scene.collector.tick(scene.clock())
        waiting, plant.waiting = plant.waiting, []
        for permit, sink in waiting:
            plant.waiting = [(permit, sink)]
            plant.mode = Why.NO_ANSWER if permit.frame.start == 50 else None  # type: ignore[attr-defined]
            plant.settle()
        scene.moment.advance(0.05)
    assert scene.told("a.r10")[:2] == (10, "good")
    assert scene.told("a.r90")[:2] == (90, "good")
    assert scene.told("a.r50") == (None, "bad", "timeout")
    starts = [start for _, start in plant.sent]
    assert starts.count(50) < 12  # left alone
    assert starts.count(10) >= 28


def test_denied_is_told_recorded_and_asked_again_at_once_under_another_revision() -> None:
    scene = Scene(tag("a", 10), tag("b", 10))
    scene.policy.denies = {"a.r10"}
    scene.run(30)
    assert scene.told("a.r10") == (None, "bad", "denied")
    assert scene.plants["a"].sent == []
    assert 2 <= len(scene.journal.denials) < 10
    scene.policy.denies, scene.policy.revision = set(), "rev-2"
    scene.run(1.1)
    assert scene.told("a.r10")[:2] == (10, "good")


def test_what_cannot_be_recorded_is_not_polled() -> None:
    scene = Scene(tag("a", 10))
    scene.journal.broken = True
    scene.run(3)
    assert scene.plants["a"].sent == []
    assert scene.told("a.r10") == (None, "bad", "not_recorded")


def test_an_untrusted_clock_stops_no_poll_and_makes_values_uncertain() -> None:
    scene = Scene(tag("a", 10))
    scene.trusted = False
    scene.run(3)
    assert len(scene.plants["a"].sent) == 3
    assert scene.told("a.r10") == (10, "uncertain", "clock")


def test_a_jump_of_the_wall_clock_moves_no_poll_and_ages_no_value() -> None:
    scene = Scene(tag("a", 10))
    scene.run(3)
    now = scene.clock()
    leap = Now(now.wall_ns + 3600 * SECOND, now.mono_ns, True, now.judge_ns)
    released = scene.vetting("test").released("a.r10", leap)
    assert released is not None
    assert released.sample.quality is Quality.GOOD
    stale = scene.vetting("test").released("a.r10", later(now, 5.1))
    assert stale is not None
    assert (stale.sample.quality, stale.sample.reason) == (Quality.UNCERTAIN, "stale")


def test_every_poll_is_a_permit_under_the_gateways_own_caller() -> None:
    scene = Scene(tag("a", 10), tag("a", 11), tag("a", 60))
    scene.run(1.1)
    assert {operation.kind for operation in scene.policy.asked} == {"modbus.read_input_registers"}
    merged = next(operation for operation in scene.policy.asked if len(operation.points) == 2)
    assert {point.tag for point in merged.points} == {"a.r10", "a.r11"}
    assert len(scene.policy.asked) == len(scene.plants["a"].sent)


def test_another_plan_drops_what_the_old_one_asked() -> None:
    scene = Scene(tag("a", 10), tag("a", 50))
    scene.plants["a"].hold = True
    scene.run(2)
    assert len(scene.plants["a"].waiting) == 2
    fewer = tag("a", 10, poll_ms=500)
    scene.values.replace((fewer,), (asset("a"),), scene.clock())
    scene.collector.replace(plan(asset("a"), (fewer,), 0), {"a": Place(asset("a"), (fewer,))}, scene.plants)
    scene.plants["a"].hold = False
    assert scene.plants["a"].settle() == 2
    assert scene.told("a.r10") == (None, "bad", "restart")
    scene.run(2)
    assert scene.told("a.r10")[:2] == (10, "good")
    assert scene.values.sample("a.r50") is None


def test_decisions_that_must_be_waited_for() -> None:
    async def scenario() -> None:
        scene = Scene(tag("a", 10))
        scene.policy.slow = True
        scene.collector.tick(scene.clock())
        scene.moment.advance(1.0)
        scene.collector.tick(scene.clock())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(scene.plants["a"].waiting) == 1
        scene.plants["a"].settle()
        assert scene.told("a.r10")[:2] == (10, "good")
        await scene.tasks.stop()

    asyncio.run(scenario())


def test_what_a_register_holds_that_is_no_number_is_undecodable() -> None:
    scene = Scene(tag("a", 0x7FC0, type=DataType.FLOAT32))  # register n holds n: 0x7FC07FC1 is a NaN
    scene.run(2)
    assert scene.told("a.r32704") == (None, "bad", "undecodable")


def test_scaled_values_are_decimal() -> None:
    scene = Scene(tag("a", 3, scale=0.1, high=0.3))
    scene.run(2)
    assert scene.told("a.r3") == (0.3, "good", "")


def test_the_timer_sleeps_until_the_next_poll() -> None:
    scene = Scene(tag("a", 10))
    next_ns = scene.collector.tick(scene.clock())
    assert next_ns > scene.clock().mono_ns
    assert collecting.MOST_SLEEP_S <= 1
    status = scene.collector.status()
    assert status == {"a": {"polls": 1, "under_way": 0, "down": False, "failures": 0}}
