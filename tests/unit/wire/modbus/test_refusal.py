"""Refusals in the peer's words."""

import pytest

from gateway.model.decision import Why
from gateway.wire.modbus.checks import EXCEPTIONS
from gateway.wire.modbus.refusal import CODES, exception

EXPECTED = {
    Why.NO_ROLE: "83 01",
    Why.UNMAPPED_UNIT: "83 01",
    Why.UNKNOWN_FUNCTION: "83 01",
    Why.DENIED: "83 01",
    Why.ILLEGAL_ADDRESS: "83 02",
    Why.ILLEGAL_VALUE: "83 03",
    Why.NOT_RECORDED: "83 04",
    Why.BUSY: "83 06",
    Why.NO_PATH: "83 0a",
    Why.NO_ANSWER: "83 0b",
}


@pytest.mark.parametrize("why", Why)
def test_every_reason_has_its_exception(why: Why) -> None:
    assert exception(3, why).hex(" ") == EXPECTED[why]


def test_we_say_nothing_that_the_specification_does_not_know() -> None:
    assert set(CODES.values()) <= set(EXCEPTIONS)


@pytest.mark.parametrize("fc", [0, 3, 0x7F, 0x80, 0x83, 0xFF])
def test_the_exception_bit_is_set_once(fc: int) -> None:
    assert exception(fc, Why.UNKNOWN_FUNCTION) == bytes([fc | 0x80, 1])
