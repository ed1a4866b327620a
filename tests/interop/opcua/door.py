"""The OPC UA door in one process: real sockets, server and clients that do as a test says, a small policy.

    async with door(pki, tmp_path, least_sampling_ms=10) as bench:
        peer = await bench.peer("client")
        assert statuses(await peer.read("a")) == [0]

Server and clients stand on the gateway's own channel (its interoperability has tests of its own); what they
say is put together here by hand, and they keep every body that they received.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from struct import pack, unpack_from
from time import monotonic_ns, time_ns
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from gateway.config.settings import OpcuaListener as Section
from gateway.config.settings import OpcuaUsers
from gateway.identity.applications import Applications
from gateway.identity.inbox import Inbox
from gateway.identity.trust import ZoneTrust
from gateway.identity.users import Users
from gateway.model.asset import Asset, OpcuaMode, OpcuaPolicy, OpcuaServer, Speaks
from gateway.model.identity import Authentication, Identity, Kind
from gateway.model.moment import Now
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.relay.flush import Flush
from gateway.relay.link import Links
from gateway.relay.link.opcua_links import OpcuaLinks
from gateway.relay.link.opcua_opening import Myself
from gateway.relay.opcua.listener import OpcuaListener
from gateway.relay.opcua.route import OpcuaRoute
from gateway.relay.tasks import Tasks
from gateway.wire.opcua import asking, login, messages, offers, tokens
from gateway.wire.opcua.answer import read_response_header
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.events import Acknowledged, ChannelLimits, Closed, Event, Lost, Message, Opened
from gateway.wire.opcua.meaning import NodePlace
from gateway.wire.opcua.refusal import header
from gateway.wire.opcua.request import Request, read_request
from gateway.wire.opcua.server_channel import ServerChannel
from tests.opcua import OFFERS, admitted, credentials
from tests.pki import Pki
from tests.scenarios.stage import CALLER, Stage

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:test:server", "urn:acme:plc")
ASSET = "plc-1"
LIMITS = ChannelLimits(least_lifetime_ms=1_000, least_between_ms=0)
Behave = Callable[["Connection", Request], Awaitable[bytes | None]]


def now() -> Now:
    """This moment."""
    wall = time_ns()
    return Now(wall, monotonic_ns(), True, wall)


def node(name: str) -> bytes:
    """A node of the server, encoded."""
    return b"\x03\x02\x00" + pack("<i", len(name)) + name.encode()


def double(value: float) -> bytes:
    """A DataValue."""
    return b"\x01\x0b" + pack("<d", value)


NAMESPACE_ARRAY = (
    b"\x01\x8c" + pack("<i", 3) + b"".join(pack("<i", len(each)) + each.encode() for each in NAMESPACES)
)


def good(request: Request, body: bytes = b"", status: int = 0) -> bytes:
    """An answer of that request's service."""
    return header(request.service.answer, request.header.handle, status, time_ns()) + body


class Connection:
    """One connection of the gateway to the server."""

    def __init__(self, plant: "ScriptedServer", writer: asyncio.StreamWriter) -> None:
        self.plant = plant
        self.writer = writer
        self.channel = ServerChannel(
            plant.mine,
            OFFERS,
            plant.limits,
            os.urandom,
            int.from_bytes(os.urandom(3)) + 1,
            lambda *_: admitted("gw"),
        )

    def answer(self, request_id: int, body: bytes) -> None:
        self.writer.write(self.channel.message(request_id, body, now()))


