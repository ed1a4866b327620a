"""The readers of the OPC UA door: channels, the handshake's messages, requests and answers.

As in `targets`, each takes any bytes and asserts what its reader promises. None may take more than 50 ms of
processor for a message: a promise that is tried twice, since a machine has moods.
"""

from collections.abc import Callable, Iterator
from time import process_time
from typing import TypeVar

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua import asymmetric, messages
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.channel import Channel
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.events import ChannelLimits, Closed, Lost, Message
from gateway.wire.opcua.framing import ABORT, CLOSE, FINAL, PART, Buffers, Fault, error
from gateway.wire.opcua.keys import Plain
from gateway.wire.opcua.messages import SHAPES, USER_TOKENS, Unread
from gateway.wire.opcua.request import (
    Improper,
    Malformed,
    Outbound,
    Request,
    Seen,
    Unsupported,
    read_request,
)
from gateway.wire.opcua.security import certificates
from gateway.wire.opcua.server_channel import ServerChannel
from tests.opcua import OFFERS, URL, Insider, at, credentials, dice, joined, trusting_all

T = TypeVar("T")
MOST_MS = 50.0
TOKEN = b"\5\1\0\x03\0\0\0our"
NOW = at(1)
SMALL = ChannelLimits(buffers=Buffers(8192, 8192, 600, 4))
MESSAGES = list(SHAPES)
MODES = (None, OpcuaMode.SIGN, OpcuaMode.SIGN_AND_ENCRYPT)
NEW_SERVER = 3
SEALED = {1: FINAL, 2: PART, 3: ABORT, 4: CLOSE}


def opcua_channel(data: bytes) -> None:
    """state 1, cuts 1, length of each piece 1, {what 1, request 1, length 1, bytes} × n.

    States: 0 open without security, 1 Sign, 2 SignAndEncrypt, 3 a new server, 4 a new client. What, modulo 8:
    1 to 4 a chunk sealed by an insider (final, part, abort, close); + 8 skips a number, + 16 an unknown
    token; others the bytes as they are.
    """
    if not data:
        return
    state = data[0] % 5
    cuts, script = _counted(data[1:])
    whole, insider = _channel(state)
    pieces, _ = _channel(state)
    stream = b"".join(_said(script, insider))
    began = process_time()
    events = whole.receive(stream, NOW)
    middle = process_time()
    again = [event for piece in _pieces(stream, cuts) for event in pieces.receive(piece, NOW)]
    assert min(middle - began, process_time() - middle) * 1000 < MOST_MS
    assert again == events
    assert whole.out == pieces.out
    assert whole.held <= 65_535 + 600
    for event in events[:-1]:
        assert not isinstance(event, Lost | Closed)
    for event in events:
        if isinstance(event, Message):
            assert event.discovery is (state in (0, NEW_SERVER))
            assert len(event.body) <= 600
    if events and isinstance(events[-1], Lost):
        lost = events[-1]
        assert lost.why in Fault
        assert whole.over
        assert whole.out.endswith(error(lost.status)) or lost.why is Fault.ERROR
        assert whole.receive(stream, NOW) == []
    read = asymmetric.read_head(stream)
    assert read is None or len(read.chain) + read.end <= 2 * len(stream)
    chain = certificates(script)
    assert chain is None or b"".join(chain) == script


def opcua_messages(data: bytes) -> None:
    """which 1, body. What is read is written again so that it reads as the same; a user's token as well."""
    if not data:
        return
    which = data[0] % (len(MESSAGES) + len(USER_TOKENS))
    if which >= len(MESSAGES):
        number = list(USER_TOKENS)[which - len(MESSAGES)]
        user = messages.read_user((number, data[1:]))
        assert isinstance(user, Unread) or messages.user(user) == (number, data[1:])
        return
    kind = MESSAGES[which]
    body = b"\1\0" + SHAPES[kind][0].to_bytes(2, "little") + data[1:]
    read = _quick(lambda: messages.read(body, kind))
    if isinstance(read, Unread):
        assert read.what
        return
    written = messages.encode(read)
    assert len(written) <= len(body) + 8, "null arrays grow, nothing else does"
    again = messages.read(written, kind)
    assert not isinstance(again, Unread)
    assert messages.encode(again) == written


