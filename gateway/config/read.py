"""From the file to Settings: text, shape, types, meaning, files; every fault of every step in one go."""

from pathlib import Path

from msgspec import Struct

from gateway.config import meaning, opcua
from gateway.config.document import Document, open_document
from gateway.config.draft import Draft
from gateway.config.files import files
from gateway.config.points import tags
from gateway.config.schema import ELSEWHERE
from gateway.config.settings import Settings
from gateway.model.errors import ConfigError, Fault


class Reading(Struct, frozen=True):
    """What came of reading a file: settings, or why there are none."""

    settings: Settings | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    document: Document | None = None
    "Where everything stands; None where the file is no YAML document at all."


def read(path: Path, cost: meaning.Cost | None = None) -> Settings:
    """The settings in a file. Raises ConfigError with every fault.

    Give `cost` to refuse assets that would be polled beyond their budget: how polls are planned is known
    two floors above.
    """
    reading = look(path, cost)
    if reading.settings is None:
        raise ConfigError(list(reading.faults))
    return reading.settings


def look(path: Path, cost: meaning.Cost | None = None) -> Reading:
    """The settings in a file, or every fault, and the warnings either way. Never raises."""
    try:
        document = open_document(path, path.name)
    except ConfigError as error:
        return Reading(None, tuple(error.faults), ())
    _include(document, path.parent)
    draft = Draft(document, path.parent)
    for check in (*meaning.CHECKS, *opcua.CHECKS, tags, files):
        check(draft)
    if cost is not None:
        meaning.budgets(draft, cost)
    faults = _in_order(draft.faults, path.name)
    return Reading(None if faults else draft.settings, faults, _in_order(draft.warnings, path.name), document)


def _include(document: Document, folder: Path) -> None:
    """Lists that live in a file of their own. One level deep: that file cannot name another."""
    for key in sorted(ELSEWHERE):
        name = document.get((key,))
        if not isinstance(name, str) or not name:
            continue
        try:
            document.graft(key, _list_in(folder / name, name, document.where((key,))))
        except ConfigError as error:
            document.faults += error.faults
            document.spoiled.add((key,))


def _list_in(path: Path, name: str, named_at: str) -> Document:
    """A file that holds a list. Raises ConfigError; that it is not there is a fault of who names it."""
    if not path.is_file():
        mend = "correct the name; it is relative to the folder of this file"
        raise ConfigError([Fault(named_at, f"{name} is not a file", mend)])
    document = open_document(path, name)
    if not isinstance(document.value, list):
        raise ConfigError([Fault(f"{name}:1", "does not hold a list", "begin each item with `- `")])
    return document


def _in_order(faults: list[Fault], main: str) -> tuple[Fault, ...]:
    """By file, the main one first, and line; each once."""

    def order(fault: Fault) -> tuple[bool, str, int]:
        name, _, line = fault.where.rpartition(":")
        return name != main, name, int(line)

    return tuple(sorted(dict.fromkeys(faults), key=order))