class ScriptedServer:
    """A server of the plant that does as a test says, and keeps what it saw."""

    def __init__(self) -> None:
        self.mine = credentials("server")
        self.limits = LIMITS
        self.port = 0
        self.seen: list[Request] = []
        self.users: list[tokens.User] = []
        self.sessions: dict[bytes, tokens.Session] = {}
        self.connections: set[Connection] = set()
        self.script: dict[str, Behave] = {}
        "What becomes of a service; None from it is no answer."
        self.kinds = offers.users(anonymous=True, passwords=True)
        self.refuses: int | None = None
        "Status by which every ActivateSession is refused."
        self._numbers = 100
        self._tasks: set[asyncio.Task[None]] = set()

    def saw(self, service: str) -> list[Request]:
        """Requests of a service, the gateway's own question at the beginning left out."""
        return [each for each in self.seen if each.service.name == service and b"\xcf\x08" not in each.body]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, writer)
        self.connections.add(connection)
        try:
            while data := await reader.read(65536):
                for event in connection.channel.receive(data, now()):
                    writer.write(connection.channel.take())
                    if isinstance(event, Message):
                        task = asyncio.create_task(self._message(connection, event))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                writer.write(connection.channel.take())
        except ConnectionError:
            pass
        finally:
            self.connections.discard(connection)
            writer.close()

    def drop(self) -> None:
        """Break every connection off."""
        for connection in list(self.connections):
            connection.writer.transport.abort()

    async def _message(self, connection: Connection, event: Message) -> None:
        request = read_request(event.body)
        assert isinstance(request, Request), request
        match request.service.name:
            case "CreateSession":
                answer: bytes | None = self._create(connection, event.body)
            case "ActivateSession":
                answer = self._activate(connection, event.body)
            case "CloseSession":
                self.seen.append(request)
                self.sessions.pop(request.token, None)
                answer = good(request)
            case name:
                self.seen.append(request)
                assert request.token in self.sessions
                answer = await self.script.get(name, self._usual)(connection, request)
        if answer is not None and not connection.writer.is_closing():
            connection.answer(event.request_id, answer)

    def _create(self, connection: Connection, body: bytes) -> bytes:
        asked = messages.read(body, messages.CreateSessionRequest)
        assert isinstance(asked, messages.CreateSessionRequest)
        server = messages.ApplicationDescription(uri="urn:test:server")
        endpoints = offers.endpoints(asked.url or "", server, self.mine.sent, OFFERS, self.kinds)
        asked = replace(asked, client=messages.ApplicationDescription(uri="urn:test:gw"))
        made = tokens.create(asked, connection.channel, endpoints, 0, os.urandom, now())
        assert isinstance(made, tokens.Created), made
        self.sessions[made.session.token] = made.session
        return made.answer

    def _activate(self, connection: Connection, body: bytes) -> bytes:
        asked = messages.read(body, messages.ActivateSessionRequest)
        assert isinstance(asked, messages.ActivateSessionRequest)
        session = self.sessions[asked.header.token]
        activation = session.check(asked, connection.channel, self.kinds, os.urandom)
        assert isinstance(activation, tokens.Activation), activation
        if self.refuses is not None:
            return messages.fault(asked.header.handle, self.refuses, time_ns())
        self.users.append(activation.user)
        answer = session.commit(activation, None, connection.channel, os.urandom, now())
        assert isinstance(answer, bytes)
        return answer

    async def _usual(self, connection: Connection, request: Request) -> bytes | None:
        number = request.items
        self._numbers += 1
        match request.service.name:
            case "Read":
                values = [
                    NAMESPACE_ARRAY if b"\x01\x00\xcf\x08" in request.item(at) else double(at)
                    for at in range(number)
                ]
                return good(request, pack("<i", number) + b"".join(values) + pack("<i", 0))
            case "Write" | "DeleteSubscriptions" | "SetPublishingMode" | "DeleteMonitoredItems":
                return good(request, pack("<i", number) + bytes(4 * number) + pack("<i", 0))
            case "TransferSubscriptions":
                return good(request, pack("<i", number) + (bytes(4) + pack("<i", 0)) * number + pack("<i", 0))
            case "Call":
                result = bytes(4) + pack("<iii", 0, 0, 0)
                return good(request, pack("<i", number) + result * number + pack("<i", 0))
            case "Browse":
                references = b"".join(_reference(name) for name in ("a", "b", "secret"))
                result = pack("<Iii", 0, -1, 3) + references
                return good(request, pack("<i", number) + result * number + pack("<i", 0))
            case "CreateSubscription":
                return good(request, pack("<IdII", self._numbers, 100.0, 30, 10))
            case "CreateMonitoredItems":
                items = [pack("<IIdI", 0, 1000 + at, 100.0, 1) + b"\0\0\0" for at in range(number)]
                return good(request, pack("<i", number) + b"".join(items) + pack("<i", 0))
            case "Publish":
                return None
            case _:
                return good(request, b"", 0x800B0000)


