"""RTU frames: Modbus on serial lines, and in TCP connections to converters that do not translate.

A frame is a unit, a PDU and a checksum (MODBUS over Serial Line V1.02 §2.5.1):

    unit 1 | PDU 1 to 253 | CRC-16 2, low byte first

There is no length and no transaction id. On a line silence ends a frame; through a kernel, a USB adapter or a
TCP connection that silence is not to be seen. So an answer ends where its own layout says, and a reader lives
for one exchange: it knows what was asked, and everything else is malformed. After a fault there is no way to
tell where a frame begins: nothing more is read from that exchange, and whoever owns the line waits until it
is silent.
"""

from collections.abc import Callable

from gateway.wire.modbus.findings import Finding

MOST_FRAME = 256
"Serial Line V1.02 §2.5.1."
MOST_PDU = MOST_FRAME - 3
UNITS = range(1, 248)
"Units that answer. 0 is a broadcast, which nobody answers and which is never sent; 248 to 255 are reserved."


def _table() -> tuple[int, ...]:
    def entry(byte: int) -> int:
        for _ in range(8):
            byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
        return byte

    return tuple(entry(byte) for byte in range(256))


_CRC = _table()


def crc(data: bytes) -> bytes:
    """The checksum of those bytes, as it follows them on the line (Serial Line V1.02 §6.2.2)."""
    found = 0xFFFF
    for byte in data:
        found = found >> 8 ^ _CRC[(found ^ byte) & 0xFF]
    return found.to_bytes(2, "little")


def frame(unit: int, pdu: bytes) -> bytes:
    """A request on the line. ValueError for a broadcast, a reserved unit, or what is no PDU."""
    if unit not in UNITS:
        raise ValueError(f"unit {unit} cannot be asked on a serial line")
    if not 1 <= len(pdu) <= MOST_PDU:
        raise ValueError("a PDU has 1 to 253 bytes")
    body = bytes((unit,)) + pdu
    return body + crc(body)


# where an answer ends ----------------------------------------------------------------------------

Size = Callable[[bytes], int | None]
"Beginning of the answer's PDU → its length, or None while that cannot be told."


def _fixed(size: int) -> Size:
    return lambda _: size


def _counted(begun: bytes) -> int | None:
    """A byte count follows the function."""
    return 2 + begun[1] if len(begun) > 1 else None


def _counted_wide(begun: bytes) -> int | None:
    """A byte count of two bytes follows the function (AP §6.18)."""
    return 3 + int.from_bytes(begun[1:3]) if len(begun) > 2 else None


def _objects(begun: bytes) -> int | None:
    """Objects of a length of their own behind a head of 7 (AP §6.21)."""
    at = 7
    if len(begun) < at:
        return None
    for _ in range(begun[6]):
        if len(begun) < at + 2:
            return at + 2 if at + 2 > MOST_PDU else None
        at += 2 + begun[at + 1]
    return at


SIZES: dict[int, Size | None] = {
    0x01: _counted,
    0x02: _counted,
    0x03: _counted,
    0x04: _counted,
    0x05: _fixed(5),
    0x06: _fixed(5),
    0x07: _fixed(2),
    0x08: None,
    0x0B: _fixed(5),
    0x0C: _counted,
    0x0F: _fixed(5),
    0x10: _fixed(5),
    0x11: _counted,
    0x14: _counted,
    0x15: _counted,
    0x16: _fixed(7),
    0x17: _counted,
    0x18: _counted_wide,
    0x2B: _objects,
}
"""How long an answer is, by function: whatever `functions.FUNCTIONS` may forward has a row. None: as long as
the request (FC 8, AP §6.8)."""
EXCEPTION_SIZE = 2


class RtuReader:
    """Finds the one answer to one request. It holds less than two frames, and nothing behind the answer."""

    __slots__ = ("_echo", "_held", "_request", "_size", "_unit", "extra", "lost")

    def __init__(self, unit: int, request: bytes, *, echo: bool = False) -> None:
        """`request` is the PDU that was sent; with `echo` the line gives the whole frame back first."""
        self._unit = unit
        self._request = request
        self._size = SIZES[request[0]] or _fixed(len(request))
        self._echo = frame(unit, request) if echo else b""
        self._held = b""
        self.lost: str | None = None
        "Why there is no answer to be had any more; from then on `feed` gives nothing."
        self.extra = False
        "Whether more bytes came than the answer has."

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has come."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes | None:
        """The answer's PDU once it is whole and its checksum holds. Never raises."""
        if self.lost is not None:
            return None
        expected = self._echo[: len(data)]
        if not data.startswith(expected):
            self.lost = Finding.LINE_ECHO
            return None
        self._echo = self._echo[len(expected) :]
        held = self._held = (self._held + data[len(expected) :])[: MOST_FRAME + 1]
        end = self._end(held) if held else None
        if end is None or len(held) < end:
            return None
        if held[end - 2 : end] != crc(held[: end - 2]):
            self.lost = Finding.CRC
            return None
        self.extra = len(held) > end
        return held[1 : end - 2]

    def _end(self, held: bytes) -> int | None:
        """Where the frame ends, as far as that can be told; `lost` where this is not our answer."""
        if held[0] != self._unit:
            self.lost = Finding.UNIT_MISMATCH
        elif len(held) > 1 and held[1] & 0x7F != self._request[0]:
            self.lost = Finding.FUNCTION_MISMATCH
        elif len(held) > 1:
            begun = held[1:]
            size = EXCEPTION_SIZE if begun[0] & 0x80 else self._size(begun)
            if size is not None and size <= MOST_PDU:
                return size + 3
            if size is not None:
                self.lost = Finding.LENGTH_RANGE
        return None
