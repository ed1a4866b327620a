"""The layouts that rows of the table are made of: one class for each shape of function on the four tables.

Functions about the device itself, its files and its identification are in `diagnostics`, `files` and
`identification`, of the same kind.

Each parses a request, judges it in the order of the specification's chart for its functions, and checks an
answer against its request. The charts say: function (01), then quantity or value (03), then address +
quantity (02). The general figure 9 of AP shows address before value; the charts are per function.

Strict in both directions: every byte is a field, and no field lies. A PDU with bytes left over is refused,
never trimmed. A compromised client could hide a second ADU there, or a compromised device could talk through
pad bits.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from gateway.model.asset import Table
from gateway.model.decision import Why
from gateway.wire.modbus.checks import (
    COUNTED,
    Reading,
    echo,
    fixed,
    misfit,
    no_data,
    pad_bits,
    registers,
    wrong_data,
    wrong_length,
    wrong_quantity,
)
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import (
    BOTH,
    MANY,
    MASK,
    ONE,
    POINTER,
    Answer,
    Illegal,
    MaskOne,
    ReadFifo,
    ReadSpan,
    Request,
    Unsupported,
    WriteOne,
    WriteSpan,
    WriteThenRead,
    WrongAnswer,
)

ADDRESSES = 65_536
"Each table has addresses 0 to 65535 (AP §4.4)."
COIL_WORDS = frozenset({0x0000, 0xFF00})
"AP §6.5: off and on; everything else is illegal."
R = TypeVar("R", bound=Request)


class Body(ABC, Generic[R]):
    """What the bytes of one function are."""

    table: Table | None = None
    "Which table it reads or writes; none where it is about the device, or about files."
    request_layout: str
    answer_layout: str
    limits: str

    @abstractmethod
    def request(self, unit: int, pdu: bytes) -> R | Illegal | Unsupported:
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
            return misfit(pdu, 5)
        fc, start, count = ONE.unpack(pdu)
        if not 0 < count <= self.at_most:
            return Illegal(fc, Why.ILLEGAL_VALUE, wrong_quantity(count))
        if start + count > ADDRESSES:
            return Illegal(fc, Why.ILLEGAL_ADDRESS, Finding.ADDRESS_OVERFLOW)
        return ReadSpan(unit, fc, start, count)

    def answer(self, request: ReadSpan, pdu: bytes) -> Reading:
        return registers(request.fc, request.count, pdu)


class ReadBits(ReadRegisters):
    """FC 1 and 2."""

    answer_layout = "byte count 1, data ⌈quantity / 8⌉, unused bits zero"

    def answer(self, request: ReadSpan, pdu: bytes) -> Reading:
        fc, count = request.fc, request.count
        size = (count + 7) >> 3
        if len(pdu) != size + 2 or pdu[0] != fc or pdu[1] != size:
            return no_data(fc, size, pdu)
        if pad_bits(count, pdu[-1]):
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
            return misfit(pdu, 5)
        return WriteOne(unit, *ONE.unpack(pdu))

    def answer(self, request: WriteOne, pdu: bytes) -> Reading:
        return echo(request.fc, request.encode(), pdu)


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
            return misfit(pdu, 6)
        fc, start, count, counted = MANY.unpack_from(pdu)
        data = pdu[6:]
        wrong = wrong_data(count, self.at_most, counted, self.size(count), len(data))
        if wrong is None and self.pad_bits(count, data):
            wrong = Finding.PAD_BITS
        if wrong is not None:
            return Illegal(fc, Why.ILLEGAL_VALUE, wrong)
        if start + count > ADDRESSES:
            return Illegal(fc, Why.ILLEGAL_ADDRESS, Finding.ADDRESS_OVERFLOW)
        return WriteSpan(unit, fc, start, count, data)

    def answer(self, request: WriteSpan, pdu: bytes) -> Reading:
        return echo(request.fc, ONE.pack(request.fc, request.start, request.count), pdu)

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
        return pad_bits(count, data[-1])


class MaskRegister(Body[MaskOne]):
    """FC 22. Its chart checks the address first, but no single address is illegal by itself."""

    table = Table.HOLDING
    request_layout = "address 2, AND mask 2, OR mask 2"
    answer_layout = "the same again"
    limits = "–"

    def request(self, unit: int, pdu: bytes) -> MaskOne | Illegal:
        if len(pdu) != 7:
            return misfit(pdu, 7)
        return MaskOne(unit, *MASK.unpack(pdu))

    def answer(self, request: MaskOne, pdu: bytes) -> Reading:
        return echo(request.fc, request.encode(), pdu)


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
            return misfit(pdu, 10)
        fc, start, count, write_start, write_count, counted = BOTH.unpack_from(pdu)
        data = pdu[10:]
        wrong: Finding | None = wrong_quantity(count)
        if 0 < count <= self.read_at_most:
            wrong = wrong_data(write_count, self.write_at_most, counted, 2 * write_count, len(data))
        if wrong is not None:
            return Illegal(fc, Why.ILLEGAL_VALUE, wrong)
        if start + count > ADDRESSES or write_start + write_count > ADDRESSES:
            return Illegal(fc, Why.ILLEGAL_ADDRESS, Finding.ADDRESS_OVERFLOW)
        return WriteThenRead(unit, fc, start, count, write_start, write_count, data)

    def answer(self, request: WriteThenRead, pdu: bytes) -> Reading:
        return registers(request.fc, request.count, pdu)


class Fifo(Body[ReadFifo]):
    """FC 24. The answer says how many registers were in the queue, in two ways that must agree."""

    table = Table.HOLDING
    request_layout = "FIFO pointer address 2"
    answer_layout = "byte count 2, FIFO count 2, data 2 × FIFO count"

    def __init__(self, *, at_most: int) -> None:
        self.at_most = at_most
        self.limits = f"FIFO count 0..{at_most}"

    def request(self, unit: int, pdu: bytes) -> ReadFifo | Illegal:
        if len(pdu) != 3:
            return misfit(pdu, 3)
        return ReadFifo(unit, *POINTER.unpack(pdu))

    def answer(self, request: ReadFifo, pdu: bytes) -> Reading:
        other = fixed(request.fc, pdu, max(len(pdu), 5))
        if other is not None:
            return other
        _, counted, count = ONE.unpack_from(pdu)
        if count > self.at_most or counted != 2 * count + 2:
            return WrongAnswer(Finding.FIFO_COUNT)
        wrong = wrong_length(counted, len(pdu) - 3)
        return Answer(pdu[:5], pdu[5:]) if wrong is None else WrongAnswer(wrong)
