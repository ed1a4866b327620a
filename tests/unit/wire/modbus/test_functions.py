"""The table, by the vectors of tests/vectors/modbus: every row, both directions."""

import pytest

from gateway.model.decision import Why
from gateway.wire.modbus.findings import FINDINGS, Finding, Group
from gateway.wire.modbus.frames import Canopen, Diagnose
from gateway.wire.modbus.functions import (
    FOUND,
    FUNCTIONS,
    MEI_TYPES,
    NAMED,
    RANGES,
    Answer,
    DeviceException,
    Forwarded,
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
    category,
    name,
    read_answer,
    read_request,
)
from tests.vectors.modbus import Vector, vectors

VECTORS = vectors()
REQUESTS = [v for v in VECTORS if v.direction == "request"]
ANSWERS = [v for v in VECTORS if v.direction == "answer"]
UNIT = 17


def request(pdu: bytes) -> Request:
    read = read_request(UNIT, pdu)
    assert isinstance(read, Request)
    return read


@pytest.mark.parametrize("vector", REQUESTS, ids=str)
def test_requests(vector: Vector) -> None:
    read = read_request(UNIT, vector.pdu)
    if "illegal" in vector.expected:
        why, finding = vector.expected["illegal"]
        assert read == Illegal(vector.fc, Why(why), Finding(finding))
    elif "unsupported" in vector.expected:
        assert isinstance(read, Unsupported)
        assert [read.name, read.finding or ""] == vector.expected["unsupported"]
    else:
        assert isinstance(read, Request)
        assert (read.unit, read.fc) == (UNIT, vector.fc)
        assert read.encode() == vector.pdu


@pytest.mark.parametrize("vector", ANSWERS, ids=str)
def test_answers(vector: Vector) -> None:
    read = read_answer(request(vector.to), vector.pdu)
    match vector.expected:
        case {"data": data}:
            assert isinstance(read, Answer)
            assert read.data == data
            assert read.encode() == vector.pdu
        case {"exception": code}:
            assert read == DeviceException(vector.fc, code)
            assert (read.encode(), read.data) == (vector.pdu, b"")
        case {"wrong": finding}:
            assert isinstance(read, WrongAnswer)
            assert read.finding == finding
        case other:
            pytest.fail(f"a vector expects {other}")


@pytest.mark.parametrize("vector", [v for v in REQUESTS if "operations" in v.expected], ids=str)
def test_a_legal_request_with_one_byte_more_or_less_is_illegal(vector: Vector) -> None:
    for pdu in (vector.pdu + b"\0", vector.pdu[:-1]):
        read = read_request(UNIT, pdu)
        assert isinstance(read, Canopen if vector.pdu.startswith(b"\x2b\x0d") else Illegal)


@pytest.mark.parametrize("vector", [v for v in ANSWERS if "wrong" not in v.expected], ids=str)
def test_a_fitting_answer_with_one_byte_more_or_less_is_wrong(vector: Vector) -> None:
    canopen = vector.pdu.startswith(b"\x2b\x0d")  # a message of any length
    for pdu in (vector.pdu + b"\0", vector.pdu[:-1]):
        assert isinstance(read_answer(request(vector.to), pdu), Answer if canopen else WrongAnswer)


@pytest.mark.parametrize("code", FUNCTIONS)
@pytest.mark.parametrize("direction", ["request", "answer"])
def test_every_row_has_a_good_a_malformed_and_a_limit_vector(code: int, direction: str) -> None:
    sorts = {v.sort for v in VECTORS if (v.fc, v.direction) == (code, direction)}
    assert sorts == {"good", "malformed", "limit"}


def test_every_finding_is_described_and_every_finding_about_a_pdu_has_a_vector() -> None:
    assert set(FINDINGS) == set(Finding)
    shown = {v.expected["illegal"][1] for v in REQUESTS if "illegal" in v.expected}
    shown |= {v.expected["wrong"] for v in ANSWERS if "wrong" in v.expected}
    shown |= {v.expected["unsupported"][1] for v in REQUESTS if "unsupported" in v.expected}
    about_pdus = {Group.FUNCTION, Group.REQUEST, Group.RESPONSE}
    wanted = {finding for finding, about in FINDINGS.items() if about.group in about_pdus}
    assert wanted - set(FOUND.values()) <= shown


