"""How events travel: what `destination` asks of a way, and the two ways there are.

A way takes events in order, and `confirm` returns only when the receiver has all of them. Every failure is an
Unreachable; whatever was sent since the last `confirm` is then sent again.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.config.settings import SyslogSection
from gateway.export import cloudevents, syslog
from gateway.export.ocsf import Event
from gateway.export.receipt import Connection, Unreachable

MOST_PUBLISHED = 16
"Messages of one broker under way at once: values must find room beside them."

Publish = Callable[[str, bytes, str], Awaitable[str | None]]
"Topic, payload and content type; None when the broker has taken it, else why it has not."


class Carrier(Protocol):
    """One way."""

    def render(self, event: Event) -> bytes:
        """What travels. Called in a thread."""

    async def send(self, events: Sequence[bytes]) -> None:
        """Send them in order. Raises Unreachable."""

    async def confirm(self) -> None:
        """Returns when the receiver has everything that was sent. Raises Unreachable."""

    def abort(self) -> None:
        """Let go; what was sent since the last `confirm` counts as not sent."""


class Syslog:
    """RFC 5425: a connection from one `confirm` to the next (`receipt` says why)."""

    def __init__(self, section: SyslogSection, context: Callable[[], ssl.SSLContext]) -> None:
        self._section = section
        self._context = context
        self._connection: Connection | None = None

    def render(self, event: Event) -> bytes:
        """A framed message."""
        return syslog.framed(syslog.message(event, self._section.message_bytes))

    async def send(self, events: Sequence[bytes]) -> None:
        """Connect where that is to be done, and write."""
        if self._connection is None:
            section = self._section
            self._connection = await Connection.open(
                section.host, section.port, self._context, section.receipt
            )
        await self._connection.send(b"".join(events))

    async def confirm(self) -> None:
        """Close in order and wait for the receiver to do the same."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.finish()

    def abort(self) -> None:
        """Cut it."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


class Events:
    """CloudEvents at QoS 1: each has its receipt when it is taken."""

    def __init__(self, topic: str, origin: str, publish: Publish) -> None:
        self._topic = topic
        self._origin = origin
        self._publish = publish

    def render(self, event: Event) -> bytes:
        """The event in its envelope."""
        return cloudevents.envelope(event, self._origin)

    async def send(self, events: Sequence[bytes]) -> None:
        """Publish all, some at once."""
        for at in range(0, len(events), MOST_PUBLISHED):
            some = events[at : at + MOST_PUBLISHED]
            refused = await asyncio.gather(
                *(self._publish(self._topic, each, cloudevents.CONTENT_TYPE) for each in some)
            )
            why = next((each for each in refused if each is not None), None)
            if why is not None:
                raise Unreachable(f"the broker: {why}")

    async def confirm(self) -> None:
        """Nothing is left to wait for."""

    def abort(self) -> None:
        """Nothing is held."""
