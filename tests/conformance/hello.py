"""A TLS client that only says hello: what a server answers to any offer, as bytes on the wire.

No key is ever agreed on, so an offer costs a round trip and can be one that no TLS library would make: SSL
2.0, a suite that is never to be negotiated, a list of every code point there is. Up to ServerHelloDone a TLS
1.2 server speaks in the clear (RFC 5246 §7.3); of TLS 1.3 only the first message is seen (RFC 8446 §2).
"""

import asyncio
from dataclasses import dataclass, field
from struct import pack, unpack_from

from gateway.identity.der import elements

TLS_1_2, TLS_1_1, TLS_1_0, SSL_3_0 = 0x0303, 0x0302, 0x0301, 0x0300
HANDSHAKE, ALERT = 22, 21
SERVER_HELLO, CERTIFICATE, KEY_EXCHANGE, CERTIFICATE_REQUEST, HELLO_DONE = 2, 11, 12, 13, 14
FATAL = 2
MAX_FRAGMENT, GROUPS, POINTS, SIGNATURES, VERSIONS, KEY_SHARE, RENEGOTIATION = 1, 10, 11, 13, 43, 51, 0xFF01
"Extensions, by their IANA numbers."
P_256, X25519 = 23, 29
SIGNALS = {0x00FF, 0x5600}
"Code points that are no suites: TLS_EMPTY_RENEGOTIATION_INFO_SCSV and TLS_FALLBACK_SCSV."
RECORD = 16_384
SUITES_AT_ONCE = 30_000
"The suite list of a ClientHello is at most 65,534 bytes."
DEADLINE_S = 10


def vector(width: int, data: bytes) -> bytes:
    """A length of that many bytes, and the data (RFC 5246 §4.3)."""
    return len(data).to_bytes(width, "big") + data


def words(numbers: "tuple[int, ...] | list[int]") -> bytes:
    """Numbers of two bytes each."""
    return pack(f">{len(numbers)}H", *numbers)


def extension(number: int, data: bytes) -> bytes:
    """One extension."""
    return pack(">H", number) + vector(2, data)


def client_hello(
    *suites: int,
    version: int = TLS_1_2,
    groups: tuple[int, ...] = (P_256,),
    compression: bytes = b"\0",
    session: bytes = b"",
    more: bytes = b"",
    tls13: bool = False,
) -> bytes:
    """A ClientHello message. `more` is extensions; `tls13` offers that version alone, and no key share."""
    extensions = extension(GROUPS, vector(2, words(groups)))
    extensions += extension(POINTS, vector(1, b"\0"))
    extensions += extension(SIGNATURES, vector(2, words((0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501))))
    if tls13:
        extensions += extension(VERSIONS, vector(1, words((0x0304,)))) + extension(KEY_SHARE, vector(2, b""))
    body = pack(">H", version) + bytes(range(32)) + vector(1, session) + vector(2, words(suites))
    body += vector(1, compression)
    if version != SSL_3_0:
        body += vector(2, extensions + more)
    return b"\1" + vector(3, body)


