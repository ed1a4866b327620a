"""Recorded traffic of other stacks, against an independent strict checker's reading of it.

Beside each capture lies what that checker made of it: one line for each ADU, with the rules of the
specification that it breaks, or where framing is lost. Of ours, everything of the functions that have a row
must agree; functions without one must be named and refused.
"""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.framing import Adu, MbapReader
from gateway.wire.modbus.functions import (
    FUNCTIONS,
    Answer,
    DeviceException,
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
    read_answer,
    read_request,
)
from tests.interop.pcap import Stream, streams

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
"Beside the repository: they are not ours to redistribute."
SUFFIX = ".adu.jsonl.gz"
EXPECTED = sorted(CAPTURES.glob(f"*/*.pcap{SUFFIX}"))
TRANSACTIONS = {"dup_tid_outstanding", "unsolicited"}
"Rules about several ADUs; the plant link keeps them, not the wire."
FATAL = {Finding.PROTOCOL_ID: "protocol_id", Finding.LENGTH_RANGE: "mbap_length"}
FINDINGS: dict[str, set[Finding]] = {
    "quantity": {Finding.QUANTITY},
    "req_length": {Finding.TRAILING_BYTES, Finding.LENGTH_VS_FUNCTION},
    "exc_length": {Finding.EXCEPTION_LENGTH},
}
"What the checker calls a broken rule, and what we do."

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


def frames(stream: Stream) -> list[tuple[str, Adu | str]]:
    """Both directions as captured: ADUs, and the loss of framing that ends the connection."""
    readers = {"req": MbapReader(), "resp": MbapReader()}
    pieces = {direction: iter(stream.pieces[direction]) for direction in readers}
    found: list[tuple[str, Adu | str]] = []
    for direction in stream.order:
        reader = readers[direction]
        found += [(direction, frame) for frame in reader.feed(next(pieces[direction]))]
        if reader.lost is not None:
            return [*found, (direction, FATAL[Finding(reader.lost)])]
    return found


def judge_request(frame: Adu, broken: set[str]) -> Request | None:
    """Our reading of a request, held against the rules that it breaks."""
    read = read_request(frame.unit, frame.pdu)
    if frame.pdu[0] not in FUNCTIONS:
        assert isinstance(read, Unsupported | Illegal)
        return None
    if broken:
        assert isinstance(read, Illegal)
        assert read.finding in set().union(*[FINDINGS[rule] for rule in broken])
        return None
    assert isinstance(read, Request)
    assert read.encode() == frame.pdu
    return read


def judge_answer(request: Request, frame: Adu, broken: set[str]) -> None:
    """Our reading of an answer, held against the rules that it breaks."""
    read = read_answer(request, frame.pdu)
    if broken:
        assert isinstance(read, WrongAnswer)
        assert read.finding in set().union(*[FINDINGS[rule] for rule in broken])
    else:
        assert isinstance(read, Answer | DeviceException)
        assert read.encode() == frame.pdu


@pytest.mark.parametrize(
    "expected", EXPECTED or [None], ids=lambda path: path.name.removesuffix(SUFFIX) if path else "none"
)
def test_decode_agrees_with_the_checker(expected: Path) -> None:
    by_stream = lines(expected)
    capture = expected.with_name(expected.name.removesuffix(SUFFIX))
    for number, stream in enumerate(streams(capture, 502)):
        found, told = frames(stream), by_stream.pop(number, [])
        asked: dict[int, Request | None] = {}
        for (direction, frame), line in zip(found, told, strict=True):
            assert direction == line["d"]
            if isinstance(frame, str):
                assert frame == line["fatal"]
                continue
            assert (frame.tid, frame.unit, frame.pdu.hex()) == (line["tid"], line["unit"], line["pdu"])
            broken = set(line["viol"]) - TRANSACTIONS
            if direction == "req":
                asked[frame.tid] = judge_request(frame, broken)
            elif "unsolicited" not in line["viol"]:
                request = asked[frame.tid]
                if request is not None:
                    judge_answer(request, frame, broken)
    assert not by_stream


def test_the_captures_show_every_row_of_the_table() -> None:
    """Otherwise the test above would hold for a table that reads nothing."""
    seen = {line.get("fc") for path in EXPECTED for told in lines(path).values() for line in told}
    assert set(FUNCTIONS) <= seen
