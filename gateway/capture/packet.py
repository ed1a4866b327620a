"""From a packet's bytes to its TCP segment: link layer, VLAN tags, IPv4 or IPv6, TCP.

A capture is what somebody else sent. Every length in it may lie, so none is used before it is held against
the bytes that are there, and whatever does not fit is no segment. What is not read is counted by name
(`Skip`), so that a summary can say what it has not seen.
"""

from enum import StrEnum
from struct import Struct

TCP = Struct(">IIBB")
"Sequence number, acknowledgement, data offset, flags; behind the ports."
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
VLAN = frozenset({b"\x81\x00", b"\x88\xa8", b"\x91\x00"})
"802.1Q, 802.1ad and its forerunner; they nest."
MOST_TAGS = 4
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
EXTENSIONS = frozenset({0, 43, 51, 60})
"IPv6 extension headers that may stand before TCP: hop-by-hop, routing, authentication, destination options."
FRAGMENT = 44
MOST_EXTENSIONS = 8

Segment = tuple[bytes, bytes, int, int, int, bytes]
"Source and target (address + port each), sequence number, acknowledgement, flags, payload as captured."


class Skip(StrEnum):
    """Why a packet has no segment for us."""

    LINK = "link_type_not_read"
    NOT_TCP = "not_tcp"
    FRAGMENT = "ip_fragment"
    SHORT = "too_short"


def segment(link: int, data: bytes) -> Segment | Skip:
    """The TCP segment in a packet, or why there is none. Never raises, whatever the bytes are."""
    if link == 1:
        kind, at = data[12:14], 14
        for _ in range(MOST_TAGS):
            if kind not in VLAN:
                break
            kind, at = data[at + 2 : at + 4], at + 4
    else:
        reader = _LINKS.get(link)
        if reader is None:
            return Skip.LINK
        kind, at = reader(data)
    if kind == IPV4:
        return _ipv4(data, at)
    if kind == IPV6:
        return _ipv6(data, at)
    return Skip.NOT_TCP


def _ipv4(data: bytes, at: int) -> Segment | Skip:
    if len(data) < at + 20:
        return Skip.SHORT
    if data[at + 9] != 6:
        return Skip.NOT_TCP
    if data[at + 6] & 0x3F or data[at + 7]:
        return Skip.FRAGMENT
    first = data[at]
    total = data[at + 2] << 8 | data[at + 3]
    begin = at + ((first & 15) << 2)
    # 0: filled in by the network card, after the capture was taken
    end = at + total if total else len(data)
    if first >> 4 != 4 or begin < at + 20:
        return Skip.SHORT
    return _tcp(data, data[at + 12 : at + 16], data[at + 16 : at + 20], begin, end)


def _ipv6(data: bytes, at: int) -> Segment | Skip:
    if len(data) < at + 40:
        return Skip.SHORT
    size = data[at + 4] << 8 | data[at + 5]
    follows, begin = data[at + 6], at + 40
    end = begin + size if size else len(data)
    for _ in range(MOST_EXTENSIONS):
        if follows not in EXTENSIONS:
            break
        if len(data) < begin + 2:
            return Skip.SHORT
        unit = 4 if follows == 51 else 8  # the authentication header counts otherwise than the rest
        step = (data[begin + 1] + (2 if follows == 51 else 1)) * unit
        follows, begin = data[begin], begin + step
    if follows == FRAGMENT:
        return Skip.FRAGMENT
    if follows != 6:
        return Skip.NOT_TCP
    return _tcp(data, data[at + 8 : at + 24], data[at + 24 : at + 40], begin, end)


def _tcp(data: bytes, source: bytes, target: bytes, begin: int, end: int) -> Segment | Skip:
    """`begin` and `end` are the IP payload as the headers say; the capture may have less of it."""
    if len(data) < begin + 20:
        return Skip.SHORT
    sequence, acknowledged, offset, flags = TCP.unpack_from(data, begin + 4)
    payload = begin + (offset >> 4 << 2)
    if payload < begin + 20 or payload > end:
        return Skip.SHORT
    source += data[begin : begin + 2]
    target += data[begin + 2 : begin + 4]
    return source, target, sequence, acknowledged, flags, data[payload:end]


# link layers ------------------------------------------------------------------------------------------

Link = tuple[bytes, int]
"Ether type, and where the network layer begins."


def _raw(data: bytes) -> Link:
    """No link layer: the first four bits say which IP it is."""
    return {4: IPV4, 6: IPV6}.get(data[0] >> 4 if data else 0, b""), 0


def _loopback(data: bytes) -> Link:
    """BSD loopback: an address family in the byte order of the machine that captured."""
    return _raw(data[4:])[0], 4


def _cooked(data: bytes) -> Link:
    """Linux `any` device."""
    return data[14:16], 16


def _cooked2(data: bytes) -> Link:
    return data[0:2], 20


_LINKS = {
    0: _loopback,
    108: _loopback,
    12: _raw,
    14: _raw,
    101: _raw,
    228: _raw,
    229: _raw,
    113: _cooked,
    276: _cooked2,
}
"By link type number (www.tcpdump.org/linktypes.html); 12 and 14 are what BSDs wrote for 101."
