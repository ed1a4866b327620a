"""One session with an OPC UA server of the plant: the only writer towards it, and it takes only permits.

Rules that hold here:
- Channel and session are set up as a TCP connection is (`opcua_opening`); every service after that needs a
  permit, the gateway's own questions too.
- Requests go at once and are answered in any order; each has a deadline. A late answer has nowhere to go.
- Nothing is ever sent twice (invariant 6). Where the server is gone, what was sent ends as unknown, and the
  session with it: another one would make every id that the client holds false.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from gateway.guard.passage import Door, settle
from gateway.guard.permit import ActPermit, Permit
from gateway.guard.ports import Sink
from gateway.model.asset import Asset
from gateway.model.decision import Why
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind
from gateway.relay.flush import Flush
from gateway.relay.link.opcua_outcome import result
from gateway.wire.opcua import refusal
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.events import Aborted, Acknowledged, Closed, Lost, Message, Opened
from gateway.wire.opcua.request import Outbound
from gateway.wire.opcua.session import MAKES
from gateway.wire.opcua.status import Status

log = logging.getLogger(__name__)

MOST_LATE = 1_000
"Requests whose time is over and whose answers may still come: a server that owes more is left."
MOST_UNWRITTEN = 4 * 1024 * 1024
"Bytes that a server has not taken yet: beyond it nothing more is sent, though requests' time may be over."
CLOSING_S = 2.0
"How long a server may take to take our farewell."
NEVER = 1 << 62
MILLISECOND = 1_000_000
HALF_MS = MILLISECOND // 2


class Asked:
    """A permit that was spent, and who waits for what comes of it."""

    __slots__ = ("deadline_ns", "permit", "sink")

    def __init__(self, permit: Permit, sink: Sink, deadline_ns: int) -> None:
        self.permit = permit
        self.sink = sink
        self.deadline_ns = deadline_ns


class OpcuaLink(asyncio.Protocol):
    """One channel and one session; made by `OpcuaLinks`, opened by `opcua_opening`."""

    def __init__(
        self,
        asset: Asset,
        channel: ClientChannel,
        *,
        door: Door,
        clock: Callable[[], Now],
        flush: Flush,
        request_s: float,
        closed: Callable[["OpcuaLink", str], None],
    ) -> None:
        """`closed` is told once when an open session has ended without `close`, and why."""
        self.asset = asset
        self.channel = channel
        self.door = door
        self.clock = clock
        self.token = b"\x00\x00"
        "The session's authentication token as it stands in a request header."
        self.namespaces: tuple[str, ...] = ()
        "NamespaceArray of the server, as read when the session began."
        self.timeout_ms = 0.0
        "The session's time-out, as the server revised it."
        self.last_ns = 0
        "When something was sent last (monotonic)."
        self.counts = {"sent": 0, "timeouts": 0, "late": 0}
        self._flush = flush
        self._longest_ns = int(request_s * SECOND)
        self.quiet: Callable[[OpcuaLink], None] | None = None
        "Told when nothing was sent for half of the session's time-out."
        self._closed_told: Callable[[OpcuaLink, str], None] | None = closed
        self._transport: asyncio.Transport | None = None
        self._asked: dict[int, Asked] = {}
        self._late: dict[int, None] = {}
        self._setup: dict[int, asyncio.Future[bytes]] = {}
        self._step: asyncio.Future[None] | None = None
        self._soonest_ns = NEVER
        "No deadline is before this."
        self._out: list[bytes] = []
        self.opened = False
        "Whether the session is active."
        self.why = ""
        "Why it is over, once it is."

    # what callers use --------------------------------------------------------------------------

    def send(self, permit: Permit, sink: Sink, now: Now) -> None:
        """See guard.ports.Plant."""
        if self._transport is None or not self.opened:
            asyncio.get_running_loop().call_soon(self._unsent, permit, sink, Why.NO_PATH)
            return
        if sink.gone:
            asyncio.get_running_loop().call_soon(self._unsent, permit, sink, Why.BUSY)
            return
        if self._transport.get_write_buffer_size() > MOST_UNWRITTEN:
            asyncio.get_running_loop().call_soon(self._unsent, permit, sink, Why.BUSY)
            return
        body = permit.spend(self.door.engine.revision, now.mono_ns)
        if body is None or not self.channel.fits(len(body)):
            asyncio.get_running_loop().call_soon(self._unsent, permit, sink, Why.BUSY)
            return
        deadline_ns = now.mono_ns + self._patience(cast(Outbound, permit.frame))
        if deadline_ns < self._soonest_ns:
            self._soonest_ns = deadline_ns
        request_id = self.channel.next_id()
        self._asked[request_id] = Asked(permit, sink, deadline_ns)
        self.counts["sent"] += 1
        self.last_ns = now.mono_ns
        self.say(self.channel.message(request_id, body, now))

    def _patience(self, frame: Outbound) -> int:
        hint_ns = frame.request.header.timeout_ms * MILLISECOND
        if frame.request.service.publish:
            return hint_ns or NEVER // 2
        if frame.request.service.name in MAKES:  # whoever asks does not choose that the answer gets lost
            return self._longest_ns
        return min(hint_ns, self._longest_ns) if hint_ns else self._longest_ns

    @property
    def up(self) -> bool:
        """Whether requests may be sent."""
        return self.opened and self._transport is not None

    @property
    def queued(self) -> int:
        """Nothing ever waits here."""
        return 0

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered, those left out that wait for something to happen."""
        return sum(
            not cast(Outbound, each.permit.frame).request.service.publish for each in self._asked.values()
        )

    @property
    def finished(self) -> bool:
        """Whether it is over."""
        return self._transport is None and bool(self.why)

    # for `opcua_opening` -----------------------------------------------------------------------

    def step(self) -> "asyncio.Future[None]":
        """What the next Acknowledge or OpenSecureChannel answer completes."""
        self._step = asyncio.get_running_loop().create_future()
        return self._step

    def ask(self, body: bytes) -> "asyncio.Future[bytes]":
        """A request about the session itself, and its answer."""
        request_id, now = self.channel.next_id(), self.clock()
        answer = self._setup[request_id] = asyncio.get_running_loop().create_future()
        self.say(self.channel.message(request_id, body, now))
        return answer

    # asyncio's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = self.clock()
        events = self.channel.receive(data, now)
        if self.channel.out:
            self.say(self.channel.take())
        for event in events:
            match event:
                case Message(request_id=request_id, body=body):
                    self._answer(request_id, body, now)
                case Acknowledged() | Opened():
                    if self._step is not None and not self._step.done():
                        self._step.set_result(None)
                case Aborted(request_id=request_id, status=status):
                    self._aborted(request_id, status, now)
                case Lost(status=status, why=why):
                    self._finding(f"{why} ({status:08x})", now)
                    self.cut(f"the connection to the server is lost: {why} ({status:08x})")
                case Closed():
                    self.cut("the server closed the channel")
                case _:
                    self.cut("the server says what only clients say")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.cut("the connection to the server ended")

    def flush(self) -> None:
        """Write what was said in this turn of the loop."""
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def say(self, data: bytes) -> None:
        """Write this at the end of the loop's turn."""
        if not self._out:
            self._flush.add(self)
        self._out.append(data)

    # answers ---------------------------------------------------------------------------------------

    def _answer(self, request_id: int, body: bytes, now: Now) -> None:
        asked = self._asked.pop(request_id, None)
        if asked is None:
            self._other(request_id, body, now)
            return
        permit = asked.permit
        frame = cast(Outbound, permit.frame)
        answer = read_answer(frame, body)
        if not isinstance(answer, ServiceAnswer):
            settle(permit, {"status": "wrong_answer"}, b"", self.door, now)
            self._finding(f"answer to {frame.request.service.name}: {answer.what}", now)
            said = refusal.fault(frame.request.header.handle, Status.COMMUNICATION_ERROR, now.wall_ns)
            answer = read_answer(frame, said)  # splice rule 3: the client hears that it cannot be told
            if isinstance(answer, ServiceAnswer):
                asked.sink.answered(permit, answer, now)
            return
        parts = answer.parts
        data = parts if len(parts) == len(permit.operations) else answer.data
        settle(permit, result(answer, len(permit.operations)), data, self.door, now)
        asked.sink.answered(permit, answer, now)

    def _aborted(self, request_id: int, status: int, now: Now) -> None:
        """The server gave up an answer halfway: what it did nobody knows."""
        asked = self._asked.pop(request_id, None)
        self._late.pop(request_id, None)
        if asked is not None:
            settle(asked.permit, {"status": "unknown", "why": f"aborted_{status:08x}"}, b"", self.door, now)
            asked.sink.failed(asked.permit, Why.NO_ANSWER)

    def _other(self, request_id: int, body: bytes, now: Now) -> None:
        waiting = self._setup.pop(request_id, None)
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(body)
        elif request_id in self._late:
            del self._late[request_id]
            self.counts["late"] += 1
        else:
            self._finding("an answer that nobody asked for", now)
            self.cut("the server answered what nobody asked")

    def sweep(self, now: Now) -> None:
        """Find what has waited too long, and renew the channel (one timer calls this for all links)."""
        if self.opened and self.channel.due_renewal(now):
            self.say(self.channel.renew(now))
        if self.quiet is not None and now.mono_ns - self.last_ns > self.timeout_ms * HALF_MS:
            self.last_ns = now.mono_ns
            self.quiet(self)
        if now.mono_ns < self._soonest_ns:
            return
        self._soonest_ns = NEVER
        for request_id, asked in list(self._asked.items()):
            if asked.deadline_ns > now.mono_ns:
                self._soonest_ns = min(self._soonest_ns, asked.deadline_ns)
                continue
            del self._asked[request_id]
            self._late[request_id] = None
            self.counts["timeouts"] += 1
            settle(asked.permit, {"status": "timeout"}, b"", self.door, now)
            asked.sink.failed(asked.permit, Why.NO_ANSWER)
        if len(self._late) > MOST_LATE:
            self.cut("the server owes too many answers")

    # endings -----------------------------------------------------------------------------------------

    def close(self, farewell: bytes | None = None) -> None:
        """End the session: `farewell` is the request that says so. What was asked is not waited for."""
        self._closed_told = None
        if self._transport is not None and self.channel.opened and farewell is not None:
            now = self.clock()
            self.say(self.channel.message(self.channel.next_id(), farewell, now) + self.channel.close(now))
            self.flush()
        self.cut("closed")

    def cut(self, why: str = "the gateway stops") -> None:
        """It is over: what is in flight ends as unknown, and that is told before this returns."""
        if self.why:
            return
        self.why = why
        self.opened = False
        now = self.clock()
        if self._transport is not None:
            if self._out:
                self.flush()
            transport, self._transport = self._transport, None
            transport.close()
            asyncio.get_running_loop().call_later(CLOSING_S, transport.abort)
        for answer in self._setup.values():
            _give_up(answer, why)
        if self._step is not None:
            _give_up(self._step, why)
        asked, self._asked = self._asked, {}
        for each in asked.values():
            status = "unknown" if isinstance(each.permit, ActPermit) else "connection_lost"
            settle(each.permit, {"status": status}, b"", self.door, now)
            each.sink.failed(each.permit, Why.NO_ANSWER)
        if self._closed_told is not None:
            told, self._closed_told = self._closed_told, None
            told(self, why)

    def _unsent(self, permit: Permit, sink: Sink, why: Why) -> None:
        settle(permit, {"status": "not_sent", "why": why.value}, b"", self.door, self.clock())
        sink.failed(permit, why)

    def _finding(self, name: str, now: Now) -> None:
        note = {"finding": name[:500], "asset": self.asset.name, "side": "plant"}
        self.door.journal.event(RecordKind.FINDING, note, now, source=self.asset.host)


def _give_up(future: "asyncio.Future[Any]", why: str) -> None:
    if not future.done():
        future.set_exception(ConnectionError(why))
        future.exception()  # perhaps nobody waits any more
