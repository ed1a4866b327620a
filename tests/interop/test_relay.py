"""Clients and plants on real sockets: whose answer is whose, whatever the segments and the devices do.

The listener here is plaintext (TLS has its own tests); policy is a table, the journal remembers.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from struct import pack, unpack_from
from time import monotonic_ns

import pytest
from msgspec.structs import replace

from gateway.model.asset import Asset, Upstream
from gateway.model.identity import Caller, RoleState
from gateway.model.moment import Now
from gateway.model.operation import Action
from gateway.relay.link import Links, PlantLink
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.interop.reading_back import read_back
from tests.scenarios.stage import CALLER, Stage

from .plants import Reply, ScriptedPlant


def now() -> Now:
    return Now(1_800_000_000_000_000_000, monotonic_ns(), True, 1_800_000_000_000_000_000)


class Unknown:
    def last(self, tag: str) -> None:
        return None

    def asked(self, tag: str) -> None:
        """Nothing is remembered."""

    def decided(self, tag: str) -> None:
        """Nothing is remembered."""

    def writing(self, tag: str, q: int | None, mono_ns: int) -> None:
        """Nothing is remembered."""

    def written(self, tag: str, done: bool, mono_ns: int) -> None:
        """Nothing is remembered."""


class Bench:
    """A gateway's Modbus half over one plant."""

    def __init__(self, stage: Stage, port: int, links: Links) -> None:
        self.stage = stage
        self.port = port
        self.links = links
        self.shared: PlantLink


@asynccontextmanager
async def gateway(plant: ScriptedPlant, caller: Caller = CALLER, **limits: object) -> AsyncIterator[Bench]:
    stage = Stage()
    stage.grant(Action.READ)
    stage.grant(Action.WRITE)
    settings: dict[str, object] = {"timeout_ms": 300, **limits}
    asset = Asset(name="plc-1", host="127.0.0.1", port=plant.port, **settings)  # type: ignore[arg-type]
    tasks, links = Tasks(), Links()

    def link(asset: Asset) -> PlantLink:
        return links.add(PlantLink(asset, door=stage.door, clock=now, tasks=tasks))

    shared = link(asset)
    door = ModbusDoor(
        routes={1: Route(Place(asset, []), shared)},
        outstanding=64,
        door=stage.door,
        last=Unknown(),
        links=links,
        tasks=tasks,
        clock=now,
        own_link=link,
        suspicion=Suspicion(stage.journal, stage.counted.append),
        read_back=read_back(stage, tasks, now),
    )
    server = await asyncio.get_running_loop().create_server(
        lambda: door.client(replace(caller)), "127.0.0.1", 0
    )
    links.start(now)
    bench = Bench(stage, server.sockets[0].getsockname()[1], links)
    bench.shared = shared
    try:
        yield bench
    finally:
        server.close()
        links.stop()
        await tasks.stop()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, bench: Bench) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", bench.port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """(transaction id, PDU) of the next answer."""
        async with asyncio.timeout(5):
            head = await self.reader.readexactly(7)
            tid, _, length, _ = unpack_from(">HHHB", head)
            return tid, await self.reader.readexactly(length - 1)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return (await self.answer())[1]

    def close(self) -> None:
        self.writer.close()


def read(tid: int, first: int, count: int = 1) -> bytes:
    return pack(">HHHBBHH", tid, 0, 6, 1, 3, first, count)


def write(tid: int, register: int, value: int) -> bytes:
    return pack(">HHHBBHH", tid, 0, 6, 1, 6, register, value)


def value(first: int) -> bytes:
    return pack(">BBH", 3, 2, first)


async def until(true: Callable[[], bool], seconds: float = 5) -> None:
    """Poll until it holds, or fail at the deadline."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 # it polls what has no event
            await asyncio.sleep(0.005)


async def test_twelve_requests_in_one_segment_get_twelve_right_answers() -> None:
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        client.send(b"".join(read(tid, 10 * tid) for tid in range(12)))
        answers = dict([await client.answer() for _ in range(12)])
        assert answers == {tid: value(10 * tid) for tid in range(12)}


