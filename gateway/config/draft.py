"""A document on its way to Settings: every part that can be typed is typed, even if others are at fault.

So the checks of meaning see as much as possible, and one run names mistakes of shape and of meaning together.
A part at fault is left out and nothing is concluded from its absence: its name still counts as known.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gateway.config import shape
from gateway.config.document import Document, Trail
from gateway.config.form import Wrong, endpoint_path
from gateway.config.keys import Key, keys
from gateway.config.settings import Settings
from gateway.model.asset import Asset, DataType, OpcuaServer, Tag
from gateway.model.errors import Fault

FLOATS = frozenset({DataType.FLOAT32, DataType.FLOAT64})

S = TypeVar("S", bound=Struct)


class Draft:
    """Typed parts by their trail, and the faults and warnings found so far."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.faults: list[Fault] = list(document.faults)
        self.warnings: list[Fault] = []
        self.parts: dict[Trail, Struct] = {}
        self._blamed: set[Trail] = set(document.spoiled)
        for complaint in shape.complaints(document):
            self.fault(complaint.trail, complaint.what, complaint.mend)
        self._around = {trail[:length] for trail in self._blamed for length in range(len(trail) + 1)}
        self.settings = self._build((), Settings, document.value)

    def fault(self, trail: Trail, what: str, mend: str) -> None:
        """Something is wrong there."""
        self._blamed.add(trail)
        self.faults.append(Fault(self.document.where(trail), what, mend))

    def warn(self, trail: Trail, what: str, mend: str = "") -> None:
        """Something is allowed there that a person should know of."""
        self.warnings.append(Fault(self.document.where(trail), what, mend))

    def each(self, kind: type[S]) -> Iterator[tuple[Trail, S]]:
        """The typed parts of one kind, in the order of the file."""
        for trail, part in self.parts.items():
            if isinstance(part, kind):
                yield trail, part

    def names(self, section: str) -> dict[str, Trail]:
        """The names in a list as written, whether or not the rest of each item can be typed."""
        found: dict[str, Trail] = {}
        for number in self.numbers(section):
            name = self.document.get((section, number, "name"))
            if isinstance(name, str):
                found.setdefault(name, (section, number, "name"))
        return found

    def numbers(self, section: str) -> range:
        """The places in a list, as written."""
        items = self.document.get((section,))
        return range(len(items) if isinstance(items, list) else 0)

    def _build(self, trail: Trail, section: type[S], raw: Any) -> S | None:
        """The struct of a section, or None where anything of its own or within it is at fault."""
        if trail in self._blamed and not isinstance(raw, dict):
            return None
        values: dict[str, Any] = {}
        whole = trail not in self._blamed
        for key in keys(section):
            here = (*trail, key.name)
            if key.name not in raw:
                continue
            if key.section is not None:
                value = self._within(here, key, key.section, raw[key.name])
                whole &= value is not None
                values[key.fields[0].name] = value
            elif here in self._around:
                whole = False
            else:
                whole &= self._fill(here, key, raw[key.name], values)
        whole &= all(key.name in raw for key in keys(section) if key.required)
        if not whole:
            return None
        _derive(section, raw, values)
        part = section(**values)
        self.parts[trail] = part
        return part

    def _within(self, trail: Trail, key: Key, section: type[Struct], raw: Any) -> Any:
        if not key.many:
            return self._build(trail, section, raw)
        if not isinstance(raw, list):
            return None
        built = [self._build((*trail, number), section, item) for number, item in enumerate(raw)]
        return None if None in built else tuple(built)

    def _fill(self, trail: Trail, key: Key, raw: Any, values: dict[str, Any]) -> bool:
        try:
            for field, value in zip(key.fields, key.read(raw), strict=True):
                values[field.name] = msgspec.convert(value, field.type, dec_hook=self._path)
        except Wrong as wrong:
            self.fault((*trail, *wrong.at), wrong.what, wrong.mend)
            return False
        except msgspec.ValidationError as error:
            hint = key.form.schema.get("$comment", "") if key.form else ""
            self.fault(trail, f"{key.name}: {error}", str(hint))
            return False
        return True

    def _path(self, _: type, value: Any) -> Any:
        """Relative paths start at the folder of the file, wherever the gateway is started."""
        return self.folder / value


def _derive(section: type[Struct], raw: dict[str, Any], values: dict[str, Any]) -> None:
    """What one key says of another's field.

    `resolution` of an integer is its scale: one step of the register is one quantum (`keys.DERIVED`). The
    path of an OPC UA server stands in its `endpoint` (`keys.ELSEWHERE_WRITTEN`).
    """
    if section is Tag and "resolution" not in raw and values["type"] not in FLOATS:
        values["resolution"] = abs(values.get("scale", 1.0))
    if section is Asset and isinstance(server := values.get("opcua"), OpcuaServer):
        values["opcua"] = msgspec.structs.replace(server, path=endpoint_path(raw["endpoint"]))
