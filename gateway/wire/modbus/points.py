"""Tags and the registers that hold them: raw number ⇄ engineering value ⇄ quanta.

    raw      what the registers say, read by type, bit, byte and word order
    value    raw × scale + offset: see `wire.quanta`, which knows no protocol

Byte and word order (A is the most significant byte of the value, as the registers come on the wire):

    byte big,    word big      ABCD      byte little, word big      BADC
    byte big,    word little   CDAB      byte little, word little   DCBA
"""

from math import isfinite
from struct import Struct as Layout

from gateway.model.asset import REGISTERS, DataType, Order, Table, Tag
from gateway.model.sample import Value
from gateway.wire.quanta import MOST_QUANTA, fraction, quanta, quanta_of_raw, rounded, scaled

__all__ = ["BITS", "MOST_QUANTA", "decode", "quanta", "quanta_of_raw", "raw", "register", "rounded", "word"]

BITS = frozenset({Table.COIL, Table.DISCRETE})
"Tables whose addresses hold one bit; packed eight to a byte, the first in the lowest bit (AP §6.1)."
_CODES: dict[DataType, str] = {
    DataType.BOOL: "H",
    DataType.INT16: "h",
    DataType.UINT16: "H",
    DataType.INT32: "i",
    DataType.UINT32: "I",
    DataType.INT64: "q",
    DataType.UINT64: "Q",
    DataType.FLOAT32: "f",
    DataType.FLOAT64: "d",
}
_LAYOUTS: dict[tuple[DataType, Order], Layout] = {
    (kind, order): Layout((">" if order is Order.BIG else "<") + code)
    for kind, code in _CODES.items()
    for order in Order
}


def raw(tag: Tag, data: bytes, first: int, table: Table) -> Value | None:
    """The number in the registers (or coils) `data`, which begin at address `first` of `table`.

    None if they do not hold the whole tag, or the tag makes no sense there (a number in a coil, a BOOL in a
    register without its bit). Coils come in whole bytes: whoever asks for a tag beyond the span that was read
    is told the padding, so ask only for tags inside it.
    """
    if tag.table is not table:
        return None
    at = tag.address - first
    if table in BITS:
        if tag.type is not DataType.BOOL or not 0 <= at < 8 * len(data):
            return None
        return bool(data[at >> 3] >> (at & 7) & 1)
    end = 2 * (at + REGISTERS[tag.type])
    if at < 0 or end > len(data):
        return None
    octets = data[2 * at : end]
    if tag.byte_order is not tag.word_order:
        octets = _swapped(octets)
    number: int | float = _LAYOUTS[tag.type, tag.word_order].unpack(octets)[0]
    if tag.type is not DataType.BOOL:
        return number
    return None if tag.bit is None else bool(int(number) >> tag.bit & 1)


def decode(tag: Tag, data: bytes, first: int, table: Table) -> Value | None:
    """The tag's engineering value (see `raw`); None also where it is not a finite number."""
    number = raw(tag, data, first, table)
    if number is None or isinstance(number, bool):
        return number
    value = scaled(tag, number)
    return value if isfinite(value) else None


def register(tag: Tag, q: int) -> int | None:
    """The one 16-bit register value, as on the wire, that has these quanta; None if several have, or none.

    Only for INT16 and UINT16: what a mask write needs to know about the register it changes.
    """
    if tag.type not in (DataType.INT16, DataType.UINT16) or not tag.scale:
        return None
    try:
        number = round((q * fraction(tag.resolution) - fraction(tag.offset)) / fraction(tag.scale))
    except (ValueError, OverflowError):
        return None
    near = [n for n in (number - 1, number, number + 1) if quanta_of_raw(tag, n) == q]
    least, most = (-32_768, 32_767) if tag.type is DataType.INT16 else (0, 65_535)
    if near != [number] or not least <= number <= most:
        return None
    return word(tag, number & 0xFFFF)


def word(tag: Tag, on_wire: int) -> int:
    """A single register between wire and the tag's byte order; its own inverse."""
    return on_wire if tag.byte_order is Order.BIG else (on_wire & 0xFF) << 8 | on_wire >> 8


def _swapped(octets: bytes) -> bytes:
    """The two bytes of each register change places."""
    swapped = bytearray(octets)
    swapped[0::2], swapped[1::2] = octets[1::2], octets[0::2]
    return bytes(swapped)
