"""What this listener says of its endpoints, and where each leads (OPC 10000-4 §5.5).

Clients come back to the URL that they are told, so that is the host by which they came; names that a site
configures are told beside it. One asset is one endpoint: `opc.tcp://HOST:PORT/ASSET`.
"""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from gateway.config.settings import OpcuaListener as Limits
from gateway.relay.opcua.route import OpcuaRoute
from gateway.wire.opcua import offers
from gateway.wire.opcua.messages import (
    MOST_ENDPOINTS,
    ApplicationDescription,
    EndpointDescription,
    GetEndpointsResponse,
    UserTokenPolicy,
    encode,
)
from gateway.wire.opcua.security import Credentials

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]")
MOST_TOLD = 16
"URLs whose answers are remembered; a full memory starts again empty."
SERVER = 0
"ApplicationType (OPC 10000-4 §7.4)."


class Endpoints:
    """The endpoints of one listener."""

    def __init__(
        self,
        limits: Limits,
        routes: Mapping[str, OpcuaRoute],
        uri: str,
        kinds: Callable[[OpcuaRoute], tuple[UserTokenPolicy, ...]],
        port: Callable[[], int],
    ) -> None:
        self.uri = uri
        "ApplicationUri of the gateway's certificate."
        self.credentials: Credentials
        self._told: dict[str, bytes] = {}
        self._limits = limits
        self._routes = routes
        self._kinds = kinds
        self._port = port
        self.offered = frozenset((policy, mode) for policy in limits.policies for mode in limits.modes)

    def route(self, url: str) -> OpcuaRoute | None:
        """Where a URL leads; one without a path to the only asset, where there is only one."""
        name = _path(url)
        if not name and len(self._routes) == 1:
            return next(iter(self._routes.values()))
        return self._routes.get(name)

    def knows(self, url: str) -> bool:
        """Whether a client may come by that URL: to an asset, or to ask what there is."""
        name = _path(url)
        return not name or name in self._routes

    def server(self, url: str) -> ApplicationDescription:
        """The gateway as a server."""
        places = [f"opc.tcp://{self._authority(url)}/{name}" for name in self._routes]
        return self._described(None, tuple(places[:64]))

    def told(self, url: str) -> bytes:
        """The answer to GetEndpoints without time and handle: encoded once a URL, since anybody asks."""
        found = self._told.get(url)
        if found is None:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            found = self._told[url] = encode(GetEndpointsResponse(endpoints=self.of(url)))
        return found

    def show(self, credentials: Credentials, uri: str) -> None:
        """Our certificate from now on."""
        self.credentials, self.uri = credentials, uri
        self._told.clear()

    def of(self, url: str, route: OpcuaRoute | None = None) -> tuple[EndpointDescription, ...]:
        """The endpoints that a URL is about: those of its asset, or all."""
        only = route or self._routes.get(_path(url))
        shown = (only,) if only is not None else tuple(self._routes.values())
        authorities = dict.fromkeys(
            (self._authority(url), *(f"{name}:{self._port()}" for name in self._limits.names))
        )
        found = [
            endpoint
            for each in shown
            for authority in authorities
            for endpoint in self._endpoint(f"opc.tcp://{authority}/{each.asset.name}", each)
        ]
        return tuple(found[:MOST_ENDPOINTS])

    def _endpoint(self, url: str, route: OpcuaRoute) -> tuple[EndpointDescription, ...]:
        server = self._described(route.asset.name, (url,))
        return offers.endpoints(url, server, self.credentials.sent, self.offered, self._kinds(route))

    def _described(self, name: str | None, urls: tuple[str, ...]) -> ApplicationDescription:
        called = "dmz-gateway" if name is None else f"dmz-gateway: {name}"
        return ApplicationDescription(
            uri=self.uri, product_uri="urn:dmz-gateway", name=called, kind=SERVER, urls=urls
        )

    def _authority(self, url: str) -> str:
        """Host and port by which the client came, where that is a host at all."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if ":" in host:
            host = f"[{host}]"
        if not _HOST.fullmatch(host):
            host = self._limits.names[0] if self._limits.names else self._limits.host
        return f"{host}:{port or self._port()}"


def _path(url: str) -> str:
    try:
        return urlsplit(url).path.strip("/")
    except ValueError:
        return "?"
