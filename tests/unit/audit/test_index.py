"""The index follows the journal, belongs to one log, and is never the truth."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.audit import index as module
from gateway.audit.framing import name
from gateway.audit.index import Index
from gateway.audit.log import Log
from gateway.audit.query import Filters
from gateway.audit.reader import segments
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.audit.tiles import Tiles
from gateway.model.errors import JournalError
from gateway.model.ulid import Ulids
from tests.unit.audit.world import KEY, ORIGIN, WALL

ROOT = Path(__file__).parents[3]
ULIDS = Ulids(3)


def record(kind: str, at: int, **fields: Any) -> bytes:
    whole = {
        "schema": "dmz.record/1",
        "id": ULIDS.next(WALL + at),
        "kind": kind,
        "wall_ns": WALL + at,
        **fields,
    }
    return msgspec.json.encode(whole)


def intent(at: int, who: str = "hmi") -> bytes:
    what = {"action": "write", "asset": "plc-1", "points": [{"tag": "sp", "q": at, "value": at / 10}]}
    return record("intent", at, who={"subject": who}, what=what, why={"decision": "allow", "revision": "r"})


def outcome(of: bytes, at: int, status: str = "ok") -> bytes:
    return record("outcome", at, about=msgspec.json.decode(of)["id"], result={"status": status})


class Growing:
    """A log that a test writes."""

    def __init__(self, folder: Path, segment_bytes: int = 1 << 30) -> None:
        self.folder = folder
        self.log = Log(Disk(folder), Signer(KEY, ORIGIN), Tiles(Disk(folder)), segment_bytes)

    def add(self, *records: bytes) -> None:
        self.log.append(records)
        self.log.checkpoint()


def found(index: Index, **filters: Any) -> list[int]:
    return [n for n, _, _ in index.search(Filters(**filters))]


def opened(folder: Path, file: Path) -> Index:
    index = Index(folder, file)
    index.refresh()
    return index


def test_an_outcome_that_comes_later_ends_its_intent(tmp_path: Path) -> None:
    grows, file = Growing(tmp_path / "journal"), tmp_path / "index.db"
    first, second = intent(1), intent(2)
    grows.add(first, second)
    index = opened(grows.folder, file)
    assert found(index, outcome="unknown") == [0, 1]
    grows.add(outcome(second, 3))
    index.refresh()
    assert index.size == 3
    assert (found(index, outcome="unknown"), found(index, outcome="ok", kind="intent")) == ([0], [1])
    assert [n for n, _ in index.by_id("1")] == [1, 2]
    index.close()


def test_it_takes_in_only_what_is_new_and_begins_anew_for_another_log(tmp_path: Path) -> None:
    grows, file = Growing(tmp_path / "journal"), tmp_path / "index.db"
    grows.add(*(intent(at) for at in range(300)))
    opened(grows.folder, file).close()
    grows.add(*(intent(at) for at in range(300, 310)))
    index = opened(grows.folder, file)
    assert (index.rebuilt, index.size, len(found(index, limit=1000))) == (False, 310, 310)
    index.close()
    fork = Growing(tmp_path / "fork")
    fork.add(*(intent(at, "eve") for at in range(320)))
    index = opened(fork.folder, file)
    assert (index.rebuilt, found(index, who="hmi"), len(found(index, who="eve", limit=1000))) == (
        True,
        [],
        320,
    )
    index.close()


def test_a_log_that_differs_below_what_was_indexed_is_another(tmp_path: Path) -> None:
    """The same last record, and still a fork: the root of the checkpoint says so."""
    same = [intent(at) for at in range(20)]
    one, other = Growing(tmp_path / "one"), Growing(tmp_path / "other")
    one.add(*same)
    changed = same[3].replace(b'"hmi"', b'"eve"')
    other.add(*same[:3], changed, *same[4:])
    opened(one.folder, tmp_path / "index.db").close()
    index = opened(other.folder, tmp_path / "index.db")
    assert (index.rebuilt, found(index, who="eve")) == (True, [3])
    index.close()


def test_records_that_retention_took_are_not_found_and_are_no_damage(tmp_path: Path) -> None:
    grows, file = Growing(tmp_path / "journal", 2 << 20), tmp_path / "index.db"
    big = {"text": "x" * 60_000}
    grows.add(*(record("finding", at, note=big) for at in range(90)))
    first, second, *_ = segments(grows.folder)
    opened(grows.folder, file).close()
    (grows.folder / "segments" / name(first.first)).unlink()
    for place in (file, None):
        index = Index(grows.folder, place)
        index.refresh()
        assert found(index, limit=1000) == list(range(second.first, 90))
        assert index.damaged is None
        assert not index.by_id("0")
        index.close()


def test_a_journal_that_ends_before_its_checkpoint_is_damaged(tmp_path: Path) -> None:
    """Whoever takes the end, or all of it, leaves no record that is broken: only too few."""
    grows = Growing(tmp_path / "journal")
    grows.add(intent(1), intent(2))
    grows.log.checkpoint()
    for segment in segments(grows.folder):
        segment.path.unlink()
    index = Index(grows.folder, None)
    index.refresh()
    assert index.damaged == 0
    index.close()


def test_a_file_of_another_version_is_made_anew(tmp_path: Path) -> None:
    grows, file = Growing(tmp_path / "journal"), tmp_path / "index.db"
    grows.add(intent(1))
    opened(grows.folder, file).close()
    with sqlite3.connect(file) as db:
        db.execute("pragma user_version = 2")
    index = opened(grows.folder, file)
    assert (index.rebuilt, found(index)) == (True, [0])
    index.close()


def test_another_process_that_does_not_let_go_stops_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows, file = Growing(tmp_path / "journal"), tmp_path / "index.db"
    grows.add(intent(1))
    lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.1)
    index = opened(grows.folder, file)
    assert found(index) == [0]
    index.close()
    os.close(lock)
    assert file.stat().st_size == 0 or not sqlite3.connect(file).execute("select * from record").fetchall()


def test_odd_records_are_found_by_what_can_be_read_of_them(tmp_path: Path) -> None:
    grows = Growing(tmp_path / "journal")
    odd = record("denial", 1, who="not an object")
    squeezed = record(
        "denial",
        2,
        who={"subject": "eve"},
        what={
            "action": "write",
            "asset": "plc-1",
            "points": {"sha256": "ab", "length": 9},
            "admin": {"sha256": "x"},
        },
        why={
            "decision": "deny",
            "reasons": [{"code": "default", "kind": "default"}],
            "input": {"sha256": "c"},
        },
    )
    grows.add(odd, b"not JSON at all", squeezed, record("hello", 3))
    index = opened(grows.folder, tmp_path / "index.db")
    assert found(index) == [0, 1, 2, 3]
    assert (found(index, kind="denial"), found(index, who="eve", asset="plc-1", reason="default")) == (
        [0, 2],
        [2],
    )
    index.close()


def test_without_full_text_the_rest_works_and_it_is_said(tmp_path: Path) -> None:
    grows = Growing(tmp_path / "journal")
    grows.add(intent(1))
    index = opened(grows.folder, tmp_path / "index.db")
    assert found(index, text="plc-1 hmi") == [0]
    index.db.execute("drop table said")  # as on a SQLite that was built without FTS5
    grows.add(intent(2))
    index.refresh()
    assert (index.full_text, found(index, tag="sp")) == (False, [0, 1])
    with pytest.raises(JournalError, match="FTS5"):
        found(index, text="hmi")
    index.close()


def test_the_journal_is_not_touched(tmp_path: Path) -> None:
    grows = Growing(tmp_path / "journal")
    grows.add(*(intent(at) for at in range(50)))

    def stamps() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(grows.folder.rglob("*"))}

    before = stamps()
    opened(grows.folder, tmp_path / "index.db").close()
    assert stamps() == before
    shutil.rmtree(tmp_path / "journal")


def test_shapes_that_are_too_many_to_remember_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds of `Intake`: shapes, open intents and rows in hand."""
    for bound, value in (("MOST_SHAPES", 3), ("MOST_OPEN", 2), ("BATCH", 4)):
        monkeypatch.setattr(f"gateway.audit.intake.{bound}", value)
    grows = Growing(tmp_path / "journal")
    intents = [intent(at, f"hmi-{at % 7}") for at in range(30)]
    grows.add(*intents, *(outcome(each, 40) for each in intents[:25]))
    index = opened(grows.folder, tmp_path / "index.db")
    assert found(index, outcome="unknown") == [25, 26, 27, 28, 29]
    assert found(index, who="hmi-3", kind="intent") == [3, 10, 17, 24]
    assert index.db.execute("select count(*) from shape where kind = 'intent'").fetchone() == (7,)
    index.close()


