"""Any change at or below the newest checkpoint is found, and the first bad index is named."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit import framing
from gateway.audit.framing import FRAME, HEAD
from gateway.audit.log import Log
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.audit.verify import Report, verify
from gateway.model.errors import JournalError
from tests.unit.audit import world

KEY = Signer(world.KEY, world.ORIGIN).verifier
EACH = 10
"Records between checkpoints."
COUNT = 700
"Signed records: more than two tiles."
TAIL = 3
"Records above the newest checkpoint."


def content(index: int) -> bytes:
    kind = "intent" if index % 100 == 99 else "config"
    return json.dumps(
        {"schema": "dmz.record/1", "id": f"{index:026d}", "kind": kind, "wall_ns": index},
        separators=(",", ":"),
    ).encode()


def opened(folder: Path, segment_bytes: int = 1 << 20) -> Log:
    log, _ = recover(Disk(folder), Signer(world.KEY, world.ORIGIN), segment_bytes)
    return log


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "journal"
    log = opened(folder)
    for start in range(0, COUNT, EACH):
        log.append([content(i) for i in range(start, start + EACH)])
        log.checkpoint()
    log.append([content(i) for i in range(COUNT, COUNT + TAIL)])
    log.close()
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    shutil.copytree(made, folder)
    return folder


def segment(folder: Path) -> Path:
    return min((folder / "segments").glob("*.seg"))


def place(index: int) -> int:
    """Where a record's frame begins."""
    return HEAD.size + sum(FRAME.size + len(content(i)) for i in range(index))


def rewrite(folder: Path, records: list[bytes]) -> None:
    """Write the segment anew with proper framing: what an attacker with the source of this program does."""
    frames = b"".join(framing.frame(index, data) for index, data in enumerate(records))
    segment(folder).write_bytes(framing.head(0) + frames)


def everything() -> list[bytes]:
    return [content(i) for i in range(COUNT + TAIL)]


def without_tiles(folder: Path) -> None:
    shutil.rmtree(folder / "tile")


def bad(report: Report) -> int:
    assert not report.ok
    assert report.first_bad is not None
    return report.first_bad.index


def test_an_unchanged_journal_verifies_and_names_what_is_not_covered(made: Path) -> None:
    report = verify(made, KEY)
    assert report.ok
    assert (report.records, report.covered, report.uncovered) == (COUNT + TAIL, COUNT, TAIL)
    assert report.tail is None
    assert report.open_intent_count == 7
    assert report.open_intents[0] == f"{99:026d}"


@pytest.mark.parametrize("index", [0, 1, 255, 256, 555, COUNT - 1])
@pytest.mark.parametrize("within", [0, 3, 4, 7, 8, 20, 60])
def test_any_byte_changed(copy: Path, index: int, within: int) -> None:
    data = bytearray(segment(copy).read_bytes())
    data[place(index) + within] ^= 0x10
    segment(copy).write_bytes(data)
    assert bad(verify(copy, KEY)) == index
    with pytest.raises(JournalError, match=rf"\b{index}\b"):
        opened(copy)


def removed(records: list[bytes], i: int) -> None:
    del records[i]


def inserted(records: list[bytes], i: int) -> None:
    records.insert(i, b'{"kind":"config"}')


def swapped(records: list[bytes], i: int) -> None:
    records[i], records[i + 1] = records[i + 1], records[i]


def changed(records: list[bytes], i: int) -> None:
    records[i] = records[i].replace(b"dmz.record/1", b"dmz.record/2")


MUTATIONS = {f.__name__: f for f in (removed, inserted, swapped, changed)}


@pytest.mark.parametrize("index", [0, 9, 10, 300, COUNT - 2])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_careful_forger_with_right_checks_is_named_by_the_tiles(
    copy: Path, mutation: str, index: int
) -> None:
    records = everything()
    MUTATIONS[mutation](records, index)
    rewrite(copy, records)
    assert bad(verify(copy, KEY)) == index
    with pytest.raises(JournalError):
        opened(copy)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_tiles_the_interval_between_checkpoints_is_named(copy: Path, mutation: str) -> None:
    records = everything()
    MUTATIONS[mutation](records, 305)
    rewrite(copy, records)
    without_tiles(copy)
    assert bad(verify(copy, KEY)) == 300


def test_of_two_changes_the_first_is_named_even_if_only_the_second_breaks_a_check(copy: Path) -> None:
    records = everything()
    changed(records, 301)
    rewrite(copy, records)
    data = bytearray(segment(copy).read_bytes())
    data[place(304) + 20] ^= 1
    segment(copy).write_bytes(data)
    assert bad(verify(copy, KEY)) == 301


@pytest.mark.parametrize("left", [0, 1, 300, COUNT - 1])
def test_the_end_cut_below_the_checkpoint(copy: Path, left: int) -> None:
    data = segment(copy).read_bytes()
    segment(copy).write_bytes(data[: place(left)])
    assert bad(verify(copy, KEY)) == left
    with pytest.raises(JournalError):
        opened(copy)


