"""The file: whole changes or none, and a damaged one is neither believed nor replaced."""

import sqlite3
from pathlib import Path

import pytest
from msgspec import Struct

from gateway.admin.store import FORMAT, Store, StoreError


class Thing(Struct, frozen=True):
    n: int


def test_what_was_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = Store(tmp_path / "p.db")
    first.write([("thing", "a", Thing(1)), ("thing", "b", Thing(2)), ("other", "a", Thing(3))])
    first.write([("thing", "a", None)])
    assert Store(tmp_path / "p.db").read("thing", Thing) == {"b": Thing(2)}
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "p.db")
    store.write([("thing", "a", Thing(1))])
    with sqlite3.connect(tmp_path / "p.db") as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON entries WHEN NEW.id = 'c'"
            " BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with pytest.raises(StoreError, match="full"):
        store.write([("thing", "b", Thing(2)), ("thing", "c", Thing(3))])
    assert store.read("thing", Thing) == {"a": Thing(1)}


def _garbage(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8000)


def _newer(file: Path) -> None:
    with sqlite3.connect(file) as made:
        made.execute(f"PRAGMA user_version = {FORMAT + 1}")


def _folder(file: Path) -> None:
    file.mkdir()


def _torn(file: Path) -> None:
    store = Store(file)
    store.write([("thing", str(n), Thing(n)) for n in range(2000)])
    store.close()
    data = bytearray(file.read_bytes())
    data[8192:12288] = b"\xa5" * 4096
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [_garbage, _newer, _folder, _torn])
def test_a_file_that_cannot_be_used_is_left_as_it_is(tmp_path: Path, damage: object) -> None:
    file = tmp_path / "p.db"
    assert callable(damage)
    damage(file)
    before = file.read_bytes() if file.is_file() else b""
    store = Store(file)
    assert store.damaged is not None
    assert store.read("thing", Thing) == {}
    with pytest.raises(StoreError):
        store.write([("thing", "a", Thing(1))])
    if damage is not _newer:  # whose header SQLite may touch when it looks
        assert (file.read_bytes() if file.is_file() else b"") == before


def test_one_entry_that_cannot_be_read_is_a_damaged_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "p.db")
    store.write([("thing", "a", Thing(1))])
    with sqlite3.connect(tmp_path / "p.db") as other:
        other.execute("INSERT INTO entries VALUES ('thing', 'b', '{\"n\": \"x\"}')")
    again = Store(tmp_path / "p.db")
    assert again.read("thing", Thing) == {}
    assert again.damaged is not None
