"""Clients beside asyncio's: one that resumes sessions and spoils records, and OpenSSL's own."""

import socket
import ssl
import subprocess
import threading
from struct import pack
from typing import Self

from tests.pki import Credential, Pki

from .hello import Hello, read_hello

READ_BYTES = 16_384
DEADLINE_S = 10.0


class Peer:
    """TLS in memory over a blocking socket, so that what lies on the wire can be seen and spoiled."""

    def __init__(self, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", session=session
        )
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def handshake(self) -> None:
        """The whole of it; ssl.SSLError with the alert's name if the server will not."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
                continue
            self._flush()
            return

    def begin(self) -> bytes:
        """The handshake, and the first piece that the server says of itself."""
        self.handshake()
        return self.listen()

    def ask(self, request: bytes) -> bytes:
        """One request, and the piece that answers it; empty once the server has closed."""
        self._tls.write(request)
        self._flush()
        return self.listen()

    def spoil(self) -> bytes:
        """Send an application record that no key has made; what the server says then."""
        self._socket.sendall(b"\x17\x03\x03" + pack(">H", 48) + bytes(48))
        return self.listen()

    def listen(self) -> bytes:
        """The next piece from the server; empty once it has closed."""
        while True:
            try:
                return self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                self._exchange()

    def bye(self) -> None:
        """End in order: OpenSSL forgets the session of a connection that was cut."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self._exchange()

    @property
    def ended(self) -> bool:
        """Whether the server has closed the TCP connection as well. Waits for it."""
        return self._socket.recv(READ_BYTES) == b""

    @property
    def session(self) -> ssl.SSLSession | None:
        """What could be resumed."""
        return self._tls.session

    @property
    def resumed(self) -> bool:
        """Whether this connection resumed an old session."""
        return bool(self._tls.session_reused)

    def _exchange(self) -> None:
        self._flush()
        data = self._socket.recv(READ_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())


def first_words(context: ssl.SSLContext) -> Hello:
    """The ClientHello with which a context begins."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        record = outgoing.read()
        assert record[5] == 1
        return read_hello(record[9:], client=True)
    raise AssertionError("a handshake that needs nobody")


def openssl(
    program: str, port: int, pki: Pki, shown: Credential | None, request: bytes, answer: int, *options: str
) -> tuple[bytes, str]:
    """`openssl s_client`: what answered the request, at most that many bytes, and what it printed."""
    command = [program, "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(pki.root), "-quiet"]
    command += ["-verify_return_error", "-servername", "localhost", *options]
    if shown is not None:
        command += ["-cert", str(shown.cert), "-key", str(shown.key)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        timer = threading.Timer(DEADLINE_S, process.kill)
        timer.start()
        try:
            try:
                process.stdin.write(request)
                process.stdin.flush()
            except BrokenPipeError:
                pass  # the handshake has already failed
            found = process.stdout.read(answer)
        finally:
            timer.cancel()
            process.kill()
        return found, process.stderr.read().decode(errors="replace")
