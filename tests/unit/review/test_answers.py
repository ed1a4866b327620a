"""What the reading room finds, asked as the gateway asks it."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from gateway.audit.index import Index
from gateway.audit.note import opened, verifier_key
from gateway.audit.outcome import OUTCOMES
from gateway.audit.reader import records
from gateway.audit.report import SECTIONS
from gateway.audit.tree import consistent
from gateway.model.errors import JournalError
from gateway.model.record import RecordKind
from gateway.review import answers
from gateway.review.answers import answer
from gateway.review.jobs import Found, Nothing
from gateway.review.wishes import Ended, Follow, Grown, Newest, Prove, Report, Search, Section, Show, Wish
from tests.unit.review.conftest import WRITES


@pytest.fixture
def index(journal: Path, tmp_path: Path) -> Iterator[Index]:
    made = Index(journal, tmp_path / "index.db")
    made.refresh()
    yield made
    made.close()


def found(wish: Wish, journal: Path, index: Index) -> dict[str, Any]:
    told = answer(wish, journal, index)
    assert isinstance(told, Found), told
    return msgspec.json.decode(told.body, type=dict[str, Any])


def test_pages_together_have_every_record_once(journal: Path, index: Index) -> None:
    every = [n for n, _ in records(journal)][::-1]
    seen, cursor = [], None
    for _ in range(len(every)):
        page = found(Search(limit=7, cursor=cursor), journal, index)
        assert len(page["records"]) <= 7
        seen += [each["index"] for each in page["records"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == every


def test_a_page_ends_before_it_is_long(journal: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_PAGE", 4_000)
    page = found(Search(limit=500), journal, index)
    assert 1 <= len(page["records"]) < 10
    assert page["next"] == page["records"][-1]["index"]


@pytest.mark.parametrize(
    ("wish", "count"),
    [
        (Search(who="eve", limit=500), WRITES),
        (Search(decision="deny", reason="default", limit=500), WRITES),
        (Search(outcome="ok", limit=500), WRITES),
        (Search(tag="plc-1.level_sp", changed_to=0.7), 1),
        (Search(who="nobody"), 0),
    ],
)
def test_conditions_are_those_of_the_command(journal: Path, index: Index, wish: Search, count: int) -> None:
    assert len(found(wish, journal, index)["records"]) >= count
    if not count:
        assert found(wish, journal, index)["records"] == []


def test_a_record_is_found_by_index_and_by_id(journal: Path, index: Index) -> None:
    lead = found(Search(kind=RecordKind.INTENT, limit=1), journal, index)["records"][0]
    by_index = found(Show(record=str(lead["index"])), journal, index)
    assert by_index == found(Show(record=lead["record"]["id"]), journal, index)
    assert "The device accepted it." in by_index["sentence"]


def test_growth_between_any_two_sizes_is_proved(journal: Path, index: Index) -> None:
    key = verifier_key((journal / "log.vkey").read_text())
    newest = answer(Newest(), journal, index)
    assert isinstance(newest, Found)
    signed = opened(newest.body, key)
    for old in (1, 2, 31, signed.size):
        told = found(Grown(old=old), journal, index)
        roots = [base64.b64decode(told[name]) for name in ("from_root", "to_root")]
        assert roots[1] == signed.root
        hashes = [base64.b64decode(each) for each in told["hashes"]]
        assert consistent(old, signed.size, roots[0], roots[1], hashes)


@pytest.mark.parametrize("wish", [Grown(old=0), Grown(old=5, new=4), Grown(old=1, new=10**9)])
def test_sizes_that_nobody_signed_are_refused(journal: Path, index: Index, wish: Grown) -> None:
    told = answer(wish, journal, index)
    assert isinstance(told, Nothing)
    assert told.status == 400


def test_what_is_not_there_is_said(journal: Path, index: Index) -> None:
    for wish in (Show(record="99999"), Prove(record="99999"), Show(record="0" * 26)):
        told = answer(wish, journal, index)
        assert isinstance(told, Nothing)
        assert told.code == "no_record"


def test_without_a_checkpoint_that_counts_nothing_is_proved(index: Index, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="checkpoint"):
        answer(Newest(), tmp_path, index)


def test_a_timeline_has_denials_once(journal: Path, index: Index) -> None:
    told = found(Follow(who="eve"), journal, index)
    assert not told["left_out"]
    assert sum(each["records"] for each in told["entries"]) >= WRITES
    assert len(told["entries"]) == 3


SINCE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_table_of_the_report_can_be_had_alone(journal: Path, index: Index, section: Any) -> None:
    (table,) = found(Report(since=SINCE, section=section), journal, index)["tables"]
    assert table["name"] == section
    told = answer(Report(since=SINCE, section=section, format="csv"), journal, index)
    assert isinstance(told, Found)
    assert told.body.decode().splitlines()[0].count(",") == len(table["columns"]) - 1


def test_the_whole_report_says_who_wrote_what_and_opens_anywhere(journal: Path, index: Index) -> None:
    told = answer(Report(since=SINCE, format="html"), journal, index)
    assert isinstance(told, Found)
    text = told.body.decode()
    assert "spiffe://plant.example/hmi-3" in text
    assert "since=2020-01-01" in text
    assert "http://" not in text.replace("http://www.w3.org/", "")
    assert "<script" not in text


def test_a_csv_of_everything_is_refused(journal: Path, index: Index) -> None:
    told = answer(Report(since=SINCE, format="csv"), journal, index)
    assert isinstance(told, Nothing)
    assert (told.status, told.code) == (400, "bad_request")


def test_words_are_those_of_the_log() -> None:
    assert set(get_args(Section)) == set(SECTIONS)
    assert set(get_args(Ended)) == set(OUTCOMES)


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("text", [None, "\0", " ", "a\0b"])
def test_no_question_ends_the_reading_room(journal: Path, index: Index, year: int, text: str | None) -> None:
    at = datetime(year, 12, 31, tzinfo=UTC)
    for wish in (
        Search(since=at, text=text),
        Search(until=at, text=text),
        Follow(since=at),
        Follow(until=at),
        Report(since=at),
        Report(since=datetime(2026, 1, 1, tzinfo=UTC), until=at),
    ):
        assert isinstance(answer(wish, journal, index), Found)
