"""docs/reference/ocsf.md names every kind of record, every class, and every member of `unmapped` there is."""

import asyncio
import re
from pathlib import Path

from gateway.export.classes import CLASSES
from gateway.export.ocsf import event
from gateway.model.record import RecordKind
from tests.unit.audit import world
from tests.unit.export import journal

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "ocsf.md"


def named(heading: str) -> set[str]:
    """What stands in the first column of the table below a heading."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


def test_the_page_names_what_there_is(tmp_path: Path) -> None:
    asyncio.run(journal.write(tmp_path / "journal", world.Clock()))
    bodies = [event(i, data, world.ORIGIN).body for i, data in journal.written(tmp_path / "journal")]
    for part in ("ot", "dmz"):
        used = {name for body in bodies for name in body["unmapped"].get(part, {})}
        assert used
        assert used <= named(f"unmapped.{part}"), used - named(f"unmapped.{part}")
    assert named("What a record becomes") >= set(RecordKind)
    text = PAGE.read_text()
    assert all(f"{uid} {each.name}" in text for uid, each in CLASSES.items())
