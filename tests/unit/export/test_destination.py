"""A destination at work: at least once, in order, only what is durable, honest about what is missing."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.reader import segments
from gateway.audit.storage import DiskFile
from gateway.config.settings import Leave
from gateway.export import destination as module
from gateway.export.destination import Destination, Extent
from gateway.export.place import Place, PlaceFile
from gateway.model.record import RecordKind
from tests.unit.audit import world
from tests.unit.export import journal, test_tail
from tests.unit.export.journal import Shelf


class Given:
    """A journal with every kind of record, and destinations over it whose time is moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = world.Clock()
        asyncio.run(journal.write(folder / "journal", self.clock))
        self.records = journal.written(folder / "journal")
        self.durable = self.signed = len(self.records)
        self.alarms: list[tuple[str, dict[str, Any]]] = []
        self.pauses: list[float] = []
        self.each_second: Callable[[], None] = lambda: None

    def extent(self) -> Extent:
        return Extent(self.durable, self.signed)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.forward(seconds)
        self.each_second()
        await asyncio.sleep(0)

    def make(self, shelf: Shelf, **changes: Any) -> Destination:
        return journal.destination(
            self.folder, shelf, self.clock, self.extent, sleep=self.sleep, alarms=self.alarms, **changes
        )

    async def drained(self, shelf: Shelf, **changes: Any) -> Destination:
        made = self.make(shelf, **changes)
        made.finish()
        await made.run()
        return made

    async def until(self, made: Destination, true: Callable[[], bool]) -> None:
        """Run it until then."""
        task = asyncio.get_running_loop().create_task(made.run())
        try:
            async with asyncio.timeout(20):
                while not true():  # noqa: ASYNC110 (its time is moved by hand)
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def indices(shelf: Shelf) -> list[int]:
    return [each.index for each in shelf.kept]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


async def test_everything_arrives_once_and_in_order(given: Given) -> None:
    shelf = Shelf()
    made = await given.drained(shelf)
    assert indices(shelf) == [index for index, _ in given.records]
    assert made.next == len(given.records)
    again = Shelf()
    await given.drained(again)
    assert again.kept == [], "the place was kept"


async def test_a_kind_that_is_left_out_moves_the_place_all_the_same(given: Given) -> None:
    shelf = Shelf()
    made = await given.drained(shelf, without=(RecordKind.WINDOW, RecordKind.LIFECYCLE))
    kinds = [json.loads(data)["kind"] for _, data in given.records]
    assert [each.kind for each in shelf.kept] == [k for k in kinds if k not in ("window", "lifecycle")]
    assert made.next == len(given.records)
    assert made.status(given.clock())["without"] == ["window", "lifecycle"]


async def test_a_receiver_that_is_away_for_an_hour_misses_nothing(given: Given) -> None:
    """Its clock is moved: pauses double up to a minute, the lag is told, one alarm is raised."""
    shelf = Shelf()
    shelf.away = True
    made = given.make(shelf)
    began = given.clock().mono_ns
    worst = 0.0

    def hour() -> None:
        nonlocal worst
        worst = max(worst, made.lag_s(given.clock()))
        shelf.away = given.clock().mono_ns - began < 3600 * 1_000_000_000

    given.each_second = hour
    await given.until(made, lambda: made.next == len(given.records))
    assert indices(shelf) == [index for index, _ in given.records]
    assert max(given.pauses) <= module.MOST_PAUSE_S
    assert len(given.pauses) < 3600 / module.MOST_PAUSE_S * 2 + 40, "a try a minute, not a storm"
    assert worst >= 3500
    assert [code for code, _ in given.alarms] == ["export.away"]
    assert made.lag == 0
    assert made.lag_s(given.clock()) == 0
    assert made.trouble == ""


async def test_while_away_the_lag_counts_records(given: Given) -> None:
    shelf = Shelf()
    shelf.away = True
    made = given.make(shelf)
    await given.until(made, lambda: bool(made.trouble))
    assert made.status(given.clock())["lag_records"] == len(given.records)
    assert made.next == 0


async def test_what_was_not_confirmed_is_sent_again_under_the_same_ids(given: Given) -> None:
    shelf = Shelf()
    shelf.receipts = False
    made = given.make(shelf)
    await given.until(made, lambda: len(shelf.kept) >= 2 * len(given.records))
    assert made.next == 0, "no receipt, no step"
    whole = [index for index, _ in given.records]
    assert indices(shelf)[: 2 * len(whole)] == whole * 2
    uids = [each.uid for each in shelf.kept[: len(whole)]]
    assert uids == [each.uid for each in shelf.kept[len(whole) : 2 * len(whole)]]
    shelf.receipts = True
    await given.until(made, lambda: made.next == len(given.records))


async def test_nothing_leaves_that_is_not_durable(given: Given) -> None:
    shelf = Shelf()
    given.durable = 5
    made = given.make(shelf)
    await given.until(made, lambda: made.next == 5)
    assert indices(shelf) == [0, 1, 2, 3, 4]
    given.durable = len(given.records)
    await given.until(made, lambda: made.next == given.durable)
    assert indices(shelf) == list(range(given.durable))


