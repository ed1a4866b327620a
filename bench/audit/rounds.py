"""One window of load on the committer: so many hand-overs in flight, each followed by the next."""

import asyncio
import statistics
from pathlib import Path
from time import perf_counter
from typing import Protocol

import uvloop
from msgspec import Struct

from bench.audit.stores import Sqlite, our_log
from bench.report import Row, compare
from gateway.audit.carry import Carrier
from gateway.audit.committer import Batch, Committer, Store
from gateway.audit.storage import Disk

SUBJECT, PEER = "gateway", "sqlite"
RECORD = 840
"Bytes: an intent takes about 2,000, its outcome 500, a refusal 900."
WARMUP_S = 0.2


class Closing(Store, Protocol):
    """A store that the bench opened."""

    def close(self) -> None:
        """Let go of it."""


class Window(Struct):
    """What one window saw."""

    seconds: float
    waits: list[float]
    "Of each record, from the hand-over to the answer, in seconds."

    @property
    def rate(self) -> float:
        """Durable records a second."""
        return len(self.waits) / self.seconds

    @property
    def p99_ms(self) -> float:
        """Milliseconds."""
        return sorted(self.waits)[int(len(self.waits) * 0.99)] * 1000


def opened(subject: str, folder: Path) -> Closing:
    """A new store."""
    return our_log(folder) if subject == SUBJECT else Sqlite(folder)


class Load:
    """Keeps so many records in flight. A checkpoint is asked for each second, as the journal does."""

    def __init__(self, store: Store, folder: Path, in_flight: int, size: int) -> None:
        self._in_flight = in_flight
        self._size = size
        self._store = store
        self._folder = folder
        self._waits: list[float] = []
        self._number = 0
        self._until = 0.0
        self._from = 0.0
        self._signed = 0.0
        self._left = in_flight
        self._failed: str | None = None

    async def run(self, seconds: float) -> Window:
        """One window."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        carrier = Carrier(Disk(self._folder))
        self._committer = Committer(self._store, carrier, loop, self._landed)
        self._committer.start()
        now = self._signed = perf_counter()
        self._from, self._until = now + WARMUP_S, now + WARMUP_S + seconds
        for _ in range(self._in_flight):
            self._next(now)
        await self._done
        self._committer.finish()
        while not self._committer.ended:  # noqa: ASYNC110 # once, at the end
            await asyncio.sleep(0.002)
        carrier.close()
        if self._failed is not None:
            raise OSError(self._failed)
        return Window(seconds, self._waits)

    def _next(self, now: float) -> None:
        self._number += 1
        sign = now - self._signed >= 1
        if sign:
            self._signed = now
        data = b'{"id":"%026d","pad":"' % self._number
        self._committer.hand_over(Batch([data.ljust(self._size - 2, b"x") + b'"}'], now, sign=sign))

    def _landed(self, batches: list[Batch], failed: str | None) -> None:
        now = perf_counter()
        for batch in batches:
            began = batch.token
            assert isinstance(began, float)
            if self._from <= now < self._until:
                self._waits.append(now - began)
            if failed is None and now < self._until:
                self._next(now)
                continue
            self._failed = failed
            self._left -= 1
            if self._left == 0:
                self._done.set_result(None)


def window(subject: str, folder: Path, in_flight: int, seconds: float, size: int = RECORD) -> Window:
    """A new store in that folder, and one window on it."""
    store = opened(subject, folder / "store")
    try:
        return uvloop.run(Load(store, folder / "side", in_flight, size).run(seconds))
    finally:
        store.close()


def rows(in_flight: int, windows: dict[str, list[Window]]) -> list[Row]:
    """The medians of the rounds."""
    bench = f"audit-{in_flight}"
    rates = {name: statistics.median(w.rate for w in each) for name, each in windows.items()}
    waits = {name: statistics.median(w.p99_ms for w in each) for name, each in windows.items()}
    return [
        *compare(bench, "durable_records", "1/s", rates, PEER),
        *compare(bench, "p99", "ms", waits, PEER),
    ]
