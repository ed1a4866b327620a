"""Ours against another stack's decoder (asyncua): what both read, they read alike."""

import datetime
import math
from base64 import b64encode
from typing import Any
from uuid import UUID

from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.wire.opcua.binary import data_value
from gateway.wire.opcua.codes import status_name
from gateway.wire.opcua.nodeid import NodeId, prefixes, read, said
from gateway.wire.opcua.request import Request, read_request
from gateway.wire.opcua.values import NUMBERS, TYPES, Opaque, Typed, moment, ns_ticks, read_data_value
from tests.properties.test_opcua_wire import changed, flips, numbers
from tests.unit.wire.opcua.samples import MOMENT, SAMPLES, decoded, request, ua, write_value

BEGINS = prefixes(("http://opcfoundation.org/UA/", "urn:one", "urn:two", "urn:three"))
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
NODES = st.builds(
    lambda space, what: ua.NodeId(what, space),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1) | NAMES | st.uuids(),
)
MOMENTS = st.datetimes(
    datetime.datetime(1700, 1, 1),  # noqa: DTZ001 (hypothesis wants them so)
    datetime.datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(datetime.UTC),
)


def _whole(bits: int, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "Boolean": st.booleans(),
    "SByte": _whole(8, True),
    "Byte": _whole(8, False),
    "Int16": _whole(16, True),
    "UInt16": _whole(16, False),
    "Int32": _whole(32, True),
    "UInt32": _whole(32, False),
    "Int64": _whole(64, True),
    "UInt64": _whole(64, False),
    "Float": st.floats(width=32),
    "Double": st.floats(),
    "String": NAMES | st.none(),
    "DateTime": MOMENTS,
    "Guid": st.uuids(),
    "ByteString": st.binary(max_size=12) | st.none(),
    "XmlElement": NAMES.map(lambda text: ua.XmlElement(text)),
    "NodeId": NODES,
    "StatusCode": st.integers(0, 2**32 - 1).map(lambda code: ua.StatusCode(code)),
    "QualifiedName": st.builds(lambda name, space: ua.QualifiedName(name, space), NAMES, st.integers(0, 9)),
    "LocalizedText": NAMES.map(lambda text: ua.LocalizedText(text, "en")),
}
"What asyncua takes of each simple type."


@st.composite
def typed(draw: st.DrawFn) -> tuple[str, Any, bool]:
    name = draw(st.sampled_from(sorted(SCALARS)))
    listed = draw(st.booleans())
    return name, draw(st.lists(SCALARS[name], max_size=5) if listed else SCALARS[name]), listed


def ours(value: Any) -> Any:
    """A value of asyncua's as we say it."""
    if isinstance(value, ua.NodeId):
        kind = value.Identifier
        return said(NodeId(value.NamespaceIndex, kind), BEGINS)
    if isinstance(value, datetime.datetime):
        micros = (value - datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(
            microseconds=1
        )
        return moment(micros * 10)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, ua.StatusCode):
        return status_name(value.value)
    if isinstance(value, ua.QualifiedName):
        return f"{value.NamespaceIndex}:{value.Name}" if value.NamespaceIndex else value.Name
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, ua.XmlElement):
        return value.Value
    return value


def same(mine: Any, theirs: Any, name: str) -> bool:
    if name in {"Float", "Double"}:
        return mine == theirs or (math.isnan(mine) and math.isnan(theirs))
    return bool(mine == ours(theirs))


@given(typed())
@settings(max_examples=300)
def test_values_are_read_as_they_were_written(one: tuple[str, Any, bool]) -> None:
    name, value, listed = one
    made = ua.DataValue(ua.Variant(value, ua.VariantType[name], is_array=listed), SourceTimestamp=MOMENT)
    body = request("Write", NodesToWrite=[write_value(ua.NodeId("x", 2), made)])
    found = read_request(body)
    assert isinstance(found, Request), found
    item = found.item(0)
    start = read(item, 0)[1] + 8
    assert data_value(item, start) == len(item)
    mine, end = read_data_value(item, start, BEGINS)
    assert end == len(item)
    assert isinstance(mine.value, Typed)
    assert mine.value.type == name + ("[]" if listed else "")
    assert mine.source_ns is not None
    assert ns_ticks(mine.source_ns) % 10 == 0
    values = mine.value.value if isinstance(mine.value.value, tuple) else (mine.value.value,)
    theirs = value if listed else [value]
    assert len(values) == len(theirs)
    assert all(map(same, values, theirs, [name] * len(values)))


@given(st.lists(st.tuples(NODES, st.integers(1, 27)), min_size=1, max_size=5))
def test_nodes_are_read_as_they_were_written(wanted: list[tuple[Any, int]]) -> None:
    asked = []
    for node, attribute in wanted:
        one = ua.ReadValueId()
        one.NodeId, one.AttributeId = node, ua.AttributeIds(attribute)
        asked.append(one)
    found = read_request(request("Read", NodesToRead=asked))
    assert isinstance(found, Request)
    for at, (node, attribute) in enumerate(wanted):
        mine, end = read(found.item(at), 0)
        assert (mine.namespace, mine.identifier) == (node.NamespaceIndex, node.Identifier)
        assert int.from_bytes(found.item(at)[end : end + 4], "little") == attribute


@given(
    st.sampled_from(["Read", "Write", "Browse", "Call", "CreateMonitoredItems"]),
    flips | st.just([]),
    numbers | st.just([]),
)
@settings(max_examples=500)
def test_what_both_read_of_changed_bytes_they_read_alike(
    name: str, bytes_: list[tuple[int, int]], ints: list[tuple[int, int]]
) -> None:
    body = changed(SAMPLES[name][0], bytes_, ints)
    found = read_request(body)
    assume(isinstance(found, Request))
    assert isinstance(found, Request)
    try:
        theirs = struct_from_binary(getattr(ua, f"{name}Request"), Buffer(body))
    except Exception:  # noqa: BLE001 (whatever another decoder raises: it knows fewer bytes than we pass)
        return
    items = {
        "Read": lambda: [each.NodeId for each in theirs.Parameters.NodesToRead],
        "Write": lambda: [each.NodeId for each in theirs.Parameters.NodesToWrite],
        "Browse": lambda: [each.NodeId for each in theirs.Parameters.NodesToBrowse],
        "Call": lambda: [each.ObjectId for each in theirs.Parameters.MethodsToCall],
        "CreateMonitoredItems": lambda: [
            each.ItemToMonitor.NodeId for each in theirs.Parameters.ItemsToCreate
        ],
    }[name]()
    assert len(items) == found.items
    for at, node in enumerate(items):
        try:
            mine, _ = read(found.item(at), 0)
        except Exception:  # noqa: BLE001, S112 (a name that is no text: unreadable, and denied)
            continue
        assert (mine.namespace, mine.identifier) == (node.NamespaceIndex, node.Identifier)


def test_structures_stay_opaque() -> None:
    made = ua.DataValue(ua.Variant(ua.DataChangeFilter()))
    found = read_request(request("Write", NodesToWrite=[write_value(ua.NodeId("x", 2), made)]))
    assert isinstance(found, Request)
    item = found.item(0)
    assert read_data_value(item, read(item, 0)[1] + 8, BEGINS)[0].value == Opaque("ExtensionObject")
    assert decoded("WriteRequest", found.body)
    assert set(SCALARS) <= set(TYPES)
    assert len(NUMBERS) == 11
