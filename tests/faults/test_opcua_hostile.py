"""A real gateway with an OPC UA door under attack: what it costs, and that those who are in keep working."""

import asyncio
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from gateway.demo.opcua_nodes import NAMESPACE
from tests.interop.opcua.plant import Plant, plant
from tests.interop.opcua.site import Site, free_port, until
from tests.pki import Credential, Pki, fresh_pki

__all__ = ["fresh_pki"]

HALF_OPEN = 10_000
MESSAGE_S = 0.05
"CPU that refusing one hostile peer may cost."
MOST_MEMORY = 60 * 1024 * 1024
"By which the gateway may grow under a flood."


class Ground:
    """A server, a gateway before it."""

    def __init__(self, site: Site, plc: Plant) -> None:
        self.site = site
        self.plc = plc

    @property
    def cpu_s(self) -> float:
        """CPU that the gateway has used."""
        fields = self._proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> int:
        """Bytes of its memory."""
        return int(self._proc("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _proc(self, name: str) -> str:
        assert self.site.process is not None
        return Path(f"/proc/{self.site.process.pid}/{name}").read_text()

    async def client_again(self) -> Client:
        """One more, once the gateway tries the server again: it leaves alone what was away a moment ago."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return await self.client()
            except (ua.UaError, ConnectionError, TimeoutError):
                assert time.monotonic() < deadline, "the server is not reached again"
                await asyncio.sleep(0.1)

    async def client(self, credential: Credential | None = None) -> Client:
        """An honest client, connected."""
        who = credential or self.site.peer
        client = Client(self.site.url("plc-a"), timeout=10, watchdog_intervall=3_600)
        client.application_uri = f"urn:demo.example:plant:{who.cert.stem}"
        await client.set_security(
            SecurityPolicyBasic256Sha256, CertProperties(who.cert, "pem"), CertProperties(who.key, "pem")
        )
        await client.connect()
        return client

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.site.port), timeout=5)


@contextmanager
def standing(pki: Pki, folder: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        plc = stack.enter_context(plant(pki, folder / "plc-a", free_port(), "asyncua", "plc-a"))
        yield Ground(stack.enter_context(Site(folder / "gateway", pki, {"plc-a": plc})), plc)


@pytest.fixture
def ground(fresh_pki: Pki, tmp_path: Path) -> Iterator[Ground]:
    """One for each test: they break things."""
    with standing(fresh_pki, tmp_path) as made:
        yield made


async def level(client: Client) -> object:
    """One honest read."""
    index = await client.get_namespace_index(NAMESPACE)
    return await client.get_node(f"ns={index};s=Specimen.Double").read_value()


async def test_half_open_channels_cost_little_and_ten_clients_keep_working(ground: Ground) -> None:
    clients = [await ground.client() for _ in range(10)]
    for client in clients:
        await level(client)
    cpu, memory = ground.cpu_s, ground.memory
    stop = threading.Event()

    def flood() -> None:
        held: list[socket.socket] = []
        for _ in range(HALF_OPEN):
            held.append(ground.connect())
            if len(held) > 100:
                held.pop(0).close()
        for each in held:
            each.close()
        stop.set()

    thread = threading.Thread(target=flood)
    thread.start()
    slowest, reads = 0.0, 0
    while not stop.is_set():
        for client in clients:
            began = time.monotonic()
            await level(client)
            slowest, reads = max(slowest, time.monotonic() - began), reads + 1
        await asyncio.sleep(0.1)
    thread.join()
    assert reads
    assert slowest < 2, f"an honest read took {slowest:.2f} s"
    assert (ground.cpu_s - cpu) / HALF_OPEN < MESSAGE_S / 10
    assert ground.memory - memory < MOST_MEMORY
    for client in clients:
        await client.disconnect()


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 65_536,
        b"HELF\xff\xff\xff\xff" + b"A" * 65_536,
        b"HELF\x20\x10\x00\x00" + b"A" * 4_000,
        b"OPNF\x00\x40\x00\x00" + b"A" * 16_376,
        b"MSGC\xff\xff\x00\x00" + b"A" * 65_527,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["zeros", "huge", "hello", "open", "chunk", "http"],
)
async def test_garbage_is_refused_within_its_cpu(ground_of_many: Ground, data: bytes) -> None:
    ground, many = ground_of_many, 40
    cpu, memory = ground.cpu_s, ground.memory
    for _ in range(many):
        with ground.connect() as peer:
            try:
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65_536):
                    pass
            except OSError:
                pass
    assert (ground.cpu_s - cpu) / many < MESSAGE_S
    assert ground.memory - memory < MOST_MEMORY
    client = await ground.client()
    await level(client)
    await client.disconnect()


@pytest.fixture(scope="module")
def ground_of_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One for tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("hostile")
    with standing(Pki(folder / "pki"), folder) as made:
        yield made


async def test_a_flood_of_subscriptions_ends_at_the_bound(ground_of_many: Ground) -> None:
    client = await ground_of_many.client()
    for _ in range(20):
        await client.create_subscription(1_000, Noted())
    for _ in range(80):
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await client.create_subscription(1_000, Noted())
        assert refused.value.code == ua.StatusCodes.BadTooManySubscriptions
    seen = len(ground_of_many.plc.seen(service="CreateSubscription"))
    assert seen in (20, 21), "the collector may have one of its own"
    await client.disconnect()


async def test_condition_refresh_of_a_foreign_subscription_is_refused_as_one_that_is_none(
    ground_of_many: Ground,
) -> None:
    client = await ground_of_many.client()
    before = len(ground_of_many.plc.seen(service="Call"))
    refresh = ua.CallMethodRequest(
        ObjectId=ua.NodeId.from_string("i=2041"),
        MethodId=ua.NodeId.from_string("i=3875"),
        InputArguments=[ua.Variant(7, ua.VariantType.UInt32)],
    )
    results = await client.uaclient.call([refresh] * 100)
    assert {each.StatusCode.value for each in results} <= {
        ua.StatusCodes.BadSubscriptionIdInvalid,
        ua.StatusCodes.BadUserAccessDenied,
    }
    assert len(ground_of_many.plc.seen(service="Call")) == before
    await client.disconnect()


async def gone(client: Client, within_s: float) -> bool:
    """Whether it is cut off in that time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            await asyncio.wait_for(level(client), 1)
        except (ua.UaError, ConnectionError, TimeoutError):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_invariant_7_a_revoked_application_certificate_ends_its_session_within_a_second(
    ground: Ground,
) -> None:
    other = ground.site.credential("opcua-application", "ua-other")
    roles = ground.site.policies / "data" / "role_bindings.yaml"
    bound = json.loads(roles.read_text())
    bound["role_bindings"]["urn:demo.example:plant:ua-other"] = ["engineer"]
    roles.write_text(json.dumps(bound))
    client = await ground.client()
    stays = await _allowed(ground, other)
    ground.site.pki.revoke("plant", "ua-peer")
    assert await gone(client, 1.0)
    assert await level(stays) is not None
    with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
        await ground.client()
    await stays.disconnect()


async def _allowed(ground: Ground, who: Credential) -> Client:
    """A client, once policy knows it."""
    deadline = time.monotonic() + 10
    while True:
        client = await ground.client(who)
        try:
            await level(client)
        except ua.UaError:
            await client.disconnect()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        else:
            return client


class Noted:
    """What a subscription tells."""

    def __init__(self) -> None:
        self.count = 0

    def datachange_notification(self, *_: object) -> None:
        self.count += 1


async def test_invariant_7_a_grant_that_is_taken_away_ends_live_monitored_items(ground: Ground) -> None:
    client, noted = await ground.client(), Noted()
    index = await client.get_namespace_index(NAMESPACE)
    subscription = await client.create_subscription(100, noted)
    await subscription.subscribe_data_change(
        client.get_node(f"ns={index};s=Specimen.Counter"), sampling_interval=ua.Double(100)
    )
    deadline = time.monotonic() + 5
    while noted.count < 3:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    grants = ground.site.policies / "data" / "grants.yaml"
    kept = [each for each in json.loads(grants.read_text())["grants"] if each["id"] != "engineer-subscribes"]
    fresh = grants.with_suffix(".new")
    fresh.write_text(json.dumps({"grants": kept}))
    shutil.move(fresh, grants)
    active, deadline = time.monotonic(), time.monotonic() + 20
    while not any("engineer-subscribes" not in line for line in _revisions(ground)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    active = time.monotonic()
    assert await gone(client, 1.0), "within a second of the new policy"
    assert time.monotonic() - active < 1.5
    was = noted.count
    await asyncio.sleep(0.5)
    assert noted.count == was


def _revisions(ground: Ground) -> list[str]:
    """A line for each policy that became active after the first."""
    return [line for line in ground.site.said().splitlines() if " is active" in line][1:]


async def test_invariant_6_a_server_that_is_killed_leaves_honest_statuses_and_no_second_write(
    ground: Ground,
) -> None:
    client = await ground.client()
    index = await client.get_namespace_index(NAMESPACE)
    node = client.get_node(f"ns={index};s=Specimen.Writable")
    ground.plc.freeze()
    writing = asyncio.create_task(node.write_value(ua.Variant(4.25, ua.VariantType.Double)))
    await asyncio.sleep(0.5)
    ground.plc.kill()
    with pytest.raises(ua.UaStatusCodeError) as told:
        await writing
    assert told.value.code == ua.StatusCodes.BadCommunicationError
    outcomes = until("an outcome is on record", lambda: ground.site.records("outcome"))
    assert [each["result"]["status"] for each in outcomes] == ["unknown"]
    with pytest.raises(ua.UaError):
        await level(client)
    ground.plc.restart()
    again = await ground.client_again()
    await level(again)
    assert not ground.plc.seen(service="Write")
    await again.disconnect()
