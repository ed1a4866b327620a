"""A TLS server on the product's contexts, and openssl as its client."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from gateway.identity.certificate import Refused
from gateway.identity.contexts import server_context
from gateway.identity.trust import ZoneTrust
from gateway.model.identity import Identity
from gateway.model.moment import Now
from tests.pki import Credential, Pki, moment


class Door:
    """Accepts, shakes hands, admits, and says `in` or `out`: what a listener does, without its event loop."""

    def __init__(self, shown: Credential, trust: ZoneTrust, now: Now | None = None) -> None:
        self.shown, self.trust, self.now = shown, trust, now
        self.context = server_context(shown.cert, shown.key, trust)
        self.seen: list[Identity | Refused | str] = []
        "What came of each connection: an identity, a refusal, or the reason of a failed handshake."
        self.reused: list[bool] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def renew_context(self) -> None:
        """What a listener does when trust has changed."""
        self.context = server_context(self.shown.cert, self.shown.key, self.trust)

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            with raw:
                raw.settimeout(10)
                try:
                    with self.context.wrap_socket(raw, server_side=True) as tls:
                        self._greet(tls)
                except ssl.SSLError as error:
                    self.seen.append(str(error.reason))
                except OSError:
                    pass  # the client closed first

    def _greet(self, tls: ssl.SSLSocket) -> None:
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        admitted = self.trust.admit(der, self.now or moment())
        self.seen.append(admitted)
        self.reused.append(bool(tls.session_reused))
        tls.sendall(b"in\n" if isinstance(admitted, Identity) else b"out\n")
        tls.recv(100)
        # An orderly end: OpenSSL forgets the session of a connection that was cut, and resumption would not
        # be tried at all.
        tls.unwrap()


def s_client(door: Door, pki: Pki, shown: Credential | None, *options: str) -> str:
    """What `openssl s_client` printed after one connection, and after `in` or `out` if it got that far."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-partial_chain", *options]
    command += ["-CAfile", str(pki.anchors("plant")), "-verify_return_error", "-servername", "localhost"]
    if shown is not None:
        command += ["-cert", str(shown.cert), "-key", str(shown.key)]
    return run_until_answered(command)


def run_until_answered(command: Sequence[str | Path]) -> str:
    """Run a client; when the server has said `in` or `out`, say goodbye, so that sessions are written."""
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(15, process.kill)
        timer.start()
        printed = []
        try:
            for line in process.stdout:
                printed.append(line.decode(errors="replace"))
                if line in (b"in\n", b"out\n"):
                    process.stdin.write(b"Q\n")
                    process.stdin.flush()
        finally:
            timer.cancel()
        return "".join(printed)
