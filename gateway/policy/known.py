"""Everything that a reference in a bundle can mean, and whether anything depends on itself.

regorus does not notice that a function calls itself: the process dies of a full stack. So circles are found
here, over rules and functions of all modules at once.
"""

from collections.abc import Iterator

from gateway.model.errors import Fault
from gateway.policy.bundle import OWN, Bundle
from gateway.policy.functions import ALLOWED, IN_TESTS
from gateway.policy.module import Call, Module, Path, Rule

OPTIONAL = ("windows", "modes")
"Documents that core reads and a bundle may lack: undefined there, and what needs them does not hold."


class Known:
    """Everything that a reference can mean."""

    def __init__(self, modules: list[Module], bundle: Bundle) -> None:
        self.modules = modules
        self.documents = {*bundle.data, *OWN, *OPTIONAL}
        self.rules: dict[Path, list[tuple[Module, Rule]]] = {}
        for module in modules:
            for rule in module.rules:
                self.rules.setdefault(rule.path, []).append((module, rule))
        self._within: dict[Path, dict[Path, None]] = {}
        "Each path at which or below which there is a rule -> these rules."
        for path in self.rules:
            for steps in range(len(path) + 1):
                self._within.setdefault(path[:steps], {})[path] = None

    def function(self, module: Module, call: Call) -> int | None:
        """How many arguments the called function takes; None if there is no such function."""
        path = call.path[1:] if call.path[:1] == ("data",) else module.package + call.path
        for _, rule in self.rules.get(path, ()):
            if rule.parameters:
                return rule.parameters
        name = ".".join(call.path)
        return ALLOWED.get(name, IN_TESTS.get(name) if module.tests else None)

    def reads(self, path: Path) -> list[Path]:
        """The rules that a static data path can reach: those it lies in, and those that lie in it."""
        around = [path[:steps] for steps in range(len(path)) if path[:steps] in self.rules]
        return [*around, *self._within.get(path, ())]

    def cycles(self) -> Iterator[Fault]:
        """Rules that depend on themselves, each cycle once."""
        edges = {path: self._dependencies(path) for path in self.rules}
        done: set[Path] = set()
        for start in edges:
            loop = _loop(start, edges, done)
            if loop:
                through = " -> ".join(".".join(path) for path in loop)
                yield Fault(self._outermost(loop), f"depends on itself: {through}", "break the circle")
                return

    def conflicts(self) -> Iterator[Fault]:
        """Definitions of one name that are not of one form; regorus finds them late or never."""
        packages = {module.package: module for module in self.modules}
        for path, definitions in self.rules.items():
            forms = {(rule.kind, rule.parameters) for _, rule in definitions if rule.kind != "default"}
            module, rule = definitions[-1]
            where = f"{module.name}:{rule.line}"
            if len(forms) > 1:
                what = f"{'.'.join(path)} is defined in two forms"
                yield Fault(where, what, "let all be values, all sets, or all functions of as many arguments")
            other = next((p for name, p in packages.items() if name[: len(path)] == path), None)
            if other is not None:
                what = f"{'.'.join(path)} is also the package of {other.name}"
                yield Fault(where, what, "choose another name")

    def _outermost(self, loop: list[Path]) -> str:
        """File and line of the rule to mend: one that is not core's, if there is any."""
        places = [(module.name, rule.line) for path in loop for module, rule in self.rules[path]]
        name, line = next((place for place in places if not place[0].startswith("core/")), places[0])
        return f"{name}:{line}"

    def _dependencies(self, path: Path) -> list[Path]:
        found: dict[Path, None] = {}
        for module, rule in self.rules[path]:
            for target in [*(r.path for r in rule.references), *(c.path for c in rule.calls)]:
                if target[:1] == ("input",):
                    continue
                absolute = target[1:] if target[:1] == ("data",) else module.package + target
                found.update(dict.fromkeys(self.reads(absolute)))
        return list(found)


def _loop(start: Path, edges: dict[Path, list[Path]], done: set[Path]) -> list[Path]:
    """A circle that can be reached from there, or nothing. Depth first, without recursion of our own."""
    trail: list[Path] = []
    stack: list[tuple[Path, int]] = [(start, 0)]
    while stack:
        path, place = stack.pop()
        if place == 0:
            if path in done:
                continue
            if path in trail:
                return [*trail[trail.index(path) :], path]
            trail.append(path)
        if place < len(edges[path]):
            stack.append((path, place + 1))
            stack.append((edges[path][place], 0))
        else:
            trail.pop()
            done.add(path)
    return []


def comparable(one: Path, other: Path) -> bool:
    """Whether one of the paths lies in the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
