"""Joins the parts: events in, lines out, sums kept.

Memory: a dialogue for each open connection (the capture program holds their number down), a summary for each
conversation up to `MOST_CONVERSATIONS`; what comes beyond is summed up together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from gateway.inspect.breakage import Break, admission, breaks
from gateway.inspect.conversation import Summary
from gateway.inspect.dialogue import Dialogue, Heard, Meaning
from gateway.inspect.judge import Judge
from gateway.inspect.named import Who
from gateway.inspect.plant import Plant
from gateway.inspect.refusals import Refusals
from gateway.inspect.segments import Closed, Data, End, Event, Gap, Odd, Opened, Progress
from gateway.model.decision import Decision
from gateway.wire.modbus.behaviour import Watch
from gateway.wire.modbus.frames import Illegal, Unsupported
from gateway.wire.modbus.functions import Request, name

MOST_CONVERSATIONS = 5_000
"Pairs of client and server port summed up by themselves; a plant has tens, a scan of one has thousands."
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


class Inspection:
    """One capture."""

    def __init__(
        self,
        plant: Plant,
        judge: Judge | None,
        *,
        would_refuse: bool,
        who: Mapping[str, Who] | None = None,
    ) -> None:
        """`who` is what `--as` says of each address; where it names nobody, nobody's role is judged."""
        self.summaries: dict[tuple[str, str, int], Summary] = {}
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
        self._talks: dict[int, _Talk] = {}
        self._watches: dict[tuple[str, str, int], Watch] = {}

    def lines(self, events: Iterable[Event]) -> Iterator[Told | Progress]:
        """Every line of the story, and progress now and then."""
        for event in events:
            if isinstance(event, Data):
                talk = self._talks[event.stream]
                for heard in talk.dialogue.data(event):
                    yield self._tell(talk, heard)
            elif isinstance(event, Progress):
                self.packets, self.position = event.packets, event.position
                yield event
            else:
                yield from self._rarer(event)

    def _rarer(self, event: Opened | Gap | Odd | Closed | End) -> Iterator[Told]:
        match event:
            case Opened():
                self._open(event)
            case Gap(stream, side, _, _, missing):
                self._talks[stream].summary.missing += missing
                self._talks[stream].dialogue.gap(side, missing)
            case Odd(stream, side, _, _, odd):
                self._talks[stream].dialogue.odd(side, odd)
            case Closed(stream, frame, time, why):
                talk = self._talks.pop(stream)
                for heard in talk.dialogue.closed(frame, time, ended=why == "ended"):
                    yield self._tell(talk, heard)
                talk.summary.undecoded += talk.dialogue.undecoded
                talk.summary.unanswered += sum(not each.silent for each in talk.dialogue.pairs.waiting)
            case End(totals):
                self.totals = totals
                self.packets = totals["packets"]

    def _open(self, opened: Opened) -> None:
        key = opened.client, opened.server, opened.server_port
        if key not in self.summaries and len(self.summaries) >= MOST_CONVERSATIONS:
            key = OTHERS, OTHERS, 0
        summary = self.summaries.setdefault(key, Summary(*key, first_ns=opened.time))
        summary.connections += 1
        meaning: Meaning | None = None
        if self._meaning:
            meaning = partial(self._plant.operations, opened.server, opened.server_port)
        watch = self._watches.setdefault(key, Watch(tags=self._plant.tags))
        self._talks[opened.stream] = _Talk(Dialogue(opened, watch, meaning), summary, opened)

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
                unit = heard.adu.unit
                told.questions = self._judge.questions(
                    opened.client, unit, heard.operations, told.decisions, heard.time
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
            decisions = judge.decide(talk.opened.client, heard.adu.unit, heard.operations, heard.time)
        fallback = f"modbus.{name(heard.adu.pdu[0])}"
        talk.summary.decided(heard.operations, decisions, fallback, heard.frame)
        return decisions
