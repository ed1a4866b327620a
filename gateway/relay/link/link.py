"""Links to plant devices: the only writers towards the plant, and they take nothing but permits.

Rules that hold here:
- Nothing is ever sent twice (invariant 6): a request that went out and got no answer ends as NO_ANSWER.
- Whoever waits takes turns (`turns.py`); answers find their way by ids of ours (`connection.py`).
"""

import asyncio
import logging
from collections.abc import Callable

from gateway.guard.passage import Door, settle
from gateway.guard.permit import ActPermit, Permit
from gateway.guard.ports import Sink
from gateway.model.asset import Asset
from gateway.model.decision import Why
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.relay.flush import Flush
from gateway.relay.link.connect import Lines, connect
from gateway.relay.link.connection import Connection
from gateway.relay.link.turns import Turns, Waiting
from gateway.relay.tasks import Tasks

log = logging.getLogger(__name__)

RECONNECT_S = 1.0
"After a connection could not be made, requests fail at once for this long instead of waiting each in turn."
CONTENT_S = 30.0
"After a device turned away one connection more than it has, no more than those are opened for this long."
TURN_SHARE = 0.9
"""How long a request may wait for its turn, as a share of the device's time-out. The device has its time-out
after that, so whoever asks is answered before two of them are over."""
SHARE_OF_ONE = 4
"One caller may fill a quarter of a device's queue: who asks without end is told 06, others still get in."


