"""The layouts that rows of the table are made of: one class for each shape of function.

Each parses a request, judges it in the order of the specification's chart for its functions, and checks an
answer against its request. The charts say: function (01), then quantity or value (03), then address +
quantity (02). The general figure 9 of AP shows address before value; the charts are per function.

Strict in both directions: every byte is a field, and no field lies. A PDU with bytes left over is refused,
never trimmed. A compromised client could hide a second ADU there, or a compromised device could talk through
pad bits.
"""

from abc import ABC, abstractmethod
from struct import Struct as Layout
from typing import Generic, TypeVar

from gateway.model.asset import Table
from gateway.model.decision import Why
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import (
    BOTH,
    MANY,
    MASK,
    ONE,
    Answer,
    DeviceException,
    Illegal,
    MaskOne,
    ReadSpan,
    Request,
    WriteOne,
    WriteSpan,
    WriteThenRead,
    WrongAnswer,
)

ADDRESSES = 65_536
"Each table has addresses 0 to 65535 (AP §4.4)."
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
COIL_WORDS = frozenset({0x0000, 0xFF00})
"AP §6.5: off and on; everything else is illegal."
COUNTED = Layout(">BB")
"Function and byte count: how a read's answer begins."

R = TypeVar("R", bound=Request)
Reading = Answer | DeviceException | WrongAnswer


class Body(ABC, Generic[R]):
    """What the bytes of one function are."""

    table: Table
    "Which table it reads or writes."
    request_layout: str
    answer_layout: str
    limits: str

    @abstractmethod
    def request(self, unit: int, pdu: bytes) -> R | Illegal:
        """The request, or what is wrong with it. The first byte of the PDU is the function's."""

    @abstractmethod
    def answer(self, request: R, pdu: bytes) -> Reading:
        """The answer to that request, or why it is none."""


class ReadRegisters(Body[ReadSpan]):
    """FC 3 and 4."""

    request_layout = "address 2, quantity 2"
    answer_layout = "byte count 1, data 2 × quantity"

    def __init__(self, table: Table, *, at_most: int) -> None:
        self.table = table
        self.at_most = at_most
        self.limits = f"quantity 1..{at_most}"

    def request(self, unit: int, pdu: bytes) -> ReadSpan | Illegal:
        if len(pdu) != 5:
            return _misfit(pdu, 5)
        fc, start, count = ONE.unpack(pdu)
        if not 0 < count <= self.at_most:
            return Illegal(fc, Why.ILLEGAL_VALUE, Finding.QUANTITY)
        if start + count > ADDRESSES:
            return Illegal(fc, Why.ILLEGAL_ADDRESS, Finding.ADDRESS_OVERFLOW)
        return ReadSpan(unit, fc, start, count)

    def answer(self, request: ReadSpan, pdu: bytes) -> Reading:
        return _registers(request.fc, request.count, pdu)


class ReadBits(ReadRegisters):
    """FC 1 and 2."""

    answer_layout = "byte count 1, data ⌈quantity / 8⌉, unused bits zero"

    def answer(self, request: ReadSpan, pdu: bytes) -> Reading:
        fc, count = request.fc, request.count
        size = (count + 7) >> 3
        if len(pdu) != size + 2 or pdu[0] != fc or pdu[1] != size:
            return _no_data(fc, size, pdu)
        if _pad_bits(count, pdu[-1]):
            return WrongAnswer(Finding.PAD_BITS)
        return Answer(COUNTED.pack(fc, size), pdu[2:])


class WriteRegister(Body[WriteOne]):
    """FC 6: any word at any address is legal."""

    table = Table.HOLDING
    request_layout = "address 2, value 2"
    answer_layout = "the same again"
    limits = "–"

    def request(self, unit: int, pdu: bytes) -> WriteOne | Illegal:
        if len(pdu) != 5:
            return _misfit(pdu, 5)
        return WriteOne(unit, *ONE.unpack(pdu))

    def answer(self, request: WriteOne, pdu: bytes) -> Reading:
        return _echo(request.fc, request.encode(), pdu)


