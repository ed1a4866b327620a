"""A listener without TLS: for clients that know nothing better, on a line that nobody else can reach.

It identifies nobody. Whoever comes is `anonymous:<listener>`, has no role, and gets only what a site grants
to this very listener by name; core guardrails see to that. `check` warns of it, the journal says so in every
record. Putting stunnel next to such a client (docs/guides/legacy-clients.md) is nearly always the better way.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from gateway.config.settings import Listener as Limits
from gateway.guard.ports import Journal
from gateway.model.identity import Authentication, Caller, Identity, Kind
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids
from gateway.relay.flush import Flush
from gateway.relay.listener import Count
from gateway.relay.tls import HIGH_WATER


class PlainConnection(asyncio.Protocol):
    """One accepted connection; `inner` sees the bytes as they are."""

    def __init__(self, listener: "PlainListener") -> None:
        self._listener = listener
        self._inner: asyncio.Protocol | None = None
        self.transport: asyncio.Transport | None = None
        self.caller: Caller | None = None
        self.reads = 0
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        address = transport.get_extra_info("peername")
        self.caller = self._listener.begin(self, str(address[0]) if address else "")
        if self.caller is None:
            self.transport.abort()
            return
        self._inner = self._listener.inner(self.caller)
        self._inner.connection_made(PlainTransport(self, self.transport))

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        if self._inner is not None:
            self._inner.data_received(data)

    def write(self, data: bytes) -> None:
        """Send at the end of the loop's turn."""
        if not self._out:
            self._listener.flush.add(self)
        self._out.append(data)

    def flush(self) -> None:
        """Write what was sent in this turn of the loop."""
        out, self._out = self._out, []
        if out and self.transport is not None:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self.transport = None  # what still wants to be flushed has nowhere to go
        self._listener.end(self)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()


class PlainTransport(asyncio.Transport):
    """The transport that the inner protocol sees: it writes at the end of the loop's turn."""

    def __init__(self, connection: PlainConnection, below: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._below = below
        self.write = connection.write  # type: ignore[assignment,method-assign] # one call less on the hot path

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def close(self) -> None:
        self._connection.flush()
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()


class PlainListener:
    """One listening socket without TLS."""

    def __init__(
        self,
        limits: Limits,
        *,
        inner: Callable[[Caller], asyncio.Protocol],
        journal: Journal,
        clock: Callable[[], Now],
        ulids: Ulids,
        count: Count,
        flush: Flush | None = None,
    ) -> None:
        """`flush` is best shared by all that writes in one loop."""
        self.limits = limits
        self.flush = flush or Flush()
        self.inner = inner
        self._journal = journal
        self._clock = clock
        self._ulids = ulids
        self._count = count
        self._connections: dict[PlainConnection, tuple[int, int]] = {}
        "How much each had read when it was last seen to have moved, and when that was."
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: PlainConnection(self), self.limits.host, self.limits.port, backlog=512
        )

    def quiesce(self) -> None:
        """Take nobody and nothing more; what was taken may still be answered."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.pause_reading()

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            if connection.transport is not None:
                connection.flush()
                connection.transport.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server and self._server.sockets else 0

    def status(self) -> dict[str, Any]:
        """For `status`."""
        return {
            "name": self.limits.name,
            "address": f"{self.limits.host}:{self.limits.port}",
            "zone": self.limits.zone,
            "tls": "none",
            "connections": len(self._connections),
        }

    def renew(self) -> None:
        """There is no context to make."""

    def judge(self) -> None:
        """Nobody here has a certificate that could be judged."""

    def close_idle(self) -> None:
        """Close connections that have said nothing for `idle_s`."""
        mono_ns = self._clock().mono_ns
        for connection, (reads, since_ns) in self._connections.items():
            if reads != connection.reads:
                self._connections[connection] = (connection.reads, mono_ns)
            elif mono_ns - since_ns > self.limits.idle_s * 1e9 and connection.transport is not None:
                self._count("connections_idle")
                connection.transport.close()

    # what connections tell -----------------------------------------------------------------------

    def begin(self, connection: PlainConnection, source: str) -> Caller | None:
        """Who this is: nobody, from there. None where there are too many already."""
        now = self._clock()
        note = {"listener": self.limits.name, "tls": None}
        if len(self._connections) >= self.limits.most_connections:
            self._count("connections_turned_away")
            note |= {"result": "refused", "code": "too_many_connections"}
            self._journal.event(RecordKind.AUTH, note, now, source=source)
            return None
        self._connections[connection] = (0, now.mono_ns)
        identity = Identity(
            subject=f"anonymous:{self.limits.name}",
            kind=Kind.NOBODY,
            auth=Authentication.NONE,
            zone=self.limits.zone,
        )
        caller = Caller(
            identity=identity,
            source=source,
            listener=self.limits.name,
            zone=self.limits.zone,
            tls=None,
            connection=self._ulids.next(now.wall_ns),
        )
        self._journal.event(RecordKind.AUTH, {"result": "unidentified", **note}, now, caller=caller)
        return caller

    def end(self, connection: PlainConnection) -> None:
        """It is gone."""
        self._connections.pop(connection, None)
