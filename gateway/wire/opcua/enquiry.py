"""Asking a server for its endpoints without security: only to tell people why it is not the pinned one.

A server that no longer has the key of its pinned certificate cannot read our OpenSecureChannel, and so cannot
say what is wrong; some do not answer at all. What it shows to everybody (GetEndpoints, OPC 10000-4 §5.5.4)
names its certificate. Nothing is believed because of it.
"""

from struct import Struct as Layout

from gateway.model.moment import Now
from gateway.wire.opcua import messages
from gateway.wire.opcua.asymmetric import SEQUENCE, head, read_head
from gateway.wire.opcua.framing import ACKNOWLEDGE, FINAL, HEAD, HEAD_SIZE, OPEN, PART, Buffers, hello
from gateway.wire.opcua.messages import (
    GetEndpointsRequest,
    GetEndpointsResponse,
    OpenRequest,
    OpenResponse,
    RequestHeader,
)
from gateway.wire.opcua.security import NONE_URI, certificates

MOST_ANSWER = 1024 * 1024
"Bytes of everything that is read."
NO_SECURITY = 1
"MessageSecurityMode None (OPC 10000-4 §7.20)."
LIFETIME_MS = 60_000
_SYMMETRIC = Layout("<4sIIIII")
"Chunk header, channel, token, sequence number, request id."


class Enquiry:
    """One connection: what to write, and what was learnt."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._data = b""
        self._body = b""
        self._read = 0
        self.shown: frozenset[bytes] | None = None
        "Leaf certificates of the endpoints, DER; null until they are known."
        self.over = False
        "Whether nothing more can be learnt."

    def begin(self) -> bytes:
        """The first bytes."""
        return hello(Buffers(most_message=MOST_ANSWER), self._url)

    def receive(self, data: bytes, now: Now) -> bytes:
        """Take what the server said; gives what to say then."""
        self._data += data
        self._read += len(data)
        if self._read > MOST_ANSWER:
            self.over = True
        out = b""
        while not self.over and len(self._data) >= HEAD_SIZE:
            kind, size = HEAD.unpack_from(self._data)
            if not HEAD_SIZE < size <= MOST_ANSWER:
                self.over = True
                break
            if len(self._data) < size:
                break
            chunk, self._data = self._data[:size], self._data[size:]
            out += self._chunk(kind, chunk, now)
        return out

    def _chunk(self, kind: bytes, chunk: bytes, now: Now) -> bytes:
        if kind == ACKNOWLEDGE:
            return self._open(now)
        if kind == OPEN:
            return self._ask(chunk, now)
        if kind in (PART, FINAL) and len(chunk) > _SYMMETRIC.size:
            self._body += chunk[_SYMMETRIC.size :]
            if kind == FINAL:
                self._told()
            return b""
        self.over = True
        return b""

    def _open(self, now: Now) -> bytes:
        request = OpenRequest(
            header=RequestHeader(timestamp=messages.moment(now.wall_ns), handle=1),
            kind=0,
            mode=NO_SECURITY,
            nonce=None,
            lifetime_ms=LIFETIME_MS,
        )
        chunk = head(0, NONE_URI, None, None) + SEQUENCE.pack(1, 1) + messages.encode(request)
        return _sized(chunk)

    def _ask(self, chunk: bytes, now: Now) -> bytes:
        read = read_head(chunk)
        opened = None if read is None else messages.read(chunk[read.end + SEQUENCE.size :], OpenResponse)
        if not isinstance(opened, OpenResponse) or opened.header.status:
            self.over = True
            return b""
        request = GetEndpointsRequest(
            header=RequestHeader(timestamp=messages.moment(now.wall_ns), handle=2), url=self._url
        )
        token = opened.token
        return _sized(
            _SYMMETRIC.pack(FINAL, 0, token.channel_id, token.token_id, 2, 2) + messages.encode(request)
        )

    def _told(self) -> None:
        self.over = True
        answer = messages.read(self._body, GetEndpointsResponse)
        if isinstance(answer, GetEndpointsResponse) and not answer.header.status:
            chains = [certificates(each.certificate or b"") for each in answer.endpoints]
            self.shown = frozenset(chain[0] for chain in chains if chain)


def _sized(chunk: bytes) -> bytes:
    """A chunk with its size filled in."""
    return chunk[:4] + len(chunk).to_bytes(4, "little") + chunk[8:]
