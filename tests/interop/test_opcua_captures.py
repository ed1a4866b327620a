"""Recorded OPC UA of other stacks: every body to its last byte, and what Zeek's analyzer made of the same.

Captures and baselines are those of CISA's icsnpp-opcua-binary (shared/captures, not ours to redistribute).
Requests that we read go on byte for byte; so do answers. What we refuse, and where we differ from Zeek,
`REFUSED` and `DIFFERENCES` name.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.model.asset import Asset, Speaks
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.binary import U32, node_id
from gateway.wire.opcua.browsing import browsed
from gateway.wire.opcua.meaning import Context, NodePlace
from gateway.wire.opcua.nodeid import NodeId, read
from gateway.wire.opcua.request import Malformed, Outbound, Request, Unsupported, read_request
from tests.interop.opcua_captures import Message, messages

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures" / "icsnpp-opcua"
EVERY = sorted(CAPTURES.glob("*.pcap"))
PORTS = {"pcaps__open62541_client-server_mainloop-not-localhost-non-standard-port": 48010}
TOKEN = NodeId(0, b"another session's token, 32 bytes").encode()
NAMESPACES = ("http://opcfoundation.org/UA/", "urn:one", "urn:two", "urn:three")
PLACE = NodePlace(Asset(name="a", host="192.0.2.1", port=4840, protocol=Speaks.OPCUA), [])
NOW = Now(0, 0, True, 0)

REFUSED: dict[str, str] = {
    "0 results for 1 items": (
        "servers patched to send deep DiagnosticInfos answer a Browse well, and without results"
    ),
    "dimensions that make more elements than there are": (
        "open62541's test server gives matrices of three values with dimensions 2 × 2; Part 6 §5.2.2.16 has "
        "decoders stop with Bad_DecodingError"
    ),
    "an encoding of a NodeId that does not exist": (
        "pending_overflow.pcap: crafted, answers in the place of requests"
    ),
}
"What of all captures is not read, by what we say, and why that is right."
NEVER = Counter({"AddNodes": 4, "RegisterServer2": 2, "FindServersOnNetwork": 1})
"Requests of services that are never forwarded, at most in one capture; they are named, and not read."
DIFFERENCES: dict[tuple[str, str], str] = {
    ("analyzer.data-gap", "after the gap"): (
        "Zeek gives a connection up where bytes of it are missing; we read what comes behind whole"
    ),
    ("analyzer.data-gap_with-handshake", "after the gap"): "the same, in its first connection",
}
"Where we differ from Zeek, by baseline and subject. At most ten."
BASELINES = {
    "analyzer.basic": "tests__traces__open62541_client-server_mainloop",
    "analyzer.data-gap": "pcaps__opcua_with-gap",
    "analyzer.data-gap_with-handshake": "pcaps__opcua_with-gap_with-handshake",
    "analyzer.no-handshake": "pcaps__open62541_client-server_mainloop-no-handshake",
    "analyzer.non-standard-port": "pcaps__open62541_client-server_mainloop-not-localhost-non-standard-port",
}


@pytest.fixture(scope="module", autouse=True)
def _captures_are_here() -> None:
    if not EVERY:
        message = "captures are missing: no shared/captures beside the repository"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{message}; under CI they must be there", pytrace=False)
        pytest.skip(message)


class Nothing:
    """Nobody knows a value."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


class Told:
    """What we make of one capture."""

    def __init__(self, path: Path) -> None:
        self.requests: list[tuple[Message, Request]] = []
        self.answers: list[ServiceAnswer] = []
        self.unsupported: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.orphans: list[Message] = []
        asked: dict[tuple[int, int], Outbound] = {}
        for message in messages(path, PORTS.get(path.stem, 4840)):
            if message.kind not in {"OPN", "MSG", "CLO"} or not message.body:
                continue
            key = message.stream, message.request_id
            if message.direction == "req":
                found = read_request(message.body)
                if isinstance(found, Request):
                    self.requests.append((message, found))
                    asked[key] = Outbound(found, found.token)
                elif isinstance(found, Unsupported):
                    self.unsupported[found.name or str(found.type_id)] += 1
                else:
                    assert isinstance(found, Malformed)
                    self.refused[found.what] += 1
            elif key in asked:
                answer = read_answer(asked.pop(key), message.body)
                if isinstance(answer, ServiceAnswer):
                    self.answers.append(answer)
                else:
                    self.refused[answer.what] += 1
            else:
                self.orphans.append(message)

    def operations(self, name: str) -> Iterator[Operation]:
        """Those of all requests of a service."""
        context = Context(NAMESPACES)
        for _, request in self.requests:
            if request.service.name == name:
                yield from PLACE.operations(request, context, Nothing(), NOW)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_every_body_is_accounted_for(path: Path) -> None:
    told = Told(path)
    assert not told.refused.keys() - REFUSED.keys()
    assert told.unsupported <= NEVER
    assert told.requests or told.refused
    for message, request in told.requests:
        found = request.parameters
        assert message.body[request.header.end :] == found.tail
        if found.borders:
            assert found.borders[0] == found.counted + 4
            assert found.borders[-1] <= len(found.tail)
        assert Outbound(request, request.token).encode() == message.body
        swapped = Outbound(request, TOKEN).encode()
        assert swapped == message.body[:4] + TOKEN + message.body[request.header.token.stop :]
    for answer in told.answers:
        assert answer.encode() is answer.body


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_every_truncation_is_refused(path: Path) -> None:
    for _, request in Told(path).requests[:40]:
        for end in range(len(request.body)):
            assert isinstance(read_request(request.body[:end]), Malformed | Unsupported), request.service.name


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_what_is_forwarded_has_a_meaning(path: Path) -> None:
    for _, request in Told(path).requests:
        if not request.service.local:
            operations = PLACE.operations(request, Context(NAMESPACES), Nothing(), NOW)
            assert operations
            assert {each.action for each in operations} == {request.service.action}


