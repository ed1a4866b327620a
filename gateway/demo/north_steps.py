"""Steps of the tour on the IT side: values with what is needed to rely on them, and nothing for strangers."""

import queue
import ssl
from typing import Any

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.demo import client
from gateway.demo.step import NotHeld, Skipped, hold
from gateway.demo.world import World, until

PREFIX = "acme/demo"
BAD_S = 15.0
"A device that went away shows as bad within a poll, its time-out and a refresh."


def values_over_https(world: World) -> str:
    """IT asks for values with its certificate."""
    status, page = world.get("/api/v1/tags")
    hold(status == 200, f"{status}: {page}")
    names = {tag["name"] for tag in page["tags"]}
    hold({"plc-1.level", "meter-1.power"} <= names, f"only {sorted(names)}")
    for tag in page["tags"]:
        complete = tag["value"] is not None and tag["quality"] == "good" and tag["time"].endswith("Z")
        hold(complete, f"incomplete: {tag}")
    level = tag_of(world, "plc-1.level")
    hold(level["unit"] == "%" and 0 <= level["value"] <= 100, f"odd: {level}")
    return (
        f"{len(names)} tags; level {level['value']:.1f} {level['unit']}, {level['quality']}, {level['time']}"
    )


def https_without_certificate(world: World) -> str:
    """Without a certificate there is no answer."""
    try:
        status, body = world.get("/api/v1/tags", who=None)
    except ssl.SSLError as error:
        return (error.reason or str(error)).lower().replace("_", " ")
    except OSError as error:
        return f"no alert, {error}"
    raise NotHeld(f"answered {status}: {body}")


def values_over_mqtt(world: World) -> str:
    """A subscriber of IT gets every tag, retained, and the gateway's own status."""
    if not world.broker:
        raise Skipped("MQTT (no mosquitto is installed)")
    status, page = world.get("/api/v1/tags")
    hold(status == 200, f"{status}: {page}")
    wanted = {tag["path"] for tag in page["tags"]} | {"dmz/demo/gw-1/status"}
    got = _subscribed(world, wanted)
    hold(got["dmz/demo/gw-1/status"]["status"] == "online", f"status is {got['dmz/demo/gw-1/status']}")
    level = got[f"{PREFIX}/tank-farm/tank-1/level"]
    hold(level["q"] == "good" and level["u"] == "%" and level["t"] > 0, f"odd: {level}")
    return f"{len(got) - 1} topics; level {level['v']:.1f} {level['u']}, {level['q']}; gateway online"


def _subscribed(world: World, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The first message of every wanted topic."""
    messages: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
    got: dict[str, dict[str, Any]] = {}
    subscriber = Client(
        CallbackAPIVersion.VERSION2, client_id="historian-1", protocol=MQTTProtocolVersion.MQTTv5
    )
    subscriber.tls_set_context(client.context(world.ca, *world.certificate("historian-1")))
    subscriber.on_message = lambda _client, _data, message: messages.put(message)
    subscriber.on_connect = lambda me, *_: me.subscribe([("acme/demo/#", 1), ("dmz/demo/#", 1)])
    subscriber.connect("127.0.0.1", world.ports["broker"])
    subscriber.loop_start()
    try:

        def complete() -> bool:
            while not messages.empty():
                message = messages.get()
                got[message.topic] = msgspec.json.decode(message.payload)
            return wanted <= set(got)

        until(f"topics {sorted(wanted)}", 15.0, complete)
    finally:
        subscriber.disconnect()
        subscriber.loop_stop()
    return got


def plc_stopped(world: World) -> str:
    """The PLC goes away: its values are bad with a reason, the meter's stay good; and it comes back."""
    world.stop_device("plc-1")
    try:
        bad = until("plc-1.level is bad", BAD_S, lambda: _with_quality(tag_of(world, "plc-1.level"), "bad"))
        hold(bool(bad["reason"]), f"bad, but without a reason: {bad}")
        meter = tag_of(world, "meter-1.power")
        hold(meter["quality"] == "good", f"the meter suffers: {meter}")
    finally:
        world.start_device("plc-1")
    until("plc-1.level is good again", BAD_S, lambda: _with_quality(tag_of(world, "plc-1.level"), "good"))
    return f"level bad ({bad['reason']}), meter good at {meter['value']:.1f} kW; good again once it is back"


def tag_of(world: World, name: str) -> dict[str, Any]:
    """One tag over HTTPS."""
    status, tag = world.get(f"/api/v1/tags/{name}")
    hold(status == 200, f"{name}: {status} {tag}")
    return dict(tag)


def _with_quality(tag: dict[str, Any], quality: str) -> dict[str, Any] | None:
    return tag if tag["quality"] == quality else None
