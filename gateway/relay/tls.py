"""TLS in memory, between a TCP transport and a protocol that sees only plaintext.

Why our own and not asyncio's: asyncio and uvloop never send the fatal alert of a failed handshake
(Modbus/TCP Security R-08 wants it), give no place to judge the peer between handshake and first byte, and
keep one context for a listener's life. Here the context is an argument of every connection, and not one
application byte is interpreted before `admit` has said who the peer is.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

from gateway.model.identity import Caller
from gateway.relay.flush import Flush

READ_BYTES = 16_384
"One TLS record (RFC 8446 §5.1): a read never returns more, so an empty BIO means nothing is left."
HIGH_WATER = 65_536
"Ciphertext waiting for a slow peer; above it the inner protocol is told to pause."

CLOSING_S = 5.0
"How long a closing connection may take to deliver its last bytes."


class TlsConnection(asyncio.Protocol):
    """One accepted connection: handshake, admission, then plaintext for `inner`."""

    def __init__(
        self,
        context: ssl.SSLContext,
        begin: Callable[["TlsConnection"], bool],
        admit: Callable[["TlsConnection", bytes | None], Caller | None],
        inner: Callable[[Caller], asyncio.BaseProtocol],
        ended: Callable[["TlsConnection", str | None], None],
        flush: Flush,
    ) -> None:
        """Judges come as arguments.

        `begin` may turn the peer away before TLS costs anything; `admit` gets its certificate (DER), and
        None from it ends the connection; `ended` is told once, with the TLS failure if there was one.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._begin = begin
        self._admit = admit
        self._make_inner = inner
        self._ended = ended
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._soon = flush
        self._dirty = False
        "Whether `flush` will be called at the end of this turn of the loop."
        self.failure: str | None = None
        self.caller: Caller | None = None
        self.certificate: bytes | None = None
        "The peer's certificate, DER, once the handshake is over."
        self.peer = ""
        self.reads = 0
        "Grows with every piece that arrives: how a listener finds idle connections without a timer for each."

    # asyncio's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else ""
        if not self._begin(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self.reads += 1
        incoming = self._incoming
        incoming.write(data)
        inner = self._inner
        if inner is None:
            inner = self._handshake()
            if inner is None:
                return
        read = self._tls.read
        try:
            while incoming.pending and not self._closed:
                plain = read(READ_BYTES)
                if not plain:
                    self.close()
                    return
                inner.data_received(plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        if self._outgoing.pending and not self._dirty:
            self.flush()

    def eof_received(self) -> bool | None:
        self.close()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._transport = None  # what still wants to be flushed has nowhere to go
        if self._inner is not None:
            inner, self._inner = self._inner, None
            inner.connection_lost(exc)
        self._ended(self, self.failure)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    # the inner protocol's side ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send plaintext; nothing once the connection is closing."""
        if self._closed or not data:
            return
        self._tls.write(data)
        if not self._dirty:
            self._dirty = True
            self._soon.add(self)

    def flush(self) -> None:
        """Send what TLS has ready."""
        self._dirty = False
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())

    def close(self) -> None:
        """Say close_notify, send what is waiting, and close."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ssl.SSLError):  # the peer's close_notify has not come; we do not wait
            self._tls.unwrap()
        self._shut()

    def abort(self) -> None:
        """Close now; what is waiting is lost."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def closing(self) -> bool:
        """Whether nothing more will be sent."""
        return self._closed

    @property
    def established(self) -> bool:
        """Whether the handshake is over and the peer admitted."""
        return self._inner is not None

    def version(self) -> str | None:
        """`1.2` or `1.3` after the handshake."""
        version = self._tls.version()
        return version.removeprefix("TLSv") if version else None

    @property
    def transport(self) -> asyncio.Transport | None:
        """The TCP transport below."""
        return self._transport

    # inside ----------------------------------------------------------------------------------------

    def _handshake(self) -> asyncio.Protocol | None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return None
        except ssl.SSLError as error:
            self._fail(error)
            return None
        self.flush()
        self.certificate = self._tls.getpeercert(binary_form=True)
        self.caller = self._admit(self, self.certificate)
        if self.caller is None:
            self.close()
            return None
        inner = cast(asyncio.Protocol, self._make_inner(self.caller))
        self._inner = inner
        inner.connection_made(TlsTransport(self))
        return inner

    def _fail(self, error: ssl.SSLError) -> None:
        """The alert that OpenSSL has put into the BIO goes out before the connection closes."""
        self.failure = error.reason or type(error).__name__
        self._closed = True
        self._shut()

    def _shut(self) -> None:
        """Send what is waiting and close; a peer that does not read is cut after CLOSING_S."""
        self.flush()
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSING_S, self.abort)


class TlsTransport(asyncio.Transport):
    """The transport that the inner protocol sees."""

    def __init__(self, connection: TlsConnection) -> None:
        super().__init__()
        self._connection = connection
        self.write = connection.write  # type: ignore[assignment,method-assign] # one call less on the hot path
        self._protocol: asyncio.BaseProtocol | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`dmz.caller` is the authenticated Caller; the rest is the TCP transport's."""
        if name == "dmz.caller":
            return self._connection.caller
        below = self._connection.transport
        return default if below is None else below.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._connection.closing

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        self._connection.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        if self._protocol is None:
            raise RuntimeError("no protocol was set")
        return self._protocol

    def pause_reading(self) -> None:
        if self._connection.transport is not None:
            self._connection.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._connection.transport is not None and not self._connection.closing:
            self._connection.transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        below = self._connection.transport
        return 0 if below is None else below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are ours to set (HIGH_WATER)."""

    def can_write_eof(self) -> bool:
        return False
