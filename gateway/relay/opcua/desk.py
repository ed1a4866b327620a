"""What becomes of each message of a client: understood, decided, carried out, answered.

The common case (a Read whose decision is at hand) goes from the bytes to the link in one chain of plain
calls: no task, no timer, no future. What must wait (a durable intent, an evaluation elsewhere) goes the
Pending way, so a slow call holds up nobody's read.
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.guard.passage import decide, enter, finish
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.decision import Denied, Origin, Reason, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import MUTATING, Action, OpcuaTarget, Operation
from gateway.model.operation import Protocol as Via
from gateway.model.record import RecordKind
from gateway.relay.link.opcua import OpcuaLink
from gateway.relay.opcua import bounds
from gateway.relay.opcua.exchange import TRANSFER, Exchange
from gateway.relay.opcua.session import Session
from gateway.wire.opcua import refusal
from gateway.wire.opcua.events import Message
from gateway.wire.opcua.request import (
    Improper,
    Limits,
    Malformed,
    Outbound,
    Request,
    Seen,
    Unsupported,
    read_request,
)
from gateway.wire.opcua.services import KINDS, Treatment
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.status import Status

if TYPE_CHECKING:
    from gateway.relay.opcua.client import OpcuaClient
    from gateway.relay.opcua.listener import OpcuaListener

DISCOVERY = frozenset({"GetEndpoints", "FindServers"})
"What a channel without security carries, and nothing else (facts §4.2)."
BATCHES = frozenset({"Write", "Call"})
"What goes whole or not at all where an asset says `whole_batches`."


Operations = tuple[Operation, ...]


class Desk:
    """Handles the messages of all clients of a listener."""

    def __init__(self, listener: "OpcuaListener") -> None:
        self._listener = listener
        self._limits = Limits(most_nodes=listener.limits.most_nodes)
        self._seen = Seen()
        self._warm: dict[tuple[int, int], tuple[str, int, Operations, Caller]] = {}

    def message(self, client: "OpcuaClient", message: Message, now: Now) -> None:
        """One message."""
        request = read_request(message.body, self._limits, self._seen)
        if isinstance(request, Malformed):
            self._listener.lost(client, request.status, request.what, "", now)
            client.sever(request.status)
            return
        if isinstance(request, Request) and request.service.local:
            if message.discovery and request.service.name not in DISCOVERY:
                client.fault(
                    message.request_id, request.header.handle, Status.SECURITY_MODE_INSUFFICIENT, now
                )
            else:
                self._listener.local.request(client, message.request_id, request, now)
            return
        if message.discovery:
            client.fault(message.request_id, request.header.handle, Status.SECURITY_MODE_INSUFFICIENT, now)
            return
        session = self._session(client, message, request, now)
        if session is None:
            return
        session.heard_ns = now.mono_ns
        if isinstance(request, Request):
            self._service(client, session, message.request_id, request, now)
        else:
            if isinstance(request, Unsupported):
                self._unsupported(session.caller, session, request, now)
            client.fault(message.request_id, request.handle, request.status, now)

    def _session(
        self, client: "OpcuaClient", message: Message, request: Request | Unsupported | Improper, now: Now
    ) -> Session | None:
        """The session that a request is for; a token of another channel is as good as none."""
        session = self._listener.sessions.get(message.body[request.header.token])
        status = Status.SESSION_ID_INVALID
        if session is not None and not session.ended:
            refused = session.rights.refuses(client.channel)
            if refused is None and session.client is client and session.link is not None:
                return session
            status = refused or status
            if status == Status.SESSION_NOT_ACTIVATED and not session.activating:
                # Whoever asks before he has proved himself loses it (OPC 10000-4 §5.7.3).
                self._listener.end_session(session, Status.SESSION_NOT_ACTIVATED, "asked before activation")
        client.fault(message.request_id, request.header.handle, status, now)
        return None

    # one request -------------------------------------------------------------------------------

    def _service(
        self, client: "OpcuaClient", session: Session, request_id: int, request: Request, now: Now
    ) -> None:
        listener, service = self._listener, request.service
        link, context = session.link, session.context
        if link is None or context is None:
            client.fault(request_id, request.header.handle, Status.SESSION_ID_INVALID, now)
            return
        if service.publish:
            if session.publishes >= listener.limits.publishes:
                client.fault(request_id, request.header.handle, Status.TOO_MANY_PUBLISH_REQUESTS, now)
                return
        elif session.in_flight >= listener.limits.outstanding:
            client.fault(request_id, request.header.handle, Status.TOO_MANY_OPERATIONS, now)
            return
        if service.name in BATCHES and request.items > bounds.MOST_ACTS:
            client.fault(request_id, request.header.handle, Status.TOO_MANY_OPERATIONS, now)
            return
        also: tuple[Ownership, ...] = ()
        if service.name == TRANSFER:
            also = tuple([each.ownership for each in listener.sessions.siblings(session)])
        owned = session.ownership.check(request, also)
        if isinstance(owned, int):
            self._not_owned(session, request, (owned,), now)
            client.fault(request_id, request.header.handle, owned, now)
            return
        operations = session.route.place.operations(request, context, listener.last, now)
        whole = session.route.server.whole_batches and service.name in BATCHES
        frame = Outbound(request, link.token, refused=owned, whole=whole)
        if owned:
            self._not_owned(session, request, owned.values(), now)
            if service.items is not None and service.items.parted:
                operations = tuple([operations[at] for at in frame.kept])
                if whole or not operations:
                    session.ownership.release(request)
                    client.answer(request_id, refusal.all_refused(request, now.wall_ns, owned), now)
                    return
        exchange = Exchange(listener, session, client, request_id, frame)
        exchange.begin()
        if len(operations) > bounds.DECIDED_A_TURN and not self._at_hand(operations, session.caller):
            listener.tasks.start(self._in_slices(operations, exchange, link, now), "passage")
        else:
            self._enter(operations, exchange, link, now)

    def _enter(self, operations: Operations, exchange: Exchange, link: OpcuaLink, now: Now) -> None:
        verdict = enter(exchange.frame, operations, exchange.session.caller, self._listener.door, now)
        if isinstance(verdict, Pending):
            exchange.expect(verdict, now)
            self._listener.tasks.start(self._finish(verdict, exchange, link, now), "passage")
        else:
            self._carry_out(verdict, exchange, link, now)

    def _at_hand(self, operations: Operations, caller: Caller) -> bool:
        """Whether this very batch was decided for this very caller a moment ago, by what holds now."""
        door = self._listener.door
        mark = door.engine.revision, door.epoch.value, operations, caller
        key = id(operations), id(caller)
        known = self._warm.get(key)
        if known is not None and known[2] is operations and known[3] is caller and known[:2] == mark[:2]:
            return True
        if len(self._warm) >= bounds.MOST_WARM:
            self._warm.clear()
        self._warm[key] = mark
        return False

    async def _in_slices(self, operations: Operations, exchange: Exchange, link: OpcuaLink, now: Now) -> None:
        """Decide a long request a few items at a time, so that others get their turn; then as any other."""
        caller, door = exchange.session.caller, self._listener.door
        for at, operation in enumerate(operations, 1):
            if operation.action not in MUTATING:
                decide(operation, caller, door, now)
            if not at % bounds.DECIDED_A_TURN:
                await asyncio.sleep(0)
        self._enter(operations, exchange, link, self._listener.clock())

    def _not_owned(self, session: Session, request: Request, statuses: Iterable[int], now: Now) -> None:
        """It named ids of others, or asked for more than it may have: one record, under the flood rule."""
        self._listener.count("opcua_refused_by_session")
        told = sorted({Status(each).name.lower() for each in statuses})
        note = {"finding": f"opcua.{told[0]}", "service": request.service.name, "side": "client"}
        note |= {"asset": session.route.asset.name, "listener": self._listener.limits.name}
        self._listener.door.journal.event(RecordKind.FINDING, note, now, caller=session.caller)

    async def _finish(self, pending: Pending, exchange: Exchange, link: OpcuaLink, now: Now) -> None:
        try:
            verdict = await finish(pending, self._listener.door, now)
        except BaseException:
            exchange.settled(False, now)
            raise
        finally:
            exchange.decided()
        if isinstance(verdict, Forward):
            exchange.writing(verdict.permit.operations, now)
        self._carry_out(verdict, exchange, link, self._listener.clock())

    def _carry_out(self, verdict: Verdict, exchange: Exchange, link: OpcuaLink, now: Now) -> None:
        request = exchange.frame.request
        match verdict:
            case Forward(permit):
                if request.service.treatment is Treatment.ANSWERED:
                    exchange.answer_here(permit, now)
                else:
                    link.send(permit, exchange, now)
            case Refuse(why):
                exchange.refused(why, now)
            case _:
                exchange.refused(Why.DENIED, now)

    def _unsupported(self, caller: Caller, session: Session, request: Unsupported, now: Now) -> None:
        """A service that is never forwarded: policy is not asked (invariant 2), and the journal says so."""
        name = request.name or f"service {request.type_id}"
        operation = Operation(
            protocol=Via.OPCUA,
            action=Action.CALL,
            kind=KINDS.get(name, "opcua.unknown"),
            asset=session.route.asset.name,
            asset_kind=session.route.asset.kind,
            opcua=OpcuaTarget(service=name),
            unreadable="unsupported_service",
        )
        denied = Denied(
            revision=self._listener.door.engine.revision,
            reasons=(Reason("wire.unsupported_service", "wire", f"{name} is never forwarded"),),
            origin=Origin.UNASKED,
        )
        self._listener.door.journal.denied(caller, operation, denied, now)
