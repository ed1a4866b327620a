"""Deciding again what lives on: monitored items and subscriptions, when policy or facts have changed.

A permit is asked for once, when an item is made; the server then tells news of it for days. So whoever's
items would not be allowed now loses the session, subscriptions and all, within a second (invariant 7).
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.guard.stages import waive
from gateway.model.decision import Denied
from gateway.relay.opcua import bounds
from gateway.relay.opcua.session import Session

if TYPE_CHECKING:
    from gateway.relay.opcua.listener import OpcuaListener

log = logging.getLogger(__name__)

Mark = tuple[str, int]
"What policy and facts were: the revision, and the guard's epoch."


class Again:
    """Looks at all sessions of a listener."""

    def __init__(self, listener: "OpcuaListener") -> None:
        self._listener = listener
        self.mark: Mark = self._now()
        "Under which what lives was last begun to be decided. An object of its own for each change."
        self._running: asyncio.Task[None] | None = None
        self._late: dict[Session, None] = {}
        "Sessions that got something under what held before."

    def look(self) -> None:
        """Begin where something changed; cheap where nothing did."""
        now = self._now()
        if now != self.mark:
            self.mark = now
            for session in self._listener.sessions:
                self._late[session] = None
        if self._late and (self._running is None or self._running.done()):
            self._running = self._listener.tasks.start(self._decide(), "deciding again")

    def late(self, session: Session) -> None:
        """What it has now was decided under what held before."""
        self._late[session] = None

    def _now(self) -> Mark:
        door = self._listener.door
        return door.engine.revision, door.epoch.value

    async def _decide(self) -> None:
        while self._late:
            session = next(iter(self._late))
            del self._late[session]
            if not session.active:
                continue
            try:
                await self._session(session)
            except Exception:
                self._late[session] = None  # what could not be decided is looked at again, not let be
                raise

    async def _session(self, session: Session) -> None:
        door = self._listener.door
        for at, operation in enumerate(session.ownership.live(), 1):
            if session.ended:
                return
            now = self._listener.clock()
            decision = door.engine.decide(session.caller, operation, now)
            if decision is None:
                decision = await door.engine.ask(session.caller, operation, now)
            if isinstance(decision, Denied):
                judged = waive(decision, operation, session.caller, door.stages)
                if isinstance(judged, Denied):
                    door.journal.denied(session.caller, operation, judged, now)
                    self._listener.count("opcua_sessions_withdrawn")
                    self._listener.cut_session(session, "what it subscribed to is not allowed any more")
                    return
            if not at % bounds.REJUDGED_A_TURN:
                await asyncio.sleep(0)
