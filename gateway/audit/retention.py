"""Retention: old segments go, by stated policy; what they held stays provable.

Rules that hold here:
- Whole segments go, oldest first; the newest `KEPT` stay whatever the policy says (recovery reads them).
- Nothing goes before its leaf hashes are on stable storage as tiles and have been compared with the records.
  From then on the tiles stand for them: the root of the whole log still follows, and so does every proof.
- With a record goes what opens its commitments.
- First a record says what will go, and a checkpoint covers that record; then it goes. A verifier accepts a
  log without its beginning only where a signed record says so: nobody else can take a beginning away.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from gateway.audit.log import SEGMENTS
from gateway.audit.reader import Segment, records, segments
from gateway.audit.tiles import HASH, WIDTH, path
from gateway.audit.tree import leaf
from gateway.model.errors import JournalError
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind

KEPT = 2
"Segments that always stay."
LOOK_S = 600.0
"How often is looked whether something may go."
SIGNED_WITHIN_S = 3660.0
"""How long the record of it may take to be signed; then nothing goes this time. The next checkpoint may be an
hour away (`audit.checkpoint`)."""
POLL_S = 0.2
EVENT = "retention"
DAY_NS = 86_400 * SECOND


class Policy(Protocol):
    """The `audit.retention` section."""

    @property
    def days(self) -> float | None:
        """Records younger than this stay."""

    @property
    def most_bytes(self) -> int | None:
        """Segments that together are larger than this lose their oldest."""


class Plan(Struct, frozen=True):
    """What may go."""

    first: int
    "Index of the first record that is there."
    first_kept: int
    "Index of the first record that stays."
    segments: tuple[Path, ...]
    bytes: int


def due(journal: Path, policy: Policy, now: Now, signed: int) -> Plan | None:
    """What the policy lets go. Reads the first record of each segment that could."""
    known = segments(journal)
    sizes = [segment.path.stat().st_size for segment in known]
    total, gone = sum(sizes), 0
    while gone < len(known) - KEPT and _may_go(known, gone, total, policy, now, signed):
        total -= sizes[gone]
        gone += 1
    if gone == 0:
        return None
    paths = tuple(segment.path for segment in known[:gone])
    return Plan(known[0].first, known[gone].first, paths, sum(sizes[:gone]))


def _may_go(known: list[Segment], at: int, total: int, policy: Policy, now: Now, signed: int) -> bool:
    following = known[at + 1].first
    if -(-following // WIDTH) * WIDTH > signed:
        return False  # The tile with its last hashes is not full yet.
    if policy.most_bytes is not None and total > policy.most_bytes:
        return True
    if policy.days is None or not now.trusted:
        return False
    wall_ns = _wall_ns(known[at + 1])
    return wall_ns is not None and now.wall_ns - wall_ns > policy.days * DAY_NS


def _wall_ns(segment: Segment) -> int | None:
    """When its first record was written: everything before it is older."""
    for _, data in records(segment.path.parent.parent, segment.first):
        try:
            wall_ns = json.loads(data)["wall_ns"]
        except (ValueError, KeyError, TypeError):
            return None
        return wall_ns if isinstance(wall_ns, int) else None
    return None


def secure(journal: Path, plan: Plan) -> None:
    """Compare the tiles with the records that go, and put them on stable storage. JournalError where not."""
    row: tuple[int, bytes] = (-1, b"")
    expected = plan.first
    for index, data in records(journal, plan.first):
        if index >= plan.first_kept or index != expected:
            break
        number, at = divmod(index, WIDTH)
        if row[0] != number:
            row = (number, _synced(journal / path(0, number)))
        if leaf(data) != row[1][at * HASH : (at + 1) * HASH]:
            raise JournalError(f"record {index} is not what its tile says: nothing goes; run audit verify")
        expected += 1
    if expected != plan.first_kept:
        raise JournalError(f"record {expected} cannot be read: nothing goes; run audit verify")
    for file in _above(journal, plan):
        _synced(file)


def _above(journal: Path, plan: Plan) -> Iterator[Path]:
    """Full tiles of the higher levels over what goes."""
    level, first, end = 1, plan.first // WIDTH, plan.first_kept // WIDTH
    while end:
        for number in range(first // WIDTH, -(-end // WIDTH)):
            file = journal / path(level, number)
            if file.exists():
                yield file
        level, first, end = level + 1, first // WIDTH, end // WIDTH


def _synced(file: Path) -> bytes:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise JournalError(
            f"{file.name}: {error.strerror}: nothing goes; a restart writes it anew"
        ) from error
    try:
        os.fsync(fd)
        return os.read(fd, WIDTH * HASH)
    finally:
        os.close(fd)


def carry_out(journal: Path, plan: Plan) -> None:
    """Take the segments away, oldest first, so that what stays has no gap however this ends."""
    for file in plan.segments:
        file.unlink(missing_ok=True)
    fd = os.open(journal / SEGMENTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def told(journal: Path, start: int, signed: int, plan: Plan) -> bool:
    """Whether a signed record from `start` on says that this goes."""
    for index, data in records(journal, start):
        if index >= signed:
            return False
        note = json.loads(data).get("note") or {}
        if note.get("event") == EVENT and note.get("first_kept") == plan.first_kept:
            return True
    return False


class Journals(Protocol):
    """The journal, as far as retention needs it."""

    def event(self, kind: RecordKind, note: dict[str, Any], now: Now) -> None:
        """Write a record."""

    def status(self) -> dict[str, Any]:
        """`size` and `signed_size`."""

    def drop(self, gone: Sequence[range]) -> int:
        """Overwrite what opens these records."""


class Retention:
    """Looks now and then whether something may go."""

    def __init__(
        self,
        folder: Path,
        policy: Policy,
        *,
        journal: Journals,
        clock: Callable[[], Now],
        alarm: Callable[[str], None],
        exported: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`exported`: every destination has all records below this index; None where there is none."""
        self._folder = folder
        self._policy = policy
        self._exported = exported
        self._journal = journal
        self._clock = clock
        self._alarm = alarm

    async def run(self) -> None:
        """Until cancelled; returns at once where nothing ever goes."""
        while self._policy.days is not None or self._policy.most_bytes is not None:
            try:
                await self.look()
            except (JournalError, OSError, TimeoutError) as error:
                self._alarm(f"retention: {str(error) or type(error).__name__}")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> Plan | None:
        """Let go what may; what went."""
        signed = self._journal.status()["signed_size"] or 0
        plan = await asyncio.to_thread(due, self._folder, self._policy, self._clock(), signed)
        if plan is None:
            return None
        await asyncio.to_thread(secure, self._folder, plan)
        start, exported = self._journal.status()["size"], self._exported()
        note = {
            "event": EVENT,
            "first": plan.first,
            "first_kept": plan.first_kept,
            "segments": len(plan.segments),
            "bytes": plan.bytes,
            "days": self._policy.days,
            "most_bytes": self._policy.most_bytes,
            "not_exported": 0 if exported is None else max(0, plan.first_kept - exported),
        }
        self._journal.event(RecordKind.LIFECYCLE, note, self._clock())
        async with asyncio.timeout(SIGNED_WITHIN_S):
            while not await self._told(start, plan):  # noqa: ASYNC110 # the committer signs in its own time
                await asyncio.sleep(POLL_S)
        await asyncio.to_thread(self._journal.drop, [range(plan.first_kept)])
        await asyncio.to_thread(carry_out, self._folder, plan)
        return plan

    async def _told(self, start: int, plan: Plan) -> bool:
        signed = self._journal.status()["signed_size"] or 0
        return await asyncio.to_thread(told, self._folder, start, signed, plan)
