"""A reader of classic pcap files and the TCP streams in them, for tests: Ethernet, IPv4, little-endian.

Retransmitted bytes are dropped, segments that come early wait, a hole that is never filled ends the stream.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from

SYN, ACK = 0x02, 0x10


class Stream:
    """One TCP connection to a server port: the bytes of each direction, in order."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[bytes]] = {"req": [], "resp": []}
        "What arrived in order, one entry a segment."
        self.order: list[str] = []
        "Direction of each piece, both directions together, as captured."
        self._next: dict[str, int] = {}
        self._early: dict[str, dict[int, bytes]] = {"req": {}, "resp": {}}

    def segment(self, direction: str, sequence: int, flags: int, payload: bytes) -> None:
        """Take one segment."""
        if flags & SYN:
            self._next[direction] = sequence + 1 & 0xFFFFFFFF
        if not payload:
            return
        self._early[direction].setdefault(sequence, payload)
        self._next.setdefault(direction, sequence)
        self._take(direction)

    def _take(self, direction: str) -> None:
        early = self._early[direction]
        for sequence in sorted(early):
            old = self._next[direction] - sequence & 0xFFFFFFFF
            if old >= 1 << 31:
                return
            fresh = early.pop(sequence)[old:]
            if fresh:
                self._next[direction] = self._next[direction] + len(fresh) & 0xFFFFFFFF
                self.pieces[direction].append(fresh)
                self.order.append(direction)


def streams(path: Path, port: int) -> list[Stream]:
    """The connections to that server port, in order of their first packet."""
    found: dict[tuple[bytes, int, bytes, int], Stream] = {}
    every: list[Stream] = []
    for source, source_port, target, target_port, sequence, flags, payload in _segments(path.read_bytes()):
        if target_port == port:
            key, direction = (source, source_port, target, target_port), "req"
        elif source_port == port:
            key, direction = (target, target_port, source, source_port), "resp"
        else:
            continue
        if key not in found or (flags & (SYN | ACK) == SYN and found[key].order):
            found[key] = Stream()
            every.append(found[key])
        found[key].segment(direction, sequence, flags, payload)
    return every


def _segments(data: bytes) -> Iterator[tuple[bytes, int, bytes, int, int, int, bytes]]:
    assert unpack_from("<I", data)[0] == 0xA1B2C3D4, "classic little-endian pcap"
    assert unpack_from("<I", data, 20)[0] == 1, "Ethernet"
    at = 24
    while at < len(data):
        size = unpack_from("<I", data, at + 8)[0]
        packet = data[at + 16 : at + 16 + size]
        at += 16 + size
        if packet[12:14] != b"\x08\x00" or packet[23] != 6:
            continue
        ip = packet[14 : 14 + int.from_bytes(packet[16:18], "big")]
        tcp = ip[(ip[0] & 15) * 4 :]
        source_port, target_port, sequence, _, offset, flags = unpack_from(">HHIIBB", tcp)
        yield ip[12:16], source_port, ip[16:20], target_port, sequence, flags, tcp[(offset >> 4) * 4 :]
