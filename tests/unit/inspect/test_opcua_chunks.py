"""Chunks out of bytes, and what damage does to them."""

from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.direction import ANSWERS as SHORT
from gateway.capture.direction import Sent, first_bytes
from gateway.inspect.opcua.breakage import ANSWERS, FROM_SERVERS
from gateway.inspect.opcua.chunks import MOST_CHUNK, Chunks, Room
from gateway.inspect.opcua.findings import FINDINGS, OpcuaFinding
from gateway.wire.opcua.framing import Buffers, acknowledge, error, hello
from gateway.wire.opcua.services import BY_NAME, FAULT, SERVICES
from tests.unit.inspect.opcua_talk import READ_NAMESPACES, Talk, answer


def chunk(kind: bytes = b"MSGF", body: bytes = bytes(16)) -> bytes:
    return kind + pack("<I", 8 + len(body)) + body


def message(body: bytes) -> bytes:
    return chunk(body=pack("<IIII", 7, 1, 1, 1) + body)


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(1, 40))
def test_any_segmentation_gives_the_same_chunks(bodies: list[bytes], step: int) -> None:
    whole = [chunk(body=body) for body in bodies]
    data, room = b"".join(whole), Room()
    chunks = Chunks(room)
    found = [each for at in range(0, len(data), step) for each in chunks.feed(data[at : at + step])]
    assert found == whole
    assert room.held == 0
    assert not chunks.lost


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_whatever_comes_every_byte_is_a_chunk_or_counted(pieces: list[bytes]) -> None:
    room = Room()
    chunks = Chunks(room)
    read = sum(len(each) for piece in pieces for each in chunks.feed(piece))
    chunks.end()
    assert read + chunks.undecoded == sum(map(len, pieces))
    assert room.held == 0


def test_what_begins_in_the_middle_waits_for_a_segment_that_begins_with_a_chunk() -> None:
    chunks = Chunks(Room())
    assert chunks.feed(b"the rest of something") == []
    assert chunks.feed(chunk()) == [chunk()]
    assert chunks.undecoded == 21
    assert not chunks.lost


def test_behind_a_gap_it_goes_on_at_the_next_chunk() -> None:
    chunks = Chunks(Room())
    assert chunks.feed(chunk() + chunk()[:10]) == [chunk()]
    chunks.gap()
    assert chunks.feed(b"xyz") == []
    assert chunks.feed(chunk()) == [chunk()]
    assert (chunks.undecoded, chunks.lost) == (13, False)


@pytest.mark.parametrize(
    "bad",
    [b"GET / HTTP", pack("<4sI", b"MSGF", 7), pack("<4sI", b"MSGF", MOST_CHUNK + 1), b"MSGX" + bytes(8)],
)
def test_after_a_chunk_comes_a_chunk_or_framing_is_lost(bad: bytes) -> None:
    chunks = Chunks(Room())
    chunks.feed(chunk() + bad)
    assert chunks.lost
    assert chunks.feed(chunk()) == []
    assert chunks.undecoded == len(bad) + len(chunk())


def test_the_bound_on_what_is_held_is_crossed() -> None:
    room = Room(100)
    first, second = Chunks(room), Chunks(room)
    first.feed(chunk(body=bytes(200))[:90])
    assert second.feed(chunk()) == []
    assert second.undecoded == len(chunk()), "no room: counted, not held"
    first.gap()
    assert second.feed(chunk()) == [chunk()], "and it goes on at a chunk"
    assert room.held == 0


def test_the_guide_names_every_finding() -> None:
    text = (Path(__file__).parents[3] / "docs" / "guides" / "inspect.md").read_text()
    assert [each for each in OpcuaFinding if f"`{each}`" not in text] == []


def test_every_finding_has_a_row() -> None:
    assert set(FINDINGS) == set(OpcuaFinding)
    assert set(ANSWERS) | set(FROM_SERVERS) <= set(OpcuaFinding)


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (hello(Buffers(), "opc.tcp://a:4840"), Sent.BY_CLIENT),
        (acknowledge(Buffers()), Sent.BY_SERVER),
        (error(0x80010000), Sent.BY_SERVER),
        (message(READ_NAMESPACES), Sent.BY_CLIENT),
        (message(answer(READ_NAMESPACES)), Sent.BY_SERVER),
        (message(b"\1\0" + pack("<H", FAULT)), Sent.BY_SERVER),
        (message(b"encrypted"), Sent.BY_CLIENT),
        (pack("<4sI", b"MSGF", 7), None),
        (b"MSG", None),
    ],
)
def test_first_bytes_of_opcua_say_who_is_the_client(data: bytes, sent: Sent | None) -> None:
    assert first_bytes(data) is sent


def test_the_opening_says_it_too() -> None:
    said = Talk().open().two.sent
    opened = [one for one in said if one.data.startswith(b"OPNF")]
    assert [first_bytes(one.data) for one in opened] == [Sent.BY_CLIENT, Sent.BY_SERVER]


def test_no_frequent_answer_is_a_request() -> None:
    """The capture program has its own short list: it may import nothing of ours."""
    assert not SHORT & set(SERVICES)
    known = {row.answer for row in BY_NAME.values()} | {FAULT}
    assert known >= SHORT
