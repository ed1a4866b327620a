"""Answers: scanned to the last byte; refusals stand in the places of what was left out."""

from struct import pack
from typing import Any

import pytest
from asyncua.ua.ua_binary import struct_to_binary

from gateway.wire.opcua.answer import DENIED, ServiceAnswer, denied, read_answer
from gateway.wire.opcua.codes import status_name, status_slug
from gateway.wire.opcua.request import Malformed, Outbound, Request, read_request
from gateway.wire.opcua.services import BY_NAME, SERVICES, Treatment
from gateway.wire.opcua.status import Status
from tests.unit.wire.opcua.samples import (
    HANDLE,
    MOMENT,
    NAMES,
    SAMPLES,
    UPSTREAM,
    answer,
    browse_result,
    decoded,
    diagnostic,
    expanded,
    reference,
    statuses,
    ua,
    value,
)

ANSWERED = [name for name in NAMES if name not in {"RegisterNodes", "UnregisterNodes"}]
PARTED = [
    row.name for row in SERVICES.values() if row.items is not None and row.treatment is Treatment.FORWARDED
]


def outbound(name: str, refused: dict[int, int] | None = None) -> Outbound:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request)
    return Outbound(found, UPSTREAM, refused=refused or {})


def results(name: str, body: bytes) -> list[Any]:
    message = decoded(f"{name}Response", body)
    place = message.Parameters if hasattr(message, "Parameters") else message
    found: list[Any] = place.Results
    return found


def code(result: Any) -> int:
    if isinstance(result, ua.StatusCode):
        return int(result.value)
    return int((result.StatusCode_ if hasattr(result, "StatusCode_") else result.StatusCode).value)


def without_first(name: str) -> bytes:
    """The answer of a server that was asked all but the first item."""
    body = SAMPLES[name][1]
    found = read_answer(outbound(name), body)
    assert isinstance(found, ServiceAnswer)
    number = len(found.statuses) - 1
    return body[: found.counted] + pack("<i", number) + body[found.borders[1] :]


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answer_to_what_went_whole_passes_as_it_came(name: str) -> None:
    body = SAMPLES[name][1]
    found = read_answer(outbound(name), body)
    assert isinstance(found, ServiceAnswer)
    assert found.encode() is body
    assert (found.good, found.fault, found.handle, found.data) == (True, False, HANDLE, b"")


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answer_without_its_last_bytes_is_none(name: str) -> None:
    body = SAMPLES[name][1]
    for end in range(len(body)):
        found = read_answer(outbound(name), body[:end])
        assert isinstance(found, Malformed), end
        assert found.status is Status.COMMUNICATION_ERROR
    assert isinstance(read_answer(outbound(name), body + b"\x00"), Malformed)


@pytest.mark.parametrize("name", PARTED)
def test_a_refused_item_is_answered_in_its_place(name: str) -> None:
    sent = outbound(name, {0: DENIED})
    found = read_answer(sent, without_first(name))
    assert isinstance(found, ServiceAnswer)
    whole, spliced = results(name, SAMPLES[name][1]), results(name, found.encode())
    assert spliced[1:] == whole[1:]
    assert code(spliced[0]) == DENIED
    assert len(spliced) == sent.request.items
    assert len(found.statuses) == len(found.parts) == sent.request.items - 1


@pytest.mark.parametrize("name", PARTED)
def test_the_last_item_too_and_with_another_status(name: str) -> None:
    whole = read_answer(outbound(name), SAMPLES[name][1])
    assert isinstance(whole, ServiceAnswer)
    last = len(whole.statuses) - 1
    body = whole.body
    body = (
        body[: whole.counted]
        + pack("<i", last)
        + body[whole.borders[0] : whole.borders[last]]
        + body[whole.borders[-1] :]
    )
    found = read_answer(outbound(name, {last: int(Status.OUT_OF_RANGE)}), body)
    assert isinstance(found, ServiceAnswer)
    spliced = results(name, found.encode())
    assert code(spliced[last]) == Status.OUT_OF_RANGE
    assert spliced[:last] == results(name, SAMPLES[name][1])[:last]


def test_what_policy_left_out_is_denied() -> None:
    sent = outbound("Read", {1: int(Status.OUT_OF_RANGE)}).only((0, 4))
    whole = read_answer(outbound("Read"), SAMPLES["Read"][1])
    assert isinstance(whole, ServiceAnswer)
    body = whole.body[: whole.counted] + pack("<i", 2) + whole.result(0) + whole.result(5) + pack("<i", 0)
    found = read_answer(sent, body)
    assert isinstance(found, ServiceAnswer)
    codes = [code(each) for each in results("Read", found.encode())]
    assert codes == [0, Status.OUT_OF_RANGE, DENIED, DENIED, DENIED, 0]


def test_diagnostics_stay_with_their_items() -> None:
    body = answer(
        "Write", Results=statuses(0x80340000), DiagnosticInfos=[diagnostic(1)], table=["first", "second"]
    )
    for refused, places in (({0: DENIED}, (None, 1)), ({1: DENIED}, (1, None))):
        found = read_answer(outbound("Write", refused), body)
        assert isinstance(found, ServiceAnswer)
        message = decoded("WriteResponse", found.encode())
        assert tuple(each.SymbolicId for each in message.DiagnosticInfos) == places
        assert message.ResponseHeader.StringTable == ["first", "second"]
        assert [code(each) for each in message.Results][list(places).index(1)] == 0x80340000


