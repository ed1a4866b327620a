"""What is dropped is nowhere, every proof still holds, and an opening that goes otherwise is found."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.audit import dropping as dropping_
from gateway.audit import vault, verify
from gateway.audit.dropping import (
    MOST_RANGES,
    ORDER,
    Dropping,
    Order,
    about,
    aged,
    leave,
    notes,
    ordered,
    spans,
)
from gateway.audit.index import Index
from gateway.audit.openings import Openings
from gateway.audit.query import Filters
from gateway.audit.reader import records
from gateway.audit.report import report
from gateway.audit.signer import Hold, Signer
from gateway.audit.timeline import timeline
from gateway.author import corpus, decisions
from gateway.author.corpus import Span
from gateway.author.recorded import Seen
from gateway.export.ocsf import event
from gateway.model.errors import GatewayError, JournalError
from gateway.model.record import RecordKind
from gateway.review import answers
from gateway.review.jobs import Found
from gateway.review.wishes import Search
from tests.unit.audit import sealing, world
from tests.unit.audit.sealing import ADDRESS, PERSON, SECRETS, USER, Q, dropped, made, person
from tests.unit.audit.test_cli import run

SIGNER = Signer(world.KEY, world.ORIGIN)
KEY = verify.verifier_key(SIGNER.vkey)
DAY = 86_400.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: Ann and Otto at work, and an HMI."""
    folder = tmp_path / "data"
    made(folder / "journal", person(), world.caller(source="10.0.0.9"))
    for name in ("format", "lock"):
        (folder / name).write_text("1\n")
    return folder


def found(folder: Path, *secrets: str) -> list[str]:
    """Files in which one of them stands, as bytes."""
    files = (each for each in folder.rglob("*") if each.is_file())
    return [f"{file.name}: {s}" for file in files for s in secrets if s.encode() in file.read_bytes()]


def dropped_of(data: Path, subject: str, clock: world.Clock | None = None) -> int:
    order = about(data / "journal", subject)
    assert order is not None
    leave(data / "journal", order)
    return dropped(data / "journal", clock or world.Clock())


def sealed_of(journal: Path, kind: str, subject: str) -> int:
    openings = Openings(journal)
    told = ((n, openings.told(n, raw)) for n, raw in records(journal) if f'"kind":"{kind}"'.encode() in raw)
    return next(n for n, record in told if (record.get("who") or {}).get("subject") == subject)


# what is dropped is nowhere ------------------------------------------------------------------------------


def test_what_is_dropped_is_nowhere_in_the_data_folder(data: Path) -> None:
    """Search index, side file of windows, openings and records, before and after."""
    assert run("search", "--who", "ann.miller", "--data", str(data)) == 0
    assert run("search", "--changed-to", "765432.1", "--data", str(data)) == 0
    assert {each.split(":")[0] for each in found(data, *SECRETS)} >= {"index.db"}
    order = aged(data / "journal", world.WALL + 10**12)
    assert order is not None
    leave(data / "journal", order)
    assert dropped(data / "journal", world.Clock()) == 10
    assert run("index", "--data", str(data)) == 0  # what the gateway starts when it has dropped something
    assert found(data, *SECRETS) == []
    assert run("search", "--who", "ann.miller", "--data", str(data)) == 1
    assert run("search", "--who", "", "--kind", "intent", "--data", str(data)) in (0, 1)


def test_only_what_names_the_subject_goes(data: Path) -> None:
    assert dropped_of(data, PERSON) == 6
    assert run("index", "--data", str(data)) == 0
    assert found(data, PERSON, USER, ADDRESS) == []
    assert found(data, str(Q), "spiffe://plant.example/hmi-3")
    assert run("search", "--who", "hmi-3", "--data", str(data)) == 0
    assert about(data / "journal", PERSON) is None
    assert about(data / "journal", "spiffe://plant.example/person/ann") is None, "a beginning is another name"