class WriteCoil(WriteRegister):
    """FC 5."""

    table = Table.COIL
    limits = "value 0x0000 or 0xFF00"

    def request(self, unit: int, pdu: bytes) -> WriteOne | Illegal:
        request = super().request(unit, pdu)
        if isinstance(request, WriteOne) and request.word not in COIL_WORDS:
            return Illegal(request.fc, Why.ILLEGAL_VALUE, Finding.COIL_VALUE)
        return request


class WriteRegisters(Body[WriteSpan]):
    """FC 16."""

    table = Table.HOLDING
    request_layout = "address 2, quantity 2, byte count 1, data 2 × quantity"
    answer_layout = "address 2, quantity 2"

    def __init__(self, *, at_most: int) -> None:
        self.at_most = at_most
        self.limits = f"quantity 1..{at_most}"

    def request(self, unit: int, pdu: bytes) -> WriteSpan | Illegal:
        if len(pdu) < 6:
            return _misfit(pdu, 6)
        fc, start, count, counted = MANY.unpack_from(pdu)
        data = pdu[6:]
        wrong = _wrong_data(count, self.at_most, counted, self.size(count), len(data))
        if wrong is None and self.pad_bits(count, data):
            wrong = Finding.PAD_BITS
        if wrong is not None:
            return Illegal(fc, Why.ILLEGAL_VALUE, wrong)
        if start + count > ADDRESSES:
            return Illegal(fc, Why.ILLEGAL_ADDRESS, Finding.ADDRESS_OVERFLOW)
        return WriteSpan(unit, fc, start, count, data)

    def answer(self, request: WriteSpan, pdu: bytes) -> Reading:
        return _echo(request.fc, ONE.pack(request.fc, request.start, request.count), pdu)

    def size(self, count: int) -> int:
        """How many bytes that many take."""
        return 2 * count

    def pad_bits(self, _count: int, _data: bytes) -> int:
        """The unused bits of the last byte that are set; registers have none."""
        return 0


class WriteBits(WriteRegisters):
    """FC 15."""

    table = Table.COIL
    request_layout = "address 2, quantity 2, byte count 1, data ⌈quantity / 8⌉, unused bits zero"

    def size(self, count: int) -> int:
        return (count + 7) >> 3

    def pad_bits(self, count: int, data: bytes) -> int:
        return _pad_bits(count, data[-1])


class MaskRegister(Body[MaskOne]):
    """FC 22. Its chart checks the address first, but no single address is illegal by itself."""

    table = Table.HOLDING
    request_layout = "address 2, AND mask 2, OR mask 2"
    answer_layout = "the same again"
    limits = "–"

    def request(self, unit: int, pdu: bytes) -> MaskOne | Illegal:
        if len(pdu) != 7:
            return _misfit(pdu, 7)
        return MaskOne(unit, *MASK.unpack(pdu))

    def answer(self, request: MaskOne, pdu: bytes) -> Reading:
        return _echo(request.fc, request.encode(), pdu)


class WriteThenReadRegisters(Body[WriteThenRead]):
    """FC 23. The write is performed before the read (AP §6.17)."""

    table = Table.HOLDING
    request_layout = (
        "read address 2, read quantity 2, write address 2, write quantity 2, byte count 1, "
        "data 2 × write quantity"
    )
    answer_layout = "byte count 1, data 2 × read quantity"

    def __init__(self, *, read_at_most: int, write_at_most: int) -> None:
        self.read_at_most = read_at_most
        self.write_at_most = write_at_most
        self.limits = f"read quantity 1..{read_at_most}, write quantity 1..{write_at_most}"

    def request(self, unit: int, pdu: bytes) -> WriteThenRead | Illegal:
        if len(pdu) < 10:
            return _misfit(pdu, 10)
        fc, start, count, write_start, write_count, counted = BOTH.unpack_from(pdu)
        data = pdu[10:]
        wrong: Finding | None = Finding.QUANTITY
        if 0 < count <= self.read_at_most:
            wrong = _wrong_data(write_count, self.write_at_most, counted, 2 * write_count, len(data))
        if wrong is not None:
            return Illegal(fc, Why.ILLEGAL_VALUE, wrong)
        if start + count > ADDRESSES or write_start + write_count > ADDRESSES:
            return Illegal(fc, Why.ILLEGAL_ADDRESS, Finding.ADDRESS_OVERFLOW)
        return WriteThenRead(unit, fc, start, count, write_start, write_count, data)

    def answer(self, request: WriteThenRead, pdu: bytes) -> Reading:
        return _registers(request.fc, request.count, pdu)


