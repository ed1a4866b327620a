"""The collector: reads the plant's tags again and again, through the same passage as everybody.

Rules that hold here:
- Every poll is decided, recorded and permitted like a stranger's read; the collector only holds the caller
  that stands for the gateway itself. There is no way to the plant but the permit.
- Time is the monotonic clock. A poll stays on its own grid (start + phase + n · period); what was missed is
  skipped, never made up for in a bunch.
- Of each poll at most one is unanswered. Each poll is the sink of its own permits.
- A device that does not answer is left alone, longer each time, and costs one probe; nobody else is harmed.
- Nothing but configuration stops polling: not an untrusted clock, not a stale CRL, not an expired
  certificate (invariant 11). With an untrusted clock values are uncertain, because their times are.
- A tag whose poll brings nothing is bad, with the reason; no value is ever invented.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from random import Random
from struct import Struct as Layout
from typing import Any

from gateway.guard.passage import Door, enter, finish
from gateway.guard.ports import Answer, Plant
from gateway.guard.verdict import Forward, Pending, Refuse, Sever, Verdict
from gateway.model.asset import Table
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.sample import Quality
from gateway.publish.backoff import BackOff
from gateway.publish.poll_plan import Poll
from gateway.publish.ports import Count, Holder
from gateway.publish.values import Reading, Values, decimal
from gateway.wire.modbus import functions, points
from gateway.wire.modbus.meaning import Place

READS: dict[Table, int] = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
"The function code that reads each table (Application Protocol V1.1b3 §6.1–6.4)."
MOST_SLEEP_S = 0.5
"Longest sleep of the timer, so that a new plan starts soon."
SILENT_POLLS = 3
"""Polls in a row without an answer that make a whole device count as down (fewer where it has fewer polls).
One span that a device never answers must not silence the others."""
REASONS: dict[Why, str] = {
    Why.NO_ANSWER: "timeout",
    Why.NO_PATH: "device_down",
    Why.BUSY: "busy",
    Why.DENIED: "denied",
    Why.NOT_RECORDED: "not_recorded",
}
"What a tag says when its poll ended like that."
_PDU = Layout(">BHH")


class Device:
    """What the collector knows about one asset."""

    __slots__ = ("pause", "place", "plant", "polls", "probing", "silent")

    def __init__(self, place: Place, plant: Plant, pause: BackOff) -> None:
        self.place = place
        self.plant = plant
        self.pause = pause
        self.polls: deque[Polling] = deque()
        "Rotated with each probe, so that a span that is never answered is not the only one tried."
        self.probing = False
        self.silent = 0

    @property
    def down(self) -> bool:
        """Whether it is left alone but for a probe now and then."""
        return self.pause.failures > 0


class Polling:
    """One poll, over and over: its request, whether it is under way, and the sink for what comes of it."""

    __slots__ = ("_collector", "busy", "denied_by", "device", "gone", "pause", "poll", "request", "under_way")

    def __init__(self, collector: "Collector", device: Device, poll: Poll, pause: BackOff) -> None:
        self._collector = collector
        self.device = device
        self.poll = poll
        self.pause = pause
        request = functions.read_request(
            device.place.asset.unit, _PDU.pack(READS[poll.table], poll.start, poll.count)
        )
        if not isinstance(request, functions.Request):
            raise TypeError(f"the plan asks {poll.asset} for something that is no request: {request}")
        self.request = request
        self.under_way = False
        self.busy = False
        "Whether the last one found the device's queue full; only the second in a row is told."
        self.denied_by = ""
        "The revision that denied it: under another one it is asked again at once."
        self.gone = False

    def answered(self, permit: object, answer: Answer, at: Now) -> None:
        """The device answered, maybe with an exception."""
        self.under_way = False
        if not self.gone:
            self._collector.answered(self, answer, at)

    def failed(self, permit: object, why: Why) -> None:
        """There is no answer."""
        self.under_way = False
        if not self.gone:
            self._collector.failed(self, why)


class Collector:
    """One schedule for all polls of all assets."""

    def __init__(
        self,
        *,
        values: Values,
        door: Door,
        caller: Caller,
        clock: Callable[[], Now],
        tasks: Holder,
        random: Random,
        count: Count,
        backoff_s: float,
    ) -> None:
        """`caller` is the gateway itself; `random` only spreads the pauses of back-off."""
        self._values = values
        self._door = door
        self._caller = caller
        self._clock = clock
        self._tasks = tasks
        self._random = random
        self._count = count
        self._backoff_s = backoff_s
        self._devices: dict[str, Device] = {}
        self._heap: list[tuple[int, int, Polling]] = []

    def replace(
        self, polls: Sequence[Poll], places: Mapping[str, Place], plants: Mapping[str, Plant]
    ) -> None:
        """Another plan; answers to what the old one asked are dropped. No link, no polls."""
        for device in self._devices.values():
            for polling in device.polls:
                polling.gone = True
        start_ns = self._clock().mono_ns
        self._devices = {
            name: Device(place, plants[name], self._pause())
            for name, place in places.items()
            if name in plants
        }
        self._heap = []
        for number, poll in enumerate(polls):
            if (owner := self._devices.get(poll.asset)) is not None:
                polling = Polling(self, owner, poll, self._pause())
                owner.polls.append(polling)
                self._heap.append((start_ns + poll.phase_ms * 1_000_000, number, polling))
        heapify(self._heap)

    async def run(self) -> None:
        """Poll until cancelled: one timer for everything."""
        while True:
            next_ns = self.tick(self._clock())
            await asyncio.sleep(min(MOST_SLEEP_S, max(0.0, (next_ns - self._clock().mono_ns) / SECOND)))

    def tick(self, now: Now) -> int:
        """Start every poll that is due; gives when the next one is (monotonic ns)."""
        heap = self._heap
        while heap and heap[0][0] <= now.mono_ns:
            due_ns, number, polling = heappop(heap)
            self._due(polling, now)
            period_ns = polling.poll.period_ms * 1_000_000
            missed = (now.mono_ns - due_ns) // period_ns
            if missed:
                self._count("polls_missed", missed)
            heappush(heap, (due_ns + (missed + 1) * period_ns, number, polling))
        return heap[0][0] if heap else now.mono_ns + SECOND

    def status(self) -> dict[str, Any]:
        """For `status`: polls of each asset, and whether it is left alone."""
        return {
            name: {
                "polls": len(device.polls),
                "under_way": sum(polling.under_way for polling in device.polls),
                "down": device.down,
                "failures": device.pause.failures,
            }
            for name, device in sorted(self._devices.items())
        }

    # one poll ----------------------------------------------------------------------------------

    def _pause(self) -> BackOff:
        return BackOff(self._backoff_s, self._random)

    def _due(self, polling: Polling, now: Now) -> None:
        """Ask, unless the device or this poll is to be left alone, or the last one is still unanswered."""
        device = polling.device
        if device.down:
            if device.pause.waiting(now.mono_ns) or device.probing:
                return
            device.polls.rotate(-1)
            polling = device.polls[0]
            if not polling.under_way:
                device.probing = True
                self._ask(polling, now)
            return
        if polling.under_way:
            self._count("polls_overrun")
            return
        if polling.pause.waiting(now.mono_ns) and polling.denied_by in ("", self._door.engine.revision):
            return
        self._ask(polling, now)

    def _ask(self, polling: Polling, now: Now) -> None:
        polling.under_way = True
        self._count("polls")
        operations = polling.device.place.operations(polling.request, self._values, now)
        verdict = enter(polling.request, operations, self._caller, self._door, now)
        if isinstance(verdict, Pending):
            self._tasks.start(self._finish(verdict, polling, now), f"poll {polling.poll.asset}")
        else:
            self._carry_out(verdict, polling)

    async def _finish(self, pending: Pending, polling: Polling, now: Now) -> None:
        self._carry_out(await finish(pending, self._door, now), polling)

    def _carry_out(self, verdict: Verdict, polling: Polling) -> None:
        match verdict:
            case Forward(permit):
                polling.device.plant.send(permit, polling, self._clock())
            case Refuse(why):
                polling.failed(None, why)
            case Sever():
                polling.failed(None, Why.DENIED)

    # what comes of it ----------------------------------------------------------------------------

    def answered(self, polling: Polling, answer: Answer, now: Now) -> None:
        """Decode a batch of samples, or say which exception the device gave. `now` is when it answered."""
        device = polling.device
        device.pause.answered()
        device.probing = False
        device.silent = 0
        polling.pause.answered()
        polling.busy = False
        polling.denied_by = ""
        if isinstance(answer, functions.DeviceException):
            self._count("polls_exception")
            self._bad((polling,), f"exception_{answer.code:02x}", now)
            return
        poll = polling.poll
        good, why = (Quality.GOOD, "") if now.trusted else (Quality.UNCERTAIN, "clock")
        batch = []
        for tag in poll.tags:
            value = points.decode(tag, answer.data, poll.start, poll.table)
            if value is None:
                batch.append(Reading(tag.name, None, Quality.BAD, "undecodable"))
            else:
                batch.append(Reading(tag.name, decimal(points.rounded(tag, value)), good, why))
        self._values.update(batch, now)

    def failed(self, polling: Polling, why: Why) -> None:
        """Say why there is no value, and leave alone whom asking does not help."""
        now = self._clock()
        device = polling.device
        probe, device.probing = device.probing, False
        self._count(f"polls_{REASONS.get(why, 'failed')}")
        if why is Why.BUSY:
            # Once is a full queue, or a permit that died with its bundle: the value is as old as it says.
            if polling.busy:
                self._bad((polling,), "busy", now)
            polling.busy = True
            return
        self._bad((polling,), REASONS.get(why, why.value), now)
        if why is Why.DENIED:
            polling.denied_by = self._door.engine.revision
            polling.pause.failed(now.mono_ns)
        elif why in (Why.NO_ANSWER, Why.NO_PATH):
            polling.denied_by = ""
            polling.pause.failed(now.mono_ns)
            device.silent += 1
            if probe or why is Why.NO_PATH or device.silent >= min(SILENT_POLLS, len(device.polls)):
                self._down(device, polling, now)

    def _down(self, device: Device, polling: Polling, now: Now) -> None:
        """Leave a device alone; every tag of it says so from the first time on."""
        if not device.down:
            self._count("devices_down")
            self._bad([other for other in device.polls if other is not polling], "device_down", now)
        device.pause.failed(now.mono_ns)

    def _bad(self, pollings: Sequence[Polling], reason: str, now: Now) -> None:
        self._values.update(
            [Reading(tag.name, None, Quality.BAD, reason) for each in pollings for tag in each.poll.tags], now
        )
