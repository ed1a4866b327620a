"""Joins the parts for connections of OPC UA: their lines, their sums, what policy and gateway would do."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from gateway.inspect.breakage import Break
from gateway.inspect.judge import Door as Way
from gateway.inspect.judge import Judge
from gateway.inspect.named import Who
from gateway.inspect.opcua.around import Around
from gateway.inspect.opcua.breakage import breaks
from gateway.inspect.opcua.chunks import Room
from gateway.inspect.opcua.conversation import MOST_NODE_BYTES, OpcuaSummary
from gateway.inspect.opcua.dialogue import Dialogue
from gateway.inspect.opcua.findings import OpcuaFinding
from gateway.inspect.opcua.line import Line
from gateway.inspect.opcua.servers import UNNAMED
from gateway.inspect.plant import Plant
from gateway.inspect.refusals import Group, Refusals, Stops, stopping
from gateway.inspect.segments import Opened
from gateway.model.decision import Decision, Reason
from gateway.model.operation import Operation, Protocol
from gateway.wire.opcua.request import Request, Unsupported

NOWHERE = Reason("wire.unmapped_server", "wire", "the server is no asset")
DENIED = "BadUserAccessDenied"
"What stands in the place of an item that policy denies."


class OpcuaTold(Struct, gc=False):
    """A line with what was made of it."""

    line: Line
    decisions: Sequence[Decision | None] | None = None
    "Null where policy was not to be asked; null in it for what has no name that policy knows."
    questions: Sequence[bytes] = ()
    breaks: Sequence[Break] | None = None


class OpcuaInspection:
    """All OPC UA of a capture."""

    def __init__(
        self,
        around: Around,
        plant: Plant,
        judge: Judge | None,
        refusals: Refusals,
        who: Mapping[str, Who],
        *,
        would_refuse: bool,
    ) -> None:
        self._around, self._plant, self._judge = around, plant, judge
        self._refusals, self._who, self._would_refuse = refusals, who, would_refuse
        self._names = Room(MOST_NODE_BYTES)

    def begin(self, opened: Opened) -> Dialogue:
        """A connection."""
        return Dialogue(opened, self._around, self._plant)

    def tell(self, dialogue: Dialogue, summary: OpcuaSummary, line: Line) -> OpcuaTold:
        """One line of it."""
        services, client = dialogue.services, dialogue.opened.client
        if any(each.certificate.refused for each in line.shown):
            line.findings += (OpcuaFinding.CERTIFICATE_UNFIT,)
        summary.add(line, services.policy, services.mode, self._names)
        told = OpcuaTold(line)
        asset = services.place.asset.name if services.place is not None else None
        if self._would_refuse:
            told.breaks = list(self._breaks(dialogue, line))
            for each in told.breaks:
                summary.breaking(each, line.frame)
                group = Group(
                    Stops.ALWAYS, client, None, asset, line.function or "opcua", str(each.what), each.then
                )
                self._refusals.note(group, line.frame, line.time)
        if line.request and self._judge is not None and line.asked is not None and _judged(line):
            told.decisions = self._decide(self._judge, dialogue, line)
            summary.decided(line.operations, told.decisions, line)
            way = self._way(dialogue)
            if all(each is not None for each in told.decisions):
                known = [each for each in told.decisions if each is not None]
                told.questions = self._judge.questions(client, way, line.operations, known, line.time)
            if self._would_refuse and self._who:
                self._decided(client, asset, line, told.decisions)
        return told

    def _breaks(self, dialogue: Dialogue, line: Line) -> list[Break]:
        services, around = dialogue.services, self._around
        return list(
            breaks(
                line,
                services.door,
                named=not self._who or dialogue.opened.client in self._who,
                mapped=services.place is not None or not around.servers.known,
            )
        )

    def _decide(self, judge: Judge, dialogue: Dialogue, line: Line) -> list[Decision | None]:
        """Nodes that have only an index for a namespace are not asked about: policy knows URIs."""
        if isinstance(line.asked, Unsupported):
            return list(judge.unread("unsupported_service"))
        if not isinstance(line.asked, Request):
            return list(judge.unread(str(line.findings[0])))
        client, way = dialogue.opened.client, self._way(dialogue)
        if not line.operations:
            return list(judge.decide(client, way, (), line.time, nowhere=NOWHERE))
        if any(map(_unnamed, line.operations)):
            return [
                None if _unnamed(each) else judge.decide(client, way, [each], line.time)[0]
                for each in line.operations
            ]
        return list(judge.decide(client, way, line.operations, line.time))

    def _way(self, dialogue: Dialogue) -> Way:
        door, session = dialogue.services.door, dialogue.session
        return Way(door.listener, door.zone, Protocol.OPCUA, session.user if session is not None else None)

    def _decided(
        self, client: str, asset: str | None, line: Line, decided: Sequence[Decision | None]
    ) -> None:
        if client not in self._who:
            return  # it gets no channel, which is told already
        for at, decision in enumerate(decided):
            kind = line.operations[at].kind if line.operations else line.function
            for stops, reason in stopping(decision) if decision is not None else ():
                if reason.code in _TOLD:
                    continue  # told among what breaks
                group = Group(stops, client, None, asset, kind, reason.code, DENIED)
                self._refusals.note(group, line.frame, line.time)


def _judged(line: Line) -> bool:
    """Whether it is a request about the plant."""
    local = isinstance(line.asked, Request) and line.asked.service.local
    return not local and OpcuaFinding.MALFORMED not in line.findings


def _unnamed(operation: Operation) -> bool:
    """Whether its node has no name that lasts, because the capture does not show the server's namespaces."""
    target = operation.opcua
    if target is None:
        return False
    return any(
        node is not None and node.startswith("ns=") and f"{node.partition(';')[0]};" in _SPOKEN
        for node in (target.node, target.method)
    )


_TOLD = frozenset(
    {"wire.unsupported_service", NOWHERE.code, "wire.too_many_operations", "wire.nothing_to_do"}
)
"Reasons that stand among what breaks already."
_SPOKEN = frozenset(each for each in UNNAMED if each)
