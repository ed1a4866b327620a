"""Recorded traffic of other stacks, against an independent strict checker's reading of it.

Beside each capture lies what that checker made of it: one line for each ADU, with the rules of the
specification that it breaks, or where framing is lost. Ours must agree ADU by ADU: the same fields, a finding
where it names a rule and none where it does not. Where we differ, `DIFFERENCES` says why.
"""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from gateway.model.asset import Asset
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.framing import Adu, MbapReader
from gateway.wire.modbus.functions import (
    FUNCTIONS,
    Answer,
    DeviceException,
    Request,
    Unsupported,
    read_request,
)
from gateway.wire.modbus.meaning import Place
from gateway.wire.modbus.session import Conversation
from tests.interop.pcap import Stream, streams

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
"Beside the repository: they are not ours to redistribute."
SUFFIX = ".adu.jsonl.gz"
EXPECTED = sorted(CAPTURES.glob(f"*/*.pcap{SUFFIX}"))
CASES = CAPTURES / "crafted" / "cases.json"
FATAL = {Finding.PROTOCOL_ID: "protocol_id", Finding.LENGTH_RANGE: "mbap_length"}
FINDINGS: dict[str, set[Finding]] = {
    "fc_user": {Finding.USER_FUNCTION},
    "fc_reserved": {Finding.RESERVED_FUNCTION, Finding.VENDOR_FUNCTION},
    "fc_unassigned": {Finding.UNASSIGNED_FUNCTION},
    "quantity": {Finding.QUANTITY_ZERO, Finding.QUANTITY_OVER},
    "req_length": {Finding.TRAILING_BYTES, Finding.LENGTH_VS_FUNCTION},
    "file_ref_type": {Finding.FILE_REF_TYPE},
    "dup_tid_outstanding": {Finding.DUPLICATE_TID_OUTSTANDING},
    "unsolicited": {Finding.UNSOLICITED, Finding.UNIT_MISMATCH, Finding.FUNCTION_MISMATCH},
    "exc_length": {Finding.EXCEPTION_LENGTH},
}
"What the checker calls a broken rule, and what we do."
DIFFERENCES: dict[tuple[str, str], tuple[Finding, str]] = {
    ("modbus-eit.pcap", "2b0e01004db70000000000"): (
        Finding.DEVICE_ID_FIELDS,
        "conformity 0 and more follows 0x4d: the checker does not read the fields of an identification",
    ),
}
"Where we find more than the checker, by capture and PDU, and why. At most ten."

Line = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _captures_are_here() -> None:
    if not EXPECTED:
        message = "captures are missing: no shared/captures beside the repository"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{message}; under CI they must be there", pytrace=False)
        pytest.skip(message)


def lines(expected: Path) -> dict[int, list[Line]]:
    """The checker's lines by stream."""
    by_stream: dict[int, list[Line]] = {}
    with gzip.open(expected, "rt") as text:
        for line in map(json.loads, text):
            by_stream.setdefault(line["s"], []).append(line)
    return by_stream


class Told(Struct):
    """One ADU as we see it, or where framing is lost."""

    direction: str
    adu: Adu | None
    findings: tuple[Finding, ...]
    operations: tuple[Operation, ...] = ()
    encoded: bytes | None = None
    "What would go on."