def test_the_index_forgets_the_same_whether_it_was_there_or_is_made_anew(data: Path, tmp_path: Path) -> None:
    journal = data / "journal"
    kept = Index(journal, tmp_path / "kept.db")
    kept.refresh()
    dropped_of(data, PERSON)
    kept.refresh()
    fresh = Index(journal, tmp_path / "fresh.db")
    fresh.refresh()
    query = """select n, s.kind, s.who, s.source, s.behalf, s.asset, s.decision from record r
        join shape s on s.id = r.shape order by n"""
    tables = [index.db.execute(query).fetchall() for index in (kept, fresh)]
    assert tables[0] == tables[1]
    changes = [index.db.execute("select * from change order by n, at").fetchall() for index in (kept, fresh)]
    assert changes[0] == changes[1]
    counts = "select kind, sum(count), sum(times) from shape group by kind order by kind"
    assert kept.db.execute(counts).fetchall() == fresh.db.execute(counts).fetchall()
    for index in (kept, fresh):
        assert [n for n, *_ in index.search(Filters(who="ann"))] == []
        assert [n for n, *_ in index.search(Filters(who="hmi-3", kind="intent"))]
        index.close()


def test_the_side_file_of_windows_forgets(tmp_path: Path) -> None:
    """It is no record and no proof, and holds what closed windows said until it is begun anew."""

    async def run_() -> None:
        clock = world.Clock()
        running = sealing.journal(tmp_path / "journal", clock)
        running.open()
        await running.start(asyncio.get_running_loop())
        entry = running.read(person(), world.reading(), world.READ_OK, clock())
        entry.answered(b"\1\2")  # type: ignore[union-attr]
        for _ in range(400):
            await asyncio.sleep(0.005)
            if found(tmp_path, ADDRESS):
                break
        assert found(tmp_path, ADDRESS) == [f"windows.1: {ADDRESS}"]
        clock.forward(3601)  # its window ends, and an hour has gone
        for _ in range(400):
            await asyncio.sleep(0.005)
            if not any("windows" in each for each in found(tmp_path, ADDRESS)):
                break
        assert [each for each in found(tmp_path, ADDRESS) if "windows" in each] == []
        await running.stop()

    asyncio.run(run_())


# every proof still holds ---------------------------------------------------------------------------------


