"""What holds of the Modbus wire for all bytes: any segmentation, one encoding, no fourth ending."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.asset import Asset, DataType, Order, Table, Tag, Window
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.modbus import points
from gateway.wire.modbus.framing import MOST_ADU, Adu, MbapReader, adu
from gateway.wire.modbus.functions import (
    FUNCTIONS,
    Answer,
    DeviceException,
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
    read_answer,
    read_request,
)
from gateway.wire.modbus.meaning import Place
from tests.vectors.modbus import vectors

VECTORS = vectors()
LEGAL = [v.pdu for v in VECTORS if "operations" in v.expected]
PDUS = [v.pdu for v in VECTORS]
ANSWERS = [(v.to, v.pdu) for v in VECTORS if v.direction == "answer"]

octets = st.integers(0, 255)
known_pdus = st.sampled_from(PDUS).filter(lambda pdu: len(pdu) <= 253)
adus = st.builds(adu, st.integers(0, 65_535), octets, known_pdus | st.binary(min_size=1, max_size=253))
"Well framed, whatever is inside."
headers = st.builds(lambda tid, pid, length: tid + pid + length, *[st.binary(min_size=2, max_size=2)] * 3)
traffic = st.lists(adus | headers | st.binary(max_size=12), max_size=8).map(b"".join)
"Mostly good, sometimes not."


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    places = sorted({0, len(data), *[place % (len(data) + 1) for place in cuts]})
    return [data[a:b] for a, b in pairwise(places)]


def feed(pieces: list[bytes]) -> tuple[list[Adu], str | None]:
    """What a fresh reader makes of them."""
    reader = MbapReader()
    found = []
    for piece in pieces:
        found += reader.feed(piece)
        assert reader.held < MOST_ADU
    return found, reader.lost


@given(traffic, st.lists(st.integers(0, 4096), max_size=12))
def test_segmentation_never_changes_what_is_read(data: bytes, cuts: list[int]) -> None:
    whole = feed([data])
    assert feed(cut(data, cuts)) == whole
    assert feed([bytes([octet]) for octet in data]) == whole


@given(traffic)
def test_what_is_read_is_what_was_sent(data: bytes) -> None:
    """Encoded again, the ADUs are the stream up to the fault or to what still waits."""
    frames, lost = feed([data])
    again = b"".join(adu(frame.tid, frame.unit, frame.pdu) for frame in frames)
    assert data.startswith(again)
    assert lost is not None or len(data) - len(again) < MOST_ADU


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A PDU from the vectors with a few bytes changed, dropped or added."""
    pdu = bytearray(draw(st.sampled_from(PDUS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(pdu)))
        pdu[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(pdu)


built = st.builds(
    lambda fc, rest: bytes([fc]) + rest, st.sampled_from(sorted(FUNCTIONS)), st.binary(max_size=252)
)
pdus = mutated() | built | st.binary(max_size=253)


@given(octets, pdus)
def test_any_request_has_one_of_three_endings_and_one_encoding(unit: int, pdu: bytes) -> None:
    read = read_request(unit, pdu)
    assert isinstance(read, Request | Illegal | Unsupported)
    if isinstance(read, Request):
        assert read.encode() == pdu
        assert read_request(unit, read.encode()) == read


@given(st.sampled_from(LEGAL), pdus)
def test_any_answer_has_one_of_three_endings_and_one_encoding(asked: bytes, pdu: bytes) -> None:
    request = read_request(1, asked)
    assert isinstance(request, Request)
    read = read_answer(request, pdu)
    assert isinstance(read, Answer | DeviceException | WrongAnswer)
    if not isinstance(read, WrongAnswer):
        assert read.encode() == pdu


@given(st.sampled_from(ANSWERS), st.integers(0, 2047))
def test_a_flipped_bit_outside_the_data_is_never_an_answer(case: tuple[bytes, bytes], bit: int) -> None:
    """Of an answer only its data, and which exception it is, are the device's to choose."""
    asked, pdu = case
    request = read_request(1, asked)
    assert isinstance(request, Request)
    read = read_answer(request, pdu)
    if isinstance(read, Answer):
        at = bit % (8 * len(read.head))
        flipped = bytearray(pdu)
        flipped[at >> 3] ^= 1 << (at & 7)
        assert isinstance(read_answer(request, bytes(flipped)), WrongAnswer)


class Nothing:
    """Nobody has polled anything."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


kinds = st.sampled_from(DataType)
numbers = st.sampled_from([1.0, 0.1, 0.5, -0.25, 1e-9, 1e6, 0.0])
tags = st.builds(
    Tag,
    name=st.text("abc", min_size=1),
    asset=st.just("a"),
    path=st.just("p"),
    table=st.sampled_from(Table),
    address=st.integers(0, 40) | st.integers(65_500, 65_535),
    type=kinds,
    bit=st.none() | st.integers(0, 15),
    byte_order=st.sampled_from(Order),
    word_order=st.sampled_from(Order),
    scale=numbers,
    offset=numbers,
    resolution=numbers,
)


windows = st.lists(
    st.builds(
        Window,
        table=st.sampled_from(Table),
        start=st.integers(0, 65_535),
        count=st.integers(1, 65_536),
        word=st.integers(0, 65_535),
    ),
    max_size=3,
)


@given(st.lists(tags, max_size=6), windows, octets, pdus)
def test_every_legal_request_means_something(
    declared: list[Tag], overlays: list[Window], unit: int, pdu: bytes
) -> None:
    request = read_request(unit, pdu)
    if isinstance(request, Request):
        place = Place(Asset(name="a", host="192.0.2.1", port=502, overlays=tuple(overlays)), declared)
        operations = place.operations(request, Nothing(), Now(0, 0, True, 0))
        assert operations
        assert all(isinstance(operation, Operation) for operation in operations)
        for operation in operations:
            for point in operation.points:
                assert point.q is None or abs(point.q) <= points.MOST_QUANTA


@given(tags, st.binary(max_size=16), st.integers(0, 45), st.sampled_from(Table))
def test_any_registers_give_a_value_or_nothing(tag: Tag, data: bytes, first: int, table: Table) -> None:
    value = points.decode(tag, data, first, table)
    if value is not None:
        q = points.quanta(tag, value)
        assert q is None or abs(q) <= points.MOST_QUANTA


@given(st.sampled_from([DataType.INT16, DataType.UINT32, DataType.INT64]), numbers, numbers, st.integers())
def test_the_way_by_the_value_gives_the_quanta_of_the_raw_number(
    kind: DataType, scale: float, resolution: float, number: int
) -> None:
    """What was polled (value → quanta) and what would be written (raw → quanta) compare without a jump."""
    tag = Tag(
        name="t",
        asset="a",
        path="p",
        table=Table.HOLDING,
        address=0,
        type=kind,
        scale=scale,
        resolution=resolution,
    )
    number = number % 2**31
    value = number if scale == 1 else number * scale
    assert points.quanta(tag, value) == points.quanta_of_raw(tag, number)
