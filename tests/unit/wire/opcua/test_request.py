"""Requests: read to the last byte, parted, and sent on as slices of themselves."""

from itertools import combinations
from struct import pack
from typing import Any

import pytest

from gateway.guard.ports import Parted
from gateway.wire.opcua.binary import (
    LONG,
    MOST_DEPTH,
    MOST_ELEMENTS,
    MOST_NAME,
    MOST_STEPS,
    MOST_TEXT,
    MOST_VALUES,
)
from gateway.wire.opcua.request import (
    MOST_SEEN,
    Improper,
    Limits,
    Malformed,
    Outbound,
    Request,
    Seen,
    Unsupported,
    read_request,
)
from gateway.wire.opcua.services import BY_NAME, SERVICES, Treatment
from gateway.wire.opcua.status import Status
from tests.unit.wire.opcua.samples import (
    HANDLE,
    LEVEL,
    NAMES,
    SAMPLES,
    UPSTREAM,
    decoded,
    read_value,
    request,
)

ARRAYS = {
    "Read": "NodesToRead",
    "Write": "NodesToWrite",
    "Call": "MethodsToCall",
    "HistoryRead": "NodesToRead",
    "Browse": "NodesToBrowse",
    "BrowseNext": "ContinuationPoints",
    "TranslateBrowsePathsToNodeIds": "BrowsePaths",
    "SetPublishingMode": "SubscriptionIds",
    "DeleteSubscriptions": "SubscriptionIds",
    "TransferSubscriptions": "SubscriptionIds",
    "CreateMonitoredItems": "ItemsToCreate",
    "ModifyMonitoredItems": "ItemsToModify",
    "SetMonitoringMode": "MonitoredItemIds",
    "DeleteMonitoredItems": "MonitoredItemIds",
    "Publish": "SubscriptionAcknowledgements",
}
"What asyncua calls the items of each service that can be sent in part."


def asked(name: str) -> Request:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request), found
    return found


def variant_write(variant: bytes) -> bytes:
    """A Write of one node with this Variant."""
    head = SAMPLES["Write"][0][: asked("Write").header.end]
    return head + pack("<i", 1) + b"\x01\x02\x07\x00" + pack("<I", 13) + b"\xff" * 4 + b"\x01" + variant


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_goes_whole_differs_by_its_token_alone(name: str) -> None:
    body = SAMPLES[name][0]
    found = asked(name)
    sent = Outbound(found, UPSTREAM).encode()
    assert sent == body[:4] + UPSTREAM + body[found.header.token.stop :]
    assert Outbound(found, found.token).encode() == body
    message = decoded(f"{name}Request", sent)
    assert message.RequestHeader.RequestHandle == HANDLE == found.header.handle
    assert message.RequestHeader.AuditEntryId == "audit 7"
    assert found.header.audit_id == b"audit 7"
    assert message.RequestHeader.TimeoutHint == 5000 == found.header.timeout_ms


@pytest.mark.parametrize("name", ARRAYS)
def test_each_part_of_a_request_is_what_another_stack_reads_there(name: str) -> None:
    found = asked(name)
    whole = _items(decoded(f"{name}Request", found.body), name)
    assert len(whole) == found.items > 1
    for size in range(1, found.items):
        for kept in combinations(range(found.items), size):
            refused = {at: int(Status.NODE_ID_INVALID) for at in range(found.items) if at not in kept}
            outbound = Outbound(found, UPSTREAM, refused=refused)
            assert tuple(outbound.kept) == kept
            message = decoded(f"{name}Request", outbound.encode())
            assert _items(message, name) == [whole[at] for at in kept]
            again = read_request(outbound.encode())
            assert isinstance(again, Request)
            assert [again.item(at) for at in range(again.items)] == [found.item(at) for at in kept]
            assert again.tail[: again.parameters.counted] == found.tail[: found.parameters.counted]


def _items(message: Any, name: str) -> list[Any]:
    place = message.Parameters if hasattr(message, "Parameters") else message
    found: list[Any] = getattr(place, ARRAYS[name])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_request_without_its_last_bytes_is_refused(name: str) -> None:
    body = SAMPLES[name][0]
    for end in range(len(body)):
        assert isinstance(read_request(body[:end]), Malformed), end


@pytest.mark.parametrize("name", NAMES)
def test_a_request_with_one_byte_more_is_refused(name: str) -> None:
    for more in (b"\x00", b"\xff", bytes(40)):
        assert isinstance(read_request(SAMPLES[name][0] + more), Malformed)


@pytest.mark.parametrize("name", NAMES)
def test_which_requests_have_parts(name: str) -> None:
    found = asked(name)
    outbound = Outbound(found, UPSTREAM)
    assert isinstance(outbound, Parted)
    items = found.service.items
    assert outbound.parts == (found.items if items is not None and items.parted else 0)
    assert Outbound(found, UPSTREAM, whole=True).parts == 0


