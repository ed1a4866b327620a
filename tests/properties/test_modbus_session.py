"""What holds of whole conversations, whatever either side sends: grown from vectors and recorded traffic.

The corpus is every PDU of the vectors and, where the captures lie beside the repository, every conversation
in them. What hypothesis makes of it is cut, repeated, dropped, swapped and bent.
"""

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.asset import Quirk
from gateway.wire.modbus.behaviour import Thresholds, Watch
from gateway.wire.modbus.findings import FINDINGS, Finding, Group
from gateway.wire.modbus.framing import MOST_ADU, Adu, MbapReader, OvercountedReader, adu
from gateway.wire.modbus.functions import (
    Answer,
    DeviceException,
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
    read_request,
)
from gateway.wire.modbus.session import MOST_REMEMBERED, Conversation, Limits
from tests.interop.pcap import streams
from tests.vectors.modbus import vectors

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
VECTORS = vectors()

Step = tuple[str, bytes]
"A direction, and bytes that came in it."


def _recorded() -> list[list[Step]]:
    found = []
    for path in sorted(CAPTURES.glob("*/*.pcap")):
        for stream in streams(path, 502) if (path.parent / f"{path.name}.adu.jsonl.gz").exists() else []:
            pieces = {direction: iter(stream.pieces[direction]) for direction in ("req", "resp")}
            found.append([(direction, next(pieces[direction])) for direction in stream.order])
    return [steps for steps in found if steps]


RECORDED = _recorded()
FROM_VECTORS: list[list[Step]] = [
    [("req", adu(1, 1, vector.to)), ("resp", adu(1, 1, vector.pdu))]
    for vector in VECTORS
    if vector.direction == "answer" and 0 < len(vector.pdu) <= 253
]
CORPUS = RECORDED + FROM_VECTORS


@st.composite
def talks(draw: st.DrawFn) -> list[Step]:
    """Conversations of the corpus, bent."""
    steps = [
        step for part in draw(st.lists(st.sampled_from(CORPUS), min_size=1, max_size=3)) for step in part[:40]
    ]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(steps) - 1))
        direction, data = steps[at]
        match draw(st.sampled_from(["bend", "repeat", "drop", "turn", "glue", "cut"])):
            case "bend":
                place = draw(st.integers(0, len(data)))
                bent = data[:place] + draw(st.binary(max_size=3)) + data[place + draw(st.integers(0, 3)) :]
                steps[at] = (direction, bent)
            case "repeat":
                steps.insert(at, steps[at])
            case "drop" if len(steps) > 1:
                del steps[at]
            case "turn":
                steps[at] = ("resp" if direction == "req" else "req", data)
            case "glue":
                steps[at] = (direction, data + steps[draw(st.integers(0, len(steps) - 1))][1])
            case _:
                place = draw(st.integers(0, len(data)))
                steps[at : at + 1] = [(direction, data[:place]), (direction, data[place:])]
    return steps


quirks = st.sets(st.sampled_from(Quirk))
pauses = st.integers(0, 10_000_000_000)


@given(talks(), quirks, pauses)
def test_any_conversation_is_followed_to_its_end(
    steps: list[Step], tolerated: set[Quirk], pause: int
) -> None:
    """No exception, bounded memory, and nothing goes on that is not what was understood."""
    answers = OvercountedReader() if Quirk.EXCEPTION_OVERCOUNTED in tolerated else MbapReader()
    readers = {"req": MbapReader(), "resp": answers}
    conversation: Conversation[int] = Conversation(Limits(), tolerated)
    watch = Watch(Thresholds(functions=3, addresses=3, writes=2))
    asked, now_ns = 0, 0
    for direction, data in steps:
        now_ns += pause
        for frame in readers[direction].feed(data):
            if direction == "req":
                asked += 1
                request(frame, conversation, watch, asked, now_ns)
            else:
                answer(frame, conversation, watch, now_ns, exact=not tolerated)
        assert readers[direction].held < MOST_ADU
        assert len(conversation.waiting) <= min(asked, MOST_REMEMBERED)


def request(frame: Adu, conversation: Conversation[int], watch: Watch, number: int, now_ns: int) -> None:
    read = read_request(frame.unit, frame.pdu)
    assert isinstance(read, Request | Illegal | Unsupported)
    if isinstance(read, Request):
        assert read.encode() == frame.pdu
    found = conversation.asked(frame, read, now_ns, number)
    assert {FINDINGS[finding].group for finding in found} <= {Group.TRANSACTION}
    behaviour = watch.request(frame.unit, read, now_ns)
    assert {FINDINGS[finding].group for finding in behaviour} <= {Group.BEHAVIOUR}


def answer(frame: Adu, conversation: Conversation[int], watch: Watch, now_ns: int, *, exact: bool) -> None:
    before = {each.token for each in conversation.waiting}
    paired = conversation.answered(frame, now_ns)
    after = {each.token for each in conversation.waiting}
    settled = before - after
    assert settled == ({paired.waiting.token} if paired.waiting else set())
    if paired.waiting is None:
        assert {Finding.UNSOLICITED, Finding.UNIT_MISMATCH, Finding.FUNCTION_MISMATCH} & set(paired.findings)
    if isinstance(paired.answer, WrongAnswer):
        assert paired.answer.finding in paired.findings
    elif isinstance(paired.answer, Answer | DeviceException) and exact:
        assert paired.answer.encode() == frame.pdu
    watch.answer(paired.answer, now_ns)


@given(st.lists(st.sampled_from(CORPUS), min_size=1, max_size=4), st.lists(st.integers(0, 600), max_size=8))
def test_segmentation_changes_nothing_for_the_overcounting_reader(
    parts: list[list[Step]], cuts: list[int]
) -> None:
    stream = b"".join([data for part in parts for direction, data in part[:10] if direction == "resp"])
    whole = OvercountedReader()
    expected = whole.feed(stream)
    places = sorted({0, len(stream), *[place % (len(stream) + 1) for place in cuts]})
    pieces = OvercountedReader()
    found = [frame for a, b in pairwise(places) for frame in pieces.feed(stream[a:b])]
    assert (found, pieces.lost) == (expected, whole.lost)
