"""What all connections of a capture share: servers, trust, room, and the certificates that were judged."""

from msgspec import Struct

from gateway.inspect.opcua.certificates import Certificate, Trust, described, pinned
from gateway.inspect.opcua.chunks import Room
from gateway.inspect.opcua.servers import Door, Servers
from gateway.model.moment import Now
from gateway.wire.opcua.meaning import NodePlace
from gateway.wire.opcua.security import certificates

MOST_JUDGED = 1024
"Chains whose judgement is remembered."


class Shown(Struct, frozen=True):
    """A certificate that one side showed."""

    server: bool
    certificate: Certificate


class Around:
    """Shared by all connections."""

    def __init__(self, servers: Servers, trust: Trust) -> None:
        self.servers = servers
        self.trust = trust
        self.room = Room()
        self._judged: dict[tuple[bool, str, bytes], Shown] = {}

    def shown(self, chain: bytes, *, server: bool, place: NodePlace | None, door: Door, now: Now) -> Shown:
        """What it says and what the gateway makes of it, at the moment when it is first shown."""
        key = server, f"{door.zone} {place.asset.name if place is not None else ''}", chain
        known = self._judged.get(key)
        if known is None:
            if len(self._judged) >= MOST_JUDGED:
                self._judged.clear()
            known = self._judged[key] = self._look(chain, server, place, door, now)
        return known

    def _look(self, chain: bytes, server: bool, place: NodePlace | None, door: Door, now: Now) -> Shown:
        if server:
            known = place.asset.opcua if place is not None else None
            leaf = (certificates(chain) or (chain,))[0]
            verdict, why = pinned(leaf, known.server_certificate if known is not None else None)
            return Shown(True, described(chain, verdict, why))
        zone = door.zone if door.section is not None else None
        return Shown(False, described(chain, *self.trust.client(chain, zone, now)))
