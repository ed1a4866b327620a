"""Browse results without what the caller may not know, where an asset says `hide`.

Each reference is decided as a browse of its target; a path to such a target leads nowhere. What is left out
is counted and not recorded one by one: nobody asked for it.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.guard.passage import decide
from gateway.guard.stages import waive
from gateway.model.decision import Denied
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.relay.opcua import bounds
from gateway.relay.opcua.session import Session
from gateway.wire.opcua import asking, browsing
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.meaning import Context
from gateway.wire.opcua.request import Request, read_request
from gateway.wire.opcua.status import Status

if TYPE_CHECKING:
    from gateway.relay.opcua.exchange import Exchange
    from gateway.relay.opcua.listener import OpcuaListener

TRANSLATE = "TranslateBrowsePathsToNodeIds"
AT_ONCE = 1_000
"References that are read, and targets that get their meaning, at once: each some 5 µs."


class Hiding:
    """Hides for one listener."""

    def __init__(self, listener: "OpcuaListener") -> None:
        self._listener = listener

    def answer(self, exchange: "Exchange", answer: ServiceAnswer, at: Now) -> None:
        """Answer a browse; it may have to wait for policy."""
        self._listener.tasks.start(self._answer(exchange, answer, at), "passage")

    async def _answer(self, exchange: "Exchange", answer: ServiceAnswer, at: Now) -> None:
        session, client, handle = exchange.session, exchange.client, exchange.frame.request.header.handle
        context = session.context
        if context is None:
            client.fault(exchange.request_id, handle, Status.SESSION_ID_INVALID, at)
            return
        session.in_flight += 1  # it is, until it is answered
        try:
            paths = exchange.frame.request.service.name == TRANSLATE
            body = await (self._paths if paths else self._references)(session, context, answer, at)
        except Exception:
            client.fault(exchange.request_id, handle, Status.INTERNAL_ERROR, self._listener.clock())
            raise
        finally:
            session.in_flight -= 1
        client.answer(exchange.request_id, body, self._listener.clock())

    async def _paths(self, session: Session, context: Context, answer: ServiceAnswer, at: Now) -> bytes:
        """Paths to what the caller may not know are told as paths to what does not exist."""
        found = [browsing.targets(answer, place) for place in range(len(answer.outbound.kept))]
        nodes = dict.fromkeys(each for some in found for each in some if each)
        known = await self._known(session, context, list(nodes), at)
        hidden = {place for place, some in enumerate(found) if not known.issuperset(some)}
        if hidden:
            self._listener.count("opcua_references_hidden", len(hidden))
        return browsing.leading_nowhere(answer, hidden)

    async def _references(self, session: Session, context: Context, answer: ServiceAnswer, at: Now) -> bytes:
        hidden = {}
        for place in range(len(answer.outbound.kept)):
            found = []
            for number, each in enumerate(browsing.found(answer, place, context.begins), 1):
                found.append(each)
                if not number % AT_ONCE:
                    await asyncio.sleep(0)
            known = await self._known(session, context, [each.id for each in found if each.id], at)
            hidden[place] = [each for each in found if each.id not in known]
        count = sum(map(len, hidden.values()))
        if count:
            self._listener.count("opcua_references_hidden", count)
        return browsing.without(answer, hidden)

    async def _known(
        self, session: Session, context: Context, nodes: Sequence[bytes], now: Now
    ) -> set[bytes]:
        """Which of these nodes the caller may know of. Nodes of other servers are not among them."""
        known = set()
        for start in range(0, len(nodes), AT_ONCE):
            some = nodes[start : start + AT_ONCE]
            request = read_request(asking.browse(some, 0, 0))
            if not isinstance(request, Request):
                continue
            operations = session.route.place.operations(request, context, self._listener.last, now)
            for at, (node, operation) in enumerate(zip(some, operations, strict=True), 1):
                if await self._may_know(session, operation, now):
                    known.add(node)
                if not at % bounds.DECIDED_A_TURN:
                    await asyncio.sleep(0)
        return known

    async def _may_know(self, session: Session, operation: Operation, now: Now) -> bool:
        door = self._listener.door
        decision = decide(operation, session.caller, door, now)
        if decision is None:
            decision = await door.engine.ask(session.caller, operation, now)
        if isinstance(decision, Denied):
            return not isinstance(waive(decision, operation, session.caller, door.stages), Denied)
        return True