async def test_requests_cut_at_every_byte_get_the_same_answers() -> None:
    stream = read(1, 5) + write(2, 6, 600) + read(3, 6)
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        for cut in range(1, len(stream)):
            client = await Client.connect(bench)
            client.send(stream[:cut])
            await client.writer.drain()
            await until(lambda: bench.shared.queued == 0)
            client.send(stream[cut:])
            answers = dict([await client.answer() for _ in range(3)])
            assert set(answers) == {1, 2, 3}, f"cut after {cut} bytes"
            assert answers[1] == value(5)
            assert answers[2] == write(2, 6, 600)[7:]
            client.close()


async def test_two_clients_with_equal_ids_never_see_each_others_values() -> None:
    async with ScriptedPlant() as plant, gateway(plant, in_flight=4) as bench:
        clients = [await Client.connect(bench) for _ in range(2)]
        for turn in range(50):
            for number, client in enumerate(clients):
                client.send(read(7, 100 * (number + 1) + turn))
            for number, client in enumerate(clients):
                assert await client.answer() == (7, value(100 * (number + 1) + turn))


async def test_only_ids_of_our_own_go_upstream() -> None:
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        for _ in range(20):
            await client.ask(read(7, 1))
        ids = [unpack_from(">H", seen)[0] for seen in plant.device.seen]
        assert len(set(ids)) == 20


