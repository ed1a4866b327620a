"""Dropping: openings go for good, and that they go is on record first.

By age (`audit.sensitive.days`), and by order: `dmz-gateway audit drop` leaves a file in the journal folder
that names records by index, never whom they are about. The gateway that runs carries it out within seconds,
one that is started later does then. Rules that hold here:

- First a record says which openings will go, and a checkpoint covers that record; then they go. A verifier
  takes an opening that is missing for dropped only where a signed record says so.
- The order stays until its openings are gone: whatever ends the gateway, the next start finishes it.
- Whoever may write in the data folder could take openings away by other means. An order gives nobody more
  than that, and puts it on record; so it is no operation that policy decides.
"""

import asyncio
import os
import pwd
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway.audit.commitment import MARK
from gateway.audit.openings import Openings
from gateway.audit.reader import records
from gateway.audit.storage import Disk
from gateway.audit.vault import Vault
from gateway.model.errors import JournalError
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind

EVENT = "drop"
ORDER = "drop.json"
"Below the journal; one at a time."
LOOK_S = 1.0
"How often is looked for an order."
AGE_S = 3600.0
"How often openings go by age: one record each time."
MOST_RANGES = 100
"In one record: with two indices each they stay below what a note may hold as it is."
SIGNED_WITHIN_S = 60.0
"How long the records of it may take to be signed; then nothing goes this time."
POLL_S = 0.1
DAY_NS = 86_400 * SECOND
Span = tuple[int, int]
"The first index and the last."


class Order(Struct, frozen=True):
    """What is to be dropped."""

    why: str
    "`subject`, `age`, `retention`. Whom it concerns is not said: that would have to be dropped next."
    ranges: tuple[Span, ...]
    by: str | None = None
    "The Unix user who ordered it."


_order = msgspec.json.Decoder(Order)


class Journals(Protocol):
    """The journal, as far as dropping needs it."""

    def event(self, kind: RecordKind, note: dict[str, Any], now: Now) -> None:
        """Write a record."""

    def status(self) -> dict[str, Any]:
        """`size` and `signed_size`."""

    def forget(self) -> None:
        """Let the side file of windows go of what was."""

    def drop(self, gone: Sequence[range]) -> int:
        """Overwrite openings."""


def spans(indices: Iterable[int]) -> Iterator[Span]:
    """Neighbours together."""
    first = last = -2
    for index in indices:
        if index != last + 1:
            if last >= 0:
                yield first, last
            first = index
        last = index
    if last >= 0:
        yield first, last


def aged(journal: Path, before_ns: int) -> Order | None:
    """What was written before then: a beginning of the log, so that a clock that jumped hides nothing."""
    found: list[int] = []
    for row in Vault(Disk(journal)).kept():
        if row.wall_ns >= before_ns:
            break
        found.append(row.index)
    return Order("age", ((0, found[-1]),)) if found else None


def about(journal: Path, subject: str) -> Order | None:
    """Every record that names somebody, as it can be opened now."""
    name = re.escape(msgspec.json.encode(subject)[1:-1])
    named = re.compile(rb'(?<![^\s"(,;=])' + name + rb'(?=[\s"),;]|[.:][\s"])')
    openings = Openings(journal)
    found = (
        index
        for index, data in records(journal)
        if MARK in data and openings.has(index) and named.search(openings.opened(index, data))
    )
    ranges = tuple(spans(found))
    return Order("subject", ranges) if ranges else None


def leave(journal: Path, order: Order) -> Path:
    """Put an order there, durably. JournalError where one is under way."""
    file = journal / ORDER
    fresh = file.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(msgspec.json.encode(order))
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(fresh, file)
    except FileExistsError as error:
        raise JournalError(f"{file} is there: an order is under way, a running gateway ends it") from error
    finally:
        fresh.unlink()
    _sync(journal)
    return file


def ordered(journal: Path) -> Order | None:
    """The order that is there, by whoever owns its file. JournalError where it makes no sense."""
    file = journal / ORDER
    try:
        data, uid = file.read_bytes(), file.stat().st_uid
        order = _order.decode(data)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise JournalError(f"{ORDER}: {error}") from error
    return msgspec.structs.replace(order, by=_user(uid))


def _user(uid: int) -> str:
    try:
        return f"local:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"local:{uid}"


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def notes(order: Order) -> list[dict[str, Any]]:
    """What the records say before it is done."""
    parts = [order.ranges[at : at + MOST_RANGES] for at in range(0, len(order.ranges), MOST_RANGES)]
    return [
        {
            "event": EVENT,
            "why": order.why,
            "by": order.by,
            "part": number,
            "parts": len(parts),
            "ranges": [list(span) for span in part],
        }
        for number, part in enumerate(parts, 1)
    ]


async def _nothing() -> None:
    """Nobody keeps a copy."""


class Dropping:
    """Looks for orders and for what is too old."""

    def __init__(
        self,
        folder: Path,
        days: float | None,
        *,
        journal: Journals,
        clock: Callable[[], Now],
        alarm: Callable[[str], None],
        purge: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """`purge` brings whatever else keeps opened values up to date: the search index."""
        self._folder = folder
        self._days = days
        self._journal = journal
        self._clock = clock
        self._alarm = alarm
        self._purge = purge
        self._looked_ns: int | None = None

    async def run(self) -> None:
        """Until cancelled."""
        told = ""
        while True:
            try:
                await self.look()
                told = ""
            except (JournalError, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                if why != told:  # an order that cannot be carried out stays, and is told once
                    self._alarm(f"dropping: {why}")
                told = why
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Carry out what is due; how many openings went."""
        order = ordered(self._folder)
        if order is not None:
            count = await self.carry_out(order)
            (self._folder / ORDER).unlink()
            await asyncio.to_thread(_sync, self._folder)
            return count
        now = self._clock()
        if self._days is None or not now.trusted:
            return 0
        if self._looked_ns is not None and now.mono_ns - self._looked_ns < AGE_S * SECOND:
            return 0
        self._looked_ns = now.mono_ns
        old = await asyncio.to_thread(aged, self._folder, now.wall_ns - int(self._days * DAY_NS))
        return await self.carry_out(old) if old is not None else 0

    async def carry_out(self, order: Order) -> int:
        """Record it, see that signed, and only then do it."""
        start, said = self._journal.status()["size"], notes(order)
        for note in said:
            self._journal.event(RecordKind.LIFECYCLE, note, self._clock())
        async with asyncio.timeout(SIGNED_WITHIN_S):
            while not await self._told(start, said):  # noqa: ASYNC110 # the committer signs in its own time
                await asyncio.sleep(POLL_S)
        self._journal.forget()
        gone = [range(first, last + 1) for first, last in order.ranges]
        count = await asyncio.to_thread(self._journal.drop, gone)
        await self._purge()
        return count

    async def _told(self, start: int, said: list[dict[str, Any]]) -> bool:
        signed = self._journal.status()["signed_size"] or 0
        return await asyncio.to_thread(told, self._folder, start, signed, said)


def told(journal: Path, start: int, signed: int, said: list[dict[str, Any]]) -> bool:
    """Whether signed records from `start` on say all of this."""
    left = [note["ranges"] for note in said]
    for index, data in records(journal, start):
        if index >= signed or not left:
            break
        note = msgspec.json.decode(data).get("note") or {}
        if note.get("event") == EVENT and note.get("ranges") in left:
            left.remove(note["ranges"])
    return not left
