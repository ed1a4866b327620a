"""THE TABLE: one row for each function that the gateway understands. A missing row is a refusal.

Rows are the only place where a function is described: parser, encoder, meaning, tests and the page
docs/protocols/modbus.md all read them. A code without a row is read as far as its number, named, and refused
(`Unsupported`); its body may be anything, so no policy can allow it (invariant 2). FC 8 and 43 are several
functions under one code: FC 8 has its rows in `diagnostics.SUBFUNCTIONS`, FC 43 in `MEI_TYPES`.

`forwarded` says what policy may allow at all. What is never forwarded is refused before policy is asked.

To add a function: a row here (with a new shape in `bodies.py`, if none fits), its meaning in `meaning.py`
if the request is of a new class, vectors in tests/vectors/modbus, and the page written anew (`reference.py`).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.model.asset import Table
from gateway.model.decision import Why
from gateway.wire.modbus.bodies import (
    Body,
    Fifo,
    MaskRegister,
    ReadBits,
    ReadRegisters,
    WriteBits,
    WriteCoil,
    WriteRegister,
    WriteRegisters,
    WriteThenReadRegisters,
)
from gateway.wire.modbus.checks import Reading
from gateway.wire.modbus.diagnostics import (
    SUBFUNCTIONS,
    Diagnostics,
    EventCounter,
    EventLog,
    ExceptionStatus,
    ServerId,
)
from gateway.wire.modbus.files import ReadFile, WriteFile
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import (
    Answer,
    Canopen,
    DeviceException,
    Diagnose,
    Identify,
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
)
from gateway.wire.modbus.identification import CanopenReference, DeviceIdentification, Transport

__all__ = [
    "FUNCTIONS",
    "MEI_TYPES",
    "Answer",
    "DeviceException",
    "Function",
    "Illegal",
    "Request",
    "Unsupported",
    "WrongAnswer",
    "kind",
    "name",
    "read_answer",
    "read_request",
]


class Forwarded(StrEnum):
    """Whether policy may allow it (DESIGN §5)."""

    BY_GRANT = "by grant"
    SOME = "see below"
    "Its sub-functions say."
    NEVER = "never"


class Function(Struct, frozen=True):
    """One row."""

    code: int
    name: str
    "As in `modbus.<name>`, the kind of its operations."
    body: Body[Any]
    forwarded: Forwarded = Forwarded.BY_GRANT


MEI_TYPES: dict[int, Function] = {
    row.code: row
    for row in (
        Function(0x0D, "canopen_general_reference", CanopenReference(), Forwarded.NEVER),
        Function(0x0E, "read_device_identification", DeviceIdentification()),
    )
}
"FC 43 by MEI type. All others are reserved."

FUNCTIONS: dict[int, Function] = {
    row.code: row
    for row in (
        Function(0x01, "read_coils", ReadBits(Table.COIL, at_most=2000)),
        Function(0x02, "read_discrete_inputs", ReadBits(Table.DISCRETE, at_most=2000)),
        Function(0x03, "read_holding_registers", ReadRegisters(Table.HOLDING, at_most=125)),
        Function(0x04, "read_input_registers", ReadRegisters(Table.INPUT, at_most=125)),
        Function(0x05, "write_single_coil", WriteCoil()),
        Function(0x06, "write_single_register", WriteRegister()),
        Function(0x07, "read_exception_status", ExceptionStatus()),
        Function(0x08, "diagnostics", Diagnostics(), Forwarded.SOME),
        Function(0x0B, "get_comm_event_counter", EventCounter()),
        Function(0x0C, "get_comm_event_log", EventLog()),
        Function(0x0F, "write_multiple_coils", WriteBits(at_most=1968)),
        Function(0x10, "write_multiple_registers", WriteRegisters(at_most=123)),
        Function(0x11, "report_server_id", ServerId()),
        Function(0x14, "read_file_record", ReadFile()),
        Function(0x15, "write_file_record", WriteFile()),
        Function(0x16, "mask_write_register", MaskRegister()),
        Function(
            0x17,
            "read_write_multiple_registers",
            WriteThenReadRegisters(read_at_most=125, write_at_most=121),
        ),
        Function(0x18, "read_fifo_queue", Fifo(at_most=31)),
        Function(
            0x2B,
            "encapsulated_interface_transport",
            Transport({code: row.body for code, row in MEI_TYPES.items()}),
            Forwarded.SOME,
        ),
    )
}


class Category(StrEnum):
    """Whose a function code is (AP §5)."""

    PUBLIC = "public"
    USER = "user"
    RESERVED = "reserved"
    VENDOR = "vendor"
    UNASSIGNED = "unassigned"
    ILLEGAL = "illegal"
    "0, and everything with the exception bit."


NAMED: dict[int, tuple[str, Category]] = {0x5A: ("umas", Category.VENDOR)}
"Functions with a name and no row. UMAS is Schneider's way to program controllers (FC 90)."

RANGES: tuple[tuple[range, Category], ...] = (
    (range(1), Category.ILLEGAL),
    (range(0x80, 0x100), Category.ILLEGAL),
    (range(65, 73), Category.USER),
    (range(100, 111), Category.USER),
    *((range(code, code + 1), Category.RESERVED) for code in (9, 10, 13, 14, 41, 42, 91, 125, 126, 127)),
)
"Codes without a name of their own (AP §5.1, annex A); whatever is in none of these is unassigned."


FOUND: dict[Category, Finding] = {
    Category.USER: Finding.USER_FUNCTION,
    Category.RESERVED: Finding.RESERVED_FUNCTION,
    Category.VENDOR: Finding.VENDOR_FUNCTION,
    Category.UNASSIGNED: Finding.UNASSIGNED_FUNCTION,
    Category.ILLEGAL: Finding.ILLEGAL_FUNCTION,
}
"What a request with a code of that category is called. Codes without a row are never forwarded."


def category(code: int) -> Category:
    """Whose the code is."""
    if code in FUNCTIONS:
        return Category.PUBLIC
    if code in NAMED:
        return NAMED[code][1]
    return next((kind for codes, kind in RANGES if code in codes), Category.UNASSIGNED)


def _name(code: int) -> str:
    if code in FUNCTIONS:
        return FUNCTIONS[code].name
    return NAMED[code][0] if code in NAMED else f"{category(code)}_{code}"


_NAMES = tuple(_name(code) for code in range(256))
_UNSUPPORTED = {
    code: Unsupported(code, _NAMES[code], FOUND[category(code)])
    for code in range(1, 0x80)
    if code not in FUNCTIONS
}
_REQUESTS: dict[int, Callable[[int, bytes], Request | Illegal | Unsupported]] = {
    row.code: row.body.request for row in FUNCTIONS.values()
}
_ANSWERS: dict[int, Callable[[Any, bytes], Reading]] = {
    row.code: row.body.answer for row in FUNCTIONS.values()
}


def name(code: int) -> str:
    """What any code from 0 to 255 is called, in records and in the kind of an operation."""
    return _NAMES[code]


def kind(request: Request) -> str:
    """The kind of a request's operations: the name of its row, or of its sub-function's."""
    if isinstance(request, Diagnose):
        return f"modbus.diagnostics.{SUBFUNCTIONS[request.sub].name}"
    if isinstance(request, Identify | Canopen):
        return f"modbus.{MEI_TYPES[request.mei].name}"
    return f"modbus.{_NAMES[request.fc]}"


def read_request(unit: int, pdu: bytes) -> Request | Illegal | Unsupported:
    """What a client asks for. Never raises, whatever the bytes are."""
    read = _REQUESTS.get(pdu[0]) if pdu else None
    if read is not None:
        return read(unit, pdu)
    if not pdu:
        return Illegal(0, Why.UNKNOWN_FUNCTION, Finding.EMPTY)
    code = pdu[0]
    if category(code) is Category.ILLEGAL:
        return Illegal(code, Why.UNKNOWN_FUNCTION, Finding.ILLEGAL_FUNCTION)
    return _UNSUPPORTED[code]


def read_answer(request: Request, pdu: bytes) -> Answer | DeviceException | WrongAnswer:
    """What a device answered to that request. Never raises, whatever the bytes are."""
    return _ANSWERS[request.fc](request, pdu)
