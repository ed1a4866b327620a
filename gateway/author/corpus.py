"""The corpus: what a gateway recorded, or what `inspect --json` says of a capture, operation by operation.

A stream: one record is in memory at a time, so a journal of any size can be read. Nothing is written and
nothing is locked, and the gateway may go on recording meanwhile.

    intent, denial    the question as it was evaluated, and those of the frame's other operations (`also`)
    window            allowed reads: each entry with the window's common part is a whole question, asked
                      `asked` times
    inspect --json    one question for each decision of a line
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from gateway.audit import reader
from gateway.audit.openings import Openings
from gateway.author.answers import Answer
from gateway.author.form import Question
from gateway.author.recorded import Recorded, Seen, is_unasked, said, usable
from gateway.model.errors import GatewayError
from gateway.model.moment import SECOND
from gateway.model.record import RecordKind

MOST_LINE = 1 << 20
"Bytes of one line of a file; a question is below 64 KiB."
SINGLE = frozenset({RecordKind.INTENT, RecordKind.DENIAL})
"Kinds that keep one frame's operations."
WAIVED = "would_deny"
"What policy denies and a stage lets pass."
MINUTE = 60 * SECOND
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"Seconds of the units in which one says how long ago."

Who = tuple[str, tuple[str, ...]]
"Subject and roles."
Progress = Callable[[int], None]
"Told how many records were read."


class _Leaf(msgspec.Struct):
    """What of a record is needed here."""

    id: str
    kind: str
    wall_ns: int
    who: dict[str, Any] | None = None
    what: dict[str, Any] | None = None
    why: dict[str, Any] | None = None
    note: dict[str, Any] | None = None


_leaf = msgspec.json.Decoder(_Leaf)
_line = msgspec.json.Decoder(dict[str, Any])


class Span(msgspec.Struct, frozen=True):
    """From when to when, nanoseconds since 1970; null is open. The end is exclusive."""

    since_ns: int | None = None
    until_ns: int | None = None

    def meets(self, first_ns: int, last_ns: int) -> bool:
        """Whether something that lasted from first to last has a part in it."""
        late = self.since_ns is None or last_ns >= self.since_ns
        return late and (self.until_ns is None or first_ns < self.until_ns)


def journal_of(folder: Path) -> Path:
    """The journal in a data folder, or the folder itself if it is one. Raises GatewayError."""
    for place in (folder / "journal", folder):
        if (place / reader.SEGMENTS).is_dir():
            return place
    raise GatewayError(f"{folder} holds no journal; name a gateway's data folder")


def journal(folder: Path, span: Span, seen: Seen, progress: Progress) -> Iterator[Recorded]:
    """Every operation of a journal that can be asked again."""
    openings = Openings(folder)
    for index, data in reader.records(folder, damaged=seen.damaged):
        seen.records += 1
        progress(seen.records)
        try:
            record = _leaf.decode(openings.opened(index, data))
        except msgspec.MsgspecError:
            seen.unable("the record cannot be read")
            continue
        for each in _operations(record, seen):
            if span.meets(each.first_ns, each.last_ns):
                seen.operations += each.count
                yield each


def _operations(record: _Leaf, seen: Seen) -> Iterator[Recorded]:
    if record.kind == RecordKind.SUPPRESSED and record.note is not None:
        if record.note.get("of") == RecordKind.DENIAL:
            seen.suppressed += int(record.note.get("count", 0))
    elif record.what is None or record.why is None:
        return
    elif record.kind == RecordKind.WINDOW:
        for entry in record.what.get("entries", ()):
            yield from _entry(record, record.why, entry, seen)
    elif record.kind in SINGLE:
        whats = [record.what, *record.what.get("also", ())]
        whys = [record.why, *record.why.get("also", ())]
        for what, why in zip(whats, whys, strict=False):
            yield from _single(record, what, why, seen)


def _single(record: _Leaf, what: dict[str, Any], why: dict[str, Any], seen: Seen) -> Iterator[Recorded]:
    if what.get("unreadable") is not None or is_unasked(why):
        seen.unasked += 1
        return
    if record.kind == RecordKind.DENIAL and why["decision"] == WAIVED:
        return  # In stage monitor an operation that passes has its intent or window as well.
    question = usable(why.get("input"), 1, seen)
    if question is not None:
        yield Recorded(
            question=question,
            said=said(why),
            passed=record.kind == RecordKind.INTENT,
            first_ns=record.wall_ns,
            last_ns=record.wall_ns,
            id=record.id,
        )


def _entry(record: _Leaf, common: dict[str, Any], entry: dict[str, Any], seen: Seen) -> Iterator[Recorded]:
    """One distinct question of a window; twice if a minute began between its first and its last time.

    The record ended when hours of the bundle of that time did; another bundle's begin and end elsewhere.
    """
    first_ns, last_ns, asked = entry["first_ns"], entry["last_ns"], entry["asked"]
    shared = common.get("input")
    whole = None if shared is None else {**shared, **entry["input"]}
    question = usable(whole, asked, seen)
    if question is None:
        return
    answer = said({"decision": common["decision"], **entry, "obligations": entry.get("obligations")})
    moments = [(first_ns, last_ns, asked)]
    if asked > 1 and first_ns // MINUTE != last_ns // MINUTE:
        moments = [(first_ns, last_ns, asked - 1), (last_ns, last_ns, 1)]
    for begun_ns, ended_ns, count in moments:
        yield Recorded(
            question={**question, "time": {**question["time"], "ns": begun_ns}},
            said=answer,
            passed=True,
            count=count,
            first_ns=begun_ns,
            last_ns=ended_ns,
            id=record.id,
        )


def lines(
    text: IO[bytes], who: Mapping[str, Who], span: Span, seen: Seen, progress: Progress
) -> Iterator[Recorded]:
    """Every operation of a file: lines of `inspect --json`, or questions, one a line.

    `who` says whose requests those of an address are, where the capture was read without knowing it.
    """
    while data := text.readline(MOST_LINE):
        seen.records += 1
        progress(seen.records)
        try:
            line = _line.decode(data)
        except msgspec.MsgspecError as error:
            raise GatewayError(f"line {seen.records} is no JSON object: {error}") from None
        for each in _of_line(line, who, seen):
            if span.meets(each.first_ns, each.last_ns):
                seen.operations += 1
                yield each


def _of_line(line: dict[str, Any], who: Mapping[str, Who], seen: Seen) -> Iterator[Recorded]:
    if line.get("schema") == "dmz.input/1":
        question = usable(line, 1, seen)
        if question is not None:
            yield _captured(_named(question, who), None, question["op"]["id"])
        return
    for decision in line.get("decisions", ()):
        asked, name = decision.get("question"), f"frame {line.get('frame')}"
        if asked is None:
            seen.unasked += 1
            continue
        question = usable(asked, 1, seen)
        if question is None:
            continue
        named = _named(question, who)
        yield _captured(named, _decided(decision) if named is question else None, name)


def _decided(decision: dict[str, Any]) -> Answer | None:
    """What policy said of a captured operation; None where it was not asked, for want of a subject."""
    if "wire" in decision["kinds"]:
        return None
    pairs = zip(decision["reasons"], decision["kinds"], strict=True)
    return said({**decision, "reasons": [{"code": code, "kind": kind} for code, kind in pairs]})


def _captured(question: Question, answer: Answer | None, name: str) -> Recorded:
    moment = question["time"]["ns"]
    return Recorded(question=question, said=answer, passed=True, first_ns=moment, last_ns=moment, id=name)


def _named(question: Question, who: Mapping[str, Who]) -> Question:
    """The question with the subject that somebody said its address is."""
    found = who.get(question["conn"]["src"])
    if found is None or question["subject"]["kind"] != "nobody":
        return question
    subject, roles = found
    known = {
        "id": subject,
        "kind": "workload",
        "auth": "mtls",
        "zone": question["conn"]["zone"],
        "roles": list(roles),
        "role_state": "ok" if roles else "absent",
    }
    return {
        **question,
        "subject": {**question["subject"], **known},
        "conn": {**question["conn"], "tls": "1.3"},
    }


def moment(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970 of `2026-11-23T08:00:00Z`, or of `7d` before now. Raises GatewayError."""
    if text[-1:] in SPANS and text[:-1].isdigit():
        return now_ns - int(text[:-1]) * SPANS[text[-1]] * SECOND
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise GatewayError(f"{text!r} is no time: 2026-11-23T08:00:00Z, 90s, 15m, 2h, 7d") from None
    if found.tzinfo is None:
        raise GatewayError(f"{text!r} does not say its time zone: add Z or +01:00")
    return int(found.timestamp()) * SECOND + found.microsecond * 1000
