"""One request on its way through passage and plant: the sink that turns its answer home."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gateway.guard.passage import settle
from gateway.guard.ports import Answer
from gateway.guard.verdict import Pending
from gateway.model.decision import Allowed, Denied, Why
from gateway.model.moment import Now
from gateway.model.operation import MUTATING, Operation, Point
from gateway.relay.link.opcua_outcome import bad
from gateway.relay.opcua.session import Session
from gateway.wire.opcua import refusal
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.request import Outbound
from gateway.wire.opcua.services import Service
from gateway.wire.opcua.session import MAKES
from gateway.wire.opcua.status import Status

if TYPE_CHECKING:
    from gateway.relay.opcua.client import OpcuaClient
    from gateway.relay.opcua.listener import OpcuaListener

TRANSFER = "TransferSubscriptions"
BROWSING = frozenset({"Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds"})
MOVES_LIVE = frozenset({TRANSFER, "ModifySubscription"})
"""What it changes of monitored items is decided only once it is done: whose they are now, and how often items
are sampled that follow their subscription."""


class Exchange:
    """One request of one client."""

    __slots__ = (
        "_from",
        "_listener",
        "_mark",
        "asked",
        "client",
        "frame",
        "request_id",
        "session",
        "writes",
    )

    def __init__(
        self,
        listener: "OpcuaListener",
        session: Session,
        client: "OpcuaClient",
        request_id: int,
        frame: Outbound,
    ) -> None:
        self._listener = listener
        self._mark = listener.again.mark
        transfers = frame.request.service.name == TRANSFER
        self._from = [each.ownership for each in listener.sessions.siblings(session)] if transfers else ()
        "Whose subscriptions it may bring here, though their sessions end before the answer comes."
        self.session = session
        self.client = client
        self.request_id = request_id
        self.frame = frame
        "As the client asked it; what the permit holds may be less."
        self.asked: Sequence[str] = ()
        "Tags whose value it would change, while that is not decided."
        self.writes: list[tuple[str, int]] = []
        "Tags whose value it changes, and by which operation of the permit."

    @property
    def gone(self) -> bool:
        """Whether nobody waits any more: what is not sent yet must not be."""
        return self.client.over or self.session.ended

    # before it is sent -------------------------------------------------------------------------

    def begin(self) -> None:
        """It counts from now on."""
        if self.frame.request.service.publish:
            self.session.publishes += 1
        else:
            self.session.in_flight += 1

    def expect(self, pending: Pending, now: Now) -> None:
        """What is about to be written counts as the tags' value for whoever is decided next; as in Modbus."""
        if not any(operation.action in MUTATING for operation in pending.operations):
            return
        decisions = pending.decisions
        if all(isinstance(each, Allowed) and not each.obligations for each in decisions):
            self.writing(pending.operations, now)
        elif not all(isinstance(each, Denied) for each in decisions):
            self.asked = [point.tag for point in _written(pending.operations)]
            for tag in self.asked:
                self._listener.last.asked(tag)

    def decided(self) -> None:
        """Policy, people and journal have had their say."""
        for tag in self.asked:
            self._listener.last.decided(tag)
        self.asked = ()

    def writing(self, operations: Sequence[Operation], now: Now) -> None:
        """These go to the server, if nothing stops them."""
        if self.writes:
            return
        for at, operation in enumerate(operations):
            if operation.action in MUTATING:
                for point in operation.points:
                    self._listener.last.writing(point.tag, point.q, now.mono_ns)
                    self.writes.append((point.tag, at))

    # what comes of it ----------------------------------------------------------------------------

    def answered(self, permit: Any, answer: Answer, at: Now) -> None:
        """The server's answer goes home as it came, with our refusals in their places."""
        if not isinstance(answer, ServiceAnswer):
            raise TypeError(f"no answer of a server: {answer!r}")
        self.settled(answer.good, at, answer.statuses)
        request = self.frame.request
        self._note(permit.operations, answer)
        if not answer.good:
            self.client.answer(self.request_id, answer.encode(), at)
        elif self.session.route.server.hide and request.service.name in BROWSING:
            self._listener.hide(self, answer, at)
        else:
            self.client.answer(self.request_id, answer.encode(), at)

    def _note(self, operations: tuple[Operation, ...], answer: ServiceAnswer) -> None:
        """What the session has from now on, and has no more."""
        session, outbound = self.session, answer.outbound
        session.ownership.note(answer, operations)
        if outbound.request.service.name == TRANSFER and answer.good:
            numbers = [int.from_bytes(outbound.request.item(at), "little") for at in outbound.kept]
            moved = [each for each, status in zip(numbers, answer.statuses, strict=True) if not bad(status)]
            for theirs in self._from:
                theirs.transfer(moved, into=session.ownership)
        if outbound.request.service.name in MOVES_LIVE or self._mark is not self._listener.again.mark:
            self._listener.again.late(session)

    def failed(self, permit: Any, why: Why) -> None:
        """No answer. What became of an act nobody knows, and nobody tries it again (invariant 6)."""
        now = self._listener.clock()
        self.settled(False, now)
        self.session.ownership.release(self.frame.request)
        if self.session.ended:
            status = self.session.end_status
        elif self.session.link is None or not self.session.link.up:
            status = Status.COMMUNICATION_ERROR
        else:
            status = refusal.CODES[why]
        self.client.fault(self.request_id, self.frame.request.header.handle, status, now)
        if why is Why.NO_ANSWER and status == refusal.CODES[why] and self.frame.request.service.name in MAKES:
            # What it may have made nobody could account for, nor decide again: in doubt all of it goes.
            what = f"{self.frame.request.service.name} without an answer"
            asyncio.get_running_loop().call_soon(self._listener.link_lost, self.session, what)

    def refused(self, why: Why, now: Now) -> None:
        """Policy or the journal said no: the server hears of nothing."""
        self.settled(False, now)
        self.session.ownership.release(self.frame.request)
        request = self.frame.request
        if why is Why.DENIED:
            body = refusal.all_refused(request, now.wall_ns, self.frame.refused)
            self.client.answer(self.request_id, body, now)
        else:
            self.client.fault(self.request_id, request.header.handle, refusal.CODES[why], now)

    def answer_here(self, permit: Any, now: Now) -> None:
        """Decided as every request, and answered by us: RegisterNodes, whose answer might rename nodes."""
        spent = permit.spend(self._listener.door.engine.revision, now.mono_ns)
        settle(permit, {"status": "ok" if spent is not None else "not_sent"}, b"", self._listener.door, now)
        if spent is None:
            self.refused(Why.BUSY, now)
            return
        self.settled(True, now)
        self.client.answer(self.request_id, refusal.answered_here(self.frame.request, now.wall_ns), now)

    def settled(self, done: bool, now: Now, statuses: Sequence[int] = ()) -> None:
        """The request is over, one way or another."""
        service: Service = self.frame.request.service
        if service.publish:
            self.session.publishes -= 1
        else:
            self.session.in_flight -= 1
        for tag, at in self.writes:
            good = done and not (at < len(statuses) and bad(statuses[at]))
            self._listener.last.written(tag, good, now.mono_ns)


def _written(operations: Sequence[Operation]) -> list[Point]:
    """The tags that a frame changes, if it goes through."""
    return [point for each in operations if each.action in MUTATING for point in each.points]
