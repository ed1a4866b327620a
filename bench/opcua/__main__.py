"""`bench/run opcua`: what a request through the OPC UA door costs. See bench/README.md.

Exit 0: measured, every answer right. 1: the run failed or an answer was wrong. 2: the call is wrong.
"""

import argparse
import asyncio
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.gates import tell
from bench.opcua import load
from bench.opcua.load import Window
from bench.opcua.site import Site, make
from bench.programs import BUILD, BenchError, Cores, end, spawn
from bench.report import Row, compare
from bench.subjects import free_ports, wait_until_listening

SERVER, GATEWAY, DIRECT = "asyncua", "gateway", "direct"

Measure = Callable[[Site, str, Mapping[str, int], float], Coroutine[Any, Any, Window]]


def _reads(in_flight: int, batch: int) -> Measure:
    async def measure(site: Site, url: str, pids: Mapping[str, int], seconds: float) -> Window:
        return await load.reads(site, url, pids, in_flight=in_flight, batch=batch, seconds=seconds)

    return measure


async def _items(site: Site, url: str, pids: Mapping[str, int], seconds: float) -> Window:
    return await load.items(site, url, pids, seconds=seconds)


BENCHES: dict[str, tuple[bool, Measure]] = {
    # name -> whether the server's nodes count meanwhile, the load
    "opcua-1": (False, _reads(1, 1)),
    "opcua-8": (False, _reads(8, 1)),
    "opcua-batch": (False, _reads(1, 100)),
    "opcua-items": (True, _items),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure."""
    logging.basicConfig(level=logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="bench/run opcua", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window (default 5)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each, interleaved; the medians count (default 5)"
    )
    parser.add_argument("--only", help=f"with commas: {','.join(BENCHES)} (default all)")
    args = parser.parse_args(arguments)
    names = args.only.split(",") if args.only else list(BENCHES)
    if not args.seconds > 0 or args.rounds < 1:
        parser.error("--seconds and --rounds must be above 0")
    if unknown := set(names) - set(BENCHES):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="opcua-", dir=BUILD))
    try:
        cores = Cores.pick()
        os.sched_setaffinity(0, {cores.load})
        found = [
            row
            for tick in (False, True)
            for row in _group(folder, cores, tick, names, args.seconds, args.rounds)
        ]
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell(found, as_json=args.json, to=sys.stdout)
    return 0


def _group(
    folder: Path, cores: Cores, tick: bool, names: list[str], seconds: float, rounds: int
) -> Iterator[Row]:
    """The benches that want the same server, interleaved, so that noise falls on all of them alike."""
    wanted = {name: measure for name, (ticks, measure) in BENCHES.items() if ticks is tick and name in names}
    if not wanted:
        return
    place = folder / ("counting" if tick else "still")
    place.mkdir()
    port, plant = free_ports(2)
    site = make(place, port, plant)
    windows: dict[str, dict[str, list[Window]]] = {name: {DIRECT: [], GATEWAY: []} for name in wanted}
    with _running(site, cores, tick=tick) as pids:
        for _ in range(rounds):
            for name, measure in wanted.items():
                for subject, url in ((DIRECT, site.direct), (GATEWAY, site.through)):
                    windows[name][subject].append(asyncio.run(measure(site, url, pids, seconds)))
    for name, each in windows.items():
        yield from _rows(name, each)


@contextmanager
def _running(site: Site, cores: Cores, *, tick: bool) -> Iterator[dict[str, int]]:
    """The gateway alone on its core; the server and the client share the other. Gives their process ids."""
    certificate, key = site.shown("plc-1")
    server = [sys.executable, "-m", "bench.opcua.server", "--port", str(site.plant)]
    server += ["--certificate", str(certificate), "--key", str(key), "--anchors", str(site.anchors)]
    commands = {
        SERVER: (server + ["--tick"] * tick, cores.load, site.plant),
        GATEWAY: ([sys.executable, "-m", "gateway", "run", "-c", str(site.config)], cores.subject, site.port),
    }
    with ExitStack() as stack:
        pids = {}
        for name, (command, core, port) in commands.items():
            log = site.folder / f"{name}.log"
            process = spawn(command, core, log, stdout=subprocess.DEVNULL)
            stack.callback(end, process, name)
            wait_until_listening(process, port, log)
            pids[name] = process.pid
        yield pids


def _rows(bench: str, windows: dict[str, list[Window]]) -> list[Row]:
    """The medians of the rounds."""

    def middle(subject: str, figure: Callable[[Window], float]) -> float:
        return statistics.median(figure(window) for window in windows[subject])

    cpu = {
        SERVER: middle(GATEWAY, lambda window: window.cpu_us(SERVER)),
        GATEWAY: middle(GATEWAY, lambda window: window.cpu_us(GATEWAY)),
    }
    alone = {**cpu, SERVER: middle(DIRECT, lambda window: window.cpu_us(SERVER))}
    rates = {name: middle(name, lambda window: window.values / window.seconds) for name in windows}
    rows = compare(bench, "cpu_per_request", "us", cpu, SERVER)
    rows += compare(bench, "cpu_beside_direct", "us", alone, SERVER)
    rows += compare(bench, "values", "1/s", rates, DIRECT)
    if windows[DIRECT][0].waits:
        p50 = {name: middle(name, lambda window: window.p50_us) for name in windows}
        rows += compare(bench, "p50", "us", p50, DIRECT)
        rows.append(Row(bench, GATEWAY, "added_p50", round(p50[GATEWAY] - p50[DIRECT], 3), "us"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
