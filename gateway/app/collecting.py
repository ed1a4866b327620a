"""The collector for OPC UA, joined to the sessions that servers keep for it."""

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from gateway.app.opcua import account
from gateway.model.decision import Why
from gateway.model.errors import IdentityError
from gateway.model.moment import Now
from gateway.publish.opcua_collector import CERTIFICATE, OpcuaCollector
from gateway.publish.ports import Away
from gateway.relay.link.opcua import OpcuaLink
from gateway.relay.link.opcua_links import OpcuaLinks
from gateway.relay.link.opcua_opening import LinkRefused
from gateway.relay.link.opcua_shown import shown
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.codes import status_slug
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.status import Status

if TYPE_CHECKING:
    from gateway.app.parts import Parts

REASONS: dict[int, str] = {
    Status.SERVER_NOT_CONNECTED: "device_down",
    Status.TOO_MANY_SESSIONS: "busy",
    Status.USER_ACCESS_DENIED: "denied",
    Status.INTERNAL_ERROR: "configuration",
}
"What tags say when there is no session; else the name of the server's status."


class OwnSession:
    """One session as the gateway itself. Implements `publish.ports.Session`."""

    def __init__(self, links: OpcuaLinks, link: OpcuaLink) -> None:
        self._links = links
        self._link = link

    @property
    def namespaces(self) -> tuple[str, ...]:
        return self._link.namespaces

    async def ask(self, body: bytes) -> ServiceAnswer | Why:
        return await self._links.ask(self._link, body)

    async def allowed(self, body: bytes) -> tuple[bool, ...]:
        return await self._links.allowed(self._link, body)

    def close(self) -> None:
        self._links.close(self._link)


class OwnServer:
    """The sessions of one server. Implements `publish.ports.Server`."""

    def __init__(
        self, links: OpcuaLinks, account: Account | None, clock: Callable[[], Now], *, reserved: bool
    ) -> None:
        """`reserved`: by the one session that is kept for the collector."""
        self._links = links
        self._account = account
        self._clock = clock
        self._reserved = reserved

    async def open(self, closed: Callable[[str], None]) -> OwnSession | Away:
        try:
            link = await self._links.open(self._account, lambda _, why: closed(why), reserved=self._reserved)
        except LinkRefused as refused:
            return await self._other() or Away(
                REASONS.get(refused.status) or status_slug(refused.status), refused.why
            )
        return OwnSession(self._links, link)

    async def _other(self) -> Away | None:
        """Whether it is another server than the pinned one, as far as it says so itself."""
        try:
            pinned = self._links.pinned()
        except IdentityError as error:
            return Away("configuration", str(error))
        found = await shown(self._links.asset, self._clock)
        if not found or pinned in found:
            return None
        named = ", ".join(sorted(sha256(each).hexdigest() for each in found))
        return Away(CERTIFICATE, f"it shows the certificate {named} (SHA-256), which is not the pinned one")


def servers(parts: "Parts", *, reserved: bool) -> dict[str, OwnServer]:
    """Every OPC UA server of the plant, for questions of the gateway's own."""
    return {
        name: OwnServer(route.links, account(route.asset), parts.now, reserved=reserved)
        for name, route in parts.opcua.items()
    }


def opcua_collector(parts: "Parts") -> OpcuaCollector:
    """The collector of their tags."""
    own = servers(parts, reserved=True)
    return OpcuaCollector(
        {name: (route.asset, own[name]) for name, route in parts.opcua.items()},
        values=parts.values,
        door=parts.door,
        clock=parts.now,
        tasks=parts.tasks,
        random=parts.random,
        count=parts.metrics.count,
        alarm=parts.alarm,
        backoff_s=parts.settings.collector.backoff_s,
    )
