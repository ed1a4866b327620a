"""Events of OPC UA connections in, lines out; and nothing in a capture that ends in an exception."""

import random
from collections.abc import Iterable
from struct import pack

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from gateway.inspect.conversation import Summary
from gateway.inspect.inspection import Inspection
from gateway.inspect.opcua import services
from gateway.inspect.opcua.around import Around
from gateway.inspect.opcua.certificates import Trust
from gateway.inspect.opcua.conversation import OpcuaSummary
from gateway.inspect.opcua.inspection import OpcuaTold
from gateway.inspect.opcua.servers import MOST_SERVERS, Servers
from gateway.inspect.plant import Plant
from gateway.inspect.report import line as as_line
from gateway.inspect.report import people
from gateway.inspect.segments import Closed, Data, End, Event, Gap, Opened
from gateway.wire.opcua import asking
from gateway.wire.opcua.nodeid import NodeId
from tests.unit.inspect.opcua_talk import CREATE, READ_NAMESPACES, Talk, read

TOTALS = {"packets": 9, "streams": 1, "followed": 1, "skipped": {}, "gaps": 0, "forgotten": 0, "fault": None}


def opened(stream: int = 0, server: str = "10.0.0.1", port: int = 4840) -> Opened:
    return Opened(stream, 1, 0, "10.0.0.5", 40_000, server, port, "port")


def events(talk: Talk, stream: int = 0) -> list[Event]:
    """What a talk's bytes are as events."""
    data = [one for one in talk.two.sent if one.data]
    return [Data(stream, one.side, at, at * 1_000_000, one.data) for at, one in enumerate(data, 4)]


def inspected(*story: Event) -> tuple[list[OpcuaTold], Inspection, Around]:
    around = Around(Servers(None), Trust(None))
    inspection = Inspection(Plant(None), None, would_refuse=True, around=around)
    whole: Iterable[Event] = [*story, End(TOTALS)]
    lines = [line for line in inspection.lines(whole) if isinstance(line, OpcuaTold)]
    for each in lines:
        as_line(each)
    summaries: list[Summary | OpcuaSummary] = [*inspection.summaries.values(), *inspection.opcua.values()]
    list(people(summaries, TOTALS, judged=False, refusals=inspection.refusals))
    return lines, inspection, around


def found(lines: list[OpcuaTold]) -> list[str]:
    return [finding for each in lines for finding in each.line.findings]


def test_an_answer_is_joined_to_its_request() -> None:
    talk = Talk().open().ask(CREATE).ask(READ_NAMESPACES, read_answer=True)
    lines, inspection, around = inspected(opened(), *events(talk), Closed(0, 99, 0, "ended"))
    assert [each.line.kind for each in lines] == ["HEL", "ACK", "OPN", "OPN", "MSG", "MSG", "MSG"]
    last = lines[-1].line
    assert (last.service, last.asked_frame, last.took_ns) == ("Read", lines[-2].line.frame, 1_000_000)
    summary = inspection.opcua["10.0.0.5", "10.0.0.1", 4840]
    assert (summary.requests, summary.answers, summary.unanswered) == (2, 1, 1)
    assert around.room.held == 0


def test_namespaces_that_a_client_reads_name_the_nodes_behind() -> None:
    talk = Talk().open().ask(read("ns=1;s=Tank", 1)).ask(READ_NAMESPACES, read_answer=True)
    talk.ask(read("ns=1;s=Tank", 3))
    lines, _, _ = inspected(opened(), *events(talk))
    nodes = [each.opcua.node for told in lines for each in told.line.operations if each.opcua]
    assert nodes == ["ns=1;s=Tank", "i=2255", "nsu=urn:demo:plc;s=Tank"]


def test_mode_none_is_told_once_and_not_for_discovery() -> None:
    talk = Talk().open()
    talk.ask(asking.header("GetEndpoints", 1, 0) + b"\xff" * 12)
    assert "mode_none" not in found(inspected(opened(), *events(talk))[0])
    talk.ask(CREATE).ask(READ_NAMESPACES)
    assert found(inspected(opened(), *events(talk))[0]) == ["mode_none"]


