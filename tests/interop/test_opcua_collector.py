"""The OPC UA collector against an asyncua server that is killed, frozen, restarted and exchanged.

"What must hold" 7 of the issue on the OPC UA door: the collector tells stale from good, resumes by itself,
and never invents a value.
"""

import asyncio
from collections.abc import Callable, Iterator
from time import time_ns

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec.structs import replace

from gateway.demo.opcua_nodes import NAMESPACE
from gateway.model.asset import DataType
from gateway.model.sample import Quality, Sample
from tests.pki import Pki, pki

from .opcua.collecting import Scene, collecting, credential, tag
from .opcua.plant import FIXED, Plant, plant
from .opcua.site import free_port

__all__ = ["pki"]

COUNTER = tag("counter", "Specimen.Counter", DataType.UINT32)
FIXED_NS = int(FIXED.timestamp()) * 10**9 + FIXED.microsecond * 1000


@pytest.fixture(scope="module")
def server(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with plant(pki, tmp_path_factory.mktemp("plc"), free_port(), "asyncua", name="plc-ua") as made:
        yield made


@pytest.fixture
def plc(server: Plant) -> Plant:
    """The server, running, whatever the test before did to it."""
    assert server.process is not None
    server.thaw()
    if server.process.poll() is not None:
        server.start()
    return server


def good(sample: Sample) -> bool:
    return sample.quality is Quality.GOOD


def bad(sample: Sample) -> bool:
    return sample.quality is Quality.BAD


def beyond(value: float | None) -> Callable[[Sample], bool]:
    """Good, and newer than that."""
    return lambda sample: good(sample) and (sample.value or 0) > (value or 0)


async def test_values_status_and_time_are_the_servers(pki: Pki, plc: Plant) -> None:
    tags = (
        COUNTER,
        tag("int16", "Specimen.Int16", DataType.INT16, scale=0.1, resolution=0.1),
        tag("float", "Specimen.Float", DataType.FLOAT32, resolution=0.5),
        tag("bool", "Specimen.Boolean", DataType.BOOL),
        tag("uncertain", "Specimen.Uncertain", resolution=0.01),
        tag("bad", "Specimen.Bad"),
        tag("infinite", "Specimen.Infinite"),
        tag("text", "Specimen.String"),
        tag("array", "Specimen.Doubles"),
        tag("missing", "Specimen.NoSuchNode"),
        replace(tag("elsewhere", "x"), node="nsu=urn:nobody;s=x"),
    )
    async with collecting(pki, plc, *tags) as scene:
        first = (await scene.until("counter", good)).value
        await scene.until("counter", beyond(first))
        await scene.until("int16", good)
        told = {each.name: scene.told(each.name) for each in tags}
    assert told["int16"].value == -3276.8
    assert told["int16"].at_ns == FIXED_NS, "the server's source time"
    assert abs(told["int16"].received_ns - told["counter"].received_ns) < 60 * 10**9
    assert told["float"].value == -1.5
    assert told["bool"].value is True
    assert (told["uncertain"].value, told["uncertain"].quality) == (7.25, Quality.UNCERTAIN)
    assert told["uncertain"].reason == "uncertain_last_usable_value"
    reasons = {name: sample.reason for name, sample in told.items() if bad(sample)}
    assert reasons == {
        "bad": "bad_sensor_failure",
        "infinite": "undecodable",
        "text": "undecodable",
        "array": "undecodable",
        "missing": "bad_node_id_unknown",
        "elsewhere": "unknown_namespace",
    }
    assert all(told[name].value is None for name in reasons)


async def test_what_does_not_change_stays_good_and_becomes_stale_when_nobody_vouches(
    pki: Pki, plc: Plant
) -> None:
    """Keep-alives vouch for a value that was told once; a frozen server vouches for nothing."""
    async with collecting(pki, plc, tag("fixed", "Specimen.Double", stale_ms=2_000)) as scene:
        first = await scene.until("fixed", good)
        for _ in range(12):
            assert (await scene.until("fixed", good, 0.0)).sequence == first.sequence
            await asyncio.sleep(0.25)
        plc.freeze()
        stale = await scene.until("fixed", lambda sample: not good(sample), 3.0)
        assert (stale.reason, stale.value) in (("stale", first.value), ("timeout", None))
        gone = await scene.until("fixed", bad, 5.0)
        assert (gone.reason, gone.value) == ("timeout", None)
        plc.thaw()
        await scene.until("fixed", good)


async def test_a_server_frozen_then_killed_then_started_is_collected_again(pki: Pki, plc: Plant) -> None:
    """The one that a library's client never came back from, while it said CONNECTED."""
    async with collecting(pki, plc, COUNTER) as scene:
        await scene.until("counter", good)
        plc.freeze()
        await scene.until("counter", lambda sample: sample.reason == "timeout", 5.0)
        restarted = time_ns()
        plc.restart()
        again = await scene.until("counter", good)
        assert again.value is not None
        assert again.value < 60, "a number of the new server"
        assert again.at_ns > restarted, "and a time of its own"


async def test_a_server_killed_and_started_with_another_certificate_gives_no_value_and_an_alarm(
    pki: Pki, plc: Plant
) -> None:
    async with collecting(pki, plc, COUNTER, timeout_ms=300) as scene:
        await scene.until("counter", good)
        plc.kill()
        gone = await scene.until("counter", bad, 3.0)
        assert (gone.reason, gone.value) == ("device_down", None)
        other = credential(pki, "plc-other")
        plc.cert, plc.key = other.cert, other.key
        plc.start()
        seen = await scene.until("counter", lambda sample: sample.reason == "certificate")
        assert (seen.value, seen.quality) == (None, Quality.BAD)
        await asyncio.sleep(1.0)
        assert scene.told("counter").value is None
        assert len(scene.alarms) == 1, "once"
        shown = plc.certificate.fingerprint(SHA256()).hex()
        assert scene.alarms[0].startswith("opcua_server_certificate")
        assert shown in scene.alarms[0], "so that somebody can compare it, and pin it"
        scene.pinned = other.cert
        await scene.until("counter", good)


async def test_tags_that_are_exchanged_are_watched_at_once(pki: Pki, plc: Plant) -> None:
    async with collecting(pki, plc, COUNTER) as scene:
        await scene.until("counter", good)
        level = tag("level", "Tank.Level", resolution=0.1)
        scene.replace(level, COUNTER)
        assert good(scene.told("counter")), "it keeps its value meanwhile"
        await scene.until("level", good, 3.0)
        scene.replace(replace(COUNTER, node=f"nsu={NAMESPACE};s=Specimen.UInt32"))
        assert scene.told("counter").reason == "restart", "another node is another value"
        assert (await scene.until("counter", good, 3.0)).value == 4294967295


async def test_what_policy_denies_is_bad_within_a_second_and_asked_again_under_another(
    pki: Pki, plc: Plant
) -> None:
    fixed = tag("fixed", "Specimen.Double")
    async with collecting(pki, plc, COUNTER, fixed) as scene:
        await scene.until("counter", good)
        await scene.until("fixed", good)
        _policy(scene, denies={"counter"})
        denied = await scene.until("counter", bad, 1.0)
        assert (denied.reason, denied.value) == ("denied", None)
        await scene.until("fixed", good, 3.0)
        await asyncio.sleep(0.5)
        assert scene.told("counter").reason == "denied", "what was on its way is not taken"
        _policy(scene, denies={"opcua.create_subscription", "opcua.publish"})
        await scene.until("fixed", lambda sample: sample.reason == "denied", 3.0)
        _policy(scene)
        await scene.until("counter", good, 3.0)
        await scene.until("fixed", good, 3.0)


def _policy(scene: Scene, denies: set[str] | None = None) -> None:
    scene.policy.denies = denies or set()
    scene.policy.revision += "+"


@pytest.mark.needs("node-opcua")
async def test_a_server_of_another_make_is_collected_and_keeps_alive(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> None:
    where = tmp_path_factory.mktemp("node")
    fixed = tag("fixed", "Specimen.Double", stale_ms=2_000)
    with plant(pki, where, free_port(), "node-opcua", name="plc-ua") as other:
        async with collecting(pki, other, COUNTER, fixed, tag("missing", "Specimen.NoSuchNode")) as scene:
            first = await scene.until("counter", good)
            await scene.until("counter", beyond(first.value))
            before = await scene.until("fixed", good)
            await asyncio.sleep(2.5)
            assert scene.told("fixed") == replace(before, mono_ns=scene.told("fixed").mono_ns)
            assert scene.told("missing").reason == "bad_node_id_unknown"
