"""Changes count once they have settled."""

import os
from pathlib import Path

from gateway.ops.watch import Watch


def test_a_change_counts_when_it_has_been_still_for_one_look(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("1")
    watch = Watch(tmp_path)
    assert not watch.settled()
    file.write_text("22")
    assert not watch.settled(), "somebody may still be writing"
    (tmp_path / "b.yaml").write_text("3")
    assert not watch.settled()
    assert watch.settled()
    assert not watch.settled(), "once"


def test_replacing_by_rename_and_removing_count(tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    file.write_text("1")
    watch = Watch(file)
    fresh = tmp_path / "fresh"
    fresh.write_text("2")
    os.utime(fresh, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    fresh.replace(file)
    assert [watch.settled(), watch.settled()] == [False, True]
    file.unlink()
    assert [watch.settled(), watch.settled()] == [False, True]