def alone(tmp_path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.copy(verify.__file__, tmp_path / "verify.py")
    return subprocess.run(
        [sys.executable, "-I", program, *words], capture_output=True, text=True, check=False
    )


def test_leaves_checkpoints_and_proofs_are_what_they_were(data: Path, tmp_path: Path) -> None:
    journal = data / "journal"
    at = sealed_of(journal, "intent", PERSON)
    proof, opening = tmp_path / "p.tlog-proof", tmp_path / "p.opening"
    assert run("prove", str(at), "--data", str(data), "-o", str(proof), "--opening", str(opening)) == 0
    shown = alone(tmp_path, str(proof), SIGNER.vkey, "--opening", str(opening))
    assert shown.returncode == 0
    assert f'"subject":"{PERSON}"' in shown.stdout
    before = dict(records(journal))
    kept = tmp_path / "kept"
    shutil.copy(journal / "checkpoint", kept)

    dropped_of(data, PERSON)
    assert {n: raw for n, raw in records(journal) if n in before} == before
    report_ = verify.verify(journal, KEY, kept=kept.read_bytes())
    assert (report_.ok, report_.opened, report_.dropped) == (True, 4, 6)
    said = alone(tmp_path, str(journal), SIGNER.vkey, "--checkpoint", str(kept))
    assert said.returncode == 0
    assert "commitments: 4 records open, 6 were dropped" in said.stdout
    assert alone(tmp_path, str(proof), SIGNER.vkey, "--opening", str(opening)).returncode == 0, "a copy kept"
    again = tmp_path / "again.tlog-proof"
    assert run("prove", str(at), "--data", str(data), "-o", str(again)) == 0
    assert alone(tmp_path, str(again), SIGNER.vkey).returncode == 0
    with pytest.raises(GatewayError, match="was dropped"):
        run(
            "prove", str(at), "--data", str(data), "-o", str(tmp_path / "x"), "--opening", str(tmp_path / "y")
        )


def test_a_proof_with_a_wrong_opening_is_none(data: Path, tmp_path: Path) -> None:
    at = sealed_of(data / "journal", "intent", PERSON)
    proof, opening = tmp_path / "p.tlog-proof", tmp_path / "p.opening"
    run("prove", str(at), "--data", str(data), "-o", str(proof), "--opening", str(opening))
    opening.write_bytes(opening.read_bytes().replace(ADDRESS.encode(), b"192.0.2.78"))
    shown = alone(tmp_path, str(proof), SIGNER.vkey, "--opening", str(opening))
    assert shown.returncode == 1
    assert "the opening is not what record" in shown.stdout


# what is wrong is found ----------------------------------------------------------------------------------


def rows(journal: Path) -> tuple[Path, list[vault.Row]]:
    (file,) = (journal / vault.FOLDER).iterdir()
    return file, [*vault.rows(file.read_bytes())]


def written(file: Path, row: vault.Row, opening: bytes) -> None:
    """Another opening of the same length in a row, with a check that fits."""
    raw = bytearray(file.read_bytes())
    raw[row.offset : row.end] = vault.row(row.index, row.wall_ns, opening)
    file.write_bytes(raw)


def bad(journal: Path, tmp_path: Path) -> verify.Finding:
    report_ = verify.verify(journal, KEY)
    assert not report_.ok
    assert report_.first_bad is not None
    said = alone(tmp_path, str(journal), SIGNER.vkey, "--json")
    assert json.loads(said.stdout)["first_bad"]["index"] == report_.first_bad.index, "they agree"
    return report_.first_bad


def test_a_value_changed_in_an_opening_is_found(data: Path, tmp_path: Path) -> None:
    file, known = rows(data / "journal")
    opening = known[0].opening or b""
    written(file, known[0], opening.replace(ADDRESS.encode(), b"192.0.2.78"))
    wrong = bad(data / "journal", tmp_path)
    assert (wrong.index, wrong.what) == (known[0].index, "its opening is not what the record committed to")
    raw = dict(records(data / "journal"))[known[0].index]
    assert "run audit verify" in Openings(data / "journal").told(known[0].index, raw)["who"]["source"]


@pytest.mark.parametrize("how", ["byte", "zeroed", "cut", "removed", "swapped", "doubled"])
def test_every_mutation_of_openings_is_found_and_located(data: Path, tmp_path: Path, how: str) -> None:
    journal = data / "journal"
    file, known = rows(journal)
    raw = bytearray(file.read_bytes())
    at = known[2]
    match how:
        case "byte":
            raw[at.offset + vault.ROW.size + 9] ^= 4
        case "zeroed":  # dropped by somebody who told nobody
            raw[at.offset + vault.ROW.size : at.end] = bytes(at.length)
        case "cut":
            del raw[at.offset :]
        case "removed":
            del raw[at.offset : at.end]
        case "swapped":
            raw[known[2].offset : known[3].end] = (
                raw[known[3].offset : known[3].end] + raw[known[2].offset : known[2].end]
            )
        case _:  # doubled
            raw[at.end : at.end] = raw[at.offset : at.end]
    file.write_bytes(raw)
    wrong = bad(journal, tmp_path)
    assert wrong.index == (known[3].index if how == "swapped" and wrong.index != at.index else at.index)


def test_a_journal_without_its_openings_is_whole_and_says_so(data: Path, tmp_path: Path) -> None:
    """A reviewer may be given it so."""
    shutil.rmtree(data / "journal" / vault.FOLDER)
    report_ = verify.verify(data / "journal", KEY)
    assert (report_.ok, report_.opened, report_.dropped, report_.unopened) == (True, 0, 0, 10)
    assert "no openings are here" in alone(tmp_path, str(data / "journal"), SIGNER.vkey).stdout


# how it is ordered ---------------------------------------------------------------------------------------


def test_an_order_names_nobody_and_waits_for_a_gateway(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("drop", "--subject", PERSON, "--data", str(data))
    assert run(*words, "--dry-run") == 0
    assert capsys.readouterr().out == "6 records: would be dropped\n"
    assert not (data / "journal" / ORDER).exists()
    assert run(*words) == 1
    assert "when it is started" in capsys.readouterr().err
    assert b"ann" not in (data / "journal" / ORDER).read_bytes()
    with pytest.raises(JournalError, match="under way"):
        run(*words)
    assert dropped(data / "journal", world.Clock()) == 6
    assert not (data / "journal" / ORDER).exists()
    said = [
        n
        for _, raw in records(data / "journal")
        if (n := json.loads(raw)["note"] or {}).get("event") == "drop"
    ]
    assert [(note["why"], note["ranges"]) for note in said] == [("subject", [[1, 4], [8, 9]])]
    assert said[0]["by"].startswith("local:")
    assert run(*words) == 1
    assert run("drop", "--before", "2026-01-01", "--data", str(data)) == 1


def test_by_age_and_only_with_a_clock_that_is_trusted(data: Path) -> None:
    clock = world.Clock()
    assert dropped(data / "journal", clock, days=30) == 0
    clock.forward(29 * DAY)
    assert dropped(data / "journal", clock, days=30) == 0
    clock.forward(1.01 * DAY)
    assert dropped(data / "journal", clock, days=30) == 10
    assert verify.verify(data / "journal", KEY).ok


def test_an_end_between_the_record_and_the_deed_is_made_good(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = about(data / "journal", PERSON)
    assert order is not None
    leave(data / "journal", order)
    with monkeypatch.context() as broken:

        def ended(self: Any, gone: Any) -> int:
            raise KeyboardInterrupt

        broken.setattr(vault.Vault, "drop", ended)
        with pytest.raises(KeyboardInterrupt):
            dropped(data / "journal", world.Clock())
    assert found(data, PERSON)
    assert verify.verify(data / "journal", KEY).ok, "told, and not done yet"
    assert dropped(data / "journal", world.Clock()) == 6
    assert found(data, PERSON) == []
    assert verify.verify(data / "journal", KEY).ok


def test_an_order_that_makes_no_sense_is_not_carried_out(data: Path) -> None:
    (data / "journal" / ORDER).write_bytes(b'{"ranges":"all"}')
    with pytest.raises(JournalError, match=ORDER):
        ordered(data / "journal")


def test_ranges_are_told_in_records_that_a_note_can_hold() -> None:
    order = Order("subject", tuple(spans(range(0, 10**6, 1000))))
    said = notes(order)
    assert len(said) == -(-1000 // MOST_RANGES)
    assert all(len(msgspec.json.encode(note["ranges"])) < 4096 for note in notes(_long()))
    assert [*spans([1, 2, 3, 5, 7, 8])] == [(1, 3), (5, 5), (7, 8)]
    assert [*spans([])] == []


def _long() -> Order:
    big = 10**15
    return Order("subject", tuple((big + 2 * n, big + 2 * n) for n in range(3 * MOST_RANGES)))


# who tells -----------------------------------------------------------------------------------------------


def test_everybody_who_tells_opens_what_is_there_and_says_what_is_not(data: Path, tmp_path: Path) -> None:
    journal = data / "journal"
    at = sealed_of(journal, "intent", PERSON)
    raw = dict(records(journal))[at]

    def told() -> dict[str, str]:
        index = Index(journal, None)
        index.refresh()
        answer = answers.answer(Search(kind="intent"), journal, index)  # type: ignore[arg-type]
        assert isinstance(answer, Found)
        said = {
            "report": repr(report(index, Filters(), ("writes",))[0].rows),
            "timeline": repr([e.text for e in timeline(index, Filters()).entries if e.first == at]),
            "review": next(r["line"] for r in json.loads(answer.body)["records"] if r["index"] == at),
            "export": json.dumps(event(at, raw, "o", Openings(journal)).body),
        }
        index.close()
        return said

    before = told()
    assert all(PERSON in text for text in before.values())
    assert all("765432" in text for name, text in before.items())
    dropped_of(data, PERSON)
    after = told()
    assert not [name for name, text in after.items() if PERSON in text]
    assert all("(dropped)" in text for name, text in after.items() if name != "report")


def test_programs_get_the_leaf_as_stored_and_beside_it_what_it_opens_to(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = sealed_of(data / "journal", "intent", PERSON)
    raw = dict(records(data / "journal"))
    for words in (("search", "--kind", "intent"), ("tail", "-n", "20")):
        run(*words, "--json", "--data", str(data))
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for each in lines:
            assert each["record"] == json.loads(raw[each["index"]])
        assert next(each for each in lines if each["index"] == at)["opened"]["who"]["subject"] == PERSON
        assert not [each for each in lines if each["record"]["kind"] == "lifecycle" and "opened" in each]
    dropped_of(data, PERSON)
    run("show", str(at), "--full", "--data", str(data))
    text = capsys.readouterr().out
    assert "(dropped) on behalf of (dropped) from (dropped)" in text.replace(" (operator)", "")
    assert "plc-1.level_sp: (dropped)" in text
    assert PERSON not in text


def test_what_was_dropped_cannot_be_asked_again_and_the_rest_can(data: Path) -> None:
    journal = data / "journal"
    names = {json.loads(raw)["id"] for n, raw in records(journal) if n == 1}
    before = Seen()
    list(corpus.journal(journal, Span(), before, lambda _: None))
    dropped_of(data, PERSON)
    seen = Seen()
    list(corpus.journal(journal, Span(), seen, lambda _: None))
    assert seen.records == before.records + 3
    assert seen.unusable["sensitive fields of the question were dropped"] == 3
    with pytest.raises(GatewayError, match="sensitive fields were dropped"):
        decisions.find(journal, names.pop())


# what an order may say, and who may leave one --------------------------------------------------------------


def order_of(*ranges: tuple[int, int]) -> Order:
    return Order("age", ranges)


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(-5, 3)], id="before the log"),
        pytest.param([(4, 2)], id="backwards"),
        pytest.param([(0, 9), (3, 4)], id="one in another"),
        pytest.param([(3, 4), (0, 1)], id="in no order"),
        pytest.param([(0, 10**12)], id="records that are not yet"),
        pytest.param([], id="nothing"),
    ],
)
def test_an_order_for_what_is_not_there_is_refused(data: Path, ranges: list[tuple[int, int]]) -> None:
    """Most of all one for records to come: whoever destroys their openings later would be covered by it."""
    leave(data / "journal", order_of(*ranges))
    with pytest.raises(JournalError, match=ORDER):
        dropped(data / "journal", world.Clock())
    assert found(data, PERSON), "nothing has gone"
    assert not [raw for _, raw in records(data / "journal") if b'"event":"drop"' in raw]


def test_a_reason_that_would_name_somebody_is_refused(data: Path) -> None:
    """It would stand in the log for ever."""
    (data / "journal" / ORDER).write_text(json.dumps({"why": PERSON, "ranges": [[0, 1]]}))
    with pytest.raises(JournalError, match=ORDER):
        ordered(data / "journal")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["symlink", "pipe", "folder", "long"])
