"""What proves that a receiver has everything, and what does not: against TLS servers that behave badly."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.config.settings import Receipt
from gateway.export import receipt
from gateway.export.receipt import Connection, Unreachable
from gateway.identity.contexts import client_context
from tests.pki import Credential, Pki, pki  # noqa: F401

MESSAGE = b"5 hello"


class Receiver:
    """A TLS server in a thread, for one connection; `behave` is what it does with it."""

    def __init__(self, pki: Pki, server: Credential, behave: Callable[[ssl.SSLSocket], None]) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.anchors("it")))
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(server.cert, server.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = b""
        self._behave = behave
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            with self._context.wrap_socket(sock, server_side=True) as tls:
                self._behave(tls)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


def read_all(tls: ssl.SSLSocket) -> bytes:
    """Everything up to the other side's goodbye."""
    parts = []
    with contextlib.suppress(ssl.SSLEOFError):
        while part := tls.recv(4096):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture
def own(pki: Pki, request: pytest.FixtureRequest) -> Credential:
    return pki.issue("it-client", "it", f"receipt-{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def server(pki: Pki, request: pytest.FixtureRequest) -> Credential:
    return pki.issue("it-server", "it", f"receiver-{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def serve(pki: Pki, server: Credential) -> Iterator[Callable[[Callable[[ssl.SSLSocket], None]], Receiver]]:
    made: list[Receiver] = []

    def start(behave: Callable[[ssl.SSLSocket], None]) -> Receiver:
        made.append(Receiver(pki, server, behave))
        return made[-1]

    yield start
    for each in made:
        each.close()


Serve = Callable[[Callable[[ssl.SSLSocket], None]], Receiver]


async def deliver(
    port: int, pki: Pki, own: Credential, data: bytes = MESSAGE, anchors: Path | None = None
) -> None:
    trusted = anchors or pki.anchors("it")
    connection = await Connection.open("127.0.0.1", port, lambda: client_context(trusted, own.cert, own.key))
    await connection.send(data)
    await connection.finish()


async def test_a_receiver_that_read_it_all_and_closed_has_it(serve: Serve, pki: Pki, own: Credential) -> None:
    got: list[bytes] = []
    data = bytes(range(256)) * 4096  # more than one TLS record and more than the socket holds
    await deliver(serve(lambda tls: got.append(read_all(tls))).port, pki, own, data)
    assert got == [data]


async def test_one_that_closes_without_reading_has_nothing(serve: Serve, pki: Pki, own: Credential) -> None:
    """Its FIN may come before our message reaches it: that looks like one that has it all."""
    gone = threading.Event()

    def leaves(tls: ssl.SSLSocket) -> None:
        tls.close()
        gone.set()

    made = serve(leaves)
    trusted = pki.anchors("it")
    connection = await Connection.open(
        "127.0.0.1", made.port, lambda: client_context(trusted, own.cert, own.key)
    )
    gone.wait(5)
    connection._hear = lambda: None  # type: ignore[method-assign] # as if the FIN came a moment later
    await connection.send(MESSAGE)
    with pytest.raises(Unreachable):
        await connection.finish()


async def test_one_that_says_goodbye_first_and_throws_the_rest_away_has_nothing(
    serve: Serve, pki: Pki, own: Credential
) -> None:
    """A server that is stopped may do so: it drains the socket, so that TCP acknowledges everything."""
    said = threading.Event()

    def leaves(tls: ssl.SSLSocket) -> None:
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the goodbye waits for no acknowledgement
        tls.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        said.set()
        raw = socket.socket(fileno=os.dup(tls.fileno()))
        raw.settimeout(5)
        with raw, contextlib.suppress(OSError):
            while raw.recv(4096):
                pass

    made = serve(leaves)
    trusted = pki.anchors("it")
    connection = await Connection.open(
        "127.0.0.1", made.port, lambda: client_context(trusted, own.cert, own.key)
    )
    assert await asyncio.to_thread(said.wait, 5)
    with pytest.raises(Unreachable, match="goodbye"):
        await connection.send(MESSAGE)
    connection.abort()


async def test_every_address_of_the_receiver_is_tried(
    serve: Serve, pki: Pki, own: Credential, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[bytes] = []
    made = serve(lambda tls: got.append(read_all(tls)))
    nobody, family = free_port(), (socket.AF_INET, socket.SOCK_STREAM, 6, "")

    async def found(*_: object, **__: object) -> list[object]:
        return [(*family, ("127.0.0.1", nobody)), (*family, ("127.0.0.1", made.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    await deliver(made.port, pki, own)
    assert got == [MESSAGE]


async def test_a_goodbye_within_tls_alone_is_no_receipt(
    serve: Serve, pki: Pki, own: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "RECEIPT_S", 0.3)
    gone = threading.Event()

    def polite(tls: ssl.SSLSocket) -> None:
        read_all(tls)
        tls.unwrap().settimeout(5)
        gone.wait(10)

    with pytest.raises(Unreachable, match="not in time"):
        await deliver(serve(polite).port, pki, own)
    gone.set()


def reset(tls: ssl.SSLSocket) -> None:
    """As the kernel does for a process that dies with something unread."""
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tls.close()


async def test_a_receiver_that_dies_has_nothing(serve: Serve, pki: Pki, own: Credential) -> None:
    with pytest.raises(Unreachable):
        await deliver(serve(reset).port, pki, own)


async def test_one_that_dies_after_reading_half_has_nothing(serve: Serve, pki: Pki, own: Credential) -> None:
    def half(tls: ssl.SSLSocket) -> None:
        tls.recv(1024)
        reset(tls)

    with pytest.raises(Unreachable):
        await deliver(serve(half).port, pki, own, bytes(1 << 22))


async def test_one_that_closes_before_we_are_done_has_nothing(
    serve: Serve, pki: Pki, own: Credential
) -> None:
    def early(tls: ssl.SSLSocket) -> None:
        tls.recv(1)

    with pytest.raises(Unreachable):
        await deliver(serve(early).port, pki, own, bytes(1 << 22))


async def test_one_that_says_nothing_is_given_up(
    serve: Serve, pki: Pki, own: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "RECEIPT_S", 0.3)
    gone = threading.Event()
    made = serve(lambda tls: (read_all(tls), gone.wait(10), None)[2])
    with pytest.raises(Unreachable, match="not in time"):
        await deliver(made.port, pki, own)
    gone.set()


async def test_one_that_takes_nothing_is_given_up(
    serve: Serve, pki: Pki, own: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "SEND_S", 0.3)
    gone = threading.Event()
    made = serve(lambda _: (gone.wait(10), None)[1])
    with pytest.raises(Unreachable, match="not in time"):
        await deliver(made.port, pki, own, bytes(1 << 25))
    gone.set()


async def test_nobody_listens(free_port: Callable[[], int], pki: Pki, own: Credential) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        await deliver(free_port(), pki, own)


async def test_a_receiver_that_nobody_vouches_for_gets_nothing(
    serve: Serve, pki: Pki, own: Credential
) -> None:
    got: list[bytes] = []
    made = serve(lambda tls: got.append(read_all(tls)))
    with pytest.raises(Unreachable, match="certificate"):
        await deliver(made.port, pki, own, anchors=pki.anchors("plant"))
    assert got in ([], [b""])


async def test_a_client_that_the_receiver_does_not_know_has_no_receipt(serve: Serve, pki: Pki) -> None:
    """With TLS 1.3 the refusal comes after our handshake is over."""
    stranger = pki.issue("modbus-client", "plant", "stranger-to-siem")
    with pytest.raises(Unreachable):
        await deliver(serve(lambda _: None).port, pki, stranger)


def leaves_without_a_word(tls: ssl.SSLSocket) -> None:
    """As rsyslog does: its connection ends, its TLS session does not."""
    read_all(tls)


def says_goodbye(tls: ssl.SSLSocket) -> None:
    read_all(tls)
    tls.unwrap()


@pytest.mark.parametrize(
    ("behave", "proof", "counts"),
    [
        (leaves_without_a_word, Receipt.TCP, True),
        (says_goodbye, Receipt.TCP, True),
        (leaves_without_a_word, Receipt.TLS, False),
        (says_goodbye, Receipt.TLS, True),
    ],
)
async def test_a_bare_end_of_the_connection_counts_where_it_may(
    serve: Serve,
    pki: Pki,
    own: Credential,
    behave: Callable[[ssl.SSLSocket], None],
    proof: Receipt,
    *,
    counts: bool,
) -> None:
    """TCP is authenticated by nobody: who is on the way can end it, and acknowledge what never arrived."""
    made = serve(behave)
    anchors = pki.anchors("it")
    connection = await Connection.open(
        "127.0.0.1", made.port, lambda: client_context(anchors, own.cert, own.key), proof
    )
    await connection.send(MESSAGE)
    if counts:
        await connection.finish()
    else:
        with pytest.raises(Unreachable, match="close_notify"):
            await connection.finish()
