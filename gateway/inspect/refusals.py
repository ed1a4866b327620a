"""What the gateway would stop of a capture, before it stands there: in every stage, and only once enforced.

A listener or asset in `observe` or `monitor` lets pass what policy denies, but not everything. What the wire
refuses (framing, functions, values, units, roles) and what a guardrail denies is stopped from the first day;
this says so beforehand, beside what will be denied once the stage is `enforce`. Which is which is the guard's
own table (`guard.stages.WAIVED`), so that nobody can be told another rule than the one that acts.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from msgspec import Struct

from gateway.guard.stages import WAIVED
from gateway.inspect.breakage import Break
from gateway.inspect.conversation import Times
from gateway.inspect.dialogue import Heard
from gateway.model.decision import Decision, Denied, Reason
from gateway.wire.modbus.functions import Request, kind, name

MOST_GROUPS = 5_000
"Groups told apart; a plant has tens. What comes beyond is summed up as `others`."
DENIED = "exception 01 (illegal function)"
"What a client gets for a denial, unless its listener says otherwise (`refusal`)."


class Stops(StrEnum):
    """From when on something is stopped."""

    ALWAYS = "always"
    "In every stage: observe, monitor, enforce."
    ENFORCE = "enforce"
    "Only where the stage is `enforce`; before, it passes and is told as would-be denied."


class Group(Struct, frozen=True):
    """What is stopped alike."""

    stops: Stops
    source: str
    unit: int | None
    asset: str | None
    function: str
    "`modbus.write_multiple_registers`, or empty where nothing could be read."
    code: str
    "The reason: a finding, or the code that the record would say."
    then: str
    "What the client gets."


class Seen(Times):
    """How often, when and where."""

    first_ns: int = 0
    last_ns: int = 0

    def again(self, frame: int, time_ns: int) -> None:
        """Once more."""
        self.at(frame)
        self.first_ns = time_ns if self.count == 1 else min(self.first_ns, time_ns)
        self.last_ns = max(self.last_ns, time_ns)


class Refusals:
    """Everything that would be stopped, grouped."""

    def __init__(self) -> None:
        self.groups: dict[Group, Seen] = {}

    @property
    def any(self) -> bool:
        """Whether anything would be stopped, in whatever stage."""
        return bool(self.groups)

    def of(self, stops: Stops) -> list[tuple[Group, Seen]]:
        """The groups of one kind, by how often."""
        found = [each for each in self.groups.items() if each[0].stops is stops]
        return sorted(found, key=lambda each: -each[1].count)

    def note(self, group: Group, frame: int, time_ns: int) -> None:
        """One more of a group."""
        if group not in self.groups and len(self.groups) >= MOST_GROUPS:
            group = Group(group.stops, "others", None, None, "", "others", group.then)
        self.groups.setdefault(group, Seen()).again(frame, time_ns)

    def broken(self, source: str, asset: str | None, heard: Heard, breaks: Sequence[Break]) -> None:
        """The wire stops it, whatever policy says."""
        for each in breaks:
            self._note(Stops.ALWAYS, source, asset, heard, _function(heard), each.what, each.then)

    def decided(self, source: str, heard: Heard, decisions: Sequence[Decision]) -> None:
        """Policy was asked about a request that the wire can read."""
        for at, decision in enumerate(decisions):
            operation = heard.operations[at] if heard.operations else None
            asset = operation.asset if operation else None
            what = operation.kind if operation else _function(heard)
            for stops, reason in stopping(decision):
                self._note(stops, source, asset, heard, what, reason.code, DENIED)

    def _note(
        self,
        stops: Stops,
        source: str,
        asset: str | None,
        heard: Heard,
        function: str,
        code: str,
        then: str,
    ) -> None:
        unit = heard.adu.unit if heard.adu is not None else None
        group = Group(stops, source, unit, asset, function, str(code), then)
        self.note(group, heard.frame, heard.time)


def stopping(decision: Decision) -> Iterator[tuple[Stops, Reason]]:
    """Why an operation is stopped, and from when on; nothing for what is allowed.

    One reason that no stage waives stops it in all of them, and then it is the only kind that is told.
    """
    if not isinstance(decision, Denied):
        return
    always = [reason for reason in decision.reasons if reason.kind not in WAIVED]
    for reason in always:
        yield Stops.ALWAYS, reason
    if not always:
        yield from ((Stops.ENFORCE, reason) for reason in decision.reasons[:1])


def _function(heard: Heard) -> str:
    if isinstance(heard.asked, Request):
        return kind(heard.asked)
    return f"modbus.{name(heard.adu.pdu[0] & 0x7F)}" if heard.adu is not None else ""
