"""One window of load on an endpoint: asyncua's client asks, and what its two servants spend is counted.

Every answer is judged: as many values as nodes, each good and of its node. A wrong one, and the run fails.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from time import perf_counter

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties
from msgspec import Struct

from bench.opcua.server import NODES, identifier
from bench.opcua.site import CLIENT, Site
from bench.programs import BenchError
from gateway.demo.opcua_nodes import node_id

TICK = os.sysconf("SC_CLK_TCK")
WARMUP_S = 0.5
INDEX = 2
"Of the plant's namespace: the second after OPC UA's own and the server's."


class Window(Struct, frozen=True):
    """What was measured."""

    seconds: float
    answers: int
    values: int
    waits: list[float]
    "Of each request, in seconds; of notifications none."
    cpu: dict[str, float]
    "Processor time of each process in seconds."

    @property
    def p50_us(self) -> float:
        """Half of the requests took no longer."""
        return sorted(self.waits)[len(self.waits) // 2] * 1e6 if self.waits else 0.0

    def cpu_us(self, name: str) -> float:
        """Of a process, for each answer."""
        return self.cpu[name] / self.answers * 1e6


def spent(pid: int) -> float:
    """Processor time of a process so far, all its threads, in seconds."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def connected(site: Site, url: str) -> Client:
    """A client with a session over Basic256Sha256, SignAndEncrypt."""
    certificate, key = site.shown(CLIENT)
    client = Client(url, timeout=10, watchdog_intervall=3600)
    client.application_uri = f"urn:bench.example:plant:{CLIENT}"
    await client.set_security(
        SecurityPolicyBasic256Sha256, CertProperties(certificate, "pem"), CertProperties(key, "pem")
    )
    await client.connect()
    return client


def question(first: int, count: int) -> ua.ReadParameters:
    """A read of some nodes."""
    nodes = [node_id(identifier((first + number) % NODES), INDEX) for number in range(count)]
    return ua.ReadParameters(
        NodesToRead=[ua.ReadValueId(NodeId=one, AttributeId=ua.AttributeIds.Value) for one in nodes]
    )


async def reads(
    site: Site, url: str, pids: Mapping[str, int], *, in_flight: int, batch: int, seconds: float
) -> Window:
    """So many reads in flight, each followed by the next."""
    client = await connected(site, url)
    questions = [question(first * batch, batch) for first in range(NODES // batch)]
    for each in questions:  # once before, so that what is measured is not the first time that policy is asked
        await client.uaclient.read(each)
    waits: list[float] = []
    began = perf_counter() + WARMUP_S
    until = began + seconds

    async def ask(number: int) -> None:
        while (now := perf_counter()) < until:
            number = (number + 1) % len(questions)
            answers = await client.uaclient.read(questions[number])
            if len(answers) != batch or any(
                one.Value is None or one.Value.Value != (number * batch + at) % NODES
                for at, one in enumerate(answers)
            ):
                raise BenchError(f"a wrong answer to a read of {batch} at {url}: {answers[:2]}")
            if began <= now:
                waits.append(perf_counter() - now)

    meter = asyncio.create_task(_metered(pids, began, seconds))
    try:
        await asyncio.gather(*(ask(number) for number in range(in_flight)))
        cpu = await meter
    finally:
        await client.disconnect()
    return Window(seconds, len(waits), len(waits) * batch, waits, cpu)


async def items(site: Site, url: str, pids: Mapping[str, int], *, seconds: float) -> Window:
    """A monitored item for each node, while they count ten times a second: an answer is a notification."""
    client = await connected(site, url)
    got = 0

    class Handler:
        """Counts."""

        def datachange_notification(self, _node: object, _value: object, _data: object) -> None:
            """One value."""
            nonlocal got
            got += 1

    subscription = await client.create_subscription(100, Handler(), queue_maxsize=100_000)
    nodes = [client.get_node(node_id(identifier(number), INDEX)) for number in range(NODES)]
    made = await subscription.subscribe_data_change(nodes, queuesize=10, sampling_interval=ua.Double(100))
    if not all(isinstance(one, int) for one in made):
        raise BenchError(f"monitored items were refused at {url}")
    began = perf_counter() + 2 * WARMUP_S
    await asyncio.sleep(began - perf_counter())
    before = got
    cpu = await _metered(pids, began, seconds)
    answers = got - before
    await client.disconnect()
    if not answers:
        raise BenchError(f"no notification came at {url}")
    return Window(seconds, answers, answers, [], cpu)


async def _metered(pids: Mapping[str, int], began: float, seconds: float) -> dict[str, float]:
    await asyncio.sleep(max(0.0, began - perf_counter()))
    before = {name: spent(pid) for name, pid in pids.items()}
    await asyncio.sleep(max(0.0, began + seconds - perf_counter()))
    return {name: spent(pid) - before[name] for name, pid in pids.items()}


Measure = Callable[[str, Mapping[str, int]], Window]
