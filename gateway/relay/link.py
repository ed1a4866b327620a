"""Links to plant devices: the only writers towards the plant, and they take nothing but permits.

Rules that hold here:
- Transaction ids are ours (they step by an odd stride from a random start, so that a device which answers
  with "another id" or twice does not hit one that a later request will use). No client's id goes upstream.
- A connection that owes us an answer, or gave us one that nobody asked for, gets no further request: it is
  retired, and closed once what is in flight on it is settled. A late answer has nowhere to go.
- Nothing is ever sent twice (invariant 6): a request that went out and got no answer ends as NO_ANSWER.
- Waiting requests take turns by caller, so that nobody starves behind a greedy one.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from struct import Struct as Layout
from typing import cast

from gateway.guard.passage import Door, settle
from gateway.guard.permit import ActPermit, Permit
from gateway.guard.ports import Sink
from gateway.model.asset import Asset
from gateway.model.decision import Why
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.framing import MbapReader
from gateway.wire.modbus.functions import DeviceException, Request, WrongAnswer, read_answer

log = logging.getLogger(__name__)

SWEEP_S = 0.02
"How often time-outs are looked for: one timer for all links, none per request."
RECONNECT_S = 1.0
"After a connection could not be made, requests fail at once for this long instead of waiting each in turn."
MBAP = Layout(">HHHB")

_OK = {"status": "ok"}


class Waiting:
    """One permit on its way: queued, then in flight."""

    __slots__ = ("deadline_ns", "permit", "sink")

    def __init__(self, permit: Permit, sink: Sink, deadline_ns: int) -> None:
        self.permit = permit
        self.sink = sink
        self.deadline_ns = deadline_ns


class PlantConnection(asyncio.Protocol):
    """One TCP connection to a device."""

    def __init__(self, link: "PlantLink") -> None:
        self._link = link
        self._reader = MbapReader()
        self._transport: asyncio.Transport | None = None
        self._tid = secrets.randbelow(65_536)
        self._stride = secrets.randbelow(16_384) * 2 + 1
        self.outstanding: dict[int, Waiting] = {}
        self.retired = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, waiting: Waiting, pdu: bytes) -> None:
        """Send one request under an id of ours."""
        outstanding = self.outstanding
        tid = self._tid = (self._tid + self._stride) & 0xFFFF
        while tid in outstanding:
            tid = self._tid = (self._tid + self._stride) & 0xFFFF
        outstanding[tid] = waiting
        if self._transport is not None:
            self._transport.write(MBAP.pack(tid, 0, len(pdu) + 1, self._link.asset.unit) + pdu)

    def data_received(self, data: bytes) -> None:
        link = self._link
        now = link.clock()
        for adu in self._reader.feed(data):
            waiting = self.outstanding.pop(adu.tid, None)
            if waiting is None:
                self.retire("unsolicited", now)
                continue
            if adu.unit != link.asset.unit:
                link.failed(waiting, "wrong_answer", now)
                self.retire("unit_mismatch", now)
                continue
            answer = read_answer(cast(Request, waiting.permit.frame), adu.pdu)
            if isinstance(answer, WrongAnswer):
                link.failed(waiting, "wrong_answer", now)
                self.retire(answer.finding, now)
                continue
            result = _OK
            if isinstance(answer, DeviceException):
                result = {"status": f"exception_{answer.code:02x}"}
            settle(waiting.permit, result, answer.data, link.door, now)
            waiting.sink.answered(waiting.permit, answer)
        if self._reader.lost is not None:
            self.retire(self._reader.lost, now)
            self.close()
        if self.retired and not self.outstanding:
            self.close()
        if link.queued:
            link.pump(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._link.lost(self)

    def retire(self, why: str | None, now: Now) -> None:
        """Send nothing more on this connection; `why` is recorded where the device broke the protocol."""
        if not self.retired:
            self.retired = True
            if why is not None:
                self._link.finding(why, now)

    def close(self) -> None:
        """Close; what is in flight ends as NO_ANSWER when the connection is lost."""
        if self._transport is not None:
            self._transport.close()


class PlantLink:
    """One asset's link. All callers share it; with `upstream: per-client` each client has one of its own."""

    def __init__(self, asset: Asset, *, door: Door, clock: Callable[[], Now], tasks: Tasks) -> None:
        self.asset = asset
        self.door = door
        self.clock = clock
        self._tasks = tasks
        self._timeout_ns = asset.timeout_ms * 1_000_000
        self._connections: list[PlantConnection] = []
        self._connecting = 0
        self._waits: OrderedDict[int, deque[Waiting]] = OrderedDict()
        self.queued = 0
        self._down_until_ns = 0
        self._closed = False
        self.counts = {"sent": 0, "timeouts": 0, "connects": 0, "refused_full": 0}

    # what callers use --------------------------------------------------------------------------

    def send(self, permit: Permit, sink: Sink) -> None:
        """Queue a permit (see guard.ports.Plant)."""
        now = self.clock()
        waiting = Waiting(permit, sink, now.mono_ns + self._timeout_ns)
        if self.queued == 0 and (connection := self._free()) is not None:
            self._launch(connection, waiting, now)
            return
        if self.queued >= self.asset.queue or self._closed:
            self.counts["refused_full"] += 1
            asyncio.get_running_loop().call_soon(self._unsent, waiting, Why.BUSY)
            return
        if not self._connections and not self._connecting and now.mono_ns < self._down_until_ns:
            asyncio.get_running_loop().call_soon(self._unsent, waiting, Why.NO_PATH)
            return
        self._waits.setdefault(id(permit.caller), deque()).append(waiting)
        self.queued += 1
        self.pump(now)

    def open(self) -> None:
        """Connect now instead of with the first request (per-client links open with their client)."""
        if not self._connections and not self._connecting:
            self._connect()

    def close(self) -> None:
        """Take nothing more; what waits is told, what is in flight may still be answered in its time."""
        self._closed = True
        now = self.clock()
        for waiting in self._drain():
            self._unsent(waiting, Why.NO_PATH)
        for connection in list(self._connections):
            connection.retire(None, now)
            if not connection.outstanding:
                connection.close()

    def cut(self) -> None:
        """Close now: what is in flight ends as unknown."""
        self.close()
        for connection in list(self._connections):
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
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return sum(len(c.outstanding) for c in self._connections)

    # sending -----------------------------------------------------------------------------------

    def pump(self, now: Now) -> None:
        """Send what may be sent, one caller after the other."""
        while self.queued:
            connection = self._free()
            if connection is None:
                self._connect_if_useful()
                return
            self._launch(connection, self._next(), now)

    def _free(self) -> PlantConnection | None:
        best, load = None, self.asset.in_flight
        for connection in self._connections:
            if not connection.retired and len(connection.outstanding) < load:
                best, load = connection, len(connection.outstanding)
                if load == 0:
                    break
        return best

    def _next(self) -> Waiting:
        caller, waits = self._waits.popitem(last=False)
        waiting = waits.popleft()
        if waits:
            self._waits[caller] = waits
        self.queued -= 1
        return waiting

    def _launch(self, connection: PlantConnection, waiting: Waiting, now: Now) -> None:
        if waiting.sink.gone:
            self._unsent(waiting, Why.BUSY)
            return
        pdu = waiting.permit.spend(self.door.engine.revision, now.mono_ns)
        if pdu is None:
            self._unsent(waiting, Why.BUSY)
            return
        waiting.deadline_ns = now.mono_ns + self._timeout_ns
        self.counts["sent"] += 1
        connection.send(waiting, pdu)

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

    def lost(self, connection: PlantConnection) -> None:
        """A connection is gone; what was in flight on it stays unanswered for ever."""
        if connection in self._connections:
            self._connections.remove(connection)
        now = self.clock()
        orphans, connection.outstanding = connection.outstanding, {}
        for waiting in orphans.values():
            self.failed(
                waiting, "unknown" if isinstance(waiting.permit, ActPermit) else "connection_lost", now
            )
        if self.queued:
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
        if self.queued:
            for waiting in self._overdue(mono_ns):
                self._unsent(waiting, Why.BUSY if self._connections else Why.NO_PATH)
            self.pump(now)

    def _overdue(self, mono_ns: int) -> list[Waiting]:
        late = []
        for caller in list(self._waits):
            waits = self._waits[caller]
            while waits and waits[0].deadline_ns <= mono_ns:
                late.append(waits.popleft())
                self.queued -= 1
            if not waits:
                del self._waits[caller]
        return late

    def _drain(self) -> list[Waiting]:
        waiting = [w for waits in self._waits.values() for w in waits]
        self._waits.clear()
        self.queued = 0
        return waiting

    # connecting ----------------------------------------------------------------------------------

    def _connect_if_useful(self) -> None:
        """Retired connections still count: some devices accept no more than they said."""
        if len(self._connections) + self._connecting < self.asset.connections and not self._closed:
            self._connect()

    def _connect(self) -> None:
        self._connecting += 1
        self._tasks.start(self._open(), f"connect {self.asset.name}")

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self.counts["connects"] += 1
        try:
            async with asyncio.timeout(self.asset.timeout_ms / 1000):
                _, connection = await loop.create_connection(
                    lambda: PlantConnection(self), self.asset.host, self.asset.port
                )
        except (OSError, TimeoutError) as error:
            self._connecting -= 1
            if not self._connections:
                log.warning("asset %s: no connection: %s", self.asset.name, error)
                self._down_until_ns = self.clock().mono_ns + int(RECONNECT_S * 1e9)
                for waiting in self._drain():
                    self._unsent(waiting, Why.NO_PATH)
            return
        self._connecting -= 1
        if self._closed:
            connection.close()
            return
        self._connections.append(connection)
        self.pump(self.clock())


class Links:
    """All links, and the one timer that looks for time-outs."""

    def __init__(self) -> None:
        self._links: set[PlantLink] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, link: PlantLink) -> PlantLink:
        """Watch a link's time-outs until `remove`."""
        self._links.add(link)
        return link

    def remove(self, link: PlantLink) -> None:
        """Close a link; it is forgotten once nothing is in flight on it."""
        link.close()
        if link.finished:
            self._links.discard(link)

    def start(self, clock: Callable[[], Now]) -> None:
        """Begin to sweep."""
        loop = asyncio.get_running_loop()

        def sweep() -> None:
            now = clock()
            for link in list(self._links):
                link.sweep(now)
                if link.finished:
                    self._links.discard(link)
            self._timer = loop.call_later(SWEEP_S, sweep)

        self._timer = loop.call_later(SWEEP_S, sweep)

    def stop(self) -> None:
        """Close every link."""
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links:
            link.cut()
        self._links.clear()
