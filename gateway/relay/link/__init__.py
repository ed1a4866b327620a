"""Links to plant devices: the only writers towards the plant, and they take nothing but permits."""

from gateway.relay.link.connection import PlantConnection
from gateway.relay.link.link import PlantLink
from gateway.relay.link.links import Links
from gateway.relay.link.shared import SharedReads

__all__ = ["Links", "PlantConnection", "PlantLink", "SharedReads"]
