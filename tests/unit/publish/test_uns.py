"""Topics and payloads of the profile uns-json."""

import json

import pytest

from gateway.model.sample import Quality, Released
from gateway.publish import uns
from tests.scenarios.north import North, tag


def released(value: float | None, quality: Quality = Quality.GOOD, reason: str = "") -> Released:
    north = North(tag("level"))
    north.read("level", value, quality, reason)
    vetted = north.vetting("test").released("plc-1.level", north.now())
    assert vetted is not None
    return vetted


def test_a_good_value_says_no_reason() -> None:
    told = json.loads(uns.payload(released(41.5), tag("level")))
    assert told == {"v": 41.5, "t": 1_800_000_000_000, "q": "good", "u": "%", "s": 1}


def test_a_bad_one_says_why() -> None:
    told = json.loads(uns.payload(released(None, Quality.BAD, "timeout"), tag("level")))
    assert (told["v"], told["q"], told["r"]) == (None, "bad", "timeout")


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("{path}", "acme/demo/level"),
        ("{site}/{gateway}/{asset}/{tag}", "demo/gw-1/plc-1/plc-1.level"),
        ("{path}/{nothing}", None),
        ("{path", None),
        ("{}", None),
        ("{path.name}", None),
        ("{path[x]}", None),
        ("{path:>9999999999}", None),
        ("{{path}}", None),
        ("", None),
        ("{path}/#", None),
        ("+/{path}", None),
        ("$SYS/{path}", None),
        ("{path}\x00", None),
        ("{path}\n", None),
    ],
)
def test_templates(template: str, topic: str | None) -> None:
    assert uns.topic(template, tag("level"), site="demo", gateway="gw-1") == topic


@pytest.mark.parametrize(
    ("length", "fits"), [(uns.MOST_TOPIC_BYTES, True), (uns.MOST_TOPIC_BYTES + 1, False)]
)
def test_a_topic_has_a_longest_length(length: int, fits: bool) -> None:
    topic = uns.topic("{path}", tag("level", path="x" * length), site="s", gateway="g")
    assert (topic is not None) == fits


def test_a_will_carries_no_time_and_no_expiry() -> None:
    will = uns.status("offline", topic="dmz/s/g/status", gateway="g", site="s", wall_ms=None)
    assert json.loads(will.payload) == {"status": "offline", "gateway": "g", "site": "s"}
    assert (will.retain, will.expiry_s) == (True, None)
