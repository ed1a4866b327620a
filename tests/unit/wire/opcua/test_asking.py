"""The gateway's own requests: read by our reader and by another stack alike, and what comes of them."""

from typing import Any

import pytest

from gateway.model.asset import DataType, Tag
from gateway.wire.opcua import asking
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.browsing import browsed, without
from gateway.wire.opcua.nodeid import NodeId, prefixes
from gateway.wire.opcua.notifications import (
    Change,
    Published,
    read_history_values,
    read_published,
    read_values,
)
from gateway.wire.opcua.request import Malformed, Outbound, Request, read_request
from gateway.wire.opcua.values import (
    DataValue,
    Opaque,
    Typed,
    encode_variant,
    engineering,
    ns_ticks,
    read_data_value,
    ticks_ns,
)
from tests.unit.wire.opcua.samples import (
    HANDLE,
    LEVEL,
    MOMENT,
    SAMPLES,
    UPSTREAM,
    answer,
    decoded,
    notification,
    statuses,
    ua,
    value,
)

TICKS = ns_ticks(1_796_000_000 * 10**9)
NODE = NodeId(2, "Tank.Level").encode()
BEGINS = prefixes(("http://opcfoundation.org/UA/", "urn:one", "urn:two", "urn:three"))
MOMENT_NS = int(MOMENT.timestamp()) * 10**9 + 123_456_000
BODIES: dict[str, bytes] = {
    "Read": asking.read([NODE, b"\0\x55"], HANDLE, TICKS),
    "Write": asking.write(NODE, encode_variant("Double", 1.5), HANDLE, TICKS),
    "Browse": asking.browse([NODE], HANDLE, TICKS, most=100),
    "BrowseNext": asking.browse_next([b"more"], HANDLE, TICKS, release=True),
    "CreateSubscription": asking.create_subscription(500.0, HANDLE, TICKS),
    "CreateMonitoredItems": asking.create_items(5, [asking.Item(NODE, 9, 250.0)], HANDLE, TICKS),
    "Publish": asking.publish([(5, 11)], HANDLE, TICKS, timeout_ms=9000),
    "DeleteSubscriptions": asking.delete_subscriptions([5], HANDLE, TICKS),
    "HistoryRead": asking.read_history(NODE, TICKS, TICKS + 1, 10, HANDLE, TICKS, b"go on"),
}


@pytest.mark.parametrize("name", BODIES)
def test_our_requests_are_read_like_anybodys(name: str) -> None:
    found = read_request(BODIES[name])
    assert isinstance(found, Request), found
    assert (found.service.name, found.token, found.header.handle) == (name, b"\0\0", HANDLE)
    message = decoded(f"{name}Request", Outbound(found, UPSTREAM).encode())
    assert message.RequestHeader.Timestamp.timestamp() == 1_796_000_000


def test_another_stack_reads_what_we_mean() -> None:
    read = decoded("ReadRequest", BODIES["Read"]).Parameters
    assert [each.NodeId for each in read.NodesToRead] == [LEVEL, ua.NodeId(85)]
    assert {each.AttributeId for each in read.NodesToRead} == {13}
    written = decoded("WriteRequest", BODIES["Write"]).Parameters.NodesToWrite[0]
    assert (written.NodeId, written.Value.Value.Value) == (LEVEL, 1.5)
    wanted = decoded("BrowseRequest", BODIES["Browse"]).Parameters
    assert wanted.NodesToBrowse[0].ReferenceTypeId == ua.NodeId(33)
    assert (wanted.NodesToBrowse[0].IncludeSubtypes, wanted.RequestedMaxReferencesPerNode) == (True, 100)
    made = decoded("CreateMonitoredItemsRequest", BODIES["CreateMonitoredItems"]).Parameters
    one = made.ItemsToCreate[0]
    assert (made.SubscriptionId, one.ItemToMonitor.NodeId, one.MonitoringMode) == (5, LEVEL, 2)
    assert (one.RequestedParameters.ClientHandle, one.RequestedParameters.SamplingInterval) == (9, 250.0)
    assert decoded("BrowseNextRequest", BODIES["BrowseNext"]).Parameters.ReleaseContinuationPoints
    kept = decoded("CreateSubscriptionRequest", BODIES["CreateSubscription"]).Parameters
    assert (kept.RequestedMaxKeepAliveCount, kept.RequestedLifetimeCount) == (10, 30)
    assert kept.PublishingEnabled


# what comes --------------------------------------------------------------------------------------------


def came(name: str, said: bytes, body: bytes | None = None) -> ServiceAnswer:
    found = read_request(body or SAMPLES[name][0])
    assert isinstance(found, Request)
    made = read_answer(Outbound(found, UPSTREAM), said)
    assert isinstance(made, ServiceAnswer), made
    return made


def published(*changes: Any, **more: Any) -> Published:
    said = answer(
        "Publish",
        SubscriptionId=5,
        AvailableSequenceNumbers=[11, 12],
        MoreNotifications=True,
        NotificationMessage=notification(*changes, **more),
        Results=statuses(0, 0),
    )
    found = read_published(came("Publish", said), BEGINS)
    assert isinstance(found, Published), found
    return found


def test_changes_come_with_status_and_times() -> None:
    found = published(
        (9, value(20.5, SourceTimestamp=MOMENT, ServerTimestamp=MOMENT)),
        (10, value(None, ua.VariantType.Null, StatusCode=ua.StatusCode(0x80340000))),
        (11, value("x", ua.VariantType.String)),
    )
    assert (found.subscription, found.sequence, found.published_ns) == (5, 12, MOMENT_NS)
    assert (found.available, found.more, found.keep_alive) == ((11, 12), True, False)
    assert found.changes[0] == Change(9, DataValue(Typed("Double", 20.5), 0, MOMENT_NS, MOMENT_NS))
    assert found.changes[1].value.status == 0x80340000
    assert found.changes[2].value.value == Typed("String", "x")