def records(message: bytes, version: int = TLS_1_0, size: int = RECORD) -> bytes:
    """The message in handshake records of that many bytes."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(pack(">BH", HANDSHAKE, version) + vector(2, piece) for piece in pieces)


@dataclass
class Hello:
    """A ClientHello or ServerHello, read."""

    version: int
    session: bytes
    suites: tuple[int, ...]
    compression: bytes
    extensions: dict[int, bytes]


def read_hello(body: bytes, *, client: bool) -> Hello:
    """Read the body of a hello message (RFC 5246 §7.4.1)."""
    version, session_length = unpack_from(">H32xB", body)
    at = 35 + session_length
    session = body[35:at]
    if client:
        (length,) = unpack_from(">H", body, at)
        suites = unpack_from(f">{length // 2}H", body, at + 2)
        at += 2 + length
        compression = body[at + 1 : at + 1 + body[at]]
        at += 1 + body[at]
    else:
        suites = unpack_from(">H", body, at)
        compression = body[at + 2 : at + 3]
        at += 3
    found, at = {}, at + 2
    while at < len(body):
        number, length = unpack_from(">HH", body, at)
        found[number] = body[at + 4 : at + 4 + length]
        at += 4 + length
    return Hello(version, session, suites, compression, found)


@dataclass
class Flight:
    """What a server said up to the first message that would need a key, an alert, or its end."""

    messages: list[tuple[int, bytes]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    "Bytes in each record."
    alert: tuple[int, int] | None = None
    "Level and description."
    closed: bool = False
    _pending: bytes = b""

    def message(self, kind: int) -> bytes:
        """The one message of that kind."""
        (found,) = [body for each, body in self.messages if each == kind]
        return found

    @property
    def kinds(self) -> list[int]:
        """Kinds of messages, in order."""
        return [kind for kind, _ in self.messages]

    @property
    def hello(self) -> Hello:
        """The ServerHello, or the HelloRetryRequest that looks like one."""
        return read_hello(self.message(SERVER_HELLO), client=False)

    @property
    def refused(self) -> bool:
        """Whether there was a fatal alert, then the end, and never a ServerHello."""
        return self.alert is not None and self.alert[0] == FATAL and self.closed and not self.messages

    @property
    def certificates(self) -> list[bytes]:
        """The chain as it was sent, DER."""
        body, found, at = self.message(CERTIFICATE), [], 3
        while at < len(body):
            length = int.from_bytes(body[at : at + 3], "big")
            found.append(body[at + 3 : at + 3 + length])
            assert len(elements(found[-1])) == 1
            at += 3 + length
        return found

    def take(self, kind: int, data: bytes) -> bool:
        """Take a record. True when nothing more can be read in the clear."""
        self.sizes.append(len(data))
        if kind == ALERT:
            self.alert = (data[0], data[1])
            return self.alert[0] == FATAL
        self._pending += data
        while len(self._pending) >= 4:
            length = int.from_bytes(self._pending[1:4], "big")
            if len(self._pending) < 4 + length:
                break
            self.messages.append((self._pending[0], self._pending[4 : 4 + length]))
            self._pending = self._pending[4 + length :]
        last = self.kinds[-1] if self.messages else None
        return last == HELLO_DONE or (last == SERVER_HELLO and VERSIONS in self.hello.extensions)


class Conversation:
    """One connection on which bytes of our own making are sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Conversation":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def say(self, data: bytes) -> Flight:
        """Send, and read what comes of it; after a fatal alert to the end of the connection."""
        flight = Flight()
        self._writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            try:
                while True:
                    kind, _, length = unpack_from(">BHH", await self._reader.readexactly(5))
                    if flight.take(kind, await self._reader.readexactly(length)):
                        break
                if flight.alert is not None:
                    flight.closed = await self._reader.read() == b""
            except (asyncio.IncompleteReadError, ConnectionError):
                flight.closed = True
        return flight

    def close(self) -> None:
        """Leave."""
        self._writer.close()


async def offer(port: int, data: bytes) -> Flight:
    """One offer on a connection of its own."""
    conversation = await Conversation.open(port)
    try:
        return await conversation.say(data)
    finally:
        conversation.close()


async def scan(port: int, *, tls13: bool) -> set[int]:
    """Every suite, of all 65,536 code points, that the server would negotiate.

    Many are offered at once; the one that it takes is left out of the next offer, until it takes none.
    """
    found: set[int] = set()
    every = [code for code in range(0x10000) if code not in SIGNALS]
    for begin in range(0, len(every), SUITES_AT_ONCE):
        offered = every[begin : begin + SUITES_AT_ONCE]
        while True:
            flight = await offer(port, records(client_hello(*offered, tls13=tls13)))
            if flight.refused:
                break
            taken = flight.hello.suites[0]
            found.add(taken)
            offered.remove(taken)
    return found