def _reference(name: str) -> bytes:
    text = pack("<i", len(name)) + name.encode()
    return b"\0\x23" + b"\x01" + node(name) + b"\x02\x00" + text + b"\x02" + text + pack("<I", 2) + b"\0\0"


class Peer:
    """A client, honest or not: a channel and a session on it."""

    def __init__(self, bench: "Bench", name: str) -> None:
        self.bench = bench
        self.name = name
        self.mine = credentials(name)
        self.url = bench.url
        self.channel: ClientChannel
        self.upstream: login.Upstream
        self.lost: Lost | None = None
        self.ended = asyncio.Event()
        self.handle = 0
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._steps: asyncio.Queue[Event] = asyncio.Queue()
        self._listening: asyncio.Task[None] | None = None

    async def connect(
        self,
        policy: OpcuaPolicy = OpcuaPolicy.BASIC256SHA256,
        mode: OpcuaMode = OpcuaMode.SIGN_AND_ENCRYPT,
    ) -> "Peer":
        """Open a channel; ConnectionError where the gateway ends it."""
        self.channel = ClientChannel(
            self.mine, credentials("gw").leaf, policy, mode, self.url, LIMITS, os.urandom
        )
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.bench.port)
        self._listening = asyncio.create_task(self._listen())
        self.writer.write(self.channel.hello())
        await self._step(Acknowledged)
        self.writer.write(self.channel.open(now()))
        await self._step(Opened)
        return self

    async def renew(self) -> None:
        """New keys."""
        self.writer.write(self.channel.renew(now()))
        await self._step(Opened)

    async def create(self, **changed: Any) -> login.Upstream | login.Refused:
        """CreateSession; `changed` fields are lied about."""
        nonce = os.urandom(32)
        us = messages.ApplicationDescription(uri=f"urn:test:{self.name}", kind=1)
        body = login.create(self.channel, us, self.url, self.name, nonce, 60_000.0, 0, now())
        if changed:
            asked = messages.read(body, messages.CreateSessionRequest)
            assert isinstance(asked, messages.CreateSessionRequest)
            body = messages.encode(replace(asked, **changed))
        made = login.created(await self.ask(body), self.channel, nonce)
        if isinstance(made, login.Upstream):
            self.upstream = made
        return made

    async def activate(self, account: login.Account | None = None) -> bytes | login.Refused:
        """ActivateSession; the next nonce, or why not."""
        body = login.activate(self.channel, self.upstream, account, now())
        if isinstance(body, login.Refused):
            return body
        nonce = login.activated(await self.ask(body))
        if isinstance(nonce, bytes):
            self.upstream = replace(self.upstream, nonce=nonce)
        return nonce

    async def session(self, account: login.Account | None = None) -> "Peer":
        """A session that is active."""
        made = await self.create()
        assert isinstance(made, login.Upstream), made
        active = await self.activate(account)
        assert isinstance(active, bytes), active
        return self

    def send(self, body: bytes, token: bytes | None = None) -> "asyncio.Future[bytes]":
        """A body of `asking` under the session's token; what it is answered."""
        if token is None and body[4:6] == b"\0\0" and hasattr(self, "upstream"):
            token = self.upstream.token
        if token is not None:
            body = body[:4] + token + body[6:]
        return self.send_raw(body)

    def send_raw(self, body: bytes) -> "asyncio.Future[bytes]":
        """A body as it is."""
        request_id = self.channel.next_id()
        future = self._answers[request_id] = asyncio.get_running_loop().create_future()
        self.writer.write(self.channel.message(request_id, body, now()))
        return future

    async def ask(self, body: bytes, token: bytes | None = None) -> bytes:
        """The answer to one request."""
        return await asyncio.wait_for(self.send(body, token), 10)

    async def read(self, *names: str, token: bytes | None = None) -> bytes:
        """Read values."""
        self.handle += 1
        return await self.ask(asking.read([node(name) for name in names], self.handle, 0), token)

    async def write(self, *names: str) -> bytes:
        """Write 1.0 to each."""
        return await self.ask(write(*names))

    async def over(self) -> Lost | None:
        """Wait until the gateway has ended the connection; what it said."""
        await asyncio.wait_for(self.ended.wait(), 10)
        return self.lost

    async def close(self) -> None:
        """Break off."""
        self.writer.transport.abort()
        if self._listening is not None:
            await self._listening

    async def _step(self, kind: type[Event]) -> None:
        event = await asyncio.wait_for(self._steps.get(), 10)
        if not isinstance(event, kind):
            raise ConnectionError(str(event))

    async def _listen(self) -> None:
        try:
            while data := await self.reader.read(65536):
                for event in self.channel.receive(data, now()):
                    match event:
                        case Message(request_id=request_id, body=body):
                            self._answers.pop(request_id).set_result(body)
                        case Lost():
                            self.lost = event
                            self._steps.put_nowait(event)
                        case _:
                            self._steps.put_nowait(event)
        except ConnectionError:
            pass
        self.ended.set()
        self._steps.put_nowait(Closed())
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ConnectionError("the gateway ended it"))
                future.exception()