def test_keep_alives_ends_and_other_notifications() -> None:
    assert published().keep_alive
    ended = published(ended=0x800A0000)
    assert (ended.ended, ended.keep_alive) == (0x800A0000, False)
    body = SAMPLES["Publish"][1].replace(b"\x01\x00\x2b\x03", b"\x01\x00\x94\x03")
    other = read_published(came("Publish", body), BEGINS)
    assert isinstance(other, Published)
    assert (other.others, other.changes, other.keep_alive) == (1, (), False)


def test_a_notification_whose_inside_lies_is_malformed() -> None:
    body = SAMPLES["Publish"][1]
    at = body.index(b"\x01\x00\x2b\x03\x01") + 5
    count = at + 4
    for wrong in (2, 0, -2, 10_000):
        changed = body[:count] + wrong.to_bytes(4, "little", signed=True) + body[count + 4 :]
        assert isinstance(read_published(came("Publish", changed), BEGINS), Malformed), wrong


def test_values_of_a_read() -> None:
    found = read_values(came("Read", SAMPLES["Read"][1]), BEGINS)
    assert isinstance(found, tuple)
    assert [each.value.value if isinstance(each.value, Typed) else None for each in found] == [
        20.5,
        "a text",
        None,
        (1, 2, 3),
        ("x", "y", "z", None),
        True,
    ]
    assert (found[0].source_ns, found[0].server_ns, found[2].status) == (MOMENT_NS, MOMENT_NS, 0x80340000)


def test_values_of_a_history() -> None:
    found = read_history_values(came("HistoryRead", SAMPLES["HistoryRead"][1]), BEGINS)
    assert isinstance(found, tuple)
    assert [each.value for each in found[0][0]] == [Typed("Double", 1.0), Typed("Double", 2.0)]
    assert found[0][1] == b"go on"
    assert found[1] == ((), b"")


def test_times_that_say_that_there_is_none() -> None:
    assert ticks_ns(0) is None
    assert ticks_ns(-1) is None
    assert ticks_ns(2**63 - 1) is None
    assert ticks_ns(ns_ticks(MOMENT_NS)) == MOMENT_NS
    assert ticks_ns(1) is not None


@pytest.mark.parametrize(
    ("typed", "kind", "found"),
    [
        (Typed("Double", 3.5), DataType.FLOAT64, 8.0),
        (Typed("Int32", 3), DataType.INT32, 7),
        (Typed("Boolean", True), DataType.BOOL, True),
        (Typed("Boolean", True), DataType.FLOAT64, None),
        (Typed("Int32", 1), DataType.BOOL, None),
        (Typed("Double", float("nan")), DataType.FLOAT64, None),
        (Typed("String", "3"), DataType.FLOAT64, None),
        (Typed("Double[]", (1.0,)), DataType.FLOAT64, None),
        (Opaque("ExtensionObject"), DataType.FLOAT64, None),
        (None, DataType.FLOAT64, None),
    ],
)
def test_values_of_tags(typed: Typed | Opaque | None, kind: DataType, found: object) -> None:
    tag = Tag(name="t", asset="a", path="p", node="i=1", type=kind, scale=2.0, offset=1.0)
    assert engineering(tag, typed) == found


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("Boolean", True),
        ("Int16", -3),
        ("UInt64", 2**64 - 1),
        ("Float", 0.5),
        ("String", "ä"),
        ("String", None),
    ],
)
def test_variants_of_our_own(kind: str, one: Any) -> None:
    data = b"\x01" + encode_variant(kind, one)
    assert read_data_value(data, 0, BEGINS) == (DataValue(Typed(kind, one)), len(data))


# browsing ----------------------------------------------------------------------------------------------


def test_references_are_who_they_are() -> None:
    found = browsed(came("Browse", SAMPLES["Browse"][1]), 0, BEGINS)
    assert [(each.node, each.name, each.node_class) for each in found.references] == [
        ("nsu=urn:two;s=Tank.Level", "Level", 2),
        ("nsu=urn:other;i=12", "Other", 2),
        ("svr=1;nsu=urn:two;i=13", "Far", 2),
    ]
    assert found.point == b"more of 85"
    assert found.references[0].id == NODE
    assert found.references[1].id == found.references[2].id == b""


def test_hidden_references_are_left_out_and_nothing_else_moves() -> None:
    said = came("Browse", SAMPLES["Browse"][1])
    every = browsed(said, 0, BEGINS).references
    assert without(said, {}) == said.body
    for hidden in (every[:1], every[1:], every, every[::2]):
        body = without(said, {0: hidden})
        left = [each for each in every if each not in hidden]
        results = decoded("BrowseResponse", body).Results
        assert [each.BrowseName.Name for each in results[0].References] == [each.name for each in left]
        assert results[0].ContinuationPoint == b"more of 85"
        again = came("Browse", body)
        assert [each.name for each in browsed(again, 0, BEGINS).references] == [each.name for each in left]


def test_a_reference_without_a_name_of_its_own() -> None:
    body = SAMPLES["Browse"][1].replace(b"\x0a\x00\x00\x00Tank.Level", b"\x0a\x00\x00\x00Tank.Leve\xff")
    first = browsed(came("Browse", body), 0, BEGINS).references[0]
    assert (first.node, first.name) == (None, "Level")