def test_an_order_is_a_file_of_its_own_and_a_short_one(data: Path, what: str) -> None:
    """Not somebody else's file, in whose name it would count; nor one that never ends."""
    file = data / "journal" / ORDER
    match what:
        case "symlink":
            other = data / "elsewhere.json"
            other.write_bytes(msgspec.json.encode(order_of((0, 1))))
            file.symlink_to(other)
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case _:
            file.write_bytes(b'{"why":"age","ranges":[[0,1]]' + b" " * (5 << 20) + b"}")
    with pytest.raises(JournalError, match=ORDER):
        ordered(data / "journal")


def test_leaving_an_order_follows_no_link_and_a_gateway_of_another_user_can_read_it(data: Path) -> None:
    """`audit drop` may be run by root: nothing that waits there under some name is written through."""
    victim = data / "victim"
    victim.write_text("precious")
    (data / "journal" / ORDER).with_suffix(".new").symlink_to(victim)
    file = leave(data / "journal", order_of((0, 1)))
    assert victim.read_text() == "precious"
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in file.parent.iterdir() if each.name.startswith("drop-")] == []


def test_an_order_of_many_pieces_is_left_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropping_, "MOST_SPANS", 3)
    whole = order_of(*((2 * n, 2 * n) for n in range(8)))
    parts = dropping_.parts(whole)
    assert [len(each.ranges) for each in parts] == [3, 3, 2]
    assert [span for each in parts for span in each.ranges] == list(whole.ranges)


