"""Dropping: openings go for good, and that they go is on record first.

By age (`audit.sensitive.days`), and by order: `dmz-gateway audit drop` leaves a file in the journal folder
that names records by index, never whom they are about. The gateway that runs carries it out within seconds,
one that is started later does then. Rules that hold here:

- First a record says which openings will go, and a checkpoint covers that record; then they go. A verifier
  takes an opening that is missing for dropped only where a signed record says so.
- The order stays until its openings are gone, and the index has forgotten: whatever ends the gateway, the
  next start finishes it. What goes by age has one too, so that no other configuration leaves a record untrue.
- An order speaks of records that are there. One of records to come would cover whoever destroys openings.
- Whoever may write in the data folder could take openings away by other means. An order gives nobody more
  than that, and puts it on record; so it is no operation that policy decides.
"""

import asyncio
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

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
AGAIN_S = 10.0
"How long after a failure."
AGE_S = 3600.0
"How often openings go by age: one record each time."
MOST_RANGES = 100
"In one record: with two indices each they stay below what a note may hold as it is."
MOST_SPANS = 50_000
"In one order: its records find room in the journal's queue at once."
MOST_ORDER = 4 << 20
"Bytes of an order: such a one with long indices."
SIGNED_WITHIN_S = 60.0
"""How long the records of it may take to be signed; then that is told, and waited for again: a checkpoint may
be an hour away, and a log that is held for longer."""
POLL_S = 0.1
DAY_NS = 86_400 * SECOND
Span = tuple[int, int]
"The first index and the last."


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be dropped."""

    why: Literal["subject", "age"]
    "Whom it concerns is not said: that would have to be dropped next."
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
    last = -1
    for row in Vault(Disk(journal)).kept():
        if row.wall_ns >= before_ns:
            break
        last = row.index
    return Order("age", ((0, last),)) if last >= 0 else None


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


def parts(order: Order) -> list[Order]:
    """The same in orders that are short enough."""
    known = order.ranges
    return [
        msgspec.structs.replace(order, ranges=known[at : at + MOST_SPANS])
        for at in range(0, len(known), MOST_SPANS)
    ]


def leave(journal: Path, order: Order) -> Path:
    """Put an order there, durably. JournalError where one is under way.

    Root may do so, and then in a folder where somebody else can write: no name there is trusted before it is
    made. The gateway's user must be able to read it.
    """
    file = journal / ORDER
    fd, fresh = tempfile.mkstemp(prefix="drop-", suffix=".new", dir=journal)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(msgspec.json.encode(order))
            out.flush()
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
        os.link(fresh, file)
    except FileExistsError as error:
        raise JournalError(f"{file} is there: an order is under way, a running gateway ends it") from error
    finally:
        os.unlink(fresh)
    _sync(journal)
    return file


def ordered(journal: Path) -> Order | None:
    """The order that is there, by whoever owns its file. JournalError where it makes no sense.

    A link is none: it would be the order of whoever owns what it leads to. Nothing here waits for a pipe.
    """
    try:
        fd = os.open(journal / ORDER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise JournalError(f"{ORDER}: it is no file")
            data = file.read(MOST_ORDER + 1)
        if len(data) > MOST_ORDER:
            raise JournalError(f"{ORDER}: it is longer than {MOST_ORDER} bytes")
        order = _order.decode(data)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise JournalError(f"{ORDER}: {error}") from error
    return msgspec.structs.replace(order, by=_user(status.st_uid))


def require(order: Order, size: int) -> None:
    """JournalError unless it names records of a log of that size, each once, in their order."""
    behind = 0
    for first, last in order.ranges:
        if not behind <= first <= last < size:
            raise JournalError(f"{ORDER}: records {first} to {last}: not in order, or not in the log")
        behind = last + 1
    if not 0 < len(order.ranges) <= MOST_SPANS:
        raise JournalError(f"{ORDER}: {len(order.ranges)} ranges; 1 to {MOST_SPANS} are an order")


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
        self._begun: tuple[Order, int] | None = None
        "The order that is being put on record, and how many records there were before."

    async def run(self) -> None:
        """Until cancelled."""
        told = ""
        while True:
            pause = LOOK_S
            try:
                await self.look()
                told = ""
            except (JournalError, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                if why != told:  # an order that cannot be carried out stays, and is told once
                    self._alarm(f"dropping: {why}")
                told, pause = why, AGAIN_S
            await asyncio.sleep(pause)

    async def look(self) -> int:
        """Carry out what is due; how many openings went."""
        order = await asyncio.to_thread(ordered, self._folder) or await self._aged()
        if order is None:
            return 0
        require(order, self._journal.status()["size"])
        count = await self._carry_out(order)
        await asyncio.to_thread(_done, self._folder)
        return count

    async def _aged(self) -> Order | None:
        """What is too old, as an order that a crash leaves for the next start."""
        now = self._clock()
        if self._days is None or not now.trusted:
            return None
        if self._looked_ns is not None and now.mono_ns - self._looked_ns < AGE_S * SECOND:
            return None
        self._looked_ns = now.mono_ns
        old = await asyncio.to_thread(aged, self._folder, now.wall_ns - int(self._days * DAY_NS))
        if old is not None:
            await asyncio.to_thread(leave, self._folder, old)
        return old

    async def _carry_out(self, order: Order) -> int:
        """Record it, see that signed, and only then do it."""
        size, said = self._journal.status()["size"], notes(order)
        if self._begun is None or self._begun[0].ranges != order.ranges:
            self._begun = (order, size)
        start = self._begun[1]
        for note in await asyncio.to_thread(unsaid, self._folder, start, size, said):
            self._journal.event(RecordKind.LIFECYCLE, note, self._clock())
        try:
            async with asyncio.timeout(SIGNED_WITHIN_S):
                while await self._unsigned(start, said):  # noqa: ASYNC110 # the committer signs in its own time
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise TimeoutError("the record of it is not signed yet: nothing goes before") from None
        self._journal.forget()
        gone = [range(first, last + 1) for first, last in order.ranges]
        count = await asyncio.to_thread(self._journal.drop, gone)
        await self._purge()
        self._begun = None
        return count

    async def _unsigned(self, start: int, said: list[dict[str, Any]]) -> bool:
        signed = self._journal.status()["signed_size"] or 0
        return bool(await asyncio.to_thread(unsaid, self._folder, start, signed, said))


def _done(folder: Path) -> None:
    (folder / ORDER).unlink()
    _sync(folder)


def unsaid(journal: Path, start: int, end: int, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of these notes that no record says, from `start` to before `end`."""
    left = [*said]
    for index, data in records(journal, start):
        if index >= end or not left:
            break
        if EVENT.encode() in data:
            note = msgspec.json.decode(data).get("note") or {}
            ranges = note.get("ranges") if note.get("event") == EVENT else None
            left = [each for each in left if each["ranges"] != ranges]
    return left