async def test_what_is_to_leave_signed_waits_for_the_checkpoint(given: Given) -> None:
    shelf = Shelf()
    given.signed = 7
    made = given.make(shelf, once=Leave.SIGNED)
    await given.until(made, lambda: made.next == 7)
    assert indices(shelf) == list(range(7))
    assert made.lag == 0, "what may not leave yet is no lag"


async def test_a_log_put_back_to_an_older_copy_is_not_exported(given: Given) -> None:
    await given.drained(Shelf())
    given.durable -= 3
    shelf = Shelf()
    made = given.make(shelf)
    await given.until(made, lambda: bool(made.trouble))
    assert shelf.kept == []
    assert "only" in made.trouble
    assert [code for code, _ in given.alarms] == ["export.other_log"]
    assert made.next == len(given.records), "nothing is forgotten of what the receiver has"


async def test_another_log_of_that_name_is_not_exported(given: Given, tmp_path: Path) -> None:
    await given.drained(Shelf())
    for path in (tmp_path / "journal" / "segments").iterdir():
        path.unlink()
    other = world.journal(tmp_path / "other", given.clock, seed=99)
    other.open()
    await other.start(asyncio.get_running_loop())
    for number in range(len(given.records)):
        other.event(RecordKind.CONFIG, {"what": f"other {number}"}, given.clock())
    await other.stop()
    for path in (tmp_path / "other" / "segments").iterdir():
        path.rename(tmp_path / "journal" / "segments" / path.name)
    given.durable = len(journal.written(tmp_path / "journal"))
    shelf = Shelf()
    made = given.make(shelf)
    await given.until(made, lambda: bool(made.trouble))
    assert shelf.kept == []
    assert "not the one" in made.trouble


@pytest.mark.parametrize(
    "content", ["", "{", '{"origin":"test.example/gw-1","next":-1}', '{"origin":"another","next":3}']
)
async def test_a_place_that_makes_no_sense_stops_and_says_what_to_do(given: Given, content: str) -> None:
    (given.folder / "state").mkdir()
    (given.folder / "state" / "export-siem.json").write_text(content)
    shelf = Shelf()
    made = given.make(shelf)
    await given.until(made, lambda: bool(made.trouble))
    assert shelf.kept == []
    assert "remove it" in made.trouble


async def test_the_place_is_durable_before_it_counts(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    made = given.make(shelf)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made._file, "keep", full)
    await given.until(made, lambda: len(shelf.kept) > len(given.records))
    assert made.next == 0
    assert "No space" in made.trouble


def test_a_disk_that_takes_a_place_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = PlaceFile(tmp_path, "siem"), DiskFile.pwrite
    monkeypatch.setattr(DiskFile, "pwrite", lambda to, data, at: write(to, bytes(data)[:7], at))
    place = Place(world.ORIGIN, 12, "ab" * 32)
    file.keep(place)
    assert file.load(world.ORIGIN) == place


async def test_sent_without_a_receipt_is_bounded(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_UNCONFIRMED", 10)
    monkeypatch.setattr("gateway.export.tail.Tail.read.__defaults__", (4,))
    shelf = Shelf()
    await given.drained(shelf)
    assert shelf.most_pending <= 12
    assert len(shelf.kept) == len(given.records) > 12


async def test_a_receipt_is_asked_for_in_time_where_nothing_follows(given: Given) -> None:
    shelf = Shelf()
    made = given.make(shelf)
    began = given.clock().mono_ns
    await given.until(made, lambda: made.next == len(given.records))
    waited_s = (given.clock().mono_ns - began) / 1e9
    assert module.CONFIRM_S <= waited_s <= module.CONFIRM_S + 30


async def test_a_fault_that_nobody_thought_of_does_not_end_it(given: Given) -> None:
    class Odd(Shelf):
        async def send(self, events: Any) -> None:
            if not given.alarms:
                raise ZeroDivisionError("odd")
            await super().send(events)

    shelf = Odd()
    made = given.make(shelf)
    await given.until(made, lambda: made.next == len(given.records))
    assert indices(shelf) == [index for index, _ in given.records]


async def test_records_that_retention_took_first_are_told(tmp_path: Path) -> None:
    """They are lost to this receiver; what is left comes, and the journal says what is missing."""
    await test_tail.fill(tmp_path / "journal")
    first, second, *_ = segments(tmp_path / "journal")
    first.path.unlink()
    size = journal.written(tmp_path / "journal")[-1][0] + 1
    alarms: list[tuple[str, dict[str, Any]]] = []
    shelf = Shelf()
    made = journal.destination(tmp_path, shelf, world.Clock(), lambda: Extent(size, size), alarms=alarms)
    made.finish()
    await made.run()
    assert indices(shelf) == list(range(second.first, size))
    known = {"destination": "siem", "from": 0, "to": second.first - 1, "why": "removed"}
    assert alarms == [("export.records_missing", known)]
