"""The benches: which load each puts on which subject, and which rows come of it.

| bench       | load                                                                             |
|-------------|----------------------------------------------------------------------------------|
| reads-N     | N connections, closed loop, reads only, no reload: what an inspected read costs   |
| mixed-N     | the same with 1 % writes and policy reloads during the window                     |
| paced-N     | the same mix at half the slower subject's rate of mixed-N, no reload             |
| reload-16   | the same pace at 16 connections with a policy reload in the window               |
| defaults-64 | mixed-64 to assets that allow one connection and one request in flight           |
| writes-64   | writes only, 64 in flight: each is durable in the journal before the plant sees it |
| plain-N     | reads-N without TLS, one connection and one request in flight to each device      |
| shared-N    | the same, all of them asking one device                                          |
| idle-1000   | memory of a thousand connections that ask nothing                                |

Every answer of every run is judged by the load generator, and when a subject has been stopped the plant's own
count must equal what was sent: nothing lost, nothing done twice.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from bench import subjects
from bench.certificates import Pki
from bench.figures import closed_rows, paced_rows, reload_rows, write_rows
from bench.modbus_proxy import modbus_proxy
from bench.programs import BenchError, Cores, Load, Plant, Result, Where
from bench.report import Row, compare
from bench.site import DEFAULT, Scene, Site
from gateway.config.settings import Security

PEER = "haproxy"
"Beside whom the gateway is measured with TLS."
PLAIN_PEER = "modbus-proxy"
"Beside whom it is measured without."
GATEWAY = "gateway"
DIRECT = "direct"
BENCHES = ("reads", "mixed", "paced", "reload", "defaults", "plain", "shared", "writes", "idle")
IDLE = 1000
BUSY_ANSWERS = frozenset({"exception_06"})
"""What a client may get around a policy reload: a permit dies with its bundle (guard/permit.py), so a request
that waits at that moment is answered 'busy'. Never more than one for each connection and reload."""


class Options(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    seconds: float = 10.0
    warmup: float = 1.0
    connections: tuple[int, ...] = (1, 16, 64)
    only: tuple[str, ...] = BENCHES
    subjects: tuple[str, ...] = (PEER, PLAIN_PEER, GATEWAY)
    assets: int = 200
    reloads: int = 1

    @property
    def secured(self) -> tuple[str, ...]:
        """Who is measured with TLS."""
        return tuple(subject for subject in self.subjects if subject != PLAIN_PEER)

    @property
    def plain(self) -> tuple[str, ...]:
        """Who is measured without."""
        return tuple(subject for subject in self.subjects if subject != PEER)


class Running:
    """One subject that is up, with its plant behind it."""

    def __init__(self, name: str, where: Where, site: Site | None, load: Load, options: Options) -> None:
        self.name = name
        self.where = where
        self._site = site
        self._load = load
        self._options = options
        self.reads = 0
        self.writes = 0
        self.refused = 0

    def run(
        self,
        connections: int,
        *,
        rate: float = 0.0,
        writes: float = 0.01,
        reloads: int = 0,
        measuring: Callable[[], None] | None = None,
    ) -> Result:
        """One window; BenchError where an answer was wrong or missing. `measuring` is called when it begins,
        in place of policy reloads.
        """
        if self._site is None:
            reloads = 0
        options = self._options
        result = self._load.run(
            self.where,
            f"-connections={connections}",
            f"-seconds={options.seconds}",
            f"-warmup={options.warmup}",
            f"-rate={rate}",
            f"-writes={writes}",
            measuring=self._reloading(reloads) if reloads else measuring,
        )
        self._judge(result, connections * reloads)
        return result

    def hold(self, connections: int) -> float:
        """KiB of resident memory that one idle connection takes."""
        before = _resident_kib(self.where)
        holding = self._load.hold(self.where, connections)
        self.reads += connections
        after = _resident_kib(self.where)
        assert holding.stdin is not None
        assert holding.stdout is not None
        holding.stdin.close()
        holding.wait()
        holding.stdout.close()
        return (after - before) / connections

    def _reloading(self, reloads: int) -> Callable[[], None]:
        site = self._site
        assert site is not None
        period = self._options.seconds / (reloads + 1)

        def begin() -> None:
            for n in range(1, reloads + 1):
                timer = threading.Timer(n * period, site.reload_policy)
                timer.daemon = True
                timer.start()

        return begin

    def _judge(self, result: Result, most_busy: int) -> None:
        self.reads += result.sent_reads
        self.writes += result.sent_writes
        refused = sum(result.errors.values())
        self.refused += refused
        if not refused and not result.unanswered and result.requests:
            return
        if set(result.errors) <= BUSY_ANSWERS and refused <= most_busy and not result.unanswered:
            return
        raise BenchError(
            f"{self.name}: {result.errors or 'no error'}, {result.unanswered} unanswered of "
            f"{result.requests}; the first: {result.sample or '-'}"
        )


class Bench:
    """One run of everything that was asked for."""

    def __init__(self, folder: Path, options: Options, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._options = options
        self._say = say
        self._cores = Cores.pick()
        self._pki = Pki(folder / "pki")
        self._load = Load(self._pki, self._cores)
        self._sessions = 0

    def rows(self) -> Iterator[list[Row]]:
        """The rows, bench after bench."""
        only, options = self._options.only, self._options
        if "reads" in only:
            for n, results in self._closed("reads", writes=0.0, reloads=0).items():
                yield closed_rows(f"reads-{n}", results, PEER)
        rates: dict[int, float] = {}
        if {"mixed", "paced", "reload"} & set(only):
            for n, results in self._closed("mixed", writes=0.01, reloads=options.reloads).items():
                rates[n] = min(r.requests / r.seconds for r in results.values()) / 2
                yield closed_rows(f"mixed-{n}", results, PEER, options.reloads)
        if "paced" in only:
            yield from self._paced(rates)
        if "reload" in only and GATEWAY in options.subjects:
            yield self._reload(rates)
        if "defaults" in only:
            yield closed_rows("defaults-64", self._defaults(), PEER)
        for name, assets in (("plain", options.assets), ("shared", 1)):
            if name in only:
                yield from self._plain(name, Scene(assets, DEFAULT, Security.NONE))
        if "writes" in only and GATEWAY in options.subjects:
            with self.up(GATEWAY) as running:
                result = self._noted(running, "writes-64", connections=64, writes=1.0)
                yield write_rows("writes-64", GATEWAY, result)
        if "idle" in only:
            held = {}
            for subject in options.secured:
                with self.up(subject) as running:
                    self._say(f"{subject}: idle-{IDLE}")
                    held[subject] = running.hold(IDLE)
            yield compare(f"idle-{IDLE}", "memory_per_connection", "KiB", held, PEER)

    @contextmanager
    def up(
        self, subject: str, scene: Scene | None = None, wrapper: tuple[str, ...] = ()
    ) -> Iterator[Running]:
        """Start a plant and a subject before it; stop both, and compare what was sent with what arrived."""
        scene = scene or Scene(self._options.assets)
        self._sessions += 1
        folder = self._folder / f"{self._sessions:02}-{subject}"
        plant = Plant(self._cores.load)
        running: Running | None = None
        try:
            if subject == GATEWAY:
                port = subjects.free_port()
                site = Site(folder / "site", self._pki, scene, port=port, plant=plant.port)
                with subjects.gateway(folder, site, port, self._cores, wrapper) as where:
                    yield (running := Running(subject, where, site, self._load, self._options))
            elif subject == PEER:
                with subjects.haproxy(folder, self._pki, self._cores, scene, plant.port) as where:
                    yield (running := Running(subject, where, None, self._load, self._options))
            elif subject == PLAIN_PEER:
                most = max(self._options.connections)
                with modbus_proxy(folder, self._cores, scene, plant.port, most) as where:
                    yield (running := Running(subject, where, None, self._load, self._options))
            else:
                where = Where((plant.port,), tls=False, assets=scene.assets)
                yield (running := Running(subject, where, None, self._load, self._options))
        finally:
            seen = plant.stop()
        if running is not None:
            _compare_counts(running, seen)

    def _noted(
        self,
        running: Running,
        bench: str,
        *,
        connections: int,
        rate: float = 0.0,
        writes: float = 0.01,
        reloads: int = 0,
    ) -> Result:
        begun = time.monotonic()
        result = running.run(connections, rate=rate, writes=writes, reloads=reloads)
        self._say(
            f"{running.name}: {bench}: {result.requests / result.seconds:,.0f} requests/s, "
            f"{result.tls}, {time.monotonic() - begun:.0f} s"
        )
        return result

    def _closed(self, bench: str, *, writes: float, reloads: int) -> dict[int, dict[str, Result]]:
        """Closed loops at each number of connections, on each subject."""
        cells: dict[int, dict[str, Result]] = {n: {} for n in self._options.connections}
        for subject in self._options.secured:
            with self.up(subject) as running:
                for n, results in cells.items():
                    results[subject] = self._noted(
                        running, f"{bench}-{n}", connections=n, writes=writes, reloads=reloads
                    )
        return cells

    def _plain(self, bench: str, scene: Scene) -> Iterator[list[Row]]:
        """Reads without TLS; the gateway's assets allow what modbus-proxy does with a device."""
        cells: dict[int, dict[str, Result]] = {n: {} for n in self._options.connections}
        for subject in self._options.plain:
            with self.up(subject, scene) as running:
                for n, results in cells.items():
                    results[subject] = self._noted(running, f"{bench}-{n}", connections=n, writes=0.0)
        for n, results in cells.items():
            yield closed_rows(f"{bench}-{n}", results, PLAIN_PEER)

    def _defaults(self) -> dict[str, Result]:
        """64 connections, the mix, on each subject."""
        results = {}
        for subject in self._options.secured:
            with self.up(subject, Scene(self._options.assets, DEFAULT)) as running:
                results[subject] = self._noted(running, "defaults-64", connections=64)
        return results

    def _paced(self, rates: dict[int, float]) -> Iterator[list[Row]]:
        everyone = (*self._options.secured, DIRECT)
        cells: dict[int, dict[str, Result]] = {n: {} for n in rates}
        for subject in everyone:
            with self.up(subject) as running:
                for n, rate in rates.items():
                    cells[n][subject] = self._noted(running, f"paced-{n}", connections=n, rate=rate)
        for n, results in cells.items():
            yield paced_rows(f"paced-{n}", results, PEER, DIRECT)

    def _reload(self, rates: dict[int, float]) -> list[Row]:
        n = 16 if 16 in rates else max(rates)
        bench = f"reload-{n}"
        with self.up(GATEWAY) as running:
            result = self._noted(running, bench, connections=n, rate=rates[n], reloads=1)
        return reload_rows(bench, GATEWAY, result)


def _compare_counts(running: Running, seen: dict[str, int]) -> None:
    sent = running.reads + running.writes - running.refused
    arrived = seen["reads"] + seen["writes"]
    if sent != arrived or seen["refused"] or seen["writes"] > running.writes:
        raise BenchError(
            f"{running.name}: {sent} requests were sent and answered ({running.writes} writes), "
            f"the plant carried out {arrived} ({seen['writes']} writes) and refused {seen['refused']}"
        )


def _resident_kib(where: Where) -> int:
    total = 0
    for pid in where.pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total
