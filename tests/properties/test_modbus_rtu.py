"""What holds of RTU for all bytes: answers are found in any pieces, nothing else is, and little is held."""

from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU

from gateway.wire.modbus.functions import FUNCTIONS, Request, WrongAnswer, read_answer, read_request
from gateway.wire.modbus.rtu import MOST_FRAME, UNITS, RtuReader, crc, frame
from tests.vectors.modbus import vectors

from .test_modbus_wire import cut


def _right(asked: bytes, pdu: bytes) -> bool:
    request = read_request(1, asked)
    return isinstance(request, Request) and not isinstance(read_answer(request, pdu), WrongAnswer)


CANOPEN = b"\x2b\x0d"
"Never forwarded, and nobody but the devices can tell where its messages end."
PAIRS = [
    (v.to, v.pdu)
    for v in vectors()
    if v.direction == "answer" and _right(v.to, v.pdu) and not v.to.startswith(CANOPEN)
]
"Requests and right answers of every function that may be forwarded."

units = st.sampled_from(UNITS)
pairs = st.sampled_from(PAIRS)
cuts = st.lists(st.integers(0, 512), max_size=8)
noise = st.binary(max_size=600)


def feed(reader: RtuReader, pieces: list[bytes]) -> bytes | None:
    """What a reader makes of the pieces, which come until it has an answer."""
    for piece in pieces:
        found = reader.feed(piece)
        assert len(reader._held) <= MOST_FRAME + 1
        if found is not None:
            return found
    return None


def test_the_pairs_are_of_all_functions_that_may_be_forwarded() -> None:
    answered = {asked[0] for asked, _ in PAIRS}
    assert {code for code, row in FUNCTIONS.items() if row.forwarded != "never"} == answered


@given(st.binary(max_size=300))
def test_checksums_are_pymodbus_s(data: bytes) -> None:
    assert crc(data) == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@given(units, pairs, cuts, st.booleans())
def test_an_answer_is_found_in_any_pieces(
    unit: int, pair: tuple[bytes, bytes], cuts: list[int], echo: bool
) -> None:
    asked, pdu = pair
    data = frame(unit, pdu)
    if echo:
        data = frame(unit, asked) + data
    reader = RtuReader(unit, asked, echo=echo)
    assert feed(reader, cut(data, cuts)) == pdu
    assert not reader.extra


@given(units, pairs, st.integers(0, 4095), cuts)
def test_a_flipped_bit_is_never_another_answer_of_that_length(
    unit: int, pair: tuple[bytes, bytes], bit: int, cuts: list[int]
) -> None:
    """A checksum of 16 bits finds every single flipped bit as long as the length stays what it was."""
    asked, pdu = pair
    data = bytearray(frame(unit, pdu))
    at = bit % (8 * len(data))
    data[at >> 3] ^= 1 << (at & 7)
    found = feed(RtuReader(unit, asked), cut(bytes(data), cuts))
    assert found is None or len(found) != len(pdu)


@given(units, pairs, noise, cuts)
def test_any_bytes_end_in_an_answer_a_fault_or_need_more(
    unit: int, pair: tuple[bytes, bytes], data: bytes, cuts: list[int]
) -> None:
    asked, _ = pair
    for bytes_of_line in (data, bytes((unit, asked[0])) + data):
        reader, other = RtuReader(unit, asked), RtuReader(unit, asked)
        whole = feed(reader, [bytes_of_line])
        assert feed(other, cut(bytes_of_line, cuts)) == whole
        if whole is None:
            assert other.lost == reader.lost
            assert reader.lost is not None or len(bytes_of_line) < MOST_FRAME
        else:
            assert bytes_of_line.startswith(frame(unit, whole))
