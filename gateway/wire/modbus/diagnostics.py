"""Functions about the device itself: status, counters, its event log, what it is. Rows of the table.

The specification has them for serial lines; devices and gateways answer them on TCP all the same. Most ask
only (FC 7, 11, 12, 17). FC 8 has sub-functions that restart the device's communications, silence it, or wipe
the counters that would tell of an attack; `SUBFUNCTIONS` says which of them are ever forwarded.
"""

from msgspec import Struct

from gateway.model.decision import Why
from gateway.wire.modbus.bodies import Body
from gateway.wire.modbus.checks import Reading, counted, echo, fixed, misfit
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import POINTER, Answer, AskDevice, Diagnose, Illegal, Unsupported, WrongAnswer

NO_DATA = b"\0\0"
"What a sub-function without data takes (AP §6.8.1)."
STATUS = (b"\0\0", b"\xff\xff")
"AP §6.9: a program command is being processed, or none."
MOST_EVENTS = 64
"AP §6.10."
LOG_HEAD = 6
"Bytes of an event log before its events: status, event count, message count."


class SubFunction(Struct, frozen=True):
    """One row of FC 8."""

    sub: int
    name: str
    data: tuple[bytes, ...] = (NO_DATA,)
    "What the data may be; empty: any words."
    forwarded: bool = False
    silent: bool = False
    "A device that does it does not answer."
    does: Finding | None = None
    "What people are told when somebody asks for it."

    def wrong_data(self, data: bytes) -> Finding | None:
        """What is wrong with the data of a request, which has at least one word."""
        if self.data:
            if len(data) > 2:
                return Finding.TRAILING_BYTES
            return None if data in self.data else Finding.DIAG_DATA
        return Finding.TRAILING_BYTES if len(data) % 2 else None


_COUNTERS = (
    "bus_message_count",
    "bus_communication_error_count",
    "bus_exception_error_count",
    "server_message_count",
    "server_no_response_count",
    "server_nak_count",
    "server_busy_count",
    "bus_character_overrun_count",
)
"8/11 to 8/18."

SUBFUNCTIONS: dict[int, SubFunction] = {
    row.sub: row
    for row in (
        SubFunction(0, "return_query_data", data=(), forwarded=True),
        SubFunction(1, "restart_communications", data=(NO_DATA, b"\xff\0"), does=Finding.RESTART),
        SubFunction(2, "return_diagnostic_register", forwarded=True),
        SubFunction(
            3, "change_ascii_delimiter", data=tuple(bytes((character, 0)) for character in range(256))
        ),
        SubFunction(4, "force_listen_only", silent=True, does=Finding.LISTEN_ONLY),
        SubFunction(10, "clear_counters", does=Finding.CLEAR_COUNTERS),
        *(SubFunction(sub, f"return_{name}", forwarded=True) for sub, name in enumerate(_COUNTERS, 11)),
        SubFunction(20, "clear_overrun_counter", does=Finding.CLEAR_COUNTERS),
    )
}
"AP §6.8.1. All others (5 to 9, 19, 21 and up) are reserved."


class Diagnostics(Body[Diagnose]):
    """FC 8."""

    request_layout = "sub-function 2, data 2 × n"
    answer_layout = "sub-function 2, data 2 (8/0: the same again)"
    limits = "data 0x0000; 8/0: any words"

    def request(self, unit: int, pdu: bytes) -> Diagnose | Illegal | Unsupported:
        if len(pdu) < 3:
            return misfit(pdu, 3)
        fc, sub = POINTER.unpack_from(pdu)
        row = SUBFUNCTIONS.get(sub)
        if row is None:
            return Unsupported(fc, f"diagnostics.reserved_{sub}", Finding.DIAG_SUB_RESERVED, sub=sub)
        data = pdu[3:]
        wrong = row.wrong_data(data) if len(data) > 1 else Finding.LENGTH_VS_FUNCTION
        if not row.forwarded:
            return Unsupported(fc, f"diagnostics.{row.name}", wrong, sub=sub, silent=row.silent)
        if wrong is not None:
            return Illegal(fc, Why.ILLEGAL_VALUE, wrong)
        return Diagnose(unit, fc, sub, data)

    def answer(self, request: Diagnose, pdu: bytes) -> Reading:
        if not SUBFUNCTIONS[request.sub].data:
            return echo(request.fc, request.encode(), pdu)
        other = fixed(request.fc, pdu, 5)
        if other is not None:
            return other
        head = POINTER.pack(request.fc, request.sub)
        return Answer(head, pdu[3:]) if pdu.startswith(head) else WrongAnswer(Finding.ECHO_MISMATCH)


class Ask(Body[AskDevice]):
    """A function without fields; what differs is the answer."""

    request_layout = "–"
    limits = "–"

    def request(self, unit: int, pdu: bytes) -> AskDevice | Illegal:
        return AskDevice(unit, pdu[0]) if len(pdu) == 1 else misfit(pdu, 1)


class ExceptionStatus(Ask):
    """FC 7: eight coils that the device chooses."""

    answer_layout = "status 1"

    def answer(self, request: AskDevice, pdu: bytes) -> Reading:
        return fixed(request.fc, pdu, 2) or Answer(pdu[:1], pdu[1:])


class EventCounter(Ask):
    """FC 11."""

    answer_layout = "status 2, event count 2"
    limits = "status 0x0000 or 0xFFFF"

    def answer(self, request: AskDevice, pdu: bytes) -> Reading:
        other = fixed(request.fc, pdu, 5)
        if other is not None:
            return other
        return Answer(pdu[:1], pdu[1:]) if pdu[1:3] in STATUS else WrongAnswer(Finding.EVENT_STATUS)


class EventLog(Ask):
    """FC 12."""

    answer_layout = "byte count 1, status 2, event count 2, message count 2, events"
    limits = f"status 0x0000 or 0xFFFF, events 0..{MOST_EVENTS}"

    def answer(self, request: AskDevice, pdu: bytes) -> Reading:
        other = counted(request.fc, pdu, LOG_HEAD, LOG_HEAD + MOST_EVENTS)
        if other is not None:
            return other
        return Answer(pdu[:2], pdu[2:]) if pdu[2:4] in STATUS else WrongAnswer(Finding.EVENT_STATUS)


class ServerId(Ask):
    """FC 17. How long the id is, and so where its run indicator stands, only the device's manual says."""

    answer_layout = "byte count 1, server id, run indicator 1, additional data"
    limits = "byte count 1..251"

    def answer(self, request: AskDevice, pdu: bytes) -> Reading:
        return counted(request.fc, pdu, 1, 251) or Answer(pdu[:2], pdu[2:])
