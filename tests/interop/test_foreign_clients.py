"""Clients of other makes: those that can do TLS directly, the others by stunnel as deploy/ configures it.

"Must hold" 4 of the issue on Modbus in depth: libmodbus's client, mbpoll and jsmodbus through stunnel,
pymodbus directly. The ordinary calls work, and what policy denies is exception 01 in each client's own words.
"""

import asyncio
import getpass
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTlsClient
from pymodbus.server import ModbusTcpServer

from gateway.config.settings import Listener
from gateway.model.asset import Asset
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.relay.link import Links, PlantLink
from gateway.relay.listener import TlsListener
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.suspicion import Suspicion
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place
from tests.conftest import unused_port
from tests.interop.reading_back import read_back
from tests.pki import Credential, Pki, pki
from tests.scenarios.stage import Stage

from .lines import device
from .test_relay import Unknown
from .test_tls import now

__all__ = ["pki"]

HERE = Path(__file__).parent
RECIPE = HERE.parents[1] / "deploy" / "stunnel" / "modbus-client.conf"


@asynccontextmanager
async def gateway(pki: Pki, plant: int, *actions: Action) -> AsyncIterator[int]:
    """A gateway's TLS door to pymodbus's device at `plant`; gives its port."""
    server = pki.dir / "plant" / "issued" / "foreign-gate.pem"
    if not server.exists():
        pki.issue("gateway-server", "plant", "foreign-gate")
    stage = Stage()
    for action in actions:
        stage.grant(action)
    tasks, links = Tasks(), Links()
    asset = Asset(name="plc-1", host="127.0.0.1", port=plant)

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
        suspicion=Suspicion(stage.journal, stage.story.append),
        read_back=read_back(stage, tasks, now),
    )
    listener = TlsListener(
        Listener(name="modbus", port=0, zone="plant", units={1: "plc-1"}),
        trust=pki.trust("plant"),
        certificate=server,
        key=server.with_suffix(".key"),
        inner=door.client,
        journal=stage.journal,
        clock=now,
        ulids=Ulids(1),
        count=lambda name, n=1: stage.story.extend([f"count {name}"] * n),
    )
    plc = ModbusTcpServer(device(1), address=("127.0.0.1", plant))
    await plc.serve_forever(background=True)
    await listener.start()
    links.start(now)
    try:
        yield listener.port
    finally:
        await listener.stop()
        links.stop()
        await tasks.stop()
        await plc.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def credential(pki: Pki) -> Credential:
    """The client's certificate, as `pki issue` makes it."""
    path = pki.dir / "plant" / "issued" / "foreign-1.pem"
    if not path.exists():
        return pki.issue("modbus-client", "plant", "foreign-1", role="operator")
    return Credential(path, path.with_suffix(".key"))


@contextmanager
def stunnel(program: str, folder: Path, to: int, here: int, root: Path, shown: Credential) -> Iterator[None]:
    """deploy/stunnel/modbus-client.conf; only addresses, paths and the user are other ones."""
    text = RECIPE.read_text()
    changes = [
        ("accept = 127.0.0.1:1502", f"accept = 127.0.0.1:{here}"),
        ("connect = gateway.dmz.example:802", f"connect = 127.0.0.1:{to}"),
        ("checkHost = gateway.dmz.example", "checkHost = localhost"),
        ("/etc/stunnel/hmi-1.pem", str(shown.cert)),
        ("/etc/stunnel/hmi-1.key", str(shown.key)),
        ("/etc/stunnel/ca.pem", str(root)),
    ]
    if getpass.getuser() != "root":
        changes += [("setuid = stunnel4\n", ""), ("setgid = stunnel4\n", "")]
    settings = re.sub(r"(?m)^;.*\n", "", text)
    for old, new in changes:
        assert settings.count(old) == 1, old
        settings = settings.replace(old, new)
    conf, log = folder / "stunnel.conf", folder / "stunnel.log"
    conf.write_text(settings)
    with log.open("wb") as out:
        process = subprocess.Popen([program, conf], stdout=out, stderr=out)
    try:
        for _ in range(500):
            assert process.poll() is None, log.read_text()
            if "Configuration successful" in log.read_text():
                break
            process_wait(process)
        yield
    finally:
        process.terminate()
        process.wait(10)


def process_wait(process: subprocess.Popen[bytes]) -> None:
    """A moment, or less if the process ends."""
    try:
        process.wait(0.02)
    except subprocess.TimeoutExpired:
        return


