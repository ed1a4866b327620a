"""Power fails at any operation of the disk, and what was not synced is lost or torn in any way (invariant 1).

No record with a durable receipt is lost, nothing is reordered, everything signed still verifies, and recovery
says what it cut. `TORTURE_EXAMPLES` asks for more examples than the share of every run.
"""

import os
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import framing
from gateway.audit.commitment import Sealed
from gateway.audit.log import SEGMENTS, STEP, Log
from gateway.audit.recovery import Left, recover
from gateway.audit.signer import Signer
from tests.unit.audit import world
from tests.unit.audit.memory import Crash, Memory

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "120"))
SMALL = 2 * STEP
"Segment size: the smallest there is, so that rotations happen."


def opened(disk: Memory) -> tuple[Log, Left]:
    return recover(disk, Signer(world.KEY, world.ORIGIN), SMALL)


def content(number: int, size: int) -> bytes:
    return b'{"id":"%d","kind":"config","wall_ns":1,"pad":"%b"}' % (number, b"x" * size)


def stored(disk: Memory) -> list[bytes]:
    found: list[bytes] = []
    for name in disk.names(SEGMENTS):
        first = int(name[:-4])
        assert first == len(found), "segments follow one another"
        file = disk.open(f"{SEGMENTS}/{name}")
        found += framing.Scan(file.pread, first)
    return found


def work(
    disk: Memory,
    handed: list[bytes],
    batches: list[list[int]],
    make: Callable[[int, int], bytes] = content,
) -> int:
    """Append and sign until the plug is pulled; how many records are promised."""
    promised = len(handed)
    try:
        log, left = opened(disk)
        assert left.size >= promised
        for batch in batches:
            records = [make(len(handed) + i, size) for i, size in enumerate(batch)]
            handed += records
            log.append(records)
            promised = len(handed)
            log.prepare()
            if len(batch) % 2:
                log.checkpoint()
    except (Crash, OSError):
        return promised  # After an error the committer promises nothing more.
    return promised


BATCHES = st.lists(
    st.lists(st.sampled_from([0, 5, 300, 700, 5000, 65_000]), min_size=1, max_size=12),
    min_size=1,
    max_size=12,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_no_durable_record_is_lost_whenever_power_fails(data: st.DataObject) -> None:
    disk, survivors = Memory(), list[bytes]()
    for _ in range(data.draw(st.integers(1, 3), label="lives")):
        disk.steps_left = data.draw(st.integers(0, 120), label="steps")
        handed = list(survivors)
        promised = work(disk, handed, data.draw(BATCHES, label="batches"))
        chance = data.draw(st.randoms(use_true_random=False), label="what survives")
        disk = disk.after_crash(chance.randrange)
        before = {name: bytes(node.cached) for name, node in disk.files.items()}
        _, left = opened(disk)
        survivors = stored(disk)
        assert len(survivors) >= promised, "a durable record is lost"
        assert survivors == handed[: len(survivors)], "reordered, or not what was written"
        _check_cut(left, before, len(survivors))


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(data=st.data())
def test_no_record_survives_without_its_opening(data: st.DataObject) -> None:
    """It is on stable storage first; openings of records that never came to be are gone at the next start."""
    disk, survivors = Memory(), list[bytes]()
    for _ in range(data.draw(st.integers(1, 3), label="lives")):
        disk.steps_left = data.draw(st.integers(0, 120), label="steps")
        handed = list(survivors)
        promised = work(disk, handed, data.draw(BATCHES, label="batches"), sealed)
        chance = data.draw(st.randoms(use_true_random=False), label="what survives")
        disk = disk.after_crash(chance.randrange)
        log, _ = opened(disk)
        survivors = stored(disk)
        assert len(survivors) >= promised, "a durable record is lost"
        kept = [(row.index, row.opening) for row in log.vault.kept()]
        assert kept == [(n, b"opens " + data) for n, data in enumerate(survivors)]


def sealed(number: int, size: int) -> bytes:
    """A record with what opens it."""
    data = content(number, size)
    return Sealed(data, b"opens " + data, number)


class Failing:
    """One sync fails; every later one succeeds, and says nothing of what the first left out."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, operation: str, name: str) -> OSError | None:
        if operation != "fdatasync":
            return None
        self._left -= 1
        return OSError(5, "Input/output error") if self._left == 0 else None


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_sync_that_failed_and_then_succeeds_is_not_believed(data: st.DataObject) -> None:
    """The process starts again on a cache that lies: what it takes over must survive a power failure."""
    disk, survivors = Memory(), list[bytes]()
    chance = data.draw(st.randoms(use_true_random=False), label="what survives")
    for _ in range(data.draw(st.integers(1, 3), label="lives")):
        disk.fail = Failing(data.draw(st.integers(1, 40), label="sync that fails"))
        disk.steps_left = data.draw(st.none() | st.integers(20, 200), label="steps")
        handed = list(survivors)
        promised = work(disk, handed, data.draw(BATCHES, label="batches"))
        disk.fail, disk.steps_left = Failing(0), None
        if data.draw(st.booleans(), label="power fails at once"):
            disk = disk.after_crash(chance.randrange)
        else:
            taken_over, _ = opened(disk)
            if data.draw(st.booleans(), label="signed"):
                taken_over.checkpoint()
            kept = stored(disk)
            assert len(kept) >= promised, "a durable record is lost"
            promised = len(kept)
            disk = disk.after_crash(chance.randrange)
        opened(disk)
        survivors = stored(disk)
        assert len(survivors) >= promised, "what was taken over from the cache was never on the disk"
        assert survivors == handed[: len(survivors)], "reordered, or not what was written"


def _check_cut(left: Left, before: dict[str, bytes], size: int) -> None:
    """What lay behind the last whole record was told if there was any, and is gone."""
    names = sorted(name for name in before if name.startswith(SEGMENTS))
    if not names:
        return
    first = int(names[-1].split("/")[1][:-4])
    lying = before[names[-1]]
    scan = framing.Scan(lambda count, offset: lying[offset : offset + count], first)
    assert first + len(list(scan)) == size
    behind = lying[scan.offset :].rstrip(b"\0")
    assert (left.cut is not None) == bool(behind)
    if left.cut is not None:
        assert (left.cut.index, left.cut.bytes) == (size, len(behind))


@settings(max_examples=100, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), sizes=BATCHES)
def test_any_flipped_byte_of_a_signed_segment_is_found(
    position: float, flip: int, sizes: list[list[int]]
) -> None:
    disk = Memory()
    log, _ = opened(disk)
    for batch in sizes:
        log.append([content(i, size % 5001) for i, size in enumerate(batch)])
    log.checkpoint()
    node = disk.files[f"{SEGMENTS}/{framing.name(0)}"]
    at = int(position * log.used)
    node.cached[at] ^= flip
    total = log.size
    expected = -1 if at < framing.HEAD.size else _index_at(log, sizes, at)
    scan = framing.Scan(disk.open(f"{SEGMENTS}/{framing.name(0)}").pread, 0)
    survivors = len(list(scan))
    assert survivors < total
    assert survivors == max(expected, 0)


def _index_at(log: Log, sizes: list[list[int]], at: int) -> int:
    offset, index = framing.HEAD.size, 0
    for batch in sizes:
        for i, size in enumerate(batch):
            offset += framing.FRAME.size + len(content(i, size % 5001))
            if at < offset:
                return index
            index += 1
    raise AssertionError("behind the last record")
