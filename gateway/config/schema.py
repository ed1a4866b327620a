"""The JSON Schema of `gateway.yaml` (draft 2020-12), made from `keys`.

`dmz-gateway check --schema` prints it, docs/reference/gateway.schema.json is it, and editors complete from
it. `shape` judges files by it, so what an editor accepts and what the gateway accepts are one thing.
"""

from functools import cache
from typing import Any

from msgspec import Struct

from gateway.config.form import Form
from gateway.config.keys import Key, keys
from gateway.config.settings import Settings

ELSEWHERE = frozenset({"assets", "tags"})
"Top-level lists that may be the name of another YAML file instead."


@cache
def schema() -> dict[str, Any]:
    """The whole schema."""
    definitions: dict[str, Any] = {}
    top = _section(Settings, definitions)
    for name in sorted(ELSEWHERE):
        listed = top["properties"][name]
        top["properties"][name] = {
            "description": listed.pop("description"),
            "if": {"type": "string"},
            "then": {"minLength": 1},
            "else": listed,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gateway.yaml of dmz-gateway",
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def _section(section: type[Struct], definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": " ".join((section.__doc__ or "").split()),
        "properties": {key.name: _key(key, definitions) for key in keys(section)},
        "required": [key.name for key in keys(section) if key.required],
        "additionalProperties": False,
    }


def _key(key: Key, definitions: dict[str, Any]) -> dict[str, Any]:
    if key.section is not None:
        name = key.section.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _section(key.section, definitions)
        one = {"$ref": f"#/$defs/{name}"}
        doc = key.doc or str(definitions[name]["description"])
        return {"type": "array", "items": one, "description": doc} if key.many else one | {"description": doc}
    if key.form is None:
        raise AssertionError(f"{key.name} has neither form nor section")
    found = dict(key.form.schema)
    if key.form.name is not None:
        definitions[key.form.name] = found
        found = {"$ref": f"#/$defs/{key.form.name}"}
    elif key.bound is not None:
        found |= {"minimum": key.bound.low, "maximum": key.bound.high}
    default = f"Default: {key.derived}." if key.derived else ""
    found["description"] = " ".join(part for part in (key.doc, default, _sentence(key.form)) if part)
    if key.default is not None:
        found["default"] = key.default
    return found


def _sentence(form: Form) -> str:
    hint = str(form.schema.get("$comment", ""))
    return f"{hint[0].upper()}{hint[1:]}." if hint else ""
