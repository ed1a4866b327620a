"""A TLS connection to a syslog receiver that can tell whether the receiver has everything.

Syslog over TLS has no acknowledgement: what was written to the socket of a receiver that then dies is gone,
and nobody is told. There is one moment at which a receiver does say that it has read it all: after we have
closed our half in order (close_notify, FIN), it closes its own half only when it has read up to there. So a
connection carries a bounded number of messages, is closed, and that answer is waited for; `destination` moves
its place on nothing less. Whether that half's end of the TCP connection is enough, or its end of the TLS
session is needed too, is the site's choice: the first can be forged on the way, the second is not sent by
every receiver (`Receipt`). A connection that ends in any other way (reset, alert, silence) proves nothing,
and what it carried is sent again.

What the receiver does with a message that it has read is its own duty: a queue in memory dies with it.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gateway.config.settings import Receipt

CONNECT_S = 5.0
"How long TCP and TLS may take, each."
SEND_S = 30.0
"How long a receiver may take nothing before it is given up."
RECEIPT_S = 10.0
"How long it may take to read what is under way and to close."
LOOK_S = 0.005
"Pause between two looks at what is acknowledged."
TCP_CLOSE = 7
"State of a socket whose both halves are closed and acknowledged, or reset (Linux, TCP_INFO)."
CHUNK = 16_384
"Bytes encrypted at once: one TLS record (RFC 8446 §5.1)."


class Unreachable(Exception):  # noqa: N818 # a state of the world, and every caller's next step is to wait
    """The receiver cannot be reached, or has not confirmed."""


class Connection:
    """One connection, from `open` to `finish`. Every failure is an Unreachable."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str, proof: Receipt) -> None:
        self._sock = sock
        self._proof = proof
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        context: Callable[[], ssl.SSLContext],
        proof: Receipt = Receipt.TCP,
    ) -> "Connection":
        """Connect and shake hands; the certificate must be of that host."""
        with _Named(f"{host}:{port}"):
            sock = await _reached(host, port)
            try:
                connection = cls(sock, context(), host, proof)
                async with asyncio.timeout(CONNECT_S):
                    await connection._handshake()
            except BaseException:
                sock.close()
                raise
        return connection

    async def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """Write it all. That proves nothing yet."""
        view = memoryview(data)
        with _Named("sending"):
            async with asyncio.timeout(SEND_S):
                for at in range(0, len(view), CHUNK):
                    self._tls.write(view[at : at + CHUNK])
                    self._hear()
                    await self._flush()

    async def finish(self) -> None:
        """Close in order; returns when the receiver has read everything."""
        with _Named("no receipt"):
            async with asyncio.timeout(RECEIPT_S):
                try:
                    self._hear()
                    with contextlib.suppress(ssl.SSLWantReadError):
                        self._tls.unwrap()
                    await self._flush()
                    self._sock.shutdown(socket.SHUT_WR)
                    goodbye = False
                    while data := await self._loop.sock_recv(self._sock, CHUNK):
                        self._in.write(data)
                        goodbye = self._heed()
                    if self._proof is Receipt.TLS and not goodbye:
                        raise ConnectionError(
                            "the receiver ended the connection without its goodbye (close_notify)"
                        )
                    await self._taken()
                finally:
                    self.abort()

    async def _taken(self) -> None:
        """Until all we sent, our FIN too, is acknowledged.

        One that closed before it read (it refused us, say) sends its FIN too; but what reaches it afterwards
        its kernel answers with a reset, and acknowledges nothing.
        """
        while self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:  # noqa: ASYNC110 # no event tells
            await asyncio.sleep(LOOK_S)
        if error := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionResetError(error, "the receiver had closed before it read everything")

    def abort(self) -> None:
        """Cut it."""
        self._sock.close()

    def _hear(self) -> None:
        """Take in what came: with TLS 1.3 a refusal of our certificate comes after the handshake.

        A goodbye before ours is none to what we send: its receiver may drain the socket and throw all away.
        """
        with contextlib.suppress(BlockingIOError):
            data = self._sock.recv(CHUNK)
            if not data:
                raise ConnectionError("the receiver has closed")
            self._in.write(data)
        if self._heed():
            raise ConnectionError("the receiver said goodbye before it had everything")

    def _heed(self) -> bool:
        """Interpret what came; whether it ends in a goodbye.

        An alert is an SSLError. `unwrap` would take a fatal one for a goodbye.
        """
        try:
            while self._tls.read(CHUNK):
                pass
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            return True
        return True

    async def _more(self) -> None:
        data = await self._loop.sock_recv(self._sock, CHUNK)
        if not data:
            raise ConnectionError("closed in the handshake")
        self._in.write(data)

    async def _flush(self) -> None:
        if self._out.pending:
            await self._loop.sock_sendall(self._sock, self._out.read())


async def _reached(host: str, port: int) -> socket.socket:
    """Connected to the first of its addresses that answers: one of two families may lead nowhere."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_S):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed: OSError = ConnectionError("it has no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(CONNECT_S / len(found)):
                await loop.sock_connect(sock, address)
        except OSError as error:  # a TimeoutError is one
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed


class _Named:
    """Turns what sockets and TLS raise into an Unreachable that says at what."""

    def __init__(self, at: str) -> None:
        self._at = at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            raise Unreachable(f"{self._at}: not in time") from error
        if isinstance(error, OSError):  # ssl.SSLError is one
            raise Unreachable(f"{self._at}: {error.strerror or error}") from error