async def run(*words: str | Path, standard_input: bytes = b"") -> str:
    """What a client prints while the gateway in this loop serves it."""
    done = await asyncio.to_thread(
        subprocess.run, words, input=standard_input, capture_output=True, timeout=30, check=False
    )
    return (done.stdout + done.stderr).decode()


class Way:
    """Ports and programs of one test."""

    def __init__(
        self, pki: Pki, credential: Credential, folder: Path, component: Callable[[str], str]
    ) -> None:
        self._pki = pki
        self._credential = credential
        self._folder = folder
        self._component = component
        self._plant, self.port = unused_port(), unused_port()

    @asynccontextmanager
    async def through_stunnel(self, *actions: Action) -> AsyncIterator[int]:
        """A plain port beside the client; what goes in there has the client's certificate."""
        program = self._component("stunnel")
        async with gateway(self._pki, self._plant, *actions) as door:
            beside = (self._folder, door, self.port, self._pki.root, self._credential)
            with stunnel(program, *beside):
                yield self.port

    @asynccontextmanager
    async def direct(self, *actions: Action) -> AsyncIterator[AsyncModbusTlsClient]:
        """pymodbus's TLS client, connected."""
        async with gateway(self._pki, self._plant, *actions) as door:
            context = ssl.create_default_context(cafile=str(self._pki.root))
            context.load_cert_chain(self._credential.cert, self._credential.key)
            client = AsyncModbusTlsClient(
                "localhost", port=door, sslctx=context, retries=0, reconnect_delay=0
            )
            assert await client.connect()
            yield client
            client.close()


@pytest.fixture
def way(pki: Pki, credential: Credential, tmp_path: Path, component: Callable[[str], str]) -> Way:
    return Way(pki, credential, tmp_path, component)


BOTH = (Action.READ, Action.WRITE)


async def test_pymodbus_over_tls(way: Way) -> None:
    async with way.direct(*BOTH) as client:
        assert (await client.read_coils(0, count=4)).bits[:4] == [True, False, False, True]
        assert (await client.read_discrete_inputs(0, count=4)).bits[:4] == [True, False, True, False]
        assert (await client.read_holding_registers(5, count=3)).registers == [1005, 1006, 1007]
        assert (await client.read_input_registers(5, count=3)).registers == [5, 6, 7]
        assert not (await client.write_register(7, 4660)).isError()
        assert not (await client.write_registers(8, [21, 22])).isError()
        assert not (await client.write_coil(1, True)).isError()
        assert not (await client.write_coils(3, [True, True, True])).isError()
        assert (await client.read_holding_registers(7, count=3)).registers == [4660, 21, 22]
        assert (await client.read_coils(0, count=6)).bits[:6] == [True, True, False, True, True, True]
        assert (await client.read_holding_registers(99, count=2)).exception_code == 2


async def test_pymodbus_over_tls_without_a_grant_to_write(way: Way) -> None:
    async with way.direct(Action.READ) as client:
        assert (await client.write_register(7, 1)).exception_code == 1
        assert (await client.read_holding_registers(7, count=1)).registers == [1007]


@pytest.mark.needs("stunnel", "mbpoll")
async def test_mbpoll_through_stunnel(way: Way, component: Callable[[str], str]) -> None:
    async with way.through_stunnel(*BOTH) as port:

        async def mbpoll(*words: str) -> str:
            asked = ["-0", "-1", "-o", "5", "-p", str(port), *words[:-1], "127.0.0.1", *words[-1].split()]
            return await run(component("mbpoll"), *asked)

        assert re.findall(r"\[\d+\]: \t(\d+)", await mbpoll("-t", "4", "-r", "5", "-c", "3", "")) == [
            "1005",
            "1006",
            "1007",
        ]
        assert re.findall(r"\[\d+\]: \t(\d+)", await mbpoll("-t", "3", "-r", "5", "-c", "2", "")) == [
            "5",
            "6",
        ]
        assert re.findall(r"\[\d+\]: \t(\d)", await mbpoll("-t", "0", "-r", "0", "-c", "4", "")) == list(
            "1001"
        )
        assert re.findall(r"\[\d+\]: \t(\d)", await mbpoll("-t", "1", "-r", "0", "-c", "4", "")) == list(
            "1010"
        )
        assert "Written 1 references" in await mbpoll("-t", "4", "-r", "7", "4660")
        assert "Written 2 references" in await mbpoll("-t", "4", "-r", "8", "21 22")
        assert "Written 1 references" in await mbpoll("-t", "0", "-r", "1", "1")
        assert "Written 3 references" in await mbpoll("-t", "0", "-r", "3", "1 1 1")
        assert re.findall(r"\[\d+\]: \t(\d+)", await mbpoll("-t", "4", "-r", "7", "-c", "3", "")) == [
            "4660",
            "21",
            "22",
        ]


