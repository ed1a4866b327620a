"""Modbus clients: frames in, verdicts carried out, answers back.

The order of answers to a request is DESIGN §5's: framing (sever), role (01, every request), unit (01),
function (01), the specification (03 or 02), policy (01). Requests of one connection may be answered out of
order; each client sees its own transaction ids only.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from gateway.config.settings import Refusal
from gateway.guard.obligations import to_read_back
from gateway.guard.passage import Door, enter, finish, intent
from gateway.guard.ports import Answer, Plant
from gateway.guard.verdict import Forward, Pending, Refuse, Sever, Verdict
from gateway.model.asset import Asset, Upstream
from gateway.model.decision import Allowed, Denied, Origin, Reason, Why
from gateway.model.identity import Authentication, Caller, RoleState
from gateway.model.moment import Now
from gateway.model.operation import MUTATING, Action, ModbusTarget, Operation, Point
from gateway.model.operation import Protocol as Via
from gateway.model.record import RecordKind
from gateway.relay.link import Links, PlantLink, SharedReads
from gateway.relay.readback import Owed, ReadBack
from gateway.relay.suspicion import Suspect, Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus import functions, refusal
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.framing import Adu, MbapReader, adu
from gateway.wire.modbus.meaning import LastValues, Place

log = logging.getLogger(__name__)


class Route:
    """Where requests for one asset go."""

    __slots__ = ("asset", "link", "place", "plant")

    def __init__(self, place: Place, link: PlantLink) -> None:
        self.asset: Asset = place.asset
        self.place = place
        self.link = link
        "The shared link, unless each client has its own."
        self.plant: Plant = SharedReads(link) if place.asset.coalesce_ms else link
        "What permits are sent to."


class TagMemory(LastValues, Protocol):
    """What is known of tags, and told of writes (`publish.values.Values`)."""

    def asked(self, tag: str) -> None:
        """Somebody wants to write it, and it is not decided: it may be another value in a moment."""

    def decided(self, tag: str) -> None:
        """Whether they may is known now."""

    def writing(self, tag: str, q: int | None, mono_ns: int) -> None:
        """A write of this value was let through; null where nobody knows what it will be."""

    def written(self, tag: str, done: bool, mono_ns: int) -> None:
        """It is over; `done` where the device said so."""


class ModbusDoor:
    """What all Modbus clients of one listener share."""

    def __init__(
        self,
        *,
        routes: Mapping[int, Route],
        outstanding: int,
        door: Door,
        last: TagMemory,
        links: Links,
        tasks: Tasks,
        clock: Callable[[], Now],
        own_link: Callable[[Asset], PlantLink],
        suspicion: Suspicion,
        read_back: ReadBack,
        refusal: Refusal = Refusal.ILLEGAL_FUNCTION,
    ) -> None:
        self.routes = routes
        self.most_outstanding = outstanding
        self.door = door
        self.last = last
        self.links = links
        self.tasks = tasks
        self.clock = clock
        self.own_link = own_link
        self.suspicion = suspicion
        self.read_back = read_back
        self.refusal = refusal

    def client(self, caller: Caller) -> "ModbusClient":
        """The protocol for one admitted connection."""
        return ModbusClient(self, caller)


class Exchange:
    """One request of one client on its way through the plant: the sink that turns the answer home."""

    __slots__ = ("asked", "client", "fc", "owed", "route", "tid", "unit", "writes")

    def __init__(self, client: "ModbusClient", route: Route, tid: int, unit: int, fc: int) -> None:
        self.client = client
        self.route = route
        self.tid = tid
        self.unit = unit
        self.fc = fc
        self.asked: list[str] = []
        "Tags whose value this request would change, while that is not decided."
        self.writes: list[str] = []
        "Tags whose value this request changes."
        self.owed: Owed | None = None
        "What must be read again once the device has accepted it."

    def settled(self, done: bool, now: Now) -> None:
        """The request is over, one way or another."""
        self.client.settled(self.tid)
        for tag in self.writes:
            self.client.memory.written(tag, done, now.mono_ns)

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.client.gone

    def answered(self, permit: object, answer: Answer, at: Now) -> None:
        """The plant's answer goes home under the client's own transaction id."""
        self.settled(not isinstance(answer, functions.DeviceException), at)
        if isinstance(answer, functions.DeviceException):
            self.client.suspect.excepted(answer, self.route.place, at)
        elif self.owed is not None:
            self.client.read_back.begin(self.owed, self.route.place, self.route.plant)
        self.client.reply(self.tid, self.unit, answer.encode())

    def failed(self, permit: object, why: Why) -> None:
        """No answer: 06, 0A or 0B, which only callers who were allowed ever see."""
        self.settled(False, self.client.now())
        self.client.reply(self.tid, self.unit, refusal.exception(self.fc, why))


class ModbusClient(asyncio.Protocol):
    """One client connection, after the handshake."""

    def __init__(self, shared: ModbusDoor, caller: Caller) -> None:
        self._shared = shared
        self._caller = caller
        self._reader = MbapReader()
        self._transport: asyncio.Transport | None = None
        self._own: dict[str, PlantLink] = {}
        identity = caller.identity
        self._without_role = identity.auth is Authentication.MTLS and identity.role_state is not RoleState.OK
        self.suspect = Suspect(shared.suspicion, caller)
        self.memory = shared.last
        self.read_back = shared.read_back
        self.now = shared.clock
        self.outstanding = 0
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._without_role:
            return
        for route in self._shared.routes.values():
            if route.asset.upstream is Upstream.PER_CLIENT and route.asset.name not in self._own:
                link = self._own[route.asset.name] = self._shared.own_link(route.asset)
                link.open()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._transport = None
        for link in self._own.values():
            self._shared.links.remove(link)
        self._own.clear()

    def data_received(self, data: bytes) -> None:
        now = self._shared.clock()
        for frame in self._reader.feed(data):
            self._request(frame, now)
        if self._reader.lost is not None:
            self._sever(self._reader.lost, now)

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def settled(self, tid: int) -> None:
        """One request is over: its place and its id are free."""
        self.outstanding -= 1
        self.suspect.answered(tid)

    def reply(self, tid: int, unit: int, pdu: bytes) -> None:
        """Send one answer."""
        if self._transport is not None:
            self._transport.write(adu(tid, unit, pdu))

    # one request -------------------------------------------------------------------------------

    def _request(self, frame: Adu, now: Now) -> None:
        shared = self._shared
        if self._without_role:
            self._refuse(frame, Why.NO_ROLE, None, f"wire.role_{self._caller.identity.role_state}", now)
            return
        route = shared.routes.get(frame.unit)
        if route is None:
            self._refuse(frame, Why.UNMAPPED_UNIT, None, "wire.unmapped_unit", now)
            return
        understood = route.place.understand(frame.unit, frame.pdu, shared.last, now)
        if isinstance(understood, tuple):
            request, operations = understood
            if self.outstanding >= shared.most_outstanding:
                found = (Finding.TOO_MANY_OUTSTANDING,)
                shared.suspicion.tell(found, self._caller, route.asset.name, now)
                self.reply(frame.tid, frame.unit, refusal.exception(request.fc, Why.BUSY))
                return
            self.suspect.asked(frame.tid, frame.unit, request, operations, route.place, now)
            verdict = enter(request, operations, self._caller, shared.door, now)
            exchange = Exchange(self, route, frame.tid, frame.unit, request.fc)
            self.outstanding += 1
            if isinstance(verdict, Pending):
                self._expect(verdict, exchange, now)
                shared.tasks.start(self._finish(verdict, exchange, now), "passage")
            else:
                self._carry_out(verdict, exchange, now)
        else:
            self.suspect.asked(frame.tid, frame.unit, understood, (), route.place, now)
            self.suspect.answered(frame.tid)
            if isinstance(understood, functions.Unsupported):
                why, code = Why.UNKNOWN_FUNCTION, "unknown_function"
            else:
                why, code = understood.why, understood.finding.value
            self._refuse(frame, why, route.asset, f"wire.{code}", now)
            self.suspect.refused(frame.pdu[0], why, route.place, now)

    def _expect(self, pending: Pending, exchange: Exchange, now: Now) -> None:
        """What is about to be written counts as the tags' value for whoever is decided next.

        Only what nothing can refuse any more but the journal: a value that OPA, people or an obligation may
        yet deny would be a measure for steps that anybody can set. Until that is known there is none.
        """
        if any(isinstance(decision, Denied) for decision in pending.decisions):
            return
        if all(isinstance(each, Allowed) and not each.obligations for each in pending.decisions):
            self._writing(pending.operations, exchange, now)
            return
        for point in _written(pending.operations):
            self.memory.asked(point.tag)
            exchange.asked.append(point.tag)

    def _writing(self, operations: tuple[Operation, ...], exchange: Exchange, now: Now) -> None:
        for point in _written(operations):
            self.memory.writing(point.tag, point.q, now.mono_ns)
            exchange.writes.append(point.tag)

    async def _finish(self, pending: Pending, exchange: Exchange, now: Now) -> None:
        try:
            verdict = await finish(pending, self._shared.door, now)
        finally:
            for tag in exchange.asked:
                self.memory.decided(tag)
        if isinstance(verdict, Forward):
            if not exchange.writes:
                self._writing(pending.operations, exchange, now)
            if (durable := intent(verdict.permit)) is not None:
                writes = to_read_back(verdict.permit.operations, verdict.permit.decisions)
                exchange.owed = Owed(durable, writes) if writes else None
        self._carry_out(verdict, exchange, self._shared.clock())

    def _carry_out(self, verdict: Verdict, exchange: Exchange, now: Now) -> None:
        match verdict:
            case Forward(permit):
                route = exchange.route
                self._own.get(route.asset.name, route.plant).send(permit, exchange, now)
            case Refuse(why):
                exchange.settled(False, now)
                if why is not Why.DENIED:  # a right that is missing is no scan
                    self.suspect.refused(exchange.fc, why, exchange.route.place, now)
                self._say_no(exchange, why)
            case Sever(why):
                exchange.settled(False, now)
                self._sever(why, now)

    def _say_no(self, exchange: Exchange, why: Why) -> None:
        """As the listener says it; what is no denial by policy is always said as the protocol does."""
        if why is Why.DENIED:
            match self._shared.refusal:
                case Refusal.SILENCE:
                    return
                case Refusal.ILLEGAL_ADDRESS:
                    why = Why.ILLEGAL_ADDRESS
                case Refusal.ILLEGAL_FUNCTION:
                    pass
        self.reply(exchange.tid, exchange.unit, refusal.exception(exchange.fc, why))

    # refusals that policy is not asked about ---------------------------------------------------

    def _refuse(self, frame: Adu, why: Why, asset: Asset | None, code: str, now: Now) -> None:
        """Say no in the peer's words, and record what was asked as far as it could be read."""
        fc = frame.pdu[0]
        operation = Operation(
            protocol=Via.MODBUS,
            action=Action.CALL,
            kind=f"modbus.{functions.name(fc)}",
            asset=asset.name if asset else None,
            asset_kind=asset.kind if asset else None,
            modbus=ModbusTarget(unit=frame.unit, fc=fc),
            unreadable=why.value,
        )
        denied = Denied(
            revision=self._shared.door.engine.revision,
            reasons=(Reason(code, "wire", why.value),),
            origin=Origin.UNASKED,
        )
        self._shared.door.journal.denied(self._caller, operation, denied, now)
        self.reply(frame.tid, frame.unit, refusal.exception(fc, why))

    def _sever(self, finding: str, now: Now) -> None:
        note = {"finding": finding, "side": "client", "listener": self._caller.listener}
        self._shared.door.journal.event(RecordKind.FINDING, note, now, caller=self._caller)
        if self._transport is not None:
            self._transport.close()


def _written(operations: tuple[Operation, ...]) -> list[Point]:
    """The tags that a frame changes, if it goes through."""
    return [point for each in operations if each.action in MUTATING for point in each.points]
