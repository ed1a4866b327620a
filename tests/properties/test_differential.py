"""The wire against bytes that nobody sends, and against Wireshark on those that it accepts.

Third issue, "must hold" 3. The seeds are the vectors, what fuzzing found, and the captures where they are;
hypothesis changes them and asks each reader's own promises (`tests.fuzz.targets`), tshark reads what is
accepted and must show the same function, unit, addresses, counts and values.
"""

import os
import random
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.modbus.checks import MOST_PDU
from gateway.wire.modbus.frames import (
    Answer,
    AskDevice,
    Canopen,
    DeviceException,
    Diagnose,
    Identify,
    ReadFifo,
    ReadRecords,
    ReadSpan,
    Request,
    WriteSpan,
    WriteThenRead,
    WrongAnswer,
)
from gateway.wire.modbus.framing import MbapReader, adu
from gateway.wire.modbus.functions import FUNCTIONS, read_answer, read_request
from tests.fuzz import corpora
from tests.fuzz.targets import TARGETS
from tests.interop.recorded import recordings
from tests.interop.test_captures import EXPECTED, SUFFIX
from tests.vectors.modbus import vectors

from . import wireshark

Pair = tuple[bytes, bytes]
"A request's PDU and its answer's."


@cache
def captured() -> list[Pair]:
    """What was recorded, where the captures are; their readers fail elsewhere if they must be there."""
    captures = [path.with_name(path.name.removesuffix(SUFFIX)) for path in EXPECTED]
    return [
        (ask.adu.pdu, ask.device[1])
        for capture in captures
        for segments in recordings(capture)
        for segment in segments
        for ask in segment.asks
    ]


@cache
def pairs() -> list[Pair]:
    """Requests and answers, right and wrong ones."""
    told = [(v.to, v.pdu) for v in vectors() if v.direction == "answer"]
    alone = [(v.pdu, b"") for v in vectors() if v.direction == "request"]
    found = [(data[1 : 1 + data[0]], data[1 + data[0] :]) for data in corpora.kept("answers") if data]
    return [*told, *alone, *found, *[(data[1:], b"") for data in corpora.kept("requests")], *captured()]


def seeds(target: str) -> list[bytes]:
    """Inputs of a target, those that recorded traffic makes included."""
    recorded = {
        "requests": lambda: [b"\1" + asked for asked, _ in captured()],
        "meaning": lambda: [b"\1" + asked for asked, _ in captured()],
        "answers": lambda: [bytes([len(asked)]) + asked + told for asked, told in captured()],
        "session": lambda: [
            bytes([0, 0, 7, 1, len(asked)]) + asked + bytes([1, 7, 1, len(told)]) + told
            for asked, told in captured()
        ],
    }
    return corpora.kept(target) + recorded.get(target, list)()


@pytest.mark.parametrize("target", TARGETS)
def test_changed_bytes_break_no_promise(target: str) -> None:
    kept = seeds(target)
    change = st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3))

    @settings(max_examples=300)
    @given(st.sampled_from(kept), st.lists(change, max_size=4), st.sampled_from(kept), st.booleans())
    def holds(data: bytes, changes: list[tuple[int, int, bytes]], other: bytes, crossed: bool) -> None:
        changed = bytearray(data)
        for at, drop, put in changes:
            place = at % (len(changed) + 1)
            changed[place : place + drop] = put
        if crossed:
            changed += other
        TARGETS[target].run(bytes(changed))

    holds()


# against Wireshark --------------------------------------------------------------------------------

TRANSACTIONS = 6000
"In one capture; each is a client port of its own."
ODD = (0, 1, 2, 7, 8, 9, 100, 125, 1968, 2000, 0x7FFF, 0x8000, 0xFF00, 0xFFFE, 0xFFFF)


