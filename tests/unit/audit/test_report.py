"""Reports: tables, and the files they become."""

import csv as stdlib_csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.audit import report, tell
from gateway.audit.index import Index
from gateway.audit.paper import csv, page
from gateway.audit.query import Filters
from gateway.audit.report import MOST_ROWS, SECTIONS, Table
from gateway.audit.tell import plain
from gateway.cli import main
from tests.unit.audit.generated import BORIS, END, Month
from tests.unit.audit.test_index import Growing, intent, record
from tests.unit.audit.world import WALL

BEGIN = "2026-10-26T00:00:00Z"
EVIL = (
    '=HYPERLINK("http://x")',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "＝1",
    "<script>alert(1)</script>",
    'a"b,c\nd',
)


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.data.append(data)


def test_a_report_is_one_page_without_network_and_a_csv_for_each_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Month(tmp_path / "journal", 3000).write()
    out = tmp_path / "out"
    period = ("--since", BEGIN, "--until", "2026-11-23T00:00:00Z")
    assert main(["audit", "report", "--data", str(tmp_path), *period, "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    text = (out / "report.html").read_text()
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert all(link.startswith("#") for link in found.links)
    assert not re.search(r"url\(|@import|https?://", text)
    assert {"svg", "table"} <= set(found.tags)
    assert {path.stem for path in out.glob("*.csv")} == set(SECTIONS)
    rows = list(stdlib_csv.DictReader((out / "approvals.csv").open(newline="")))
    assert {row["answered by"] for row in rows} == {BORIS}
    assert len(rows) == 7


def test_what_an_attacker_wrote_is_text_in_both() -> None:
    table = Table("t", "Evil", ("what", "how many"), [(text, -5) for text in EVIL])
    found = Page(page("Report", ["<b>"], [table]))
    assert not {"script", "b"} & set(found.tags)
    assert set(map(plain, EVIL)) <= set(found.data)
    rows = list(stdlib_csv.reader(io.StringIO(csv(table), newline="")))
    assert rows[0] == ["what", "how many"]
    for (cell, number), text in zip(rows[1:], EVIL, strict=True):
        assert number == "-5"
        assert cell in (text, f"'{text}")
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "＝"))
    assert csv(table).count("\r\n") == len(EVIL) + 1


def _index(tmp_path: Path, *records: bytes) -> Index:
    grows = Growing(tmp_path / "journal")
    grows.add(*records)
    index = Index(grows.folder, None)
    index.refresh()
    return index


def test_what_a_flood_only_counted_is_in_the_numbers(tmp_path: Path) -> None:
    denied = {
        "decision": "deny",
        "reasons": [{"code": "grant.x", "kind": "grant"}, {"code": "base.y", "kind": "base"}],
    }
    note = {"of": "denial", "reason": "base.y", "target": "plc-1", "count": 990, "in_full": 10}
    index = _index(
        tmp_path,
        *(
            record("denial", at, who={"subject": "eve"}, what={"asset": "plc-1"}, why=denied)
            for at in range(10)
        ),
        record("suppressed", 11, who={"subject": "eve"}, note=note),
        record("suppressed", 12, who={"subject": "eve"}, note={**note, "of": "auth"}),
    )
    (row,) = report.denials(index, Filters()).rows
    assert row[:4] == ("base.y", 1000, 0, 1000)
    index.close()


def test_rows_beyond_the_bound_are_told(tmp_path: Path) -> None:
    index = _index(tmp_path, *(intent(at, f"hmi-{at}") for at in range(MOST_ROWS + 5)))
    table = report.writes(index, Filters())
    assert (len(table.rows), table.note) == (MOST_ROWS, "5 more rows are not shown.")
    index.close()


def test_gaps_starts_that_mended_and_expiry(tmp_path: Path) -> None:
    recovery = {"size": 9, "clean": False, "unknown": ["A"], "cut": {"bytes": 3, "index": 9}}
    index = _index(
        tmp_path,
        record("gap", 1, note={"why": "disk full", "missed": {"read": 3}, "from_ns": END, "to_ns": END}),
        record("lifecycle", 2, note={"event": "start", "recovery": recovery}),
        record("lifecycle", 3, note={"event": "start", "recovery": {"size": 0, "clean": True}}),
        record("lifecycle", 4, note={"what": "expiry", "name": "gw", "level": "urgent", "days_left": 6}),
    )
    gap, start = report.gaps(index, Filters()).rows
    assert gap[2:5] == ("gap", "disk full", "3 read")
    assert "3 bytes behind index 9 were cut" in str(start[3])
    assert report.expiry(index, Filters()).rows[0][1:] == ("gw", "urgent", 6)
    index.close()


