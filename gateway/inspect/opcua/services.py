"""Messages in clear of one connection: services, sessions, operations, and what was answered.

Requests and answers go by the wire code of the live door, to the last byte. What a session makes
(subscriptions, continuation points) is followed as the gateway would, so that later requests have nodes.
"""

from typing import Any

from msgspec import Struct

from gateway.inspect.opcua import local
from gateway.inspect.opcua.around import Around
from gateway.inspect.opcua.findings import OpcuaFinding
from gateway.inspect.opcua.line import Asked, Line
from gateway.inspect.opcua.servers import Door, bounds, context, said
from gateway.inspect.plant import Plant, moment
from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.operation import Operation
from gateway.wire.opcua.answer import ServiceAnswer, read_answer, read_response_header
from gateway.wire.opcua.binary import BROKEN
from gateway.wire.opcua.codes import BAD
from gateway.wire.opcua.context import Context
from gateway.wire.opcua.meaning import NodePlace
from gateway.wire.opcua.nodeid import STANDARD, prefixes
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
from gateway.wire.opcua.services import BY_ANSWER, FAULT
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.values import Typed, raw, read_data_value
from gateway.wire.quanta import quanta_of_raw

MOST_WAITING = 512
"Requests of one connection without answer; the gateway's listeners allow some 80. Older ones are forgotten."
MOST_SESSIONS = 64
"Sessions followed on one connection."
NAMESPACES = "i=2255"
"Server_NamespaceArray."
ASSUMED = OpcuaPolicy.BASIC256SHA256.value, OpcuaMode.SIGN_AND_ENCRYPT.value
"""Policy is asked as if a client without security, or with a deprecated one, came by a channel like this:
as it came so far the gateway would never hear it."""
IMPROPER = {
    Status.TOO_MANY_OPERATIONS: OpcuaFinding.TOO_MANY_OPERATIONS,
    Status.NOTHING_TO_DO: OpcuaFinding.NOTHING_TO_DO,
}


class _Waiting(Struct, gc=False):
    """A request without answer so far."""

    asked: Asked
    service: str
    frame: int
    time: int
    operations: tuple[Operation, ...]
    session: "Session | None"
    size: int


class Session:
    """One session, as far as the capture shows it."""

    __slots__ = ("contexts", "owned", "pending", "user")

    def __init__(self, door: Door) -> None:
        self.owned = Ownership(bounds(door.section))
        self.user: str | None = None
        "`user:NAME` once activated; None for nobody, or where nobody can tell."
        self.pending: str | None = None
        self.contexts: dict[tuple[str, ...] | None, Context] = {}


