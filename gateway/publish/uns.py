"""What a tag looks like on MQTT: topic, payload and properties of the profile `uns-json`. Pure.

One tag a topic, retained, plain JSON: `{"v":21.5,"t":1795400000123,"q":"good","u":"%","s":42}`, and with
`"r":"timeout"` where quality is not good. `v` is null exactly where `q` is `bad`. Every message expires, so
that nobody who looks after the gateway died finds a "good" that it left behind.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.model.asset import Tag
from gateway.model.sample import Quality, Released

FORMAT = "uns-json"
"Policy sees it as `northbound.format`."
CONTENT_TYPE = "application/json"
MOST_TOPIC_BYTES = 65_535
"A topic is an MQTT UTF-8 string (MQTT 5.0 §1.5.4)."
UTF8 = 1
"Payload Format Indicator: the payload is UTF-8 (MQTT 5.0 §3.3.2.3.2)."

_ENCODE = msgspec.json.Encoder().encode
_FIELD = re.compile(r"\{(\w+)\}")
_FORBIDDEN = re.compile("[+#\x00-\x1f\x7f-\x9f]")
"Wildcards and control characters may not be in the topic of a message (§4.7.1, §1.5.4)."


class Message(Struct, frozen=True, kw_only=True):
    """One MQTT message. As a Frame it is what a permit holds: its payload is what may be sent."""

    topic: str
    payload: bytes
    retain: bool = True
    expiry_s: int | None = None
    content_type: str | None = CONTENT_TYPE
    user: tuple[tuple[str, str], ...] = ()
    "User properties, in order."

    def encode(self) -> bytes:
        """The payload."""
        return self.payload


def topic(template: str, tag: Tag, *, site: str, gateway: str) -> str | None:
    """The topic of a tag, or None where the template does not make one that MQTT allows."""
    return fill(
        template, {"path": tag.path, "tag": tag.name, "asset": tag.asset, "site": site, "gateway": gateway}
    )


def fill(template: str, names: Mapping[str, str]) -> str | None:
    """The template with its `{name}` replaced; None for an unknown name or a topic that MQTT forbids."""
    if not set(_FIELD.findall(template)) <= names.keys():
        return None
    filled = _FIELD.sub(lambda field: names[field[1]], template)
    if not filled or "{" in filled or "}" in filled or filled.startswith("$") or _FORBIDDEN.search(filled):
        return None
    return filled if len(filled.encode("utf-8", "surrogatepass")) <= MOST_TOPIC_BYTES else None


def payload(released: Released, tag: Tag) -> bytes:
    """The JSON of a sample."""
    sample = released.sample
    fields: dict[str, object] = {
        "v": sample.value,
        "t": sample.at_ns // 1_000_000,
        "q": sample.quality.value,
        "u": tag.unit,
        "s": sample.sequence,
    }
    if sample.quality is not Quality.GOOD:
        fields["r"] = sample.reason
    return _ENCODE(fields)


class TagMessage(Struct, frozen=True, kw_only=True):
    """The message of a sample (a `guard.ports.NorthFrame`): made only once policy says what it may say."""

    released: Released
    tag: Tag
    topic: str
    gateway: str
    expiry_s: int

    def saying(self, released: Released) -> "TagMessage":
        """The same about this sample instead."""
        return replace(self, released=released)

    def encode(self) -> bytes:
        """The payload."""
        return payload(self.released, self.tag)

    def decided(self, payload: bytes, *, revision: str, evaluation: str) -> Message:
        """The message allowed, with who sends it, under which rules, by which answer."""
        user = (("gw", self.gateway), ("policy-rev", revision), ("decision-id", evaluation))
        return Message(topic=self.topic, payload=payload, expiry_s=self.expiry_s, user=user)


def status(state: str, *, topic: str, gateway: str, site: str, wall_ms: int | None) -> Message:
    """The gateway's own sign of life: `online`, `stopping`, or as its will `offline`. Never expires.

    A will carries no time: the broker sends it, the gateway cannot know when.
    """
    fields: dict[str, object] = {"status": state, "gateway": gateway, "site": site}
    if wall_ms is not None:
        fields["t"] = wall_ms
    return Message(topic=topic, payload=_ENCODE(fields), user=(("gw", gateway),))
