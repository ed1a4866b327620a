"""The names of what a peer can do against the protocol: the same in records, metrics, tests and docs.

One list, in the groups of DESIGN §5's check list. A finding of the groups framing, function, request,
transaction and response is about one ADU and says that it breaks the specification. A finding of the group
behaviour is about what many ADUs add up to, each of them perhaps legal; `behaviour.py` gives those.
"""

from enum import StrEnum

from msgspec import Struct


class Finding(StrEnum):
    """One thing found. What each means is in `FINDINGS`."""

    PROTOCOL_ID = "protocol_id"
    LENGTH_RANGE = "length_range"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    LENGTH_VS_FUNCTION = "length_vs_function"
    TRAILING_BYTES = "trailing_bytes"
    CRC = "crc"
    LINE_ECHO = "line_echo"

    ILLEGAL_FUNCTION = "illegal_function"
    UNASSIGNED_FUNCTION = "unassigned_function"
    USER_FUNCTION = "user_function"
    RESERVED_FUNCTION = "reserved_function"
    VENDOR_FUNCTION = "vendor_function"
    DIAG_SUB_RESERVED = "diag_sub_reserved"
    MEI_TYPE_RESERVED = "mei_type_reserved"

    QUANTITY_ZERO = "quantity_zero"
    QUANTITY_OVER = "quantity_over"
    BYTE_COUNT_VS_QUANTITY = "byte_count_vs_quantity"
    BYTE_COUNT_VS_LENGTH = "byte_count_vs_length"
    ADDRESS_OVERFLOW = "address_overflow"
    COIL_VALUE = "coil_value"
    PAD_BITS = "pad_bits"
    DIAG_DATA = "diag_data"
    MEI_READ_CODE = "mei_read_code"
    FILE_REF_TYPE = "file_ref_type"
    FILE_NUMBER_ZERO = "file_number_zero"
    FILE_RECORD_RANGE = "file_record_range"

    DUPLICATE_TID_OUTSTANDING = "duplicate_tid_outstanding"
    TOO_MANY_OUTSTANDING = "too_many_outstanding"
    UNSOLICITED = "unsolicited"
    UNIT_MISMATCH = "unit_mismatch"
    FUNCTION_MISMATCH = "function_mismatch"
    LATE_RESPONSE = "late_response"

    BYTE_COUNT_VS_REQUEST = "byte_count_vs_request"
    ECHO_MISMATCH = "echo_mismatch"
    FIFO_COUNT = "fifo_count"
    EVENT_STATUS = "event_status"
    DEVICE_ID_FIELDS = "device_id_fields"
    EXCEPTION_CODE_UNKNOWN = "exception_code_unknown"
    EXCEPTION_LENGTH = "exception_length"

    FUNCTION_SCAN = "function_scan"
    ADDRESS_SCAN = "address_scan"
    UNIT_SCAN = "unit_scan"
    EXCEPTION_RATE = "exception_rate"
    BUSY_STORM = "busy_storm"
    MULTI_ADU_RATE = "multi_adu_rate"
    WRITE_RATE = "write_rate"
    VALUE_DELTA = "value_delta"
    VALUE_RANGE = "value_range"
    BROADCAST_WRITE = "broadcast_write"
    LISTEN_ONLY = "listen_only"
    RESTART = "restart"
    CLEAR_COUNTERS = "clear_counters"
    DEVICE_ID_RECON = "device_id_recon"


class Group(StrEnum):
    """What a finding is about."""

    FRAMING = "framing"
    FUNCTION = "function"
    REQUEST = "request"
    TRANSACTION = "transaction"
    RESPONSE = "response"
    BEHAVIOUR = "behaviour"


class Severity(StrEnum):
    """How much a person should care, whatever was decided."""

    NOTICE = "notice"
    "Sloppy or curious; devices and tools in daily use do this."
    WARNING = "warning"
    "Breaks the specification, or is no ordinary traffic."
    ALARM = "alarm"
    "Room for an attack, or the thing itself."


class About(Struct, frozen=True):
    """One row."""

    group: Group
    severity: Severity
    means: str


def _rows(group: Group, *rows: tuple[Finding, Severity, str]) -> dict[Finding, About]:
    return {finding: About(group, severity, means) for finding, severity, means in rows}


_NOTICE, _WARNING, _ALARM = Severity.NOTICE, Severity.WARNING, Severity.ALARM

