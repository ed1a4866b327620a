"""Checkpoints off the box: what a receiver takes, and what a gateway does about what it is told."""

import asyncio
import base64
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.log import Log
from gateway.audit.note import Checkpoint, VerifierKey
from gateway.audit.proof import Hashes, growth_proof, reading
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk, DiskFile
from gateway.audit.witness import MOST_HASHES, SIZE_TYPE, add_checkpoint
from gateway.export import offbox as offboxes
from gateway.export.keeping import Kept
from gateway.export.offbox import ROLLED_BACK, UNCONFIRMED, Offbox
from gateway.export.receivers import Contradicted, FileReceiver, Prove, Receiver, Unanswered
from gateway.model.errors import JournalError
from gateway.model.record import NotRecorded
from tests.unit.audit import world
from tests.unit.audit.world import ALLOW, Clock, caller, writing

KEY = Signer(world.KEY, world.ORIGIN).verifier
KEYS = {world.ORIGIN: KEY}


def opened(folder: Path) -> tuple[Log, Signer]:
    signer = Signer(world.KEY, world.ORIGIN)
    return recover(Disk(folder), signer, 1 << 20)[0], signer


def grow(folder: Path, count: int, text: str = "x") -> tuple[Checkpoint, bytes]:
    """More records, signed; the newest checkpoint and its note."""
    log, signer = opened(folder)
    log.append([f"{text}{log.size + i}".encode() for i in range(count)])
    log.checkpoint()
    log.close()
    return signer.newest()


def request(old: int, hashes: list[bytes], note: bytes) -> bytes:
    lines = [f"old {old}", *(base64.b64encode(value).decode() for value in hashes), "", ""]
    return "\n".join(lines).encode() + note


def proof(folder: Path, old: int, new: int) -> list[bytes]:
    return Hashes(reading(folder), new).consistency(old)


def test_what_a_receiver_answers(tmp_path: Path) -> None:
    kept, log = Kept(tmp_path / "kept"), tmp_path / "log"
    ten, first = grow(log, 10)
    assert add_checkpoint(request(0, [], first), {}, kept).status == 404
    assert add_checkpoint(request(0, [], first.replace(b"\n10\n", b"\n11\n")), KEYS, kept).status == 403
    assert add_checkpoint(request(11, [], first), KEYS, kept).status == 400
    assert add_checkpoint(request(0, [ten.root], first), KEYS, kept).status == 422
    assert kept.newest(KEY) is None, "nothing that was refused is kept"
    assert add_checkpoint(request(0, [], first), KEYS, kept).status == 200
    assert kept.newest(KEY) == ten
    assert add_checkpoint(request(10, [], first), KEYS, kept).status == 200, "again"

    thirty, second = grow(log, 20)
    stale = add_checkpoint(request(0, [], second), KEYS, kept)
    assert (stale.status, stale.body, stale.type) == (409, "10\n", SIZE_TYPE)
    grown = proof(log, 10, 30)
    assert add_checkpoint(request(10, grown[:-1], second), KEYS, kept).status == 422
    assert add_checkpoint(request(10, grown, second), KEYS, kept).status == 200
    assert kept.newest(KEY) == thirty
    back = add_checkpoint(request(10, [], first), KEYS, kept)
    assert (back.status, back.body) == (409, "30\n"), "a log that was put back"


def test_a_fork_of_the_same_size_is_a_conflict(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    _, one = grow(tmp_path / "one", 10)
    _, other = grow(tmp_path / "other", 10, "y")
    assert add_checkpoint(request(0, [], one), KEYS, kept).status == 200
    assert add_checkpoint(request(10, [], other), KEYS, kept).status == 409


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0",
        b"old -1\n\nx\n0\n",
        b"old 00\n\nx\n",
        b"new 0\n\nx\n",
        b"old 0\nAAAA\n\nx\n",
        b"old 0\n!\n\nx\n",
        request(0, [bytes(32)] * (MOST_HASHES + 1), b"x\n"),
        b"old 0\n\n\xff\xfe\n",
    ],
)
def test_what_is_no_request(tmp_path: Path, body: bytes) -> None:
    assert add_checkpoint(body, KEYS, Kept(tmp_path)).status == 400


@pytest.mark.parametrize("rest", [b"half a note", b"line\nline\n\n\xe2\x80\x94 half"])
def test_half_a_note_at_the_end_hides_nothing(tmp_path: Path, rest: bytes) -> None:
    kept = Kept(tmp_path / "kept")
    ten, first = grow(tmp_path / "log", 10)
    add_checkpoint(request(0, [], first), KEYS, kept)
    (file,) = (tmp_path / "kept").iterdir()
    with file.open("ab") as out:
        out.write(rest)
    assert kept.newest(KEY) == ten
    thirty, second = grow(tmp_path / "log", 20)
    assert add_checkpoint(request(10, proof(tmp_path / "log", 10, 30), second), KEYS, kept).status == 200
    assert kept.newest(KEY) == thirty
    assert kept.note(KEY) == second


