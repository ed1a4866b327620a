"""What is fuzzed: each target takes any bytes, and raises AssertionError where a reader breaks a promise.

Any other exception is a finding as well: none of these readers raises, whatever a peer sends. How an input is
laid out, its target's docstring says; plainly enough for inputs to be written by hand.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from gateway.identity import der
from gateway.identity.certificate import MOST_BYTES, ROLE, Refused, identify
from gateway.model.asset import Asset, DataType, Quirk, Span, Table, Tag, Window
from gateway.model.identity import Identity, RoleState
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation
from gateway.wire.modbus import points
from gateway.wire.modbus.framing import MOST_ADU, Adu, MbapReader, OvercountedReader, adu
from gateway.wire.modbus.functions import (
    Answer,
    DeviceException,
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
    read_answer,
    read_request,
)
from gateway.wire.modbus.meaning import Place
from gateway.wire.modbus.rtu import MOST_FRAME, MOST_PDU, UNITS, RtuReader, crc, frame
from gateway.wire.modbus.session import MOST_REMEMBERED, Conversation, tolerant
from tests.fuzz.opcua import opcua_answers, opcua_channel, opcua_messages, opcua_requests

WRITES = frozenset({5, 6, 15, 16, 21, 22, 23})
NEVER = b"\x2b\x0d"
"CANopen (43/13): read, and never forwarded."
NOW = Now(0, 0, True, 0)
JUDGED_NS = 1_800_000_000 * 10**9
"When certificates are judged; those that are kept are valid then."
QUIRKS = tuple(Quirk)

PLACE = Place(
    Asset(
        name="a",
        host="192.0.2.1",
        port=502,
        registers=(Span(Table.HOLDING, 0, 200),),
        overlays=(
            Window(table=Table.HOLDING, start=0, count=100, word=0),
            Window(table=Table.COIL, start=0, count=1600, word=0),
            Window(table=Table.INPUT, start=65_500, count=36, word=90),
        ),
    ),
    [
        Tag(name="b", asset="a", path="p", table=Table.COIL, address=3, type=DataType.BOOL),
        Tag(name="i", asset="a", path="p", table=Table.HOLDING, address=2, type=DataType.INT16, scale=0.1),
        Tag(name="f", asset="a", path="p", table=Table.HOLDING, address=8, type=DataType.FLOAT32),
        Tag(name="d", asset="a", path="p", table=Table.HOLDING, address=65_532, type=DataType.FLOAT64),
        Tag(name="t", asset="a", path="p", table=Table.INPUT, address=0, type=DataType.UINT32),
        Tag(name="s", asset="a", path="p", table=Table.HOLDING, address=5, type=DataType.BOOL, bit=15),
    ],
)


class Polled:
    """Some tags have a last value, some have none."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return {"i": (-3, 0), "f": (None, 0)}.get(tag)


def requests(data: bytes) -> None:
    """unit 1, PDU. A request is accepted only if its fields make its bytes."""
    if not data:
        return
    unit, pdu = data[0], data[1:]
    request = read_request(unit, pdu)
    assert isinstance(request, Request | Illegal | Unsupported)
    if not isinstance(request, Request):
        return
    assert len(pdu) <= MOST_PDU or pdu.startswith((b"\x08\0\0", NEVER)), "no bound of its own"
    assert request.encode() == pdu
    assert read_request(unit, pdu) == request


def meaning(data: bytes) -> None:
    """unit 1, PDU. A request that is accepted asks policy for something, and for a write if it is one."""
    if not data:
        return
    unit, pdu = data[0], data[1:]
    request = read_request(unit, pdu)
    if not isinstance(request, Request):
        return
    operations = PLACE.operations(request, Polled(), NOW)
    assert operations
    assert all(isinstance(operation, Operation) for operation in operations)
    if request.fc in WRITES or pdu.startswith(NEVER):
        assert any(operation.action is Action.WRITE for operation in operations), "a write that is none"
    for operation in operations:
        for point in operation.points:
            assert point.q is None or abs(point.q) <= points.MOST_QUANTA


def answers(data: bytes) -> None:
    """length 1, request, answer. An answer is accepted only if its fields make its bytes."""
    asked, pdu = _counted(data)
    request = read_request(1, asked)
    if not isinstance(request, Request):
        return
    answer = read_answer(request, pdu)
    assert isinstance(answer, Answer | DeviceException | WrongAnswer)
    if not isinstance(answer, WrongAnswer):
        assert answer.encode() == pdu
        assert tolerant(request, pdu, QUIRKS) == answer, "tolerance changes nothing that is right"
    mended = tolerant(request, pdu, QUIRKS)
    if not isinstance(mended, WrongAnswer):
        assert read_answer(request, mended.encode()) == mended


def framing(data: bytes) -> None:
    """cuts 1, length of each piece 1, stream. What is read does not depend on the segments."""
    cuts, stream = _counted(data)
    cuts = cuts[:16]
    for kind in (MbapReader, OvercountedReader):
        whole, pieces = kind(), kind()
        adus = whole.feed(stream)
        again = [frame for piece in _pieces(stream, cuts) for frame in _fed(pieces, piece)]
        assert (again, pieces.lost, pieces.held) == (adus, whole.lost, whole.held)
        assert whole.held < MOST_ADU
        assert whole.lost is None or whole.feed(stream) == []
        encoded = b"".join([adu(frame.tid, frame.unit, frame.pdu) for frame in adus])
        if kind is MbapReader:
            assert stream.startswith(encoded)
            assert whole.lost is not None or len(encoded) + whole.held == len(stream)


