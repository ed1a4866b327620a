"""RTU frames: checksums, where an answer ends, and what ends an exchange."""

import pytest

from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.functions import FUNCTIONS
from gateway.wire.modbus.rtu import MOST_FRAME, MOST_PDU, SIZES, RtuReader, crc, frame

READ = bytes.fromhex("03 0000 0002")
ANSWER = bytes.fromhex("01 03 04 0001 0002 2a32")


@pytest.mark.parametrize(
    ("body", "checksum"),
    [("0207", "4112"), ("010300000001", "840a"), ("1103006b0003", "7687"), ("", "ffff")],
    ids=["Serial Line V1.02 §6.2.2", "read", "Modicon PI-MBUS-300", "nothing"],
)
def test_checksums_that_others_have_printed(body: str, checksum: str) -> None:
    assert crc(bytes.fromhex(body)).hex() == checksum


def test_a_request_is_unit_pdu_and_checksum() -> None:
    assert frame(17, bytes.fromhex("03006b0003")).hex() == "1103006b00037687"


@pytest.mark.parametrize("unit", [-1, 0, 248, 255, 256])
def test_broadcast_and_reserved_units_have_no_frame(unit: int) -> None:
    with pytest.raises(ValueError, match="cannot be asked"):
        frame(unit, READ)


@pytest.mark.parametrize("size", [0, MOST_PDU + 1])
def test_what_is_no_pdu_has_no_frame(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 253"):
        frame(1, bytes(size))


def test_the_longest_frame_is_the_specifications() -> None:
    assert len(frame(1, bytes(MOST_PDU))) == MOST_FRAME == 256


def test_every_function_of_the_table_has_a_size() -> None:
    assert set(SIZES) == set(FUNCTIONS)


def test_an_answer_in_pieces() -> None:
    reader = RtuReader(1, READ)
    for octet in ANSWER[:-1]:
        assert reader.feed(bytes([octet])) is None
        assert reader.lost is None
    assert reader.feed(ANSWER[-1:]) == ANSWER[1:-2]
    assert not reader.extra


def test_an_exception_is_five_bytes() -> None:
    assert RtuReader(1, READ).feed(frame(1, b"\x83\x02")) == b"\x83\x02"


def test_bytes_behind_the_answer_are_noticed_and_not_read() -> None:
    reader = RtuReader(1, READ)
    assert reader.feed(ANSWER + b"\x00") == ANSWER[1:-2]
    assert reader.extra


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (ANSWER[:-1] + b"\x33", Finding.CRC),
        (ANSWER[:4] + b"\xff" + ANSWER[5:], Finding.CRC),
        (b"\x02" + ANSWER[1:], Finding.UNIT_MISMATCH),
        (b"\x00" + ANSWER, Finding.UNIT_MISMATCH),
        (frame(1, b"\x04" + ANSWER[2:-2]), Finding.FUNCTION_MISMATCH),
        (frame(1, b"\x84\x02"), Finding.FUNCTION_MISMATCH),
        (b"\x01\x03\xfc", Finding.LENGTH_RANGE),
    ],
    ids=["checksum", "data", "unit", "a byte too early", "function", "other's exception", "impossible"],
)
def test_what_ends_the_exchange(data: bytes, why: str) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader = RtuReader(1, READ)
        assert [reader.feed(piece) for piece in pieces] == [None] * len(pieces)
        assert reader.lost == why
        assert reader.feed(ANSWER) is None, "nothing more is read, however right it is"


@pytest.mark.parametrize(
    ("request_pdu", "answer"),
    [
        ("08 0000 a537 1234", "08 0000 a537 1234"),
        ("18 04de", "18 0006 0002 01b8 1284"),
        ("2b 0e 01 00", "2b 0e 01 01 00 00 03 00 03 414243 01 02 4445 02 00"),
        ("2b 0e 01 00", "2b 0e 01 01 00 00 00"),
        ("14 07 06 0004 0001 0002", "14 06 05 06 0dfe 0020"),
        ("16 0004 00f2 0025", "16 0004 00f2 0025"),
        ("07", "07 6d"),
        ("11", "11 03 41 42 ff"),
    ],
)
def test_answers_of_every_kind_of_length_end_where_they_end(request_pdu: str, answer: str) -> None:
    whole = frame(7, bytes.fromhex(answer))
    for end in range(len(whole)):
        reader = RtuReader(7, bytes.fromhex(request_pdu))
        assert reader.feed(whole[:end]) is None
        assert reader.lost is None
    assert RtuReader(7, bytes.fromhex(request_pdu)).feed(whole) == bytes.fromhex(answer)


def test_objects_that_cannot_fit_a_frame_are_an_impossible_length() -> None:
    head = bytes.fromhex("01 2b 0e 01 01 00 00 ff")
    reader = RtuReader(1, bytes.fromhex("2b 0e 01 00"))
    assert reader.feed(head + b"\x00\x00" * 130) is None
    assert reader.lost == Finding.LENGTH_RANGE


def test_an_echo_is_compared_and_dropped() -> None:
    write = bytes.fromhex("06 0005 0037")
    sent = frame(1, write)
    reader = RtuReader(1, write, echo=True)
    assert reader.feed(sent) is None, "the right answer to a write is its echo: one of the two is the line's"
    assert reader.feed(sent) == write
    other = RtuReader(1, write, echo=True)
    assert other.feed(sent[:3] + b"\xee") is None
    assert other.lost == Finding.LINE_ECHO