@pytest.mark.needs("stunnel", "mbpoll")
async def test_mbpoll_without_a_grant_to_write(way: Way, component: Callable[[str], str]) -> None:
    async with way.through_stunnel(Action.READ) as port:
        words = ["-0", "-1", "-p", str(port), "-t", "4", "-r", "7", "127.0.0.1", "1"]
        assert "Illegal function" in await run(component("mbpoll"), *words)


@pytest.fixture(scope="session")
def libmodbus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of libmodbus_client.c."""
    program = tmp_path_factory.mktemp("libmodbus-client") / "client"
    words: list[str | Path] = ["cc", "-Wall", "-Werror", "-I/usr/include/modbus", "-o", program]
    done = subprocess.run(
        [*words, HERE / "libmodbus_client.c", "-lmodbus"], capture_output=True, text=True, check=False
    )
    if "modbus.h: No such file" in done.stderr:
        if os.environ.get("CI") == "true":
            pytest.fail("libmodbus-dev is missing: under CI every component must be there", pytrace=False)
        pytest.skip("libmodbus-dev is missing")
    assert done.returncode == 0, done.stderr
    return program


RIGHT = """\
coils 1 0 0 1
discretes 1 0 1 0
holding 1005 1006 1007
input 5 6 7
write register
write registers
write coil
write coils
holding 4660 21 22
coils 1 1 0 1 1 1
beyond error 2
"""
DENIED = """\
write register error 1
write registers error 1
write coil error 1
write coils error 1
holding 1007 1008 1009
coils 1 0 0 1 0 0
beyond error 2
"""


@pytest.mark.needs("stunnel", "cc")
@pytest.mark.parametrize(("actions", "said"), [(BOTH, RIGHT), ((Action.READ,), DENIED)])
async def test_libmodbus_through_stunnel(
    way: Way, libmodbus: Path, actions: tuple[Action, ...], said: str
) -> None:
    async with way.through_stunnel(*actions) as port:
        assert (await run(libmodbus, str(port))).endswith(said)


@pytest.fixture(scope="session")
def jsmodbus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/interop/node with what its lock says; nothing of it runs while it is installed."""
    folder = tmp_path_factory.mktemp("node") / "node"
    shutil.copytree(HERE / "node", folder)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "client.cjs"


CALLS: list[tuple[list[object], object]] = [
    (["readCoils", 0, 4], {"values": [1, 0, 0, 1]}),
    (["readDiscreteInputs", 0, 4], {"values": [1, 0, 1, 0]}),
    (["readHoldingRegisters", 5, 3], {"values": [1005, 1006, 1007]}),
    (["readInputRegisters", 5, 3], {"values": [5, 6, 7]}),
    (["writeSingleRegister", 7, 4660], {"values": "done"}),
    (["writeMultipleRegisters", 8, [21, 22]], {"values": "done"}),
    (["writeSingleCoil", 1, True], {"values": "done"}),
    (["writeMultipleCoils", 3, [True, True, True]], {"values": "done"}),
    (["readHoldingRegisters", 7, 3], {"values": [4660, 21, 22]}),
    (["readCoils", 0, 6], {"values": [1, 1, 0, 1, 1, 1]}),
    (["readHoldingRegisters", 99, 2], {"exception": 2}),
]


@pytest.mark.needs("stunnel", "node")
async def test_jsmodbus_through_stunnel(way: Way, jsmodbus: Path, component: Callable[[str], str]) -> None:
    async with way.through_stunnel(*BOTH) as port:
        asked = json.dumps([call for call, _ in CALLS]).encode()
        told = json.loads(await run(component("node"), jsmodbus, str(port), standard_input=asked))
        assert told == [right for _, right in CALLS]


@pytest.mark.needs("stunnel", "node")
async def test_jsmodbus_without_a_grant_to_write(
    way: Way, jsmodbus: Path, component: Callable[[str], str]
) -> None:
    async with way.through_stunnel(Action.READ) as port:
        asked = json.dumps([["writeSingleRegister", 7, 1], ["readHoldingRegisters", 7, 1]]).encode()
        told = json.loads(await run(component("node"), jsmodbus, str(port), standard_input=asked))
        assert told == [{"exception": 1}, {"values": [1007]}]
