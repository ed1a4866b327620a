"""A recorded question, brought to the form that dmz.input/1 has now.

The schema is closed and grows: a record of last month lacks the fields that were added since. They are filled
with null, which is what the gateway of that time knew about them, and told. A field that may not be null, or
one that nobody knows any more, makes the question one that cannot be asked again.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import Struct

from gateway.policy import documents

Question = dict[str, Any]
"A `dmz.input/1` document."


class _Node(Struct, frozen=True):
    """One object of the schema: its fields, and those of them that are objects themselves."""

    fields: Mapping[str, bool]
    "Name -> whether it may be null."
    objects: Mapping[str, "_Node"]


class UnaskableError(ValueError):
    """A recorded question that cannot be asked again; says which field is in the way."""


def complete(question: Question) -> list[str]:
    """Fill what is missing, in place; the paths that were filled. Raises UnaskableError."""
    filled: list[str] = []
    _complete(question, _form(), "", filled)
    return filled


def fields(part: str) -> tuple[str, ...]:
    """Names of the fields of a part of the question."""
    return tuple(_form().objects[part].fields)


def _complete(given: Question, node: _Node, path: str, filled: list[str]) -> None:
    if given.keys() != node.fields.keys():
        for name in given.keys() - node.fields.keys():
            raise UnaskableError(f"{path}{name} is no field of dmz.input/1")
        for name, nullable in node.fields.items():
            if name in given:
                continue
            if not nullable:
                raise UnaskableError(f"{path}{name} is missing and cannot be null")
            given[name] = None
            filled.append(f"{path}{name}")
    for name, inner in node.objects.items():
        if isinstance(given[name], dict):
            _complete(given[name], inner, f"{path}{name}.", filled)


@cache
def _form() -> _Node:
    return _node(documents.schema("input").schema)


def _node(schema: Any) -> _Node:
    validator = documents.schema("input")
    properties = schema["properties"]
    return _Node(
        fields={name: validator.evolve(schema=each).is_valid(None) for name, each in properties.items()},
        objects={name: _node(each) for name, each in properties.items() if "properties" in each},
    )
