"""What the journal is told of people's acts, as a line that an auditor reads."""

from pathlib import Path
from typing import Any

from gateway.audit import tell
from tests.pki import Pki
from tests.unit.admin.people import WRITE, Site

ANN = "spiffe://demo.example/person/admin-ann"


def line(note: dict[str, Any]) -> str:
    record = {"wall_ns": 0, "kind": "admin", "note": note, "who": {"subject": None, "source": "internal"}}
    return tell.line(7, record).split("  ")[-1].strip()


def test_each_event_is_one_short_line(pki: Pki, tmp_path: Path) -> None:
    site = Site(pki, tmp_path)
    request = site.ask(site.hmi)
    site.say(site.ann, request)
    approval = site.approvals.claim(site.hmi, WRITE, site.clock())
    assert approval is not None
    site.approvals.spend(approval, site.clock())
    site.posture.open_window("vendor-visit", 1, ANN, site.clock())
    site.posture.break_glass(ANN, 1, "tank 2 runs over", site.clock())
    site.clock.advance(60)
    site.posture.sweep(site.clock())
    told = [line(note) for note in site.journal.notes]
    what = site.journal.notes[0]["what"]
    assert told == [
        f"somebody from internal needs the word of supervisor (request {request}): {what}",
        f"approval {request} was used: {what}; granted by {ANN}",
        f"the window vendor-visit is over; {ANN} had opened it",
        f"the broken glass of {ANN} is over (tank 2 runs over)",
    ]
