"""The loader: Bundle -> Policy, if nothing in the bundle can make an engine fail open or crash.

Every engine that was tried, OPA included, can be led to allow by a policy that looks right: by data that
replaces a rule, a misspelt function that is undefined under `not`, a file that extends a package of
somebody else, an import alias. The rules below refuse the forms that can; each names file, line and mend.

1  every module parses                          7  no aliases: no import but future.keywords and rego.v1
2  its package lies in the roots of its folder  8  `input` and `data` are read by name, never whole
3  no data overlaps a rule or a package         9  fields of input are those of dmz.input/1
4  every called function exists, with as many   10 what a rule reads exists; nothing depends on itself
   arguments (regorus: else undefined)             (regorus: a recursive function crashes the process)
5  no clock, dice, network; `with` in tests     11 base and site deny where core looks for it, as a set
6  `import future.keywords.not` (OPA: else      12 numbers are integers
   `not f(missing)` does not hold)              13 data fits its schema, grants stay within bounds
                                                14 before a function's `else`, values are certain (regorus:
                                                   an undefined one ends the call, OPA goes on)
                                                15 what is compared with `input` is of its schema
                                                16 no variable hides a rule (regorus: `some x` is then
                                                   the rule x)
                                                17 one file describes a package (OPA refuses two)
"""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gateway.model.errors import Fault, PolicyError
from gateway.policy import documents
from gateway.policy.bundle import Bundle
from gateway.policy.comparisons import impossible
from gateway.policy.functions import ALLOWED, IN_TESTS, why_not
from gateway.policy.known import Known, comparable
from gateway.policy.module import Call, Module, Path, Reference, Rule, parse

NOT = ("future", "keywords", "not")
ENTRYPOINT = ("dmz", "decision")
PACKAGES = ("dmz", "base", "site", "tests")
"First names of packages; no data document may have one."
EXTENSIONS = ("deny", "obligation")
"What base and site packages may add; core looks for them at `data.base[_]` and `data.site[_]`."


_DESCRIBED = re.compile(r"^# METADATA[^\n]*\n(?:#[^\n]*\n)*\s*package\s", re.MULTILINE)


class Policy(Struct, frozen=True, kw_only=True):
    """A bundle that passed, and what its decision can read."""

    bundle: Bundle
    modules: tuple[Module, ...]
    tests: tuple[Module, ...]
    paths: tuple[Path, ...]
    "The input paths that any rule can read, shortest first, none within another."
    readers: dict[Path, str]
    "Path -> file and line of the first rule that reads it."
    warnings: tuple[Fault, ...] = ()
    "What its own tests find that holds nothing up (`decider.prepare`)."


def load(bundle: Bundle) -> Policy:
    """Check a bundle. Raises PolicyError with every fault found."""
    faults: list[Fault] = []
    parsed: list[Module] = []
    rego = {name: text for name, text in bundle.tests.items() if name.endswith(".rego")}
    for name, text in {**bundle.modules, **rego}.items():
        module = parse(name, text)
        if isinstance(module, Fault):
            faults.append(module)
        else:
            parsed.append(module)
    if not faults:
        known = Known(parsed, bundle)
        for module in parsed:
            faults += _module(module, known)
        faults += _overlaps(bundle, parsed)
        faults += _described_twice(bundle, parsed)
        faults += known.conflicts()
        faults += known.cycles()
        if ENTRYPOINT not in known.rules:
            faults.append(Fault("core", "there is no rule dmz.decision", "copy core/ from the product"))
    faults += documents.faults(bundle)
    if faults:
        raise PolicyError(sorted(faults, key=lambda fault: fault.where))
    modules = tuple(module for module in parsed if not module.tests)
    paths, readers = _projection(modules)
    tests = tuple(module for module in parsed if module.tests)
    return Policy(bundle=bundle, modules=modules, tests=tests, paths=paths, readers=readers)


def _described_twice(bundle: Bundle, modules: list[Module]) -> Iterator[Fault]:
    """Rule 17: a bundle that the one engine takes and the other refuses is no bundle for both."""
    texts, first = {**bundle.modules, **bundle.tests}, dict[Path, str]()
    for module in modules:
        if _DESCRIBED.search(texts[module.name]):
            other = first.setdefault(module.package, module.name)
            if other != module.name:
                what = f"describes the package {'.'.join(module.package)}, as {other} does"
                mend = "remove the METADATA above the package here"
                yield Fault(f"{module.name}:{module.line}", what, mend)


def _module(module: Module, known: Known) -> Iterator[Fault]:
    """Rules 2, 4 to 12, 14 and 15 for one module."""
    yield from _package(module)
    yield from _imports(module)
    if not module.tests:
        for line in module.withs:
            yield Fault(f"{module.name}:{line}", "`with` outside tests/", "write a rule without it")
    for line in module.floats:
        yield Fault(
            f"{module.name}:{line}", "a number that is no integer", "compare quanta, which are integers"
        )
    for name, line in module.elses:
        if not name or (*module.package, name) in known.rules:
            what = "an `else` behind a value that can be undefined, which regorus never comes to"
            yield Fault(f"{module.name}:{line}", what, "bind the value in the body: `:= x if { x := … }`")
    for name, line in module.shadows:
        if name in ("input", "data") or (*module.package, name) in known.rules:
            yield Fault(f"{module.name}:{line}", f"a variable hides `{name}`", "choose another name")
    for rule in module.rules:
        yield from _extension(module, rule)
        if ".".join(rule.path[len(module.package) :]) in {**ALLOWED, **IN_TESTS}:
            where = f"{module.name}:{rule.line}"
            yield Fault(where, f"hides the built-in function {rule.path[-1]}", "choose another name")
        for call in rule.calls:
            yield from _call(module, call, known)
        for reference in rule.references:
            yield from _reference(module, reference, known)
        if not module.tests:
            for comparison in rule.comparisons:
                wrong = impossible(comparison, documents.schema("input").schema)
                if wrong is not None:
                    yield Fault(f"{module.name}:{comparison.line}", *wrong)


