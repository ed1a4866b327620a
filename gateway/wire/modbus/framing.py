"""MBAP in and out: the only owner of the receive buffer and of its bound.

An ADU on TCP is a header of 7 bytes and a PDU of 1 to 253 (MG §3.1.3):

    transaction id 2 | protocol id 2, zero | length 2 | unit 1 | PDU length - 1

The length counts the unit and the PDU. It is the *only* thing that says where an ADU ends: whoever sizes
requests by their function code instead can be shown another stream than we saw (libmodbus does, and
executes a write hidden behind a read). A sender chooses his TCP segments, so nothing here may depend on them.

The header is judged as soon as its bytes are there, before anything is waited for. After a fault there is
no way to tell where the next ADU begins, and nothing more is interpreted (invariant 4).
"""

from struct import Struct as Layout

from msgspec import Struct

from gateway.wire.modbus.findings import Finding

HEADER = Layout(">HHHB")
"Transaction id, protocol id, length, unit."
HEAD = Layout(">HHH")
"The part of the header that the length does not count."
LEAST_LENGTH = 2
"A unit and a function code."
MOST_LENGTH = 254
"A unit and a PDU of 253 bytes (AP §4.1)."
MOST_ADU = 260
"The longest ADU; the buffer never holds one whole, so it stays below this between two calls of `feed`."


class Adu(Struct, frozen=True, gc=False):
    """One ADU as its sender framed it; what the PDU says is not looked at here."""

    tid: int
    unit: int
    pdu: bytes


class MbapReader:
    """Cuts one direction of one connection into ADUs."""

    __slots__ = ("_held", "lost")

    def __init__(self) -> None:
        self._held = b""
        self.lost: str | None = None
        "Why framing is lost; from then on `feed` gives nothing."

    @property
    def held(self) -> int:
        """How many bytes wait for the rest of their ADU; always less than `MOST_ADU`."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Adu]:
        """The ADUs that are complete with these bytes, those before a fault included. Never raises."""
        if self.lost is not None:
            return []
        if self._held:
            data = self._held + data
        adus = []
        at, size = 0, len(data)
        while size - at > 6:
            tid, protocol, length, unit = HEADER.unpack_from(data, at)
            if protocol or length > MOST_LENGTH or length < LEAST_LENGTH:
                break
            end = at + 6 + length
            if end > size:
                break
            adus.append(Adu(tid, unit, data[at + 7 : end]))
            at = end
        if at == size:
            self._held = b""
        else:
            self._keep(data[at:])
        return adus

    def _keep(self, rest: bytes) -> None:
        """Hold the beginning of an ADU, unless its header is already wrong."""
        _, protocol, length = HEAD.unpack(rest[:6].ljust(6, b"\0"))
        if protocol:
            self.lost = Finding.PROTOCOL_ID
        elif len(rest) >= 6 and not LEAST_LENGTH <= length <= MOST_LENGTH:
            self.lost = Finding.LENGTH_RANGE
        self._held = b"" if self.lost else rest


class OvercountedReader(MbapReader):
    """The same for a device that counts a byte of its exceptions which it never sends (a known quirk).

    An exception is always two bytes (AP §7), so its length is known without the header; whoever believes the
    header waits for the first byte of the next answer, and has lost both.
    """

    __slots__ = ()

    def feed(self, data: bytes) -> list[Adu]:
        mended = bytearray(self._held + data)
        self._held = b""
        at = 0
        while len(mended) - at >= 9:
            _, _, length = HEAD.unpack_from(mended, at)
            if length == 4 and mended[at + 7] & 0x80:
                length = mended[at + 5] = 3
            at += 6 + length
        return super().feed(bytes(mended))


def adu(tid: int, unit: int, pdu: bytes) -> bytes:
    """One ADU on the wire. The PDU is one of ours, 1 to 253 bytes."""
    length = len(pdu) + 1
    if not LEAST_LENGTH <= length <= MOST_LENGTH:
        raise ValueError("a PDU has 1 to 253 bytes")
    return HEADER.pack(tid, 0, length, unit) + pdu
