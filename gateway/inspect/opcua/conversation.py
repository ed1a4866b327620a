"""One client and one OPC UA server port, all their connections: the sums that people read."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from gateway.inspect.breakage import Break
from gateway.inspect.conversation import ODD, Times, noted
from gateway.inspect.opcua.around import Shown
from gateway.inspect.opcua.certificates import Certificate
from gateway.inspect.opcua.chunks import Room
from gateway.inspect.opcua.findings import FINDINGS, OpcuaFinding
from gateway.inspect.opcua.line import Line, called
from gateway.model.decision import Allowed, Decision
from gateway.model.operation import Operation
from gateway.wire.modbus.findings import Severity
from gateway.wire.opcua.codes import BAD

MOST_KINDS = 200
"Different things told of one conversation; there are some 40 services and 250 status codes."
MOST_NODES = 5_000
"Nodes counted by themselves in one conversation."
MOST_NODE_BYTES = 64 << 20
"Memory for the names of nodes, all conversations together."
NODE_COST = 200
"Bytes that a counted node takes beside its name."
OTHERS = ("others", "", "")
"Stands for nodes beyond the bounds."

Node = tuple[str, str, str]
"Service, node (for Call object and method), attribute."


class Asked(Struct):
    """What was asked of one service."""

    requests: int = 0
    items: int = 0
    answers: int = 0
    faults: Counter[int] = field(default_factory=Counter)
    "Service results that are bad."
    results: Counter[int] = field(default_factory=Counter)
    "Results of items that are bad."


class Channel(Struct):
    """What was said under one security policy."""

    modes: set[str] = field(default_factory=set)
    "As far as they are known."
    opened: int = 0
    renewed: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    "By direction: `req`, `resp`."
    bytes: Counter[str] = field(default_factory=Counter)
    chunks: Counter[str] = field(default_factory=Counter)
    largest: Counter[str] = field(default_factory=Counter)
    "Bytes of the largest chunk."


class OpcuaSummary(Struct):
    """The sums."""

    client: str
    server: str
    port: int
    connections: int = 0
    tls: int = 0
    first_ns: int = 0
    last_ns: int = 0
    requests: int = 0
    answers: int = 0
    encrypted: int = 0
    "Messages that cannot be read."
    services: dict[str, Asked] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    "By policy, as far as it is known."
    findings: dict[str, Times] = field(default_factory=dict)
    malformed: dict[str, Times] = field(default_factory=dict)
    "By what is wrong, in words."
    urls: dict[str, Times] = field(default_factory=dict)
    errors: dict[int, Times] = field(default_factory=dict)
    "Errors that ended connections, by status."
    certificates: dict[tuple[bool, str], tuple[Certificate, Times]] = field(default_factory=dict)
    "By side (true the server) and fingerprint."
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    "What the server offers."
    sessions: dict[str, Times] = field(default_factory=dict)
    users: dict[str, Times] = field(default_factory=dict)
    nodes: Counter[Node] = field(default_factory=Counter)
    missing: int = 0
    undecoded: int = 0
    unanswered: int = 0
    slowest_ns: int = 0
    breaks: dict[Break, Times] = field(default_factory=dict)
    allowed: int = 0
    unjudged: int = 0
    "Operations of nodes without a name that lasts."
    denied: dict[tuple[str, str], Times] = field(default_factory=dict)

    @property
    def worst(self) -> Severity | None:
        """Of all findings; null if there are none."""
        found = [severity(each) for each in self.findings]
        return next((each for each in reversed(Severity) if each in found), None)

    def add(self, line: Line, policy: str | None, mode: str | None, names: Room) -> None:
        """One more line, under what policy and mode; `names` bounds the memory for nodes."""
        self.last_ns = max(self.last_ns, line.time)
        self.tls += line.tls
        for found in (*line.findings, *line.odd):
            noted(self.findings, str(found)).at(line.frame)
        if line.why:
            noted(self.malformed, line.why).at(line.frame)
        for shown in line.shown:
            self._certificate(shown, line.frame)
        if line.kind:
            self._channel(line, policy or "unknown", mode)
        self._said(line)
        if line.kind not in ("MSG", "CLO"):
            return
        if line.encrypted:
            self.encrypted += 1
        elif line.request:
            self.requests += 1
            self._asked(line, names)
        else:
            self.answers += 1
            self._answered(line)

    def _channel(self, line: Line, key: str, mode: str | None) -> None:
        if line.kind not in ("OPN", "MSG", "CLO"):
            return
        channel = self.channels.get(key)
        if channel is None:
            channel = Channel()
            if len(self.channels) < MOST_KINDS:
                self.channels[key] = channel
        if mode is not None:
            channel.modes.add(mode)
        if line.kind == "OPN" and line.request:
            if line.details.get("renew"):
                channel.renewed += 1
            else:
                channel.opened += 1
        side = "req" if line.request else "resp"
        channel.messages[side] += 1
        channel.bytes[side] += line.size
        channel.chunks[side] += line.chunks
        channel.largest[side] = max(channel.largest[side], line.largest)

    def _certificate(self, shown: Shown, frame: int) -> None:
        key = shown.server, shown.certificate.fingerprint
        if key not in self.certificates and len(self.certificates) >= MOST_KINDS:
            return
        _, times = self.certificates.setdefault(key, (shown.certificate, Times()))
        times.at(frame)

    def _said(self, line: Line) -> None:
        told = line.details
        if line.kind == "HEL" and told.get("url"):
            noted(self.urls, told["url"]).at(line.frame)
        if line.kind == "ERR" and line.status is not None:
            noted(self.errors, line.status).at(line.frame)
        session = told.get("session")
        if session is not None and line.request:
            name = session["name"] or "without a name"
            noted(self.sessions, f"{name} of {session['application']}").at(line.frame)
        if "user" in told:
            who = told["user"]
            noted(self.users, f"{who['name']} ({who['kind']})" if who["name"] else who["kind"]).at(line.frame)
        offered = told.get("endpoints") or (session or {}).get("endpoints") or ()
        for endpoint in offered:
            key = f"{endpoint['url']} {endpoint['policy']} {endpoint['mode']}"
            if len(self.endpoints) < MOST_KINDS:
                self.endpoints.setdefault(key, endpoint)

    def _service(self, name: str) -> Asked:
        found = self.services.get(name)
        if found is None:
            found = Asked()
            if len(self.services) < MOST_KINDS:
                self.services[name] = found
        return found

    def _asked(self, line: Line, names: Room) -> None:
        if line.service is None:
            return
        service = self._service(line.service)
        service.requests += 1
        service.items += getattr(line.asked, "items", 0)
        for operation in line.operations:
            target = operation.opcua
            if target is not None and target.node is not None:
                node = target.node if target.method is None else f"{target.node} {target.method}"
                self._node((line.service, node, target.attribute or ""), names)

    def _node(self, node: Node, names: Room) -> None:
        if node not in self.nodes:
            size = NODE_COST + len(node[1])
            if len(self.nodes) >= MOST_NODES or not names.take(size):
                node = OTHERS
        self.nodes[node] += 1

    def _answered(self, line: Line) -> None:
        if line.service != "Publish":
            self.slowest_ns = max(self.slowest_ns, line.took_ns)
        if line.service is None:
            return
        service = self._service(line.service)
        service.answers += 1
        if line.status is not None and line.status & BAD:
            _bounded(service.faults, line.status)
        for status in line.statuses:
            if status & BAD:
                _bounded(service.results, status)

    def breaking(self, broken: Break, frame: int) -> None:
        """The gateway would break this."""
        noted(self.breaks, broken).at(frame)

    def decided(
        self, operations: Sequence[Operation], decisions: Sequence[Decision | None], line: Line
    ) -> None:
        """What policy said; None where it was not asked."""
        kinds = [operation.kind for operation in operations] or [called(line.service)]
        for what, decision in zip(kinds, decisions, strict=False):
            if decision is None:
                self.unjudged += 1
            elif isinstance(decision, Allowed):
                self.allowed += 1
            else:
                noted(self.denied, (what, decision.reasons[0].code)).at(line.frame)


def _bounded(counts: Counter[int], status: int) -> None:
    if status in counts or len(counts) < MOST_KINDS:
        counts[status] += 1


def severity(found: str) -> Severity:
    """How bad a finding is, or what is odd about TCP."""
    return ODD[found][0] if found in ODD else FINDINGS[OpcuaFinding(found)].severity


def means(found: str) -> str:
    """In words."""
    return ODD[found][1] if found in ODD else FINDINGS[OpcuaFinding(found)].means
