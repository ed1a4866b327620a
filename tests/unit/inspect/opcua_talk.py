"""A client and a server that talk OPC UA without security, for captures made in tests."""

from pathlib import Path
from struct import pack

from gateway.wire.opcua import asking
from gateway.wire.opcua.framing import Buffers, acknowledge, hello
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    ApplicationDescription,
    CreateSessionRequest,
    OpenRequest,
    OpenResponse,
    RequestHeader,
    ResponseHeader,
    SecurityToken,
    SignatureData,
    encode,
)
from gateway.wire.opcua.nodeid import NodeId
from gateway.wire.opcua.security import NONE_URI
from gateway.wire.opcua.services import BY_NAME
from tests.interop.captures import packets, pcap
from tests.unit.capture.conversation import Two

READ_NAMESPACES = asking.read([NodeId(0, 2255).encode()], 1, 0)
CREATE = encode(
    CreateSessionRequest(
        client=ApplicationDescription(uri="urn:demo:panel"),
        nonce=bytes(32),
        certificate=None,
        timeout_ms=60_000.0,
    )
)
NAMESPACES = ("http://opcfoundation.org/UA/", "urn:demo:plc")
CHANNEL = 7


def read(node: str, handle: int, *, service: int | None = None) -> bytes:
    """A request that names a node as `ns=1;s=Tank` or `i=85`; `service` makes it another one."""
    space, _, rest = node.rpartition(";")
    number = int(space[3:]) if space else 0
    kind, _, what = rest.partition("=")
    identifier = int(what) if kind == "i" else what
    body = asking.read([NodeId(number, identifier).encode()], handle, 0)
    return body if service is None else body[:2] + pack("<H", service) + body[4:]


def answer(request: bytes, value: bytes | None = None) -> bytes:
    """The answer to a Read of one node: the NamespaceArray, or this Variant."""
    if value is None:
        names = b"".join(pack("<i", len(each)) + each.encode() for each in NAMESPACES)
        value = b"\x8c" + pack("<i", len(NAMESPACES)) + names
    handle = request[14:18]
    header = (
        pack("<BBHq", 1, 0, BY_NAME["Read"].answer, 0) + handle + bytes(4) + b"\0" + b"\xff" * 4 + bytes(3)
    )
    return header + pack("<i", 1) + b"\x01" + value + b"\xff" * 4


class Talk:
    """One connection in clear."""

    def __init__(self, url: str = "opc.tcp://10.0.0.1:4840/plc-1") -> None:
        self.url = url
        self.two = Two().handshake()
        self.sequence = 0
        self.request_id = 0
        self.said: list[bytes] = []
        "Chunks of the client."
        self._answers = 0

    def open(self) -> "Talk":
        """Hello to an open channel."""
        self.two.say(0, hello(Buffers(), self.url))
        self.two.say(1, acknowledge(Buffers()))
        asked = encode(
            OpenRequest(header=RequestHeader(handle=9), kind=0, mode=1, nonce=None, lifetime_ms=60_000)
        )
        given = OpenResponse(
            header=ResponseHeader(handle=9), token=SecurityToken(CHANNEL, 1, 0, 60_000), nonce=None
        )
        self.two.say(0, self._opened(0, asked))
        self.two.say(1, self._opened(1, encode(given)))
        return self

    def ask(self, body: bytes, *, read_answer: bool = False) -> "Talk":
        """A request of the client, and its answer."""
        self.request_id += 1
        self.sequence += 1
        chunk = _chunk(b"MSGF", pack("<IIII", CHANNEL, 1, self.sequence, self.request_id) + body)
        self.said.append(chunk)
        self.two.say(0, chunk)
        if read_answer:
            self._answer(self.request_id, answer(body))
        return self

    def activate(self) -> "Talk":
        """Somebody without a user."""
        return self.ask(encode(ActivateSessionRequest(signature=SignatureData())))

    def answer_nobody(self) -> None:
        """An answer that nobody asked for."""
        self._answer(4_000, answer(READ_NAMESPACES))

    def write(self, path: Path) -> Path:
        """As a capture."""
        return pcap(path, packets(self.two, port=4840))

    def _answer(self, request_id: int, body: bytes) -> None:
        self._answers += 1
        self.two.say(1, _chunk(b"MSGF", pack("<IIII", CHANNEL, 1, self._answers, request_id) + body))

    def _opened(self, side: int, body: bytes) -> bytes:
        policy = NONE_URI.encode()
        channel = CHANNEL if side else 0
        self.sequence += side == 0
        self._answers += side
        number = self._answers if side else self.sequence
        head = pack("<Ii", channel, len(policy)) + policy + b"\xff" * 8 + pack("<II", number, 1)
        return _chunk(b"OPNF", head + body)


def _chunk(kind: bytes, rest: bytes) -> bytes:
    return kind + pack("<I", 8 + len(rest)) + rest