def test_parts_are_counted_among_those_that_are_left() -> None:
    found = asked("Read")
    outbound = Outbound(found, UPSTREAM, refused={0: 1, 3: 1})
    assert outbound.parts == 4
    left = outbound.only((1, 3))
    assert tuple(left.kept) == (2, 5)
    assert left.only((1,)).kept == [5]
    assert left.refused is outbound.refused


def test_services_that_are_never_forwarded_are_named() -> None:
    head = SAMPLES["Read"][0][4 : asked("Read").header.end]
    for row in SERVICES.values():
        if row.treatment is Treatment.REFUSED:
            found = read_request(pack("<BBH", 1, 0, row.request) + head + b"anything at all")
            assert isinstance(found, Unsupported)
            assert (found.name, found.handle, found.status) == (
                row.name,
                HANDLE,
                Status.SERVICE_UNSUPPORTED,
            )
    unknown = read_request(pack("<BBH", 1, 0, 9999) + head)
    assert isinstance(unknown, Unsupported)
    assert (unknown.name, unknown.type_id) == (None, 9999)


def test_an_answer_is_no_request() -> None:
    for name in NAMES:
        assert not isinstance(read_request(SAMPLES[name][1]), Request)


@pytest.mark.parametrize(
    "start", [b"\x00\x27", b"\x02\x00\x00\x77\x02\x00\x00", b"\x01\x01\x77\x02", b"\x41\x00"]
)
def test_a_type_id_has_one_form(start: bytes) -> None:
    assert isinstance(read_request(start + SAMPLES["Read"][0][4:]), Malformed)


def test_an_additional_header_is_never_let_in() -> None:
    body, end = SAMPLES["Read"][0], asked("Read").header.end
    for extra in (b"\x00\x07\x00", b"\x00\x00\x01\x00\x00\x00\x00", b"\x01\x00\x07\x00\x00", b"\x00\x00\x02"):
        found = read_request(body[: end - 3] + extra + body[end:])
        assert isinstance(found, Malformed)
        assert found.status is Status.REQUEST_HEADER_INVALID


def test_an_empty_request_is_answered_by_us() -> None:
    for name in ARRAYS:
        found = asked(name)
        bare = found.body[: found.header.end] + found.tail[: found.parameters.counted]
        after = found.tail[found.parameters.borders[-1] :]
        for count in (b"\x00" * 4, b"\xff" * 4):
            empty = read_request(bare + count + after)
            if name == "Publish":
                assert isinstance(empty, Request)
                assert Outbound(empty, empty.token).encode() == empty.body
            else:
                assert isinstance(empty, Improper), name
                assert (empty.status, empty.handle) == (Status.NOTHING_TO_DO, HANDLE)


def test_more_nodes_than_a_site_allows_are_a_fault() -> None:
    body = SAMPLES["Read"][0]
    assert isinstance(read_request(body, Limits(most_nodes=6)), Request)
    found = read_request(body, Limits(most_nodes=5))
    assert isinstance(found, Improper)
    assert found.status is Status.TOO_MANY_OPERATIONS


def test_counts_are_bounded_before_anything_is_looped_over() -> None:
    found = asked("Read")
    head = found.body[: found.header.end] + found.tail[: found.parameters.counted]
    one = found.item(1)
    for count in (2, 1000, 2**31 - 1, -2, -(2**31)):
        assert isinstance(read_request(head + pack("<i", count) + one), Malformed)
    many = MOST_ELEMENTS + 1
    assert isinstance(read_request(head + pack("<i", many - 1) + one * (many - 1)), Request)
    assert isinstance(read_request(head + pack("<i", many) + one * many), Malformed)


def test_names_and_texts_are_bounded() -> None:
    found = asked("Read")
    head = found.body[: found.header.end] + found.tail[: found.parameters.counted] + pack("<i", 1)

    def named(size: int) -> bytes:
        return (
            head
            + b"\x03\x02\x00"
            + pack("<i", size)
            + b"x" * size
            + pack("<I", 13)
            + b"\xff" * 4
            + bytes(2)
            + b"\xff" * 4
        )

    assert isinstance(read_request(named(MOST_NAME)), Request)
    assert isinstance(read_request(named(MOST_NAME + 1)), Malformed)
    assert isinstance(
        read_request(variant_write(b"\x0c" + pack("<i", MOST_TEXT) + bytes(MOST_TEXT))), Request
    )
    too_long = b"\x0c" + pack("<i", MOST_TEXT + 1) + bytes(MOST_TEXT + 1)
    assert isinstance(read_request(variant_write(too_long)), Malformed)
    assert isinstance(read_request(variant_write(b"\x0c\xfe\xff\xff\xff")), Malformed)


def test_arrays_in_variants_are_bounded() -> None:
    for variant in (
        b"\x81" + pack("<i", MOST_VALUES),
        b"\x8b" + pack("<i", 2**31 - 1),
        b"\x98" + pack("<i", MOST_VALUES) + b"\x00" * 10,
        b"\x8c" + pack("<i", -2),
    ):
        assert isinstance(read_request(variant_write(variant)), Malformed)
    assert isinstance(
        read_request(variant_write(b"\x81" + pack("<i", MOST_VALUES) + bytes(MOST_VALUES))), Request
    )
    over = b"\x81" + pack("<i", MOST_VALUES + 1) + bytes(MOST_VALUES + 1)
    assert isinstance(read_request(variant_write(over)), Malformed)


