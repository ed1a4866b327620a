"""Joins the parts: events in, lines out, sums kept.

Memory: a dialogue for each open connection (the capture program holds their number down), a summary for each
conversation up to `MOST_CONVERSATIONS`; what comes beyond is summed up together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct, field

from gateway.inspect.breakage import Break, admission, breaks
from gateway.inspect.conversation import Summary
from gateway.inspect.dialogue import Dialogue, Heard, Meaning
from gateway.inspect.judge import Judge
from gateway.inspect.named import Who
from gateway.inspect.opcua.around import Around
from gateway.inspect.opcua.certificates import Trust
from gateway.inspect.opcua.chunks import begins
from gateway.inspect.opcua.conversation import OpcuaSummary
from gateway.inspect.opcua.dialogue import Dialogue as OpcuaDialogue
from gateway.inspect.opcua.inspection import OpcuaInspection, OpcuaTold
from gateway.inspect.opcua.servers import Servers
from gateway.inspect.plant import Plant
from gateway.inspect.refusals import Refusals
from gateway.inspect.segments import Closed, Data, End, Event, Gap, Odd, Opened, Progress
from gateway.model.decision import Decision, Reason
from gateway.wire.modbus.behaviour import Watch
from gateway.wire.modbus.frames import Illegal, Unsupported
from gateway.wire.modbus.functions import Request, name

MOST_CONVERSATIONS = 5_000
"Pairs of client and server port summed up by themselves; a plant has tens, a scan of one has thousands."
OPCUA_PORT = 4840
OTHERS = "others"
"Stands for the client and server of all further conversations."


class Told(Struct, gc=False):
    """A line with what was made of it."""

    heard: Heard
    decisions: Sequence[Decision] | None = None
    "Null where policy was not to be asked."
    questions: Sequence[bytes] = ()
    "The `dmz.input/1` of each decision; empty where policy is never asked, whatever it says."
    breaks: Sequence[Break] | None = None
    "Null where nobody wants to know."


class _Talk(Struct):
    """One open connection."""

    dialogue: Dialogue
    summary: Summary
    opened: Opened


class _OpcuaTalk(Struct):
    """One open connection of OPC UA."""

    dialogue: OpcuaDialogue
    summary: OpcuaSummary


class _Silent(Struct):
    """One that has said nothing yet: what the capture lost of it, and what was odd."""

    opened: Opened
    gaps: list[tuple[int, int]] = field(default_factory=list)
    odd: list[tuple[int, str]] = field(default_factory=list)


class Inspection:
    """One capture."""

    def __init__(
        self,
        plant: Plant,
        judge: Judge | None,
        *,
        would_refuse: bool,
        who: Mapping[str, Who] | None = None,
        around: Around | None = None,
    ) -> None:
        """`who` is what `--as` says of each address; where it names nobody, nobody's role is judged.

        `around` is what is known about OPC UA; nothing where not given.
        """
        self.summaries: dict[tuple[str, str, int], Summary] = {}
        self.opcua: dict[tuple[str, str, int], OpcuaSummary] = {}
        "The same for OPC UA."
        self.totals: dict[str, Any] | None = None
        "What the capture program says at the end; null if it did not get there."
        self.refusals = Refusals()
        "What would be stopped; empty unless somebody wants to know."
        self.packets = 0
        self.position = 0
        "Bytes of the file read so far."
        self._plant = plant
        self._judge = judge
        self._would_refuse = would_refuse
        self._who = who or {}
        self._meaning = judge is not None or plant.known
        self._talks: dict[int, _Talk | _OpcuaTalk | _Silent] = {}
        around = around or Around(Servers(None), Trust(None))
        self._opcua = OpcuaInspection(
            around, plant, judge, self.refusals, self._who, would_refuse=would_refuse
        )
        self._watches: dict[tuple[str, str, int], Watch] = {}

    def lines(self, events: Iterable[Event]) -> Iterator[Told | OpcuaTold | Progress]:
        """Every line of the story, and progress now and then."""
        for event in events:
            if isinstance(event, Data):
                talk = self._talks[event.stream]
                if isinstance(talk, _Silent):
                    talk = self._begin(talk, event)
                if isinstance(talk, _Talk):
                    for heard in talk.dialogue.data(event):
                        yield self._tell(talk, heard)
                else:
                    for line in talk.dialogue.data(event):
                        yield self._opcua.tell(talk.dialogue, talk.summary, line)
            elif isinstance(event, Progress):
                self.packets, self.position = event.packets, event.position
                yield event
            else:
                yield from self._rarer(event)

    def _rarer(self, event: Opened | Gap | Odd | Closed | End) -> Iterator[Told | OpcuaTold]:
        match event:
            case Opened():
                self._talks[event.stream] = _Silent(event)
            case Gap(stream, side, _, _, missing):
                talk = self._talks[stream]
                if isinstance(talk, _Silent):
                    talk.gaps.append((side, missing))
                else:
                    talk.summary.missing += missing
                    talk.dialogue.gap(side, missing)
            case Odd(stream, side, _, _, odd):
                talk = self._talks[stream]
                if not isinstance(talk, _Silent):
                    talk.dialogue.odd(side, odd)
                elif (side, odd) not in talk.odd:
                    talk.odd.append((side, odd))
            case Closed():
                yield from self._closed(event)
            case End(totals):
                self.totals = totals
                self.packets = totals["packets"]

    def _closed(self, event: Closed) -> Iterator[Told | OpcuaTold]:
        talk = self._talks.pop(event.stream)
        if isinstance(talk, _Silent):
            talk = self._begin(talk, None)
        if isinstance(talk, _Talk):
            for heard in talk.dialogue.closed(event.frame, event.time, ended=event.why == "ended"):
                yield self._tell(talk, heard)
            talk.summary.unanswered += sum(not each.silent for each in talk.dialogue.pairs.waiting)
        else:
            for line in talk.dialogue.closed(event.frame, event.time):
                yield self._opcua.tell(talk.dialogue, talk.summary, line)
            talk.summary.unanswered += talk.dialogue.services.unanswered
        talk.summary.undecoded += talk.dialogue.undecoded

    def _begin(self, silent: "_Silent", data: Data | None) -> "_Talk | _OpcuaTalk":
        """A connection has said something, or has ended without: which protocol it is can be told."""
        opened = silent.opened
        talk: _Talk | _OpcuaTalk = self._open_opcua(opened) if _is_opcua(opened, data) else self._open(opened)
        self._talks[opened.stream] = talk
        for side, missing in silent.gaps:
            talk.summary.missing += missing
            talk.dialogue.gap(side, missing)
        for side, odd in silent.odd:
            talk.dialogue.odd(side, odd)
        return talk

    def _open_opcua(self, opened: Opened) -> "_OpcuaTalk":
        key = opened.client, opened.server, opened.server_port
        if key not in self.opcua and len(self.opcua) >= MOST_CONVERSATIONS:
            key = OTHERS, OTHERS, 0
        summary = self.opcua.setdefault(key, OpcuaSummary(*key, first_ns=opened.time))
        summary.connections += 1
        return _OpcuaTalk(self._opcua.begin(opened), summary)

    def _open(self, opened: Opened) -> "_Talk":
        key = opened.client, opened.server, opened.server_port
        if key not in self.summaries and len(self.summaries) >= MOST_CONVERSATIONS:
            key = OTHERS, OTHERS, 0
        summary = self.summaries.setdefault(key, Summary(*key, first_ns=opened.time))
        summary.connections += 1
        meaning: Meaning | None = None
        if self._meaning:
            meaning = partial(self._plant.operations, opened.server, opened.server_port)
        watch = self._watches.setdefault(key, Watch(tags=self._plant.tags))
        return _Talk(Dialogue(opened, watch, meaning), summary, opened)

    def _tell(self, talk: _Talk, heard: Heard) -> Told:
        talk.summary.add(heard)
        told = Told(heard)
        if self._would_refuse:
            told.breaks = list(self._breaks(talk, heard))
            for each in told.breaks:
                talk.summary.breaking(each, heard.frame)
            self.refusals.broken(talk.opened.client, self._asset(talk, heard), heard, told.breaks)
        if heard.adu is None:
            return told
        opened = talk.opened
        if heard.request and self._judge is not None:
            told.decisions = self._decide(self._judge, talk, heard)
            if isinstance(heard.asked, Request):
                door = self._judge.door(heard.adu.unit)
                told.questions = self._judge.questions(
                    opened.client, door, heard.operations, told.decisions, heard.time
                )
            if self._would_refuse and self._who and not told.breaks:
                self.refusals.decided(opened.client, heard, told.decisions)
        if not heard.request and isinstance(heard.asked, Request):
            self._plant.learn(opened.server, opened.server_port, heard.asked, heard.answer, heard.time)
        return told

    def _breaks(self, talk: _Talk, heard: Heard) -> Iterator[Break]:
        opened, mapped, timeout = talk.opened, True, None
        if heard.request and heard.adu is not None and self._who and heard.fatal is None:
            without = admission(self._who.get(opened.client))
            if without is not None:  # the gateway looks no further
                yield without
                return
        if heard.adu is not None and self._plant.known:
            place = self._plant.place(opened.server, opened.server_port, heard.adu.unit)
            mapped = place is not None
            timeout = place.asset.timeout_ms if place is not None else None
        yield from breaks(heard, talk.dialogue.pairs, mapped=mapped, timeout_ms=timeout)

    def _asset(self, talk: _Talk, heard: Heard) -> str | None:
        if heard.adu is None:
            return None
        place = self._plant.place(talk.opened.server, talk.opened.server_port, heard.adu.unit)
        return place.asset.name if place is not None else None

    def _decide(self, judge: Judge, talk: _Talk, heard: Heard) -> list[Decision]:
        assert heard.adu is not None  # noqa: S101  a request has one
        asked = heard.asked
        if isinstance(asked, Illegal):
            decisions = judge.unread(asked.finding)
        elif isinstance(asked, Unsupported):
            decisions = judge.unread("unknown_function")
        else:
            unit = heard.adu.unit
            decisions = judge.decide(
                talk.opened.client,
                judge.door(unit),
                heard.operations,
                heard.time,
                nowhere=Reason("wire.unmapped_unit", "wire", f"unit {unit} is no asset"),
            )
        fallback = f"modbus.{name(heard.adu.pdu[0])}"
        talk.summary.decided(heard.operations, decisions, fallback, heard.frame)
        return decisions


def _is_opcua(opened: Opened, data: Data | None) -> bool:
    """Whether a connection is OPC UA: by its port, else by how its first bytes begin."""
    return opened.server_port == OPCUA_PORT or (
        data is not None and len(data.body) >= 4 and begins(data.body)
    )
