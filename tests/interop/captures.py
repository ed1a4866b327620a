"""Captures made for a test: Ethernet, IPv4, TCP, in pcap. Checksums are zero; nobody reads them."""

from collections.abc import Iterable
from pathlib import Path
from struct import pack

from tests.unit.capture.conversation import Two

CLIENT, SERVER = bytes([10, 0, 0, 5]), bytes([10, 0, 0, 1])
ETHERNET = bytes(12) + b"\x08\x00"
START_S = 1_700_000_000


def tcp(source: int, target: int, sequence: int, acknowledged: int, flags: int, data: bytes = b"") -> bytes:
    return pack(">HHIIBBHHH", source, target, sequence, acknowledged, 0x50, flags, 8192, 0, 0) + data


def ipv4(source: bytes, target: bytes, payload: bytes, protocol: int = 6, fragment: int = 0) -> bytes:
    size = 20 + len(payload)
    return pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, fragment, 64, protocol, 0, source, target) + payload


def ipv6(source: bytes, target: bytes, payload: bytes, follows: int = 6) -> bytes:
    return pack(">IHBB16s16s", 0x60000000, len(payload), follows, 64, source, target) + payload


def packets(two: Two, port: int = 502, client_port: int = 40_000) -> list[bytes]:
    """A conversation as Ethernet frames."""
    ports = (client_port, port)
    ends = (CLIENT, SERVER)
    return [
        ETHERNET
        + ipv4(
            ends[one.side],
            ends[1 - one.side],
            tcp(ports[one.side], ports[1 - one.side], one.sequence, one.acknowledged, one.flags, one.data),
        )
        for one in two.sent
    ]


def pcap(path: Path, frames: Iterable[bytes], *, link: int = 1, step_us: int = 1000) -> Path:
    """A classic capture, a packet each `step_us`."""
    with path.open("wb", buffering=1 << 20) as file:
        file.write(pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link))
        for number, frame in enumerate(frames):
            seconds, micros = divmod(number * step_us, 1_000_000)
            file.write(pack("<IIII", START_S + seconds, micros, len(frame), len(frame)) + frame)
    return path


def pcapng(path: Path, frames: Iterable[bytes]) -> Path:
    """The same as pcapng: one section, one Ethernet interface with nanoseconds."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = pack("<I", len(body) + 12)
        return pack("<I", kind) + size + body + size

    interface = pack("<HHI", 1, 0, 0) + pack("<HHBxxx", 9, 1, 9) + pack("<HH", 0, 0)
    found = block(0x0A0D0D0A, pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, interface)
    for number, frame in enumerate(frames):
        time = (START_S * 1_000_000 + number * 1000) * 1000
        found += block(6, pack("<IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame)) + frame)
    path.write_bytes(found)
    return path
