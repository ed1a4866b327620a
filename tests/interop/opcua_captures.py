"""Recorded OPC UA in the clear: packets of pcap and pcapng, TCP streams, chunks, whole message bodies.

A reader for tests, independent of the gateway's own: it believes what it reads.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from

from msgspec import Struct

from tests.interop.pcap import Stream

LOOPBACK, ETHERNET = 0, 1
IPV6 = frozenset({24, 28, 30})
"How BSDs number the family in the header of a loopback packet."


class Message(Struct, frozen=True):
    """One message, its chunks joined."""

    stream: int
    direction: str
    "`req` or `resp`."
    kind: str
    "HEL, ACK, OPN, MSG, CLO, ERR."
    request_id: int
    body: bytes
    "Begins at the TypeId; empty where the channel is encrypted."


def packets(path: Path) -> Iterator[tuple[int, bytes]]:
    """Link type and bytes of each packet."""
    data = path.read_bytes()
    if unpack_from("<I", data)[0] == 0xA1B2C3D4:
        link, at = unpack_from("<I", data, 20)[0], 24
        while at < len(data):
            size = unpack_from("<I", data, at + 8)[0]
            yield link, data[at + 16 : at + 16 + size]
            at += 16 + size
        return
    links, at = [], 0
    while at < len(data):
        kind, length = unpack_from("<II", data, at)
        if kind == 1:
            links.append(unpack_from("<H", data, at + 8)[0])
        elif kind == 6:
            interface, _, _, size = unpack_from("<IIII", data, at + 8)
            yield links[interface], data[at + 28 : at + 28 + size]
        at += length


def streams(path: Path, port: int) -> list[Stream]:
    """The connections to that server port."""
    found: dict[tuple[bytes, int], Stream] = {}
    for link, packet in packets(path):
        v6 = packet[0] in IPV6 if link == LOOPBACK else packet[12:14] == b"\x86\xdd"
        ip = packet[4:] if link == LOOPBACK else packet[14:]
        if v6:
            if ip[6] != 6:
                continue
            source, target = ip[8:24], ip[24:40]
            tcp = ip[40 : 40 + int.from_bytes(ip[4:6], "big")]
        else:
            if len(ip) < 20 or ip[0] >> 4 != 4 or ip[9] != 6:
                continue
            source, target = ip[12:16], ip[16:20]
            tcp = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
        source_port, target_port, sequence, _, offset, flags = unpack_from(">HHIIBB", tcp)
        payload = tcp[(offset >> 4) * 4 :]
        if port not in (source_port, target_port):
            continue
        direction = "req" if target_port == port else "resp"
        key = (source, source_port) if direction == "req" else (target, target_port)
        found.setdefault(key, Stream()).segment(direction, sequence, flags, payload)
    return list(found.values())


def messages(path: Path, port: int = 4840) -> list[Message]:
    """Every message of a capture, stream by stream, in the order in which they end."""
    every: list[Message] = []
    for number, stream in enumerate(streams(path, port)):
        buffers = {"req": b"", "resp": b""}
        parts: dict[tuple[str, int], bytes] = {}
        pieces = {direction: iter(stream.pieces[direction]) for direction in buffers}
        clear = True
        for direction in stream.order:
            buffers[direction] += next(pieces[direction])
            while len(buffers[direction]) >= 8:
                buffer = buffers[direction]
                kind, flag = buffer[:3].decode("latin-1"), chr(buffer[3])
                if kind not in {"HEL", "ACK", "OPN", "MSG", "CLO", "ERR"}:
                    buffers[direction] = b""  # begun in the middle
                    break
                size = unpack_from("<I", buffer, 4)[0]
                if len(buffer) < size:
                    break
                chunk, buffers[direction] = buffer[:size], buffer[size:]
                at = 12
                if kind == "OPN":
                    policy = unpack_from("<i", chunk, at)[0]
                    clear = clear and chunk[at + 4 : at + 4 + policy].endswith(b"#None")
                    for _ in range(3):
                        at += 4 + max(unpack_from("<i", chunk, at)[0], 0)
                elif kind in {"MSG", "CLO"}:
                    at = 16
                else:
                    every.append(Message(number, direction, kind, 0, chunk[8:]))
                    continue
                request_id = unpack_from("<I", chunk, at + 4)[0] if clear else 0
                key = (direction, request_id)
                parts[key] = parts.get(key, b"") + chunk[at + 8 :]
                if flag == "F":
                    body = parts.pop(key)
                    every.append(Message(number, direction, kind, request_id, body if clear else b""))
    return every