def write(*names: str) -> bytes:
    """A Write of 1.0 to each node."""
    items = [node(name) + pack("<I", 13) + b"\xff\xff\xff\xff" + double(1.0) for name in names]
    return asking.header("Write", 1, 0) + pack("<i", len(items)) + b"".join(items)


def call(*methods: str) -> bytes:
    """Calls without arguments on object `o`."""
    items = [node("o") + node(name) + pack("<i", 0) for name in methods]
    return asking.header("Call", 1, 0) + pack("<i", len(items)) + b"".join(items)


def service_status(body: bytes) -> int:
    """The service result of an answer."""
    return read_response_header(body)[1]


def statuses(body: bytes) -> list[int]:
    """Statuses of a Read's or Write's results."""
    assert not service_status(body), f"{service_status(body):08x}"
    at = read_response_header(body)[2]
    (number,) = unpack_from("<i", body, at)
    at += 4
    found = []
    reads = body[2:4] == pack("<H", 634)
    for _ in range(number):
        if not reads:
            found.append(unpack_from("<I", body, at)[0])
            at += 4
        elif body[at] == 2:
            found.append(unpack_from("<I", body, at + 1)[0])
            at += 5
        else:
            found.append(0)
            at += 10
    return found


class Remembered:
    """Nothing is known of any tag."""

    def last(self, tag: str) -> None:
        return None

    def asked(self, tag: str) -> None: ...
    def decided(self, tag: str) -> None: ...
    def writing(self, tag: str, q: int | None, mono_ns: int) -> None: ...
    def written(self, tag: str, done: bool, mono_ns: int) -> None: ...


class Bench:
    """A door, a server behind it, and who comes."""

    def __init__(self, stage: Stage, plant: ScriptedServer, folder: Path) -> None:
        self.stage = stage
        self.plant = plant
        self.folder = folder
        self.listener: OpcuaListener
        self.links: OpcuaLinks
        self.applications: Applications
        self.tasks: Tasks
        self.peers: list[Peer] = []

    @property
    def port(self) -> int:
        return self.listener.port

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/{ASSET}"

    def trust(self, name: str) -> None:
        """An administrator lets an application in."""
        leaf = x509.load_der_x509_certificate(credentials(name).leaf)
        Inbox(self.applications.folder).add([leaf], datetime.now(UTC))
        self.applications.reload()

    async def client(self, name: str = "client") -> Peer:
        """An application with a channel."""
        peer = Peer(self, name)
        self.peers.append(peer)
        return await peer.connect()

    async def peer(self, name: str = "client", account: login.Account | None = None) -> Peer:
        """An application with a session."""
        return await (await self.client(name)).session(account)


