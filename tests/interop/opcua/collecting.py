"""The OPC UA collector in this process, against a server in one of its own.

async with collecting(pki, plc, tag("counter", "Specimen.Counter")) as scene:
    await scene.until("counter", lambda sample: sample.quality is Quality.GOOD)
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic_ns, time_ns
from typing import Any
from urllib.parse import urlsplit

from gateway.app.collecting import OwnServer
from gateway.demo.opcua_nodes import NAMESPACE
from gateway.model.asset import Asset, DataType, OpcuaServer, Speaks, Tag
from gateway.model.moment import Now
from gateway.model.sample import Sample
from gateway.publish.opcua_collector import OpcuaCollector
from gateway.publish.values import Values
from gateway.relay.flush import Flush
from gateway.relay.link import Links
from gateway.relay.link.opcua_links import OpcuaLinks
from gateway.relay.link.opcua_opening import Myself
from gateway.relay.opcua.credentials import load_credentials, load_server, uri_of
from gateway.relay.tasks import Tasks
from gateway.wire.opcua.meaning import NodePlace
from tests.pki import Credential, Pki
from tests.scenarios.north import GATEWAY, North

from .plant import Plant

ASSET = "plc-ua"


def now() -> Now:
    """This moment."""
    wall = time_ns()
    return Now(wall, monotonic_ns(), True, wall)


def tag(name: str, node: str, kind: DataType = DataType.FLOAT64, **changes: Any) -> Tag:
    """A tag of a node of the server."""
    settings: dict[str, Any] = {
        "name": name,
        "asset": ASSET,
        "path": f"acme/demo/{name}",
        "node": f"nsu={NAMESPACE};s={node}",
        "type": kind,
        "poll_ms": 100,
        "stale_ms": 1_500,
        **changes,
    }
    return Tag(**settings)


def credential(pki: Pki, name: str) -> Credential:
    """An application certificate of the zone, made once."""
    path = pki.dir / "plant" / "issued" / f"{name}.pem"
    if path.exists():
        return Credential(path, path.with_suffix(".key"))
    return pki.issue("opcua-application", "plant", name)


class Scene(North):
    """Values, a policy of names, the collector."""

    def __init__(self, plc: Plant, mine: Credential, tags: tuple[Tag, ...], **server: Any) -> None:
        super().__init__(clock=now)
        where = urlsplit(plc.url)
        timeout_ms = server.pop("timeout_ms", 1_000)
        settings = {"publishing_ms": 100, **server}
        self.pinned = plc.cert
        self.asset = Asset(
            name=ASSET,
            host=str(where.hostname),
            port=int(where.port or 0),
            protocol=Speaks.OPCUA,
            timeout_ms=timeout_ms,
            opcua=OpcuaServer(server_certificate=plc.cert, path=where.path, **settings),
        )
        self.values = Values(tags, [self.asset], now())
        self.tasks, self.links, self.flush = Tasks(), Links(), Flush()
        self.alarms: list[str] = []
        credentials = load_credentials(mine.cert, mine.key)
        self.servers = OpcuaLinks(
            NodePlace(self.asset, list(tags)),
            server_certificate=lambda: load_server(self.pinned),
            myself=lambda: Myself(credentials, uri_of(credentials), "gw"),
            me=GATEWAY,
            last=self.values,
            door=self.door,
            links=self.links,
            tasks=self.tasks,
            clock=now,
            flush=self.flush,
            request_s=5.0,
        )
        self.collector = OpcuaCollector(
            {ASSET: (self.asset, OwnServer(self.servers, None, now, reserved=True))},
            values=self.values,
            door=self.door,
            clock=now,
            tasks=self.tasks,
            random=random.Random(3),  # noqa: S311
            count=self.counts,
            alarm=self._alarm,
            backoff_s=0.5,
        )
        self.replace(*tags)

    def _alarm(self, code: str, known: dict[str, Any] | None = None) -> None:
        self.alarms.append(f"{code} {known}")

    def replace(self, *tags: Tag) -> None:
        """Other tags, as a reload does it."""
        self.values.replace(tags, [self.asset], now())
        self.servers.place = NodePlace(self.asset, list(tags))
        self.collector.replace(tags)

    def sample(self, name: str) -> Sample:
        """What is known of a tag, as it is kept."""
        sample = self.values.sample(name)
        assert sample is not None
        return sample

    def told(self, name: str) -> Sample:
        """What IT is told of it now."""
        released = self.vetting("test").released(name, now())
        assert released is not None
        return released.sample

    async def until(self, name: str, holds: Callable[[Sample], bool], within_s: float = 10.0) -> Sample:
        """Wait until IT is told such a thing of a tag."""
        deadline = monotonic_ns() + int(within_s * 1e9)
        while not holds(self.told(name)):
            assert monotonic_ns() < deadline, f"in vain: {self.told(name)}, {self.collector.status()}"
            await asyncio.sleep(0.02)
        return self.told(name)


@asynccontextmanager
async def collecting(pki: Pki, plc: Plant, *tags: Tag, **server: Any) -> AsyncIterator[Scene]:
    """All of it, running."""
    scene = Scene(plc, credential(pki, "gw-collector"), tags, **server)
    scene.links.start(now)
    running = asyncio.create_task(scene.collector.run())
    try:
        yield scene
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0)
        scene.links.stop()
        await scene.tasks.stop()