def test_a_file_on_another_host(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "far" / "checkpoints"
    receiver = FileReceiver(file, KEY)
    ten, first = grow(log, 10)

    def prove(old: int) -> list[bytes]:
        return proof(log, old, receiver_size)

    receiver_size = 10
    with pytest.raises(Unanswered):
        receiver.offer(ten, first, prove)  # not there: a mount that failed is no answer
    file.parent.mkdir()
    file.touch()
    receiver.offer(ten, first, prove)
    receiver.offer(ten, first, prove)
    assert file.read_bytes() == first
    thirty, second = grow(log, 20)
    receiver_size = 30
    receiver.offer(thirty, second, prove)
    assert file.read_bytes() == first + second
    receiver_size = 10
    with pytest.raises(Contradicted, match="put back"):
        receiver.offer(ten, first, prove)
    file.write_bytes(b"something else\n")
    with pytest.raises(Unanswered):
        receiver.offer(thirty, second, prove)


def test_a_file_of_another_log_contradicts(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints"
    _, other = grow(tmp_path / "other", 10, "y")
    file.write_bytes(other)
    twenty, note = grow(tmp_path / "log", 20)
    with pytest.raises(Contradicted, match="not this one's beginning"):
        FileReceiver(file, KEY).offer(twenty, note, lambda old: proof(tmp_path / "log", old, 20))


def test_half_a_checkpoint_in_the_file_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk takes a part before it is full; the next try finds what was there before."""
    log, file = tmp_path / "log", tmp_path / "checkpoints"
    file.touch()
    receiver, write = FileReceiver(file, KEY), os.write
    receiver.offer(*grow(log, 10), lambda _: [])
    thirty, note = grow(log, 20)
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    with pytest.raises(Unanswered, match="part"):
        receiver.offer(thirty, note, lambda old: proof(log, old, 30))
    monkeypatch.undo()
    receiver.offer(thirty, note, lambda old: proof(log, old, 30))
    assert file.read_bytes().endswith(b"\n" + note)


def test_what_could_not_be_made_durable_was_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page cache has it, the disk perhaps not: it is not found again as if it were kept."""
    kept, log = Kept(tmp_path / "kept"), tmp_path / "log"
    ten, first = grow(log, 10)
    assert add_checkpoint(request(0, [], first), KEYS, kept).status == 200
    thirty, second = grow(log, 20)
    grown = request(10, proof(log, 10, 30), second)

    def broken(_: DiskFile) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(DiskFile, "fdatasync", broken)
    with pytest.raises(OSError, match="broken"):
        add_checkpoint(grown, KEYS, kept)
    monkeypatch.undo()
    assert kept.newest(KEY) == ten
    assert add_checkpoint(grown, KEYS, kept).status == 200
    assert kept.newest(KEY) == thirty


def test_what_the_disk_did_not_take_whole_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halves that pile up behind the last whole note would hide it, and any log would be taken for new."""
    kept, log = Kept(tmp_path / "kept"), tmp_path / "log"
    ten, first = grow(log, 10)
    assert add_checkpoint(request(0, [], first), KEYS, kept).status == 200
    thirty, second = grow(log, 20)
    grown, room, write = request(10, proof(log, 10, 30), second), [0], DiskFile.pwrite

    def full(self: DiskFile, data: bytes | bytearray | memoryview, offset: int) -> int:
        some = bytes(data)[: room[0]]
        room[0] -= len(some)
        return write(self, some, offset)

    monkeypatch.setattr(DiskFile, "pwrite", full)
    for _ in range(100):
        room[0] = 100
        with pytest.raises(OSError, match="nothing"):
            add_checkpoint(grown, KEYS, kept)
    monkeypatch.undo()
    assert kept.newest(KEY) == ten
    assert add_checkpoint(grown, KEYS, kept).status == 200
    assert kept.newest(KEY) == thirty


def test_a_file_without_a_note_is_not_one_that_never_saw_the_log(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    _, first = grow(tmp_path / "log", 10)
    assert add_checkpoint(request(0, [], first), KEYS, kept).status == 200
    (file,) = (tmp_path / "kept").iterdir()
    with file.open("ab") as out:
        out.write(b"x" * 20_000)
    _, other = grow(tmp_path / "other", 10, "y")
    with pytest.raises(JournalError, match="no checkpoint"):
        add_checkpoint(request(0, [], other), KEYS, kept)


class Gateway:
    """A journal and its receivers, as the composition root joins them."""

    def __init__(
        self, folder: Path, file: Path | None, *, writes: bool = False, before: Receiver | None = None
    ) -> None:
        self.alarms: list[str] = []
        self.clock = Clock()
        signer = Signer(world.KEY, world.ORIGIN)
        known: list[Receiver] = [before] if before is not None else []
        if file is not None:
            known.append(FileReceiver(file, signer.verifier))
        self.offbox = Offbox(
            known,
            signer=signer,
            read=reading(folder),
            every_s=0.05,
            writes_before_answer=writes,
            alarm=lambda code, _: self.alarms.append(code),
        )
        self.journal = world.journal(folder, self.clock, signer=signer)
        self.journal.open()

    def status(self) -> dict[str, Any]:
        return self.journal.status()

    async def write(self) -> Any:
        return await self.journal.intent(caller(), (writing(),), (ALLOW,), self.clock.forward(0.01))


def run(gateway: Gateway, steps: Callable[[], Any]) -> None:
    async def live() -> None:
        await gateway.journal.start(asyncio.get_running_loop())
        try:
            await steps()
        finally:
            await gateway.journal.stop()
            await gateway.offbox.stop()

    asyncio.run(live())


async def until(what: Callable[[], bool], clock: Clock) -> None:
    async with asyncio.timeout(10):
        while not what():
            clock.forward(0.2)
            await asyncio.sleep(0.01)


def test_nothing_is_signed_before_the_answer_and_then_everything(tmp_path: Path) -> None:
    file = tmp_path / "far"
    gateway = Gateway(tmp_path / "journal", file)

    async def steps() -> None:
        await gateway.offbox.tell()
        assert gateway.alarms == ["checkpoint_receiver_silent"]
        refused = await gateway.write()
        assert isinstance(refused, NotRecorded)
        assert refused.why == UNCONFIRMED
        assert gateway.offbox.status()["rollback"] == "not known yet"
        gateway.clock.forward(5)
        assert gateway.status()["signed_size"] is None
        assert not (tmp_path / "journal/checkpoint").exists()
        file.touch()
        await gateway.offbox.tell()
        assert gateway.offbox.status()["rollback"] == "detectable"
        await until(lambda: gateway.status()["signed_size"] is not None, gateway.clock)
        assert not isinstance(await gateway.write(), NotRecorded)

    run(gateway, steps)
    assert file.read_bytes().endswith((tmp_path / "journal/checkpoint").read_bytes()), "told at stop"


class Silent:
    """A receiver that does not come back, such as a file on a mount that hangs."""

    name = "silent"

    def __init__(self) -> None:
        self.asked = 0
        self.end = threading.Event()

    def offer(self, checkpoint: Checkpoint, note: bytes, prove: Prove) -> None:
        self.asked += 1
        self.end.wait(60)
        raise Unanswered("at last")


@pytest.mark.timeout(30)
def test_a_receiver_that_holds_its_thread_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those behind it, nor the stop, nor the end of the process; and it is asked once at a time."""
    monkeypatch.setattr(offboxes, "LINGER_S", 0.1)
    monkeypatch.setattr(offboxes, "SILENT_S", 0.3)
    monkeypatch.setattr(offboxes, "STOP_S", 0.5)
    file, silent = tmp_path / "far", Silent()
    file.touch()
    gateway = Gateway(tmp_path / "journal", file, before=silent)

    async def steps() -> None:
        await gateway.offbox.tell()
        assert gateway.offbox.status()["receivers"][1]["seen"] == 0
        assert gateway.offbox.status()["rollback"] == "not known yet", "one has not answered"
        for _ in range(5):
            await gateway.offbox.tell()
            await asyncio.sleep(0.1)
        assert gateway.alarms == ["checkpoint_receiver_silent"]
        assert "no answer" in gateway.offbox.status()["receivers"][0]["trouble"]
        assert silent.asked == 1
        silent.end.set()
        await until(lambda: gateway.offbox.status()["receivers"][0]["trouble"] == "at last", gateway.clock)
        silent.end.clear()
        await gateway.offbox.tell()
        assert silent.asked == 2

    began = time.monotonic()
    run(gateway, steps)
    assert time.monotonic() - began < 10
    silent.end.set()


def test_writes_before_the_answer_where_that_is_configured(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "journal", tmp_path / "far", writes=True)

    async def steps() -> None:
        await gateway.offbox.tell()
        assert not isinstance(await gateway.write(), NotRecorded)
        gateway.clock.forward(5)
        assert gateway.status()["signed_size"] is None

    run(gateway, steps)
    assert not (tmp_path / "journal/checkpoint").exists()


def test_yesterdays_copy_is_not_signed(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal", tmp_path / "far"
    file.touch()

    def day(writes: int) -> Gateway:
        gateway = Gateway(journal, file)

        async def steps() -> None:
            await gateway.offbox.tell()
            for _ in range(writes):
                assert not isinstance(await gateway.write(), NotRecorded)

        run(gateway, steps)
        return gateway

    day(3)
    shutil.copytree(journal, tmp_path / "yesterday")
    day(5)
    signed = (journal / "checkpoint").read_bytes()
    shutil.rmtree(journal)
    shutil.copytree(tmp_path / "yesterday", journal)
    before = (journal / "checkpoints").read_bytes()
    gateway = Gateway(journal, file)

    async def steps() -> None:
        await gateway.offbox.tell()
        assert ROLLED_BACK in gateway.alarms
        refused = await gateway.write()
        assert isinstance(refused, NotRecorded)
        assert refused.why == ROLLED_BACK
        for _ in range(20):
            gateway.clock.forward(1)
            await asyncio.sleep(0.01)
        assert "put back" in gateway.offbox.status()["why"]
        assert "put back" in gateway.status()["held"]

    run(gateway, steps)
    assert (journal / "checkpoints").read_bytes() == before, "nothing was signed"
    assert file.read_bytes().endswith(signed), "and nothing was told"


def test_without_a_receiver_a_rollback_is_undetectable_and_that_is_said(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "journal", None)
    assert gateway.offbox.status() == {
        "rollback": "undetectable",
        "why": "no receiver is configured",
        "signing": True,
        "receivers": [],
    }
    assert (tmp_path / "journal/checkpoint").exists()


def test_a_held_signer_signs_nothing_new(tmp_path: Path) -> None:
    log, signer = opened(tmp_path)
    Offbox(
        [FileReceiver(tmp_path / "far", signer.verifier)],
        signer=signer,
        read=reading(tmp_path),
        every_s=1,
        writes_before_answer=False,
        alarm=lambda *_: None,
    )
    with pytest.raises(JournalError, match="waiting for an answer"):
        signer.sign(1, bytes(32))
    log.append([b"1"])
    log.checkpoint()
    assert signer.last is None
    log.close()


def test_a_checkpoint_is_told_when_it_is_durable_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that saw more than is here after a power cut would say that this log was put back."""
    log, signer = opened(tmp_path)
    log.append([b"1"])
    seen: list[int] = []

    def broken(_: DiskFile) -> None:
        seen.append(signer.newest()[0].size)
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(DiskFile, "fdatasync", broken)
        with pytest.raises(OSError, match="broken"):
            log.checkpoint()
    assert (seen, signer.newest()[0].size) == ([0], 0)
    log.close()
    log, signer = opened(tmp_path)
    log.append([b"2"])
    log.checkpoint()
    assert signer.newest()[0].size == log.size
    log.close()


def test_the_growth_file_is_what_a_receiver_takes(tmp_path: Path) -> None:
    """`audit prove --consistency` and the wire say it in one form."""
    kept = Kept(tmp_path / "kept")
    ten, first = grow(tmp_path / "log", 10)
    add_checkpoint(request(0, [], first), KEYS, kept)
    thirty, second = grow(tmp_path / "log", 20)
    made = growth_proof(ten, thirty, second, reading(tmp_path / "log"))
    assert add_checkpoint(made, KEYS, kept).status == 200


def test_origins_do_not_share_a_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for name in ("a/b", "a_b", "../a", "." * 300):
        kept.keep(VerifierKey(name, KEY.raw), b"x")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("extension", ["x\n", ("x" * 100 + "\n") * 60])
def test_a_note_that_would_not_be_found_again_is_not_taken(tmp_path: Path, extension: str) -> None:
    """Who has the log's key signs what they like; what was taken must bind them all the same."""
    kept, log = Kept(tmp_path / "kept"), tmp_path / "log"
    _, first = grow(log, 10)
    assert add_checkpoint(request(0, [], first), KEYS, kept).status == 200
    more, note = grow(log, 1)
    text = more.text() + extension.encode()
    signature = base64.b64encode(KEY.id + world.KEY.sign(text)).decode()
    long = text + f"\n— {KEY.name} {signature}\n".encode()
    head, _, signed = note.partition(b"\n\n")
    for odd in (long, head + "\n\n— somebody AAAA\n".encode() + signed):
        assert add_checkpoint(request(10, proof(log, 10, 11), odd), KEYS, kept).status == 400
    assert add_checkpoint(request(10, proof(log, 10, 11), note), KEYS, kept).status == 200
    assert kept.newest(KEY) == more
