"""One Rego module as the loader sees it: package, imports, rules, and what each rule reads and calls.

The engine's own parser makes the syntax tree (regorus `get_ast_as_json`), so what is checked is what will
run. The tree is walked without regard to scope: a local variable that is named like a rule counts as that
rule. That can only lengthen what a rule seems to read, never hide anything.
"""

import json
import re
from functools import lru_cache
from typing import Any

import regorus
from msgspec import Struct

from gateway.model.errors import Fault
from gateway.policy.comparisons import Comparison, comparisons

Path = tuple[str, ...]

MOST_REMEMBERED = 256
"Modules kept parsed, so that a reload after a change of data parses none of them again."

_CONSTANTS = frozenset({"String", "RawString", "Number", "Bool", "Null"})
_PLACE = re.compile(r"--> (?P<file>.*?):(?P<line>\d+):\d+")
_ERROR = re.compile(r"^error: (?P<what>.*)", re.MULTILINE | re.DOTALL)


class Reference(Struct, frozen=True):
    """A document that a rule reads: the names before the first index that is not a constant string."""

    path: Path
    "Starts with `input`, `data`, or a name of the module."
    line: int
    dynamic: bool = False
    "Whether an index that is only known at evaluation follows."


class Call(Struct, frozen=True):
    """A function that a rule calls."""

    path: Path
    arguments: int
    line: int


class Rule(Struct, frozen=True, kw_only=True):
    """One definition. Several may share a path."""

    path: Path
    "Package and head, without `data`: dmz, guardrails, deny."
    kind: str
    "`value`, `set`, `function` or `default`."
    parameters: int = 0
    named: tuple[str, ...] = ()
    "Those of its parameters that are names."
    line: int
    references: tuple[Reference, ...]
    calls: tuple[Call, ...]
    codes: tuple[str, ...] = ()
    "Constants under `code` in the objects that it makes: the reason codes that it can give."
    comparisons: tuple[Comparison, ...] = ()
    "What it holds of `input` against constants."


class Import(Struct, frozen=True):
    """An import."""

    path: Path
    line: int
    alias: bool


class Module(Struct, frozen=True, kw_only=True):
    """A parsed module."""

    name: str
    "Path in the bundle."
    package: Path
    line: int
    "Line of the package."
    imports: tuple[Import, ...]
    rules: tuple[Rule, ...]
    withs: tuple[int, ...]
    "Lines that use `with`."
    shadows: tuple[tuple[str, int], ...]
    "Names of variables that are declared by `every` and `some x`, with their lines."
    floats: tuple[int, ...]
    "Lines with a number that is not an integer."
    elses: tuple[tuple[str, int], ...]
    """Values of functions that an `else` follows and that are no constants: a name, or empty for anything
    else, with their lines."""

    @property
    def tests(self) -> bool:
        """Whether it lies under tests/, which no gateway loads for deciding."""
        return self.name.startswith("tests/")


@lru_cache(maxsize=MOST_REMEMBERED)
def parse(name: str, text: str) -> Module | Fault:
    """The module, or where its text is not Rego."""
    engine = regorus.Engine()
    try:
        engine.add_policy(name, text)
        tree = json.loads(engine.get_ast_as_json())[0]["ast"]
    except Exception as error:  # noqa: BLE001  the engine's errors have no common class
        return engine_fault(name, error)
    return _Reader(name, text.encode()).module(tree)


def engine_fault(name: str, error: BaseException) -> Fault:
    """What the engine complains about, with its file and line and without its stack."""
    text = str(error).split("\n\nStack backtrace:", 1)[0]
    place, what = _PLACE.search(text), _ERROR.search(text)
    where = f"{place['file']}:{place['line']}" if place else f"{name}:1"
    return Fault(where, " ".join((what["what"] if what else text).split()), "see the Rego reference")


