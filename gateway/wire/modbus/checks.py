"""The questions that many rows of the table ask of a PDU, in the order of the specification's charts.

What is wrong with a request becomes `Illegal` in its row; what is wrong with an answer is a `WrongAnswer`
here. A PDU with bytes left over is refused, never trimmed: a compromised client could hide a second ADU
there, or a compromised device could talk through what nobody reads.
"""

from struct import Struct as Layout

from gateway.model.decision import Why
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import Answer, DeviceException, Illegal, WrongAnswer

MOST_PDU = 253
"AP §4.1: 256 bytes of a serial ADU without address and CRC."
EXCEPTIONS: dict[int, str] = {
    0x01: "illegal function",
    0x02: "illegal data address",
    0x03: "illegal data value",
    0x04: "server device failure",
    0x05: "acknowledge",
    0x06: "server device busy",
    0x08: "memory parity error",
    0x0A: "gateway path unavailable",
    0x0B: "gateway target device failed to respond",
}
"AP §7. 07 was negative acknowledge in PI-MBUS-300 only."
COUNTED = Layout(">BB")
"Function and byte count: how a read's answer begins."

Reading = Answer | DeviceException | WrongAnswer
"The three endings of an answer."

# requests ----------------------------------------------------------------------------------------


def misfit(pdu: bytes, size: int) -> Illegal:
    """The PDU is shorter or longer than the function's fixed part."""
    return Illegal(pdu[0], Why.ILLEGAL_VALUE, uneven(pdu, size))


def uneven(pdu: bytes, size: int) -> Finding:
    """What it is called when a PDU has not `size` bytes."""
    return Finding.LENGTH_VS_FUNCTION if len(pdu) < size else Finding.TRAILING_BYTES


def wrong_quantity(count: int) -> Finding:
    """What it is called when a quantity is not from 1 to the function's limit."""
    return Finding.QUANTITY_OVER if count else Finding.QUANTITY_ZERO


def wrong_length(counted: int, there: int) -> Finding | None:
    """Whether a byte count is not the number of bytes behind it."""
    if there == counted:
        return None
    return Finding.BYTE_COUNT_VS_LENGTH if there < counted else Finding.TRAILING_BYTES


def wrong_data(count: int, at_most: int, counted: int, needed: int, there: int) -> Finding | None:
    """What is wrong with a quantity, its byte count and the bytes behind it."""
    if not 0 < count <= at_most:
        return wrong_quantity(count)
    if counted != needed:
        return Finding.BYTE_COUNT_VS_QUANTITY
    return wrong_length(counted, there)


def pad_bits(count: int, last: int) -> int:
    """The bits of the last byte that belong to no coil; AP §6.1 and §6.11 say zero."""
    return last >> (count & 7) if count & 7 else 0


# answers -----------------------------------------------------------------------------------------


def registers(fc: int, count: int, pdu: bytes) -> Reading:
    """An answer that carries that many registers."""
    size = count + count
    if len(pdu) != size + 2 or pdu[0] != fc or pdu[1] != size:
        return no_data(fc, size, pdu)
    return Answer(COUNTED.pack(fc, size), pdu[2:])


def no_data(fc: int, size: int, pdu: bytes) -> DeviceException | WrongAnswer:
    """Why this is not the answer with that many bytes of data."""
    other = another(fc, pdu)
    if other is not None:
        return other
    if len(pdu) < 2:
        return WrongAnswer(Finding.LENGTH_VS_FUNCTION)
    if pdu[1] != size:
        return WrongAnswer(Finding.BYTE_COUNT_VS_REQUEST)
    short = len(pdu) - 2 < size
    return WrongAnswer(Finding.BYTE_COUNT_VS_LENGTH if short else Finding.TRAILING_BYTES)


def counted(fc: int, pdu: bytes, least: int, most: int) -> DeviceException | WrongAnswer | None:
    """Why this is not an answer of that function with a byte count from `least` to `most` that holds."""
    other = another(fc, pdu)
    if other is not None:
        return other
    if len(pdu) < 2:
        return WrongAnswer(Finding.LENGTH_VS_FUNCTION)
    wrong = wrong_length(pdu[1], len(pdu) - 2)
    if wrong is not None:
        return WrongAnswer(wrong)
    return None if least <= pdu[1] <= most else WrongAnswer(Finding.BYTE_COUNT_VS_REQUEST)


def fixed(fc: int, pdu: bytes, size: int) -> DeviceException | WrongAnswer | None:
    """Why this is not an answer of that function with `size` bytes."""
    other = another(fc, pdu)
    if other is not None or len(pdu) == size:
        return other
    return WrongAnswer(uneven(pdu, size))


def echo(fc: int, expected: bytes, pdu: bytes) -> Reading:
    """An answer that repeats the request, in whole or in part."""
    if pdu == expected:
        return Answer(expected)
    return fixed(fc, pdu, len(expected)) or WrongAnswer(Finding.ECHO_MISMATCH)


def another(fc: int, pdu: bytes) -> DeviceException | WrongAnswer | None:
    """An exception, or an answer of another function; None if it is at least of this function."""
    if not pdu:
        return WrongAnswer(Finding.EMPTY)
    if pdu[0] == fc:
        return None
    if pdu[0] != fc | 0x80:
        return WrongAnswer(Finding.FUNCTION_MISMATCH)
    return exception(pdu)


def exception(pdu: bytes) -> DeviceException | WrongAnswer:
    """An exception, strictly: two bytes, of a code that exists. The first byte has the exception bit."""
    if len(pdu) != 2:
        return WrongAnswer(Finding.EXCEPTION_LENGTH, pdu[1] if len(pdu) > 2 else None)
    if pdu[1] not in EXCEPTIONS:
        return WrongAnswer(Finding.EXCEPTION_CODE_UNKNOWN, pdu[1])
    return DeviceException(pdu[0] & 0x7F, pdu[1])