class Nothing:
    """Nobody has polled anything."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


PLACE = Place(Asset(name="a", host="192.0.2.1", port=502), [])


def told(stream: Stream) -> list[Told]:
    """Both directions as captured, until framing is lost in either."""
    readers = {"req": MbapReader(), "resp": MbapReader()}
    pieces = {direction: iter(stream.pieces[direction]) for direction in readers}
    conversation: Conversation[None] = Conversation()
    found: list[Told] = []
    for direction in stream.order:
        reader = readers[direction]
        judge = request if direction == "req" else answer
        found += [judge(frame, conversation) for frame in reader.feed(next(pieces[direction]))]
        if reader.lost is not None:
            return [*found, Told(direction, None, (Finding(reader.lost),))]
    return found


def request(frame: Adu, conversation: Conversation[None]) -> Told:
    """What we make of a request."""
    read = read_request(frame.unit, frame.pdu)
    paired = conversation.asked(frame, read, 0, None)
    if isinstance(read, Request):
        operations = PLACE.operations(read, Nothing(), Now(0, 0, True, 0))
        return Told("req", frame, paired, operations, read.encode())
    own = (read.finding,) if read.finding else ()
    assert own or isinstance(read, Unsupported)
    return Told("req", frame, (*own, *paired))


def answer(frame: Adu, conversation: Conversation[None]) -> Told:
    """What we make of an answer."""
    paired = conversation.answered(frame, 0)
    if isinstance(paired.answer, Answer | DeviceException):
        return Told("resp", frame, paired.findings, (), paired.answer.encode())
    assert paired.answer is None or paired.answer.finding in paired.findings
    return Told("resp", frame, paired.findings)


@pytest.mark.parametrize(
    "expected", EXPECTED or [None], ids=lambda path: path.name.removesuffix(SUFFIX) if path else "none"
)
def test_decode_agrees_with_the_checker(expected: Path) -> None:
    by_stream = lines(expected)
    capture = expected.with_name(expected.name.removesuffix(SUFFIX))
    for number, stream in enumerate(streams(capture, 502)):
        for ours, line in zip(told(stream), by_stream.pop(number, []), strict=True):
            assert ours.direction == line["d"]
            if ours.adu is None:
                assert FATAL[ours.findings[0]] == line["fatal"]
                continue
            adu = ours.adu
            assert (adu.tid, adu.unit, adu.pdu.hex()) == (line["tid"], line["unit"], line["pdu"])
            findings = set(ours.findings)
            known = DIFFERENCES.get((capture.name, line["pdu"]))
            if known:
                findings.remove(known[0])
            rules = [FINDINGS[rule] for rule in line["viol"]]
            assert all(findings & rule for rule in rules), (line, findings)
            assert findings <= set().union(*rules), (line, findings)
            assert ours.encoded in (None, adu.pdu)
    assert not by_stream


def test_the_differences_are_few() -> None:
    assert len(DIFFERENCES) <= 10


def test_the_captures_show_every_row_of_the_table_but_the_serial_ones() -> None:
    """Otherwise the test above would hold for a table that reads nothing."""
    seen = {line.get("fc") for path in EXPECTED for told in lines(path).values() for line in told}
    assert set(FUNCTIONS) - seen == {11, 12}


class Verdict(Struct, frozen=True):
    """What is true of a crafted case."""

    findings: frozenset[Finding] = frozenset()
    "All of them where there are none, else among them."
    wants: tuple[dict[str, Any], ...] = ()
    "Operations that policy must be asked about, by fields of their target; nothing else may write."


def verdict(*findings: Finding, wants: list[dict[str, Any]] | None = None) -> Verdict:
    return Verdict(frozenset(findings), tuple(wants or ()))


COIL_1 = {"action": "write", "table": "coil", "start": 0, "values": (1,)}
VERDICTS: dict[str, Verdict] = {
    "01": verdict(wants=[{"action": "read"}]),
    "02": verdict(Finding.BYTE_COUNT_VS_REQUEST),
    "03": verdict(wants=[COIL_1]),
    "04": verdict(wants=[{"action": "write", "table": "coil", "start": 0, "count": 16, "first": 1}]),
    "05": verdict(wants=[{"action": "write", "table": "coil", "start": 0, "first": 0, "ninth": 1}]),
    "06": verdict(Finding.QUANTITY_OVER),
    "07": verdict(wants=[{"action": "write", "table": "coil", "count": 200}]),
    "08": verdict(wants=[{"action": "write"}, {"action": "read", "table": "holding", "touches": 99}]),
    "09": verdict(wants=[{"action": "read", "table": "holding", "touches": 99}]),
    "10": verdict(
        wants=[{"action": "write", "table": "holding", "start": 99, "and_mask": 0, "or_mask": 300}]
    ),
    "11": verdict(wants=[{"action": "write", "file": 4, "record": 7, "values": (0x06AF,)}]),
    "12": verdict(Finding.ADDRESS_OVERFLOW),
    "13": verdict(wants=[{"action": "write", "table": "holding", "touches": 65_535}]),
    "14": verdict(wants=[{"action": "read", "table": "holding", "touches": 65_535}]),
    "15": verdict(Finding.USER_FUNCTION, wants=[{"action": "write", "table": "coil"}]),
    "16": verdict(Finding.VENDOR_FUNCTION, wants=[{"action": "write", "table": "coil"}]),
    "17": verdict(Finding.QUANTITY_ZERO, wants=[{"action": "write", "table": "coil"}]),
    "18": verdict(Finding.MEI_READ_CODE),
    "19": verdict(Finding.FILE_REF_TYPE),
    "20": verdict(Finding.BYTE_COUNT_VS_LENGTH),
    "21": verdict(Finding.DUPLICATE_TID_OUTSTANDING),
    "22": verdict(Finding.UNSOLICITED),
    "23": verdict(Finding.UNIT_MISMATCH),
    "24": verdict(Finding.DIAG_SUB_RESERVED),
    "25": verdict(Finding.PROTOCOL_ID),
    "26": verdict(Finding.LENGTH_RANGE),
    "27": verdict(Finding.LENGTH_RANGE),
    "28": verdict(Finding.COIL_VALUE),
    "29": verdict(wants=[{"action": "write", "unit": 0}]),
    "30": verdict(Finding.PAD_BITS),
    "31": verdict(wants=[{"action": "read", "table": "input", "count": 125}]),
    "32": verdict(Finding.PROTOCOL_ID),
    "33": verdict(Finding.TRAILING_BYTES, Finding.UNSOLICITED),
}
"By the number of the case."


def says(operation: Operation) -> dict[str, Any]:
    """The fields that verdicts name."""
    target = operation.modbus
    assert target is not None
    fields = {name: getattr(target, name) for name in target.__struct_fields__}
    values = target.values or ()
    return {
        **fields,
        "action": operation.action,
        "first": values[0] if values else None,
        "ninth": values[8] if len(values) > 8 else None,
    }


def fits(operation: Operation, wanted: dict[str, Any]) -> bool:
    """Whether an operation is the one that a verdict names."""
    said, wanted = says(operation), dict(wanted)
    touches = wanted.pop("touches", None)
    if touches is not None and not said["start"] <= touches < said["start"] + said["count"]:
        return False
    return all(said[field] == value for field, value in wanted.items())


def crafted() -> list[str]:
    return sorted(json.loads(CASES.read_text())) if CASES.exists() else []


@pytest.mark.parametrize("case", crafted())
def test_every_crafted_case_gets_the_right_verdict(case: str) -> None:
    expected = VERDICTS[case[:2]]
    found = [ours for stream in streams(CASES.with_name(f"{case}.pcap"), 502) for ours in told(stream)]
    findings = {finding for ours in found for finding in ours.findings}
    assert expected.findings <= findings
    assert bool(expected.findings) == bool(findings)
    operations = [operation for ours in found for operation in ours.operations]
    for wanted in expected.wants:
        assert any(fits(operation, wanted) for operation in operations), wanted
    named = [wanted for wanted in expected.wants if wanted["action"] == "write"]
    writes = [operation for operation in operations if operation.action == "write"]
    assert len(writes) == len(named), "a write that is not there, or one that was missed"