FINDINGS: dict[Finding, About] = {
    **_rows(
        Group.FRAMING,
        (Finding.PROTOCOL_ID, _ALARM, "MBAP protocol id is not 0 (MG §3.1.3); framing is lost"),
        (Finding.LENGTH_RANGE, _ALARM, "MBAP length outside 2..254 (MG §3.1.3, AP §4.1); framing is lost"),
        (Finding.TRUNCATED, _WARNING, "an ADU was begun and its rest did not come"),
        (Finding.EMPTY, _WARNING, "a PDU without a function code"),
        (Finding.LENGTH_VS_FUNCTION, _WARNING, "fewer bytes than the function takes"),
        (Finding.TRAILING_BYTES, _ALARM, "more bytes than the function takes: room for a smuggled ADU"),
        (
            Finding.CRC,
            _WARNING,
            "an RTU frame whose checksum is not that of its bytes (Serial Line §2.5.1)",
        ),
        (Finding.LINE_ECHO, _WARNING, "a line with the quirk `echo` did not give back what was sent"),
    ),
    **_rows(
        Group.FUNCTION,
        (Finding.ILLEGAL_FUNCTION, _WARNING, "function code 0 or ≥ 0x80 in a request (AP §4.1)"),
        (Finding.UNASSIGNED_FUNCTION, _WARNING, "a function code that AP §5.1 gives to nobody"),
        (Finding.USER_FUNCTION, _WARNING, "a user-defined function code: 65..72, 100..110"),
        (Finding.RESERVED_FUNCTION, _WARNING, "a function code reserved for old products (AP annex A)"),
        (Finding.VENDOR_FUNCTION, _ALARM, "a vendor's way to program controllers, as UMAS (90)"),
        (Finding.DIAG_SUB_RESERVED, _WARNING, "a reserved diagnostics sub-function (AP §6.8)"),
        (Finding.MEI_TYPE_RESERVED, _WARNING, "an MEI type other than 13 and 14 (AP §6.19)"),
    ),
    **_rows(
        Group.REQUEST,
        (Finding.QUANTITY_ZERO, _WARNING, "a quantity or record length of zero"),
        (Finding.QUANTITY_OVER, _WARNING, "quantity over the function's limit, or its answer over a PDU's"),
        (Finding.BYTE_COUNT_VS_QUANTITY, _WARNING, "byte count is not what the quantity needs"),
        (Finding.BYTE_COUNT_VS_LENGTH, _WARNING, "byte count is not the number of bytes that are there"),
        (Finding.ADDRESS_OVERFLOW, _WARNING, "address + quantity goes beyond 65536"),
        (Finding.COIL_VALUE, _WARNING, "coil value neither 0x0000 nor 0xFF00 (AP §6.5)"),
        (Finding.PAD_BITS, _WARNING, "unused bits of the last byte are not zero: a covert channel"),
        (Finding.DIAG_DATA, _WARNING, "diagnostics data other than the sub-function's (AP §6.8.1)"),
        (Finding.MEI_READ_CODE, _WARNING, "read device id code outside 1..4 (AP §6.21)"),
        (Finding.FILE_REF_TYPE, _WARNING, "reference type of a file record is not 6 (AP §6.14, §6.15)"),
        (Finding.FILE_NUMBER_ZERO, _WARNING, "file number 0 (AP §6.14, §6.15)"),
        (Finding.FILE_RECORD_RANGE, _WARNING, "record number + length goes beyond record 9999"),
    ),
    **_rows(
        Group.TRANSACTION,
        (
            Finding.DUPLICATE_TID_OUTSTANDING,
            _WARNING,
            "a transaction id is used again before its answer (MG §4.4.1.2)",
        ),
        (
            Finding.TOO_MANY_OUTSTANDING,
            _NOTICE,
            "more requests unanswered than a server need take (MG §4.4.1.3)",
        ),
        (Finding.UNSOLICITED, _ALARM, "an answer that no request waits for; discarded (MG §4.4.1.4)"),
        (Finding.UNIT_MISMATCH, _ALARM, "the answer is of another unit than the request"),
        (Finding.FUNCTION_MISMATCH, _ALARM, "the answer is of another function than the request"),
        (Finding.LATE_RESPONSE, _NOTICE, "the answer came after the asker had given up"),
    ),
    **_rows(
        Group.RESPONSE,
        (Finding.BYTE_COUNT_VS_REQUEST, _WARNING, "the answer's counts are not what the request asked for"),
        (Finding.ECHO_MISMATCH, _WARNING, "the answer does not repeat the request as it must"),
        (Finding.FIFO_COUNT, _WARNING, "a FIFO count over 31, or not what the byte count says (AP §6.18)"),
        (
            Finding.EVENT_STATUS,
            _WARNING,
            "a status word of FC 11 or 12 other than 0x0000 and 0xFFFF (AP §6.9)",
        ),
        (Finding.DEVICE_ID_FIELDS, _WARNING, "fields of a device identification that AP §6.21 does not know"),
        (Finding.EXCEPTION_CODE_UNKNOWN, _WARNING, "an exception code that AP §7 does not know"),
        (Finding.EXCEPTION_LENGTH, _WARNING, "an exception that is not exactly two bytes long"),
    ),
    **_rows(
        Group.BEHAVIOUR,
        (
            Finding.FUNCTION_SCAN,
            _ALARM,
            "many functions tried, or many answers 01: somebody looks for functions",
        ),
        (Finding.ADDRESS_SCAN, _ALARM, "many spans tried, or many answers 02: somebody maps the registers"),
        (Finding.UNIT_SCAN, _ALARM, "many unit numbers tried: somebody looks for devices"),
        (Finding.EXCEPTION_RATE, _WARNING, "many exceptions: a wrong client, a sick device, or a search"),
        (Finding.BUSY_STORM, _WARNING, "many answers 05 or 06: the device cannot keep up"),
        (Finding.MULTI_ADU_RATE, _NOTICE, "many segments with several ADUs; few devices bear that"),
        (Finding.WRITE_RATE, _ALARM, "many writes"),
        (Finding.VALUE_DELTA, _ALARM, "a write moves a tag far from where it was last polled"),
        (Finding.VALUE_RANGE, _ALARM, "a write puts a tag outside its sensible range"),
        (Finding.BROADCAST_WRITE, _ALARM, "a write to unit 0: every device of a line, and none answers"),
        (Finding.LISTEN_ONLY, _ALARM, "FC 8/4: the device would fall silent until it is restarted"),
        (Finding.RESTART, _ALARM, "FC 8/1: the device would restart its communications"),
        (
            Finding.CLEAR_COUNTERS,
            _WARNING,
            "FC 8/10 or 8/20: counters that tell of an attack would be cleared",
        ),
        (Finding.DEVICE_ID_RECON, _NOTICE, "FC 17 or 43/14: somebody asks what the device is"),
    ),
}
