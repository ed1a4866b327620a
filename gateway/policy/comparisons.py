"""Comparisons of `input` with constants, and whether the schema of the question lets them hold.

`input.modbus.fc == "3"` never holds, and `input.op.action != "wirte"` always does: under `deny` the one is
a rule that never fires, under `allow` the other is no condition. Rego says nothing about either; it even
orders values of different types, so `input.modbus.start < "9"` is always true. So the loader refuses what
dmz.input/1 makes impossible. Variables are followed where they are bound once: by `:=`, `some … in` and
`every`. What cannot be followed is not judged.
"""

import json
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

Path = tuple[str, ...]
Slice = Callable[[dict[str, int]], str]

ITEM = "[]"
"In a path: any item of an array."
OPERATORS = {"Eq": "==", "Ne": "!=", "Lt": "<", "Le": "<=", "Gt": ">", "Ge": ">="}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
EQUAL = ("==", "!=", "in")
_CONSTANTS = ("String", "RawString", "Number", "Bool")
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


class Comparison(Struct, frozen=True):
    """A field of the question, held against constants."""

    path: Path
    "Behind `input`."
    operator: str
    "`==`, `!=`, `<`, `<=`, `>`, `>=` or `in`."
    constants: tuple[str | int | bool | None, ...]
    line: int


def comparisons(rule: dict[str, Any], text: Slice) -> tuple[Comparison, ...]:
    """Those of one rule's syntax tree."""
    return tuple(_Reader(rule, text).found)


def impossible(comparison: Comparison, schema: Any) -> tuple[str, str] | None:
    """What is wrong with a comparison, and what mends it; None where it can hold and can fail."""
    node = _field(comparison.path, schema)
    if node is None:
        return None
    name = ".".join(("input", *comparison.path)).replace(".[]", "[_]")
    for constant in comparison.constants:
        if comparison.operator in EQUAL:
            if not _admits(node, constant):
                always = "always holds" if comparison.operator == "!=" else "never holds"
                what = f"{name} is never {json.dumps(constant)}, so the comparison {always}"
                return what, _instead(node, constant)
        elif not _of_type(node, constant):
            what = f"{name} is {_types(node)}, and {json.dumps(constant)} is not: Rego orders them by type"
            return what, "compare with a value of the same type"
    return None


class _Reader:
    """Walks one rule twice: for what its variables are bound to, and for its comparisons."""

    def __init__(self, rule: dict[str, Any], text: Slice) -> None:
        self._text = text
        self._bound: dict[str, Path | None] = {}
        self._bind(rule)
        self.found = list(self._compare(rule))

    def _bind(self, node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                self._bind(item)
        elif isinstance(node, dict):
            for form, body in node.items():
                match form:
                    case "SomeIn":
                        self._name(body["value"], self._path(body["collection"]), (ITEM,))
                    case "Every":
                        self._take(self._text(body["value"]), self._path(body["domain"]), (ITEM,))
                    case "AssignExpr":
                        self._name(body["lhs"], self._path(body["rhs"]), ())
                    case "Func":
                        for parameter in body.get("args") or ():
                            self._name(parameter, None, ())
                    case _:
                        pass
                self._bind(body)

    def _name(self, target: dict[str, Any], path: Path | None, more: Path) -> None:
        if "Var" in target:
            self._take(target["Var"]["value"], path, more)

    def _take(self, name: str, path: Path | None, more: Path) -> None:
        now = None if path is None else path + more
        self._bound[name] = now if self._bound.get(name, now) == now else None

    def _compare(self, node: Any) -> Iterator[Comparison]:
        if isinstance(node, list):
            for item in node:
                yield from self._compare(item)
        elif isinstance(node, dict):
            for form, body in node.items():
                if form == "BoolExpr":
                    yield from self._sides(body["lhs"], OPERATORS[body["op"]], body["rhs"], body)
                elif form == "AssignExpr" and body["op"] == "Eq":
                    yield from self._sides(body["lhs"], "==", body["rhs"], body)
                elif form == "Membership":
                    yield from self._member(body)
                yield from self._compare(body)

    def _sides(self, left: Any, operator: str, right: Any, body: Any) -> Iterator[Comparison]:
        for ref, constant, said in (
            (left, right, operator),
            (right, left, MIRRORED.get(operator, operator)),
        ):
            path, value = self._path(ref), _constant(constant)
            if path and value:
                yield Comparison(path, said, value, int(body["span"]["line"]))

    def _member(self, body: Any) -> Iterator[Comparison]:
        line = int(body["span"]["line"])
        path, among = self._path(body["value"]), body["collection"]
        ((form, inner),) = among.items()
        if path and form in ("Set", "Array"):
            known = [_constant(item) for item in inner["items"]]
            yield Comparison(path, "in", tuple(one for value in known for one in value), line)
        within, value = self._path(among), _constant(body["value"])
        if within and value:
            yield Comparison((*within, ITEM), "==", value, line)

    def _path(self, node: Any) -> Path | None:
        """The field that an expression is, if it is one; empty for the whole of `input`."""
        steps: list[str] = []
        while "RefDot" in node or "RefBrack" in node:
            ((form, body),) = node.items()
            if form == "RefDot":
                steps.append(body["field"][1])
            else:
                name = _constant(body["index"])
                steps.append(name[0] if name and isinstance(name[0], str) else ITEM)
            node = body["refr"]
        if "Var" not in node:
            return None
        steps.reverse()
        name = node["Var"]["value"]
        start = () if name == "input" else self._bound.get(name)
        return None if start is None else (*start, *steps)


def _constant(node: Any) -> tuple[str | int | bool | None, ...]:
    """The one constant, or nothing."""
    for form in _CONSTANTS:
        if form in node:
            return (node[form]["value"],)
    return (None,) if "Null" in node else ()


def _field(path: Path, schema: Any) -> dict[str, Any] | None:
    node: dict[str, Any] | None = schema
    for step in path:
        if node is None:
            return None
        node = node.get("items") if step == ITEM else node.get("properties", {}).get(step)
    return node


def _admits(node: dict[str, Any], value: Any) -> bool:
    if "const" in node:
        return _same(node["const"], value)
    if "enum" in node:
        return any(_same(one, value) for one in node["enum"])
    if not _of_type(node, value):
        return False
    number = type(value) is int
    low, high = node.get("minimum"), node.get("maximum")
    return not number or ((low is None or value >= low) and (high is None or value <= high))


def _of_type(node: dict[str, Any], value: Any) -> bool:
    known = [node["const"]] if "const" in node else node.get("enum")
    if known is not None:
        return type(value) in {type(one) for one in known}
    types = node.get("type")
    names = [types] if isinstance(types, str) else types
    return names is None or any(type(value) in _KINDS[name] for name in names)


def _types(node: dict[str, Any]) -> str:
    types = node.get("type", "string")
    return types if isinstance(types, str) else " or ".join(types)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _instead(node: dict[str, Any], value: Any) -> str:
    known = [one for one in node.get("enum", ()) if isinstance(one, str)]
    near = get_close_matches(str(value), known, 1)
    if near:
        return f"perhaps {json.dumps(near[0])}"
    if known:
        return f"one of {', '.join(json.dumps(one) for one in known)}"
    return f"its type is {_types(node)}, see docs/reference/input.md"
