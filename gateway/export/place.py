"""How far a destination is, on disk: one small file, put in place whole and made durable before it counts.

It also keeps the leaf hash of the last record that the receiver has. A log that was put back to an older
copy, or is another one, would give other records the ids of old ones, and a SIEM would drop them as
duplicates: so where that leaf is not in the log any more, nothing is exported.
"""

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.audit.storage import Disk, write_all
from gateway.audit.tree import leaf
from gateway.model.errors import GatewayError


class Place(Struct, frozen=True):
    """Everything below `next` is with the receiver."""

    origin: str
    next: Annotated[int, Meta(ge=0)] = 0
    leaf: str = ""
    "Leaf hash of the record before `next`, hex; empty where that was never seen."

    def after(self, index: int, data: bytes) -> "Place":
        """The place behind that record."""
        return Place(self.origin, index + 1, leaf(data).hex())


class PlaceFile:
    """The place of one destination, kept."""

    def __init__(self, folder: Path, name: str) -> None:
        self._disk = Disk(folder)
        self._name = f"export-{name}.json"
        self.path = folder / self._name

    def load(self, origin: str) -> Place:
        """Where to go on; the beginning where none was kept. GatewayError if the file makes no sense."""
        data = self._disk.read(self._name)
        if data is None:
            return Place(origin)
        try:
            place = msgspec.json.decode(data, type=Place)
        except msgspec.MsgspecError as error:
            raise GatewayError(
                f"{self.path} is damaged ({error}): remove it to begin at the first record"
            ) from None
        if place.origin != origin:
            raise GatewayError(
                f"{self.path} is about the log {place.origin}: remove it to begin at the first record"
            )
        return place

    def keep(self, place: Place) -> None:
        """Make it durable. An OSError leaves the old one in force: records are sent again, none is lost."""
        beside = f"{self._name}.next"
        file = self._disk.open(beside)
        try:
            data = msgspec.json.encode(place)
            file.truncate(0)
            write_all(file, data, 0)
            file.fdatasync()
        finally:
            file.close()
        os.replace(self._disk.folder / beside, self.path)
        self._disk.sync_folder("")
