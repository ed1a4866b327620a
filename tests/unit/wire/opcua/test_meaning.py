"""What requests mean: operations with the names that last, the tags they touch, and what nobody may judge."""

import datetime
from typing import Any

import pytest

from gateway.model.asset import Asset, DataType, Speaks, Tag
from gateway.model.moment import Now
from gateway.model.operation import Action, OpcuaTarget, Operation, Point, Protocol
from gateway.wire.opcua.interpreting import ATTRIBUTES
from gateway.wire.opcua.meaning import (
    MOST_BATCHES,
    MOST_CHANNELS,
    MOST_HELD,
    MOST_ITEM_BYTES,
    MOST_KNOWN,
    Context,
    NodePlace,
    Unreadable,
)
from gateway.wire.opcua.nodeid import MOST_ID, MOST_RANGE
from gateway.wire.opcua.request import Request, read_request
from gateway.wire.opcua.session import Ownership, Subscription
from tests.unit.wire.opcua.samples import (
    LEVEL,
    MOMENT,
    NAMES,
    SAMPLES,
    SETPOINT,
    call,
    event_filter,
    expanded,
    history,
    item,
    modified,
    path,
    raw_details,
    read_value,
    request,
    ua,
    value,
    write_value,
)

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:server", "urn:acme:plc", "urn:a;b%c")
PLC = "nsu=urn:acme:plc;"
ASSET = Asset(name="plc-1", host="192.0.2.1", port=4840, protocol=Speaks.OPCUA, kind="plc")
TAGS = [
    Tag(name="level", asset="plc-1", path="p", node=PLC + "s=Tank.Level", type=DataType.FLOAT64),
    Tag(name="sp", asset="plc-1", path="p", node=PLC + "s=Tank.SP", type=DataType.FLOAT64, resolution=0.1),
    Tag(name="sp.copy", asset="plc-1", path="p", node=PLC + "s=Tank.SP", type=DataType.FLOAT64),
    Tag(name="on", asset="plc-1", path="p", node=PLC + "s=Pump.On", type=DataType.BOOL),
    Tag(name="count", asset="plc-1", path="p", node=PLC + "s=Count", type=DataType.INT32, scale=0.5),
]
NOW = Now(0, 5_000_000_000, True, 0)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Last:
    """The collector knows one value."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return (700, 3_000_000_000) if tag == "sp" else None


def context(session: Ownership | None = None) -> Context:
    return Context(NAMESPACES, "Basic256Sha256", "SignAndEncrypt", session)


def meant(
    body: bytes, *, place: NodePlace | None = None, said: Context | None = None
) -> tuple[Operation, ...]:
    found = read_request(body)
    assert isinstance(found, Request), found
    return (place or NodePlace(ASSET, TAGS)).operations(found, said or context(), Last(), NOW)


def one(body: bytes) -> tuple[Operation, OpcuaTarget]:
    (operation,) = meant(body)
    assert operation.opcua is not None
    return operation, operation.opcua


def write(node: Any, of: Any, **more: Any) -> tuple[Operation, OpcuaTarget]:
    return one(request("Write", NodesToWrite=[write_value(node, of, **more)]))


def test_a_read_of_a_tag() -> None:
    operation, target = one(request("Read", NodesToRead=[read_value(LEVEL)]))
    assert operation == Operation(
        protocol=Protocol.OPCUA,
        action=Action.READ,
        kind="opcua.read",
        asset="plc-1",
        asset_kind="plc",
        opcua=OpcuaTarget(
            service="Read",
            node=PLC + "s=Tank.Level",
            attribute="Value",
            security="Basic256Sha256",
            mode="SignAndEncrypt",
        ),
        points=(Point("level"),),
    )
    assert target.index_range is None


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (ua.NodeId(2258, 0), "i=2258"),
        (ua.NodeId(7, 0, ua.NodeIdType.FourByte), "i=7"),
        (ua.NodeId(7, 0, ua.NodeIdType.Numeric), "i=7"),
        (ua.NodeId(70_000, 2), PLC + "i=70000"),
        (ua.NodeId("Ä;=", 3), "nsu=urn:a%3Bb%25c;s=Ä;="),
        (ua.NodeId("", 2), PLC + "s="),
        (ua.NodeId(b"\x01\x02", 2, ua.NodeIdType.ByteString), PLC + "b=AQI="),
    ],
)
def test_a_node_has_one_name(node: Any, text: str) -> None:
    assert one(request("Read", NodesToRead=[read_value(node)]))[1].node == text
    assert one(request("Browse", NodesToBrowse=[_browse(node)]))[1].node == text


def _browse(node: Any) -> Any:
    made = ua.BrowseDescription()
    made.NodeId = node
    return made


@pytest.mark.parametrize("service", ["Read", "Write", "Browse", "Call", "CreateMonitoredItems"])
@pytest.mark.parametrize("case", ["namespace", "twice", "utf8", "nul", "long"])
def test_what_has_no_name_is_not_asked_about(service: str, case: str) -> None:
    node, why = {
        "namespace": (ua.NodeId("x", 4), Unreadable.UNKNOWN_NAMESPACE),
        "twice": (ua.NodeId("x", 1), Unreadable.UNKNOWN_NAMESPACE),
        "utf8": (ua.NodeId("xäx", 2), Unreadable.NOT_TEXT),
        "nul": (ua.NodeId("Tank\0evil", 2), Unreadable.NOT_TEXT),
        "long": (ua.NodeId("n" * (MOST_ID + 1), 2), Unreadable.TOO_LONG),
    }[case]
    body = {
        "Read": lambda: request("Read", NodesToRead=[read_value(node)]),
        "Write": lambda: request("Write", NodesToWrite=[write_value(node, value(1.0))]),
        "Browse": lambda: request("Browse", NodesToBrowse=[_browse(node)]),
        "Call": lambda: request("Call", MethodsToCall=[call(LEVEL, node)]),
        "CreateMonitoredItems": lambda: request("CreateMonitoredItems", ItemsToCreate=[item(node)]),
    }[service]()
    if case == "utf8":
        body = body.replace("ä".encode(), b"\xc3\x28")
    names = ("", "urn:same", "urn:acme:plc", "urn:same") if case == "twice" else NAMESPACES
    (operation,) = meant(body, said=Context(names))
    assert operation.unreadable == why
    assert operation.kind.startswith("opcua.")


def test_equal_reads_are_one_object_whoever_asks() -> None:
    place = NodePlace(ASSET, TAGS)
    body = request("Read", NodesToRead=[read_value(LEVEL), read_value(SETPOINT)])
    first = meant(body, place=place)
    again = meant(body, place=place, said=context())
    assert first is again
    alone = meant(request("Read", NodesToRead=[read_value(SETPOINT)]), place=place)
    assert alone[0] is first[1]
    other = meant(body, place=place, said=Context(NAMESPACES, "Aes256_Sha256_RsaPss", "SignAndEncrypt"))
    assert other[0] is not first[0]
    moved = (*NAMESPACES[:2], NAMESPACES[3], NAMESPACES[2])
    elsewhere = meant(body, place=place, said=Context(moved, "Basic256Sha256", "SignAndEncrypt"))
    assert elsewhere[0].opcua is not None
    assert elsewhere[0].opcua.node == "nsu=urn:a%3Bb%25c;s=Tank.Level"
    assert not elsewhere[0].points
    known = context()
    assert meant(body, place=place, said=known) is first
    fresh = NodePlace(ASSET, [])
    assert meant(body, place=fresh, said=known)[0].points == ()


def test_what_is_remembered_is_bounded() -> None:
    place, said = NodePlace(ASSET, TAGS), context()
    for number in range(MOST_BATCHES + 10):
        meant(request("Read", NodesToRead=[read_value(ua.NodeId(number, 2))]), place=place, said=said)
    channel = said.channel(place)
    assert len(channel.batches) <= MOST_BATCHES
    nodes = [read_value(ua.NodeId(number, 3)) for number in range(9_000)]
    for half in (nodes, [read_value(ua.NodeId(number, 1)) for number in range(9_000)]):
        meant(request("Read", NodesToRead=half), place=place, said=said)
    assert len(channel.items) <= MOST_KNOWN
    for number in range(MOST_HELD // 500 + 10):
        batch = [read_value(ua.NodeId(500 * number + at, 2)) for at in range(500)]
        meant(request("Read", NodesToRead=batch), place=place, said=said)
        assert sum(map(len, channel.batches.values())) == channel.held <= MOST_HELD
    steps = ["n" * 1_000] * 10
    long = request("TranslateBrowsePathsToNodeIds", BrowsePaths=[path(ua.NodeId(85), *steps)])
    (translated,) = meant(long, place=place, said=said)
    assert translated.opcua is not None
    assert translated.opcua.path is None, "nobody is told of a path without end"
    assert all(len(item) <= MOST_ITEM_BYTES for _, item in channel.items)
    for number in range(MOST_CHANNELS + 3):
        meant(
            request("Read", NodesToRead=[read_value(LEVEL)]),
            place=place,
            said=Context((*NAMESPACES, f"urn:{number}")),
        )
    assert len(place._channels) <= MOST_CHANNELS


def test_attributes_have_names() -> None:
    for number, name in enumerate(ATTRIBUTES, 1):
        assert ua.AttributeIds(number).name == name
        operation, target = one(request("Read", NodesToRead=[read_value(LEVEL, number)]))
        assert target.attribute == name
        assert operation.points == ((Point("level"),) if name == "Value" else ())
    body = request("Read", NodesToRead=[read_value(LEVEL)])
    unknown = body.replace(b"Tank.Level\x0d", b"Tank.Level\x63")
    assert one(unknown)[1].attribute == "99"


def test_the_longest_name_is_a_name() -> None:
    (operation,) = meant(request("Read", NodesToRead=[read_value(ua.NodeId("n" * MOST_ID, 2))]))
    assert operation.unreadable is None


def test_an_endless_index_range_is_not_asked_about() -> None:
    for size, why in ((MOST_RANGE, None), (MOST_RANGE + 1, Unreadable.TOO_LONG)):
        (operation,) = meant(request("Read", NodesToRead=[read_value(LEVEL, index_range="1" * size)]))
        assert operation.unreadable == why


def test_an_index_range_is_said() -> None:
    operation, target = one(request("Read", NodesToRead=[read_value(LEVEL, index_range="0:3")]))
    assert target.index_range == "0:3"
    assert operation.points == (Point("level"),)


# writes -----------------------------------------------------------------------------------------------


def test_a_write_says_what_each_tag_would_become() -> None:
    operation, target = write(SETPOINT, value(72.54))
    assert operation.unreadable is None
    assert operation.points == (Point("sp", 725, 700, 2000), Point("sp.copy", 73))
    assert (target.type, target.value) == ("Double", "72.54")
    assert operation.action is Action.WRITE


def test_scaled_and_boolean_tags() -> None:
    assert write(ua.NodeId("Count", 2), value(7, ua.VariantType.Int32))[0].points == (Point("count", 4),)
    assert write(ua.NodeId("Pump.On", 2), value(True, ua.VariantType.Boolean))[0].points == (Point("on", 1),)


@pytest.mark.parametrize(
    ("node", "of", "more", "why"),
    [
        (SETPOINT, value(float("nan")), {}, Unreadable.NOT_A_NUMBER),
        (SETPOINT, value(float("-inf")), {}, Unreadable.NOT_A_NUMBER),
        (LEVEL, value([1.0, float("inf")]), {}, Unreadable.NOT_A_NUMBER),
        (SETPOINT, value(1e300), {}, Unreadable.BEYOND_2_53),
        (ua.NodeId("free", 2), value(2**60, ua.VariantType.Int64), {}, Unreadable.BEYOND_2_53),
        (SETPOINT, value("72", ua.VariantType.String), {}, Unreadable.PARTIAL_TAG),
        (SETPOINT, value(True, ua.VariantType.Boolean), {}, Unreadable.PARTIAL_TAG),
        (SETPOINT, value([1.0]), {}, Unreadable.PARTIAL_TAG),
        (ua.NodeId("Pump.On", 2), value(1, ua.VariantType.Int32), {}, Unreadable.PARTIAL_TAG),
        (SETPOINT, value(1.0), {"index_range": "0"}, Unreadable.PARTIAL_TAG),
        (SETPOINT, value("x", ua.VariantType.String), {"attribute": 5}, Unreadable.PARTIAL_TAG),
        (SETPOINT, ua.DataValue(), {}, Unreadable.NO_VALUE),
        (SETPOINT, value(1.0, StatusCode=ua.StatusCode(0x80000000)), {}, Unreadable.BAD_QUALITY),
        (SETPOINT, value(1.0, StatusCode=ua.StatusCode(0x40000000)), {}, Unreadable.BAD_QUALITY),
        (LEVEL, ua.DataValue(ua.Variant(ua.DataChangeFilter())), {}, Unreadable.OPAQUE_VALUE),
        (ua.NodeId("free", 2), value("a\0b", ua.VariantType.String), {}, Unreadable.NOT_TEXT),
    ],
)
def test_writes_that_nobody_can_judge(node: Any, of: Any, more: dict[str, Any], why: Unreadable) -> None:
    operation, _ = write(node, of, **more)
    assert operation.unreadable == why
    assert all(each.q is None for each in operation.points)


def test_a_good_status_changes_nothing() -> None:
    assert write(SETPOINT, value(1.0, StatusCode=ua.StatusCode(0)))[0].unreadable is None


@pytest.mark.parametrize(
    ("of", "kind", "shown"),
    [
        (value(7, ua.VariantType.Byte), "Byte", 7),
        (value(-(2**53), ua.VariantType.Int64), "Int64", -(2**53)),
        (value(True, ua.VariantType.Boolean), "Boolean", True),
        (value(0.1), "Double", "0.1"),
        (value("auto", ua.VariantType.String), "String", "auto"),
        (value([1, 2], ua.VariantType.Int16), "Int16[]", "[1, 2]"),
        (value(["a", None, 'b"'], ua.VariantType.String), "String[]", '["a", null, "b\\""]'),
        (value(b"\x01\x02", ua.VariantType.ByteString), "ByteString", "AQI="),
        (value(MOMENT, ua.VariantType.DateTime), "DateTime", "2026-11-30T12:00:00.1234560Z"),
        (value(LEVEL, ua.VariantType.NodeId), "NodeId", PLC + "s=Tank.Level"),
        (value(expanded(5, uri="urn:x"), ua.VariantType.ExpandedNodeId), "ExpandedNodeId", "nsu=urn:x;i=5"),
        (value(ua.StatusCode(0x80340000), ua.VariantType.StatusCode), "StatusCode", "BadNodeIdUnknown"),
        (value(ua.QualifiedName("q", 2), ua.VariantType.QualifiedName), "QualifiedName", "2:q"),
        (value(ua.LocalizedText("hi", "en"), ua.VariantType.LocalizedText), "LocalizedText", "hi"),
    ],
)
def test_values_of_nodes_without_tags_are_said(of: Any, kind: str, shown: object) -> None:
    operation, target = write(ua.NodeId("free", 2), of)
    assert operation.unreadable is None
    assert (target.type, target.value) == (kind, shown)


def test_long_values_are_said_by_their_digest() -> None:
    _, target = write(ua.NodeId("free", 2), value("x" * 2000, ua.VariantType.String))
    assert isinstance(target.value, str)
    assert target.value.startswith("sha256:")
    assert target.value.endswith(";2000")
    _, target = write(ua.NodeId("free", 2), value(list(range(5000)), ua.VariantType.Int32))
    assert (target.type, str(target.value)[:7], str(target.value)[-5:]) == ("Int32[]", "sha256:", ";5000")
    _, target = write(ua.NodeId("free", 2), value(list(range(1000, 1500)), ua.VariantType.Int32))
    assert str(target.value).endswith(";500")


# calls, history, browsing, subscriptions ---------------------------------------------------------------


def test_a_call_names_object_method_and_arguments() -> None:
    arguments = [ua.Variant(1.5), ua.Variant(3, ua.VariantType.Int32), ua.Variant("go"), ua.Variant([1, 2])]
    operation, target = one(request("Call", MethodsToCall=[call(LEVEL, ua.NodeId("Start", 2), *arguments)]))
    assert (target.node, target.method) == (PLC + "s=Tank.Level", PLC + "s=Start")
    assert target.arguments == ("1.5", 3, "go", "[1, 2]")
    assert (operation.action, operation.kind) == (Action.CALL, "opcua.call")
    for bad, why in (
        (ua.Variant(float("nan")), Unreadable.NOT_A_NUMBER),
        (ua.Variant(2**60, ua.VariantType.UInt64), Unreadable.BEYOND_2_53),
        (ua.Variant(ua.DataChangeFilter()), Unreadable.OPAQUE_VALUE),
    ):
        operation, _ = one(request("Call", MethodsToCall=[call(LEVEL, LEVEL, ua.Variant(1), bad)]))
        assert operation.unreadable == why


def test_a_history_read_says_its_span() -> None:
    operation, target = one(
        request("HistoryRead", HistoryReadDetails=raw_details(2), NodesToRead=[history(LEVEL)])
    )
    start = (MOMENT - EPOCH) // datetime.timedelta(microseconds=1) * 1000
    assert (target.history_start_ns, target.history_end_ns) == (start, start + 7200 * 10**9)
    assert (target.attribute, operation.points) == ("Value", (Point("level"),))


def _details(kind: str) -> Any:
    made = getattr(ua, kind)()
    if kind == "ReadAtTimeDetails":
        made.ReqTimes = [MOMENT, MOMENT - datetime.timedelta(seconds=5), MOMENT]
    else:
        made.StartTime, made.EndTime = MOMENT - datetime.timedelta(seconds=5), MOMENT
    if kind == "ReadProcessedDetails":
        made.AggregateType = [ua.NodeId(2341)]
    if kind == "ReadEventDetails":
        made.Filter = event_filter()
    return made


@pytest.mark.parametrize(
    "kind", ["ReadRawModifiedDetails", "ReadAtTimeDetails", "ReadProcessedDetails", "ReadEventDetails"]
)
def test_every_known_kind_of_history(kind: str) -> None:
    operation, target = one(
        request("HistoryRead", HistoryReadDetails=_details(kind), NodesToRead=[history(LEVEL)])
    )
    end = (MOMENT - EPOCH) // datetime.timedelta(microseconds=1) * 1000
    assert (target.history_start_ns, target.history_end_ns) == (end - 5 * 10**9, end)
    events = kind == "ReadEventDetails"
    assert target.attribute == ("EventNotifier" if events else "Value")
    assert bool(operation.points) is not events


def test_an_open_end_is_open_and_unknown_details_are_not_judged() -> None:
    made = raw_details()
    body = request("HistoryRead", HistoryReadDetails=made, NodesToRead=[history(LEVEL)])
    start = body.index(b"\x16\x00\x00\x00\x00") + 5
    open_start = body[:start] + bytes(8) + body[start + 8 :]
    assert one(open_start)[1].history_start_ns is None
    unknown = body.replace(b"\x01\x00\x89\x02\x01", b"\x01\x00\x99\x02\x01")
    assert one(unknown)[0].unreadable == Unreadable.UNKNOWN_DETAILS


def test_translated_paths_from_objects_are_said() -> None:
    objects = ua.NodeId(85)
    cases = {
        "/Plant/Tank": path(objects, "Plant", "Tank"),
        None: path(LEVEL, "Range"),
    }
    for said, asked in cases.items():
        assert one(request("TranslateBrowsePathsToNodeIds", BrowsePaths=[asked]))[1].path == said
    for odd in (path(objects, "a/b"), path(objects, ""), path(objects, "up", inverse=True)):
        assert one(request("TranslateBrowsePathsToNodeIds", BrowsePaths=[odd]))[1].path is None


def test_monitored_items() -> None:
    operations = meant(SAMPLES["CreateMonitoredItems"][0])
    targets = [each.opcua for each in operations if each.opcua]
    assert [each.sampling_ms for each in targets] == [250, -1, 0]
    assert [each.attribute for each in targets] == ["Value", "Value", "EventNotifier"]
    assert operations[0].points == (Point("level"),)
    assert operations[1].points == (Point("sp"), Point("sp.copy"))
    for odd in (float("nan"), float("inf"), 1e300):
        (operation,) = meant(request("CreateMonitoredItems", ItemsToCreate=[item(LEVEL, odd)]))
        assert operation.unreadable == Unreadable.NOT_A_NUMBER


def test_a_modified_item_is_judged_by_its_node() -> None:
    session = Ownership()
    made = meant(SAMPLES["CreateSubscription"][0])
    session.subscriptions[5] = Subscription(500.0, made[0])
    created = meant(SAMPLES["CreateMonitoredItems"][0], said=context(session))
    assert [each.opcua.publishing_ms for each in created if each.opcua] == [500, 500, 500]
    session.subscriptions[5].items[70] = created[0]
    body = request(
        "ModifyMonitoredItems", SubscriptionId=5, ItemsToModify=[modified(70, 100.7), modified(99)]
    )
    known, unknown = meant(body, said=context(session))
    assert known.opcua is not None
    assert (known.opcua.node, known.opcua.sampling_ms, known.opcua.publishing_ms) == (
        PLC + "s=Tank.Level",
        100,
        500,
    )
    assert known.points == created[0].points
    assert unknown.opcua is not None
    assert unknown.opcua.node is None


def test_publishing_intervals() -> None:
    operation, target = one(SAMPLES["CreateSubscription"][0])
    assert (target.publishing_ms, operation.action) == (500, Action.SUBSCRIBE)
    assert one(SAMPLES["ModifySubscription"][0])[1].publishing_ms == 1000
    odd = request("CreateSubscription", RequestedPublishingInterval=float("nan"))
    assert one(odd)[0].unreadable == Unreadable.NOT_A_NUMBER


@pytest.mark.parametrize("name", NAMES)
def test_every_service_has_as_many_operations_as_it_says(name: str) -> None:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request)
    operations = meant(SAMPLES[name][0])
    items = found.service.items
    one_for_all = items is None or name == "Publish"
    assert len(operations) == (1 if one_for_all else found.items)
    for operation in operations:
        assert operation.opcua is not None
        assert operation.opcua.service == name
        assert operation.kind == found.service.kind
        assert operation.action is found.service.action


def test_a_browse_next_without_a_beginning_names_no_node() -> None:
    for operation in meant(SAMPLES["BrowseNext"][0]):
        assert operation.opcua is not None
        assert operation.opcua.node is None


def test_the_place_knows_its_tags() -> None:
    place = NodePlace(ASSET, TAGS)
    assert {each.name for each in place.tags()} == {each.name for each in TAGS}
    assert [each.name for each in place.at(PLC + "s=Tank.SP")] == ["sp", "sp.copy"]
    assert place.at(None) == ()