@asynccontextmanager
async def door(
    pki: Pki,
    folder: Path,
    *,
    server: dict[str, Any] | None = None,
    users: OpcuaUsers | None = None,
    timeout_ms: int = 1_000,
    **limits: Any,
) -> AsyncIterator[Bench]:
    """All of it, started. `limits` are the listener's, `server` the asset's section `opcua`."""
    stage = Stage()
    for action in (Action.READ, Action.WRITE, Action.CALL, Action.BROWSE, Action.SUBSCRIBE):
        stage.grant(action)
    plant = ScriptedServer()
    listening = await asyncio.start_server(plant.serve, "127.0.0.1", 0)
    plant.port = listening.sockets[0].getsockname()[1]
    bench = Bench(stage, plant, folder)
    gw = credentials("gw")
    certificate, key, pinned = folder / "gw.pem", folder / "gw.key", folder / "server.der"
    leaf = x509.load_der_x509_certificate(gw.leaf)
    certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    key.write_bytes(gw.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    pinned.write_bytes(plant.mine.leaf)
    asset = Asset(
        name=ASSET,
        host="127.0.0.1",
        port=plant.port,
        protocol=Speaks.OPCUA,
        timeout_ms=timeout_ms,
        opcua=OpcuaServer(server_certificate=pinned, **(server or {})),
    )
    section = Section(
        name="opcua-north",
        port=0,
        zone="plant",
        certificate=certificate,
        key=key,
        assets=(ASSET,),
        users=users or OpcuaUsers(),
        **limits,
    )
    me = replace(
        CALLER,
        identity=Identity(
            subject="spiffe://demo.example/gateway/gw-1",
            kind=Kind.GATEWAY,
            auth=Authentication.INTERNAL,
            zone="gateway",
        ),
    )
    tasks, links, flush = Tasks(), Links(), Flush()
    bench.tasks = tasks
    bench.links = OpcuaLinks(
        NodePlace(asset, []),
        server_certificate=lambda: pinned.read_bytes(),
        myself=lambda: Myself(gw, "urn:test:gw", "gw"),
        me=me,
        last=Remembered(),
        door=stage.door,
        links=links,
        tasks=tasks,
        clock=now,
        flush=flush,
        request_s=section.request_s,
    )
    bench.applications = Applications(ZoneTrust(pki.zone_settings("plant")), folder / "trust")
    bench.listener = OpcuaListener(
        section,
        applications=bench.applications,
        inbox=Inbox(folder / "trust"),
        users=Users(section.users),
        routes={ASSET: OpcuaRoute(bench.links)},
        accounts={},
        door=stage.door,
        last=Remembered(),
        tasks=tasks,
        clock=now,
        ulids=Ulids(1),
        count=_counting(stage),
        flush=flush,
        channel_limits=LIMITS,
    )
    for name in ("client", "other"):
        bench.trust(name)
    await bench.listener.start()
    links.start(now)
    looking = asyncio.create_task(_look(bench.listener))
    try:
        yield bench
    finally:
        looking.cancel()
        await bench.listener.stop()
        for peer in bench.peers:
            await peer.close()
        links.stop()
        await tasks.stop()
        listening.close()


def _counting(stage: Stage) -> Callable[..., None]:
    def count(name: str, n: int = 1) -> None:
        stage.counted.extend([name] * n)

    return count


async def _look(listener: OpcuaListener) -> None:
    """What `app.running` does ten times a second."""
    while True:
        await asyncio.sleep(0.05)
        listener.close_idle()


async def until(true: Callable[[], object], seconds: float = 5) -> None:
    """Poll until it holds, or fail at the deadline."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
