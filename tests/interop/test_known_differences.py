"""Where other stacks differ from the specification, so that nobody takes them for an oracle.

The day one of these fails, the other stack was mended: delete the case, and the sentence in the docs that
leans on it.
"""

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU

from gateway.wire.modbus.framing import Adu, MbapReader, adu

SHORT = adu(1, 1, b"\x07")
"Eight bytes: the shortest ADU there is."
TWO = SHORT + adu(2, 1, b"\x0b")


def pymodbus_frames(*pieces: bytes) -> list[tuple[int, bytes]]:
    """What pymodbus' framer makes of a stream that comes in these pieces: transaction ids and PDUs."""
    framer = FramerSocket(DecodePDU(is_server=True))
    held, found = b"", []
    for piece in pieces:
        held += piece
        while True:
            used, _, tid, pdu = framer.decode(held)
            if not used:
                break
            found.append((tid, pdu))
            held = held[used:]
    return found


def our_frames(*pieces: bytes) -> list[Adu]:
    """What ours makes of it."""
    reader = MbapReader()
    return [frame for piece in pieces for frame in reader.feed(piece)]


def test_meaning_depends_on_segmentation_in_pymodbus() -> None:
    """Cut after nine bytes, its first frame steals a byte of the second: an inspector that used this framer
    could be made to see something else than the PLC sees."""
    whole = pymodbus_frames(TWO)
    assert whole == [(1, b"\x07"), (2, b"\x0b")]
    assert pymodbus_frames(TWO[:9], TWO[9:]) != whole
    for cut in range(len(TWO) + 1):
        assert our_frames(TWO[:cut], TWO[cut:]) == our_frames(TWO)


def test_pymodbus_waits_for_ever_on_a_wrong_protocol_id() -> None:
    poisoned = b"\0\1\0\1\0\6\1" + bytes.fromhex("0300000001")
    assert pymodbus_frames(poisoned, TWO, TWO) == []
    reader = MbapReader()
    assert reader.feed(poisoned) == []
    assert reader.lost == "protocol_id"
