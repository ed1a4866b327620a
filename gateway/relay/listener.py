"""A place where callers come in: accept, shake hands, identify, hand over to a protocol.

The same listener serves Modbus and HTTPS; only the inner protocol differs. Each connection gets the current
context, so a change of trust counts from the next handshake on, and `judge` makes it count for the
connections that live (invariant 7).
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gateway.config.settings import Listener as Limits
from gateway.guard.limits import Rates
from gateway.guard.ports import Journal
from gateway.identity.certificate import Refused
from gateway.identity.contexts import server_context
from gateway.identity.trust import ZoneTrust
from gateway.model.identity import Caller, Identity
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids
from gateway.relay.flush import Flush
from gateway.relay.tls import TlsConnection

log = logging.getLogger(__name__)

HANDSHAKES_PER_SECOND = 100.0
"""Handshakes that one address may begin in a second, after a burst of as many. A handshake costs about a
millisecond: an unauthenticated flood must not take the processor from those who are already in."""

SHARE_OF_ONE = 4
"One address may have one in so many of `most_handshakes` under way: a silent one locks out nobody else."


class Count(Protocol):
    """Counts something for the metrics."""

    def __call__(self, name: str, n: int = 1) -> None: ...


class TlsListener:
    """One listening socket and the connections that came in by it."""

    def __init__(
        self,
        limits: Limits,
        *,
        trust: ZoneTrust,
        certificate: Path,
        key: Path,
        inner: Callable[[Caller], asyncio.BaseProtocol],
        journal: Journal,
        clock: Callable[[], Now],
        ulids: Ulids,
        count: Count,
        flush: Flush | None = None,
    ) -> None:
        """`flush` is best shared by all that writes in one loop."""
        self.limits = limits
        self._trust = trust
        self._certificate = certificate
        self._key = key
        self._inner = inner
        self._journal = journal
        self._clock = clock
        self._ulids = ulids
        self._count = count
        self._flush = flush or Flush()
        self._rates = Rates()
        self._connections: dict[TlsConnection, asyncio.TimerHandle | None] = {}
        self._seen: dict[TlsConnection, tuple[int, int]] = {}
        "How much each connection had read when it was last seen to have moved, and when that was."
        self._handshakes = 0
        self._server: asyncio.Server | None = None
        self._context: ssl.SSLContext = server_context(certificate, key, trust)

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self.limits.host, self.limits.port, backlog=512)

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
        for connection in list(self._connections):
            connection.close()

    @property
    def port(self) -> int:
        """The port it listens on (useful where 0 was asked for)."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server and self._server.sockets else 0

    def status(self) -> dict[str, Any]:
        """For `status`."""
        return {
            "name": self.limits.name,
            "address": f"{self.limits.host}:{self.limits.port}",
            "zone": self.limits.zone,
            "connections": sum(1 for c in self._connections if c.established),
            "handshakes": self._handshakes,
            "callers": sorted({c.caller.identity.subject for c in self._connections if c.caller}),
        }

    def renew(self) -> None:
        """A new context for who comes, of trust and certificate as they are now. May raise IdentityError.

        After a change of trust call `judge` first: whoever was revoked goes, whatever becomes of this.
        """
        self._context = server_context(self._certificate, self._key, self._trust)

    def judge(self) -> None:
        """Cut every connection whose certificate would not be let in now: revoked, expired, its zone gone."""
        now = self._clock()
        for connection in list(self._connections):
            certificate = connection.certificate
            if certificate is None:
                continue
            admitted = self._trust.admit(certificate, now)
            if isinstance(admitted, Refused):
                self._note("cut", admitted.code, admitted.message, now, connection)
                connection.abort()

    def admits(self, caller: Caller) -> bool:
        """Whether that very caller is still connected, and would be let in now."""
        shown = next((each.certificate for each in self._connections if each.caller is caller), None)
        return shown is not None and isinstance(self._trust.admit(shown, self._clock()), Identity)

    def close_idle(self) -> None:
        """Close connections that have said nothing for `idle_s`. Called from a slow timer."""
        mono_ns = self._clock().mono_ns
        before, self._seen = self._seen, {}
        for connection in list(self._connections):
            reads, since_ns = before.get(connection, (-1, mono_ns))
            if reads != connection.reads:
                since_ns = mono_ns
            self._seen[connection] = (connection.reads, since_ns)
            if mono_ns - since_ns > self.limits.idle_s * 1e9:
                self._count("connections_idle")
                connection.close()

    # one connection ------------------------------------------------------------------------------

    def _accept(self) -> asyncio.BaseProtocol:
        return TlsConnection(self._context, self._begin, self._admit, self._inner, self._end, self._flush)

    def _begin(self, connection: TlsConnection) -> bool:
        """Whether the handshake may begin."""
        code = self._turned_away(connection)
        if code is not None:
            self._count("connections_turned_away")
            self._note("refused", code, "closed before TLS began", self._clock(), connection)
            return False
        if self._handshakes >= self.limits.most_handshakes:
            self._make_room()
        self._handshakes += 1
        loop = asyncio.get_running_loop()
        self._connections[connection] = loop.call_later(self.limits.handshake_s, self._too_slow, connection)
        return True

    def _turned_away(self, connection: TlsConnection) -> str | None:
        """Why this peer may not even begin; each bound is a source's own where that is possible."""
        if len(self._connections) >= self.limits.most_connections:
            return "too_many_connections"
        of_source = sum(c.peer == connection.peer and t is not None for c, t in self._connections.items())
        if of_source >= max(1, self.limits.most_handshakes // SHARE_OF_ONE):
            return "too_many_handshakes"
        rate = HANDSHAKES_PER_SECOND
        return None if self._rates.take((connection.peer,), rate, 1.0, self._clock().mono_ns) else "too_fast"

    def _make_room(self) -> None:
        """Cut the handshake that has had the most time: who is honest is done in milliseconds."""
        for connection, timer in self._connections.items():
            if timer is not None:
                connection.failure = "HANDSHAKE_CROWDED_OUT"
                self._count("handshakes_crowded_out")
                self._handshake_over(connection)
                connection.abort()
                return

    def _too_slow(self, connection: TlsConnection) -> None:
        connection.failure = "HANDSHAKE_TIMEOUT"
        connection.abort()

    def _admit(self, connection: TlsConnection, certificate: bytes | None) -> Caller | None:
        now = self._clock()
        self._handshake_over(connection)
        admitted: Identity | Refused
        if certificate is None:
            admitted = Refused("no_certificate", "the peer showed no certificate")
        else:
            admitted = self._trust.admit(certificate, now)
        if isinstance(admitted, Identity) and self._of(admitted.subject) >= self.limits.most_connections // 2:
            admitted = Refused(
                "too_many_connections", f"{admitted.subject} has half of all connections already"
            )
        if isinstance(admitted, Refused):
            self._count("handshakes_refused")
            self._note("refused", admitted.code, admitted.message, now, connection)
            return None
        caller = Caller(
            identity=admitted,
            source=connection.peer,
            listener=self.limits.name,
            zone=self.limits.zone,
            tls=connection.version(),
            connection=self._ulids.next(now.wall_ns),
        )
        self._count("handshakes_accepted")
        self._journal.event(
            RecordKind.AUTH,
            {"result": "accepted", "tls": caller.tls, "listener": caller.listener},
            now,
            caller=caller,
        )
        return caller

    def _of(self, subject: str) -> int:
        """Connections of one identity. It may have half of all: the other half is for everybody else."""
        return sum(c.caller is not None and c.caller.identity.subject == subject for c in self._connections)

    def _end(self, connection: TlsConnection, failure: str | None) -> None:
        if connection not in self._connections:
            return
        if connection.caller is None:
            self._handshake_over(connection)
            if failure is not None:
                self._count("handshakes_failed")
                self._note(
                    "refused", f"tls.{failure.lower()}", "the handshake failed", self._clock(), connection
                )
        del self._connections[connection]

    def _handshake_over(self, connection: TlsConnection) -> None:
        timer = self._connections.get(connection)
        if timer is not None:
            timer.cancel()
            self._connections[connection] = None
            self._handshakes -= 1

    def _note(self, result: str, code: str, message: str, now: Now, connection: TlsConnection) -> None:
        note = {"result": result, "code": code, "message": message, "listener": self.limits.name}
        self._journal.event(
            RecordKind.AUTH,
            note,
            now,
            caller=connection.caller,
            source=None if connection.caller else connection.peer,
        )
