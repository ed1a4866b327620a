"""The document that a digest is of: what counts, what does not, and what people read."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.admin import wanted
from gateway.model.moment import Now
from gateway.model.operation import Action, AdminTarget, NorthTarget, OpcuaTarget, Operation, Protocol
from gateway.policy import question
from gateway.policy.facts import Facts
from tests.scenarios.stage import CALLER
from tests.unit.admin.people import WRITE

assert WRITE.modbus is not None
COUNTS: list[dict[str, Any]] = [
    {"action": Action.CALL},
    {"kind": "modbus.other"},
    {"asset": "plc-2"},
    {"protocol": Protocol.OPCUA},
    {"modbus": None},
    {"modbus": replace(WRITE.modbus, values=(501,))},
    {"modbus": replace(WRITE.modbus, and_mask=1, or_mask=2)},
    {"modbus": replace(WRITE.modbus, unit=2)},
    {"modbus": replace(WRITE.modbus, fc=16)},
    {"modbus": replace(WRITE.modbus, start=11)},
    {"opcua": OpcuaTarget(service="Write", node="nsu=urn:x;s=y", value=1)},
    {"north": NorthTarget(topic="t")},
    {"admin": AdminTarget(value="maintenance")},
    {"points": ()},
    {"points": (replace(WRITE.points[0], q=501),)},
    {"points": (replace(WRITE.points[0], tag="plc-1.other"),)},
]


def of(operation: Operation) -> str:
    return wanted.digest(wanted.document(CALLER, operation))


@pytest.mark.parametrize("change", COUNTS, ids=str)
def test_each_stated_field_counts(change: dict[str, Any]) -> None:
    assert of(replace(WRITE, **change)) != of(WRITE)


def test_the_user_behind_an_application_counts_and_is_named() -> None:
    behind = replace(CALLER, identity=replace(CALLER.identity, on_behalf_of="urn:user:otto"))
    document = wanted.document(behind, WRITE)
    assert wanted.digest(document) != of(WRITE)
    assert wanted.words(document).endswith(
        "by spiffe://demo.example/plant/hmi-1 on behalf of urn:user:otto through modbus"
    )


def test_what_differs_from_one_try_to_the_next_does_not() -> None:
    assert of(replace(WRITE, points=(replace(WRITE.points[0], q_prev=1, age_ms=2),))) == of(WRITE)
    assert of(replace(WRITE, asset_kind="other")) == of(WRITE)


def test_a_recorded_question_gives_the_same_digest() -> None:
    now = Now(5, 5, True, 5)
    asked = json.loads(question.encode(question.document(CALLER, WRITE, Facts(), "01" * 13, now, 3)))
    assert wanted.digest(wanted.project(asked)) == of(WRITE)


def test_the_document_is_json_as_other_programs_make_it() -> None:
    document = wanted.document(CALLER, WRITE)
    theirs = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert wanted.canonical(document) == theirs


def test_people_read_who_what_where_and_the_value() -> None:
    words = wanted.words(wanted.document(CALLER, WRITE))
    assert words == (
        "write plc-1 (modbus.write_single_register) unit 1 holding 10 = 500; plc-1.level_sp = 500 quanta, "
        "by spiffe://demo.example/plant/hmi-1 through modbus"
    )


def test_a_sentence_is_one_printable_line_of_bounded_length() -> None:
    assert WRITE.modbus is not None
    odd = replace(CALLER, identity=replace(CALLER.identity, subject="x509:CN=a\n\x1b[31mb\u202e"))
    words = wanted.words(wanted.document(odd, WRITE))
    assert words.isprintable()
    long = replace(WRITE, modbus=replace(WRITE.modbus, values=tuple(range(123))))
    assert len(wanted.words(wanted.document(CALLER, long))) == wanted.MOST_WORDS