def test_a_rebuild_that_is_interrupted_leaves_what_was_there(tmp_path: Path) -> None:
    grows, file = Growing(tmp_path / "journal"), tmp_path / "index.db"
    grows.add(*(intent(at) for at in range(module.PROGRESS + 10)))
    opened(grows.folder, file).close()
    index = Index(grows.folder, file)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.refresh(stop, rebuild=True)
    with sqlite3.connect(file) as db:
        assert db.execute("select count(*) from record").fetchone() == (module.PROGRESS + 10,)
    assert index.refresh() == module.PROGRESS + 10
    index.close()


def test_processes_that_begin_at_once_all_find_everything(tmp_path: Path) -> None:
    grows = Growing(tmp_path / "journal")
    grows.add(*(intent(at) for at in range(5000)))
    for own in ("format", "lock"):
        (tmp_path / own).touch()
    command = [sys.executable, "-m", "gateway", "audit", "search", "--data", str(tmp_path), "--text", "plc-1"]
    started = [
        subprocess.Popen([*command, "--limit", "9000"], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)
    ]
    for search in started:
        out, _ = search.communicate(timeout=60)
        assert (search.returncode, len(out.splitlines())) == (0, 5000)


@pytest.mark.parametrize(
    "asked", ["serial=0A1B2C", "0a:1b:2c", "a1b2c", "SHA256 Fingerprint=" + ":".join(["AB"] * 32)]
)
def test_numbers_of_a_certificate_are_found_as_openssl_prints_them(tmp_path: Path, asked: str) -> None:
    who = {"subject": "hmi", "serial": "a1b2c", "fingerprint": "ab" * 32}
    grows = Growing(tmp_path / "journal")
    grows.add(record("auth", 1, who=who), record("auth", 2, who={"subject": "eve", "serial": "b"}))
    index = opened(grows.folder, tmp_path / "index.db")
    assert found(index, who=asked) == [0]
    index.close()
