"""Headers by hand: every link layer that is read, and nothing that lies."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.packet import Skip, segment
from tests.interop.captures import CLIENT, ETHERNET, SERVER, ipv4, ipv6, tcp

DATA = b"some bytes"
SEGMENT = tcp(40_000, 502, 7, 9, 0x18, DATA)
FOUR = ipv4(CLIENT, SERVER, SEGMENT)
HERE, THERE = bytes(15) + b"\x01", bytes(15) + b"\x02"
SIX = ipv6(HERE, THERE, SEGMENT)
MACS = bytes(12)
OPTIONS = bytes([6, 1, 5, 2, 0, 0, 1, 0]) + bytes(8)
"A destination options header of two units."

WHOLE: dict[str, tuple[int, bytes]] = {
    "Ethernet": (1, ETHERNET + FOUR),
    "Ethernet with padding": (1, ETHERNET + FOUR + bytes(6)),
    "802.1Q": (1, MACS + b"\x81\x00\x00\x07\x08\x00" + FOUR),
    "802.1ad": (1, MACS + b"\x88\xa8\x00\x07\x81\x00\x00\x08\x08\x00" + FOUR),
    "IPv6": (1, MACS + b"\x86\xdd" + SIX),
    "IPv6 with options": (1, MACS + b"\x86\xdd" + ipv6(HERE, THERE, OPTIONS + SEGMENT, 60)),
    "raw IPv4": (101, FOUR),
    "raw IPv6": (101, SIX),
    "BSD raw": (12, FOUR),
    "loopback": (0, b"\x02\0\0\0" + FOUR),
    "loopback IPv6": (0, b"\x1e\0\0\0" + SIX),
    "Linux cooked": (113, bytes(14) + b"\x08\x00" + FOUR),
    "Linux cooked 2": (276, b"\x08\x00" + bytes(18) + FOUR),
    "length left to the card": (101, FOUR[:2] + b"\0\0" + FOUR[4:]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_link_layer(name: str) -> None:
    source, target = (HERE, THERE) if "IPv6" in name else (CLIENT, SERVER)
    expected = (source + pack(">H", 40_000), target + pack(">H", 502), 7, 9, 0x18, DATA)
    assert segment(*WHOLE[name]) == expected


@pytest.mark.parametrize(
    ("link", "data", "why"),
    [
        (1, ETHERNET + ipv4(CLIENT, SERVER, SEGMENT, protocol=17), Skip.NOT_TCP),
        (1, MACS + b"\x08\x06" + bytes(28), Skip.NOT_TCP),
        (1, ETHERNET + ipv4(CLIENT, SERVER, SEGMENT, fragment=0x2000), Skip.FRAGMENT),
        (1, ETHERNET + ipv4(CLIENT, SERVER, SEGMENT, fragment=3), Skip.FRAGMENT),
        (101, ipv6(HERE, THERE, bytes([6, 0, 0, 1, 0, 0, 0, 1]) + SEGMENT, 44), Skip.FRAGMENT),
        (1, ETHERNET + FOUR[:30], Skip.SHORT),
        (1, ETHERNET + b"\x65" + FOUR[1:], Skip.SHORT),
        (1, ETHERNET + b"\x41" + FOUR[1:], Skip.SHORT),
        (101, FOUR[:20] + SEGMENT[:12] + b"\xf0" + SEGMENT[13:], Skip.SHORT),
        (101, FOUR[:20] + SEGMENT[:12] + b"\x10" + SEGMENT[13:], Skip.SHORT),
        (147, FOUR, Skip.LINK),
        (1, b"", Skip.NOT_TCP),
    ],
)
def test_what_is_not_read_is_named(link: int, data: bytes, why: Skip) -> None:
    assert segment(link, data) is why


def test_a_packet_cut_by_the_capture_has_what_is_there() -> None:
    found = segment(1, (ETHERNET + FOUR)[:-4])
    assert isinstance(found, tuple)
    assert found[-1] == DATA[:-4]


@given(st.sampled_from([0, 1, 12, 101, 113, 276]), st.binary(max_size=120), st.data())
def test_whatever_the_bytes_are(link: int, tail: bytes, data: st.DataObject) -> None:
    """A whole packet with bytes changed: a segment inside it, or a name."""
    whole = bytearray(data.draw(st.sampled_from([each for _, each in WHOLE.values()])) + tail)
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = segment(link, bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    if isinstance(found, tuple):
        source, target, sequence, _, _, payload = found
        assert len(source) == len(target)
        assert len(source) in (6, 18)
        assert 0 <= sequence < 1 << 32
        assert payload in bytes(whole)
