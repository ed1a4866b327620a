"""A YAML file as plain values, with the line of every one of them.

YAML 1.2 (core schema): `on`, `no` and `12:30` are text; only `true` and `false` are booleans. Every fault of
the text is found in one pass: keys said twice, tags that would make objects, aliases, numbers that are none.
Mapping keys become text, as in JSON, so that one JSON Schema fits; the file they came from is kept with the
line, because `tags:` and `assets:` may live in files of their own.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.model.errors import ConfigError, Fault

Trail = tuple[str | int, ...]
'The way to a value: `("assets", 0, "endpoint")`.'

MOST_BYTES = 16 * 1024 * 1024
"Some 100,000 tags. A file beyond it is a mistake (a log, a device image), not a configuration."

_OTHER_VERSION = re.compile(r"^%YAML\s+(?!1\.2\s*$)(\S+)", re.MULTILINE)


class Document:
    """Plain values, the place of each, and what is wrong with the text itself."""

    def __init__(
        self, value: Any, places: dict[Trail, tuple[str, int]], faults: list[Fault], spoiled: set[Trail]
    ) -> None:
        self.value = value
        self.places = places
        self.faults = faults
        self.spoiled = spoiled
        "Where the text could not be read: a stand-in lies there, and its shape is nobody's mistake."

    def where(self, trail: Trail) -> str:
        """`gateway.yaml:12`: the line of a value, or of the closest thing around it that is written down."""
        while trail and trail not in self.places:
            trail = trail[:-1]
        name, line = self.places[trail]
        return f"{name}:{line}"

    def get(self, trail: Trail) -> Any:
        """The plain value there; None where there is none."""
        value = self.value
        for step in trail:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def graft(self, key: str, other: "Document") -> None:
        """Put another file's contents where a top-level key names that file."""
        self.value[key] = other.value
        self.faults += other.faults
        place = self.places[(key,)]
        self.places |= {(key, *trail): at for trail, at in other.places.items()}
        self.spoiled |= {(key, *trail) for trail in other.spoiled}
        self.places[(key,)] = place


def open_document(path: Path, name: str) -> Document:
    """Read a file. Raises ConfigError where it cannot be read as one YAML document at all."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(
            name, 1, f"cannot be read: {error.strerror}", "check the name and who may read it"
        ) from None
    if len(content) > MOST_BYTES:
        raise _refused(name, 1, f"has more than {MOST_BYTES} bytes", "is this the right file?")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _refused(name, line, "is not UTF-8", "save it as UTF-8") from None
    if other := _OTHER_VERSION.search(text):
        line = text[: other.start()].count("\n") + 1
        raise _refused(name, line, f"asks for YAML {other[1]}", "remove the %YAML line: this is YAML 1.2")
    return _Reader(name).document(_compose(text, name))


def _refused(name: str, line: int, what: str, mend: str) -> ConfigError:
    return ConfigError([Fault(f"{name}:{line}", what, mend)])


def _compose(text: str, name: str) -> Node:
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise _refused(
            name, line, f"is not YAML: {said}", "check indentation, colons and quotes here"
        ) from None
    except YAMLError as error:
        first = str(error).splitlines()[0]
        raise _refused(name, 1, f"is not YAML: {first}", "write plain UTF-8 text") from None
    except RecursionError:
        raise _refused(
            name, 1, "is nested too deep", "no part of a configuration is deeper than five"
        ) from None
    if node is None:
        raise _refused(name, 1, "is empty", "start from the example in docs/reference/configuration.md")
    return node


class _Reader:
    """Turns composed nodes into plain values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Trail, tuple[str, int]] = {}
        self.faults: list[Fault] = []
        self.spoiled: set[Trail] = set()
        self.seen: set[int] = set()

    def document(self, node: Node) -> Document:
        self._place((), node)
        return Document(self._value(node, ()), self.places, self.faults, self.spoiled)

    def _place(self, trail: Trail, node: Node) -> None:
        self.places[trail] = (self.name, node.start_mark.line + 1)

    def _fault(self, node: Node, what: str, mend: str) -> None:
        self.faults.append(Fault(f"{self.name}:{node.start_mark.line + 1}", what, mend))

    def _spoil(self, trail: Trail, what: str, mend: str) -> None:
        name, line = self.places[trail]
        self.faults.append(Fault(f"{name}:{line}", what, mend))
        self.spoiled.add(trail)

    def _value(self, node: Node, trail: Trail) -> Any:
        if isinstance(node, ScalarNode):
            return self._scalar(node, trail)
        # A few lines of aliases to aliases unfold into more values than any memory holds, and an alias to
        # its own parent never ends.
        if id(node) in self.seen:
            return self._spoil(trail, "this is an alias", "write it out: aliases are not read")
        self.seen.add(id(node))
        kind = _kind(node)
        if isinstance(node, MappingNode) and kind == "map":
            return self._mapping(node, trail)
        if isinstance(node, SequenceNode) and kind == "seq":
            return self._sequence(node, trail)
        return self._spoil(trail, f"the tag {kind} is not read", "remove the tag")

    def _mapping(self, node: MappingNode, trail: Trail) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or not str(key_node.value).isprintable():
                self._fault(key_node, "a key must be a plain word", "write `key: value`")
                continue
            key = str(key_node.value)
            here = (*trail, key)
            if key in values:
                first = self.places[here][1]
                self._fault(key_node, f"{key} is written twice; first in line {first}", "keep one of them")
                continue
            self._place(here, key_node)
            values[key] = self._value(value_node, here)
        return values

    def _sequence(self, node: SequenceNode, trail: Trail) -> list[Any]:
        values = []
        for number, item in enumerate(node.value):
            here = (*trail, number)
            self._place(here, item)
            values.append(self._value(item, here))
        return values

    def _scalar(self, node: ScalarNode, trail: Trail) -> Any:
        text = str(node.value)
        kind = _kind(node)
        if kind not in _SCALARS:
            return self._spoil(
                trail, f"the tag {kind} is not read", "write plain text, a number, true or false"
            )
        try:
            return _SCALARS[kind](text)
        except (KeyError, ValueError):
            what = f"{text!a} is not a value of this kind"
            return self._spoil(trail, what, "write a finite number, or plain text in quotes")


def _kind(node: Node) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _float(text: str) -> float:
    """A finite number: what is infinite or no number at all would slip through every comparison."""
    number = float(text.replace("_", ""))
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _integer(text: str) -> int:
    """YAML 1.2: 0x and 0o; a leading zero is decimal."""
    digits = text.replace("_", "").lower()
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits.lstrip("+-")[:2], 10)
    return int(digits, base)


def _text(text: str) -> str:
    """Text that can be written out again: an escape can name half a character, which UTF-8 cannot hold."""
    text.encode()
    return text


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": _text,
    "timestamp": _text,
    "null": lambda _: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _integer,
    "float": _float,
}
"How plain text of each core type is read; ValueError and KeyError mean that it is not one."