def test_a_break_that_ends_early_and_one_that_was_refused_there(tmp_path: Path) -> None:
    minute = 60_000_000_000

    def act(at: int, kind: str, **aim: object) -> bytes:
        what = {"action": "admin", "kind": f"admin.{kind}", "admin": aim}
        return record("intent", at, who={"subject": "lea"}, what=what, why={"decision": "allow"})

    def ended(of: bytes, at: int, status: str) -> bytes:
        about = of.split(b'"id":"')[1][:26].decode()
        return record("outcome", at, about=about, result={"status": status})

    first, over = act(0, "break_glass", value="fire", minutes=60), act(20 * minute, "end_break_glass")
    failed = act(90 * minute, "break_glass", value="again", minutes=60)
    index = _index(
        tmp_path,
        first, ended(first, 1, "ok"), intent(5 * minute, "lea"), intent(6 * minute, "max"),
        over, ended(over, 20 * minute + 1, "ok"), intent(30 * minute, "lea"),
        failed, ended(failed, 90 * minute + 1, "failed"),
    )  # fmt: skip
    rows = report.glass(index, Filters()).rows
    assert [(row[3], row[4]) for row in rows] == [("fire", 0), ("", 2), ("again", 7)]
    assert rows[2][6] == "not done: failed"
    assert rows[0][2] == tell.moment(WALL + 20 * minute)
    index.close()


def test_a_trial_that_is_taken_back_is_not_active_and_one_that_is_confirmed_is(tmp_path: Path) -> None:
    def noted(at: int, result: str, revision: str, **more: object) -> bytes:
        return record("policy", at, note={"result": result, "revision": revision, **more})

    index = _index(
        tmp_path,
        noted(1, "activated", "a", signed_by="key-1"),
        noted(2, "activated", "b", by="pat", confirm_until="2026-11-23T09:00:00Z"),
        noted(3, "returned", "a", why="nobody confirmed it in time"),
        noted(4, "activated", "c", by="pat", confirm_until="2026-11-23T10:00:00Z"),
        noted(5, "confirmed", "c", by="kim"),
    )
    rows = report.policies(index, Filters()).rows
    assert [(row[0], row[2] == "now", row[4]) for row in rows] == [
        ("a", False, "activated"),
        ("b", False, "on trial until 2026-11-23T09:00:00Z"),
        ("a", False, "returned: nobody confirmed it in time"),
        ("c", True, "confirmed by kim"),
    ]
    late = report.policies(index, Filters(since_ns=WALL + 3, until_ns=WALL + 4)).rows
    assert [row[0] for row in late] == ["a"]
    index.close()


def test_what_only_a_stage_let_through_is_told_apart(tmp_path: Path) -> None:
    what = {"action": "write", "asset": "plc-1", "points": [{"tag": "sp", "q": 7}]}
    why = {"decision": "would_deny", "stage": "monitor", "reasons": [{"code": "default.no_grant"}]}
    waived = record("intent", 2, who={"subject": "eve"}, what=what, why=why)
    index = _index(tmp_path, intent(1), waived)
    (row,) = report.let_through(index, Filters()).rows
    assert row[0] == 1
    assert "let through by stage monitor, else denied by default.no_grant" in str(row[2])
    index.close()


def test_a_write_to_an_address_without_a_tag_is_told_with_its_raw_value(tmp_path: Path) -> None:
    what = {
        "action": "write",
        "asset": "plc-1",
        "modbus": {"table": "holding", "start": 12, "values": [7, 9]},
    }
    index = _index(
        tmp_path, record("intent", 1, who={"subject": "eve"}, what=what, why={"decision": "allow"})
    )
    rows = report.writes(index, Filters()).rows
    assert sorted((row[2], row[5], row[6]) for row in rows) == [
        ("holding 12", None, 7),
        ("holding 13", None, 9),
    ]
    index.close()


def test_a_report_of_a_damaged_journal_says_so_in_the_page(tmp_path: Path) -> None:
    grows = Growing(tmp_path / "journal")
    grows.add(*(intent(at) for at in range(5)))
    (segment,) = (tmp_path / "journal" / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data.rstrip(b"\0")) - 3] ^= 1
    segment.write_bytes(data)
    out = tmp_path / "out"
    assert main(["audit", "report", "--data", str(tmp_path), "-o", str(out)]) == 1
    assert "The journal is damaged at record 4: this is not all." in (out / "report.html").read_text()