@pytest.mark.parametrize(
    "variant",
    [
        b"\x40",
        b"\x80" + bytes(4),
        b"\x18\x00",
        b"\x1a\x00\x00\x00\x00",
        b"\x3f",
        b"\x41\x01" + pack("<ii", 1, 1),
        b"\xc1" + pack("<i", 2) + b"\x01\x01" + pack("<iii", 2, 2, 2),
        b"\xc1" + pack("<i", 1) + b"\x01" + pack("<ii", 1, -1),
        b"\xc1" + pack("<i", 1) + b"\x01" + pack("<i", 17) + pack("<i", 1) * 17,
        b"\x16\x00\x00\x01\xff\xff\xff\xff",
        b"\x16\x00\x00\x03\x00\x00\x00\x00",
        b"\x15\x04",
        b"\x17\x40",
        b"\x19\x80",
        b"\x11\x06\x00\x00",
        b"\x11\x41\x00\x00\x00",
    ],
    ids=lambda variant: variant[:8].hex(),
)
def test_values_that_do_not_exist_are_refused(variant: bytes) -> None:
    assert isinstance(read_request(variant_write(variant)), Malformed)


def test_values_lie_in_each_other_only_so_deep() -> None:
    def nested(depth: int) -> bytes:
        return (b"\x98" + pack("<i", 1)) * depth + b"\x01\x01"

    def valued(depth: int) -> bytes:
        return b"\x17\x01" * depth + b"\x01\x01"

    for make in (nested, valued):
        assert isinstance(read_request(variant_write(make(MOST_DEPTH - 1))), Request)
        assert isinstance(read_request(variant_write(make(MOST_DEPTH))), Malformed)
        assert isinstance(read_request(variant_write(make(20_000))), Malformed)


def test_a_long_message_has_only_so_many_elements() -> None:
    """Null elements of one byte are quickly sent and slowly looked at."""
    for element in (b"\x17", b"\x18", b"\x19"):
        kind = bytes((element[0] | 0x80,))
        fits = kind + pack("<i", MOST_STEPS - 1) + bytes(MOST_STEPS - 1)
        assert isinstance(read_request(variant_write(fits)), Request)
        over = kind + pack("<i", MOST_STEPS) + bytes(MOST_STEPS)
        assert isinstance(read_request(variant_write(over)), Malformed)
    found = asked("Call")
    head = found.body[: found.header.end]
    many = b"\x00\x07\x00\x07" + pack("<i", 5_000) + b"\x00" * 5_000
    assert isinstance(read_request(head + pack("<i", 9) + many * 9), Request)
    assert isinstance(read_request(head + pack("<i", 11) + many * 11), Malformed)
    short = b"\x97" + pack("<i", LONG - 1_000) + bytes(LONG - 1_000)
    assert isinstance(read_request(variant_write(short)), Request)


def test_bodies_of_known_structures_fit_their_length() -> None:
    body = SAMPLES["HistoryRead"][0]
    found = asked("HistoryRead")
    start = found.header.end
    assert body[start : start + 9] == b"\x01\x00\x89\x02\x01\x16\x00\x00\x00"
    for wrong in (21, 23):
        longer = body[: start + 5] + pack("<i", wrong) + bytes(wrong) + body[start + 9 + 22 :]
        assert isinstance(read_request(longer), Malformed)


def test_what_was_read_before_is_read_the_same() -> None:
    seen = Seen()
    body = SAMPLES["Read"][0]
    first, again = read_request(body, seen=seen), read_request(body, seen=seen)
    assert isinstance(first, Request)
    assert isinstance(again, Request)
    assert again.parameters is first.parameters
    other = body[:4] + b"\x00\x07" + body[first.header.token.stop :]
    third = read_request(other, seen=seen)
    assert isinstance(third, Request)
    assert third.parameters is first.parameters
    assert Outbound(third, UPSTREAM).encode() == Outbound(first, UPSTREAM).encode()
    assert isinstance(read_request(body, Limits(most_nodes=2), seen), Improper)


def test_what_is_remembered_is_bounded() -> None:
    seen = Seen()
    for number in range(MOST_SEEN + 1):
        read_request(request("Read", MaxAge=float(number), NodesToRead=[read_value(LEVEL)]), seen=seen)
    assert len(seen._known) == 1
    long = request("Read", NodesToRead=[read_value(LEVEL)] * 1000)
    read_request(long, seen=seen)
    assert len(seen._known) == 1


def test_every_service_with_parts_is_tried_here() -> None:
    parted = {row.name for row in SERVICES.values() if row.items is not None and row.items.parted}
    assert parted | {"Publish"} == set(ARRAYS)
    assert {row.name for row in SERVICES.values() if row.action is not None} == set(NAMES)
    assert BY_NAME["Publish"].publish
