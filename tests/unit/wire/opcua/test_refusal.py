"""Our own answers, as another stack reads them."""

from typing import Any

import pytest

from gateway.model.decision import Why
from gateway.wire.opcua.answer import DENIED, ServiceAnswer, read_answer
from gateway.wire.opcua.refusal import CODES, all_refused, answered_here, fault
from gateway.wire.opcua.request import Outbound, Request, read_request
from gateway.wire.opcua.services import SERVICES
from gateway.wire.opcua.status import Status
from tests.unit.wire.opcua.samples import HANDLE, NAMES, NODES, SAMPLES, decoded

NOW_NS = 1_796_000_000 * 10**9
PARTED = [row.name for row in SERVICES.values() if row.items is not None and row.items.parted]


def asked(name: str) -> Request:
    found = read_request(SAMPLES[name][0])
    assert isinstance(found, Request)
    return found


def test_every_reason_has_a_status() -> None:
    assert set(CODES) == set(Why)
    assert all(code & 0x8000_0000 for code in CODES.values())


def test_a_fault() -> None:
    message = decoded("ServiceFault", fault(HANDLE, Status.TIMEOUT, NOW_NS))
    assert message.ResponseHeader.RequestHandle == HANDLE
    assert message.ResponseHeader.ServiceResult.value == Status.TIMEOUT
    assert message.ResponseHeader.Timestamp.timestamp() == 1_796_000_000


@pytest.mark.parametrize("name", NAMES)
def test_everything_refused_is_a_complete_answer(name: str) -> None:
    found = asked(name)
    body = all_refused(found, NOW_NS, {1: int(Status.OUT_OF_RANGE)})
    answer = read_answer(Outbound(found, b"\0\0"), body)
    assert isinstance(answer, ServiceAnswer)
    if name not in PARTED:
        assert (answer.fault, answer.status) == (True, DENIED)
        return
    assert answer.good
    assert answer.statuses[:2] == (DENIED, Status.OUT_OF_RANGE)
    message = decoded(f"{name}Response", body)
    results: list[Any] = (message.Parameters if hasattr(message, "Parameters") else message).Results
    assert len(results) == found.items
    assert len(answer.parts) == found.items
    assert answer.parts[0] == "bad_user_access_denied"


def test_registered_nodes_keep_their_ids() -> None:
    message = decoded("RegisterNodesResponse", answered_here(asked("RegisterNodes"), NOW_NS))
    assert message.Parameters.RegisteredNodeIds == NODES
    message = decoded("UnregisterNodesResponse", answered_here(asked("UnregisterNodes"), NOW_NS))
    assert message.ResponseHeader.ServiceResult.value == 0
