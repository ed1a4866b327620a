"""All sessions with one OPC UA server: its budget, and the question that each begins with.

Devices have few sessions. Clients share all but one of what the asset declares; that one is the collector's,
so that no client's reconnecting ends what IT sees.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from gateway.guard.passage import Door, enter, finish
from gateway.guard.ports import Answer
from gateway.guard.stages import waive
from gateway.guard.verdict import Forward, Pending
from gateway.model.asset import OpcuaServer
from gateway.model.decision import Decision, Denied, Waived, Why
from gateway.model.errors import IdentityError
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Operation
from gateway.relay.flush import Flush
from gateway.relay.link.links import Links
from gateway.relay.link.opcua import OpcuaLink
from gateway.relay.link.opcua_opening import STEPS, LinkRefused, Myself, establish, url
from gateway.relay.tasks import Tasks
from gateway.wire.opcua import asking, login, messages
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.binary import BROKEN
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.codes import BAD
from gateway.wire.opcua.events import ChannelLimits
from gateway.wire.opcua.framing import Buffers
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.meaning import Context, LastValues, NodePlace
from gateway.wire.opcua.nodeid import prefixes
from gateway.wire.opcua.request import Outbound, Request, read_request
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.values import Typed, read_data_value

log = logging.getLogger(__name__)

RESERVED = 1
"Sessions of the declared ones that are kept for the collector."
RECONNECT_S = 1.0
"After a server could not be reached, sessions are refused at once for this long instead of waiting each."
LIMITS = ChannelLimits(
    buffers=Buffers(most_message=16 * 1024 * 1024, most_chunks=512), most_lifetime_ms=3_600_000
)
"What a server may send: more than a client may, since an answer holds what many items asked for."
NAMESPACES = b"\x01\x00\xcf\x08"
"Server_NamespaceArray, i=2255 (OPC 10000-6 Annex A.2)."
STANDARD = "http://opcfoundation.org/UA/"
"Namespace 0 of every server."

Closed = Callable[[OpcuaLink, str], None]


class Reply:
    """The sink of a question of our own."""

    __slots__ = ("_future",)

    gone = False

    def __init__(self) -> None:
        self._future: asyncio.Future[ServiceAnswer | Why] = asyncio.get_running_loop().create_future()

    def answered(self, permit: object, answer: Answer, at: Now) -> None:
        """What the server says."""
        if isinstance(answer, ServiceAnswer) and not self._future.done():
            self._future.set_result(answer)

    def failed(self, permit: object, why: Why) -> None:
        """It says nothing."""
        if not self._future.done():
            self._future.set_result(why)

    async def wait(self) -> ServiceAnswer | Why:
        """What came of it."""
        return await self._future


class OpcuaLinks:
    """The sessions of one asset."""

    def __init__(
        self,
        place: NodePlace,
        *,
        server_certificate: Callable[[], bytes],
        myself: Callable[[], Myself],
        me: Caller,
        last: LastValues,
        door: Door,
        links: Links,
        tasks: Tasks,
        clock: Callable[[], Now],
        flush: Flush,
        request_s: float,
    ) -> None:
        """`me`: the gateway itself, for its own questions; `server_certificate` gives the pinned one."""
        if place.asset.opcua is None:
            raise ValueError(f"{place.asset.name} is no OPC UA server")
        self.place = place
        self.asset = place.asset
        self.server: OpcuaServer = place.asset.opcua
        self.me = me
        self.myself = myself
        self.open_now: set[OpcuaLink] = set()
        self.counts = {"opened": 0, "refused_full": 0, "failed": 0, "lost": 0}
        self.pinned = server_certificate
        self._last = last
        self._door = door
        self._links = links
        self._tasks = tasks
        self._clock = clock
        self._flush = flush
        self._request_s = request_s
        self._opening = {False: 0, True: 0}
        "Sessions that are being opened: of clients, and reserved ones."
        self._reserved: WeakSet[OpcuaLink] = WeakSet()
        self._own: WeakKeyDictionary[OpcuaLink, Ownership] = WeakKeyDictionary()
        self._down_until_ns = 0

    async def open(
        self,
        account: Account | None,
        closed: Closed,
        *,
        timeout_ms: float | None = None,
        reserved: bool = False,
    ) -> OpcuaLink:
        """A new session. LinkRefused where the budget is spent, or the server does not let us."""
        if not self._room(reserved):
            self.counts["refused_full"] += 1
            raise LinkRefused(Status.TOO_MANY_SESSIONS, f"{self.asset.name} has all sessions that it bears")
        if not reserved and self._clock().mono_ns < self._down_until_ns:
            raise LinkRefused(Status.SERVER_NOT_CONNECTED, f"{self.asset.name} was away a moment ago")
        self._opening[reserved] += 1
        try:
            link = await self._establish(account, closed, timeout_ms or self.server.session_ms)
            self._down_until_ns = 0  # it is there again, whoever found that out
            if reserved:
                self._reserved.add(link)
        except LinkRefused as refused:
            self.counts["failed"] += 1
            log.warning("no session: %s", refused.why)
            if refused.status == Status.SERVER_NOT_CONNECTED:
                self._down_until_ns = self._clock().mono_ns + int(RECONNECT_S * SECOND)
            raise
        finally:
            self._opening[reserved] -= 1
        return link

    def _room(self, reserved: bool) -> bool:
        """Clients have all but the reserved ones, however few the collector uses; it has what is left."""
        most = self.server.sessions
        if len(self.open_now) + sum(self._opening.values()) >= most:
            return False
        clients = sum(link not in self._reserved for link in self.open_now) + self._opening[False]
        return reserved or clients < most - RESERVED

    def status(self) -> dict[str, Any]:
        """For `status`."""
        return {"up": self.up, "sessions": len(self.open_now), "in_flight": self.in_flight, **self.counts}

    def close(self, link: OpcuaLink) -> None:
        """End a session, with all that it subscribed to."""
        self.open_now.discard(link)
        link.close(login.close(link.token, self._clock()) if link.opened else None)

    @property
    def up(self) -> bool:
        """Whether any session is open."""
        return any(link.up for link in self.open_now)

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return sum(link.in_flight for link in self.open_now)

    async def ask(self, link: OpcuaLink, body: bytes) -> ServiceAnswer | Why:
        """A question of the gateway's own, through the passage. Why.DENIED where policy says no."""
        now = self._clock()
        request, operations = self._understood(link, body, now)
        frame = Outbound(request, link.token)
        verdict = enter(frame, operations, self.me, self._door, now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, self._door, now)
        if not isinstance(verdict, Forward):
            return getattr(verdict, "why", Why.DENIED)
        reply = Reply()
        link.send(verdict.permit, reply, self._clock())
        answer = await reply.wait()
        if isinstance(answer, ServiceAnswer):
            self._owned(link).note(answer, verdict.permit.operations)
        return answer

    def _owned(self, link: OpcuaLink) -> Ownership:
        """What the gateway itself has made in this session, so that what follows from it has its meaning."""
        found = self._own.get(link)
        if found is None:
            found = self._own[link] = Ownership()
        return found

    async def allowed(self, link: OpcuaLink, body: bytes) -> tuple[bool, ...]:
        """Whether each part of such a question would pass now. Nothing is sent, and nothing recorded."""
        door, now, found = self._door, self._clock(), []
        for operation in self._understood(link, body, now)[1]:
            decision: Decision | Waived | None = door.engine.decide(self.me, operation, now)
            if decision is None:
                decision = await door.engine.ask(self.me, operation, now)
            if isinstance(decision, Denied):
                decision = waive(decision, operation, self.me, door.stages)
            found.append(operation.unreadable is None and not isinstance(decision, Denied))
        return tuple(found)

    def _understood(self, link: OpcuaLink, body: bytes, now: Now) -> tuple[Request, tuple[Operation, ...]]:
        request = read_request(body)
        if not isinstance(request, Request):
            raise TypeError(f"what we ask cannot be read: {request}")
        security, mode = self.server.policy.value, self.server.mode.value
        context = Context(link.namespaces or (STANDARD,), security, mode, self._owned(link))
        return request, self.place.operations(request, context, self._last, now)

    async def _establish(self, account: Account | None, closed: Closed, timeout_ms: float) -> OpcuaLink:
        server = self.server
        try:
            me = self.myself()
            channel = ClientChannel(
                me.credentials,
                self.pinned(),
                server.policy,
                server.mode,
                url(self.asset),
                LIMITS,
                secrets.token_bytes,
            )
        except (IdentityError, ValueError) as error:
            raise LinkRefused(Status.INTERNAL_ERROR, str(error)) from error

        def lost(link: OpcuaLink, why: str) -> None:
            if link not in self.open_now:
                return  # it never was
            self.open_now.discard(link)
            self.counts["lost"] += 1
            log.warning("asset %s: a session is lost: %s", self.asset.name, why)
            closed(link, why)

        link = OpcuaLink(
            self.asset,
            channel,
            door=self._door,
            clock=self._clock,
            flush=self._flush,
            request_s=self._request_s,
            closed=lost,
        )
        self._links.add(link)
        await establish(link, me, account, timeout_ms)
        self.open_now.add(link)
        try:
            async with asyncio.timeout(STEPS * self.asset.timeout_ms / 1000):
                link.namespaces = await self._namespaces(link)
        except TimeoutError as error:
            self.close(link)
            why = f"{self.asset.name}: it did not say its namespaces in time"
            raise LinkRefused(Status.SERVER_NOT_CONNECTED, why) from error
        except BaseException:
            self.close(link)
            raise
        self.counts["opened"] += 1
        link.last_ns = self._clock().mono_ns
        link.quiet = self._keep_alive
        return link

    def _keep_alive(self, link: OpcuaLink) -> None:
        self._tasks.start(self._still_the_same(link), f"keep alive {self.asset.name}")

    async def _still_the_same(self, link: OpcuaLink) -> None:
        """Ask for the namespaces again: the session lives on, and whoever renamed nodes is found out."""
        try:
            found = await self._namespaces(link)
        except LinkRefused as refused:
            log.warning("asset %s: %s", self.asset.name, refused.why)
            return
        if found != link.namespaces:
            link.cut("the server has other namespaces than when the session began")

    async def _namespaces(self, link: OpcuaLink) -> tuple[str, ...]:
        """What the server calls its namespaces: without them no node has a name that policy could judge."""
        answer = await self.ask(link, asking.read([NAMESPACES], 1, messages.moment(self._clock().wall_ns)))
        if answer is Why.DENIED:
            log.error(
                "asset %s: policy must let the gateway read i=2255 of it (NamespaceArray), or nobody gets in",
                self.asset.name,
            )
            raise LinkRefused(Status.USER_ACCESS_DENIED, f"{self.asset.name}: policy denies its namespaces")
        found = None if isinstance(answer, Why) else _texts(answer)
        if not found:
            raise LinkRefused(Status.SERVER_NOT_CONNECTED, f"{self.asset.name}: its namespaces are not known")
        return found


def _texts(answer: ServiceAnswer) -> tuple[str, ...] | None:
    """An array of texts that was read; None where it is anything else."""
    if not answer.good or not answer.statuses or answer.statuses[0] & BAD:
        return None
    try:
        read, _ = read_data_value(answer.result(0), 0, prefixes((STANDARD,)))
    except BROKEN:
        return None
    values = read.value.value if isinstance(read.value, Typed) else None
    if not isinstance(values, tuple):
        return None
    return tuple(each if isinstance(each, str) else "" for each in values)
