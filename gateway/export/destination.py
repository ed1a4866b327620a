"""One destination at work: read what is durable, render, send, wait for the receipt, move the place.

Everything sent since the last receipt is sent again after any failure. What is unconfirmed is bounded in
number and time, and so is what is in memory: one piece. A receiver that is away costs one try each
MOST_PAUSE_S and nothing else, for as long as the journal keeps its records.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from gateway.config.settings import ExportSection, Leave
from gateway.export.carriers import Carrier
from gateway.export.place import Place, PlaceFile
from gateway.export.receipt import Unreachable
from gateway.export.source import Batch, OtherLogError, Source
from gateway.export.tail import Missing
from gateway.model.errors import GatewayError
from gateway.model.moment import SECOND, Now

log = logging.getLogger(__name__)

LOOK_S = 0.25
"How often is looked for new records where there were none."
MOST_UNCONFIRMED = 4096
"Records sent without a receipt: the most that are sent twice after a failure."
CONFIRM_S = 5.0
"The longest that a record which was sent waits for its receipt to be asked for."
FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 60.0
"Pauses between tries double from the first to this."

Alarm = Callable[[str, dict[str, Any]], None]
Sleep = Callable[[float], Awaitable[None]]


class Extent(Struct, frozen=True):
    """How many records the journal has."""

    durable: int
    signed: int
    "Of those, covered by a checkpoint."


class Destination:
    """Runs until cancelled or told to finish."""

    def __init__(
        self,
        section: ExportSection,
        carrier: Carrier,
        *,
        journal: Path,
        state: Path,
        origin: str,
        extent: Callable[[], Extent],
        clock: Callable[[], Now],
        alarm: Alarm,
        random: Random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.name = section.name
        self._section = section
        self._carrier = carrier
        self._source = Source(journal, origin, frozenset(section.without), carrier.render)
        self._file = PlaceFile(state, section.name)
        self._origin = origin
        self._extent = extent
        self._clock = clock
        self._alarm = alarm
        self._random = random
        self._sleep = sleep
        self._place: Place | None = None
        self._sent: Place | None = None
        "The place behind what was sent and is not confirmed."
        self._asked_ns = 0
        "When the oldest unconfirmed record was sent."
        self._since_ns: int | None = None
        "Wall clock of the oldest record that the receiver does not have; null where it has all."
        self._failures = 0
        self._told: set[str] = set()
        self._ending = False
        self.trouble = ""
        self.sent = 0
        "Messages sent, those sent again included."

    # what others see ---------------------------------------------------------------------------

    @property
    def next(self) -> int:
        """The first record that the receiver may not have: nothing from it on may be forgotten."""
        if self._place is not None:
            return self._place.next
        try:
            return self._file.load(self._origin).next
        except GatewayError:
            return 0

    @property
    def lag(self) -> int:
        """Records that may leave and are not confirmed."""
        return max(0, self._limit() - self.next)

    def lag_s(self, now: Now) -> float:
        """Age of the oldest of them."""
        if self._since_ns is None or not self.lag:
            return 0.0
        return max(0.0, (now.wall_ns - self._since_ns) / SECOND)

    def status(self, now: Now) -> dict[str, Any]:
        """For `status`."""
        return {
            "name": self.name,
            "next": self.next,
            "lag_records": self.lag,
            "lag_s": round(self.lag_s(now), 3),
            "sent": self.sent,
            "without": [str(kind) for kind in self._section.without],
            "trouble": self.trouble,
        }

    # work --------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Send what there is, have it confirmed, and end."""
        self._ending = True

    async def run(self) -> None:
        """Export, and begin again after each failure."""
        try:
            while True:
                try:
                    await self._carry()
                except (Unreachable, GatewayError, OSError) as error:
                    self._failed(error)
                except Exception as error:  # one that nobody thought of: the others go on, and so does this
                    log.exception("export %s", self.name)
                    self._failed(error)
                else:
                    return
                if self._ending:
                    return
                await self._sleep(self._pause())
        finally:
            self._begin_again()

    async def _carry(self) -> None:
        """Read, send and confirm; returns only when told to finish and everything is confirmed."""
        if self._place is None:
            self._place = await asyncio.to_thread(self._load, self._extent().durable)
        place = self._place
        while True:
            ending = self._ending
            batch = await asyncio.to_thread(self._source.read, place.next, self._limit())
            if batch.missing is not None:
                self._tell_missing(batch.missing)
            if batch.after is not None:
                await self._send(batch)
            caught_up = batch.after is None
            if self._sent is not None and (self._due() or (ending and caught_up)):
                await self._confirm()
            if caught_up:
                if ending and self._sent is None:
                    return
                if self._sent is None:
                    self._since_ns = None
                await self._sleep(LOOK_S)

    def _load(self, durable: int) -> Place:
        place = self._file.load(self._origin)
        self._source.holds(place, durable)
        return place

    async def _send(self, batch: Batch) -> None:
        if self._since_ns is None:
            self._since_ns = batch.wall_ns
        if batch.messages:
            await self._carrier.send(batch.messages)
            self.sent += len(batch.messages)
        if self._sent is None:
            self._asked_ns = self._clock().mono_ns
        self._sent = batch.after

    def _due(self) -> bool:
        if self._sent is None or self._place is None:
            return False
        many = self._sent.next - self._place.next >= MOST_UNCONFIRMED
        return many or self._clock().mono_ns - self._asked_ns >= CONFIRM_S * SECOND

    async def _confirm(self) -> None:
        await self._carrier.confirm()
        place, self._sent = self._sent, None
        if place is not None:
            await asyncio.to_thread(self._file.keep, place)
            self._place = place
        self._failures = 0
        self.trouble = ""
        self._told.discard("away")
        self._since_ns = None

    def _limit(self) -> int:
        extent = self._extent()
        return extent.durable if self._section.once is Leave.DURABLE else extent.signed

    # trouble -----------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        self.trouble = str(error) or type(error).__name__
        self._failures += 1
        code = "export.other_log" if isinstance(error, OtherLogError) else "export.away"
        kind = "away" if code == "export.away" else code
        log.warning("export %s: %s", self.name, self.trouble)
        if kind not in self._told and not self._ending:
            self._told.add(kind)
            self._alarm(code, {"destination": self.name, "why": self.trouble[:500]})
        self._begin_again()

    def _begin_again(self) -> None:
        """Go back to what is confirmed."""
        self._carrier.abort()
        self._sent = None
        self._source.let_go()

    def _tell_missing(self, missing: Missing) -> None:
        """Records that no receiver will ever get: that is told in the journal, and so to the receiver too."""
        known = {"destination": self.name, "from": missing.first, "to": missing.end - 1, "why": missing.why}
        if (told := f"missing {missing.first}") not in self._told:
            self._told.add(told)
            self._alarm("export.records_missing", known)

    def _pause(self) -> float:
        doubled = FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10)
        return min(MOST_PAUSE_S, doubled) * self._random.uniform(0.5, 1.0)