# what fails on the way -------------------------------------------------------------------------------------


def drops(data: Path) -> list[dict[str, Any]]:
    notes_ = (json.loads(raw)["note"] or {} for _, raw in records(data / "journal"))
    return [note for note in notes_ if note.get("event") == "drop"]


def test_an_order_that_waits_for_a_signature_is_put_on_record_once(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is held signs nothing, maybe for days: the records of an order do not pile up meanwhile."""
    monkeypatch.setattr(dropping_, "SIGNED_WITHIN_S", 0.15)
    monkeypatch.setattr(dropping_, "POLL_S", 0.02)
    order = about(data / "journal", PERSON)
    assert order is not None
    leave(data / "journal", order)

    async def run_() -> None:
        clock, signer = world.Clock(), Signer(world.KEY, world.ORIGIN)
        running = sealing.journal(data / "journal", clock, seed=11, signer=signer, checkpoint_s=0.001)
        running.open()
        signer.held = Hold("log_unconfirmed", "nobody has answered", writes=False)
        await running.start(asyncio.get_running_loop())
        made = Dropping(
            data / "journal", None, journal=running, clock=lambda: clock.forward(0.01), alarm=print
        )
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await made.look()
        assert found(data, PERSON), "nothing goes before it is signed"
        signer.held = None
        clock.forward(1)
        monkeypatch.setattr(dropping_, "SIGNED_WITHIN_S", 20.0)
        assert await made.look() == 6
        await running.stop()

    asyncio.run(run_())
    assert len(drops(data)) == 1
    assert verify.verify(data / "journal", KEY).ok


def test_an_index_that_cannot_be_brought_up_to_date_keeps_the_order_open(data: Path) -> None:
    """It still has the names: nobody may be told that they are gone."""
    order = about(data / "journal", PERSON)
    assert order is not None
    leave(data / "journal", order)

    async def fails() -> None:
        raise JournalError("the search index could not be brought up to date")

    async def run_() -> None:
        clock = world.Clock()
        running = sealing.journal(data / "journal", clock, seed=11, checkpoint_s=0.001)
        running.open()
        await running.start(asyncio.get_running_loop())
        made = Dropping(
            data / "journal",
            None,
            journal=running,
            clock=lambda: clock.forward(0.01),
            alarm=print,
            purge=fails,
        )
        with pytest.raises(JournalError, match="index"):
            await made.look()
        await running.stop()

    asyncio.run(run_())
    assert (data / "journal" / ORDER).exists()
    dropped(data / "journal", world.Clock())
    assert not (data / "journal" / ORDER).exists()


def test_what_goes_by_age_is_finished_though_the_figure_is_gone_meanwhile(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says that it goes; a start with another configuration must not make that a lie."""
    clock = world.Clock()
    clock.forward(31 * DAY)
    with monkeypatch.context() as broken:

        def ended(self: Any, gone: Any) -> int:
            raise KeyboardInterrupt

        broken.setattr(vault.Vault, "drop", ended)
        with pytest.raises(KeyboardInterrupt):
            dropped(data / "journal", clock, days=30)
    report_ = verify.verify(data / "journal", KEY)
    assert (report_.ok, report_.undone) == (True, 10)
    said = alone(data.parent, str(data / "journal"), SIGNER.vkey)
    assert "10 records were to be dropped and can still be opened" in said.stdout
    assert dropped(data / "journal", clock) == 10
    assert found(data, *SECRETS) == []
    report_ = verify.verify(data / "journal", KEY)
    assert (report_.ok, report_.undone, report_.dropped) == (True, 0, 10)


# what a verifier takes for told ----------------------------------------------------------------------------


def emptied(journal: Path) -> None:
    """Every opening zeroed, by somebody."""
    for file in (journal / vault.FOLDER).iterdir():
        raw = bytearray(file.read_bytes())
        for row in vault.rows(bytes(raw)):
            raw[row.offset + vault.ROW.size : row.end] = bytes(row.length)
        file.write_bytes(raw)


def noted(folder: Path, note: dict[str, Any], *, signed: bool = True, then: bool = False) -> None:
    """A log that says something, and perhaps a shift behind it."""

    async def run_() -> None:
        clock, signer = world.Clock(), Signer(world.KEY, world.ORIGIN)
        running = sealing.journal(folder, clock, seed=11, signer=signer)
        running.open()
        await running.start(asyncio.get_running_loop())
        if not signed:
            signer.held = Hold("log_unconfirmed", "", writes=True)
        running.event(RecordKind.LIFECYCLE, note, clock())
        if then:
            await sealing.shift(running, clock, person())
        await running.stop()

    asyncio.run(run_())


def test_a_record_speaks_of_what_is_before_it_and_only_when_it_is_signed(data: Path, tmp_path: Path) -> None:
    everything = {"event": "drop", "ranges": [[0, 10**9]]}
    unsigned = tmp_path / "unsigned"
    shutil.copytree(data / "journal", unsigned)
    noted(unsigned, everything, signed=False)
    emptied(unsigned)
    assert "no record says" in bad(unsigned, tmp_path).what
    noted(data / "journal", everything, then=True)
    emptied(data / "journal")
    told_at = next(n for n, raw in records(data / "journal") if b'"event":"drop"' in raw)
    assert bad(data / "journal", tmp_path).index > told_at


def test_many_ranges_are_no_burden_to_the_verifier() -> None:
    openings = verify._Openings(Path("/nowhere"))
    openings.told = [(2 * n, 2 * n) for n in range(100_000)]
    openings.faults = [(2 * n, "gone") for n in range(100_000)]
    began = time.monotonic()
    openings.judge(verify.Report())
    assert time.monotonic() - began < 5
