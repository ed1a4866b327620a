"""A place where OPC UA clients come in: connections, channels and sessions, their budgets, and who must go.

Like `relay.listener` for TLS: each connection gets certificate and trust as they are now, and `judge` makes a
change of either count for the connections and sessions that live (invariant 7). A change of policy or of
facts is looked for on every look round: live monitored items are then decided again (`again`).
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.settings import OpcuaListener as Limits
from gateway.config.settings import UserTokens
from gateway.guard.limits import Rates
from gateway.guard.passage import Door
from gateway.identity.application import shown
from gateway.identity.applications import Applications
from gateway.identity.certificate import Refused
from gateway.identity.inbox import Inbox
from gateway.identity.users import User, Users
from gateway.model.asset import OpcuaUser
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids
from gateway.relay.flush import Flush
from gateway.relay.listener import Count
from gateway.relay.modbus import TagMemory
from gateway.relay.opcua import bounds
from gateway.relay.opcua.again import Again
from gateway.relay.opcua.client import OpcuaClient
from gateway.relay.opcua.credentials import load_credentials, uri_of
from gateway.relay.opcua.desk import Desk
from gateway.relay.opcua.endpoints import Endpoints
from gateway.relay.opcua.hiding import Hiding
from gateway.relay.opcua.local import Local
from gateway.relay.opcua.route import OpcuaRoute
from gateway.relay.opcua.session import Session, Sessions
from gateway.relay.tasks import Tasks
from gateway.wire.opcua import events as wire
from gateway.wire.opcua import offers, tokens
from gateway.wire.opcua.events import ChannelLimits
from gateway.wire.opcua.framing import Fault
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.messages import UserTokenPolicy
from gateway.wire.opcua.server_channel import ServerChannel
from gateway.wire.opcua.session import Bounds
from gateway.wire.opcua.status import Status

log = logging.getLogger(__name__)

PASSWORDS_AT_ONCE = 2
"Passwords that are hashed at once: each takes a processor for 50 ms."
TOO_FAST = "too_fast"
JUDGE_S = 1.0
"How often certificates and users of what lives are looked at again: they run out."


class OpcuaListener:
    """One listening socket, the connections that came in by it, and their sessions."""

    def __init__(
        self,
        limits: Limits,
        *,
        applications: Applications,
        inbox: Inbox,
        users: Users,
        routes: Mapping[str, OpcuaRoute],
        accounts: Mapping[str, Account],
        door: Door,
        last: TagMemory,
        tasks: Tasks,
        clock: Callable[[], Now],
        ulids: Ulids,
        count: Count,
        flush: Flush,
        told: Callable[[str, str | None], None] = lambda _what, _why: None,
        channel_limits: ChannelLimits | None = None,
    ) -> None:
        """`accounts`: whom a server sees where its asset says `user: fixed`, by the asset's name.

        `told` hears what could not be read, and why; null where all of it could.
        """
        self.limits = limits
        self.applications = applications
        self.users = users
        self.door = door
        self.last = last
        self.tasks = tasks
        self.clock = clock
        self.count = count
        self.flush = flush
        self.sessions = Sessions()
        self.channel_limits = channel_limits or ChannelLimits()
        self.ownership_bounds = Bounds(
            subscriptions=limits.subscriptions,
            items=limits.items,
            least_publishing_ms=limits.least_publishing_ms,
            least_sampling_ms=limits.least_sampling_ms,
            most_queue=limits.most_queue,
        )
        self.knows_passwords = limits.users.passwords is not None
        self.quiet = False
        "Nothing more is taken."
        self._inbox = inbox
        self._told = told
        self._routes = dict(routes)
        self._accounts = dict(accounts)
        self._ulids = ulids
        self._rates = Rates()
        self._hashing = asyncio.Semaphore(PASSWORDS_AT_ONCE)
        self._connections: dict[OpcuaClient, None] = {}
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._judged_ns = 0
        self._versions = applications.version, users.version
        self._kinds = {route.asset.name: self._offered(route) for route in routes.values()}
        self._credentials = load_credentials(limits.certificate, limits.key)
        self.endpoints = Endpoints(
            limits, self._routes, uri_of(self._credentials), self.kinds, lambda: self.port
        )
        self.endpoints.credentials = self._credentials
        self.desk = Desk(self)
        self.local = Local(self)
        self._hiding = Hiding(self)
        self.hide = self._hiding.answer
        self.again = Again(self)

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: OpcuaClient(self), self.limits.host, self.limits.port, backlog=512
        )
        self._sweeper = loop.call_later(bounds.SWEEP_S, self._sweep)

    def quiesce(self) -> None:
        """Take nobody and nothing more; what was taken may still be answered."""
        self.quiet = True
        if self._server is not None:
            self._server.close()
        for client in self._connections:
            if client.transport is not None:
                client.transport.pause_reading()

    async def stop(self) -> None:
        """Stop listening, end every session, here and at its server, and close every connection."""
        self.quiet = True
        if self._server is not None:
            self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in self.sessions:
            self.end_session(session, Status.SHUTDOWN, "the gateway stops")
        for client in list(self._connections):
            client.sever(Status.SHUTDOWN)

    @property
    def port(self) -> int:
        """The port it listens on (useful where 0 was asked for)."""
        if self._server is not None and self._server.sockets:
            return int(self._server.sockets[0].getsockname()[1])
        return self.limits.port

    def status(self) -> dict[str, Any]:
        """For `status`."""
        return {
            "name": self.limits.name,
            "address": f"{self.limits.host}:{self.limits.port}",
            "zone": self.limits.zone,
            "protocol": "opcua",
            "connections": len(self._connections),
            "sessions": self.sessions.status(),
            "callers": sorted({c.caller.identity.subject for c in self._connections if c.caller}),
            "inbox_dropped": self._inbox.dropped,
            "trust_error": self.applications.error,
            "users_error": self.users.error,
        }

    # keeping up ------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Our certificate and key as the files are now, for who comes next. May raise IdentityError."""
        self._credentials = load_credentials(self.limits.certificate, self.limits.key)
        self.endpoints.show(self._credentials, uri_of(self._credentials))

    def judge(self) -> None:
        """End every connection and session whose certificate or user would not be let in now."""
        now = self.clock()
        for client in list(self._connections):
            if client.admitted is None or client.over:
                continue
            admitted = self.applications.admit(client.chain, now)
            if isinstance(admitted, Refused):
                self._note("cut", admitted.code, admitted.message, now, client.caller, client.peer)
                self._cut(client)
        for session in self.sessions:
            found = self.applications.admit(session.chain, now)
            gone = found if isinstance(found, Refused) else None
            if gone is None and session.user is not None and session.user.proof:
                gone = self.users.still(session.user, now)
            if gone is not None:
                self._note("cut", gone.code, gone.message, now, session.caller, None)
                self.cut_session(session, gone.code)

    def admits(self, caller: Caller) -> bool:
        """Whether that very caller is still connected, and would be let in now."""
        now = self.clock()
        for session in self.sessions:
            if session.caller is caller:
                user = session.user
                still = user is None or not user.proof or self.users.still(user, now) is None
                return still and not isinstance(self.applications.admit(session.chain, now), Refused)
        return False

    def close_idle(self) -> None:
        """Look round, ten times a second: trust and users that changed, policy that changed."""
        now = self.clock()
        if self.applications.changed():
            self._reload_applications(now)
        if self.users.changed():
            self.users.reload()
            self._told(f"users of {self.limits.name}", self.users.error)
        versions = self.applications.version, self.users.version
        if versions != self._versions or now.mono_ns - self._judged_ns > JUDGE_S * SECOND:
            self._versions, self._judged_ns = versions, now.mono_ns
            self.judge()
        self.again.look()

    def _reload_applications(self, now: Now) -> None:
        """Approved, rejected, revoked: read again, and on record."""
        before = self.applications.approved
        self.applications.reload()
        after = self.applications.approved
        if before != after:
            note = {
                "what": "applications",
                "zone": self.limits.zone,
                "approved": sorted(after - before),
                "withdrawn": sorted(before - after),
            }
            self.door.journal.event(RecordKind.CONFIG, note, now)
        self._told(f"applications of zone {self.limits.zone}", self.applications.error)

    def _sweep(self) -> None:
        now = self.clock()
        allowed_ns = int(self.limits.activate_s * SECOND)
        for client in list(self._connections):
            if not client.settled and now.mono_ns - client.began_ns > allowed_ns and not client.over:
                self.count("opcua_not_activated")
                client.shut_out(now)
            elif not client.over and client.channel.expired(now):
                self.lost(client, Status.SECURE_CHANNEL_TOKEN_UNKNOWN, "the channel was not renewed", "", now)
                client.sever(Status.SECURE_CHANNEL_TOKEN_UNKNOWN)
        for session in self.sessions:
            if session.overdue(now) and not session.activating:
                self.count("opcua_sessions_timed_out")
                self.end_session(session, Status.SESSION_CLOSED, "its client was silent for too long")
        self._sweeper = asyncio.get_running_loop().call_later(bounds.SWEEP_S, self._sweep)

    # connections -------------------------------------------------------------------------------------

    def begin(self, client: OpcuaClient) -> ServerChannel | None:
        """A channel for one more connection, or None where there are too many."""
        now = self.clock()
        of_peer = sum(each.peer == client.peer for each in self._connections)
        code = None
        if self.quiet:
            code = "stopping"
        elif len(self._connections) >= self.limits.most_connections:
            code = "too_many_connections"
        elif of_peer >= self.limits.most_from_one:
            code = "too_many_from_one"
        if code is not None:
            self.count("connections_turned_away")
            self._note("refused", code, "closed before a channel was opened", now, None, client.peer)
            return None
        self._make_room()
        client.began_ns = now.mono_ns
        self._connections[client] = None
        used = {each.channel.channel_id for each in self._connections if each is not client}
        channel_id = 0
        while not channel_id or channel_id in used:
            channel_id = secrets.randbits(32)
        return ServerChannel(
            self._credentials,
            self.endpoints.offered,
            self.channel_limits,
            secrets.token_bytes,
            channel_id,
            lambda chain, now: self._admit(client, chain, now),
        )

    def _make_room(self) -> None:
        """Cut who has had the most time and no session yet: who is honest is done in milliseconds."""
        waiting = [each for each in self._connections if not each.settled]
        if len(waiting) >= max(1, self.limits.most_connections // bounds.WAITING_SESSIONS):
            self.count("opcua_crowded_out")
            waiting[0].sever(Status.TCP_SERVER_TOO_BUSY)
            waiting[0].drop()

    def _admit(self, client: OpcuaClient, chain: bytes, now: Now) -> wire.Admitted | wire.Rejected:
        """Judged before any operation with our key; an address that opens one channel after another waits."""
        if not self._rates.take((client.peer,), bounds.OPENINGS_PER_SECOND, 1.0, now.mono_ns):
            return wire.Rejected(TOO_FAST)
        admitted = self.applications.admit(chain, now)
        if isinstance(admitted, Refused):
            if self._inbox.put(chain, admitted, client.peer, now):
                log.warning(
                    "listener %s: a certificate from %s waits for approval, see pki inbox list: %s: %s",
                    self.limits.name,
                    client.peer,
                    admitted.code,
                    admitted.message,
                )
            self._turned_away(client, chain, admitted, now)
            return wire.Rejected(f"{admitted.code}: {admitted.message}")
        client.admitted = admitted
        client.chain = chain
        return wire.Admitted(admitted.identity, admitted.application_uri)

    def _turned_away(self, client: OpcuaClient, chain: bytes, refused: Refused, now: Now) -> None:
        """On record as whoever is refused by TLS is; the certificate by what it says of itself."""
        self.count("handshakes_refused")
        note = {"result": "refused", "code": refused.code, "message": refused.message, **shown(chain)}
        note["listener"] = self.limits.name
        source = None if client.caller is not None else client.peer
        self.door.journal.event(RecordKind.AUTH, note, now, caller=client.caller, source=source)

    def may_try(self, client: OpcuaClient, now: Now) -> bool:
        """Whether one more CreateSession or ActivateSession of that address may cost us our key's work."""
        key = (client.peer, "session")
        return self._rates.take(key, bounds.SESSIONS_PER_SECOND, 1.0, now.mono_ns)

    def hello(self, client: OpcuaClient, now: Now) -> None:
        """It says by which URL it came."""
        if not self.endpoints.knows(client.url):
            self.lost(client, Status.TCP_ENDPOINT_URL_INVALID, "no such endpoint", client.url[:300], now)
            client.sever(Status.TCP_ENDPOINT_URL_INVALID)

    def opened(self, client: OpcuaClient, now: Now) -> None:
        """Its channel is open."""
        if client.admitted is None:
            return
        client.caller = Caller(
            identity=client.admitted.identity,
            source=client.peer,
            listener=self.limits.name,
            zone=self.limits.zone,
            tls=None,
            connection=self._ulids.next(now.wall_ns),
        )
        self.count("opcua_channels")
        channel = client.channel
        note = {"result": "accepted", "what": "channel", "listener": self.limits.name}
        note |= {"policy": str(channel.policy), "mode": str(channel.mode)}
        self.door.journal.event(RecordKind.AUTH, note, now, caller=client.caller)

    def lost(self, client: OpcuaClient, status: int, why: str, detail: str, now: Now) -> None:
        """Nothing more of it is interpreted; one record, under the flood rule."""
        self.count("opcua_severed")
        if why == Fault.UNTRUSTED.value and detail != TOO_FAST:
            return  # `_turned_away` has it on record
        note = {"finding": why, "detail": detail[:500], "status": f"{status:08x}", "side": "client"}
        note["listener"] = self.limits.name
        source = None if client.caller is not None else client.peer
        self.door.journal.event(RecordKind.FINDING, note, now, caller=client.caller, source=source)

    def end(self, client: OpcuaClient) -> None:
        """Its socket is gone; active sessions wait for it to come back."""
        self._connections.pop(client, None)
        for session in list(client.sessions):
            session.client = None
            if not session.rights.active and not session.activating:
                self.end_session(session, Status.SESSION_CLOSED, "its client left before it was active")
        client.sessions.clear()

    def _cut(self, client: OpcuaClient) -> None:
        for session in list(client.sessions):
            self.end_session(session, Status.SECURITY_CHECKS_FAILED, "its client is not let in any more")
        client.sever(Status.SECURITY_CHECKS_FAILED)

    # sessions ----------------------------------------------------------------------------------------

    def kinds(self, route: OpcuaRoute) -> tuple[UserTokenPolicy, ...]:
        """Which users may come to a server."""
        return self._kinds[route.asset.name]

    def _offered(self, route: OpcuaRoute) -> tuple[UserTokenPolicy, ...]:
        users, passed_on = self.limits.users, route.server.user is OpcuaUser.IMPERSONATE
        issuer = None
        if users.tokens is not None and not passed_on:
            issuer = issuer_json(users.tokens)
        return offers.users(
            anonymous=users.anonymous,
            passwords=users.passwords is not None or passed_on,
            certificates=users.anchors is not None and not passed_on,
            issuer=issuer,
        )

    def account(self, route: OpcuaRoute) -> Account | None:
        """Whom the server sees, where that is the same for everybody."""
        return self._accounts.get(route.asset.name)

    async def password(self, name: str, secret: str) -> User | Refused:
        """Whether that is the user's; in a thread, since it must take long."""
        async with self._hashing:
            return await asyncio.to_thread(self.users.password, name, secret)

    def activated(self, session: Session, moved: bool, now: Now) -> None:
        """A session is active, or is on another channel now."""
        self.count("opcua_sessions_moved" if moved else "opcua_sessions_activated")
        note = {
            "result": "accepted",
            "what": "session moved" if moved else "session",
            "listener": self.limits.name,
            "asset": session.route.asset.name,
            "session": session.name,
        }
        self.door.journal.event(RecordKind.AUTH, note, now, caller=session.caller)

    def refused(
        self, client: OpcuaClient, what: str, refusal: tokens.Refusal, now: Now, session: Session | None
    ) -> None:
        """A session was not made, or not activated."""
        self.count("opcua_sessions_refused")
        code = f"opcua.{refusal.status.name.lower()}"
        caller = session.caller if session is not None and session.client is client else client.caller
        self._note("refused", code, f"{what}: {refusal.why}", now, caller, client.peer)

    def link_lost(self, session: Session, why: str) -> None:
        """The session with the server is over, and so is the client's."""
        now = self.clock()
        note = {"result": "lost", "what": "session", "listener": self.limits.name, "why": why[:500]}
        note["asset"] = session.route.asset.name
        self.door.journal.event(RecordKind.AUTH, note, now, caller=session.caller)
        self.end_session(session, Status.COMMUNICATION_ERROR, why)

    def end_session(self, session: Session, status: int, why: str) -> None:
        """It is over, here and at the server; what was on its way is answered with the status."""
        if session.ended:
            return
        session.ended = True
        session.end_status = status
        self.sessions.remove(session)
        if session.client is not None:
            session.client.sessions.discard(session)
            session.client.began_ns = self.clock().mono_ns
        if session.link is not None:
            session.route.links.close(session.link)
        log.info("listener %s: session %s ended: %s", self.limits.name, session.name, why)

    def cut_session(self, session: Session, why: str) -> None:
        """End it, and the connection that it is bound to: its client must not think that all is well."""
        client = session.client
        self.end_session(session, Status.SESSION_CLOSED, why)
        if client is not None:
            client.sever(Status.SECURITY_CHECKS_FAILED)

    def _note(
        self, result: str, code: str, message: str, now: Now, caller: Caller | None, source: str | None
    ) -> None:
        note = {"result": result, "code": code, "message": message[:1000], "listener": self.limits.name}
        self.door.journal.event(
            RecordKind.AUTH, note, now, caller=caller, source=None if caller is not None else source
        )


def issuer_json(issuer: UserTokens) -> str:
    """Where clients get a token, as an endpoint tells them (OPC 10000-6 §6.5.2.2)."""
    said = {
        "ua:resourceId": issuer.audience,
        "ua:authorityUrl": issuer.issuer,
        "ua:authorityProfileUri": "http://opcfoundation.org/UA/Authorization#OAuth2",
        "ua:tokenEndpoint": issuer.token_endpoint,
    }
    return json.dumps(said)