def rtu(data: bytes) -> None:
    """unit 1, flags 1, length 1, request, cuts 1, length of each piece 1, stream. One answer at most.

    Flags: 1 the line echoes, 2 the right checksum is put behind the stream, 4 the right echo before it.
    """
    if len(data) < 2 or data[0] not in UNITS:
        return
    unit, flags = data[0], data[1]
    asked, rest = _counted(data[2:])
    if not isinstance(read_request(unit, asked), Request) or asked.startswith(NEVER) or len(asked) > MOST_PDU:
        return
    cuts, stream = _counted(rest)
    if flags & 2:
        stream += crc(stream)
    echo = bool(flags & 1)
    head = frame(unit, asked) if echo else b""
    if flags & 4:
        stream = head + stream
    whole, pieces = RtuReader(unit, asked, echo=echo), RtuReader(unit, asked, echo=echo)
    found = whole.feed(stream)
    again = None
    for piece in _pieces(stream, cuts):
        again = pieces.feed(piece)
        assert len(pieces._held) <= MOST_FRAME + 1
        if again is not None:
            break
    assert (again, pieces.lost) == (found, whole.lost)
    if found is not None:
        assert stream.startswith(head + bytes((unit,)) + found + crc(bytes((unit,)) + found))
        assert found[0] & 0x7F == asked[0]
        assert len(found) <= MOST_PDU


def session(data: bytes) -> None:
    """quirks 1, {what 1, tid 1, unit 1, length 1, PDU} × n. Every request is settled once at most."""
    if not data:
        return
    quirks = [quirk for number, quirk in enumerate(QUIRKS) if data[0] >> number & 1]
    conversation: Conversation[int] = Conversation(quirks=quirks)
    settled: set[int] = set()
    now_ns = at = 0
    while at + 3 < len(data):
        what, tid, unit, size = data[at + 1 : at + 5].ljust(4, b"\0")
        frame = Adu(tid, unit, data[at + 5 : at + 5 + size])
        at += 4 + size
        now_ns += (what >> 1) * 50_000_000
        if what & 1:
            paired = conversation.answered(frame, now_ns)
            if paired.waiting is None:
                assert not isinstance(paired.answer, Answer), "an answer to nobody"
                assert paired.findings
            else:
                assert paired.waiting.token not in settled
                assert paired.waiting.unit == frame.unit
                settled.add(paired.waiting.token)
        elif frame.pdu:
            conversation.asked(frame, read_request(unit, frame.pdu), now_ns, at)
        assert conversation._count <= MOST_REMEMBERED
    assert len(conversation.waiting) == conversation._count


def certificate(data: bytes) -> None:
    """A certificate in DER. It names one peer with one role at most, or it is refused."""
    read = identify(data, "plant", JUDGED_NS)
    if isinstance(read, Refused):
        assert read.code
        return
    assert isinstance(read, Identity)
    assert len(data) <= MOST_BYTES
    assert read.subject
    assert read.zone == "plant"
    assert (read.role_state is RoleState.OK) == (len(read.roles) == 1)
    assert all(ROLE.fullmatch(role) for role in read.roles)


def extensions(data: bytes) -> None:
    """The extensions of a certificate, as DER. Whatever is read is the one encoding of what it says."""
    try:
        elements = der.elements(data)
    except der.MalformedError:
        elements = None
    if elements is not None:
        assert b"".join([_encoded(each) for each in elements]) == data
    try:
        found = der.extensions(data)
    except der.MalformedError:
        return
    assert elements is not None
    assert sum([len(each.oid) + len(each.value) for each in found]) <= len(data)


def _encoded(element: der.Element) -> bytes:
    size = len(element.value)
    if size < 0x80:
        return bytes((element.tag, size)) + element.value
    counted = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((element.tag, 0x80 | len(counted))) + counted + element.value


def _counted(data: bytes) -> tuple[bytes, bytes]:
    """What the first byte counts, and the rest."""
    if not data:
        return b"", b""
    return data[1 : 1 + data[0]], data[1 + data[0] :]


def _pieces(stream: bytes, lengths: bytes) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield stream[at : at + length]
        at += length
    yield stream[at:]


def _fed(reader: MbapReader, piece: bytes) -> list[Adu]:
    adus = reader.feed(piece)
    assert reader.held < MOST_ADU
    return adus


class Target(Struct, frozen=True):
    """One row."""

    run: Callable[[bytes], None]
    share: float
    "Of all runs; fewer where one is dear."
    most: int
    "Bytes of the longest input."
    seconds: int = 5
    "How long it is fuzzed in the tests."
    ci_seconds: int = 5
    "The same under CI."


TARGETS: dict[str, Target] = {
    row.run.__name__: row
    for row in (
        Target(requests, 0.2, 280),
        Target(meaning, 0.005, 280),
        Target(answers, 0.175, 520),
        Target(framing, 0.02, 400),
        Target(rtu, 0.075, 560),
        Target(session, 0.015, 380),
        Target(extensions, 0.005, 1000),
        Target(certificate, 0.005, 1400),
        Target(opcua_channel, 0.1, 600, seconds=2, ci_seconds=15),
        Target(opcua_messages, 0.1, 1200, seconds=2, ci_seconds=15),
        Target(opcua_requests, 0.2, 700, seconds=2, ci_seconds=15),
        Target(opcua_answers, 0.1, 1400, seconds=2, ci_seconds=15),
    )
}
