"""The reading room as the gateway sees it: it can be stuck, killed and asked too much, and nobody waits."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.audit.reader import records
from gateway.review import desk as desks
from gateway.review import jobs
from gateway.review.desk import MOST_WAITING, Desk
from gateway.review.jobs import Found, Job, Nothing
from gateway.review.wishes import Newest, Search

NEWEST = jobs.encoded(Job(Newest(), 5.0))


@asynccontextmanager
async def opened(journal: Path, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(journal, tmp_path / "index.db")
    try:
        yield desk
    finally:
        await desk.close()


async def test_questions_are_answered_by_one_child(journal: Path, tmp_path: Path) -> None:
    async with opened(journal, tmp_path) as desk:
        found = await desk.ask(NEWEST)
        assert isinstance(found, Found)
        assert found.body.startswith(b"test.example/gw-1\n")
        first = desk.pid
        every = await asyncio.gather(*(desk.ask(jobs.encoded(Job(Search(), 5.0))) for _ in range(5)))
        assert all(isinstance(each, Found) for each in every)
        assert desk.pid == first
    assert (tmp_path / "index.db").stat().st_mode & 0o077 == 0


async def test_one_that_is_stuck_is_killed_and_the_next_is_answered(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(journal, tmp_path) as desk:
        await desk.ask(NEWEST)
        stuck = desk.pid
        assert stuck is not None
        os.kill(stuck, signal.SIGSTOP)
        monkeypatch.setattr(desks, "WITHIN_S", 0.3)
        assert await desk.ask(NEWEST) == desks.LATE
        monkeypatch.undo()
        with pytest.raises(ProcessLookupError):
            os.kill(stuck, 0)
        assert isinstance(await desk.ask(NEWEST), Found)


async def test_while_the_index_is_made_others_hear_that_it_is_busy(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(journal, tmp_path) as desk:
        await desk.ask(NEWEST)
        assert desk.pid is not None
        os.kill(desk.pid, signal.SIGSTOP)
        keeping = asyncio.get_running_loop().create_task(desk.run())
        await asyncio.sleep(0)  # it takes the first turn
        monkeypatch.setattr(desks, "WITHIN_S", 0.2)
        assert await desk.ask(NEWEST) == desks.BUSY
        monkeypatch.undo()
        os.kill(desk.pid, signal.SIGCONT)
        assert isinstance(await desk.ask(NEWEST), Found)
        keeping.cancel()


async def test_one_that_died_is_replaced(journal: Path, tmp_path: Path) -> None:
    async with opened(journal, tmp_path) as desk:
        await desk.ask(NEWEST)
        assert desk.pid is not None
        os.kill(desk.pid, signal.SIGKILL)
        answers = [await desk.ask(NEWEST) for _ in range(2)]
        assert isinstance(answers[-1], Found)
        assert all(isinstance(each, Found) or each == desks.ENDED for each in answers)


async def test_only_so_many_wait(journal: Path, tmp_path: Path) -> None:
    async with opened(journal, tmp_path) as desk:
        every = await asyncio.gather(*(desk.ask(NEWEST) for _ in range(MOST_WAITING + 5)))
        assert [each for each in every if isinstance(each, Nothing)] == [desks.BUSY] * 5
        assert desk.waiting == 0


async def test_what_makes_no_sense_ends_the_child_and_nothing_else(journal: Path, tmp_path: Path) -> None:
    async with opened(journal, tmp_path) as desk:
        assert await desk.ask(b"\xc1") == desks.ENDED
        assert isinstance(await desk.ask(NEWEST), Found)


async def test_the_child_ends_with_its_input_and_steps_back(journal: Path, tmp_path: Path) -> None:
    async with opened(journal, tmp_path) as desk:
        await desk.ask(NEWEST)
        pid = desk.pid
        assert pid is not None
        assert os.getpriority(os.PRIO_PROCESS, pid) > 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_index_is_kept_up_to_date_while_nobody_asks(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.db"
    count = len(list(records(journal)))
    async with opened(journal, tmp_path) as desk:
        keeping = asyncio.get_running_loop().create_task(desk.run())
        async with asyncio.timeout(20):
            while _indexed(file) < count:  # noqa: ASYNC110 # a deadline stands around it
                await asyncio.sleep(0.02)
        keeping.cancel()


def _indexed(file: Path) -> int:
    """Records in an index that somebody else keeps."""
    with closing(sqlite3.connect(file)) as db:
        try:
            row = db.execute("select n from place").fetchone()
        except sqlite3.OperationalError:
            return 0
    return int(row[0]) if row is not None else 0
