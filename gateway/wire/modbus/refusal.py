"""Why we say no, in the peer's own words: an exception code, and never more than that.

Policy's reasons are for operators and the record; a caller who may not do a thing learns no more than that
(01 is what Modbus/TCP Security R-31 asks for). 06, 0A and 0B are answers to callers who *were* allowed.
"""

from gateway.model.decision import Why

CODES: dict[Why, int] = {
    Why.NO_ROLE: 0x01,
    Why.UNMAPPED_UNIT: 0x01,
    Why.UNKNOWN_FUNCTION: 0x01,
    Why.DENIED: 0x01,
    Why.ILLEGAL_ADDRESS: 0x02,
    Why.ILLEGAL_VALUE: 0x03,
    Why.NOT_RECORDED: 0x04,
    Why.BUSY: 0x06,
    Why.NO_PATH: 0x0A,
    Why.NO_ANSWER: 0x0B,
}
"Every reason has a row; a test holds this."


def exception(fc: int, why: Why) -> bytes:
    """The exception PDU. A request whose code already has the exception bit gets the same code back."""
    return bytes((fc | 0x80, CODES[why]))