class PlantLink:
    """One asset's link. All callers share it; with `upstream: per-client` each client has one of its own."""

    def __init__(
        self,
        asset: Asset,
        *,
        door: Door,
        clock: Callable[[], Now],
        tasks: Tasks,
        lines: Lines | None = None,
        flush: Flush | None = None,
    ) -> None:
        """Links of devices on one serial line are given the same `lines`; all links of a loop one `flush`."""
        self.asset = asset
        self.door = door
        self.clock = clock
        self.flush = flush or Flush()
        self._tasks = tasks
        self._timeout_ns = asset.timeout_ms * 1_000_000
        self._lines = lines or Lines()
        self._connections: list[Connection] = []
        self._connecting = 0
        self._turns = Turns()
        self._down_until_ns = 0
        self._content_until_ns = 0
        self._spacing_ns = asset.spacing_ms * 1_000_000
        self._next_ns = 0
        "Before this (monotonic) the device wants to be left alone."
        self._spacer: asyncio.TimerHandle | None = None
        self._closed = False
        self.counts = {"sent": 0, "timeouts": 0, "connects": 0, "refused_full": 0}

    # what callers use --------------------------------------------------------------------------

    def send(self, permit: Permit, sink: Sink, now: Now) -> None:
        """Queue a permit (see guard.ports.Plant)."""
        waiting = Waiting(permit, sink, now.mono_ns + int(self._timeout_ns * TURN_SHARE))
        if not self._turns and (connection := self._free(now)) is not None:
            self._launch(connection, waiting, now)
            return
        share = self.asset.queue // SHARE_OF_ONE
        full = self.queued >= self.asset.queue or (self.queued >= share and self._turns.of(permit) >= share)
        if full or self._closed:
            self.counts["refused_full"] += 1
            asyncio.get_running_loop().call_soon(self._unsent, waiting, Why.BUSY)
            return
        if not self._connections and not self._connecting and now.mono_ns < self._down_until_ns:
            asyncio.get_running_loop().call_soon(self._unsent, waiting, Why.NO_PATH)
            return
        self._turns.put(waiting)
        self.pump(now)

    def open(self) -> None:
        """Connect now instead of with the first request (per-client links open with their client)."""
        if not self._connections and not self._connecting:
            self._connect()

    def close(self) -> None:
        """Take nothing more; what waits is told, what is in flight may still be answered in its time."""
        self._closed = True
        now = self.clock()
        for waiting in self._turns.drain():
            self._unsent(waiting, Why.NO_PATH)
        for connection in list(self._connections):
            connection.retire(None, now)
            if not connection.outstanding:
                connection.close()

    def cut(self) -> None:
        """Close now: what is in flight ends as unknown, and that is told before this returns."""
        self.close()
        for connection in list(self._connections):
            self.lost(connection)
            connection.close()

    @property
    def finished(self) -> bool:
        """Closed, and nothing is in flight."""
        return self._closed and not self._connections and not self._connecting

    @property
    def up(self) -> bool:
        """Whether a connection to the device is open."""
        return bool(self._connections)

    @property
    def queued(self) -> int:
        """Requests that wait for their turn."""
        return len(self._turns)

    @property
    def urgent(self) -> bool:
        """Whether somebody waits who wants to change the plant."""
        return self._turns.urgent

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return sum(len(c.outstanding) for c in self._connections)

    # sending -----------------------------------------------------------------------------------

    def pump(self, now: Now) -> None:
        """Send what may be sent, one caller after the other."""
        while self._turns:
            connection = self._free(now)
            if connection is None:
                self._connect_if_useful(now)
                return
            self._launch(connection, self._turns.next(), now)

    def _free(self, now: Now) -> Connection | None:
        if now.mono_ns < self._next_ns:
            self._pump_later((self._next_ns - now.mono_ns) / 1e9)
            return None
        best, load = None, self.asset.in_flight
        for connection in self._connections:
            if connection.ready and len(connection.outstanding) < load:
                best, load = connection, len(connection.outstanding)
                if load == 0:
                    break
        return best

    def _launch(self, connection: Connection, waiting: Waiting, now: Now) -> None:
        if waiting.sink.gone:
            self._unsent(waiting, Why.BUSY)
            return
        pdu = waiting.permit.spend(self.door.engine.revision, now.mono_ns)
        if pdu is None:
            self._unsent(waiting, Why.BUSY)
            return
        waiting.deadline_ns = now.mono_ns + self._timeout_ns
        self.counts["sent"] += 1
        if self._spacing_ns:
            self._next_ns = now.mono_ns + self._spacing_ns
        connection.send(waiting, pdu)

    def _pump_later(self, seconds: float) -> None:
        if self._spacer is None:
            self._spacer = asyncio.get_running_loop().call_later(seconds, self._spaced)

    def _spaced(self) -> None:
        self._spacer = None
        self.pump(self.clock())

    # endings -----------------------------------------------------------------------------------

    def failed(self, waiting: Waiting, status: str, now: Now) -> None:
        """It was sent, and what came of it is not known."""
        settle(waiting.permit, {"status": status}, b"", self.door, now)
        waiting.sink.failed(waiting.permit, Why.NO_ANSWER)

    def _unsent(self, waiting: Waiting, why: Why) -> None:
        settle(waiting.permit, {"status": "not_sent", "why": why.value}, b"", self.door, self.clock())
        waiting.sink.failed(waiting.permit, why)

    def finding(self, name: str, now: Now) -> None:
        """The device broke the protocol."""
        note = {"finding": name, "asset": self.asset.name, "side": "plant"}
        self.door.journal.event(RecordKind.FINDING, note, now, source=self.asset.host)

    def lost(self, connection: Connection) -> None:
        """A connection is gone; what was in flight on it stays unanswered for ever."""
        now = self.clock()
        if connection in self._connections:
            self._connections.remove(connection)
            if not connection.proven:
                self._turned_away(now)
        orphans, connection.outstanding = connection.outstanding, {}
        for waiting in orphans.values():
            self.failed(
                waiting, "unknown" if isinstance(waiting.permit, ActPermit) else "connection_lost", now
            )
        self.pump(now)

    def sweep(self, now: Now) -> None:
        """Find what has waited too long (one timer calls this for all links)."""
        mono_ns = now.mono_ns
        for connection in self._connections:
            while connection.outstanding:
                tid = next(iter(connection.outstanding))
                if connection.outstanding[tid].deadline_ns > mono_ns:
                    break
                self.counts["timeouts"] += 1
                connection.retire(None, now)
                self.failed(connection.outstanding.pop(tid), "timeout", now)
            if connection.retired and not connection.outstanding:
                connection.close()
        if self._turns:
            for waiting in self._turns.overdue(mono_ns):
                self._unsent(waiting, Why.BUSY if self._connections else Why.NO_PATH)
            self.pump(now)

    # connecting ----------------------------------------------------------------------------------

    def _connect_if_useful(self, now: Now) -> None:
        """Retired connections still count: some devices accept no more than they said, some fewer."""
        if self._connections and now.mono_ns < self._content_until_ns:
            return
        if len(self._connections) + self._connecting < self.asset.connections and not self._closed:
            self._connect()

    def _turned_away(self, now: Now) -> None:
        """The device does not want this connection; if it has others, it seems to have all that it bears."""
        if self._connections:
            self._content_until_ns = now.mono_ns + int(CONTENT_S * 1e9)

    def _connect(self) -> None:
        self._connecting += 1
        self._tasks.start(self._open(), f"connect {self.asset.name}")

    async def _open(self) -> None:
        self.counts["connects"] += 1
        try:
            async with asyncio.timeout(self.asset.timeout_ms / 1000):
                connection = await connect(self, self._lines)
        except (OSError, TimeoutError) as error:
            self._connecting -= 1
            self._turned_away(self.clock())
            if not self._connections:
                log.warning("asset %s: no connection: %s", self.asset.name, error)
                self._down_until_ns = self.clock().mono_ns + int(RECONNECT_S * 1e9)
                for waiting in self._turns.drain():
                    self._unsent(waiting, Why.NO_PATH)
            return
        self._connecting -= 1
        if self._closed:
            connection.close()
            return
        self._connections.append(connection)
        self.pump(self.clock())