async def test_one_request_in_flight_unless_the_asset_says_more() -> None:
    held: list[tuple[bytes, Reply]] = []

    async def hold(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        held.append((request, reply))

    async with ScriptedPlant(hold) as plant, gateway(plant, in_flight=2, timeout_ms=5000) as bench:
        client = await Client.connect(bench)
        client.send(b"".join(read(tid, tid) for tid in range(5)))
        await until(lambda: len(held) == 2)
        assert bench.shared.queued == 3
        while held:
            request, reply = held.pop(0)
            await reply(plant.device.answer(request))
            await client.answer()
            if bench.shared.in_flight:
                await until(lambda: len(held) == bench.shared.in_flight)
        assert len(plant.device.seen) == 5


async def late(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    """The first request is answered after its time is over."""
    if len(plant.device.seen) == 1:
        await asyncio.sleep(0.5)
    await reply(plant.device.answer(request))


async def twice(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    await reply(plant.device.answer(request) * 2)


async def next_id(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    """The first request is answered under the id after its own."""
    answer = plant.device.answer(request)
    if len(plant.device.seen) == 1:
        answer = pack(">H", (unpack_from(">H", answer)[0] + 1) & 0xFFFF) + answer[2:]
    await reply(answer)


async def other_function(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    answer = bytearray(plant.device.answer(request))
    if len(plant.device.seen) == 1:
        answer[7] = 4
    await reply(bytes(answer))


async def too_short(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
    """Two registers were asked for, one comes."""
    first, *rest = plant.device.seen
    await reply(plant.device.answer(request if rest else read(unpack_from(">H", first)[0], 0, 1)))


@pytest.mark.parametrize("fault", [late, twice, next_id, other_function, too_short])
async def test_a_faulty_answer_never_poisons_a_later_one(
    fault: Callable[[ScriptedPlant, bytes, Reply], Coroutine[None, None, None]],
) -> None:
    async with ScriptedPlant(fault) as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        first = await client.ask(read(1, 40, 2))
        honest = bytes([3, 4]) + pack(">HH", 40, 41)
        assert first == (honest if fault is twice else b"\x83\x0b")
        for tid in range(2, 30):
            assert await client.ask(read(tid, tid)) == value(tid)


async def test_invariant_6_a_write_without_answer_is_0b_and_is_sent_once() -> None:
    async def silent(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        plant.device.answer(request)

    async with ScriptedPlant(silent) as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        assert await client.ask(write(1, 5, 55)) == b"\x86\x0b"
        assert len(plant.device.seen) == 1
        assert bench.stage.story[-2:] == ["intent modbus.write_single_register", "outcome timeout"]


async def test_a_plant_that_is_not_there_is_0a() -> None:
    async with ScriptedPlant() as plant:
        port = plant.port
    plant.port = port
    async with gateway(plant) as bench:
        client = await Client.connect(bench)
        assert await client.ask(read(1, 1)) == b"\x83\x0a"
        assert await client.ask(write(1, 1, 1)) == b"\x86\x0a"
        assert bench.stage.story[-1] == "outcome not_sent"


async def test_invariant_9_the_queue_has_a_bound_and_answers_06_beyond_it() -> None:
    async def silent(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await asyncio.sleep(60)

    async with ScriptedPlant(silent) as plant, gateway(plant, queue=4, timeout_ms=5000) as bench:
        client = await Client.connect(bench)
        client.send(b"".join(read(tid, tid) for tid in range(10)))
        busy = [await client.answer() for _ in range(5)]
        assert [pdu for _, pdu in busy] == [b"\x83\x06"] * 5


async def test_turns_are_fair_among_callers() -> None:
    order: list[int] = []
    go = asyncio.Event()

    async def note(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await go.wait()
        order.append(unpack_from(">H", request, 8)[0])
        await reply(plant.device.answer(request))

    async with ScriptedPlant(note) as plant, gateway(plant, timeout_ms=5000) as bench:
        greedy, modest = await Client.connect(bench), await Client.connect(bench)
        greedy.send(b"".join(read(tid, 100 + tid) for tid in range(50)))
        await until(lambda: bench.shared.queued == 49)
        modest.send(read(1, 7))
        await until(lambda: bench.shared.queued == 50)
        go.set()
        assert await modest.answer() == (1, value(7))
        assert order.index(7) <= 2, "the modest one waits for one request of the greedy one, not for fifty"


async def test_a_write_goes_before_waiting_polls() -> None:
    order: list[int] = []
    go = asyncio.Event()

    async def note(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await go.wait()
        order.append(request[7])
        await reply(plant.device.answer(request))

    async with ScriptedPlant(note) as plant, gateway(plant, timeout_ms=5000) as bench:
        poller, operator = await Client.connect(bench), await Client.connect(bench)
        poller.send(b"".join(read(tid, tid) for tid in range(50)))
        await until(lambda: bench.shared.queued == 49)
        operator.send(write(1, 7, 70))
        await until(lambda: bench.shared.queued == 50)
        go.set()
        assert await operator.answer() == (1, write(1, 7, 70)[7:])
        assert order[:2] == [3, 6]


async def test_without_a_role_every_request_is_01_and_the_connection_stays() -> None:
    nobody = replace(CALLER, identity=replace(CALLER.identity, role_state=RoleState.ABSENT, roles=()))
    async with ScriptedPlant() as plant, gateway(plant, nobody) as bench:
        client = await Client.connect(bench)
        for pdu in (b"\x03\x00\x00\x00\x01", b"\x06\x00\x00\x00\x01", b"\x64", b"\x2b\x0e\x01\x00"):
            request = pack(">HHHB", 1, 0, len(pdu) + 1, 1) + pdu
            assert await client.ask(request) == bytes([pdu[0] | 0x80, 1])
        assert plant.device.seen == []


@pytest.mark.parametrize(
    ("request_adu", "answer"),
    [
        (pack(">HHHBBHH", 1, 0, 6, 9, 3, 0, 1), b"\x83\x01"),
        (pack(">HHHBB", 1, 0, 2, 1, 100), b"\xe4\x01"),
        (read(1, 0, 0), b"\x83\x03"),
        (read(1, 0, 126), b"\x83\x03"),
        (read(1, 65535, 2), b"\x83\x02"),
        (pack(">HHHB", 1, 0, 18, 1) + read(1, 0)[7:] + write(2, 0, 0x1337), b"\x83\x03"),
    ],
    ids=["unit", "function", "none", "too-many", "beyond", "hidden-write"],
)
async def test_illegal_requests_are_refused_and_the_connection_goes_on(
    request_adu: bytes, answer: bytes
) -> None:
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        assert await client.ask(request_adu) == answer
        assert plant.device.seen == []
        assert await client.ask(read(2, 9)) == value(9)


@pytest.mark.parametrize("head", [b"\0\1\0\1\0\6\1", b"\0\1\0\0\0\1\1", b"\0\1\0\0\xff\xff\1"])
async def test_invariant_4_after_lost_framing_nothing_more_is_read(head: bytes) -> None:
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        client.send(head + write(1, 1, 1) + write(2, 2, 2))
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        assert plant.device.seen == []
        assert "event finding" in bench.stage.story


async def test_per_client_links_open_and_close_with_their_client() -> None:
    async with ScriptedPlant() as plant, gateway(plant, upstream=Upstream.PER_CLIENT) as bench:
        clients = [await Client.connect(bench) for _ in range(3)]
        await until(lambda: plant.connections == 3)
        for number, client in enumerate(clients):
            assert await client.ask(read(1, number)) == value(number)
        assert plant.connections == 3
        for client in clients:
            client.close()
        await until(lambda: len(plant._tasks) == 0)


async def test_what_a_client_left_behind_in_the_queue_is_not_sent() -> None:
    release = asyncio.Event()

    async def slow(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await release.wait()
        await reply(plant.device.answer(request))

    async with ScriptedPlant(slow) as plant, gateway(plant, timeout_ms=5000) as bench:
        client = await Client.connect(bench)
        client.send(read(1, 1))
        await until(lambda: bench.shared.in_flight == 1)
        client.send(write(2, 2, 2))
        await until(lambda: bench.shared.queued == 1)
        client.close()
        other = await Client.connect(bench)
        other.send(read(3, 3))
        await until(lambda: bench.shared.queued == 2)
        release.set()
        assert await other.answer() == (3, value(3))
        assert [seen[7] for seen in plant.device.seen] == [3, 3]
        assert "outcome not_sent" in bench.stage.story


async def test_a_write_that_waits_when_facts_change_is_not_sent_and_its_outcome_says_so() -> None:
    release = asyncio.Event()

    async def slow(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await release.wait()
        await reply(plant.device.answer(request))

    async with ScriptedPlant(slow) as plant, gateway(plant, timeout_ms=5000) as bench:
        client = await Client.connect(bench)
        client.send(read(1, 1))
        await until(lambda: bench.shared.in_flight == 1)
        client.send(write(2, 2, 2))
        await until(lambda: bench.shared.queued == 1)
        bench.stage.door.epoch.grow()
        client.send(write(3, 3, 3))
        await until(lambda: bench.shared.queued == 2)
        release.set()
        answers = dict([await client.answer() for _ in range(3)])
        assert (answers[2], answers[3][0]) == (b"\x86\x06", 6)
        assert [seen[7:] for seen in plant.device.seen[1:]] == [write(3, 3, 3)[7:]]
        assert bench.stage.story.count("outcome not_sent") == 1


async def test_requests_of_one_connection_have_a_bound_and_06_beyond_it() -> None:
    async def silent(plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        await asyncio.sleep(60)

    async with ScriptedPlant(silent) as plant, gateway(plant, timeout_ms=5000) as bench:
        client = await Client.connect(bench)
        client.send(b"".join(read(tid, tid) for tid in range(70)))
        busy = [await client.answer() for _ in range(6)]
        assert sorted(tid for tid, _ in busy) == list(range(64, 70))
        assert {pdu for _, pdu in busy} == {b"\x83\x06"}
        assert findings(bench) == ["too_many_outstanding"] * 6


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    """Its answers would pile up: beyond the high-water mark nothing more is taken from it."""
    async with ScriptedPlant() as plant, gateway(plant, in_flight=16, queue=10_000) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own transport has it
        request = read(1, 0, 125)
        before, still = -1, 0
        async with asyncio.timeout(30):
            while still < 20:
                if writer.transport.get_write_buffer_size() < 65_536:
                    writer.write(request * 50)
                await asyncio.sleep(0.01)
                still = still + 1 if len(plant.device.seen) == before else 0
                before = len(plant.device.seen)
        writer.transport.abort()
        del reader


def findings(bench: Bench) -> list[str]:
    return [name.removeprefix("finding_") for name in bench.stage.counted]


async def test_scans_are_told_and_polling_is_not() -> None:
    async with ScriptedPlant() as plant, gateway(plant, queue=1000) as bench:
        poller = await Client.connect(bench)
        for turn in range(300):
            await poller.ask(read(turn, turn % 10))
        assert findings(bench) == []
        for first in range(300):
            await poller.ask(read(first, 100 + first))
        assert findings(bench) == ["address_scan"]
        for fc in range(60, 64):
            await poller.ask(pack(">HHHBB", 1, 0, 2, 1, fc))
        assert "function_scan" in findings(bench)


async def test_an_id_used_twice_at_once_is_told_and_both_are_answered() -> None:
    async with ScriptedPlant() as plant, gateway(plant) as bench:
        client = await Client.connect(bench)
        client.send(read(7, 1) + read(7, 2))
        assert {(await client.answer())[1] for _ in range(2)} == {value(1), value(2)}
        assert findings(bench) == ["duplicate_tid_outstanding"]
        await client.ask(read(7, 3))
        assert len(findings(bench)) == 1