def opcua_requests(data: bytes) -> None:
    """A body from its TypeId on. What is accepted goes on as its own bytes, whole and in any part."""
    read = _quick(lambda: read_request(data))
    assert isinstance(read, Request | Malformed | Unsupported | Improper)
    seen = Seen()
    assert type(read_request(data, seen=seen)) is type(read_request(data, seen=seen)) is type(read)
    if not isinstance(read, Request):
        return
    head = read.header
    assert Outbound(read, TOKEN).encode() == data[:4] + TOKEN + data[head.token.stop :]
    assert b"".join([read.item(place) for place in range(read.items)]) in read.tail
    outbound = Outbound(read, read.token)
    if outbound.parts > 1:
        part = outbound.only(tuple(range(0, outbound.parts, 2)))
        again = read_request(part.encode())
        assert isinstance(again, Request), "a part of what is well formed is"
        assert [again.item(place) for place in range(again.items)] == [read.item(kept) for kept in part.kept]


def opcua_answers(data: bytes) -> None:
    """length 2, request, answer. An answer is accepted to its last byte; refusals stand in their places."""
    size = int.from_bytes(data[:2], "little")
    request, body = read_request(data[2 : 2 + size]), data[2 + size :]
    if not isinstance(request, Request):
        return
    outbound = Outbound(request, TOKEN)
    read = _quick(lambda: read_answer(outbound, body))
    assert isinstance(read, ServiceAnswer | Malformed)
    if isinstance(read, ServiceAnswer):
        assert read.encode() == body
        if read.good and read.borders:
            assert len(read.statuses) == len(read.parts) == request.items
    if request.items > 1 and outbound.parts:
        rest = Outbound(request, TOKEN, refused={0: 0x801F0000})
        spliced = read_answer(rest, body)
        if isinstance(spliced, ServiceAnswer) and spliced.good:
            again = read_answer(outbound, spliced.encode())
            assert isinstance(again, ServiceAnswer), "an answer with refusals in it is one"
            assert len(again.statuses) == request.items
            assert again.statuses[0] == 0x801F0000


def _channel(state: int) -> tuple[Channel, Insider]:
    if state < len(MODES):
        return joined(MODES[state], SMALL)
    mine, theirs = credentials("client"), credentials("server")
    if state == NEW_SERVER:
        server = ServerChannel(theirs, OFFERS, SMALL, dice(), 77, trusting_all)
        return server, Insider(Plain())
    policy, mode = OpcuaPolicy.BASIC256SHA256, OpcuaMode.SIGN
    return ClientChannel(mine, theirs.leaf, policy, mode, URL, SMALL, dice()), Insider(Plain())


def _said(script: bytes, insider: Insider) -> Iterator[bytes]:
    place = 0
    while place + 3 <= len(script):
        what, request, size = script[place : place + 3]
        body = script[place + 3 : place + 3 + size]
        place += 3 + size
        kind = SEALED.get(what & 7)
        if kind is None:
            yield body
        else:
            yield insider.seal(kind, request, body, skip=what >> 3 & 1, token=6 if what & 16 else 5)


def _counted(data: bytes) -> tuple[bytes, bytes]:
    """What the first byte counts, and the rest."""
    return (data[1 : 1 + data[0]], data[1 + data[0] :]) if data else (b"", b"")


def _pieces(stream: bytes, lengths: bytes) -> Iterator[bytes]:
    place = 0
    for length in lengths:
        yield stream[place : place + length]
        place += length
    yield stream[place:]


def _quick(run: Callable[[], T]) -> T:
    """What it gives, if it is in time."""
    for _ in range(2):
        began = process_time()
        result = run()
        if (process_time() - began) * 1000 < MOST_MS:
            return result
    raise AssertionError(f"more than {MOST_MS} ms, twice")
