"""The 18 framing cases that other stacks fail at, as far as this layer can say, and the bound."""

import pytest

from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.framing import MOST_ADU, Adu, MbapReader, adu
from gateway.wire.modbus.functions import Illegal, Request, Unsupported, read_request

READ = bytes.fromhex("0300000001")
GOOD = adu(9, 1, READ)


def feed(*pieces: bytes) -> tuple[list[Adu], str | None]:
    """What a fresh reader makes of the pieces, one after the other."""
    reader = MbapReader()
    found = [frame for piece in pieces for frame in reader.feed(piece)]
    return found, reader.lost


def test_a_single_request() -> None:
    assert feed(GOOD) == ([Adu(9, 1, READ)], None)


def test_ten_requests_in_one_segment() -> None:
    segment = b"".join(adu(tid, 1, READ) for tid in range(10))
    assert feed(segment) == ([Adu(tid, 1, READ) for tid in range(10)], None)


def test_ten_requests_in_separate_writes() -> None:
    assert feed(*[adu(tid, 1, READ) for tid in range(10)])[0] == [Adu(tid, 1, READ) for tid in range(10)]


@pytest.mark.parametrize("cut", range(len(GOOD) + 1))
def test_split_anywhere(cut: int) -> None:
    assert feed(GOOD[:cut], GOOD[cut:], GOOD) == ([Adu(9, 1, READ)] * 2, None)


@pytest.mark.parametrize(
    ("header", "finding"),
    [
        ("0001 0001 0006 01", Finding.PROTOCOL_ID),
        ("0001 ff00 0006 01", Finding.PROTOCOL_ID),
        ("0001 0000 0000 01", Finding.LENGTH_RANGE),
        ("0001 0000 0001 01", Finding.LENGTH_RANGE),
        ("0001 0000 00ff 01", Finding.LENGTH_RANGE),
        ("0001 0000 ffff 01", Finding.LENGTH_RANGE),
        ("4745 5420 2f20 48", Finding.PROTOCOL_ID),  # "GET / H": somebody speaks HTTP to us
    ],
)
def test_a_wrong_header_ends_framing_for_good(header: str, finding: Finding) -> None:
    wrong = bytes.fromhex(header) + READ
    first = [Adu(9, 1, READ)]
    for pieces in ([GOOD + wrong + GOOD], [GOOD, wrong, GOOD], [bytes([b]) for b in GOOD + wrong + GOOD]):
        reader = MbapReader()
        assert [frame for piece in pieces for frame in reader.feed(piece)] == first
        assert reader.lost == finding
        assert reader.feed(GOOD) == []
        assert reader.held == 0


@pytest.mark.parametrize("length", [0, 1, 255, 65_535])
def test_the_length_is_judged_before_the_body_is_waited_for(length: int) -> None:
    assert feed(b"\0\1\0\0" + length.to_bytes(2, "big"))[1] == Finding.LENGTH_RANGE


def test_the_protocol_id_is_judged_before_the_length_is_there() -> None:
    assert feed(b"\0\1\1")[1] == Finding.PROTOCOL_ID


@pytest.mark.parametrize("length", [2, 254])
def test_the_lengths_at_the_bounds_are_fine(length: int) -> None:
    whole = b"\0\1\0\0" + length.to_bytes(2, "big") + bytes(length)
    assert feed(whole) == ([Adu(1, 0, bytes(length - 1))], None)


@pytest.mark.parametrize("length", [0, 1, 255, 256])
def test_the_lengths_beyond_the_bounds_are_not_even_if_the_bytes_are_there(length: int) -> None:
    whole = b"\0\1\0\0" + length.to_bytes(2, "big") + bytes(length) + GOOD
    assert feed(whole) == ([], Finding.LENGTH_RANGE)


def test_the_buffer_stays_below_one_adu() -> None:
    longest = adu(1, 1, bytes(253))
    assert len(longest) == MOST_ADU
    reader = MbapReader()
    most = 0
    for octet in longest * 3:
        reader.feed(bytes([octet]))
        most = max(most, reader.held)
    assert most == MOST_ADU - 1
    reader.feed(longest * 1000 + longest[:-1])
    assert reader.held == MOST_ADU - 1


@pytest.mark.parametrize("size", [0, 254])
def test_we_frame_nothing_that_cannot_be_framed(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 253"):
        adu(1, 1, bytes(size))


@pytest.mark.parametrize(
    ("what", "pdu", "finding"),
    [
        ("FC 0", "00 0000 0001", Finding.ILLEGAL_FUNCTION),
        ("FC 0x83 as a request", "83 0000 0001", Finding.ILLEGAL_FUNCTION),
        ("FC 3 quantity 0", "03 0000 0000", Finding.QUANTITY_ZERO),
        ("FC 3 quantity 126", "03 0000 007e", Finding.QUANTITY_OVER),
        ("FC 16 byte count lies", "10 0000 0001 28 0000", Finding.BYTE_COUNT_VS_QUANTITY),
        ("FC 16, 100 bytes said, 2 there", "10 0000 0032 64 0000", Finding.BYTE_COUNT_VS_LENGTH),
        ("FC 5 value 0x0001", "05 0000 0001", Finding.COIL_VALUE),
        ("FC 3 with 4 bytes left over", "03 0000 0001 00000000", Finding.TRAILING_BYTES),
        ("FC 3 address 65535 quantity 2", "03 ffff 0002", Finding.ADDRESS_OVERFLOW),
    ],
)
def test_a_fault_in_a_whole_frame_leaves_the_next_frame_alone(what: str, pdu: str, finding: Finding) -> None:
    frames, lost = feed(adu(1, 1, bytes.fromhex(pdu)) + GOOD)
    assert lost is None, what
    bad, good = (read_request(frame.unit, frame.pdu) for frame in frames)
    assert isinstance(bad, Illegal)
    assert bad.finding is finding
    assert isinstance(good, Request)


def test_an_unknown_function_leaves_the_next_frame_alone() -> None:
    frames, _ = feed(adu(1, 1, bytes.fromhex("64 0000 0001")) + GOOD)
    assert read_request(1, frames[0].pdu) == Unsupported(100, "user_100", Finding.USER_FUNCTION)
    assert isinstance(read_request(1, frames[1].pdu), Request)


def test_two_thousand_coils_in_an_adu_of_263_bytes_end_framing() -> None:
    pdu = bytes.fromhex("0f000007d0fa") + bytes(250)
    assert feed(b"\0\1\0\0\1\1\1" + pdu + GOOD) == ([], Finding.LENGTH_RANGE)