def test_the_end_zeroed_below_the_checkpoint(copy: Path) -> None:
    data = bytearray(segment(copy).read_bytes())
    data[place(600) :] = bytes(len(data) - place(600))
    segment(copy).write_bytes(data)
    assert bad(verify(copy, KEY)) == 600


def test_a_change_above_the_checkpoint_is_not_covered_and_named(copy: Path) -> None:
    data = bytearray(segment(copy).read_bytes())
    data[place(COUNT + 1) + 20] ^= 1
    segment(copy).write_bytes(data)
    report = verify(copy, KEY)
    assert report.ok
    assert report.uncovered == 1
    assert report.tail is not None
    assert str(place(COUNT + 1)) in report.tail


@pytest.mark.parametrize("at", [0, 8, 20, 40, 100])
def test_a_checkpoint_changed(copy: Path, at: int) -> None:
    data = bytearray((copy / "checkpoints").read_bytes())
    data[data.find(b"\n300\n") - len(world.ORIGIN) + at] ^= 1
    (copy / "checkpoints").write_bytes(data)
    assert not verify(copy, KEY).ok


def test_a_checkpoint_by_another_key_does_not_count(copy: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    other = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)), world.ORIGIN).verifier
    assert not verify(copy, other).ok


def test_a_half_written_checkpoint_at_the_end_is_no_error(copy: Path) -> None:
    with (copy / "checkpoints").open("ab") as file:
        file.write(world.ORIGIN.encode() + b"\n7")
    assert verify(copy, KEY).ok


def test_no_checkpoint_at_all(copy: Path) -> None:
    (copy / "checkpoint").unlink()
    (copy / "checkpoints").unlink()
    assert bad(verify(copy, KEY)) == 0


def test_a_log_cut_back_with_its_checkpoints_is_caught_by_a_kept_one(copy: Path) -> None:
    kept = (copy / "checkpoint").read_bytes()
    history = (copy / "checkpoints").read_bytes()
    end = history.find(world.ORIGIN.encode() + b"\n510\n")
    (copy / "checkpoints").write_bytes(history[:end])
    (copy / "checkpoint").unlink()
    rewrite(copy, everything()[:500])
    assert verify(copy, KEY).ok, "nothing in the folder tells"
    assert bad(verify(copy, KEY, kept=kept)) == 500


def test_a_removed_segment_is_a_gap(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    log = opened(folder)
    for _ in range(5):
        log.append([b"x" * 60_000] * 20)
    log.checkpoint()
    log.close()
    files = sorted((folder / "segments").glob("*.seg"))
    assert len(files) >= 3
    assert verify(folder, KEY).ok
    middle = int(files[1].stem)
    files[1].unlink()
    assert bad(verify(folder, KEY)) == middle


def test_tiles_that_were_lost_are_written_anew(copy: Path, made: Path) -> None:
    without_tiles(copy)
    log = opened(copy)
    log.append([b"{}"])
    log.checkpoint()
    log.close()
    assert (copy / "tile/0/000").read_bytes() == (made / "tile/0/000").read_bytes()
    assert verify(copy, KEY).ok


def run_alone(*arguments: str) -> "subprocess.CompletedProcess[str]":
    block = "import sys; sys.modules['msgspec'] = None; import runpy; sys.argv = ['verify', *sys.argv[1:]]; "
    return subprocess.run(
        [
            sys.executable,
            "-c",
            block + "runpy.run_module('gateway.audit.verify', run_name='__main__')",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_verifier_runs_alone_with_nothing_but_cryptography(copy: Path) -> None:
    good = run_alone(str(copy), str(KEY))
    assert good.returncode == 0, good.stderr
    assert f"{TAIL} records from index {COUNT} to {COUNT + TAIL - 1}" in good.stdout
    data = bytearray(segment(copy).read_bytes())
    data[place(42) + 30] ^= 1
    segment(copy).write_bytes(data)
    found = run_alone(str(copy), str(KEY))
    assert found.returncode == 1
    assert "first bad index 42:" in found.stdout
    assert run_alone(str(copy), "nonsense").returncode == 2
    assert run_alone(str(copy / "nowhere"), str(KEY)).returncode == 2


def test_a_live_journal_verifies_while_it_is_written(tmp_path: Path) -> None:
    from tests.unit.audit.world import ALLOW, Clock, caller, writing

    async def run(check: Callable[[], Report]) -> None:
        clock = Clock()
        journal = world.journal(tmp_path, clock)
        journal.open()
        await journal.start(asyncio.get_running_loop())
        done = asyncio.get_running_loop().run_in_executor(None, lambda: [check() for _ in range(10)])
        while not done.done():
            await journal.intent(caller(), (writing(),), (ALLOW,), clock.forward(0.05))
        assert all(report.ok for report in await done)
        await journal.stop()

    asyncio.run(run(lambda: verify(tmp_path, KEY)))


def test_a_record_that_nobody_can_read_stops_no_verifier(tmp_path: Path) -> None:
    """Whoever can write above the newest checkpoint must not be able to end the walk."""
    log = opened(tmp_path)
    log.append([b'{"kind":"intent","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}"])
    log.checkpoint()
    log.close()
    assert verify(tmp_path, KEY).ok
