"""Timelines: in order, repeats told once, and nothing left out in silence."""

from pathlib import Path
from typing import Any

import pytest

from gateway.audit import timeline as module
from gateway.audit.index import Index
from gateway.audit.query import Filters
from gateway.audit.timeline import timeline, together
from gateway.cli import main
from tests.unit.audit.test_index import Growing, intent, outcome, record


def window(at: int, who: str, asked: int) -> bytes:
    entry = {"action": "read", "kind": "modbus.read", "input": {"points": [{"tag": "level"}]}, "asked": asked}
    what: dict[str, Any] = {"action": "read", "asset": "plc-1", "entries": [entry]}
    return record("window", at, who={"subject": who}, what=what, why={"decision": "allow"})


def test_repeats_are_one_entry_with_their_counts_and_acts_stand_alone(tmp_path: Path) -> None:
    grows = Growing(tmp_path / "journal")
    wrote = intent(4)
    grows.add(
        window(1, "hmi", 30), window(2, "hmi", 12), window(3, "eve", 1), wrote, outcome(wrote, 5), intent(6)
    )
    index = Index(grows.folder, None)
    index.refresh()
    told = timeline(index, Filters())
    assert [(e.first, e.last, e.records, e.times) for e in told.entries] == [
        (0, 1, 2, 42), (2, 2, 1, 1), (3, 3, 1, 1), (5, 5, 1, 1),
    ]  # fmt: skip
    lines = list(together(told))
    assert "42 times in 2 records until " in lines[0]
    assert "wrote sp" in lines[2]
    assert "(outcome: none recorded)" in lines[3]
    index.close()


def test_what_is_beyond_the_bound_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grows = Growing(tmp_path / "journal")
    grows.add(*(intent(at) for at in range(7)))
    index = Index(grows.folder, None)
    index.refresh()
    monkeypatch.setattr(module, "MOST_RECORDS", 5)
    told = timeline(index, Filters())
    assert (told.left_out, [entry.first for entry in told.entries]) == (True, [2, 3, 4, 5, 6])
    assert next(together(told)).startswith("(only the newest 5 records")
    index.close()


def test_before_a_record_or_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    minute = 60_000_000_000
    Growing(tmp_path / "journal").add(*(intent(at * minute) for at in range(30)))
    base = ["audit", "timeline", "--data", str(tmp_path)]
    assert main([*base, "--before", "20", "--span", "5m"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == [
        "15",
        "16",
        "17",
        "18",
        "19",
    ]
    assert main([*base, "--before", "99"]) == 2
    assert "no record 99" in capsys.readouterr().err
    assert main([*base, "--before", "3", "--since", "1h"]) == 2
    assert main([*base, "--before", "2001-01-01T00:00:00Z"]) == 1
    assert main([*base, "--before", "3", "--span", "soon"]) == 2
