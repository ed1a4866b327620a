"""The broker adapter against mosquitto with mutual TLS: what is refused, lost, expired and left behind."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

import pytest

from gateway.config.settings import MqttSection
from gateway.identity.contexts import client_context
from gateway.model.decision import Obligation
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.publish import broker, mqtt
from gateway.publish.broker import Broker
from gateway.publish.mqtt import ConnectError, Delivery, MqttConnection
from gateway.publish.uns import Message
from gateway.relay.tasks import Tasks
from tests.interop.mosquitto import Mosquitto, until
from tests.pki import Credential, Pki, pki  # noqa: F401
from tests.scenarios.north import GATEWAY, North, tag

pytestmark = pytest.mark.needs("mosquitto")

STATUS = "dmz/demo/gw-1/status"


def clock() -> Now:
    return Now(time_ns(), monotonic_ns(), True, time_ns())


class Site:
    """A broker, the certificates of those who talk to it, and our side of it."""

    def __init__(self, folder: Path, port: int, pki: Pki, north: North, **section: Any) -> None:
        self.server = _issued(pki, "it-server", "mqtt-broker")
        self.reader = _issued(pki, "it-client", "mqtt-reader")
        self.own = _issued(pki, "it-client", "mqtt-gw")
        self.pki = pki
        self.north = north
        self.mosquitto = Mosquitto(folder / "mosquitto", port, pki, self.server)
        self.section = MqttSection(
            host="127.0.0.1",
            port=port,
            anchors=pki.anchors("it"),
            certificate=self.own.cert,
            key=self.own.key,
            client_id="gw-1",
            **{"refresh_s": 1.0, "expiry_s": 3, **section},
        )
        self.tasks = Tasks()
        self.broker = self.another()

    def another(self) -> Broker:
        return Broker(
            self.section,
            zone="it",
            gateway="gw-1",
            site="demo",
            values=self.north.values,
            door=self.north.door,
            caller=GATEWAY,
            context=lambda: client_context(self.section.anchors, self.section.certificate, self.section.key),
            clock=clock,
            tasks=self.tasks,
            random=self.north.random,
            count=self.north.counts,
        )

    async def connected(self) -> None:
        await until(lambda: self.broker.status()["connected"])

    async def published(self, n: int) -> None:
        await until(lambda: self.north.counts.get("mqtt_published", 0) >= n)

    async def holds(self) -> dict[str, dict[str, Any]]:
        return await self.mosquitto.retained(self.reader)

    def connection(self, ready: Callable[[], None] = lambda: None, **changes: Any) -> MqttConnection:
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.section.port,
            "client_id": "raw",
            "context": client_context(self.section.anchors, self.section.certificate, self.section.key),
            "will": Message(topic=STATUS, payload=b'{"status":"offline"}'),
            "ready": ready,
            **changes,
        }
        return MqttConnection(**settings)


def _issued(pki: Pki, profile: str, name: str) -> Credential:
    at = pki.dir / "it" / "issued" / f"{name}.pem"
    return Credential(at, at.with_suffix(".key")) if at.exists() else pki.issue(profile, "it", name)


@asynccontextmanager
async def site(
    folder: Path, port: int, pki: Pki, north: North, *, more: str = "", run: bool = True, **section: Any
) -> AsyncIterator[Site]:
    place = Site(folder, port, pki, north, **section)
    if more:
        place.mosquitto = Mosquitto(folder / "mosquitto", port, pki, place.server, more=more)
    await place.mosquitto.start()
    try:
        if run:
            place.tasks.start(place.broker.run(), "broker")
            await place.connected()
        yield place
    finally:
        await place.tasks.stop()
        await place.mosquitto.stop()


def test_a_consumer_gets_value_unit_quality_and_time(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(
            tag("level"), tag("unread"), tag("secret", release="none"), tag("hot"), tag("denied"), clock=clock
        )
        north.policy.denies = {"plc-1.denied"}
        north.read("level", 41.5)
        north.read("hot", 1000.0)
        north.read("denied", 1.0)
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.published(3)
            held = await place.holds()
        level = held["acme/demo/level"]
        assert (level["v"], level["q"], level["u"], level["s"]) == (41.5, "good", "%", 1)
        assert "r" not in level
        assert abs(level["t"] - time_ns() // 1_000_000) < 30_000
        assert 0 < level["expiry"] <= 3
        assert (level["content"], level["utf8"]) == ("application/json", "1")
        assert level["user"] == {"gw": "gw-1", "policy-rev": "rev-1", "decision-id": "01EVALUATION"}
        unread = held["acme/demo/unread"]
        assert (unread["v"], unread["q"], unread["r"]) == (None, "bad", "restart")
        hot = held["acme/demo/hot"]
        assert (hot["v"], hot["q"], hot["r"]) == (None, "bad", "range")
        assert held[STATUS]["status"] == "online"
        assert held[STATUS]["expiry"] is None
        assert set(held) == {"acme/demo/level", "acme/demo/unread", "acme/demo/hot", STATUS}
        withheld = [note for kind, note in north.journal.notes if kind is RecordKind.WITHHELD]
        assert sorted((note["tag"], note["reasons"]) for note in withheld) == [
            ("plc-1.hot", ["range"]),
            ("plc-1.secret", ["release"]),
        ]
        assert north.journal.denials == [("site.named", "plc-1.denied")]

    asyncio.run(scenario())


def test_a_refused_puback_is_a_failure_and_the_others_go_on(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("forbidden"), tag("level"), clock=clock)
        north.read("level", 1.0)
        async with site(tmp_path, free_port(), pki, north) as place:
            await until(lambda: north.counts.get("mqtt_refused", 0) >= 2)  # tried again with the refresh
            assert place.broker.status()["refused"] == {"plc-1.forbidden": "Not authorized"}
            assert place.broker.status()["connected"]
            assert set(await place.holds()) == {"acme/demo/level", STATUS}
        assert "failed puback_87" in north.journal.story

    asyncio.run(scenario())


def test_receive_maximum_one_gets_one_at_a_time(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(*[tag(f"t{n}") for n in range(40)], clock=clock)
        async with site(
            tmp_path, free_port(), pki, north, more="max_inflight_messages 1", run=False
        ) as place:
            connection = place.connection()
            await connection.connect()
            assert connection.free == 1
            told: list[Delivery] = []
            message = Message(topic="acme/x", payload=b"{}")
            assert connection.send(message, (), b"{}", told.append)
            assert not connection.send(message, (), b"{}", told.append)
            await until(lambda: told)
            assert told[0].accepted
            await connection.disconnect()
            place.tasks.start(place.broker.run(), "broker")
            await place.published(40)
            held = await place.holds()
            assert len([topic for topic in held if topic.startswith("acme/demo/t")]) == 40

    asyncio.run(scenario())


def test_killed_gateway_says_offline_and_its_values_expire(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        north.read("level", 41.5)
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.published(1)
            connection = place.broker._connection
            assert connection is not None
            place.broker._stopping = True  # so that it does not connect again
            connection.abort("killed")
            await until(lambda: not place.broker.status()["connected"])

            async def gone() -> bool:
                held = await place.holds()
                return held[STATUS]["status"] == "offline" and "acme/demo/level" not in held

            await until(gone)

    asyncio.run(scenario())


def test_living_values_are_refreshed_before_they_expire(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level", stale_ms=600_000), clock=clock)
        north.read("level", 41.5)
        async with site(tmp_path, free_port(), pki, north, expiry_s=2) as place:
            begun = monotonic_ns()
            while monotonic_ns() - begun < 5_000_000_000:  # longer than two expiries
                assert (await place.holds())["acme/demo/level"]["q"] == "good"

    asyncio.run(scenario())


def test_a_value_that_nobody_reads_anew_becomes_stale(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level", stale_ms=1500), clock=clock)
        north.read("level", 41.5)
        async with site(tmp_path, free_port(), pki, north, refresh_s=60.0, expiry_s=120) as place:
            await place.published(1)
            await place.published(2)
            level = (await place.holds())["acme/demo/level"]
            assert (level["v"], level["q"], level["r"]) == (41.5, "uncertain", "stale")

    asyncio.run(scenario())


def test_broker_killed_and_restarted_gets_everything_again(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), tag("other"), clock=clock)
        north.read("level", 41.5)
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.published(2)
            await place.mosquitto.stop(signal.SIGKILL)
            await until(lambda: not place.broker.status()["connected"])
            north.read("level", 42.5)
            await place.mosquitto.start()
            await place.connected()

            async def back() -> bool:
                held = await place.holds()
                return held.get("acme/demo/level", {}).get("v") == 42.5 and "acme/demo/other" in held

            await until(back)

    asyncio.run(scenario())


def test_stopping_is_said_and_the_will_is_not_sent(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.broker.stop()
            assert (await place.holds())[STATUS]["status"] == "stopping"

    asyncio.run(scenario())


def test_a_new_revision_that_denies_a_tag_lets_it_expire(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), tag("other"), clock=clock)
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.published(2)
            north.policy.denies, north.policy.revision = {"plc-1.level"}, "rev-2"

            async def gone() -> bool:
                return set(await place.holds()) == {"acme/demo/other", STATUS}

            await until(gone)
            assert north.journal.denials == [("site.named", "plc-1.level")]  # once, not with every refresh
            north.policy.denies, north.policy.revision = set(), "rev-3"

            async def back() -> bool:
                return "acme/demo/level" in await place.holds()

            await until(back)

    asyncio.run(scenario())


def test_what_policy_obliges_to_holds_for_what_the_broker_retains(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    """The value is the same all along; what may be said of it changes, with the facts and with the bundle."""

    async def scenario() -> None:
        north = North(tag("a", stale_ms=600_000), tag("b", address=1, stale_ms=600_000), clock=clock)
        async with site(tmp_path, free_port(), pki, north, refresh_s=60.0, expiry_s=90) as here:
            north.read("a", 47.0)
            north.read("b", 3.0)
            await here.published(2)

            async def says(value: float | None, reason: str | None) -> bool:
                told = (await here.holds())["acme/demo/a"]
                return (told["v"], told.get("r")) == (value, reason)

            async def changes(value: float | None, reason: str | None) -> None:
                await until(lambda: says(value, reason))

            north.policy.obliges["plc-1.a"] = (Obligation("mask"),)
            north.read("a", 47.0)  # the next poll, which brings nothing new
            await changes(None, "masked")
            north.policy.obliges["plc-1.a"] = (Obligation("round", (("step", 10),)),)
            north.policy.revision = "rev-2"  # another bundle, and no poll at all
            await changes(50.0, None)
            assert (await here.holds())["acme/demo/b"]["v"] == 3.0
            count = north.counts["mqtt_published"]
            north.read("a", 47.0)
            north.read("b", 3.0)
            await asyncio.sleep(0.3)
            assert north.counts["mqtt_published"] == count, "nothing is new, so nothing is said"

    asyncio.run(scenario())


def test_decisions_that_must_be_waited_for(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(*[tag(f"t{n}") for n in range(300)], clock=clock)
        north.policy.slow = True
        north.policy.denies = {"plc-1.t0"}
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.published(299)
            held = await place.holds()
            assert len(held) == 300
            assert "acme/demo/t0" not in held

    asyncio.run(scenario())


def test_without_our_certificate_there_is_no_connection(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with site(tmp_path, free_port(), pki, north, run=False) as place:
            foreign = Pki(tmp_path / "foreign").issue("it-client", "it", "mqtt-gw")
            connection = place.connection(context=foreign.client_context(pki.anchors("it")))
            with pytest.raises(ConnectError):
                await connection.connect()
            assert connection.free == 0
            wrong = place.connection(context=place.own.client_context(pki.anchors("plant")))
            with pytest.raises(ConnectError, match=r"(?i)certificate"):
                await wrong.connect()

    asyncio.run(scenario())


def test_what_is_under_way_when_the_connection_ends_is_told(
    tmp_path: Path,
    free_port: Callable[[], int],
    pki: Pki,
) -> None:
    async def scenario() -> None:
        async with site(tmp_path, free_port(), pki, North(tag("level"), clock=clock), run=False) as place:
            connection = place.connection()
            await connection.connect()
            told: list[Delivery] = []
            for _ in range(connection.free):
                assert connection.send(Message(topic="acme/x", payload=b"{}"), (), b"{}", told.append)
            under_way = connection.under_way
            assert under_way == 20  # mosquitto's own Receive Maximum
            await place.mosquitto.stop(signal.SIGKILL)
            await asyncio.wait_for(asyncio.shield(connection.closed), 5)
            assert len(told) == under_way
            assert not any(delivery.accepted for delivery in told[-1:])
            assert (await connection.deliver(Message(topic="acme/x", payload=b"{}"))).code is None

    asyncio.run(scenario())


def test_a_broker_that_falls_silent_is_given_up(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "ACK_S", 0.3)
    monkeypatch.setattr(mqtt, "TICK_S", 0.1)
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.5)

    async def scenario() -> None:
        async with site(tmp_path, free_port(), pki, North(tag("level"), clock=clock), run=False) as place:
            connection = place.connection()
            await connection.connect()
            place.mosquitto.freeze()
            delivery = await asyncio.wait_for(connection.deliver(Message(topic="acme/x", payload=b"{}")), 5)
            assert (delivery.accepted, delivery.reason) == (False, "no PUBACK in time")
            again = place.connection()
            with pytest.raises(ConnectError):
                await asyncio.wait_for(again.connect(), 5)

    asyncio.run(scenario())


def test_stopping_does_not_wait_for_a_silent_broker(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "STOP_S", 0.3)

    async def scenario() -> None:
        async with site(tmp_path, free_port(), pki, North(tag("level"), clock=clock)) as place:
            place.mosquitto.freeze()
            await asyncio.wait_for(place.broker.stop(), 5)

    asyncio.run(scenario())


def test_renew_connects_again_with_a_new_context(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with site(tmp_path, free_port(), pki, north) as place:
            before = place.broker._connection
            await place.broker.renew()
            await until(lambda: place.broker._connection not in (None, before))
            assert north.counts["mqtt_connects"] == 2

    asyncio.run(scenario())


def test_policy_decides_the_status_topic_and_the_will_too(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki
) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        north.policy.denies = {"mqtt.publish_status"}
        async with site(tmp_path, free_port(), pki, north) as place:
            await place.published(1)
            assert set(await place.holds()) == {"acme/demo/level"}
            connection = place.broker._connection
            assert connection is not None
            place.broker._stopping = True
            connection.abort("killed")
            await until(lambda: not place.broker.status()["connected"])
            assert STATUS not in await place.holds()

    asyncio.run(scenario())