def test_diagnostics_that_fit_nothing_cannot_be_spliced() -> None:
    two = answer("Write", Results=statuses(0), DiagnosticInfos=[diagnostic(1), diagnostic(2)])
    assert isinstance(read_answer(outbound("Write", {0: DENIED}), two), Malformed)
    whole = answer("Write", Results=statuses(0, 0), DiagnosticInfos=[diagnostic(1)])
    assert isinstance(read_answer(outbound("Write"), whole), ServiceAnswer)


@pytest.mark.parametrize("name", PARTED)
def test_results_are_as_many_as_items(name: str) -> None:
    assert isinstance(read_answer(outbound(name, {0: DENIED}), SAMPLES[name][1]), Malformed)
    assert isinstance(read_answer(outbound(name), without_first(name)), Malformed)


def test_an_answer_belongs_to_its_request() -> None:
    body = SAMPLES["Read"][1]
    other = body[:12] + pack("<I", HANDLE + 1) + body[16:]
    assert isinstance(read_answer(outbound("Read"), other), Malformed)
    assert isinstance(read_answer(outbound("Read"), SAMPLES["Write"][1]), Malformed)
    assert isinstance(read_answer(outbound("Read"), SAMPLES["Read"][0]), Malformed)


def test_a_fault_passes_untouched_whatever_was_left_out() -> None:
    made = ua.ServiceFault()
    made.TypeId = ua.NodeId(397, 0, ua.NodeIdType.FourByte)
    made.ResponseHeader.RequestHandle = HANDLE
    made.ResponseHeader.Timestamp = MOMENT
    made.ResponseHeader.ServiceResult = ua.StatusCode(int(Status.TOO_MANY_OPERATIONS))
    body = bytes(struct_to_binary(made))
    for name in ANSWERED:
        found = read_answer(outbound(name, {0: DENIED}) if name in PARTED else outbound(name), body)
        assert isinstance(found, ServiceAnswer)
        assert (found.fault, found.good, found.status) == (True, False, Status.TOO_MANY_OPERATIONS)
        assert found.encode() is body
        assert isinstance(read_answer(outbound(name), body + b"\x00"), Malformed)
    good = body[:16] + bytes(4) + body[20:]
    assert isinstance(read_answer(outbound("Read"), good), Malformed)


def test_a_bad_service_result_passes_untouched() -> None:
    body = answer("Read", status=int(Status.TIMEOUT), Results=[])
    found = read_answer(outbound("Read", {0: DENIED}), body)
    assert isinstance(found, ServiceAnswer)
    assert (found.good, found.encode() is body) == (False, True)


def test_parts_are_value_bytes_or_what_is_bad() -> None:
    found = read_answer(outbound("Read"), SAMPLES["Read"][1])
    assert isinstance(found, ServiceAnswer)
    assert found.parts[0] == b"\x0b" + pack("<d", 20.5)
    assert found.parts[1] == b"\x0c\x06\x00\x00\x00a text"
    assert found.parts[2] == "bad_node_id_unknown"
    assert found.parts[5] == b"\x01\x01"
    assert found.statuses == (0, 0, 0x80340000, 0, 0, 0)
    written = read_answer(outbound("Write"), SAMPLES["Write"][1])
    assert isinstance(written, ServiceAnswer)
    assert written.parts == (b"", "bad_node_id_unknown")


def test_a_long_answer_passes_as_it_came() -> None:
    many = answer(
        "Browse", Results=[browse_result(*[reference(expanded(at), f"n{at}") for at in range(3000)])] * 2
    )
    found = read_answer(outbound("Browse"), many)
    assert isinstance(found, ServiceAnswer)
    assert found.encode() is many
    values = value([None] * 60_000, ua.VariantType.String)
    over = answer("Read", Results=[values] * 6)
    assert isinstance(read_answer(outbound("Read"), over), Malformed)


def test_codes_are_named_as_the_standard_does() -> None:
    for name, number in vars(ua.StatusCodes).items():
        if isinstance(number, int):
            assert status_name(number) == name
    assert status_name(0x80990000 | 0x0400) == status_name(0x80990000)
    assert status_name(0x8FFF0000) == "0x8FFF0000"
    assert status_slug(0x801F0000) == "bad_user_access_denied"
    assert status_slug(0x8FFF0000) == "status_8fff0000"


def test_refusals_have_the_size_of_the_shortest_result() -> None:
    sizes = {
        "Read": 5,
        "Write": 4,
        "Call": 16,
        "HistoryRead": 11,
        "Browse": 12,
        "BrowseNext": 12,
        "TranslateBrowsePathsToNodeIds": 8,
        "CreateMonitoredItems": 23,
        "ModifyMonitoredItems": 19,
        "TransferSubscriptions": 8,
    }
    for name in PARTED:
        items = BY_NAME[name].items
        assert items is not None
        assert len(denied(items, DENIED)) == sizes.get(name, 4)
        assert b"\x00\x00\x1f\x80" in denied(items, DENIED)
