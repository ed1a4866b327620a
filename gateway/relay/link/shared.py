"""Reads that one question to the device can answer for many: coalescing, where a site asks for it.

Stands before a link, and is a Plant itself. `asset.coalesce_ms` is 0 unless somebody says otherwise, and
then this file is not used. With it:

- A read that equals one on its way waits for that one's answer; one that equals an answer younger than
  `coalesce_ms` gets that answer. Equal means the same request, byte for byte, as encoded for the plant.
- Every asker was decided on its own and spends its own permit: an answer at hand is no right to it.
- What has side effects is never shared, nor what touches a declared heartbeat point: a watchdog counts reads.
- Any write to the asset forgets everything, whatever it addressed: tables of a device may overlay each other
  (Application Protocol V1.1b3 §4.3), and a program may copy one register to another.
- The time of the answer is that of the plant's, not that of handing it on.
"""

import asyncio
from collections import OrderedDict, deque

from gateway.guard.passage import settle
from gateway.guard.permit import ActPermit, Permit
from gateway.guard.ports import Answer, Sink
from gateway.model.asset import Span
from gateway.model.decision import Why
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation
from gateway.relay.link.connection import outcome
from gateway.relay.link.link import PlantLink
from gateway.wire.modbus.functions import DeviceException

MOST_ANSWERS = 1024
"Answers kept for one asset; the oldest makes room."
SHAREABLE = frozenset({1, 2, 3, 4})
"Functions that only look. Reading a FIFO (24) is left out: some devices empty it by reading."


class Leader:
    """The sink of a question that was sent, and of all who asked the same meanwhile."""

    __slots__ = ("_shared", "_sink", "followers", "key")

    def __init__(self, shared: "SharedReads", key: bytes, sink: Sink) -> None:
        self._shared = shared
        self._sink = sink
        self.key = key
        self.followers: deque[tuple[Permit, Sink]] = deque()

    @property
    def gone(self) -> bool:
        """Nobody at all waits any more."""
        return self._sink.gone and all(sink.gone for _, sink in self.followers)

    def answered(self, permit: Permit, answer: Answer, at: Now) -> None:
        """For whoever asked first, then for the others."""
        self._shared.keep(self, answer, at)
        self._sink.answered(permit, answer, at)
        for follower, sink in self.followers:
            self._shared.give(follower, sink, answer, at)

    def failed(self, permit: Permit, why: Why) -> None:
        """Nobody gets an answer."""
        self._shared.over(self)
        self._sink.failed(permit, why)
        for follower, sink in self.followers:
            self._shared.refuse(follower, sink, why)


class Act:
    """The sink of something that changes the device: before and after it, nothing read counts."""

    __slots__ = ("_shared", "_sink")

    def __init__(self, shared: "SharedReads", sink: Sink) -> None:
        self._shared = shared
        self._sink = sink

    @property
    def gone(self) -> bool:
        """As whoever asked."""
        return self._sink.gone

    def answered(self, permit: Permit, answer: Answer, at: Now) -> None:
        """Done: what was read while it was on its way may be from before it."""
        self._shared.forget()
        self._sink.answered(permit, answer, at)

    def failed(self, permit: Permit, why: Why) -> None:
        """Perhaps done."""
        self._shared.forget()
        self._sink.failed(permit, why)


class SharedReads:
    """A link whose equal reads share answers."""

    def __init__(self, link: PlantLink) -> None:
        self.link = link
        self._age_ns = link.asset.coalesce_ms * 1_000_000
        self._answers: OrderedDict[bytes, tuple[Answer, Now]] = OrderedDict()
        self._leaders: dict[bytes, Leader] = {}
        self.counts = {"from_answer": 0, "followed": 0}

    def send(self, permit: Permit, sink: Sink, now: Now) -> None:
        """See guard.ports.Plant."""
        if isinstance(permit, ActPermit):
            self.forget()
            self.link.send(permit, Act(self, sink), now)
        elif not all(self._looks(operation) for operation in permit.operations):
            self.link.send(permit, sink, now)
        else:
            self._read(permit, sink, now)

    def _read(self, permit: Permit, sink: Sink, now: Now) -> None:
        key = permit.frame.encode()
        found = self._answers.get(key)
        if found is not None and now.mono_ns - found[1].mono_ns < self._age_ns:
            self.counts["from_answer"] += 1
            asyncio.get_running_loop().call_soon(self.give, permit, sink, *found)
            return
        leader = self._leaders.get(key)
        if leader is not None and len(leader.followers) < self.link.asset.queue:
            self.counts["followed"] += 1
            leader.followers.append((permit, sink))
            return
        leader = self._leaders[key] = Leader(self, key, sink)
        self.link.send(permit, leader, now)

    # what sinks tell -----------------------------------------------------------------------------

    def keep(self, leader: Leader, answer: Answer, at: Now) -> None:
        """An answer came. One that a write has overtaken goes to who waits for it, and is kept for nobody."""
        if self.over(leader) and not isinstance(answer, DeviceException):
            self._answers[leader.key] = (answer, at)
            self._answers.move_to_end(leader.key)
            if len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)

    def over(self, leader: Leader) -> bool:
        """The question is answered, or never will be. False where a write has parted it from later askers."""
        if self._leaders.get(leader.key) is not leader:
            return False
        del self._leaders[leader.key]
        return True

    def forget(self) -> None:
        """A write is on its way, or is over: later askers get nothing that was asked before it."""
        self._answers.clear()
        self._leaders.clear()

    def give(self, permit: Permit, sink: Sink, answer: Answer, at: Now) -> None:
        """Hand an answer to somebody who did not send the question, against a permit of his own."""
        now = self.link.clock()
        if sink.gone or permit.spend(self.link.door.engine.revision, now.mono_ns) is None:
            self.refuse(permit, sink, Why.BUSY)
            return
        settle(permit, outcome(answer), answer.data, self.link.door, now)
        sink.answered(permit, answer, at)

    def refuse(self, permit: Permit, sink: Sink, why: Why) -> None:
        """Nothing for this one."""
        settle(permit, {"status": "not_sent", "why": why.value}, b"", self.link.door, self.link.clock())
        sink.failed(permit, why)

    def _looks(self, operation: Operation) -> bool:
        target = operation.modbus
        if operation.action is not Action.READ or target is None or target.fc not in SHAREABLE:
            return False
        if target.table is None or target.start is None or target.count is None:
            return False
        asked = Span(target.table, target.start, target.count)
        return not any(_overlap(asked, beat) for beat in self.link.asset.heartbeat)


def _overlap(one: Span, other: Span) -> bool:
    return one.table == other.table and one.start < other.end and other.start < one.end
