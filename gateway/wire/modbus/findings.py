"""The names of what a peer can do against the protocol: the same in records, metrics, tests and docs."""

from enum import StrEnum


class Finding(StrEnum):
    """One way of breaking the specification. What each means is in `MEANS`."""

    PROTOCOL_ID = "protocol_id"
    LENGTH_RANGE = "length_range"
    EMPTY = "empty"
    ILLEGAL_FUNCTION = "illegal_function"
    LENGTH_VS_FUNCTION = "length_vs_function"
    TRAILING_BYTES = "trailing_bytes"
    QUANTITY = "quantity"
    BYTE_COUNT_VS_QUANTITY = "byte_count_vs_quantity"
    BYTE_COUNT_VS_LENGTH = "byte_count_vs_length"
    COIL_VALUE = "coil_value"
    PAD_BITS = "pad_bits"
    ADDRESS_OVERFLOW = "address_overflow"
    FUNCTION_MISMATCH = "function_mismatch"
    BYTE_COUNT_VS_REQUEST = "byte_count_vs_request"
    ECHO_MISMATCH = "echo_mismatch"
    EXCEPTION_CODE = "exception_code"
    EXCEPTION_LENGTH = "exception_length"


MEANS: dict[Finding, str] = {
    Finding.PROTOCOL_ID: "MBAP protocol id is not 0 (MG §3.1.3); framing is lost",
    Finding.LENGTH_RANGE: "MBAP length outside 2..254 (MG §3.1.3, AP §4.1); framing is lost",
    Finding.EMPTY: "a PDU without a function code",
    Finding.ILLEGAL_FUNCTION: "function code 0 or ≥ 0x80 in a request (AP §4.1)",
    Finding.LENGTH_VS_FUNCTION: "fewer bytes than the function takes",
    Finding.TRAILING_BYTES: "more bytes than the function takes: room for a smuggled ADU",
    Finding.QUANTITY: "quantity zero or over the function's limit",
    Finding.BYTE_COUNT_VS_QUANTITY: "byte count is not what the quantity needs",
    Finding.BYTE_COUNT_VS_LENGTH: "byte count is not the number of bytes that are there",
    Finding.COIL_VALUE: "coil value neither 0x0000 nor 0xFF00 (AP §6.5)",
    Finding.PAD_BITS: "unused bits of the last byte are not zero: a covert channel",
    Finding.ADDRESS_OVERFLOW: "address + quantity goes beyond 65536",
    Finding.FUNCTION_MISMATCH: "the answer is of another function than the request",
    Finding.BYTE_COUNT_VS_REQUEST: "the answer's byte count is not what the request asked for",
    Finding.ECHO_MISMATCH: "the answer does not repeat the request as it must",
    Finding.EXCEPTION_CODE: "an exception code that AP §7 does not know",
    Finding.EXCEPTION_LENGTH: "an exception that is not exactly two bytes long",
}
