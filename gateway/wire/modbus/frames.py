"""What the wire layer hands on: requests and answers that are whole and legal, or what they are instead.

Every value is frozen and small. A request or answer that exists is legal by the specification, and
`encode` gives the one sequence of bytes that means it: `encode(read(b)) == b` for every `b` that is
accepted, and no byte of `b` that is not a field goes anywhere (invariant 3).
"""

from struct import Struct as Layout
from typing import ClassVar

from msgspec import Struct

from gateway.model.decision import Why
from gateway.wire.modbus.findings import Finding

ONE = Layout(">BHH")
"Function, address, quantity or value."
MANY = Layout(">BHHB")
"Function, address, quantity, byte count; the data follow."
MASK = Layout(">BHHH")
"Function, address, AND mask, OR mask."
POINTER = Layout(">BH")
"Function, address or sub-function."
BOTH = Layout(">BHHHHB")
"Function, read address and quantity, write address and quantity, byte count; the data follow."


RECORDS = Layout(">BHHH")
"Reference type, file, record, length in registers."
FILE_RECORD = 6
"The only reference type (AP §6.14)."


class Request(Struct, frozen=True, gc=False):
    """One understood request."""

    unit: int
    "As the caller addressed it; it is part of the ADU, not of the PDU."
    fc: int

    writes: ClassVar[bool] = False
    "Whether it writes and reads nothing: the only requests that may be broadcast."

    @property
    def silent(self) -> bool:
        """Nobody need answer.

        A write to unit 0 goes to every device of a serial line, and none of them answers (MODBUS over serial
        line V1.02 §2.1); a device that is itself on TCP may.
        """
        return self.writes and self.unit == 0

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

    writes: ClassVar[bool] = True

    start: int
    word: int
    "As on the wire: a coil is 0x0000 or 0xFF00."

    def encode(self) -> bytes:
        return ONE.pack(self.fc, self.start, self.word)


class WriteSpan(Request, frozen=True, gc=False):
    """FC 15 and 16: write a span of coils or registers."""

    writes: ClassVar[bool] = True

    start: int
    count: int
    data: bytes
    "Coils packed eight to a byte, the first in the lowest bit; registers two bytes each, high byte first."

    def encode(self) -> bytes:
        return MANY.pack(self.fc, self.start, self.count, len(self.data)) + self.data


class MaskOne(Request, frozen=True, gc=False):
    """FC 22: register = (register AND and_mask) OR (or_mask AND NOT and_mask)."""

    writes: ClassVar[bool] = True

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


class ReadFifo(Request, frozen=True, gc=False):
    """FC 24: read the queue that a register points to; the queue's own memory has no address."""

    start: int
    "Of the pointer."

    def encode(self) -> bytes:
        return POINTER.pack(self.fc, self.start)


class AskDevice(Request, frozen=True, gc=False):
    """FC 7, 11, 12 and 17: ask the device about itself; the function code is the whole request."""

    def encode(self) -> bytes:
        return bytes((self.fc,))


class Diagnose(Request, frozen=True, gc=False):
    """FC 8, with one of the sub-functions that only tell or echo."""

    sub: int
    data: bytes
    "Any words for 8/0, which echoes them; two zero bytes for the others."

    def encode(self) -> bytes:
        return POINTER.pack(self.fc, self.sub) + self.data


class FileSpan(Struct, frozen=True, gc=False):
    """A run of records (registers) of one file."""

    file: int
    record: int
    "The first, 0 to 9999."
    count: int
    data: bytes = b""
    "What is written; empty for reads."


class ReadRecords(Request, frozen=True, gc=False):
    """FC 20: read from one or several files."""

    spans: tuple[FileSpan, ...]

    def encode(self) -> bytes:
        groups = [RECORDS.pack(FILE_RECORD, span.file, span.record, span.count) for span in self.spans]
        return bytes((self.fc, 7 * len(groups))) + b"".join(groups)


class WriteRecords(Request, frozen=True, gc=False):
    """FC 21: write into one or several files."""

    writes: ClassVar[bool] = True

    spans: tuple[FileSpan, ...]

    def encode(self) -> bytes:
        groups = b"".join(
            [RECORDS.pack(FILE_RECORD, span.file, span.record, span.count) + span.data for span in self.spans]
        )
        return bytes((self.fc, len(groups))) + groups


class Identify(Request, frozen=True, gc=False):
    """FC 43/14: read identification objects of the device."""

    mei: ClassVar[int] = 0x0E

    code: int
    "1 basic, 2 regular, 3 extended: a stream of objects from `object` on; 4: that one alone."
    object: int

    def encode(self) -> bytes:
        return bytes((self.fc, self.mei, self.code, self.object))


class Canopen(Request, frozen=True, gc=False):
    """FC 43/13: a message for a CANopen bus behind the device. What it does there is not in the bytes."""

    mei: ClassVar[int] = 0x0D

    data: bytes

    def encode(self) -> bytes:
        return bytes((self.fc, self.mei)) + self.data


class Illegal(Struct, frozen=True, gc=False):
    """A request that the specification forbids."""

    fc: int
    why: Why
    "Which exception the specification's chart for the function leads to."
    finding: Finding


class Unsupported(Struct, frozen=True, gc=False):
    """A function that is known by name at most, or one that is never forwarded. Its body leads nowhere."""

    fc: int
    name: str
    finding: Finding | None = None
    "What the specification says against it; null for its own functions, which only we do not forward."
    sub: int | None = None
    "Of FC 8."
    mei: int | None = None
    "Of FC 43."
    silent: bool = False
    "Nobody need answer: a device that is told to listen only (8/4) does not (AP §6.8.1)."


class Answer(Struct, frozen=True, gc=False):
    """A device's answer that fits its request."""

    head: bytes
    "Function and counts, or the whole echo of a write: mostly known from the request."
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
    code: int | None = None
    "Of an exception that has one too many bytes or a code that nobody knows; for those who count exceptions."
