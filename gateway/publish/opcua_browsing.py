"""Looking around in an OPC UA server for people who choose nodes for tags: bounded, as the gateway itself.

From one node downwards along hierarchical references, breadth first. Every request goes through the passage:
what policy does not let the gateway browse is listed and not entered, what it does not let it read has no
value here. Nodes of the standard's own namespace are listed and not entered, unless one is where it begins.
"""

from collections.abc import Callable
from math import isfinite

from msgspec import Struct

from gateway.model.decision import Why
from gateway.model.moment import Now
from gateway.publish.ports import Session
from gateway.wire.opcua import asking
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.browsing import Browsed, browsed
from gateway.wire.opcua.codes import BAD, status_name
from gateway.wire.opcua.nodeid import find, prefixes
from gateway.wire.opcua.notifications import read_values
from gateway.wire.opcua.showing import shown
from gateway.wire.opcua.values import DataValue, Typed, ns_ticks

OBJECTS = "i=85"
"The Objects folder: where a server's own nodes begin (OPC 10000-5 §8.2.3)."
MOST_NODES = 2_000
"Nodes that one look can give."
MOST_DEPTH = 12
AT_ONCE = 50
"Nodes browsed, or read, with one request."
MOST_PAGES = 200
"Requests for the rest of a long list, in all."
CLASSES = {1: "object", 2: "variable", 4: "method", 8: "object type", 16: "variable type", 128: "view"}
"NodeClass (OPC 10000-3 §8.29)."
VARIABLE = 2


class Node(Struct, kw_only=True, omit_defaults=True):
    """A node that was found."""

    node: str
    "As `node:` of a tag names it."
    name: str
    path: str
    "BrowseNames from where the look began."
    depth: int
    kind: str
    type: str = ""
    "Of the value: `Double`, `Int32[]` …; empty where it could not be read."
    value: str | int | float | bool | None = None
    status: str = ""
    "Why there is no value, or what is the matter with it; empty where it is good."


class Look(Struct, kw_only=True):
    """What a look gives."""

    asset: str
    start: str
    nodes: list[Node] = []
    truncated: bool = False
    "Whether there is more than could be listed."
    denied: int = 0
    "Nodes that policy does not let the gateway browse."


class NoLookError(Exception):
    """Nothing can be listed, and why."""


class Browser:
    """One look."""

    def __init__(
        self, session: Session, clock: Callable[[], Now], *, asset: str, start: str, depth: int, most: int
    ) -> None:
        self._session = session
        self._clock = clock
        self._begins = prefixes(session.namespaces)
        self._depth = min(depth, MOST_DEPTH)
        self._most = min(most, MOST_NODES)
        self._pages = MOST_PAGES
        self._handle = 0
        self._seen: set[str] = set()
        self._ids: dict[str, bytes] = {}
        self.look = Look(asset=asset, start=start)

    async def run(self) -> Look:
        """Browse, and read what has values."""
        start = find(self.look.start, self._session.namespaces)
        if start is None:
            raise NoLookError(f"{self.look.start}: the server has no such namespace")
        self._seen.add(self.look.start)
        level = [(start.encode(), "", self.look.start)]
        for depth in range(1, self._depth + 1):
            below: list[tuple[bytes, str, str]] = []
            for at in range(0, len(level), AT_ONCE):
                if self.look.truncated:
                    break
                below += await self._enter(level[at : at + AT_ONCE], depth)
            level = below
        await self._values()
        return self.look

    async def _enter(self, parents: list[tuple[bytes, str, str]], depth: int) -> list[tuple[bytes, str, str]]:
        """What hangs under these nodes; gives those that can be entered in turn."""
        body = asking.browse([each[0] for each in parents], self._next(), self._ticks())
        answer = await self._session.ask(body)
        if answer is Why.DENIED:
            self.look.denied += len(parents)
            if depth == 1:
                raise NoLookError(f"policy does not let the gateway browse {self.look.start}")
            return []
        good = _good(answer)
        kept = good.outbound.kept
        self.look.denied += len(parents) - len(kept)
        below: list[tuple[bytes, str, str]] = []
        for at, place in enumerate(kept):
            found = browsed(good, at, self._begins)
            if found.status & BAD and depth == 1:
                raise NoLookError(f"{self.look.start}: the server says {status_name(found.status)}")
            below += self._take(found, parents[place][1], depth)
            while found.point and not self.look.truncated:
                if not self._pages:
                    self.look.truncated = True
                    break
                self._pages -= 1
                more = await self._session.ask(asking.browse_next([found.point], self._next(), self._ticks()))
                if not isinstance(more, ServiceAnswer) or not more.good:
                    self.look.truncated = True
                    break
                found = browsed(more, 0, self._begins)
                below += self._take(found, parents[place][1], depth)
        return below

    def _take(self, found: Browsed, path: str, depth: int) -> list[tuple[bytes, str, str]]:
        below: list[tuple[bytes, str, str]] = []
        for each in found.references:
            if each.node is None or not each.id or each.node in self._seen:
                continue
            if len(self.look.nodes) >= self._most:
                self.look.truncated = True
                break
            self._seen.add(each.node)
            where = f"{path}/{each.name}"
            kind = CLASSES.get(each.node_class, str(each.node_class))
            self.look.nodes.append(Node(node=each.node, name=each.name, path=where, depth=depth, kind=kind))
            self._ids[each.node] = each.id
            if each.node.startswith("nsu="):
                below.append((each.id, where, each.node))
        return below

    async def _values(self) -> None:
        """Read what the variables hold."""
        variables = [each for each in self.look.nodes if each.kind == CLASSES[VARIABLE]]
        for at in range(0, len(variables), AT_ONCE):
            some = variables[at : at + AT_ONCE]
            body = asking.read([self._ids[each.node] for each in some], self._next(), self._ticks())
            answer = await self._session.ask(body)
            if isinstance(answer, Why):
                for each in some:
                    each.status = answer.value
                continue
            good = _good(answer)
            values = read_values(good, self._begins)
            if not isinstance(values, tuple):
                raise NoLookError(f"the server's answer cannot be read: {values.what}")
            came = dict(zip(good.outbound.kept, values, strict=True))
            for place, each in enumerate(some):
                if place in came:
                    _fill(each, came[place])
                else:
                    each.status = Why.DENIED.value

    def _next(self) -> int:
        self._handle += 1
        return self._handle

    def _ticks(self) -> int:
        return ns_ticks(self._clock().wall_ns)


def _fill(node: Node, value: DataValue) -> None:
    node.status = status_name(value.status) if value.status else ""
    if value.value is not None and value.value.type != "Null":
        node.type = value.value.type
    if isinstance(value.value, Typed):
        node.value = jsonable(value.value)


def jsonable(typed: Typed) -> str | int | float | bool | None:
    """A value as JSON can say it: numbers as numbers where they are finite, arrays as short texts."""
    plain = typed.value
    return plain if isinstance(plain, float) and isfinite(plain) else shown(typed)


def _good(answer: ServiceAnswer | Why) -> ServiceAnswer:
    if isinstance(answer, Why):
        raise NoLookError(f"the server does not answer: {answer.value}")
    if not answer.good:
        raise NoLookError(f"the server says {status_name(answer.status)}")
    return answer
