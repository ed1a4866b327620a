"""Places off this machine that keep checkpoints, and hold this log against what they saw before.

Rules that hold here:
- A receiver says yes, or that this log is not the one it knows (`Contradicted`), or nothing of use
  (`Unanswered`). Nothing of use is never taken for a yes.
- These calls block: `offbox` gives each receiver a thread. One over HTTPS has `OFFER_S` for all of it, even
  if it sends a byte now and then; for a file on a mount that hangs no program can set a bound.
"""

import base64
import os
import socket
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Protocol, cast

from gateway.audit.note import LONGEST, Checkpoint, VerifierKey, newest
from gateway.audit.tree import EMPTY, consistent
from gateway.model.errors import GatewayError

TIMEOUT_S = 5.0
"For each of connecting, sending and answering."
OFFER_S = 15.0
"For everything together: looking up, connecting, and all requests of one offer."
MOST_ANSWER = 4096
"Bytes of an answer that are read."
TAIL = 8 * LONGEST
"Bytes at the end of the file in which the last checkpoint must be."
MOST_TRIES = 3
"Requests of one offer: the first says what the receiver has, the second proves growth from there."


class Unanswered(GatewayError):  # noqa: N818 # what it is, not that it is an error
    """The receiver did not say anything of use."""


class Contradicted(GatewayError):  # noqa: N818
    """The receiver saw another log, or more of this one, than is here."""


Prove = Callable[[int], list[bytes]]
"Proof of growth from an old size to the checkpoint that is offered. JournalError where there is none."


class Receiver(Protocol):
    """One of them."""

    @property
    def name(self) -> str:
        """For status and alarms."""

    def offer(self, checkpoint: Checkpoint, note: bytes, prove: Prove) -> None:
        """Returns when it has the checkpoint. Raises Unanswered or Contradicted. Blocks."""


class HttpsReceiver:
    """Takes checkpoints by C2SP tlog-witness `add-checkpoint` over mutual TLS."""

    def __init__(self, host: str, port: int, path: str, context: Callable[[], ssl.SSLContext]) -> None:
        """`context` gives each connection its own: certificates are renewed while the gateway runs."""
        self._host, self._port = host, port
        self._path = f"{path.rstrip('/')}/add-checkpoint"
        self._context = context
        self._seen: int | None = None

    @property
    def name(self) -> str:
        """As in a URL."""
        return f"https://{self._host}:{self._port}"

    def offer(self, checkpoint: Checkpoint, note: bytes, prove: Prove) -> None:
        """Tell it, growing from what it last had."""
        until = time.monotonic() + OFFER_S
        old = checkpoint.size if self._seen is None else min(self._seen, checkpoint.size)
        for _ in range(MOST_TRIES):
            lines = [base64.b64encode(value).decode() for value in prove(old)]
            status, text = self._post("\n".join([f"old {old}", *lines, "", ""]).encode() + note, until)
            if status == 200:
                self._seen = checkpoint.size
                return
            if status == 422:
                raise Contradicted(f"{self.name} saw a log of {old} records that this one did not grow from")
            if status != 409 or not text.strip().isascii() or not text.strip().isdigit():
                raise Unanswered(f"{self.name} answered {status}: {text[:200].strip()}")
            seen = int(text)
            if seen > checkpoint.size:
                raise Contradicted(
                    f"{self.name} saw {seen} records signed, this log has {checkpoint.size}: it was put back"
                )
            if seen == old == checkpoint.size:
                raise Contradicted(f"{self.name} saw {seen} records too, but other ones")
            old = seen
        raise Unanswered(f"{self.name} takes checkpoints from somebody else at the same time")

    def _post(self, body: bytes, until: float) -> tuple[int, str]:
        try:
            connection = HTTPSConnection(self._host, self._port)
            connection.sock = self._connected(until)
            try:
                connection.request("POST", self._path, body, {"Content-Type": "text/plain; charset=utf-8"})
                answer = connection.getresponse()
                return answer.status, answer.read(MOST_ANSWER).decode("ascii", "replace")
            finally:
                connection.close()
        except (OSError, HTTPException, GatewayError) as error:
            raise Unanswered(f"{self.name}: {str(error) or type(error).__name__}") from error

    def _connected(self, until: float) -> ssl.SSLSocket:
        """To the first of its addresses that answers."""
        context = self._context()
        context.sslsocket_class = _Timed
        failed: OSError = ConnectionError("it has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(_left(until))
                sock.connect(address)
                timed = cast(
                    "_Timed",
                    context.wrap_socket(sock, server_hostname=self._host, do_handshake_on_connect=False),
                )
                sock = timed
                timed.until = until
                timed.settimeout(_left(until))
                timed.do_handshake()
            except OSError as error:  # a TimeoutError is one
                sock.close()
                failed = error
            else:
                return timed
        raise failed


class _Timed(ssl.SSLSocket):
    """A connection with an end: a byte now and then makes no wait longer."""

    until: float

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As much as comes within what is left."""
        self.settimeout(_left(self.until))
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """As much as goes within what is left."""
        self.settimeout(_left(self.until))
        return super().send(data, flags)


def _left(until: float) -> float:
    """Seconds that the next step may take. TimeoutError where there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("it did not answer in time")
    return min(TIMEOUT_S, left)


def _ended(fd: int) -> bool:
    """Whether the file ends with a line: half a note stays there from when its disk was full."""
    size = os.fstat(fd).st_size
    return size == 0 or os.pread(fd, 1, size - 1) == b"\n"


class FileReceiver:
    """Appends to a file on another host's disk, which that host lets grow only.

    The operator makes the file. One that is not there is no answer: a mount that failed must not look like a
    receiver that never saw anything.
    """

    def __init__(self, path: Path, key: VerifierKey) -> None:
        self._path = path
        self._key = key

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def offer(self, checkpoint: Checkpoint, note: bytes, prove: Prove) -> None:
        """Compare with the last note in it, and append."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            try:
                before = self._last(fd)
                self._compare(before, checkpoint, prove)
                if checkpoint.size > before.size:
                    line = note if _ended(fd) else b"\n" + note
                    if os.write(fd, line) < len(line):
                        raise Unanswered(f"{self._path}: its disk took only a part of the checkpoint")
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise Unanswered(f"{self._path}: {error.strerror or error}") from error

    def _compare(self, before: Checkpoint, checkpoint: Checkpoint, prove: Prove) -> None:
        if before.size > checkpoint.size:
            raise Contradicted(
                f"{self._path} has {before.size} records signed, this log {checkpoint.size}: it was put back"
            )
        if before.size == 0:
            return
        proof = prove(before.size)
        if not consistent(before.size, checkpoint.size, before.root, checkpoint.root, proof):
            raise Contradicted(
                f"{self._path} has a log of {before.size} records that is not this one's beginning"
            )

    def _last(self, fd: int) -> Checkpoint:
        """The last whole note in it that this log's key signed."""
        data = os.pread(fd, TAIL, max(0, os.fstat(fd).st_size - TAIL))
        if not data.strip():
            return Checkpoint(self._key.name, 0, EMPTY)
        last = newest(data, self._key)
        if last is None:
            raise Unanswered(f"{self._path} ends in something that is no checkpoint of this log")
        return last[0]
