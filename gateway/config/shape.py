"""Every fault of shape in a document, in words that say how to mend it.

jsonschema finds them all in one pass; this module puts each of its keywords into words. A key that looks like
another gets "did you mean", and if that other is missing, nothing is said about it twice.
"""

import json
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from msgspec import Struct

from gateway.config.document import Document, Trail
from gateway.config.schema import schema


class Complaint(Struct, frozen=True):
    """What is wrong at one place of a document."""

    trail: Trail
    what: str
    mend: str


def complaints(document: Document) -> Iterator[Complaint]:
    """What the schema has to say; nothing about places where the text itself was at fault."""
    for error in _VALIDATOR(schema()).iter_errors(document.value):
        trail: Trail = tuple(error.absolute_path)
        if trail not in document.spoiled:
            yield from WORDS[str(error.validator)](trail, error)


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """`$` of JSON Schema is the end; Python's would let a line break follow, and names go into topics."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("")


_VALIDATOR: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call] # stubs

TYPES = {
    "object": "a section",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
"What people call the types of JSON."


def _shown(value: Any) -> str:
    """A value as in the file, short."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _name(trail: Trail) -> str:
    """`timeout`, `tags[3]`, `range[0]`; the whole file has no name."""
    if not trail:
        return "the file"
    if isinstance(trail[-1], int):
        return f"{_name(trail[:-1])}[{trail[-1]}]"
    return str(trail[-1])


def _hint(error: ValidationError) -> str:
    """How the schema says this is written."""
    return str(_rules(error).get("$comment", ""))


def _rules(error: ValidationError) -> dict[str, Any]:
    """The part of the schema that speaks."""
    return error.schema if isinstance(error.schema, dict) else {}


def _value(error: ValidationError) -> list[Any]:
    """What the keyword says, as a list."""
    return error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]


def _section(error: ValidationError) -> dict[str, Any]:
    return error.instance if isinstance(error.instance, dict) else {}


def _type(trail: Trail, error: ValidationError) -> Iterator[Complaint]:
    wanted = _value(error)
    kinds = " or ".join(TYPES[str(each)] for each in wanted)
    if error.instance is None:
        yield Complaint(trail, f"{_name(trail)} has no value", _hint(error) or f"write {kinds}, or remove it")
        return
    mend = _hint(error) or f"write {kinds}"
    if wanted == ["string"] and isinstance(error.instance, (bool, int, float)):
        mend = f'put it in quotes: "{_shown(error.instance)}"'
    yield Complaint(trail, f"{_name(trail)} is not {kinds}: {_shown(error.instance)}", mend)


def _unknown(trail: Trail, error: ValidationError) -> Iterator[Complaint]:
    rules = _rules(error)
    for key in _unknown_keys(_section(error), rules):
        if "patternProperties" in rules:
            yield Complaint((*trail, key), f"{_name(trail)} cannot have {key}", _hint(error))
            continue
        known = list(rules["properties"])
        near = _near(key, known)
        mend = f"did you mean {near}?" if near else f"keys here: {', '.join(known)}"
        yield Complaint((*trail, key), f"there is no key {key}", mend)


def _required(trail: Trail, error: ValidationError) -> Iterator[Complaint]:
    # jsonschema reports each missing key by itself, and names it only in its message.
    missing = next(key for key in _value(error) if error.message.startswith(f"{key!r} is a required"))
    rules = _rules(error)
    strangers = _unknown_keys(_section(error), rules)
    if missing not in {_near(key, list(rules["properties"])) for key in strangers}:
        yield Complaint(trail, f"{missing} is missing{_inside(trail)}", f"add {missing}: …")


def _unknown_keys(instance: dict[str, Any], rules: Any) -> list[str]:
    patterns = rules.get("patternProperties", {})
    return [
        key
        for key in instance
        if key not in rules.get("properties", {}) and not any(re.search(each, key) for each in patterns)
    ]


def _near(key: str, known: list[str]) -> str | None:
    return next(iter(get_close_matches(key.lower(), known, 1, 0.6)), None)


def _inside(trail: Trail) -> str:
    return f" in {_name(trail)}" if trail else ""


def _enum(trail: Trail, error: ValidationError) -> Iterator[Complaint]:
    choices = [str(each) for each in _value(error)]
    near = _near(str(error.instance), choices)
    mend = f"did you mean {near}?" if near else f"write one of {', '.join(choices)}"
    yield Complaint(trail, f"{_name(trail)} cannot be {_shown(error.instance)}", mend)


def _bounds(trail: Trail, error: ValidationError) -> Iterator[Complaint]:
    low, high = _rules(error).get("minimum"), _rules(error).get("maximum")
    mend = f"write {low:g} to {high:g}" if low is not None and high is not None else _hint(error)
    yield Complaint(trail, f"{_name(trail)} is {_shown(error.instance)}", mend)


def _written(trail: Trail, error: ValidationError) -> Iterator[Complaint]:
    yield Complaint(trail, f"{_name(trail)} cannot be {_shown(error.instance)}", _hint(error))


WORDS: dict[str, Callable[[Trail, ValidationError], Iterator[Complaint]]] = {
    "type": _type,
    "additionalProperties": _unknown,
    "required": _required,
    "enum": _enum,
    "minimum": _bounds,
    "maximum": _bounds,
    "pattern": _written,
    "minLength": _written,
    "maxLength": _written,
    "minItems": _written,
    "maxItems": _written,
}
"The keywords that `schema` uses; a test holds that there is a row for each."
