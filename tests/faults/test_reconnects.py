"""Five hundred clients come back at once after a restart (must hold 2): they are let in at a bounded rate.

Meanwhile no more handshakes are under way than configured, and the plant is polled as before. Each client has
an address of its own, so that what bounds them is the listener and not the bound of one address.
"""

import asyncio
import ssl
import time
from pathlib import Path
from struct import pack

from .site import Site, until

CLIENTS = 500
MOST_HANDSHAKES = 32
POLL_S = 0.2
"Of the site's one tag."
LONGEST_S = 2.0
"Between two polls of the plant on a busy machine; without the storm it is a little over `POLL_S`."
ALL_IN_S = 60.0


class Comer:
    """Connects, asks once, stays; tries again a little later where it is cut, as SCADA masters do."""

    def __init__(self, number: int) -> None:
        self._source = f"127.1.{number // 250}.{number % 250 + 1}"
        self.tries = 0
        self.writer: asyncio.StreamWriter | None = None

    async def come(self, port: int, context: ssl.SSLContext) -> None:
        while self.writer is None:
            self.tries += 1
            try:
                async with asyncio.timeout(10):
                    self.writer = await self._ask(port, context)
            except (OSError, EOFError, TimeoutError):
                await asyncio.sleep(0.2 + 0.1 * (hash(self._source) % 10))

    async def _ask(self, port: int, context: ssl.SSLContext) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="", local_addr=(self._source, 0)
        )
        try:
            writer.write(pack(">HHHBBHH", 1, 0, 6, 1, 3, 5, 1))
            answer = await reader.readexactly(11)
            assert answer[7:9] == b"\x03\x02", answer
        except BaseException:
            writer.close()
            raise
        return writer


async def storm(site: Site) -> tuple[int, list[float]]:
    """All of them at once: the most handshakes that were seen under way, and the times between two polls."""
    comers = [Comer(number) for number in range(CLIENTS)]
    contexts = [site.context(name) for name in ("hmi-1", "view-1")]
    between: list[float] = []
    under_way = 0
    async with asyncio.timeout(ALL_IN_S), asyncio.TaskGroup() as group:
        coming = [
            group.create_task(comer.come(site.port, contexts[number % 2]))
            for number, comer in enumerate(comers)
        ]
        watching = group.create_task(watch(site, between))
        while not all(task.done() for task in coming):
            status = await asyncio.to_thread(site.status)
            under_way = max(under_way, status["listeners"][0]["handshakes"])
            await asyncio.sleep(0.02)
        watching.cancel()
    for comer in comers:
        assert comer.writer is not None
        comer.writer.close()
    return under_way, between


async def watch(site: Site, between: list[float]) -> None:
    """Notes how long the plant was left alone."""
    last, count = time.monotonic(), polls(site)
    while True:
        await asyncio.sleep(0.01)
        now, number = time.monotonic(), polls(site)
        if number > count or now - last > LONGEST_S:
            between.append(now - last)
            last, count = now, number


def polls(site: Site) -> int:
    """How often the collector asked for register 30."""
    assert site.plant is not None
    return sum(adu[8:10] == b"\x00\x1e" for adu in site.plant.seen)


def test_five_hundred_that_come_back_at_once_neither_crowd_the_door_nor_starve_the_plant(
    tmp_path: Path,
) -> None:
    with Site(tmp_path) as site:
        bounds = f"most_connections: 1024, most_handshakes: {MOST_HANDSHAKES}"
        site.config.write_text(site.config.read_text().replace("zone: plant, u", f"zone: plant, {bounds}, u"))
        site.run()
        site.end()
        site.run()
        until("the plant is polled", lambda: polls(site) > 1)
        began = time.monotonic()
        under_way, between = asyncio.run(storm(site))
        took = time.monotonic() - began
        print(f"in {took:.1f} s, {under_way} under way, polls {max(between):.2f} s apart")  # noqa: T201 # with -s
        assert 0 < under_way <= MOST_HANDSHAKES
        assert max(between) < LONGEST_S, "the plant went unpolled"
        assert site.status()["journal"]["failed"] is None
