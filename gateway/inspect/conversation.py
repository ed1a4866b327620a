"""One client and one server port, all their connections: the sums that people read."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct, field

from gateway.inspect.breakage import Break
from gateway.inspect.dialogue import Heard
from gateway.model.decision import Allowed, Decision
from gateway.model.operation import Operation
from gateway.wire.modbus.findings import FINDINGS, Finding, Severity
from gateway.wire.modbus.frames import DeviceException
from gateway.wire.modbus.functions import Request, kind, name

K = TypeVar("K")

MOST_FRAMES = 3
"Frames named for each thing, so that somebody can look."
MOST_KINDS = 200
"Different things told of one conversation; there are about 60 findings and 200 functions."

ODD: dict[str, tuple[Severity, str]] = {
    "overlap_differs": (
        Severity.ALARM,
        "a retransmission says something else than the first copy: the peer may have read another stream",
    ),
    "acknowledges_unseen": (
        Severity.NOTICE,
        "it acknowledges bytes that the capture does not have: its request may be among them",
    ),
}
"What is odd about TCP, beside the findings about Modbus."


class Times(Struct):
    """How often, and where to look."""

    count: int = 0
    frames: list[int] = field(default_factory=list)

    def at(self, frame: int) -> None:
        """Once more."""
        self.count += 1
        if len(self.frames) < MOST_FRAMES:
            self.frames.append(frame)


class Function(Struct):
    """What was asked with one function."""

    requests: int = 0
    answers: int = 0
    exceptions: Counter[int] = field(default_factory=Counter)


class Summary(Struct):
    """The sums."""

    client: str
    server: str
    port: int
    connections: int = 0
    tls: int = 0
    "Connections that are encrypted."
    first_ns: int = 0
    last_ns: int = 0
    requests: int = 0
    answers: int = 0
    units: set[int] = field(default_factory=set)
    functions: dict[str, Function] = field(default_factory=dict)
    findings: dict[str, Times] = field(default_factory=dict)
    missing: int = 0
    "Bytes that the capture lost."
    undecoded: int = 0
    "Bytes that no ADU was made of."
    unanswered: int = 0
    slowest_ns: int = 0
    breaks: dict[Break, Times] = field(default_factory=dict)
    allowed: int = 0
    denied: dict[tuple[str, str], Times] = field(default_factory=dict)
    "By kind of operation and reason."

    @property
    def worst(self) -> Severity | None:
        """Of all findings; null if there are none."""
        found = [severity(each) for each in self.findings]
        return next((each for each in reversed(Severity) if each in found), None)

    def add(self, heard: Heard) -> None:
        """One more line."""
        self.last_ns = max(self.last_ns, heard.time)
        self.tls += heard.tls
        for found in (*heard.findings, *heard.odd):
            noted(self.findings, str(found)).at(heard.frame)
        if heard.adu is None:
            return
        if heard.request:
            self.requests += 1
            self.units.add(heard.adu.unit)
            self._function(heard).requests += 1
            return
        self.answers += 1
        self.slowest_ns = max(self.slowest_ns, heard.took_ns)
        if heard.asked is not None:
            function = self._function(heard)
            function.answers += 1
            if isinstance(heard.answer, DeviceException):
                function.exceptions[heard.answer.code] += 1

    def breaking(self, broken: Break, frame: int) -> None:
        """The gateway would break this."""
        noted(self.breaks, broken).at(frame)

    def decided(
        self, operations: Sequence[Operation], decisions: Sequence[Decision], fallback: str, frame: int
    ) -> None:
        """What policy said; `fallback` names what was asked where there is no operation."""
        kinds = [operation.kind for operation in operations] or [fallback]
        for what, decision in zip(kinds, decisions, strict=True):
            if isinstance(decision, Allowed):
                self.allowed += 1
            else:
                noted(self.denied, (what, decision.reasons[0].code)).at(frame)

    def _function(self, heard: Heard) -> Function:
        asked = heard.asked
        called = kind(asked) if isinstance(asked, Request) else f"modbus.{name(asked.fc)}" if asked else "?"
        return self.functions.setdefault(called, Function())


def severity(found: str) -> Severity:
    """How bad a finding is, or what is odd about TCP."""
    return ODD[found][0] if found in ODD else FINDINGS[Finding(found)].severity


def means(found: str) -> str:
    """In words."""
    return ODD[found][1] if found in ODD else FINDINGS[Finding(found)].means


def noted(all_: dict[K, Times], key: K) -> Times:
    """How often that was met; what is beyond the bound is counted nowhere."""
    times = all_.get(key)
    if times is None:
        times = Times()
        if len(all_) < MOST_KINDS:
            all_[key] = times
    return times
