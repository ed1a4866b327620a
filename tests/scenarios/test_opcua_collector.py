"""The OPC UA collector on a stage: a server that does as it is told, and a clock that is moved by hand."""

import asyncio
import random
from collections.abc import Callable
from struct import pack
from typing import Any

import pytest

from gateway.model.asset import Asset, DataType, OpcuaServer, Speaks, Tag
from gateway.model.decision import Why
from gateway.model.moment import Now
from gateway.model.sample import Quality, Sample
from gateway.publish.opcua_collector import OpcuaCollector
from gateway.publish.opcua_items import pace
from gateway.publish.ports import Away
from gateway.publish.values import Values
from gateway.relay.tasks import Tasks
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.refusal import header
from gateway.wire.opcua.request import Outbound, Request, read_request
from gateway.wire.opcua.values import ns_ticks
from tests.scenarios.north import North

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:test:server", "urn:acme:plc")
SUBSCRIPTION = 77
BAD_NODE = 0x80340000
Item = tuple[int, float | None, int]
"Client handle, value, status."


def tag(name: str, **changes: Any) -> Tag:
    settings: dict[str, Any] = {
        "name": f"plc-1.{name}",
        "asset": "plc-1",
        "path": f"acme/{name}",
        "node": f"nsu=urn:acme:plc;s={name}",
        "type": DataType.FLOAT64,
        "resolution": 0.5,
        "poll_ms": 1_000,
        "stale_ms": 20_000,
        **changes,
    }
    return Tag(**settings)


def notification(sequence: int, *items: Item, source_ns: int | None = None, more: bool = False) -> bytes:
    """What stands in a Publish answer between its header and what became of the acknowledgements."""
    values = b""
    for handle, value, status in items:
        mask = (1 if value is not None else 0) | 2 | (4 if source_ns is not None else 0)
        values += pack("<IB", handle, mask)
        values += b"\x0b" + pack("<d", value) if value is not None else b""
        values += pack("<I", status)
        values += pack("<q", ns_ticks(source_ns)) if source_ns is not None else b""
    data = pack("<i", len(items)) + values + pack("<i", 0)
    parts = pack("<i", 1) + pack("<BBHBi", 1, 0, 811, 1, len(data)) + data if items else pack("<i", 0)
    return pack("<IiBIq", SUBSCRIPTION, 0, more, sequence, 0) + parts


class Session:
    """One session with the server. What it is asked is kept; each Publish waits for `news`."""

    def __init__(self, server: "Server", closed: Callable[[str], None]) -> None:
        self.server = server
        self.told = closed
        self.closed = False
        self.asked: list[Request] = []
        self.news: asyncio.Queue[bytes | Why | int] = asyncio.Queue()

    @property
    def namespaces(self) -> tuple[str, ...]:
        return self.server.namespaces

    def requests(self, service: str) -> list[Request]:
        return [each for each in self.asked if each.service.name == service]

    async def ask(self, body: bytes) -> ServiceAnswer | Why:
        request = read_request(body)
        assert isinstance(request, Request)
        self.asked.append(request)
        server, service = self.server, request.service.name
        if service in server.denies:
            return Why.DENIED
        kept = tuple(at for at in range(request.items) if not server.denied(request.item(at)))
        if service == "CreateMonitoredItems":
            if server.most_items is not None and request.items > server.most_items:
                return self._answer(Outbound(request, b"\0\0"), b"", 0x80100000)
            if not kept:
                return Why.DENIED
        frame = Outbound(request, b"\0\0", kept if request.service.items and service != "Publish" else None)
        return self._answer(frame, *await self._says(request, kept)) if service else Why.NO_ANSWER

    async def _says(self, request: Request, kept: tuple[int, ...]) -> tuple[bytes, int]:
        server = self.server
        match request.service.name:
            case "CreateSubscription":
                return pack("<IdII", SUBSCRIPTION, server.publishing_ms, 30, server.keep_alive), 0
            case "CreateMonitoredItems":
                found = b""
                for at in kept:
                    missing = any(name.encode() in request.item(at) for name in server.missing)
                    found += pack("<IIdI", BAD_NODE if missing else 0, at + 1, 1000.0, 1) + b"\0\0\0"
                return pack("<i", len(kept)) + found + pack("<i", 0), 0
            case _:
                said = await self.news.get()
                if isinstance(said, Why):
                    raise SaidError(said)
                if isinstance(said, int):
                    return b"", said
                return said + pack("<i", request.items) + bytes(4 * request.items) + pack("<i", 0), 0

    def _answer(self, frame: Outbound, body: bytes, status: int) -> ServiceAnswer:
        request = frame.request
        number = 397 if status else request.service.answer
        found = read_answer(frame, header(number, request.header.handle, status, 0) + body)
        assert isinstance(found, ServiceAnswer), found
        return found

    async def allowed(self, body: bytes) -> tuple[bool, ...]:
        request = read_request(body)
        assert isinstance(request, Request)
        if request.service.name in self.server.denies:
            return (False,)
        return tuple(not self.server.denied(request.item(at)) for at in range(request.items)) or (True,)

    def close(self) -> None:
        self.closed = True


