"""Which asset a server of a capture is, what its namespaces are, and by which listener clients would come.

With a configuration: the asset whose endpoint this is, by address or by the host that the client's Hello
names; else, for a capture from the clients' side, the asset that the path of the URL names. Without one each
server is an asset by itself, `opcua-1`, `opcua-2` …, without tags.

Nodes have no name that lasts without the server's NamespaceArray. Clients mostly read it first, and then the
capture shows it; else `--namespace` says it.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import fields

from gateway.config.settings import OpcuaListener, Settings
from gateway.model.asset import Asset, Speaks
from gateway.wire.opcua.context import Context
from gateway.wire.opcua.meaning import NodePlace
from gateway.wire.opcua.nodeid import STANDARD
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.tables import Bounds

MOST_SERVERS = 64
"Servers that become assets without a configuration; requests to further ones name no nodes."
MOST_INDEX = 1024
"Namespace indices that nodes are shown with where nobody knows the URIs."
MOST_NAMESPACES = 1024
UNKNOWN = ("", "unknown")
"Stands for the namespaces of a server that nobody told."
UNNAMED = ("", *(f"ns={index};" for index in range(1, MOST_INDEX)))
"How nodes begin then: as in captures, not as in policy."


ORDINARY: dict[str, Any] = {each.name: each.default for each in fields(OpcuaListener)}
"What a listener has that says nothing else."


class Door(Struct, frozen=True, eq=False):
    """By which listener clients of a server would come."""

    listener: str
    zone: str
    section: OpcuaListener | None = None
    "Null where no configuration names one."


ELSEWHERE = Door("inspect", "plant")


class Servers:
    """The servers of a capture."""

    def __init__(self, settings: Settings | None, namespaces: Sequence[str] = ()) -> None:
        """`namespaces`: URIs from index 1 on, of servers whose own the capture does not show."""
        self.known = settings is not None
        assets = [a for a in settings.assets if a.protocol is Speaks.OPCUA] if settings is not None else []
        tags = settings.tags if settings is not None else ()
        places = {a.name: NodePlace(a, [tag for tag in tags if tag.asset == a.name]) for a in assets}
        self._by_name = places
        self._by_endpoint = {(a.host, a.port): places[a.name] for a in assets}
        self._doors: dict[str, Door] = {}
        for section in settings.opcua if settings is not None else ():
            for name in section.assets:
                self._doors.setdefault(name, Door(section.name, section.zone, section))
        self._told = (STANDARD, *namespaces) if namespaces else None
        self._namespaces: dict[tuple[str, int], tuple[str, ...]] = {}

    def place(self, server: str, port: int, url: str) -> NodePlace | None:
        """Where requests to it get their meaning; None if it is no asset."""
        found = self._by_endpoint.get((server, port))
        if found is None and url:
            host, named, path = parted(url)
            found = self._by_endpoint.get((host, named)) or self._by_name.get(path.strip("/"))
        if found is None and not self.known and len(self._by_endpoint) < MOST_SERVERS:
            name = f"opcua-{len(self._by_endpoint) + 1}"
            asset = Asset(name=name, host=server, port=port, protocol=Speaks.OPCUA)
            found = self._by_endpoint[server, port] = NodePlace(asset, [])
        return found

    def door(self, place: NodePlace | None) -> Door:
        """By which listener its clients come."""
        return ELSEWHERE if place is None else self._doors.get(place.asset.name, ELSEWHERE)

    def namespaces(self, server: str, port: int) -> tuple[str, ...] | None:
        """Its NamespaceArray, if anybody told it."""
        return self._namespaces.get((server, port), self._told)

    def learn(self, server: str, port: int, namespaces: tuple[str, ...]) -> None:
        """The capture shows it."""
        if len(self._namespaces) < MOST_SERVERS and len(namespaces) <= MOST_NAMESPACES:
            self._namespaces[server, port] = namespaces


def context(
    namespaces: tuple[str, ...] | None, policy: str | None, mode: str | None, owned: Ownership
) -> Context:
    """For the requests of one session. Without namespaces nodes are shown as `ns=2;s=Tank`."""
    made = Context(UNKNOWN if namespaces is None else namespaces, policy, mode, owned)
    if namespaces is None:
        made.begins = UNNAMED
    return made


def bounds(section: OpcuaListener | None) -> Bounds:
    """What a session may have."""
    names = ("subscriptions", "items", "least_publishing_ms", "least_sampling_ms", "most_queue")
    return Bounds(**{name: said(section, name) for name in names})


def said(section: OpcuaListener | None, name: str) -> Any:
    """What a listener says, or one would that says nothing."""
    return ORDINARY[name] if section is None else getattr(section, name)


def parted(url: str) -> tuple[str, int, str]:
    """Host, port and path of an endpoint URL; empty where it is none."""
    try:
        found = urlsplit(url)
        host, port = found.hostname or "", found.port or 4840
    except ValueError:
        return "", 0, ""
    return host, port, found.path
