"""What the wire layer hands on: requests and answers that are whole and legal, or what they are instead.

Every value is frozen and small. A request or answer that exists is legal by the specification, and
`encode` gives the one sequence of bytes that means it: `encode(read(b)) == b` for every `b` that is
accepted, and no byte of `b` that is not a field goes anywhere (invariant 3).
"""

from struct import Struct as Layout

from msgspec import Struct

from gateway.model.decision import Why
from gateway.wire.modbus.findings import Finding

ONE = Layout(">BHH")
"Function, address, quantity or value."
MANY = Layout(">BHHB")
"Function, address, quantity, byte count; the data follow."
MASK = Layout(">BHHH")
"Function, address, AND mask, OR mask."
BOTH = Layout(">BHHHHB")
"Function, read address and quantity, write address and quantity, byte count; the data follow."


class Request(Struct, frozen=True, gc=False):
    """One understood request."""

    unit: int
    "As the caller addressed it; it is part of the ADU, not of the PDU."
    fc: int

    def encode(self) -> bytes:
        """The PDU, made from the fields alone."""
        raise NotImplementedError


class ReadSpan(Request, frozen=True, gc=False):
    """FC 1 to 4: read a span of one table."""

    start: int
    count: int

    def encode(self) -> bytes:
        return ONE.pack(self.fc, self.start, self.count)


class WriteOne(Request, frozen=True, gc=False):
    """FC 5 and 6: write one coil or register."""

    start: int
    word: int
    "As on the wire: a coil is 0x0000 or 0xFF00."

    def encode(self) -> bytes:
        return ONE.pack(self.fc, self.start, self.word)


class WriteSpan(Request, frozen=True, gc=False):
    """FC 15 and 16: write a span of coils or registers."""

    start: int
    count: int
    data: bytes
    "Coils packed eight to a byte, the first in the lowest bit; registers two bytes each, high byte first."

    def encode(self) -> bytes:
        return MANY.pack(self.fc, self.start, self.count, len(self.data)) + self.data


class MaskOne(Request, frozen=True, gc=False):
    """FC 22: register = (register AND and_mask) OR (or_mask AND NOT and_mask)."""

    start: int
    and_mask: int
    or_mask: int

    def encode(self) -> bytes:
        return MASK.pack(self.fc, self.start, self.and_mask, self.or_mask)


class WriteThenRead(Request, frozen=True, gc=False):
    """FC 23: write a span of registers, then read one."""

    start: int
    "Of the span to read."
    count: int
    write_start: int
    write_count: int
    data: bytes

    def encode(self) -> bytes:
        head = BOTH.pack(self.fc, self.start, self.count, self.write_start, self.write_count, len(self.data))
        return head + self.data


class Illegal(Struct, frozen=True, gc=False):
    """A request that the specification forbids."""

    fc: int
    why: Why
    "Which exception the specification's chart for the function leads to."
    finding: Finding


class Unsupported(Struct, frozen=True, gc=False):
    """A function that is known by name at most. Its body was not read."""

    fc: int
    name: str


class Answer(Struct, frozen=True, gc=False):
    """A device's answer that fits its request."""

    head: bytes
    "Function and byte count of a read, or the whole echo of a write: all of it known from the request."
    data: bytes = b""
    "What was read; empty for writes."

    def encode(self) -> bytes:
        """The PDU."""
        return self.head + self.data


class DeviceException(Struct, frozen=True, gc=False):
    """The device said no, in two bytes."""

    fc: int
    "Of the request, without the exception bit."
    code: int

    @property
    def data(self) -> bytes:
        """Nothing was read."""
        return b""

    def encode(self) -> bytes:
        """The PDU."""
        return bytes((self.fc | 0x80, self.code))


class WrongAnswer(Struct, frozen=True, gc=False):
    """Something that is no answer to that request; none of it is handed on."""

    finding: Finding
