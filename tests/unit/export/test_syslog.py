"""Messages as RFC 5424 and 5425 write them, read back by a reader of our own."""

import json
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.export.cloudevents import envelope
from gateway.export.ocsf import Event, event
from gateway.export.syslog import framed, message, value
from tests.unit.audit import world

HEAD = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) "
    rb'((?:\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+) \xef\xbb\xbf'
)
"RFC 5424 §6, with the BOM of §6.4."
PARAM = re.compile(rb' ([^ =\]"]+)="((?:[^"\\\]]|\\["\\\]])*)"')


def made(origin: str = world.ORIGIN, **changes: object) -> Event:
    record = {
        "schema": "dmz.record/1",
        "id": "01M832VSF8000000000000000C",
        "kind": "finding",
        "wall_ns": world.WALL,
        "clock": "trusted",
        "gateway": "gw-1",
        "note": {"finding": "tid_reuse"},
    }
    return event(42, json.dumps(record | changes).encode(), origin)


def parsed(data: bytes) -> tuple[re.Match[bytes], dict[str, str], dict[str, object]]:
    head = HEAD.match(data)
    assert head is not None, data
    params = {n.decode(): re.sub(r"\\([\"\\\]])", r"\1", v.decode()) for n, v in PARAM.findall(head[7])}
    return head, params, json.loads(data[head.end() :])


def test_a_message_reads_as_written() -> None:
    head, params, body = parsed(message(made(), 8192))
    assert head[1] == str(13 * 8 + 4).encode()
    assert head[2] == b"2026-11-23T02:13:20.000000Z"
    assert (head[3], head[4], head[5], head[6]) == (b"gw-1", b"dmz-gateway", b"-", b"finding")
    assert params["uid"] == f"{world.ORIGIN}#42"
    assert params["index"] == "42"
    assert params["leaf"] == made().leaf
    assert params["isSynced"] == "1"
    assert "truncated" not in params
    assert body["class_uid"] == 2004


def test_a_clock_that_is_not_trusted_is_told() -> None:
    assert parsed(message(made(clock="untrusted"), 8192))[1]["isSynced"] == "0"


def test_octets_are_counted() -> None:
    data = message(made(note={"finding": "größer"}), 8192)
    count, _, rest = framed(data).partition(b" ")
    assert int(count) == len(rest) == len(data)


@given(st.text())
def test_any_text_is_one_value(text: str) -> None:
    written = value(text.encode("utf-8", "replace").decode())
    assert re.fullmatch(r'(?:[^"\\\]]|\\["\\\]])*', written)
    assert not re.search("[\x00-\x1f\x7f]", written)


@settings(max_examples=50)
@given(st.from_regex(r"[!-*,-~]{1,255}", fullmatch=True))
def test_any_origin_makes_a_message(origin: str) -> None:
    assert parsed(message(made(origin), 8192))[1]["uid"] == f"{origin}#42"


@pytest.mark.parametrize("most", [2048, 8192])
def test_what_is_too_long_loses_details_and_says_so(most: int) -> None:
    note = {"finding": "x", **{f"more_{n}": "ä" * 500 for n in range(40)}}
    data = message(made(note=note), most)
    assert len(data) <= most
    _, params, body = parsed(data)
    assert params["truncated"] == "1"
    assert int(params["size"]) > most
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    assert (metadata["is_truncated"], metadata["uid"]) == (True, f"{world.ORIGIN}#42")


def test_what_nothing_can_shorten_is_told_as_a_record_too_long() -> None:
    long = {"subject": "s" * 9000, "source": "n" * 9000}
    _, params, body = parsed(message(made(who=long), 2048))
    assert body["class_uid"] == 1008
    assert body["activity_name"] == "Too long"
    assert params["truncated"] == "1"


def test_a_host_name_is_printable_ascii() -> None:
    head, _, _ = parsed(message(replace(made(), gateway="gw 1 ä"), 8192))
    assert head[3] == b"gw_1__"


def test_a_cloud_event_has_what_the_specification_demands() -> None:
    found = msgspec.json.decode(envelope(made(), "plant a/gw+1"))
    assert found["specversion"] == "1.0"
    assert (found["id"], found["source"]) == (f"{world.ORIGIN}#42", "//plant%20a/gw%2B1")
    assert found["type"] == "dmz.audit.finding"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["time"])
    assert found["data"]["metadata"]["uid"] == found["id"]
    assert found["dataschema"].endswith("/1.8.0/classes/detection_finding")
