"""Reading on from an index: over segments, up to the end that was named, and holes are named."""

import asyncio
from pathlib import Path

import pytest

from gateway.audit import framing
from gateway.audit.reader import segments
from gateway.export.tail import MOST_AT_ONCE, Missing, Tail
from gateway.model.errors import GatewayError
from gateway.model.record import RecordKind
from tests.unit.audit import world
from tests.unit.export import journal

FIRST_OF_EACH = 3


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, bytes]]]:
    """A journal of several segments."""
    folder = tmp_path_factory.mktemp("tail") / "journal"
    asyncio.run(fill(folder))
    found = journal.written(folder)
    assert len(segments(folder)) >= FIRST_OF_EACH
    return folder, found


async def fill(folder: Path) -> None:
    clock = world.Clock()
    made = world.journal(folder, clock, segment_bytes=2 << 20)
    made.open()
    await made.start(asyncio.get_running_loop())
    for number in range(1500):
        note = {f"part_{n}": f"{number} {'x' * 1000}" for n in range(4)}
        made.event(RecordKind.CONFIG, note, clock())
        if number % 100 == 0:
            await asyncio.sleep(0.02)
    await made.stop()


def drain(tail: Tail, end: int) -> tuple[list[tuple[int, bytes]], list[Missing]]:
    found: list[tuple[int, bytes]] = []
    missing: list[Missing] = []
    while tail.next < end:
        piece = tail.read(end)
        assert len(piece.records) <= MOST_AT_ONCE
        found += piece.records
        missing += [piece.missing] if piece.missing else []
    tail.close()
    return found, missing


@pytest.mark.parametrize("start", [0, 1, 511, 1499])
def test_it_reads_what_is_there(big: tuple[Path, list[tuple[int, bytes]]], start: int) -> None:
    folder, written = big
    assert drain(Tail(folder, start), len(written)) == (written[start:], [])


def test_it_reads_no_further_than_the_end(big: tuple[Path, list[tuple[int, bytes]]]) -> None:
    tail = Tail(big[0], 0)
    assert [index for index, _ in tail.read(3).records] == [0, 1, 2]
    assert tail.read(3).records == ()
    assert [index for index, _ in tail.read(4).records] == [3]
    tail.close()


def copied(folder: Path, to: Path) -> Path:
    (to / "segments").mkdir(parents=True)
    for path in (folder / "segments").iterdir():
        (to / "segments" / path.name).write_bytes(path.read_bytes())
    return to


def test_a_segment_that_is_gone_is_named(big: tuple[Path, list[tuple[int, bytes]]], tmp_path: Path) -> None:
    folder, written = copied(big[0], tmp_path / "copy"), big[1]
    first, second, *_ = segments(folder)
    first.path.unlink()
    found, missing = drain(Tail(folder, 10), len(written))
    assert missing == [Missing(10, second.first, "removed")]
    assert found == written[second.first :]


def test_damage_is_named_and_passed(big: tuple[Path, list[tuple[int, bytes]]], tmp_path: Path) -> None:
    folder, written = copied(big[0], tmp_path / "copy"), big[1]
    first, second, *_ = segments(folder)
    data = bytearray(first.path.read_bytes())
    at = framing.HEAD.size + sum(framing.FRAME.size + len(d) for _, d in written[:20]) + framing.FRAME.size
    data[at + 5] ^= 1
    first.path.write_bytes(data)
    found, missing = drain(Tail(folder, 0), len(written))
    assert missing == [Missing(20, second.first, "damaged")]
    assert found == written[:20] + written[second.first :]


def test_damage_with_nothing_behind_it_stops(
    big: tuple[Path, list[tuple[int, bytes]]], tmp_path: Path
) -> None:
    folder, written = copied(big[0], tmp_path / "copy"), big[1]
    last = segments(folder)[-1]
    data = bytearray(last.path.read_bytes())
    data[framing.HEAD.size + framing.FRAME.size + 5] ^= 1
    last.path.write_bytes(data)
    tail = Tail(folder, last.first)
    with pytest.raises(GatewayError, match=f"record {last.first} cannot be read"):
        tail.read(len(written))
