"""Events in, lines out: what a capture's damage does to a dialogue, and the bound on conversations."""

from itertools import count

from gateway.inspect.inspection import MOST_CONVERSATIONS, OTHERS, Inspection, Told
from gateway.inspect.plant import Plant
from gateway.inspect.segments import Closed, Data, End, Event, Gap, Odd, Opened
from gateway.wire.modbus.framing import adu

READ, VALUE = bytes.fromhex("0300640001"), bytes.fromhex("03020007")
TOTALS = {"packets": 1, "fault": None}


def opened(stream: int = 0, client: str = "10.0.0.5", port: int = 502) -> Opened:
    return Opened(stream, 1, 0, client, 40_000, "10.0.0.1", port, "port")


def inspected(*events: Event) -> tuple[list[Told], Inspection]:
    inspection = Inspection(Plant(None), None, would_refuse=False)
    lines = [line for line in inspection.lines([*events, End(TOTALS)]) if isinstance(line, Told)]
    return lines, inspection


def said(*turns: tuple[int, bytes]) -> list[Event]:
    frames = count(2)
    return [
        Data(0, side, frame, frame * 1_000_000, data)
        for frame, (side, data) in zip(frames, turns, strict=False)
    ]


def found(lines: list[Told]) -> list[str]:
    return [finding for line in lines for finding in line.heard.findings]


def test_an_answer_is_joined_to_its_request() -> None:
    lines, inspection = inspected(opened(), *said((0, adu(1, 1, READ)), (1, adu(1, 1, VALUE))))
    assert lines[1].heard.asked_frame == 2
    assert lines[1].heard.took_ns == 1_000_000
    summary = inspection.summaries["10.0.0.5", "10.0.0.1", 502]
    assert (summary.requests, summary.answers, summary.connections) == (1, 1, 1)


def test_after_the_loss_of_framing_nothing_more_is_read() -> None:
    lines, inspection = inspected(
        opened(),
        *said((0, b"\0\1\0\7\0\6\1"), (1, adu(1, 1, VALUE)), (0, adu(2, 1, READ))),
        Closed(0, 9, 0, "end"),
    )
    assert [line.heard.fatal for line in lines] == ["protocol_id"]
    assert next(iter(inspection.summaries.values())).undecoded == 11 + 12


def test_behind_a_gap_nothing_is_read_until_request_and_answer_agree() -> None:
    early = said((0, adu(1, 1, READ)), (1, adu(1, 1, VALUE)))
    gap = Gap(0, 0, 4, 0, 5)
    agreed = said((0, adu(3, 1, READ)), (1, adu(3, 1, VALUE)))
    lines, _ = inspected(opened(), *early, gap, Data(0, 0, 5, 0, adu(2, 1, READ)))
    assert len(lines) == 2, "one request alone may be anything"
    lines, inspection = inspected(opened(), *early, gap, *said((0, READ)), *agreed, Closed(0, 9, 0, "end"))
    assert [line.heard.adu.tid for line in lines if line.heard.adu] == [1, 1, 3, 3]
    assert lines[2].heard.missing == 5
    assert not found(lines)
    summary = next(iter(inspection.summaries.values()))
    assert (summary.missing, summary.undecoded) == (5, len(READ))


def test_an_answer_to_what_the_capture_lost_is_not_called_unsolicited() -> None:
    lines, _ = inspected(opened(), Gap(0, 0, 2, 0, 12), *said((1, adu(1, 1, VALUE))))
    assert not found(lines)
    lines, _ = inspected(opened(), Odd(0, 1, 2, 0, "acknowledges_unseen"), *said((1, adu(1, 1, VALUE))))
    assert not found(lines)
    lines, _ = inspected(opened(), *said((1, adu(1, 1, VALUE))))
    assert found(lines) == ["unsolicited"], "but what nobody lost is"


def test_half_an_adu_at_the_end_is_truncated_if_the_peers_ended_there() -> None:
    half = said((0, adu(1, 1, READ)[:9]))
    assert found(inspected(opened(), *half, Closed(0, 3, 0, "ended"))[0]) == ["truncated"]
    assert not found(inspected(opened(), *half, Closed(0, 3, 0, "end"))[0]), "the capture ended, not they"


def test_capture_time_that_goes_back_does_no_harm() -> None:
    early, late = adu(1, 1, READ), adu(1, 1, VALUE)
    lines, _ = inspected(opened(), Data(0, 0, 2, 10**18, early), Data(0, 1, 3, 5, late))
    assert lines[1].heard.took_ns == 0


def test_the_bound_on_conversations_is_crossed() -> None:
    events: list[Event] = []
    for number in range(MOST_CONVERSATIONS + 2):
        client = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        events += [
            opened(number, client),
            Data(number, 0, 1, 0, adu(1, 1, READ)),
            Closed(number, 1, 0, "end"),
        ]
    _, inspection = inspected(*events)
    assert len(inspection.summaries) == MOST_CONVERSATIONS + 1
    assert inspection.summaries[OTHERS, OTHERS, 0].requests == 2
