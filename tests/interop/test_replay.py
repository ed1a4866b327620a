"""Recorded clients against the live gateway, recorded answers from a scripted plant.

Third issue, "must hold" 2: what policy denies never reaches the plant; what it allows arrives byte-equal, in
order; every request gets exactly one answer, its own. By design of the relay some requests go nowhere under
any policy (what the wire refuses), and lost framing ends the connection.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from struct import pack, unpack_from
from time import monotonic_ns, time_ns

import pytest

from gateway.config.settings import Listener
from gateway.model.asset import Asset
from gateway.model.moment import Now
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.relay.link import Links, PlantLink
from gateway.relay.listener import TlsListener
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.framing import adu
from gateway.wire.modbus.meaning import Place
from tests.interop.reading_back import read_back
from tests.pki import Pki, fresh_pki, pki
from tests.scenarios.stage import CALLER, Stage

from .plants import Reply, ScriptedPlant
from .recorded import WRITES, Ask, Segment, recordings
from .test_captures import EXPECTED, SUFFIX, _captures_are_here
from .test_relay import Unknown, until

__all__ = ["_captures_are_here", "fresh_pki", "pki"]

CAPTURES = [path.with_name(path.name.removesuffix(SUFFIX)) for path in EXPECTED]
PEAK = 16
"Requests that a replay leaves unanswered at most; real masters were seen with 7 and 16."
NOBODY = 250
"A unit that no capture uses and no route leads to."
EFFECTS = WRITES | {8}
"Functions that go as acts: diagnostics are calls."
POLICIES: dict[str, frozenset[Action]] = {
    "all": frozenset(Action),
    "no-writes": frozenset(Action) - {Action.WRITE},
    "nothing": frozenset(),
}
each_capture = pytest.mark.parametrize(
    "capture", CAPTURES or [None], ids=lambda path: path.stem if path else "none"
)


def now() -> Now:
    wall_ns = time_ns()
    return Now(wall_ns, monotonic_ns(), True, wall_ns)


class Site:
    """The gateway's Modbus half with a device for every unit, all of them behind one scripted plant."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.left: list[Ask] = []
        "Requests of the recording that the plant has not seen yet."
        self.plant = ScriptedPlant(self.as_recorded)
        self.tasks, self.links = Tasks(), Links()
        self.every_link: list[PlantLink] = []

    async def as_recorded(self, plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        """Answer equal requests in the order of their recorded answers; what nobody sent gets none."""
        tid, _, _, unit = unpack_from(">HHHB", request)
        ask = next((each for each in self.left if (each.adu.unit, each.adu.pdu) == (unit, request[7:])), None)
        if ask is not None:
            self.left.remove(ask)
            said_unit, pdu = ask.device
            await reply(pack(">HHHB", tid, 0, len(pdu) + 1, said_unit) + pdu)

    @property
    def arrived(self) -> list[tuple[int, bytes]]:
        """Unit and PDU of what came to the plant, in order."""
        return [(seen[6], seen[7:]) for seen in self.plant.device.seen]

    @property
    def idle(self) -> bool:
        return not any(link.queued or link.in_flight for link in self.every_link)

    def link(self, asset: Asset) -> PlantLink:
        link = self.links.add(PlantLink(asset, door=self.stage.door, clock=now, tasks=self.tasks))
        self.every_link.append(link)
        return link

    def door(self, units: Iterable[int], in_flight: int) -> ModbusDoor:
        routes = {}
        for unit in units:
            asset = Asset(
                name=f"plc-{unit}",
                host="127.0.0.1",
                port=self.plant.port,
                unit=unit,
                in_flight=in_flight,
                timeout_ms=5000,
            )
            routes[unit] = Route(Place(asset, []), self.link(asset))
        return ModbusDoor(
            routes=routes,
            outstanding=64,
            door=self.stage.door,
            last=Unknown(),
            links=self.links,
            tasks=self.tasks,
            clock=now,
            own_link=self.link,
            suspicion=Suspicion(self.stage.journal, self.stage.counted.append),
            read_back=read_back(self.stage, self.tasks, now),
        )


class Client:
    """A connection that holds recorded conversations again."""

    def __init__(self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.site = site
        self.reader = reader
        self.writer = writer
        self.got: Counter[tuple[int, int, bytes]] = Counter()
        "Transaction id, unit and PDU of every answer."

    async def play(self, segments: list[Segment]) -> None:
        """Send them, with never more unanswered than in the recording, and take all answers."""
        sent = 0
        for segment in segments:
            room = 0 if segment.severs else min(segment.outstanding, PEAK)
            while sent - self.got.total() > room:
                await self.take()
            self.site.left += [ask for ask in segment.asks if ask.accepted]
            self.writer.write(segment.data)
            sent += len(segment.asks)
        if segments[-1].severs:
            async with asyncio.timeout(10):
                await self.reader.read()
        else:
            while self.got.total() < sent:
                await self.take()
            await self.nothing_more()
        await until(lambda: self.site.idle)

    async def take(self) -> None:
        """The next answer."""
        async with asyncio.timeout(10):
            head = await self.reader.readexactly(7)
            tid, protocol, length, unit = unpack_from(">HHHB", head)
            assert protocol == 0
            self.got[tid, unit, await self.reader.readexactly(length - 1)] += 1

    async def nothing_more(self) -> None:
        """Whatever is asked next gets the next answer: nothing was answered twice."""
        before = self.got.copy()
        self.writer.write(adu(0xFFFF, NOBODY, b"\x07"))
        await self.take()
        assert self.got - before == Counter({(0xFFFF, NOBODY, b"\x87\x01"): 1})
        self.got = before


@asynccontextmanager
async def site(
    segments: list[Segment], policy: str, ends: "Ends | None" = None, in_flight: int = 1
) -> AsyncIterator[tuple[Site, Client]]:
    found = Site()
    units = {ask.adu.unit for segment in segments for ask in segment.asks}
    for unit in units:
        found.stage.engine.allows |= {(action, f"plc-{unit}"): () for action in POLICIES[policy]}
    async with found.plant:
        door = found.door(units, in_flight)
        found.links.start(now)
        carrier = plain(door) if ends is None else tls(found, door, ends)
        try:
            async with carrier as (reader, writer):
                yield found, Client(found, reader, writer)
                writer.close()
        finally:
            found.links.stop()
            await found.tasks.stop()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def plain(door: ModbusDoor) -> AsyncIterator[Streams]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: door.client(CALLER), "127.0.0.1", 0)
    try:
        yield await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


class Ends:
    """Both ends of TLS."""

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.server = pki.issue("gateway-server", "plant", "replay-gate")
        self.client = pki.issue("modbus-client", "plant", "replay-hmi", role="operator")


@asynccontextmanager
async def tls(found: Site, door: ModbusDoor, ends: Ends) -> AsyncIterator[Streams]:
    listener = TlsListener(
        Listener(name="modbus", port=0, zone="plant", units={1: "plc-1"}),
        trust=ends.pki.trust("plant"),
        certificate=ends.server.cert,
        key=ends.server.key,
        inner=door.client,
        journal=found.stage.journal,
        clock=now,
        ulids=Ulids(1),
        count=lambda *_: None,
    )
    await listener.start()
    try:
        context = ends.client.client_context(ends.pki.root)
        yield await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
    finally:
        await listener.stop()


def passes(ask: Ask, policy: str) -> bool:
    """Whether a request may reach the plant, told without the gateway's own idea of an operation."""
    return ask.accepted and {"all": True, "no-writes": not ask.writes, "nothing": False}[policy]


def hold(found: Site, client: Client, segments: list[Segment], policy: str) -> None:
    """What must hold after a replay."""
    sure = [ask for segment in segments if not segment.severs for ask in segment.asks]
    perhaps = [ask for segment in segments if segment.severs for ask in segment.asks]
    let = [(ask.adu.unit, ask.adu.pdu) for ask in sure if passes(ask, policy)]
    cut_off = [(ask.adu.unit, ask.adu.pdu) for ask in perhaps if passes(ask, policy)]
    arrived = found.arrived
    assert len(let) <= len(arrived) <= len(let) + len(cut_off)
    wanted = (let + cut_off)[: len(arrived)]
    if all(segment.outstanding == 0 and len(segment.asks) < 2 for segment in segments):
        assert arrived == wanted
    for unit in {unit for unit, _ in wanted + arrived}:
        assert by_device(arrived, unit) == by_device(wanted, unit)
    expected = Counter((ask.adu.tid, ask.adu.unit, ask.expected(passes(ask, policy))) for ask in sure)
    assert client.got == expected


def by_device(those: list[tuple[int, bytes]], unit: int) -> tuple[list[bytes], list[bytes]]:
    """What one device was asked: what has effects, and the rest.

    What has effects goes when its intent is on disk, and then before polling: each keeps its order to itself.
    """
    asked = [pdu for other, pdu in those if other == unit]
    return [pdu for pdu in asked if pdu[0] in EFFECTS], [pdu for pdu in asked if pdu[0] not in EFFECTS]


@pytest.mark.parametrize("policy", POLICIES)
@each_capture
async def test_what_policy_allows_reaches_the_plant_unchanged_and_nothing_else(
    capture: Path, policy: str
) -> None:
    for segments in recordings(capture):
        async with site(segments, policy) as (found, client):
            await client.play(segments)
            hold(found, client, segments, policy)


async def test_the_same_through_tls(pki: Pki) -> None:
    ends = Ends(pki)
    for capture in CAPTURES:
        for segments in recordings(capture):
            async with site(segments, "all", ends) as (found, client):
                await client.play(segments)
                hold(found, client, segments, "all")


def pipelined(sizes: Iterable[int], outstanding: int, rounds: int = 40) -> list[Segment]:
    """All whole requests of all captures on one connection, so many in each segment, under ids of their own.

    Plants were recorded with 2147 segments of several ADUs and 7 requests outstanding; those captures are not
    beside the repository, so the shape is theirs and the requests are of those that are.
    """
    recorded = [
        ask
        for capture in CAPTURES
        for segments in recordings(capture)
        for segment in segments
        for ask in segment.asks
    ]
    asks = [
        Ask(type(ask.adu)(tid, ask.adu.unit, ask.adu.pdu), ask.read, ask.answer)
        for tid, ask in enumerate(recorded * rounds)
    ]
    found = []
    shape = cycle(sizes)
    while asks:
        size = min(next(shape), outstanding)
        some, asks = asks[:size], asks[size:]
        data = b"".join(adu(ask.adu.tid, ask.adu.unit, ask.adu.pdu) for ask in some)
        found.append(Segment(data, some, outstanding - len(some)))
    return found


@pytest.mark.parametrize("in_flight", [1, 7])
@pytest.mark.parametrize("policy", POLICIES)
async def test_pipelined_requests_get_every_answer(policy: str, in_flight: int) -> None:
    segments = pipelined((1, 3, 7, 2, 5), outstanding=7)
    assert sum(len(segment.asks) for segment in segments) > 2000
    async with site(segments, policy, in_flight=in_flight) as (found, client):
        await client.play(segments)
        hold(found, client, segments, policy)
