"""What this floor asks of the one beside it, as shapes: `relay.tasks.Tasks`, `ops.metrics.Metrics`, links."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from msgspec import Struct

from gateway.model.decision import Why
from gateway.wire.opcua.answer import ServiceAnswer


class Holder(Protocol):
    """Holds running tasks, so that none fails unheard."""

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run it."""


class Count(Protocol):
    """Counts something for the metrics."""

    def __call__(self, name: str, n: int = 1) -> None: ...


class Alarm(Protocol):
    """Tells an operator what needs a person."""

    def __call__(self, code: str, known: dict[str, Any] | None = None) -> None: ...


class Session(Protocol):
    """A session with an OPC UA server as the gateway itself. Everything asked goes through the passage."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The server's NamespaceArray, read when this session began."""

    async def ask(self, body: bytes) -> ServiceAnswer | Why:
        """What the server answers to a body of `wire.opcua.asking`; DENIED where policy says no."""

    async def allowed(self, body: bytes) -> tuple[bool, ...]:
        """Whether policy would let each part of it through now. Nothing is sent, and nothing recorded."""

    def close(self) -> None:
        """End it, with all that it subscribed to."""


class Away(Struct, frozen=True):
    """There is no session."""

    reason: str
    "What tags say: `device_down`, `certificate`, `denied` …"
    why: str
    "For people."


class Server(Protocol):
    """An OPC UA server of the plant."""

    async def open(self, closed: Callable[[str], None]) -> Session | Away:
        """A new session; `closed` is told once if it ends by itself, and why."""
