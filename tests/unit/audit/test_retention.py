"""Old segments go, and what is left still proves everything: also that nobody else took a beginning away."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from gateway.audit import framing
from gateway.audit.log import Log
from gateway.audit.note import opened
from gateway.audit.openings import Openings
from gateway.audit.proof import growth_proof, reading, record_proof
from gateway.audit.recovery import recover
from gateway.audit.retention import KEPT, SIGNED_WITHIN_S, Plan, Retention, carry_out, due, secure
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.audit.tiles import path
from gateway.audit.verify import prove_growth, prove_record, verifier_key, verify
from gateway.config.bounds import NUMBERS
from gateway.config.settings import AuditSection, RetentionSection
from gateway.model.errors import JournalError
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind
from tests.unit.audit import sealing, world
from tests.unit.audit.world import Clock

SIGNER = Signer(world.KEY, world.ORIGIN)
KEY = verifier_key(SIGNER.vkey)
SEGMENT = 2 << 20
EACH = 2000
DAY = 86_400 * SECOND
NOTHING = RetentionSection()


def at(day: float, *, trusted: bool = True) -> Now:
    return Now(wall_ns=int(day * DAY), mono_ns=0, trusted=trusted, judge_ns=int(day * DAY))


def content(index: int) -> bytes:
    """One record of a log that writes one segment or so a day."""
    return (
        json.dumps(
            {
                "schema": "dmz.record/1",
                "id": f"{index:026d}",
                "kind": "config",
                "wall_ns": index * DAY // EACH,
            }
        ).encode()
        + b" " * 1000
    )


def open_log(folder: Path) -> Log:
    return recover(Disk(folder), Signer(world.KEY, world.ORIGIN), SEGMENT)[0]


def event(first_kept: int) -> bytes:
    note = {"event": "retention", "first_kept": first_kept}
    return json.dumps(
        {"id": "R", "kind": "lifecycle", "wall_ns": 1, "note": note}, separators=(",", ":")
    ).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "journal"
    log = open_log(folder)
    for start in range(0, 5 * EACH, 500):
        log.append([content(i) for i in range(start, start + 500)])
        log.checkpoint()
        if start == 1000:
            shutil.copy(folder / "checkpoint", folder.parent / "kept")
    log.close()
    return folder


@pytest.fixture
def journal(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "journal")
    return tmp_path / "journal"


def firsts(journal: Path) -> list[int]:
    return sorted(int(file.stem) for file in (journal / "segments").iterdir())


def cut(journal: Path, *, told: bool = True) -> Plan:
    """Two days are kept, as the running gateway does it."""
    plan = due(journal, RetentionSection(days=2), at(5), 5 * EACH)
    assert plan is not None
    secure(journal, plan)
    log = open_log(journal)
    log.append([event(plan.first_kept) if told else b"{}"])
    log.checkpoint()
    log.close()
    carry_out(journal, plan)
    return plan


def test_what_is_due(journal: Path) -> None:
    known = firsts(journal)
    assert len(known) >= 5
    assert due(journal, NOTHING, at(1000), 5 * EACH) is None, "without a figure nothing goes"
    assert due(journal, RetentionSection(days=5), at(5), 5 * EACH) is None
    assert due(journal, RetentionSection(days=1), at(5, trusted=False), 5 * EACH) is None, "by which clock?"
    assert due(journal, RetentionSection(days=1), at(5), 100) is None, "not before it is signed"
    two = due(journal, RetentionSection(days=2), at(5), 5 * EACH)
    assert two is not None
    assert two.first_kept == max(first for first in known if first < 3 * EACH)
    assert (two.first, len(two.segments)) == (0, known.index(two.first_kept))
    every = due(journal, RetentionSection(most_bytes=1), at(0), 5 * EACH)
    assert every is not None
    assert every.first_kept == known[-KEPT], "the newest always stay"
    most = sum(file.stat().st_size for file in (journal / "segments").iterdir()) - 1
    one = due(journal, RetentionSection(most_bytes=most), at(0), 5 * EACH)
    assert one is not None
    assert len(one.segments) == 1


def test_what_is_left_verifies_and_proves(journal: Path) -> None:
    plan = cut(journal)
    report = verify(journal, KEY)
    assert report.ok, report.first_bad
    assert (report.gone, report.records) == (plan.first_kept, 5 * EACH + 1)
    note = (journal / "checkpoint").read_bytes()
    newest = opened(note, SIGNER.verifier)
    for index in (plan.first_kept, 5 * EACH - 1, 0, plan.first_kept - 1):
        made = record_proof(index, content(index), newest, note, reading(journal))
        assert prove_record(made, KEY).ok, "also of what is gone, for who has its bytes"
    with pytest.raises(JournalError):
        record_proof(0, content(1), newest, note, reading(journal))


def test_growth_from_before_what_is_gone(made: Path, journal: Path) -> None:
    cut(journal)
    kept = (made.parent / "kept").read_bytes()
    note = (journal / "checkpoint").read_bytes()
    old, new = (opened(each, SIGNER.verifier) for each in (kept, note))
    assert prove_growth(growth_proof(old, new, note, reading(journal)), KEY, kept).ok
    assert verify(journal, KEY, kept=kept).ok


def test_the_log_goes_on(journal: Path) -> None:
    plan = cut(journal)
    log, left = recover(Disk(journal), Signer(world.KEY, world.ORIGIN), SEGMENT)
    assert left.gone == plan.first_kept
    log.append([content(i) for i in range(10)])
    log.checkpoint()
    log.close()
    assert verify(journal, KEY).ok


def test_a_beginning_that_somebody_else_took_is_an_error(journal: Path) -> None:
    cut(journal, told=False)
    report = verify(journal, KEY)
    assert report.first_bad is not None
    assert report.first_bad.index == 0
    assert "no signed record says" in report.first_bad.what


def test_more_gone_than_was_told_is_an_error(journal: Path) -> None:
    plan = cut(journal)
    min((journal / "segments").iterdir()).unlink()
    report = verify(journal, KEY)
    assert report.first_bad is not None
    assert report.first_bad.index == plan.first_kept


def test_a_record_that_only_quotes_a_retention_allows_nothing(journal: Path) -> None:
    plan = due(journal, RetentionSection(days=2), at(5), 5 * EACH)
    assert plan is not None
    log = open_log(journal)
    log.append([event(plan.first_kept).replace(b'"lifecycle"', b'"finding"')])
    log.checkpoint()
    log.close()
    carry_out(journal, plan)
    assert not verify(journal, KEY).ok


def test_an_unsigned_word_allows_nothing(journal: Path) -> None:
    plan = due(journal, RetentionSection(days=2), at(5), 5 * EACH)
    assert plan is not None
    log = open_log(journal)
    log.append([event(plan.first_kept)])
    log.close()
    carry_out(journal, plan)
    assert not verify(journal, KEY).ok


@pytest.mark.parametrize("number", [0, 3])
def test_hashes_of_what_is_gone_are_checked(journal: Path, number: int) -> None:
    cut(journal)
    tile = journal / path(0, number)
    row = bytearray(tile.read_bytes())
    row[40] ^= 1
    tile.write_bytes(row)
    report = verify(journal, KEY)
    assert report.first_bad is not None
    assert report.first_bad.index <= number * 256 + 1
    tile.unlink()
    report = verify(journal, KEY)
    assert report.first_bad is not None
    assert report.first_bad.index == number * 256


def test_nothing_goes_whose_hash_is_not_there(journal: Path) -> None:
    plan = due(journal, RetentionSection(days=2), at(5), 5 * EACH)
    assert plan is not None
    tile = journal / path(0, 2)
    whole = tile.read_bytes()
    tile.write_bytes(whole[:32] + bytes(32) + whole[64:])
    with pytest.raises(JournalError, match="record 513"):
        secure(journal, plan)
    tile.unlink()
    with pytest.raises(JournalError, match="nothing goes"):
        secure(journal, plan)
    tile.write_bytes(whole)
    first = min((journal / "segments").iterdir())
    data = bytearray(first.read_bytes())
    data[framing.HEAD.size + 20] ^= 1
    first.write_bytes(data)
    with pytest.raises(JournalError, match="record 0"):
        secure(journal, plan)


def test_a_running_gateway_tells_signs_and_lets_go(tmp_path: Path) -> None:
    clock, alarms = Clock(), list[str]()
    journal = world.journal(tmp_path, clock, segment_bytes=1 << 20, sealer=sealing.sealer())
    journal.open()
    retention = Retention(
        tmp_path,
        RetentionSection(most_bytes=1),
        journal=journal,
        clock=clock,
        alarm=alarms.append,
    )

    async def steps() -> Plan | None:
        await journal.start(asyncio.get_running_loop())
        try:
            assert await retention.look() is None, "two segments stay"
            for _ in range(400):
                for _ in range(5):
                    journal.event(RecordKind.CONFIG, {"reason": "x" * 3500, "text": "t"}, clock())
                clock.forward(0.2)
                await asyncio.sleep(0.002)
            looking = asyncio.ensure_future(retention.look())
            while not looking.done():
                clock.forward(0.2)
                await asyncio.sleep(0.01)
            return await looking
        finally:
            await journal.stop()

    plan = asyncio.run(steps())
    assert plan is not None
    assert firsts(tmp_path)[0] == plan.first_kept > 0
    report = verify(tmp_path, KEY)
    assert report.ok, report.first_bad
    assert report.gone == plan.first_kept
    openings = Openings(tmp_path)
    assert not [n for n in range(plan.first_kept) if openings.has(n)], "with a record goes what opens it"
    assert report.opened == sum(openings.has(n) for n in range(report.records)) > 0
    assert report.dropped == 0


def test_the_record_may_wait_for_the_rarest_checkpoint() -> None:
    """With one every five minutes nothing ever went, and each look wrote another record."""
    assert NUMBERS[AuditSection, "checkpoint_s"].high < SIGNED_WITHIN_S
