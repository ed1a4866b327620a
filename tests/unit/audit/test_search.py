"""`audit search`: pages, words, values, times."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.index import Index
from gateway.audit.query import Filters
from gateway.cli import main
from gateway.model.errors import GatewayError
from tests.unit.audit.generated import END, SET_POINT, Month, Truth

COUNT = 3000


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("month")
    truth = Month(folder / "journal", COUNT).write()
    for name in ("format", "lock"):
        (folder / name).touch()
    return folder, truth


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, list[Any], str]:
    capsys.readouterr()
    code = main(["audit", "search", "--data", str(folder), "--json", *words])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


@pytest.mark.parametrize("condition", [(), ("--who", "hmi-2"), ("--text", "plc-4"), ("--outcome", "ok")])
def test_pages_have_each_record_once_and_in_order(
    month: tuple[Path, Truth], capsys: pytest.CaptureFixture[str], condition: tuple[str, ...]
) -> None:
    folder, _ = month
    _, whole, _ = run(capsys, folder, *condition, "--limit", "100000")
    seen: list[int] = []
    cursor: tuple[str, ...] = ()
    while True:
        code, lines, _ = run(capsys, folder, *condition, "--limit", "170", *cursor)
        seen = [line["index"] for line in lines] + seen
        if code or len(lines) < 170:
            break
        cursor = ("--cursor", str(lines[0]["index"]))
    assert seen == [line["index"] for line in whole]
    assert len(seen) > 170


def test_an_index_and_a_walk_backwards_find_the_same(month: tuple[Path, Truth]) -> None:
    """Whichever way a search goes: rare conditions are gathered, common ones walked for."""
    folder, truth = month
    index = Index(folder / "journal", None)
    index.refresh()
    for filters in (Filters(who="anna"), Filters(kind="window"), Filters(decision="deny", asset="plc-2")):
        fits = []
        for n, data, _ in index.search(Filters(limit=COUNT)):
            record = json.loads(data)
            by, what, why = (record.get(name) or {} for name in ("who", "what", "why"))
            fit = (
                (filters.who is None or filters.who in (by.get("subject") or "").lower())
                and (filters.kind is None or record["kind"] == filters.kind)
                and (filters.decision is None or why.get("decision") == filters.decision)
                and (filters.asset is None or what.get("asset") == filters.asset)
            )
            if fit:
                fits.append(n)
        asked = Filters(who="Anna", limit=COUNT) if filters.who else filters
        asked = Filters(
            **{name: getattr(asked, name) for name in ("who", "kind", "decision", "asset")}, limit=COUNT
        )
        assert [n for n, _, _ in index.search(asked)] == fits
        assert fits
    assert truth.records > 2000
    index.close()


@pytest.mark.parametrize(
    "text", ['"', "NEAR(a b)", "a OR b", "text:hmi", "-hmi", "(", "hmi^2", "{a}", "NOT *x"]
)
def test_no_word_is_an_operator(
    month: tuple[Path, Truth], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    code, _, _ = run(capsys, month[0], f"--text={text}")
    assert code in (0, 1)


def test_words_and_beginnings(month: tuple[Path, Truth], capsys: pytest.CaptureFixture[str]) -> None:
    folder, truth = month
    for text, count in (("valve stuck", 4), ("valv* tank", 4), ("valv", 0), ("valve plc-99", 0)):
        _, lines, _ = run(capsys, folder, "--text", text)
        assert len(lines) == count, text
    assert len(truth.glass) == 2


def test_values_are_those_of_the_tag_that_is_named(
    month: tuple[Path, Truth], capsys: pytest.CaptureFixture[str]
) -> None:
    index, _, before, after = month[1].set_point[-1]
    arguments = ("--tag", SET_POINT, "--changed-from", str(before), "--changed-to", str(after))
    _, lines, _ = run(capsys, month[0], *arguments, "--outcome", "ok")
    assert index in [line["index"] for line in lines]
    for line in lines:
        (point,) = line["record"]["what"]["points"]
        assert (point["tag"], point["value_prev"], point["value"]) == (SET_POINT, before, after)


def test_times_are_exact_to_the_record(month: tuple[Path, Truth], capsys: pytest.CaptureFixture[str]) -> None:
    """Minutes lead there; the record's own time decides."""
    _, whole, _ = run(capsys, month[0], "--limit", "100000")
    walls = [line["record"]["wall_ns"] for line in whole]
    since, until = walls[700], walls[900]
    index = Index(month[0] / "journal", None)
    index.refresh()
    found = [n for n, _, _ in index.search(Filters(since_ns=since, until_ns=until, limit=COUNT))]
    assert found == [n for n, wall in enumerate(walls) if since <= wall < until]
    assert not list(index.search(Filters(since_ns=END + 1)))
    index.close()


def test_what_cannot_be_asked_is_an_error(month: tuple[Path, Truth]) -> None:
    for wrong in (["--text", " "], ["--text", "*"], ["--follow", "--cursor", "3"]):
        assert main(["audit", "search", "--data", str(month[0]), *wrong]) == 2
    with pytest.raises((GatewayError, SystemExit)):
        main(["audit", "search", "--data", str(month[0]), "--cursor", "x"])
