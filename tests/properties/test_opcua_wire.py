"""What holds of the OPC UA services for all bytes: read to the last one, or refused by name."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.asset import Asset, DataType, Speaks, Tag
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.opcua import refusal
from gateway.wire.opcua.answer import DENIED, ServiceAnswer, read_answer
from gateway.wire.opcua.browsing import browsed, without
from gateway.wire.opcua.meaning import Context, NodePlace
from gateway.wire.opcua.nodeid import prefixes
from gateway.wire.opcua.notifications import (
    Published,
    read_history_values,
    read_published,
    read_values,
)
from gateway.wire.opcua.request import Improper, Malformed, Outbound, Request, Seen, Unsupported, read_request
from gateway.wire.opcua.services import SERVICES, Treatment
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.status import Status
from tests.unit.wire.opcua.samples import NAMES, SAMPLES, UPSTREAM

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:one", "urn:two", "urn:three")
PLACE = NodePlace(
    Asset(name="a", host="192.0.2.1", port=4840, protocol=Speaks.OPCUA),
    [Tag(name="sp", asset="a", path="p", node="nsu=urn:two;s=Tank.SP", type=DataType.FLOAT64)],
)
NOW = Now(0, 0, True, 0)
ANSWERED = [name for name in NAMES if SERVICES and name not in {"RegisterNodes", "UnregisterNodes"}]

names = st.sampled_from(NAMES)
answered = st.sampled_from(ANSWERED)
flips = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6)
"Where a byte is changed (as far as there is one), and into what."
numbers = st.lists(
    st.tuples(st.integers(0, 2**16), st.sampled_from([-(2**31), -2, -1, 0, 1, 2, 255, 10_001, 2**31 - 1])),
    min_size=1,
    max_size=3,
)
"Where an Int32 is written."


def changed(body: bytes, bytes_: list[tuple[int, int]], ints: list[tuple[int, int]], start: int = 4) -> bytes:
    """The body with these changes behind `start`."""
    data = bytearray(body)
    for at, octet in bytes_:
        data[start + at % (len(data) - start)] = octet
    for at, number in ints:
        place = start + at % (len(data) - start)
        data[place : place + 4] = number.to_bytes(4, "little", signed=True)
    return bytes(data)


class Nothing:
    """Nobody knows a value."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


def session() -> Ownership:
    """One that has subscription 5 with items, and two continuation points."""
    made = Ownership()
    for name in ("CreateSubscription", "CreateMonitoredItems", "Browse", "HistoryRead"):
        found = read_request(SAMPLES[name][0])
        assert isinstance(found, Request)
        assert made.check(found) == {}
        answer = read_answer(Outbound(found, UPSTREAM), SAMPLES[name][1])
        assert isinstance(answer, ServiceAnswer)
        made.note(answer, PLACE.operations(found, Context(NAMESPACES, session=made), Nothing(), NOW))
    return made


def holds(body: bytes) -> None:
    """Everything that is promised of a body, whatever it is."""
    found = read_request(body)
    if not isinstance(found, Request):
        assert isinstance(found, Malformed | Unsupported | Improper)
        return
    parameters, header = found.parameters, found.header
    assert (
        body[: header.token.start] + found.token + body[header.token.stop : header.end] + found.tail == body
    )
    if parameters.borders:
        assert parameters.counted + 4 == parameters.borders[0]
        assert all(before < behind for before, behind in pairwise(parameters.borders))
        assert parameters.borders[-1] <= len(found.tail)
    assert Outbound(found, found.token).encode() == body
    if found.service.local:
        return
    mine = session()
    refused = mine.check(found)
    operations = PLACE.operations(found, Context(NAMESPACES, session=mine), Nothing(), NOW)
    assert all(isinstance(each, Operation) for each in operations)
    assert len(operations) == (max(found.items, 1) if found.service.name != "Publish" else 1)
    assert isinstance(refused, Status) or all(0 <= at < found.items for at in refused)
    if found.service.treatment is Treatment.FORWARDED and not isinstance(refused, Status):
        sent = Outbound(found, UPSTREAM, refused=refused)
        if sent.kept or found.service.items is None or not found.service.items.needed:
            again = read_request(sent.encode())
            assert isinstance(again, Request)
            assert [again.item(at) for at in range(again.items)] == [found.item(at) for at in sent.kept]
    said = refusal.all_refused(found, 0)
    assert isinstance(read_answer(Outbound(found, UPSTREAM), said), ServiceAnswer)