class Services:
    """The services of one connection."""

    def __init__(self, around: Around, plant: Plant, server: str, port: int) -> None:
        self.place: NodePlace | None = None
        self.door: Door
        self.policy: str | None = None
        self.mode: str | None = None
        self.unsure = True
        "Whether answers may be to what the capture does not have."
        self.waiting: dict[int, _Waiting] = {}
        self._around, self._plant = around, plant
        self._server = server, port
        self._sessions: dict[bytes, Session] = {}
        self._before = 0
        self._seen = Seen()
        self.arrive("")

    def arrive(self, url: str) -> None:
        """A client said by which URL it comes."""
        servers = self._around.servers
        self.place = servers.place(*self._server, url)
        self.door = servers.door(self.place)
        self._limits = Limits(most_nodes=said(self.door.section, "most_nodes"))

    @property
    def unanswered(self) -> int:
        """Requests that nobody answered; Publish waits by its nature."""
        return sum(each.service != "Publish" for each in self.waiting.values())

    def end(self) -> None:
        """Nothing more comes."""
        for each in self.waiting.values():
            self._around.room.give(each.size)

    # requests -----------------------------------------------------------------------------------------

    def request(self, line: Line, body: bytes) -> Session | None:
        """Read one; whose it is."""
        found = read_request(body, self._limits, self._seen)
        if isinstance(found, Malformed):
            line.findings += (OpcuaFinding.MALFORMED,)
            line.why = found.what
            return None
        line.asked = found
        session = self._session(body[found.header.token])
        if isinstance(found, Unsupported):
            line.service = found.name or f"service {found.type_id}"
            line.findings += (OpcuaFinding.UNSUPPORTED_SERVICE,)
        else:
            line.service = found.service.name
        if isinstance(found, Improper):
            line.findings += (IMPROPER.get(found.status, OpcuaFinding.TOO_MANY_OPERATIONS),)
        elif isinstance(found, Request):
            if found.service.local:
                self._local(line, found, session)
            else:
                self._operations(line, found, session)
        if line.kind != "CLO":  # that is never answered
            self._wait(line, found, session, len(body))
        return session

    def _operations(self, line: Line, request: Request, session: Session) -> None:
        if self.place is None:
            return
        refused = session.owned.check(request)
        line.details = {**line.details, **_refused(refused)}
        line.operations = self.place.operations(
            request, self._context(session), self._plant, moment(line.time)
        )

    def _local(self, line: Line, request: Request, session: Session) -> None:
        told = local.asked(request)
        line.details = {**line.details, **told.details}
        line.findings += told.findings
        session.pending = told.user
        if told.chain:
            line.shown += (self.shown(told.chain, server=False, time=line.time),)

    def shown(self, chain: bytes, *, server: bool, time: int) -> Any:
        """What a certificate says, and what the gateway makes of it."""
        now = moment(time)
        return self._around.shown(chain, server=server, place=self.place, door=self.door, now=now)

    def _session(self, token: bytes) -> Session:
        found = self._sessions.get(token)
        if found is None:
            found = Session(self.door)
            if len(self._sessions) >= MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[token] = found
        return found

    def _context(self, session: Session) -> Context:
        namespaces = self._around.servers.namespaces(*self._server)
        found = session.contexts.get(namespaces)
        if found is None:
            session.contexts.clear()
            secure = self.policy in tuple(OpcuaPolicy) and self.mode in tuple(OpcuaMode)
            channel = (self.policy, self.mode) if secure else ASSUMED
            found = context(namespaces, *channel, session.owned)
            session.contexts[namespaces] = found
        return found

    def _wait(self, line: Line, found: Asked, session: Session, size: int) -> None:
        assert line.request_id is not None and line.service is not None  # noqa: S101, PT018  it was read
        if len(self.waiting) >= MOST_WAITING:
            self._forget(next(iter(self.waiting)))
        self._forget(line.request_id)
        if self._around.room.take(size):
            self.waiting[line.request_id] = _Waiting(
                found, line.service, line.frame, line.time, tuple(line.operations), session, size
            )

    def _forget(self, request_id: int) -> _Waiting | None:
        found = self.waiting.pop(request_id, None)
        if found is not None:
            self._around.room.give(found.size)
            if found.session is not None and isinstance(found.asked, Request):
                found.session.owned.release(found.asked)
        return found

    # answers --------------------------------------------------------------------------------------------

    def answer(self, line: Line, body: bytes) -> Session | None:
        """Read one; whose it is."""
        assert line.request_id is not None  # noqa: S101  it was read
        found = self.waiting.get(line.request_id)
        if found is None:
            self._unasked(line, body)
            return None
        line.service, line.asked, line.asked_frame = found.service, found.asked, found.frame
        line.took_ns = max(0, line.time - found.time)
        if not isinstance(found.asked, Request):
            self._forget(line.request_id)
            self._header(line, body)
            return found.session
        answer = read_answer(Outbound(found.asked, found.asked.token), body)
        if isinstance(answer, Malformed):
            line.findings += (OpcuaFinding.MALFORMED_ANSWER,)
            line.why = answer.what
        else:
            line.status, line.statuses = answer.status, answer.statuses
            self._answered(line, found, answer)
        self._forget(line.request_id)
        return found.session

    def _unasked(self, line: Line, body: bytes) -> None:
        """An answer to what the capture does not have, or to nothing."""
        if not self.unsure:
            line.findings += (OpcuaFinding.UNSOLICITED,)
        number = int.from_bytes(body[2:4], "little") if body[:2] == b"\1\0" else -1
        service = BY_ANSWER.get(number)
        if service is not None:
            line.service = service.name
        elif number != FAULT and OpcuaFinding.UNSOLICITED not in line.findings:
            line.details = {**line.details, "answer": number}
        self._header(line, body)

    def _header(self, line: Line, body: bytes) -> None:
        try:
            _, line.status, _ = read_response_header(body)
        except BROKEN:
            line.findings += (OpcuaFinding.MALFORMED_ANSWER,)
            line.why = "its header cannot be read"

    def _answered(self, line: Line, found: _Waiting, answer: ServiceAnswer) -> None:
        request, session = answer.outbound.request, found.session
        if request.service.local:
            told = local.answered(answer)
            line.details = {**line.details, **told.details}
            if told.token and session is not None:
                self._sessions[told.token] = Session(self.door)
            if request.service.name == "ActivateSession" and session is not None and answer.good:
                session.user = session.pending
            if told.chain:
                line.shown += (self.shown(told.chain, server=True, time=line.time),)
            return
        if session is not None and len(found.operations) == max(request.items, 1):
            session.owned.note(answer, found.operations)
        if request.service.name == "Read" and answer.good:
            self._learn(line.time, found.operations, answer)

    def _learn(self, time: int, operations: tuple[Operation, ...], answer: ServiceAnswer) -> None:
        """What a read tells of namespaces and tags: a capture is as good as polling."""
        for at, (operation, status) in enumerate(zip(operations, answer.statuses, strict=False)):
            target = operation.opcua
            if target is None or target.attribute != "Value" or target.index_range or status & BAD:
                continue
            if target.node == NAMESPACES:
                names = _texts(answer.result(at))
                if names:
                    self._around.servers.learn(*self._server, names)
            elif operation.points:
                self._value(operation, answer.result(at), time)

    def _value(self, operation: Operation, result: bytes, time: int) -> None:
        try:
            read, _ = read_data_value(result, 0, prefixes((STANDARD,)))
        except BROKEN:
            return
        for point in operation.points:
            tag = self._plant.tags.get(point.tag)
            number = raw(tag, read.value) if tag is not None else None
            if tag is not None and number is not None:
                self._plant.note(tag.name, quanta_of_raw(tag, number), time)


def _texts(result: bytes) -> tuple[str, ...] | None:
    """An array of texts; None where it is anything else."""
    try:
        read, _ = read_data_value(result, 0, prefixes((STANDARD,)))
    except BROKEN:
        return None
    values = read.value.value if isinstance(read.value, Typed) else None
    if not isinstance(values, tuple) or not all(isinstance(each, str) for each in values):
        return None
    return tuple(str(each) for each in values)


OURS = frozenset(
    {
        Status.OUT_OF_RANGE,
        Status.TOO_MANY_SUBSCRIPTIONS,
        Status.TOO_MANY_MONITORED_ITEMS,
    }
)
"What the gateway refuses by its own bounds. Ids that the capture never saw being made are not judged."


def _refused(checked: dict[int, int] | Status) -> dict[str, Any]:
    """What the gateway would refuse of a request by its bounds, for `breakage`."""
    if isinstance(checked, int):
        return {"beyond": [int(checked)]} if checked in OURS else {}
    found = [status for status in checked.values() if status in OURS]
    return {"beyond": found} if found else {}
