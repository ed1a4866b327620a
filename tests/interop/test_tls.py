"""The TLS listener against Python's and OpenSSL's clients: who gets in, who is cut, and when.

"Must hold" 2, 6 and 12 of the first issue; Modbus/TCP Security R-08, R-23, R-31; invariant 7.
"""

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic, monotonic_ns, time_ns
from typing import get_args

import pytest

from gateway.config.settings import Listener
from gateway.identity.trust import ZoneTrust
from gateway.model.asset import Asset
from gateway.model.moment import Now
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.relay.link import Links, PlantLink
from gateway.relay.listener import TlsListener
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.interop.reading_back import read_back
from tests.pki import Credential, OddRole, Pki, fresh_pki, pki
from tests.scenarios.stage import Stage

from .plants import ScriptedPlant
from .test_relay import Client, Unknown, read, until, value

__all__ = ["fresh_pki", "pki"]


def now() -> Now:
    """The real time: certificates are judged by it."""
    wall_ns = time_ns()
    return Now(wall_ns, monotonic_ns(), True, wall_ns)


class Gate:
    """A listener with everything behind it."""

    def __init__(self, pki: Pki, stage: Stage, trust: ZoneTrust, plant: ScriptedPlant) -> None:
        self.pki = pki
        self.stage = stage
        self.trust = trust
        self.plant = plant
        self.listener: TlsListener

    async def connect(
        self, credential: Credential | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> Client:
        return Client(
            *await asyncio.open_connection(
                "127.0.0.1", self.listener.port, ssl=self.context(credential, version)
            )
        )

    async def try_to_read(
        self, credential: Credential | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> bytes:
        """Connect and read register 1."""
        client = await self.connect(credential, version)
        return await client.ask(read(1, 1))

    def context(self, credential: Credential | None, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki.root))
        context.minimum_version = context.maximum_version = version
        if credential is not None:
            context.load_cert_chain(credential.cert, credential.key)
        return context


@asynccontextmanager
async def gate(pki: Pki, **limits: object) -> AsyncIterator[Gate]:
    server = pki.dir / "plant" / "issued" / "gate.pem"
    if not server.exists():
        pki.issue("gateway-server", "plant", "gate")
    stage = Stage()
    stage.grant(Action.READ)
    tasks, links = Tasks(), Links()
    async with ScriptedPlant() as plant:
        found = Gate(pki, stage, pki.trust("plant"), plant)
        asset = Asset(name="plc-1", host="127.0.0.1", port=plant.port)

        def link(asset: Asset) -> PlantLink:
            return links.add(PlantLink(asset, door=stage.door, clock=now, tasks=tasks))

        door = ModbusDoor(
            routes={1: Route(Place(asset, []), link(asset))},
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
        found.listener = TlsListener(
            Listener(name="modbus", port=0, zone="plant", units={1: "plc-1"}, **limits),  # type: ignore[arg-type]
            trust=found.trust,
            certificate=server,
            key=server.with_suffix(".key"),
            inner=door.client,
            journal=stage.journal,
            clock=now,
            ulids=Ulids(1),
            count=lambda name, n=1: stage.story.extend([f"count {name}"] * n),
        )
        await found.listener.start()
        links.start(now)
        try:
            yield found
        finally:
            await found.listener.stop()
            links.stop()
            await tasks.stop()


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certified_client_reads(pki: Pki, version: ssl.TLSVersion) -> None:
    hmi = pki.issue("modbus-client", "plant", f"tls-hmi-{version.name.lower()}", role="operator")
    async with gate(pki) as here:
        client = await here.connect(hmi, version)
        assert await client.ask(read(1, 77)) == value(77)
        caller = next(iter(here.listener._connections)).caller
        assert caller is not None
        assert caller.identity.subject == f"spiffe://demo.example/plant/tls-hmi-{version.name.lower()}"
        assert caller.identity.roles == ("operator",)
        assert caller.tls == version.name[-3:].replace("_", ".")
        client.close()


@pytest.mark.parametrize(
    ("version", "alert"),
    [
        (ssl.TLSVersion.TLSv1_2, "handshake failure"),
        (ssl.TLSVersion.TLSv1_3, "certificate required"),
    ],
)
async def test_without_a_certificate_the_alert_is_fatal(
    pki: Pki, version: ssl.TLSVersion, alert: str
) -> None:
    async with gate(pki) as here:
        with pytest.raises(ssl.SSLError, match=alert):
            await here.try_to_read(None, version)
        assert here.plant.device.seen == []


async def test_the_other_zones_certificate_does_not_get_in(pki: Pki) -> None:
    historian = pki.issue("it-client", "it", "tls-historian")
    async with gate(pki) as here:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await here.try_to_read(historian)
        assert here.plant.device.seen == []


@pytest.mark.parametrize("odd", [None, *get_args(OddRole)])
async def test_without_one_good_role_the_session_lives_and_every_answer_is_01(
    pki: Pki, odd: OddRole | None
) -> None:
    name = f"tls-odd-{odd}".replace("_", "-")
    credential = (
        pki.issue("modbus-client", "plant", name) if odd is None else pki.odd_role("plant", name, odd)
    )
    async with gate(pki) as here:
        client = await here.connect(credential)
        for tid in range(3):
            assert await client.ask(read(tid, 1)) == b"\x83\x01"
        assert here.plant.device.seen == []
        client.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_invariant_7_revocation_ends_live_connections_and_resumed_sessions(
    fresh_pki: Pki, version: ssl.TLSVersion
) -> None:
    hmi = fresh_pki.issue("modbus-client", "plant", "hmi-1", role="operator")
    other = fresh_pki.issue("modbus-client", "plant", "hmi-2", role="operator")
    async with gate(fresh_pki) as here:
        context = here.context(hmi, version)

        def session() -> ssl.SSLSession | None:
            """Connect with blocking sockets, because asyncio cannot resume; give the session to resume."""
            with (
                socket.create_connection(("127.0.0.1", here.listener.port)) as tcp,
                context.wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
            ):
                tls.sendall(read(1, 5))
                assert tls.recv(300)[7:] == value(5)
                return tls.session

        old = await asyncio.to_thread(session)
        client, bystander = await here.connect(hmi, version), await here.connect(other, version)
        assert await client.ask(read(1, 1)) == value(1)
        fresh_pki.revoke("plant", "hmi-1")
        begun = monotonic()
        assert here.trust.changed()
        assert here.trust.reload()
        here.listener.judge()
        here.listener.renew()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()
        assert monotonic() - begun < 1
        assert await bystander.ask(read(2, 2)) == value(2), "only the revoked one is cut"

        def resume() -> bytes:
            """Connect with the old session: no answer, be it for an alert, a reset or a plain end."""
            try:
                with (
                    socket.create_connection(("127.0.0.1", here.listener.port)) as tcp,
                    context.wrap_socket(tcp, server_hostname="127.0.0.1", session=old) as tls,
                ):
                    tls.sendall(read(3, 3))
                    return tls.recv(300)
            except OSError:
                return b""

        assert await asyncio.to_thread(resume) == b""
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await here.try_to_read(hmi, version)
        assert len(here.plant.device.seen) == 3


async def test_a_peer_that_does_not_finish_its_handshake_is_cut(pki: Pki) -> None:
    async with gate(pki, handshake_s=0.2) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.listener.port)
        writer.write(b"\x16\x03\x01")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        await until(lambda: here.listener._handshakes == 0)


async def silent(here: Gate, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A peer at that address that connects and says nothing."""
    return await asyncio.open_connection("127.0.0.1", here.listener.port, local_addr=(source, 0))


async def test_one_address_has_its_share_of_handshakes_under_way(pki: Pki) -> None:
    hmi = pki.issue("modbus-client", "plant", "tls-neighbour", role="operator")
    async with gate(pki, most_handshakes=8) as here:
        waiting = [await silent(here, "127.0.0.2") for _ in range(2)]
        await until(lambda: here.listener._handshakes == 2)
        reader, _ = await silent(here, "127.0.0.2")
        with pytest.raises((ConnectionError, AssertionError)):
            assert await asyncio.wait_for(reader.read(), 5) != b""
        assert "count connections_turned_away" in here.stage.story
        client = await here.connect(hmi)
        assert await client.ask(read(1, 5)) == value(5), "the others notice nothing"
        client.close()
        for _, writer in waiting:
            writer.close()
        await until(lambda: here.listener._handshakes == 0)


async def test_where_all_places_are_taken_the_slowest_handshake_makes_room(pki: Pki) -> None:
    hmi = pki.issue("modbus-client", "plant", "tls-newcomer", role="operator")
    async with gate(pki, most_handshakes=4) as here:
        waiting = [await silent(here, f"127.0.0.{host}") for host in range(2, 6)]
        await until(lambda: here.listener._handshakes == 4)
        client = await here.connect(hmi)
        assert await client.ask(read(1, 5)) == value(5)
        oldest, _ = waiting[0]
        with pytest.raises((ConnectionError, AssertionError)):
            assert await asyncio.wait_for(oldest.read(), 5) != b""
        assert here.listener._handshakes == 3
        client.close()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(pki: Pki) -> None:
    hmi = pki.issue("modbus-client", "plant", "tls-idle", role="operator")
    async with gate(pki, idle_s=0.3) as here:
        idle, busy = await here.connect(hmi), await here.connect(hmi)
        ended = asyncio.ensure_future(idle.reader.read())

        async with asyncio.timeout(5):
            while not ended.done():
                assert await busy.ask(read(1, 1)) == value(1)
                here.listener.close_idle()
                await asyncio.sleep(0.02)
        assert ended.result() == b""
        assert await busy.ask(read(1, 2)) == value(2)
        busy.close()


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (["-tls1_2"], True),
        (["-tls1_3"], True),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], True),
        (["-tls1_2", "-cipher", "AES128-SHA256:@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"], False),
    ],
    ids=["1.2", "1.3", "1.1", "R-40", "static-RSA", "NULL"],
)
async def test_versions_and_suites_as_openssl_sees_them(
    pki: Pki, component: Callable[[str], str], arguments: list[str], accepted: bool
) -> None:
    name = "tls-openssl"
    cert = pki.dir / "plant" / "issued" / f"{name}.pem"
    if not cert.exists():
        pki.issue("modbus-client", "plant", name, role="operator")
    async with gate(pki) as here:
        command = [component("openssl"), "s_client", "-connect", f"127.0.0.1:{here.listener.port}"]
        command += ["-CAfile", str(pki.root), "-cert", str(cert), "-key", str(cert.with_suffix(".key"))]
        command += ["-verify_return_error", "-brief", *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, input=b"", capture_output=True, timeout=20, check=False
        )
        assert (b"CONNECTION ESTABLISHED" in done.stderr) is accepted, done.stderr


def test_this_python_speaks_both_versions() -> None:
    assert ssl.HAS_TLSv1_3, sys.version
    assert ssl.HAS_TLSv1_2


async def test_a_client_that_resets_silences_nobody_else(pki: Pki) -> None:
    """It leaves while its answer is on the way: the others' answers of the same turn must still go out."""
    hmi = pki.issue("modbus-client", "plant", "tls-steady", role="operator")
    async with gate(pki, most_connections=1000) as here:
        steady = [await here.connect(hmi) for _ in range(4)]

        async def leave() -> None:
            client = await here.connect(hmi)
            client.send(b"".join(read(tid, tid) for tid in range(20)))
            await client.writer.drain()
            client.writer.transport.abort()

        for turn in range(25):
            asked = [client.ask(read(turn, 7)) for client in steady]
            answers, *_ = await asyncio.gather(asyncio.gather(*asked), leave(), leave())
            assert answers == [value(7)] * 4
