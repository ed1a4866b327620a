"""Where an endpoint of a listener leads: one server of the plant."""

from gateway.model.asset import Asset, OpcuaServer
from gateway.relay.link.opcua_links import OpcuaLinks
from gateway.wire.opcua.meaning import NodePlace


class OpcuaRoute:
    """One OPC UA asset."""

    __slots__ = ("asset", "links", "server")

    def __init__(self, links: OpcuaLinks) -> None:
        self.asset: Asset = links.asset
        self.server: OpcuaServer = links.server
        self.links = links

    @property
    def place(self) -> NodePlace:
        """Where requests get their meaning; another one when tags change."""
        return self.links.place
