"""Each key of the file, and the fields of `settings` that it fills.

A struct of `settings` says what a section holds; this module says under which names: `timeout_ms` is
written as `timeout: 1s`, `host` and `port` of a device as `endpoint: 10.0.0.5:502`. The rules are the tables:
a field's suffix, its characters, its type, or an entry of its own. The JSON Schema, the reader and the
reference page all iterate `keys(section)`: a new field of a struct is a new key in all three, at once.
"""

import ast
import inspect
import textwrap
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo

from gateway.config.bounds import NUMBERS, WORDS, Bound
from gateway.config.form import (
    DURATION_MS,
    DURATION_S,
    ENDPOINT,
    FILE,
    FILES,
    FLAG,
    GROUPS,
    KINDS,
    MODES,
    NUMBER,
    POLICIES,
    QUIRKS,
    RANGE,
    REGISTERS,
    SIZE,
    TEXT,
    TEXTS,
    UNITS,
    WHOLE,
    Form,
    Wrong,
    listed,
)
from gateway.model.asset import Asset, OpcuaMode, OpcuaPolicy, OpcuaServer, Quirk, Span, Tag
from gateway.model.record import RecordKind
from gateway.model.sensitive import Sensitive

BY_TYPE: dict[Any, Form] = {
    str: TEXT,
    bool: FLAG,
    int: WHOLE,
    float: NUMBER,
    Path: FILE,
    tuple[Path, ...]: FILES,
    tuple[Span, ...]: REGISTERS,
    tuple[Quirk, ...]: QUIRKS,
    tuple[OpcuaPolicy, ...]: POLICIES,
    tuple[OpcuaMode, ...]: MODES,
    tuple[str, ...]: TEXTS,
    tuple[RecordKind, ...]: KINDS,
    tuple[Sensitive, ...]: GROUPS,
    dict[int, str]: UNITS,
}
"The form of a field that no other table names."

SUFFIXES: tuple[tuple[str, str, Form], ...] = (
    ("_bytes_per_minute", "_per_minute", SIZE),
    ("_bytes", "", SIZE),
    ("_ms", "", DURATION_MS),
    ("_s", "", DURATION_S),
)
"The unit at the end of a field's name becomes part of the value in the file."

RATES = frozenset({"polls_per_s", "requests_per_s"})
"Fields that end like a duration and are none."

ELSEWHERE_WRITTEN = frozenset({(OpcuaServer, "path")})
"Fields without a key of their own: `draft` takes them from another (the path of `endpoint`)."

DERIVED: dict[tuple[type[Struct], str], str] = {
    (Tag, "resolution"): "the scale, without sign; a float type has none and must say it",
    (Tag, "address"): "none; a tag of a Modbus asset must have it",
}
"Defaults that `draft` works out."


class Composed(Struct, frozen=True):
    """A key that fills several fields."""

    name: str
    others: tuple[str, ...]
    form: Form
    doc: str


COMPOSED: dict[tuple[type[Struct], str], Composed] = {
    (Asset, "host"): Composed("endpoint", ("port",), ENDPOINT, "Where the device is."),
    (Tag, "low"): Composed(
        "range",
        ("high",),
        RANGE,
        "Smallest and largest sensible engineering value; outside it a value is withheld.",
    ),
}
"By section and the first of the fields."


class Key(Struct, frozen=True, kw_only=True):
    """One key of a section of the file."""

    name: str
    fields: tuple[FieldInfo, ...]
    "The fields of the struct that it fills; mostly one."
    form: Form | None = None
    section: type[Struct] | None = None
    "Instead of a form: what the key holds is a section (or a list of them) of its own."
    many: bool = False
    bound: Bound | None = None
    doc: str = ""
    derived: str = ""
    "Where the default depends on other keys: how."

    @property
    def required(self) -> bool:
        """Whether the file must have it."""
        return all(field.required for field in self.fields)

    @property
    def default(self) -> Any:
        """What holds where the file is silent, in the file's words; None where that means nothing."""
        default = self.fields[0].default
        if self.form is None or self.derived or default in (NODEFAULT, None, (), ""):
            return None
        return self.form.write(default)

    def read(self, raw: Any) -> tuple[Any, ...]:
        """A value for each of its fields, as builtins. Raises Wrong."""
        if self.form is None:
            return (raw,)
        value = self.form.read(raw)
        if self.bound is not None and not self.bound.low <= value <= self.bound.high:
            low, high = self.form.write(self.bound.low), self.form.write(self.bound.high)
            raise Wrong(f"{self.name} is {raw}", f"write {low} to {high}")
        return tuple(value) if len(self.fields) > 1 else (value,)


@cache
def keys(section: type[Struct]) -> tuple[Key, ...]:
    """The keys of a section, in the order of its fields."""
    docs = _field_docs(section)
    fields = {field.name: field for field in msgspec.structs.fields(section)}
    composed = {name: row for (kind, name), row in COMPOSED.items() if kind is section}
    skipped = {name for row in composed.values() for name in row.others}
    found = []
    for name, field in fields.items():
        if row := composed.get(name):
            several = (field, *(fields[other] for other in row.others))
            found.append(Key(name=row.name, fields=several, form=row.form, doc=row.doc))
        elif name not in skipped and (section, name) not in ELSEWHERE_WRITTEN:
            found.append(_single(section, field, docs.get(name, "")))
    return tuple(found)


def _single(section: type[Struct], field: FieldInfo, doc: str) -> Key:
    inner = _inner(field.type)
    if isinstance(inner, type) and issubclass(inner, Struct) and inner is not Span:
        many = get_origin(field.type) is tuple
        return Key(name=field.name, fields=(field,), section=inner, many=many, doc=doc)
    bound = NUMBERS.get((section, field.name))
    for suffix, instead, form in SUFFIXES:
        if field.name.endswith(suffix) and field.name not in RATES:
            name = field.name.removesuffix(suffix) + instead
            return Key(name=name, fields=(field,), form=form, bound=bound, doc=doc)
    if words := WORDS.get((section, field.name)):
        form = Form(schema={"type": "string", "pattern": words.pattern, "$comment": words.hint})
        form = listed(form) if get_origin(field.type) is tuple else form
        return Key(name=field.name, fields=(field,), form=form, doc=doc)
    if field.type not in BY_TYPE and isinstance(inner, type) and issubclass(inner, StrEnum):
        form = Form(schema={"enum": [str(member) for member in inner]}, write=str)
    else:
        form = BY_TYPE[field.type if get_origin(field.type) in (tuple, dict) else inner]
    derived = DERIVED.get((section, field.name), "")
    return Key(name=field.name, fields=(field,), form=form, bound=bound, doc=doc, derived=derived)


def _inner(kind: Any) -> Any:
    """`X` of `X | None` and of `tuple[X, ...]`."""
    found = [each for each in get_args(kind) if each not in (NoneType, Ellipsis)]
    return found[0] if found and get_origin(kind) is not dict else kind


def _field_docs(section: type[Struct]) -> dict[str, str]:
    """The strings that stand under the fields of a struct."""
    (body,) = [
        each.body
        for each in ast.parse(textwrap.dedent(inspect.getsource(section))).body
        if isinstance(each, ast.ClassDef)
    ]
    docs = {}
    for statement, following in pairwise(body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                docs[name] = " ".join(doc.split())
            case _:
                pass
    return docs