class _Reader:
    """Walks one syntax tree and gathers what it meets."""

    def __init__(self, name: str, source: bytes) -> None:
        self._name = name
        self._source = source
        self._references: list[Reference] = []
        self._calls: list[Call] = []
        self._withs: list[int] = []
        self._shadows: list[tuple[str, int]] = []
        self._floats: list[int] = []
        self._elses: list[tuple[str, int]] = []
        self._codes: list[str] = []

    def module(self, tree: dict[str, Any]) -> Module:
        package, _ = _static(tree["package"]["refr"])
        rules = tuple(self._rule(package, rule) for rule in tree["rules"])
        return Module(
            name=self._name,
            package=package,
            line=_line(tree["package"]),
            imports=tuple(
                Import(_static(item["refr"])[0], _line(item), item.get("as") is not None)
                for item in tree["imports"]
            ),
            rules=rules,
            withs=tuple(self._withs),
            shadows=tuple(self._shadows),
            floats=tuple(self._floats),
            elses=tuple(self._elses),
        )

    def _rule(self, package: Path, rule: dict[str, Any]) -> Rule:
        self._references, self._calls, self._codes = [], [], []
        ((form, body),) = rule.items()
        parameters: list[Any] = []
        if form == "Default":
            kind, head, parameters = "default", body["refr"], body["args"]
            self._walk([body["args"], body["value"]])
        else:
            ((shape, inner),) = body["head"].items()
            kind, head = {"Compr": "value", "Set": "set", "Func": "function"}[shape], inner["refr"]
            parameters = inner.get("args") or []
            self._walk([inner.get("args"), inner.get("key"), inner.get("assign"), body["bodies"]])
            if shape == "Func":
                self._before_else(inner.get("assign"), body["bodies"])
        path, indexes = _static(head)
        self._walk(indexes)
        return Rule(
            path=package + path,
            kind=kind,
            parameters=len(parameters),
            named=tuple(one["Var"]["value"] for one in parameters if "Var" in one),
            line=_line(body),
            references=tuple(self._references),
            calls=tuple(self._calls),
            codes=tuple(dict.fromkeys(self._codes)),
            comparisons=comparisons(rule, self._slice),
        )

    def _before_else(self, first: dict[str, Any] | None, bodies: list[dict[str, Any]]) -> None:
        """The values that an `else` follows: the head's, and those of each `else` but the last."""
        values = [first, *(body["assign"] for body in bodies[1:])]
        for value, following in zip(values, bodies[1:], strict=False):
            if value is not None and following["is_else"]:
                ((form, node),) = value["value"].items()
                if form not in _CONSTANTS:
                    self._elses.append((node["value"] if form == "Var" else "", _line(node)))

    def _walk(self, node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                self._walk(item)
        elif isinstance(node, dict):
            for key, value in node.items():
                match key:
                    case "RefDot" | "RefBrack" | "Var":
                        self._reference({key: value})
                    case "Call":
                        self._call(value)
                    case "SomeVars":
                        self._shadows += [(self._slice(span), span["line"]) for span in value["vars"]]
                    case _:
                        self._leaf(key, value)

    def _leaf(self, key: str, value: Any) -> None:
        if key == "Every":
            self._shadows += [
                (self._slice(span), span["line"]) for span in (value["key"], value["value"]) if span
            ]
        elif key == "with_mods" and value:
            self._withs.append(_line(value[0]))
        elif key == "Number" and not isinstance(value["value"], int):
            self._floats.append(_line(value))
        elif key == "Object":
            self._codes += [
                str(content["String"]["value"])
                for _, name, content in value["fields"]
                if name.get("String", {}).get("value") == "code" and "String" in content
            ]
        self._walk(value)

    def _reference(self, node: dict[str, Any]) -> None:
        base = _base(node)
        path, indexes = _static(node)
        self._walk(indexes)
        if path:
            self._references.append(Reference(path, _line(next(iter(node.values()))), bool(indexes)))
        else:
            self._walk(base)

    def _call(self, call: dict[str, Any]) -> None:
        path, indexes = _static(call["fcn"])
        self._walk(indexes)
        self._calls.append(Call(path, len(call["params"]), _line(call)))
        self._walk(call["params"])

    def _slice(self, span: dict[str, int]) -> str:
        return self._source[span["start"] : span["end"]].decode()


def _base(node: dict[str, Any]) -> dict[str, Any]:
    """What a chain of `.x` and `[x]` starts from."""
    while "RefDot" in node or "RefBrack" in node:
        node = next(iter(node.values()))["refr"]
    return node


def _static(node: dict[str, Any]) -> tuple[Path, list[Any]]:
    """The constant names at the start of a reference, and every index that is not one of them.

    Empty where the reference starts from something else than a name, for example from a call.
    """
    steps: list[Any] = []
    while "RefDot" in node or "RefBrack" in node:
        ((form, body),) = node.items()
        steps.append(body["field"][1] if form == "RefDot" else _constant(body["index"]))
        node = body["refr"]
    if "Var" not in node:
        return (), [step for step in steps if not isinstance(step, str)]
    steps.append(node["Var"]["value"])
    steps.reverse()
    names: list[str] = []
    for place, step in enumerate(steps):
        if not isinstance(step, str):
            return tuple(names), [later for later in steps[place:] if not isinstance(later, str)]
        names.append(step)
    return tuple(names), []


def _constant(index: dict[str, Any]) -> Any:
    for form in ("String", "RawString"):
        if form in index:
            return index[form]["value"]
    return index


def _line(node: dict[str, Any]) -> int:
    return int(node["span"]["line"])
