"""Whatever is done to a log at or below its newest checkpoint is found, and told where; whoever looks.

Hypothesis makes up what an attacker does, with the source of this program at hand: every frame is written
anew with the right checks, so that only the tree can tell. `audit verify` and the copied file say the same.
"""

import contextlib
import io
import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.audit import framing, verify
from gateway.audit.log import Log
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.cli import main
from tests.unit.audit import world

VKEY = Signer(world.KEY, world.ORIGIN).vkey
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
COUNT, TAIL, EACH = 600, 7, 10
Records = list[bytes]


def content(index: int) -> bytes:
    return b'{"id":"%026d","kind":"config","wall_ns":%d}' % (index, index)


def write(
    folder: Path, records: Records, key: Ed25519PrivateKey = world.KEY, origin: str = world.ORIGIN
) -> Log:
    log, _ = recover(Disk(folder), Signer(key, origin), 1 << 20)
    for start in range(0, len(records), EACH):
        log.append(records[start : start + EACH])
        log.checkpoint()
    return log


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal, a checkpoint kept when it was complete, and an older copy of it."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "older/journal", [content(i) for i in range(300)]).close()
    shutil.copytree(folder / "older", folder / "data")
    log = write(folder / "data/journal", [content(i) for i in range(300, COUNT)])
    shutil.copy(folder / "data/journal/checkpoint", folder / "kept")
    log.append([content(i) for i in range(COUNT, COUNT + TAIL)])
    log.close()
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier as a third party has it: a copy of the one file."""
    return Path(shutil.copy(verify.__file__, tmp_path_factory.mktemp("alone") / "verify.py"))


@contextlib.contextmanager
def copied(made: Path) -> Iterator[Path]:
    data = made / "copy"
    shutil.copytree(made / "data", data)
    try:
        yield data
    finally:
        shutil.rmtree(data)


def said(run: Callable[[list[str]], int], arguments: list[str]) -> tuple[int, dict[str, object]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = run([*arguments, "--json"])
    return code, json.loads(out.getvalue())


def both(data: Path, alone: Path, vkey: str = VKEY, *, kept: Path | None = None) -> int | None:
    """First bad index; None where all is well. The command and the copied file must agree in every word."""
    held = ["--checkpoint", str(kept)] if kept is not None else []
    ours = said(main, ["audit", "verify", "--data", str(data), "--vkey", vkey, *held])
    theirs = said(runpy.run_path(str(alone))["main"], [str(data / "journal"), vkey, *held])
    assert ours == theirs
    code, report = ours
    bad = report["first_bad"]
    assert code == (1 if bad else 0)
    assert bad is None or isinstance(bad, dict)
    return bad["index"] if bad else None


def rewritten(data: Path, records: Records) -> None:
    (segment,) = (data / "journal/segments").iterdir()
    frames = b"".join(framing.frame(index, record) for index, record in enumerate(records))
    segment.write_bytes(framing.head(0) + frames)


def flip(records: Records, at: int, draw: st.DataObject) -> None:
    data = bytearray(records[at])
    data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    records[at] = bytes(data)


def drop(records: Records, at: int, draw: st.DataObject) -> None:
    del records[at : at + draw.draw(st.integers(1, 300))]


def insert(records: Records, at: int, draw: st.DataObject) -> None:
    records[at:at] = draw.draw(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=3))


def swap(records: Records, at: int, draw: st.DataObject) -> None:
    other = draw.draw(st.integers(at + 1, len(records) - 1))
    records[at], records[other] = records[other], records[at]


def cut(records: Records, at: int, draw: st.DataObject) -> None:
    del records[at:]


def fork(records: Records, at: int, draw: st.DataObject) -> None:
    records[at:] = [b'{"fork":%d}' % i for i in range(draw.draw(st.integers(0, COUNT)))]


DEEDS = (flip, drop, insert, swap, cut, fork)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_done_to_signed_records_is_found(made: Path, alone: Path, draw: st.DataObject) -> None:
    at, deed = draw.draw(st.integers(0, COUNT - 1)), draw.draw(st.sampled_from(DEEDS))
    tiles = draw.draw(st.sampled_from(("kept", "gone", "damaged")))
    records = [content(i) for i in range(COUNT + TAIL)]
    deed(records, at, draw)
    with copied(made) as data:
        rewritten(data, records)
        if tiles == "gone":
            shutil.rmtree(data / "journal/tile")
        elif tiles == "damaged":
            (data / "journal/tile/0/001").write_bytes(bytes(8192))
        found = both(data, alone)
    # Without tiles it is known to lie between two checkpoints; a cut shows its place by itself.
    assert found in ({at} if tiles == "kept" else {at, at // EACH * EACH})


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_byte_of_the_segment(made: Path, alone: Path, draw: st.DataObject) -> None:
    """Not careful at all: bits of the file, also of frames."""
    with copied(made) as data:
        (segment,) = (data / "journal/segments").iterdir()
        raw = bytearray(segment.read_bytes())
        place = framing.HEAD.size + COUNT * (framing.FRAME.size + len(content(0)))
        at = draw.draw(st.integers(0, framing.HEAD.size + 8 * COUNT))
        raw[at] ^= 1 << draw.draw(st.integers(0, 7))
        assert at < place
        segment.write_bytes(raw)
        assert both(data, alone) is not None


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_byte_of_the_checkpoints(made: Path, alone: Path, draw: st.DataObject) -> None:
    """Of all but the newest: half of that may be missing where power failed."""
    with copied(made) as data:
        file = data / "journal/checkpoints"
        raw = bytearray(file.read_bytes())
        last = raw.rindex(world.ORIGIN.encode() + b"\n", 0, raw.rindex("— ".encode()))
        raw[draw.draw(st.integers(0, last - 1))] ^= 1 << draw.draw(st.integers(0, 7))
        file.write_bytes(raw)
        assert both(data, alone) is not None


def test_it_is_well_untouched(made: Path, alone: Path) -> None:
    assert both(made / "data", alone) is None
    assert both(made / "data", alone, kept=made / "kept") is None


def test_an_old_log_put_back(made: Path, alone: Path) -> None:
    (made / "older/journal/log.vkey").write_text(VKEY)
    assert both(made / "older", alone) is None, "it was right once: nothing in the folder tells"
    assert both(made / "older", alone, kept=made / "kept") == 300


def test_a_fork_by_the_key_itself(made: Path, alone: Path, tmp_path: Path) -> None:
    records = [content(i) for i in range(COUNT)]
    records[123] = b"{}"
    write(tmp_path / "journal", records).close()
    assert both(tmp_path, alone) is None, "signed by the key, and whole"
    assert both(tmp_path, alone, kept=made / "kept") == COUNT - 1, "at or before it"


@pytest.mark.parametrize(
    ("key", "origin"), [(OTHER, world.ORIGIN), (world.KEY, "other.example/gw"), (OTHER, "other.example/gw")]
)
def test_a_checkpoint_of_another_key_or_log(
    made: Path, alone: Path, tmp_path: Path, key: Ed25519PrivateKey, origin: str
) -> None:
    write(tmp_path / "journal", [content(i) for i in range(COUNT)], key, origin).close()
    with copied(made) as data:
        for name in ("checkpoint", "checkpoints"):
            whole = (data / "journal" / name).read_bytes()
            (data / "journal" / name).write_bytes((tmp_path / "journal" / name).read_bytes())
            assert both(data, alone) is not None
            (data / "journal" / name).write_bytes(whole)
        assert both(data, alone, kept=tmp_path / "journal/checkpoint") is not None


def test_the_wrong_key(made: Path, alone: Path) -> None:
    assert both(made / "data", alone, Signer(OTHER, world.ORIGIN).vkey) == 0
    assert both(made / "data", alone, Signer(world.KEY, "other.example/gw").vkey) == 0
