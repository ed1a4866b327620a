"""By what channel and session a request came: what its meaning depends on beside its bytes."""

from typing import Protocol

from gateway.model.operation import Operation
from gateway.wire.opcua.nodeid import Prefixes, prefixes
from gateway.wire.opcua.session import Ownership


class Channel:
    """What is remembered for one kind of channel."""

    __slots__ = ("batches", "held", "items", "place")

    def __init__(self, place: object) -> None:
        self.place = place
        "Whose memory it is."
        self.items: dict[tuple[int, bytes], Operation] = {}
        self.batches: dict[tuple[int, bytes], tuple[Operation, ...]] = {}
        self.held = 0
        "Items of those."


class Context:
    """By what channel and session a request came, and what the server's namespaces are."""

    __slots__ = ("_channel", "begins", "mode", "namespaces", "security", "session")

    def __init__(
        self,
        namespaces: tuple[str, ...],
        security: str | None = None,
        mode: str | None = None,
        session: Ownership | None = None,
    ) -> None:
        self.namespaces = namespaces
        "The server's NamespaceArray."
        self.begins: Prefixes = prefixes(namespaces)
        self.security = security
        self.mode = mode
        self.session = session if session is not None else Ownership()
        self._channel: Channel | None = None

    def channel(self, place: "Place") -> Channel:
        """What the place remembers for such channels."""
        if self._channel is None or self._channel.place is not place:
            self._channel = place.channel(self)
        return self._channel


class Place(Protocol):
    """Where requests get their meaning: `meaning.NodePlace`."""

    def channel(self, context: Context) -> Channel:
        """What is remembered for such channels."""