def test_a_message_in_two_chunks_is_one_and_other_chunks_between_are_told() -> None:
    talk = Talk().open()
    first, rest = READ_NAMESPACES[:20], READ_NAMESPACES[20:]

    def part(kind: bytes, number: int, body: bytes) -> bytes:
        return kind + pack("<IIIII", 24 + len(body), 7, 1, talk.sequence + 1, number) + body

    for kind, number, body in (
        (b"MSGC", 5, first),
        (b"MSGF", 5, rest),
        (b"MSGC", 6, first),
        (b"MSGF", 7, rest),
    ):
        talk.two.say(0, part(kind, number, body))
        talk.sequence += 1
    lines, _, around = inspected(opened(), *events(talk), Closed(0, 99, 0, "end"))
    assert [(each.line.service, each.line.chunks) for each in lines[4:]] == [("Read", 2), (None, 2)]
    assert found(lines[5:]) == ["mixed_chunks", "malformed"]
    assert around.room.held == 0


def test_an_interval_below_the_bounds_is_named_before_it_is_refused() -> None:
    talk = Talk().open().ask(asking.create_subscription(1.0, 1, 0))
    lines, _, _ = inspected(opened(), *events(talk))
    whats = [(each.what, each.then) for each in lines[-1].breaks or ()]
    assert ("bounds", "BadOutOfRange") in whats


def test_a_gap_before_anything_was_said_is_not_lost() -> None:
    talk = Talk().open()
    story: list[Event] = [opened(), Gap(0, 0, 2, 0, 77), *events(talk), Closed(0, 99, 0, "end")]
    lines, inspection, _ = inspected(*story)
    assert lines[0].line.missing == 77
    assert next(iter(inspection.opcua.values())).missing == 77


def test_what_never_was_opcua_is_said_so() -> None:
    story: list[Event] = [opened(), Data(0, 0, 2, 0, b"SSH-2.0-OpenSSH_9.9\r\n"), Closed(0, 3, 0, "ended")]
    lines, inspection, _ = inspected(*story)
    assert found(lines) == ["not_opcua"]
    assert next(iter(inspection.opcua.values())).undecoded == 21


def test_tls_is_said_to_be_unreadable_not_wrong() -> None:
    lines, _, _ = inspected(opened(), Data(0, 0, 2, 0, b"\x16\x03\x01\x02\x00\x01"))
    assert [(each.line.tls, each.line.findings) for each in lines] == [(True, ())]


def test_requests_without_answer_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_WAITING", 3)
    talk = Talk().open()
    for number in range(9):
        talk.ask(read("i=85", number))
    _, inspection, around = inspected(opened(), *events(talk), Closed(0, 99, 0, "end"))
    assert next(iter(inspection.opcua.values())).unanswered == 3
    assert around.room.held == 0


def test_servers_without_a_configuration_have_a_bound() -> None:
    servers = Servers(None)
    places = [servers.place(f"10.0.{number}.1", 4840, "") for number in range(MOST_SERVERS + 1)]
    assert places[-1] is None
    assert places[0] is servers.place("10.0.0.1", 4840, "") is not None
    assert places[-2] is not None


def test_services_that_another_stack_writes_are_read() -> None:
    """asyncua's own bytes of what ends a subscription, and a call with a structure in it."""
    request = ua.DeleteSubscriptionsRequest()
    request.Parameters.SubscriptionIds = [1, 2]
    body = struct_to_binary(request)
    lines, _, _ = inspected(opened(), *events(Talk().open().ask(body)))
    assert (lines[-1].line.service, getattr(lines[-1].line.asked, "items", 0)) == ("DeleteSubscriptions", 2)


@pytest.mark.parametrize("seed", range(300))
def test_nothing_that_is_changed_in_a_capture_ends_in_an_exception(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - that is the point
    talk = Talk().open().ask(CREATE).ask(READ_NAMESPACES, read_answer=True)
    talk.ask(asking.create_subscription(100.0, 3, 0))
    talk.ask(asking.create_items(1, [asking.Item(NodeId(1, "Tank").encode(), 1)], 4, 0))
    talk.ask(asking.browse_next([b"point"], 5, 0)).ask(asking.publish([(1, 1)], 6, 0))
    talk.ask(asking.write(NodeId(1, "Tank").encode(), b"\x0b" + pack("<d", 1.5), 7, 0))
    story: list[Event] = []
    for event in events(talk):
        if isinstance(event, Data):
            body = bytearray(event.body)
            for _ in range(dice.choice((0, 0, 1, 1, 3))):
                body[dice.randrange(len(body))] = dice.randrange(256)
            if dice.random() < 0.1:
                body = body[: dice.randrange(len(body)) or 1]
            if dice.random() < 0.1:
                story.append(Gap(0, event.side, event.frame, event.time, 5))
            story.append(Data(0, event.side, event.frame, event.time, bytes(body)))
    _, _, around = inspected(opened(port=dice.choice((4840, 48010))), *story, Closed(0, 99, 0, "end"))
    assert around.room.held == 0
