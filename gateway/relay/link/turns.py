"""Who is next: permits that wait for a device, in fair turns, with what changes the plant first.

A caller that asks a lot waits for itself, not before others: callers take turns, one request each. Acts go
before reads, so that a storm of polling cannot hold up an operator's write. The number waiting is bounded by
whoever puts in (`asset.queue`).

Who was turned away because the device is slow keeps the place that he had until it is his turn: otherwise two
callers who were just served would be served again and again, and the others never.
"""

from collections import OrderedDict, deque

from gateway.guard.permit import ActPermit, Permit
from gateway.guard.ports import Sink


class Waiting:
    """One permit on its way: queued, then in flight."""

    __slots__ = ("deadline_ns", "permit", "sink")

    def __init__(self, permit: Permit, sink: Sink, deadline_ns: int) -> None:
        self.permit = permit
        self.sink = sink
        self.deadline_ns = deadline_ns


MOST_PLACES = 1024
"Callers in the order of turns, those with nothing waiting included; beyond it they keep no place."

Queue = OrderedDict[int, deque[Waiting]]
"By caller, the one whose turn it is first."


MOST_ACTS = 8
"Acts in a row while reads wait: then one read goes, so that a stream of writes does not end all polling."


class Turns:
    """What waits for one device."""

    __slots__ = ("_acts", "_in_a_row", "_length", "_reads")

    def __init__(self) -> None:
        self._acts: Queue = OrderedDict()
        self._reads: Queue = OrderedDict()
        self._length = 0
        self._in_a_row = 0
        "Acts that went before waiting reads."

    def __len__(self) -> int:
        return self._length

    def of(self, permit: Permit) -> int:
        """How many of this permit's caller wait already."""
        key = id(permit.caller)
        return len(self._acts.get(key, ())) + len(self._reads.get(key, ()))

    @property
    def urgent(self) -> bool:
        """Whether somebody waits who wants to change the plant."""
        return bool(self._acts)

    def put(self, waiting: Waiting) -> None:
        """Wait behind what the same caller has waiting, and in turn with the others."""
        queue = self._acts if isinstance(waiting.permit, ActPermit) else self._reads
        queue.setdefault(id(waiting.permit.caller), deque()).append(waiting)
        self._length += 1

    def next(self) -> Waiting:
        """Whose turn it is. Raises KeyError where nothing waits."""
        self._in_a_row = self._in_a_row + 1 if self._acts else 0
        reading = not self._acts or (self._in_a_row > MOST_ACTS and any(self._reads.values()))
        if reading:
            self._in_a_row = 0
        queue = self._reads if reading else self._acts
        caller, waits = queue.popitem(last=False)
        while not waits:
            caller, waits = queue.popitem(last=False)
        waiting = waits.popleft()
        if waits:
            queue[caller] = waits
        self._length -= 1
        return waiting

    def overdue(self, mono_ns: int) -> list[Waiting]:
        """Take out what has waited too long."""
        late: list[Waiting] = []
        for queue in (self._acts, self._reads):
            for caller in list(queue):
                waits = queue[caller]
                while waits and waits[0].deadline_ns <= mono_ns:
                    late.append(waits.popleft())
                if not waits and (queue is self._acts or len(queue) > MOST_PLACES):
                    del queue[caller]
        self._length -= len(late)
        return late

    def drain(self) -> list[Waiting]:
        """Take out everything."""
        everything = [
            each for queue in (self._acts, self._reads) for waits in queue.values() for each in waits
        ]
        self._acts.clear()
        self._reads.clear()
        self._length = 0
        return everything