def _package(module: Module) -> Iterator[Fault]:
    root = _root(module.name)
    if root is None:
        mend = "put it under site/<plant>/"
        yield Fault(f"{module.name}:1", "a site module that belongs to no plant", mend)
    elif module.package[: len(root)] != root:
        said, wanted = ".".join(module.package), ".".join(root)
        what = f"package {said} lies outside the root of its folder"
        yield Fault(f"{module.name}:{module.line}", what, f"packages here are {wanted} or {wanted}.…")


def _root(name: str) -> Path | None:
    parts = name.split("/")
    match parts[0]:
        case "core":
            return ("dmz",)
        case "site":
            return ("site", parts[1]) if len(parts) > 2 else None
        case top:
            return (top,)


def _imports(module: Module) -> Iterator[Fault]:
    for item in module.imports:
        if item.path[:2] != ("future", "keywords") and item.path != ("rego", "v1"):
            said = ".".join(item.path)
            what = f"`import {said}`: engines resolve functions through imports differently"
            yield Fault(f"{module.name}:{item.line}", what, f"remove it and write {said} in full")
        elif item.alias:
            yield Fault(f"{module.name}:{item.line}", "an alias for a keyword", "remove the alias")
    if not any(item.path == NOT for item in module.imports):
        what = "`import future.keywords.not` is missing, without which OPA's `not` can fail open"
        yield Fault(f"{module.name}:{module.line}", what, "add the import below the package")


def _extension(module: Module, rule: Rule) -> Iterator[Fault]:
    if module.package[:1] not in (("base",), ("site",)):
        return
    name = next((part for part in rule.path[1:] if part in EXTENSIONS), None)
    where = f"{module.name}:{rule.line}"
    if name is not None and (len(rule.path) != 3 or rule.path[2] != name):
        what = f"nobody looks for {'.'.join(rule.path)}"
        yield Fault(where, what, f"core reads data.{rule.path[0]}.<name>.{name} only")
    elif name is not None and rule.kind != "set":
        yield Fault(where, f"{name} is not a set", f"write `{name} contains {{…}} if …`")


def _call(module: Module, call: Call, known: Known) -> Iterator[Fault]:
    name, where = ".".join(call.path), f"{module.name}:{call.line}"
    if not call.path:
        yield Fault(where, "a call of something that is not a name", "call functions by name")
        return
    wanted = known.function(module, call)
    if wanted is None:
        yield Fault(where, f"unknown function {name}", why_not(name))
    elif wanted != call.arguments:
        what = f"{name} takes {wanted} arguments, not {call.arguments}"
        yield Fault(where, what, "give it what it takes")


def _reference(module: Module, reference: Reference, known: Known) -> Iterator[Fault]:
    where, path = f"{module.name}:{reference.line}", reference.path
    match path:
        case ("input",):
            if not module.tests:
                yield Fault(where, "`input` is read whole", "name the fields that the rule needs")
        case ("input", *rest):
            unknown = _no_field(tuple(rest))
            if unknown and not module.tests:
                yield Fault(where, f"dmz.input/1 has no field {unknown}", "see docs/reference/input.md")
        case ("data",):
            yield Fault(where, "`data` is read whole", "name the document that the rule needs")
        case ("data", top, *_) if top in PACKAGES:
            if len(path) > 2 and not known.reads(path[1:]):
                yield Fault(where, f"there is no rule {'.'.join(path)}", "mend the name")
        case ("data", top, *_) if top not in known.documents:
            yield Fault(where, f"there is no document data.{top}", "mend the name, or add it under data/")


def _no_field(path: Path) -> str | None:
    """The part of the path that dmz.input/1 does not have."""
    node: Any = documents.schema("input").schema
    for depth, name in enumerate(path):
        properties = node.get("properties", {})
        if name not in properties:
            return ".".join(path[: depth + 1])
        node = properties[name]
    return None


def _overlaps(bundle: Bundle, modules: list[Module]) -> Iterator[Fault]:
    """Rule 3. regorus lets data replace a rule in silence; OPA refuses it."""
    rules = {rule.path: f"{module.name}:{rule.line}" for module in modules for rule in module.rules}
    for name, value in bundle.data.items():
        if name in PACKAGES:
            for leaf in _leaves((name,), value):
                hit = next((rule for rule in rules if comparable(rule, leaf)), None)
                said = ".".join(leaf)
                what = (
                    f"data.{said} shadows the rule at {rules[hit]}" if hit else f"data.{said} is a package's"
                )
                yield Fault(bundle.where(leaf), what, "rename the document")


def _leaves(path: Path, value: object) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*path, name), inner)
    else:
        yield path


def _projection(modules: tuple[Module, ...]) -> tuple[tuple[Path, ...], dict[Path, str]]:
    """The input paths that the modules read, without those that lie within another."""
    readers: dict[Path, str] = {}
    for module in modules:
        for rule in module.rules:
            for reference in rule.references:
                if reference.path[0] == "input":
                    readers.setdefault(reference.path[1:], f"{module.name}:{reference.line}")
    paths = sorted(readers, key=lambda path: (len(path), path))
    outer: list[Path] = []
    for path in paths:
        if not any(path[: len(other)] == other for other in outer):
            outer.append(path)
    return tuple(outer), {path: readers[path] for path in outer}