class Dice:
    """Requests that may be legal and answers that are, at random but for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 # not a secret

    def request(self) -> Request:
        """Some request that the wire accepts."""
        while True:
            pdu = self.changed(self.random.choice(pairs())[0])
            read = read_request(self.random.choice((0, 1, 17, 247, 255)), pdu)
            if isinstance(read, Request) and len(pdu) <= MOST_PDU:
                return read

    def changed(self, pdu: bytes) -> bytes:
        """A few bytes or words of it put otherwise."""
        changed = bytearray(pdu)
        for _ in range(self.random.randrange(4)):
            at = self.random.randrange(len(changed) + 1)
            word = self.random.choice(ODD) if self.random.random() < 0.5 else self.random.randrange(65_536)
            changed[at : at + 2] = word.to_bytes(2)[: len(changed[at : at + 2])]
        return bytes(changed)

    def answer(self, request: Request) -> Answer | DeviceException:
        """A right answer to it."""
        if self.random.random() < 0.1:
            pdu = bytes((request.fc | 0x80, self.random.choice((1, 2, 3, 4, 5, 6, 8, 10, 11))))
        else:
            pdu = self._right(request)
        read = read_answer(request, pdu)
        assert not isinstance(read, WrongAnswer), (request, pdu.hex(), read)
        return read

    def cut(self, adus: list[bytes]) -> list[bytes]:
        """Those ADUs as a stream in segments, none of which ends where tshark would lose the rest."""
        stream, heads = b"".join(adus), set[int]()
        for at in accumulate(map(len, adus), initial=0):
            heads |= set(range(at + 1, at + wireshark.LEAST_OF_AN_ADU))
        places = [at for at in range(1, len(stream)) if at not in heads]
        chosen = sorted(self.random.sample(places, min(self.random.randrange(9), len(places))))
        return [stream[a:b] for a, b in pairwise([0, *chosen, len(stream)])]

    def _right(self, request: Request) -> bytes:
        octets = self.random.randbytes
        fc = bytes((request.fc,))
        match request:
            case ReadSpan(fc=1 | 2, count=count):
                value = int.from_bytes(octets(250), "little") & ((1 << count) - 1)
                size = (count + 7) // 8
                return fc + bytes((size,)) + value.to_bytes(size, "little")
            case ReadSpan(count=count) | WriteThenRead(count=count):
                return fc + bytes((2 * count,)) + octets(2 * count)
            case WriteSpan():
                return request.encode()[:5]
            case ReadFifo():
                count = self.random.randrange(32)
                return fc + (2 * count + 2).to_bytes(2) + count.to_bytes(2) + octets(2 * count)
            case AskDevice():
                return fc + self._device(request.fc)
            case Diagnose(sub=sub) if sub:
                return request.encode()[:3] + octets(2)
            case ReadRecords(spans=spans):
                groups = [bytes((2 * span.count + 1, 6)) + octets(2 * span.count) for span in spans]
                return fc + bytes((sum(map(len, groups)),)) + b"".join(groups)
            case Identify():
                return request.encode()[:3] + self._objects(request)
            case Canopen():
                return request.encode()[:2] + octets(self.random.randint(1, 40))
            case _:
                return request.encode()

    def _device(self, fc: int) -> bytes:
        octets = self.random.randbytes
        status = self.random.choice((b"\0\0", b"\xff\xff"))
        if fc == 7:
            return octets(1)
        if fc == 11:
            return status + octets(2)
        body = (
            status + octets(4 + self.random.randrange(65))
            if fc == 12
            else octets(self.random.randint(1, 251))
        )
        return bytes((len(body),)) + body

    def _objects(self, request: Identify) -> bytes:
        def thing(number: int) -> bytes:
            text = "".join(self.random.choices("abcXYZ 0123.-/", k=self.random.randint(1, 20))).encode()
            return bytes((number, len(text))) + text

        conformity = self.random.choice((0x01, 0x02, 0x03, 0x81, 0x82, 0x83))
        if request.code == 4:
            return bytes((conformity, 0, 0, 1)) + thing(request.object)
        count = self.random.randint(1, 6)
        more = self.random.choice((b"\0\0", b"\xff\x07"))
        return bytes((conformity,)) + more + bytes((count,)) + b"".join(map(thing, range(count)))


def thrown() -> tuple[int, Dice]:
    """Dice that fall otherwise in each run, unless a run is to be had again."""
    seed = int(os.environ.get("DIFFERENTIAL_SEED", random.SystemRandom().randrange(1 << 32)))
    return seed, Dice(seed)


def accepted(asked: bytes, told: bytes) -> tuple[Request, Answer | DeviceException] | None:
    """Both, if both are accepted and have a place in an ADU."""
    request = read_request(1, asked)
    if not isinstance(request, Request) or max(len(asked), len(told)) > MOST_PDU:
        return None
    answer = read_answer(request, told)
    return None if isinstance(answer, WrongAnswer) else (request, answer)


@pytest.mark.needs("tshark")
def test_wireshark_reads_what_we_accept_as_we_do(tmp_path: Path) -> None:
    seed, dice = thrown()
    held = [both for pair in pairs() if (both := accepted(*pair)) is not None]
    while len(held) < TRANSACTIONS:
        request = dice.request()
        held.append((request, dice.answer(request)))
    shown = wireshark.read(tmp_path, [(one.unit, one.encode(), other.encode()) for one, other in held])
    assert len(shown) == 2 * len(held)
    reasons: set[str] = set()
    for number, (request, answer) in enumerate(held):
        for seen, wanted, judged in (
            (shown[2 * number], wireshark.asked(number, request), None),
            (shown[2 * number + 1], wireshark.told(number, request, answer), answer),
        ):
            reasons |= wireshark.explained(request, judged, wanted, seen)
            assert seen == wanted, f"DIFFERENTIAL_SEED={seed}: {request} {judged}"
    assert {request.fc for request, _ in held} == set(FUNCTIONS), "some function was never compared"
    assert reasons == set(wireshark.EXPLAINED), "an explanation that explains nothing"


@pytest.mark.needs("tshark")
def test_wireshark_finds_the_same_adus_in_any_segments(tmp_path: Path) -> None:
    seed, dice = thrown()
    streams, wanted = [], []
    for _ in range(400):
        requests = [dice.request() for _ in range(dice.random.randint(1, 12))]
        pieces = dice.cut([adu(tid, each.unit, each.encode()) for tid, each in enumerate(requests)])
        reader = MbapReader()
        found = [each for piece in pieces for each in reader.feed(piece)]
        assert [each.pdu for each in found] == [each.encode() for each in requests]
        streams.append(pieces)
        wanted.append([(each.tid, each.unit, each.pdu[0]) for each in found])
    assert wireshark.cut_up(tmp_path, streams) == wanted, f"DIFFERENTIAL_SEED={seed}"