@given(names, flips, numbers | st.just([]))
@settings(max_examples=400)
def test_a_request_is_read_or_refused(
    name: str, bytes_: list[tuple[int, int]], ints: list[tuple[int, int]]
) -> None:
    holds(changed(SAMPLES[name][0], bytes_, ints))
    holds(changed(SAMPLES[name][0], bytes_, []))


@given(st.sampled_from(sorted(SERVICES)), names, st.binary(max_size=60))
@settings(max_examples=300)
def test_any_parameters_behind_a_header(number: int, name: str, parameters: bytes) -> None:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request)
    head = b"\x01\x00" + number.to_bytes(2, "little") + found.body[4 : found.header.end]
    holds(head + parameters)
    holds(head + found.tail)
    holds(parameters)


@given(names, st.integers(0, 2**16))
def test_truncation_and_more_bytes_are_refused(name: str, at: int) -> None:
    body = SAMPLES[name][0]
    assert isinstance(read_request(body[: at % len(body)]), Malformed)
    assert isinstance(read_request(body + bytes(1 + at % 9)), Malformed)


@given(names, names, flips)
def test_what_was_seen_changes_nothing(name: str, other: str, bytes_: list[tuple[int, int]]) -> None:
    seen = Seen()
    for body in (SAMPLES[name][0], SAMPLES[other][0], changed(SAMPLES[name][0], bytes_, [])):
        for _ in range(2):
            fresh, known = read_request(body), read_request(body, seen=seen)
            assert type(fresh) is type(known)
            if isinstance(fresh, Request) and isinstance(known, Request):
                assert (fresh.parameters.borders, fresh.header) == (known.parameters.borders, known.header)


@given(answered, flips | st.just([]), numbers | st.just([]), st.booleans())
@settings(max_examples=400)
def test_an_answer_is_read_or_refused(
    name: str, bytes_: list[tuple[int, int]], ints: list[tuple[int, int]], partly: bool
) -> None:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request)
    parted = found.service.items is not None and found.service.items.parted
    sent = Outbound(found, UPSTREAM, refused={0: DENIED} if partly and parted else {})
    body = changed(SAMPLES[name][1], bytes_, ints, start=16)
    answer = read_answer(sent, body)
    if isinstance(answer, Malformed):
        return
    encoded = answer.encode()
    if sent.untouched or not answer.good:
        assert encoded is body
    else:
        again = read_answer(Outbound(found, UPSTREAM), encoded)
        assert isinstance(again, ServiceAnswer)
        assert again.statuses == (DENIED, *answer.statuses)
    begins = prefixes(NAMESPACES)
    if answer.good and not answer.fault:
        session().note(
            answer, PLACE.operations(found, Context(NAMESPACES), Nothing(), NOW)[-len(sent.kept) or None :]
        )
        if name in {"Browse", "BrowseNext"}:
            results = {at: browsed(answer, at, begins).references for at in range(len(answer.statuses))}
            again = read_answer(Outbound(found, UPSTREAM), without(answer, results))
            assert isinstance(again, ServiceAnswer)
            assert not any(browsed(again, at, begins).references for at in range(len(again.statuses)))
        if name == "Publish":
            assert isinstance(read_published(answer, begins), Published | Malformed)
        if name == "Read":
            assert isinstance(read_values(answer, begins), tuple | Malformed)
        if name == "HistoryRead":
            assert isinstance(read_history_values(answer, begins), tuple | Malformed)


@given(answered, st.binary(max_size=80), st.booleans())
def test_any_bytes_behind_the_header_of_an_answer(name: str, rest: bytes, whole: bool) -> None:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request)
    head = SAMPLES[name][1][: 28 if whole else 20]
    answer = read_answer(Outbound(found, UPSTREAM), head + rest)
    if isinstance(answer, ServiceAnswer):
        assert answer.encode() is answer.body