def test_differences_are_few_and_named() -> None:
    assert len(REFUSED) + len(DIFFERENCES) <= 10


# against Zeek -----------------------------------------------------------------------------------------


def rows(baseline: str, log: str) -> list[list[str]]:
    path = CAPTURES / "baseline" / f"{baseline}__opcua_binary{log}.log"
    if not path.exists():
        return []
    return [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]


def seen(baseline: str) -> Told:
    return Told(CAPTURES / f"{BASELINES[baseline]}.pcap")


def node(row: list[str], at: int) -> tuple[int, int | str]:
    """A node as Zeek writes it: encoding, namespace, number, string, GUID, bytes."""
    number, text = row[at + 2], row[at + 3]
    return int(row[at + 1]) if row[at + 1] != "-" else 0, text if text != "-" else int(number)


def ours(data: bytes, at: int) -> tuple[int, int | str]:
    found, _ = read(data, at)
    assert isinstance(found.identifier, int | str)
    return found.namespace, found.identifier


def items(told: Told, name: str) -> Iterator[bytes]:
    for _, request in told.requests:
        if request.service.name == name:
            yield from map(request.item, range(request.items))


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_services_agree_with_zeek(baseline: str) -> None:
    told = seen(baseline)
    found = Counter(
        (message.request_id, request.service.name + "Request") for message, request in told.requests
    )
    theirs = Counter((int(row[26]), row[30]) for row in rows(baseline, "") if row[30].endswith("Request"))
    named = Counter({key: number for key, number in theirs.items() if key[1][:-7] not in NEVER})
    assert sum(theirs.values()) - sum(named.values()) == sum(told.unsupported.values())
    more = found - named
    assert not named - found
    if more:
        assert (baseline, "after the gap") in DIFFERENCES
        assert {name for _, name in more} <= {
            "ActivateSessionRequest",
            "CreateSubscriptionRequest",
            "CreateMonitoredItemsRequest",
            "ReadRequest",
            "PublishRequest",
        }


WITHOUT_GAP = [each for each in BASELINES if "gap" not in each]


@pytest.mark.parametrize("baseline", WITHOUT_GAP)
def test_the_nodes_agree_with_zeek(baseline: str) -> None:
    told = seen(baseline)
    read_rows = [row for row in rows(baseline, "_read_nodes_to_read") if row[6] == "T"]
    assert [(node(row, 11), row[18]) for row in read_rows] == [
        (ours(item, 0), operation.opcua.attribute if operation.opcua else None)
        for item, operation in zip(items(told, "Read"), told.operations("Read"), strict=True)
    ]
    assert read_rows
    written = [node(row, 11) for row in rows(baseline, "_write") if row[6] == "T"]
    assert written == [ours(item, 0) for item in items(told, "Write")]
    described = [(node(row, 11), node(row, 18)) for row in rows(baseline, "_browse_description")]
    assert described == [(ours(item, 0), ours(item, node_id(item, 0) + 4)) for item in items(told, "Browse")]
    monitored = [
        (node(row, 11), row[17], float(row[23]))
        for row in rows(baseline, "_create_monitored_items_create_item")
        if row[6] == "T"
    ]
    assert monitored == [
        (ours(item, 0), operation.opcua.attribute, float(operation.opcua.sampling_ms or 0))
        for item, operation in zip(
            items(told, "CreateMonitoredItems"), told.operations("CreateMonitoredItems"), strict=True
        )
        if operation.opcua
    ]


@pytest.mark.parametrize("baseline", WITHOUT_GAP)
def test_the_references_agree_with_zeek(baseline: str) -> None:
    told = seen(baseline)
    begins = ("", "ns=1;", "ns=2;", "ns=3;")
    found = [
        (reference.node, reference.name)
        for answer in told.answers
        if answer.outbound.request.service.name == "Browse"
        for at in range(len(answer.statuses))
        for reference in browsed(answer, at, begins).references
    ]
    theirs = []
    for row in rows(baseline, "_browse_response_references"):
        space, what = node(row, 18)
        theirs.append((begins[space] + (f"i={what}" if isinstance(what, int) else f"s={what}"), row[27]))
    assert found == theirs
    assert len(found) > 5


@pytest.mark.parametrize("baseline", WITHOUT_GAP)
def test_the_status_codes_agree_with_zeek(baseline: str) -> None:
    told = seen(baseline)
    found: Counter[tuple[str, str]] = Counter()
    for answer in told.answers:
        found["ResponseHeader", f"0x{answer.status:08x}"] += 1
        name = answer.outbound.request.service.name
        if name in {"Browse", "CreateMonitoredItems", "Read", "Write"}:
            found.update((name, f"0x{status:08x}") for status in answer.statuses)
    for message in told.orphans:  # answers to what is never forwarded, or was asked before the capture began
        at = 4 + 8 + 4
        found["ResponseHeader", f"0x{U32(message.body, at)[0]:08x}"] += 1
    theirs = Counter((row[12], row[14]) for row in rows(baseline, "_status_code_detail"))
    assert found == theirs
