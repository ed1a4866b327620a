"""The receiver over real mutual TLS: who may tell it, and what a log that is another one is told."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.note import Checkpoint
from gateway.audit.proof import Hashes, reading
from gateway.audit.signer import Signer
from gateway.export import receivers
from gateway.export.keeping import Keeping, Kept
from gateway.export.receivers import Contradicted, HttpsReceiver, Unanswered
from gateway.identity.contexts import client_context, server_context
from tests.pki import Credential, Pki
from tests.unit.audit import world
from tests.unit.audit.test_witness import KEYS, grow


def told(receiver: HttpsReceiver, folder: Path, newest: tuple[Checkpoint, bytes]) -> None:
    checkpoint, note = newest
    receiver.offer(checkpoint, note, Hashes(reading(folder), checkpoint.size).consistency)


def served(tmp_path: Path, pki: Pki, steps: Callable[[Callable[[Credential], HttpsReceiver]], None]) -> None:
    """Run the steps in a thread, against a receiver that knows the test log."""
    own = pki.issue("it-server", "it", "keeper")
    trust = pki.trust("plant")

    async def serve() -> None:
        keeping = Keeping(KEYS, Kept(tmp_path / "kept"), trust)
        await keeping.start("127.0.0.1", 0, server_context(own.cert, own.key, trust))

        def receiver(shown: Credential) -> HttpsReceiver:
            anchors = pki.anchors("it")
            return HttpsReceiver(
                "localhost", keeping.port, "", lambda: client_context(anchors, shown.cert, shown.key)
            )

        try:
            await asyncio.to_thread(steps, receiver)
        finally:
            await keeping.stop()

    asyncio.run(serve())


def test_a_log_that_grows_one_that_forks_and_one_that_is_not_known(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    shown = pki.issue("gateway-server", "plant", "gw-1")
    log, other = tmp_path / "log", tmp_path / "other"

    def steps(receiver: Callable[[Credential], HttpsReceiver]) -> None:
        first = receiver(shown)
        for _ in range(3):
            told(first, log, grow(log, 10))
        told(receiver(shown), log, grow(log, 5))  # a start later: it is told what was seen, and proves growth
        with pytest.raises(Contradicted, match="put back"):
            told(receiver(shown), other, grow(other, 10, "y"))
        with pytest.raises(Contradicted, match="other ones"):
            told(receiver(shown), other, grow(other, 25, "y"))
        with pytest.raises(Contradicted, match="did not grow from"):
            told(receiver(shown), other, grow(other, 40, "y"))
        stranger = Signer(world.KEY, "stranger.example/gw").newest()
        with pytest.raises(Unanswered, match="404"):
            receiver(shown).offer(*stranger, lambda _: [])

    served(tmp_path, pki, steps)


def test_nobody_is_heard_without_a_certificate_that_counts(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    gone, other = pki.issue("gateway-server", "plant", "gw-2"), pki.issue("gateway-server", "it", "gw-3")
    pki.revoke("plant", "gw-2")
    log = tmp_path / "log"

    def steps(receiver: Callable[[Credential], HttpsReceiver]) -> None:
        newest = grow(log, 10)
        with pytest.raises(Unanswered, match="401"):
            told(receiver(gone), log, newest)
        with pytest.raises(Unanswered):
            told(receiver(other), log, newest)

    served(tmp_path, pki, steps)
    assert Kept(tmp_path / "kept").newest(KEYS[world.ORIGIN]) is None


@pytest.mark.parametrize("from_the", ["answer", "body", "handshake"])
def test_a_receiver_that_drips_is_given_up_whatever_it_has_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_the: str
) -> None:
    """A byte now and then keeps every single wait short, and would hold the thread for days."""
    monkeypatch.setattr(receivers, "OFFER_S", 1.0)
    pki = Pki(tmp_path / "pki")
    shown, own = pki.issue("gateway-server", "plant", "gw-1"), pki.issue("it-server", "it", "keeper")
    context = server_context(own.cert, own.key, pki.trust("plant"))
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with contextlib.suppress(OSError):
            raw, _ = listening.accept()
            if from_the == "handshake":
                said = b"\x16\x03\x03\x40\x00" + bytes(1 << 14)
            else:
                raw = context.wrap_socket(raw, server_side=True)
                raw.recv(1 << 16)
                said = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n"
                if from_the == "body":
                    raw.sendall(said + b"\r\n")
            for byte in said * 100:
                raw.sendall(bytes([byte]))
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    anchors = pki.anchors("it")
    receiver = HttpsReceiver(
        "localhost", listening.getsockname()[1], "", lambda: client_context(anchors, shown.cert, shown.key)
    )
    newest = grow(tmp_path / "log", 10)
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"in time|timed out"):
        told(receiver, tmp_path / "log", newest)
    assert time.monotonic() - began < 4
    listening.close()
