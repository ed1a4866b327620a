"""One connection of an OPC UA client: bytes in, at a bounded pace; whole messages to who answers them.

A peer costs the others no more than PACKETS_A_TURN frames of a loop's turn, what its token bucket gives, and
what its socket takes: who does not read his answers is not read from (facts §8).
"""

import asyncio
from struct import Struct as Layout
from typing import TYPE_CHECKING, cast

from gateway.identity.chain import Admitted
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.relay.opcua import bounds
from gateway.relay.opcua.bounds import Bucket
from gateway.wire.opcua import refusal
from gateway.wire.opcua.events import Closed, Event, Hello, Lost, Message, Opened
from gateway.wire.opcua.framing import HEAD_SIZE
from gateway.wire.opcua.server_channel import ServerChannel
from gateway.wire.opcua.status import Status

if TYPE_CHECKING:
    from gateway.relay.opcua.listener import OpcuaListener
    from gateway.relay.opcua.session import Session

_SIZE = Layout("<I").unpack_from


class OpcuaClient(asyncio.Protocol):
    """One client connection."""

    def __init__(self, listener: "OpcuaListener") -> None:
        self.listener = listener
        self.channel: ServerChannel
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.url = ""
        "By which the client came, as its Hello says."
        self.caller: Caller | None = None
        "The application, once its channel is open; what a session asks has a caller of its own."
        self.admitted: Admitted | None = None
        self.chain = b""
        self.sessions: set[Session] = set()
        "Those that are bound to this channel."
        self.began_ns = 0
        self.reads = 0
        "Grows with every piece that arrives."
        self.over = False
        self._bucket = Bucket(min(bounds.STRANGER_PER_S, listener.limits.requests_per_s))
        self._waiting = b""
        "What came and is not handled yet; nothing more is read from the peer meanwhile."
        self._rest = 0
        "Bytes of the current frame that the channel waits for."
        self._full = False
        "Whether the peer does not read what we say."
        self._stopped = False
        "Whether reading is paused."
        self._again: asyncio.Handle | None = None
        self._out: list[bytes] = []

    # asyncio's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=bounds.HIGH_WATER)
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else ""
        channel = self.listener.begin(self)
        if channel is None:
            self.over = True
            self.transport.abort()
        else:
            self.channel = channel

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        self.reads += 1
        self._waiting = self._waiting + data if self._waiting else data
        if self._again is None:
            self._pump()

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.transport = None
        self._waiting = b""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.listener.end(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: nothing more of it is handled."""
        self._full = True
        self._read(False)

    def resume_writing(self) -> None:
        self._full = False
        if self._again is None and not self.over:
            self._pump()

    # the pump --------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Handle what came, within bounds; come back later for the rest."""
        self._again = None
        now = self.listener.clock()
        bucket, data, at = self._bucket, self._waiting, 0
        bucket.fill(now.mono_ns)
        turn = bounds.PACKETS_A_TURN
        size = len(data)
        while at < size and not self.over and not self._full:
            if not turn:
                self._again = asyncio.get_running_loop().call_soon(self._pump)
                break
            if bucket.tokens < 1:
                self._again = asyncio.get_running_loop().call_later(bounds.LOOK_AGAIN_S, self._pump)
                break
            if self._rest:
                end = at + min(self._rest, size - at)
                self._rest -= end - at
            elif size - at < HEAD_SIZE:
                break
            else:
                (length,) = _SIZE(data, at + 4)
                end = at + length if HEAD_SIZE <= length <= size - at else size
                self._rest = max(0, length - (end - at))
            piece = data if end - at == size else data[at:end]
            at = end
            if not self._rest:
                turn -= 1
                bucket.tokens -= 1
            self._receive(piece, now)
        self._waiting = data[at:] if not self.over else b""
        self._read(not self._full and self._again is None)

    def _read(self, go_on: bool) -> None:
        if self.transport is None or self._stopped is not go_on or self.over:
            return
        self._stopped = not go_on
        if go_on and not self.listener.quiet:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _receive(self, piece: bytes, now: Now) -> None:
        channel = self.channel
        events = channel.receive(piece, now)
        if channel.out:
            self.say(channel.take())
        for event in events:
            if type(event) is Message:
                self.listener.desk.message(self, event, now)
            else:
                self._other(event, now)

    def _other(self, event: Event, now: Now) -> None:
        match event:
            case Hello(url=url):
                self.url = url
                self.listener.hello(self, now)
            case Opened(renewed=False):
                self.listener.opened(self, now)
            case Closed():
                self.hang_up()
            case Lost(status=status, why=why, detail=detail):
                self.listener.lost(self, status, why.value, detail, now)
                self.hang_up()
            case _:
                pass

    # talking -----------------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Write this at the end of the loop's turn."""
        if not self._out:
            self.listener.flush.add(self)
        self._out.append(data)

    def answer(self, request_id: int, body: bytes, now: Now) -> None:
        """The answer to a request; nothing where the client is gone."""
        if not self.over and self.channel.opened:
            self.say(self.channel.message(request_id, body, now))

    def fault(self, request_id: int, handle: int, status: int, now: Now) -> None:
        """No, and which one."""
        self.answer(request_id, refusal.fault(handle, status, now.wall_ns), now)

    def flush(self) -> None:
        """Write what was said in this turn of the loop."""
        out, self._out = self._out, []
        transport = self.transport
        if out and transport is not None:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
            if transport.get_write_buffer_size() > bounds.MOST_WAITING:
                self.listener.count("opcua_slow_readers")
                self.over = True
                transport.abort()

    def sever(self, status: int) -> None:
        """Interpret nothing more of this peer, tell it the code, and close (invariant 4)."""
        if not self.over:
            self.say(self.channel.error(status))
            self.hang_up()

    def hang_up(self) -> None:
        """Close once what was said is on its way; a peer that does not read is cut after CLOSING_S."""
        if self.over:
            return
        self.flush()
        self.over = True
        if self.transport is not None:
            self.transport.close()
            asyncio.get_running_loop().call_later(bounds.CLOSING_S, self._abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def welcome(self) -> None:
        """It has come to a session: it is read from at the pace that its listener sets."""
        self._bucket = Bucket(self.listener.limits.requests_per_s)

    @property
    def settled(self) -> bool:
        """Whether it has come to an active session."""
        return any(session.active for session in self.sessions)

    def shut_out(self, now: Now) -> None:
        """It took too long to come to a session."""
        self.listener.lost(self, Status.TIMEOUT, "no active session in time", "", now)
        self.sever(Status.TIMEOUT)

    def drop(self) -> None:
        """Cut it now: its place is needed."""
        self.over = True
        if self.transport is not None:
            self.transport.abort()
        self.listener.end(self)