# requests ----------------------------------------------------------------------------------------


def _misfit(pdu: bytes, size: int) -> Illegal:
    """The PDU is shorter or longer than the function's fixed part."""
    short = len(pdu) < size
    finding = Finding.LENGTH_VS_FUNCTION if short else Finding.TRAILING_BYTES
    return Illegal(pdu[0], Why.ILLEGAL_VALUE, finding)


def _wrong_data(count: int, at_most: int, counted: int, needed: int, there: int) -> Finding | None:
    """What is wrong with a quantity, its byte count and the bytes behind it, in the order of the charts."""
    if not 0 < count <= at_most:
        return Finding.QUANTITY
    if counted != needed:
        return Finding.BYTE_COUNT_VS_QUANTITY
    if there < counted:
        return Finding.BYTE_COUNT_VS_LENGTH
    if there > counted:
        return Finding.TRAILING_BYTES
    return None


def _pad_bits(count: int, last: int) -> int:
    """The bits of the last byte that belong to no coil; AP §6.1 and §6.11 say zero."""
    return last >> (count & 7) if count & 7 else 0


# answers -----------------------------------------------------------------------------------------


def _registers(fc: int, count: int, pdu: bytes) -> Reading:
    """An answer that carries that many registers."""
    size = count + count
    if len(pdu) != size + 2 or pdu[0] != fc or pdu[1] != size:
        return _no_data(fc, size, pdu)
    return Answer(COUNTED.pack(fc, size), pdu[2:])


def _no_data(fc: int, size: int, pdu: bytes) -> DeviceException | WrongAnswer:
    """Why this is not the answer with that many bytes of data."""
    other = _other(fc, pdu)
    if other is not None:
        return other
    if len(pdu) < 2:
        return WrongAnswer(Finding.LENGTH_VS_FUNCTION)
    if pdu[1] != size:
        return WrongAnswer(Finding.BYTE_COUNT_VS_REQUEST)
    short = len(pdu) - 2 < size
    return WrongAnswer(Finding.BYTE_COUNT_VS_LENGTH if short else Finding.TRAILING_BYTES)


def _echo(fc: int, expected: bytes, pdu: bytes) -> Reading:
    """An answer that repeats the request, in whole or in part."""
    if pdu == expected:
        return Answer(expected)
    other = _other(fc, pdu)
    if other is not None:
        return other
    if len(pdu) == len(expected):
        return WrongAnswer(Finding.ECHO_MISMATCH)
    short = len(pdu) < len(expected)
    return WrongAnswer(Finding.LENGTH_VS_FUNCTION if short else Finding.TRAILING_BYTES)


def _other(fc: int, pdu: bytes) -> DeviceException | WrongAnswer | None:
    """An exception, or an answer of another function; None if it is at least of this function."""
    if not pdu:
        return WrongAnswer(Finding.EMPTY)
    if pdu[0] == fc:
        return None
    if pdu[0] != fc | 0x80:
        return WrongAnswer(Finding.FUNCTION_MISMATCH)
    if len(pdu) != 2:
        return WrongAnswer(Finding.EXCEPTION_LENGTH)
    if pdu[1] not in EXCEPTIONS:
        return WrongAnswer(Finding.EXCEPTION_CODE)
    return DeviceException(fc, pdu[1])