@pytest.mark.parametrize("code", range(256))
def test_every_code_has_one_name_and_one_ending(code: int) -> None:
    read = read_request(UNIT, bytes([code]) + b"\0\0\0\1\0\0")
    if code == 0 or code >= 0x80:
        assert read == Illegal(code, Why.UNKNOWN_FUNCTION, Finding.ILLEGAL_FUNCTION)
        assert name(code) == f"illegal_{code}"
    elif code in FUNCTIONS:
        assert isinstance(read, Request | Illegal | Unsupported)
        assert name(code) == FUNCTIONS[code].name
    else:
        assert read == Unsupported(code, name(code), FOUND[category(code)])
    assert name(code) not in {name(other) for other in range(256) if other != code}


def test_a_code_is_described_once() -> None:
    in_ranges = [code for codes, _ in RANGES for code in codes]
    described = [*FUNCTIONS, *NAMED, *in_ranges]
    assert len(described) == len(set(described))


@pytest.mark.parametrize(
    ("code", "called", "whose"),
    [
        (3, "read_holding_registers", "public"),
        (8, "diagnostics", "public"),
        (9, "reserved_9", "reserved"),
        (18, "unassigned_18", "unassigned"),
        (43, "encapsulated_interface_transport", "public"),
        (65, "user_65", "user"),
        (72, "user_72", "user"),
        (73, "unassigned_73", "unassigned"),
        (90, "umas", "vendor"),
        (100, "user_100", "user"),
        (110, "user_110", "user"),
        (126, "reserved_126", "reserved"),
    ],
)
def test_names(code: int, called: str, whose: str) -> None:
    assert (name(code), category(code)) == (called, whose)


def test_a_pdu_without_a_function_is_illegal_and_no_answer() -> None:
    assert read_request(UNIT, b"") == Illegal(0, Why.UNKNOWN_FUNCTION, Finding.EMPTY)
    assert read_answer(request(bytes.fromhex("0300000001")), b"") == WrongAnswer(Finding.EMPTY)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 8, 10, 11])
def test_exceptions_of_the_specification_come_through(code: int) -> None:
    asked = request(bytes.fromhex("0300000001"))
    assert read_answer(asked, bytes([0x83, code])) == DeviceException(3, code)


NEVER = [
    *(bytes((code, 0, 0, 0, 0)) for code in range(256) if code not in FUNCTIONS),
    *(bytes((8, 0, sub, 0, 0)) for sub in range(256) if sub not in {0, 2, *range(11, 19)}),
    *(bytes((43, mei, 1, 0)) for mei in range(256) if mei not in MEI_TYPES),
]
"What no grant can let through (DESIGN §5), as whole requests."


@pytest.mark.parametrize("pdu", NEVER, ids=bytes.hex)
def test_what_is_never_forwarded_is_no_request(pdu: bytes) -> None:
    assert isinstance(read_request(UNIT, pdu), Unsupported | Illegal)


def test_diagnostics_that_only_tell_or_echo_are_requests() -> None:
    for sub in (0, 2, *range(11, 19)):
        assert request(bytes((8, 0, sub, 0, 0))) == Diagnose(UNIT, 8, sub, b"\0\0")
    assert FUNCTIONS[8].forwarded is FUNCTIONS[43].forwarded is Forwarded.SOME


@pytest.mark.parametrize(
    ("unit", "pdu", "silent"),
    [
        (0, "06 0001 0001", True),
        (0, "10 0001 0001 02 0001", True),
        (0, "03 0001 0001", False),
        (1, "06 0001 0001", False),
        (1, "08 0004 0000", True),
        (1, "08 0001 0000", False),
    ],
)
def test_who_need_not_answer(unit: int, pdu: str, silent: bool) -> None:
    read = read_request(unit, bytes.fromhex(pdu))
    assert isinstance(read, Request | Unsupported)
    assert read.silent is silent