class SaidError(Exception):
    """A Publish ends without an answer."""


class Patient(Session):
    """Turns what a Publish ends with into what the passage would give."""

    async def ask(self, body: bytes) -> ServiceAnswer | Why:
        try:
            return await super().ask(body)
        except SaidError as said:
            why = said.args[0]
            assert isinstance(why, Why)
            return why


class Server:
    """A server that does as a scenario says."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.away: Away | None = None
        self.stuck = False
        self.namespaces = NAMESPACES
        self.denies: set[str] = set()
        "Services, and names of nodes."
        self.missing: set[str] = set()
        self.most_items: int | None = None
        self.publishing_ms = 1_000.0
        self.keep_alive = 10

    def denied(self, item: bytes) -> bool:
        return any(name.encode() in item for name in self.denies)

    async def open(self, closed: Callable[[str], None]) -> Session | Away:
        if self.stuck:
            await asyncio.Event().wait()
        if self.away is not None:
            return self.away
        self.sessions.append(Patient(self, closed))
        return self.sessions[-1]

    @property
    def last(self) -> Session:
        return self.sessions[-1]


class Scene(North):
    """One server with tags, and the collector."""

    def __init__(self, *tags: Tag) -> None:
        super().__init__()
        self.trusted = True
        self.now = self.time
        self.asset = Asset(
            name="plc-1",
            host="127.0.0.1",
            port=4840,
            protocol=Speaks.OPCUA,
            opcua=OpcuaServer(server_certificate=None),  # type: ignore[arg-type] # nobody looks at it
        )
        self.tags = tags
        self.values = Values(tags, [self.asset], self.now())
        self.server = Server()
        self.tasks = Tasks()
        self.alarms: list[dict[str, Any]] = []
        self.collector = OpcuaCollector(
            {"plc-1": (self.asset, self.server)},
            values=self.values,
            door=self.door,
            clock=self.now,
            tasks=self.tasks,
            random=random.Random(5),  # noqa: S311
            count=self.counts,
            alarm=lambda code, known=None: self.alarms.append({"code": code, **(known or {})}),
            backoff_s=30.0,
        )
        self.collector.replace(tags)

    def time(self) -> Now:
        """What the clock shows, and whether it is believed."""
        now = self.moment()
        return Now(now.wall_ns, now.mono_ns, self.trusted, now.judge_ns)

    async def look(self, seconds: float = 0.0, step: float = 1.0) -> None:
        """Let time pass, look as often as the collector does, and let everybody act."""
        while seconds > 0:
            self.moment.advance(min(step, seconds))
            seconds -= step
            self.collector.tick(self.now())
            await self.settle()
        self.collector.tick(self.now())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def until_there(self) -> None:
        """Look until there is a session more."""
        before = len(self.server.sessions)
        while len(self.server.sessions) == before:
            await self.look(1)

    async def says(self, said: bytes | Why | int) -> None:
        self.server.last.news.put_nowait(said)
        await self.settle()

    def known(self, name: str) -> Sample:
        sample = self.values.sample(f"plc-1.{name}")
        assert sample is not None
        return sample

    def told(self, name: str) -> Sample:
        released = self.vetting("test").released(f"plc-1.{name}", self.now())
        assert released is not None
        return released.sample

    def reason(self, name: str) -> str:
        sample = self.told(name)
        assert (sample.value is None) == (sample.quality is Quality.BAD)
        return sample.reason


async def started(*tags: Tag) -> Scene:
    scene = Scene(*tags)
    await scene.look()
    return scene


async def test_it_subscribes_with_a_keep_alive_of_its_own_and_samples_as_often_as_tags_are_polled() -> None:
    scene = await started(tag("a", poll_ms=250), tag("b"))
    session = scene.server.last
    (made,) = session.requests("CreateSubscription")
    assert pack("<dII", 1_000.0, 30, 10) in made.body
    (items,) = session.requests("CreateMonitoredItems")
    assert pack("<d", 250.0) in items.item(0)
    assert pack("<d", 1_000.0) in items.item(1)
    assert len(session.requests("Publish")) == 1, "one in flight"
    assert scene.reason("a") == "waiting"
    await scene.says(notification(1, (1, 5.5, 0), (2, 7.0, 0)))
    assert (scene.told("a").value, scene.told("b").value) == (5.5, 7.0)
    (_, second) = session.requests("Publish")
    assert pack("<iII", 1, SUBSCRIPTION, 1) in second.body, "acknowledged"
    await scene.says(notification(2))
    assert pack("<i", 0) == session.requests("Publish")[2].tail, "a keep-alive is not"


def test_keep_alives_come_before_values_are_stale() -> None:
    assert pace(1_000, [tag("a", stale_ms=60_000)]).keep_alive == 10
    assert pace(1_000, [tag("a", stale_ms=5_000)]).keep_alive == 2
    assert pace(1_000, [tag("a", stale_ms=500)]).keep_alive == 1
    for publishing_ms in (50, 1_000, 60_000):
        asked = pace(publishing_ms, [tag("a")])
        assert asked.lifetime >= 3 * asked.keep_alive
        assert asked.lifetime * publishing_ms >= 10_000


async def test_time_and_quality_are_the_servers_and_the_age_is_never_too_small() -> None:
    scene = await started(tag("a"), tag("b"), tag("c"))
    source = scene.now().wall_ns - 3_600 * 10**9
    await scene.says(
        notification(1, (1, 5.5, 0), (2, 6.5, 0x40900000), (3, None, 0x80890000), source_ns=source)
    )
    a, b = scene.known("a"), scene.known("b")
    assert (a.at_ns, a.received_ns) == (source, scene.now().wall_ns)
    assert scene.now().mono_ns - a.mono_ns == 10**9, "one publishing interval"
    assert (b.value, b.quality, b.reason) == (6.5, Quality.UNCERTAIN, "uncertain_last_usable_value")
    assert scene.reason("c") == "bad_configuration_error"
    ahead = scene.now().wall_ns + 3_600 * 10**9
    await scene.says(notification(2, (1, 6.0, 0), source_ns=ahead))
    assert scene.reason("a") == "source_time"


async def test_silence_within_the_keep_alive_time_is_no_news_and_beyond_it_is_death() -> None:
    scene = await started(tag("a", stale_ms=30_000))
    await scene.says(notification(1, (1, 5.5, 0)))
    for keep_alives in range(10):
        await scene.look(10)
        assert scene.reason("a") == "", f"after {keep_alives} keep-alives"
        await scene.says(notification(2))
    await scene.look(11.9)
    assert scene.reason("a") == ""
    session = scene.server.last
    await scene.look(0.2)
    assert scene.reason("a") == "timeout"
    assert session.closed, "the whole session goes"
    assert scene.counts["opcua_timeout"] == 1


async def test_what_nobody_vouches_for_is_stale_before_it_is_bad() -> None:
    scene = await started(tag("a", stale_ms=5_000))
    scene.server.last.server.keep_alive = 10
    await scene.says(notification(1, (1, 5.5, 0)))
    await scene.look(5)
    assert (scene.told("a").value, scene.reason("a")) == (5.5, "stale")
    await scene.says(notification(2))
    assert scene.reason("a") == "", "the server vouches for it"
    assert scene.known("a").sequence == 2, "and that is no new sample"


async def test_news_that_are_only_part_of_it_vouch_for_nothing_else() -> None:
    scene = await started(tag("a", stale_ms=5_000), tag("b", stale_ms=5_000))
    await scene.says(notification(1, (1, 1.0, 0), (2, 2.0, 0)))
    await scene.look(5)
    await scene.says(notification(2, (1, 1.5, 0), more=True))
    assert (scene.reason("a"), scene.reason("b")) == ("", "stale")
    await scene.says(notification(3, (1, 1.6, 0)))
    assert scene.reason("b") == ""


async def test_a_value_that_was_bad_is_not_vouched_for() -> None:
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    await scene.says(notification(2, (1, None, 0x80310000)))
    await scene.says(notification(3))
    assert scene.reason("a") == "bad_no_communication"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (notification(3, (1, 2.0, 0)), "gap"),
        (notification(4), "gap"),
        (notification(2, (1, 2.0, 0)).replace(pack("<I", SUBSCRIPTION), pack("<I", 78), 1), "wrong_answer"),
        (0x80790000, "bad_no_subscription"),
        (0x80260000, "bad_session_closed"),
        (Why.NO_ANSWER, "device_down"),
        (Why.DENIED, "denied"),
        (Why.NOT_RECORDED, "not_recorded"),
    ],
)
async def test_in_doubt_the_session_goes_and_another_is_made(said: bytes | int | Why, reason: str) -> None:
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    await scene.says(said)
    assert scene.reason("a") == reason
    assert scene.told("a").value is None
    assert scene.server.last.closed
    assert len(scene.server.sessions) == 1
    await scene.look(1.1)
    assert len(scene.server.sessions) == 2
    assert scene.reason("a") == "waiting", "nothing is known of it yet"
    await scene.says(notification(1, (1, 3.0, 0)))
    assert scene.told("a").value == 3.0


async def test_a_permit_that_died_with_its_bundle_costs_nothing_once() -> None:
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    await scene.says(Why.BUSY)
    await scene.says(notification(2, (1, 2.0, 0)))
    assert scene.told("a").value == 2.0
    await scene.says(Why.BUSY)
    await scene.says(Why.BUSY)
    assert scene.reason("a") == "busy"


async def test_who_does_not_answer_is_left_alone_longer_each_time() -> None:
    scene = Scene(tag("a"))
    scene.server.away = Away("device_down", "no route")
    tries = 0
    for _ in range(600):
        before = scene.counts.get("opcua_device_down", 0)
        await scene.look(0.2, 0.2)
        tries += scene.counts.get("opcua_device_down", 0) - before
    assert 5 <= tries <= 12, "two minutes: about 1, 2, 4, 8, 16, 30, 30 seconds"
    assert scene.reason("a") == "device_down"
    scene.server.away = None
    await scene.until_there()
    await scene.says(notification(1, (1, 1.0, 0)))
    assert scene.reason("a") == ""
    assert scene.collector.status()["plc-1"]["failures"] == 0


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up() -> None:
    scene = Scene(tag("a"))
    scene.server.stuck = True
    await scene.look(16)
    assert scene.reason("a") == "timeout"


async def test_another_certificate_is_an_alarm_once_and_never_a_value() -> None:
    scene = Scene(tag("a"))
    scene.server.away = Away("certificate", "it shows another one")
    await scene.look(200)
    assert scene.reason("a") == "certificate"
    assert [alarm["asset"] for alarm in scene.alarms] == ["plc-1"]
    scene.server.away = None
    await scene.until_there()
    await scene.says(notification(1, (1, 1.0, 0)))
    scene.server.away = Away("certificate", "again another one")
    await scene.says(Why.NO_PATH)
    await scene.look(2)
    assert len(scene.alarms) == 2


async def test_items_that_the_server_does_not_make_are_bad_and_asked_for_again() -> None:
    scene = Scene(tag("a"), tag("late"), tag("elsewhere", node="nsu=urn:nobody;s=x"))
    scene.server.missing = {"late"}
    await scene.look()
    await scene.says(notification(1, (1, 1.0, 0)))
    assert scene.reason("a") == ""
    assert scene.reason("late") == "bad_node_id_unknown"
    assert scene.reason("elsewhere") == "unknown_namespace"
    scene.server.missing = set()
    for _ in range(4):
        await scene.look(9)
        await scene.says(notification(2))
    assert scene.reason("late") == "waiting"
    await scene.says(notification(2, (2, 4.0, 0)))
    assert scene.told("late").value == 4.0
    assert len(scene.server.sessions) == 1


async def test_what_policy_denies_is_bad_denied_and_the_others_are_watched() -> None:
    scene = Scene(tag("a"), tag("secret"))
    scene.server.denies = {"secret"}
    await scene.look()
    await scene.says(notification(1, (1, 1.0, 0)))
    assert (scene.reason("a"), scene.reason("secret")) == ("", "denied")
    await scene.look(5)
    assert len(scene.server.sessions) == 1, "asking again under the same policy helps nobody"
    scene.server.denies = set()
    scene.policy.revision = "rev-2"
    await scene.look(0.4, 0.2)
    assert len(scene.server.sessions) == 2
    assert scene.told("a").value == 1.0, "it keeps its value meanwhile"
    await scene.says(notification(1, (1, 1.0, 0), (2, 2.0, 0)))
    assert scene.told("secret").value == 2.0


async def test_what_policy_denies_from_now_on_is_bad_with_the_next_look() -> None:
    scene = await started(tag("a"), tag("secret"))
    await scene.says(notification(1, (1, 1.0, 0), (2, 2.0, 0)))
    scene.server.denies = {"secret"}
    scene.door.epoch.grow()
    await scene.look()
    assert scene.reason("secret") == "denied"
    await scene.look(0.2)
    assert len(scene.server.sessions) == 2
    assert scene.reason("secret") == "denied"
    scene.door.epoch.grow()
    await scene.look(0.4, 0.2)
    assert len(scene.server.sessions) == 2, "nothing that is watched has changed"


async def test_a_subscription_that_is_denied_is_asked_for_under_another_policy_at_once() -> None:
    scene = Scene(tag("a"))
    scene.server.denies = {"CreateSubscription"}
    await scene.look()
    assert scene.reason("a") == "denied"
    scene.server.denies = set()
    scene.policy.revision = "rev-2"
    await scene.look()
    assert scene.reason("a") == "waiting"


async def test_a_server_that_takes_few_items_at_once_gets_few() -> None:
    scene = Scene(*[tag(f"t{number}") for number in range(40)])
    scene.server.most_items = 8
    for _ in range(10):
        await scene.look()
    assert scene.collector.status()["plc-1"]["items"] == 40


async def test_tags_that_change_make_a_new_session_and_equal_ones_do_not() -> None:
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    scene.collector.replace([tag("a")])
    await scene.look()
    assert len(scene.server.sessions) == 1
    both = [tag("a"), tag("b")]
    scene.values.replace(both, [scene.asset], scene.now())
    scene.collector.replace(both)
    await scene.look()
    assert scene.server.sessions[0].closed
    assert len(scene.server.last.requests("CreateMonitoredItems")[0].body) > 0
    assert scene.told("a").value == 1.0
    scene.values.replace([], [scene.asset], scene.now())
    scene.collector.replace([])
    await scene.look(60)
    assert scene.server.sessions[1].closed
    assert len(scene.server.sessions) == 2, "no tags, no session"


async def test_an_age_that_a_keep_alive_gives_is_from_before_it() -> None:
    """A write that was let through meanwhile is not overtaken by a value that is older than it."""
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    await scene.look(5)
    scene.values.writing("plc-1.a", 9, scene.now().mono_ns)
    scene.values.written("plc-1.a", True, scene.now().mono_ns)
    await scene.look(1)
    await scene.says(notification(2))
    last = scene.values.last("plc-1.a")
    assert last is not None
    assert last[0] == 9, "the old value is no measure of the next step"


async def test_a_clock_that_is_not_trusted_any_more_is_said_of_values_that_do_not_change() -> None:
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    assert scene.reason("a") == ""
    scene.trusted = False
    await scene.look(5)
    await scene.says(notification(2))
    assert (scene.told("a").value, scene.reason("a")) == (1.0, "clock")
    assert scene.now().mono_ns - scene.known("a").mono_ns == 2 * 10**9, "no younger than it is"
    scene.trusted = True
    await scene.says(notification(2))
    assert scene.reason("a") == ""


async def test_a_subscription_that_is_denied_from_now_on_leaves_no_value_good() -> None:
    scene = await started(tag("a"))
    await scene.says(notification(1, (1, 1.0, 0)))
    scene.server.denies = {"CreateSubscription"}
    scene.server.stuck = True  # and another session takes its time
    scene.policy.revision = "rev-2"
    await scene.look()
    assert scene.reason("a") == "denied"
