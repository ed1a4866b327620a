"""Requests and answers of one conversation: what belongs to what, and what is wrong between them."""

import pytest

from gateway.model.asset import Quirk
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.framing import Adu, MbapReader, OvercountedReader
from gateway.wire.modbus.functions import Answer, DeviceException, WrongAnswer, read_request
from gateway.wire.modbus.session import MOST_REMEMBERED, Conversation, Limits, Paired, Stall

READ = "03 0000 0001"
VALUE = "03 02 1234"
SECOND = 1_000_000_000


class Talk:
    """A conversation, in hex. Requests are numbered as they are asked."""

    def __init__(self, limits: Limits | None = None, *quirks: Quirk) -> None:
        self.conversation: Conversation[int] = Conversation(limits or Limits(), quirks)
        self.asked = 0
        self.now_ns = 0

    def ask(self, pdu: str = READ, *, tid: int = 1, unit: int = 1) -> tuple[Finding, ...]:
        adu = Adu(tid, unit, bytes.fromhex(pdu))
        self.asked += 1
        return self.conversation.asked(adu, read_request(unit, adu.pdu), self.now_ns, self.asked)

    def answer(self, pdu: str = VALUE, *, tid: int = 1, unit: int = 1) -> Paired[int]:
        return self.conversation.answered(Adu(tid, unit, bytes.fromhex(pdu)), self.now_ns)


def settles(paired: Paired[int]) -> int | None:
    """The number of the request that an answer settles."""
    return paired.waiting.token if paired.waiting else None


def test_an_ordinary_exchange() -> None:
    talk = Talk()
    assert talk.ask() == ()
    paired = talk.answer()
    assert (settles(paired), paired.findings) == (1, ())
    assert paired.answer == Answer(b"\x03\x02", b"\x12\x34")
    assert talk.conversation.waiting == []


def test_answers_may_come_out_of_order() -> None:
    talk = Talk()
    for tid in (1, 2, 3):
        assert talk.ask(tid=tid) == ()
    assert [settles(talk.answer(tid=tid)) for tid in (3, 1, 2)] == [3, 1, 2]


def test_an_answer_belongs_to_the_request_of_its_unit_and_function() -> None:
    """Case 21, and worse: both wait under one id."""
    talk = Talk()
    assert talk.ask("04 0000 0001") == ()
    assert talk.ask("03 0000 0001") == (Finding.DUPLICATE_TID_OUTSTANDING,)
    assert settles(talk.answer("03 02 0000")) == 2
    assert settles(talk.answer("04 02 0000")) == 1


def test_an_id_is_free_once_it_is_answered() -> None:
    talk = Talk()
    for _ in range(3):
        assert talk.ask() == ()
        assert talk.answer().findings == ()


def test_nobody_asked() -> None:
    paired = Talk().answer()
    assert (paired.waiting, paired.answer, paired.findings) == (None, None, (Finding.UNSOLICITED,))


def test_an_answer_twice() -> None:
    talk = Talk()
    talk.ask()
    assert talk.answer().findings == ()
    assert talk.answer().findings == (Finding.UNSOLICITED,)


@pytest.mark.parametrize(
    ("pdu", "unit", "finding"),
    [(VALUE, 9, Finding.UNIT_MISMATCH), ("04 02 1234", 1, Finding.FUNCTION_MISMATCH)],
)
def test_an_answer_of_another_unit_or_function_settles_nothing(pdu: str, unit: int, finding: Finding) -> None:
    talk = Talk()
    talk.ask()
    assert talk.answer(pdu, unit=unit) == Paired(waiting=None, answer=None, findings=(finding,))
    assert settles(talk.answer()) == 1


@pytest.mark.parametrize(
    ("asked", "pdu", "finding"),
    [
        (READ, "03 04 0000 0000", Finding.BYTE_COUNT_VS_REQUEST),
        ("06 0001 0002", "06 0001 0003", Finding.ECHO_MISMATCH),
        ("01 0000 0003", "01 01 f9", Finding.PAD_BITS),
        (READ, "83 07", Finding.EXCEPTION_CODE_UNKNOWN),
        (READ, "83 02 00", Finding.EXCEPTION_LENGTH),
    ],
)
def test_an_answer_is_judged_against_its_request(asked: str, pdu: str, finding: Finding) -> None:
    talk = Talk()
    talk.ask(asked)
    paired = talk.answer(pdu)
    assert isinstance(paired.answer, WrongAnswer)
    assert (settles(paired), paired.answer.finding, paired.findings) == (1, finding, (finding,))


@pytest.mark.parametrize("asked", ["64 0001", "03 0000 0000", "5a 00", "08 0001 0000", "83 0000 0001"])
def test_a_request_that_could_not_be_read_is_answered_as_well(asked: str) -> None:
    talk = Talk()
    talk.ask(asked)
    fc = bytes.fromhex(asked)[0] | 0x80
    paired = talk.answer(f"{fc:02x} 01")
    assert (settles(paired), paired.answer, paired.findings) == (1, DeviceException(fc & 0x7F, 1), ())


def test_nothing_can_be_said_of_data_for_a_request_that_could_not_be_read() -> None:
    talk = Talk()
    talk.ask("64 0001")
    paired = talk.answer("64 1234")
    assert (settles(paired), paired.answer, paired.findings) == (1, None, ())


def test_a_bad_exception_is_one_whoever_it_is_for() -> None:
    paired = Talk().answer("81 05 00")
    assert paired.findings == (Finding.UNSOLICITED, Finding.EXCEPTION_LENGTH)


def test_an_empty_answer() -> None:
    assert Talk().answer("").findings == (Finding.UNSOLICITED, Finding.EMPTY)


def test_a_late_answer_still_belongs_to_its_request() -> None:
    talk = Talk(Limits(answer_ms=1000))
    talk.ask(tid=1)
    talk.ask(tid=2)
    talk.now_ns = SECOND
    assert talk.answer(tid=1).findings == ()
    talk.now_ns += 1
    paired = talk.answer(tid=2)
    assert (settles(paired), paired.findings) == (2, (Finding.LATE_RESPONSE,))


def test_too_many_are_more_than_a_server_need_take_at_once() -> None:
    talk = Talk(Limits(outstanding=3, answer_ms=1000))
    assert [talk.ask(tid=tid) for tid in (1, 2, 3)] == [(), (), ()]
    assert talk.ask(tid=4) == (Finding.TOO_MANY_OUTSTANDING,)
    talk.now_ns = SECOND + 1  # all four are given up by now
    assert talk.ask(tid=5) == ()


@pytest.mark.parametrize(("pdu", "unit"), [("06 0001 0002", 0), ("08 0004 0000", 1)])
def test_what_nobody_need_answer_takes_no_place_and_no_id(pdu: str, unit: int) -> None:
    talk = Talk(Limits(outstanding=1))
    for _ in range(5):
        assert talk.ask(pdu, unit=unit) == ()
    assert talk.ask() == ()


def test_a_broadcast_may_be_answered() -> None:
    talk = Talk()
    talk.ask("06 0001 0002", unit=0)
    paired = talk.answer("06 0001 0002", unit=0)
    assert (settles(paired), paired.findings) == (1, ())


def test_the_memory_of_requests_is_bounded() -> None:
    """A client that never waits loses the memory of its oldest requests, and no others."""
    talk = Talk()
    for tid in range(MOST_REMEMBERED + 10):
        talk.ask(tid=tid)
        assert len(talk.conversation.waiting) <= MOST_REMEMBERED
    assert talk.answer(tid=9).findings == (Finding.UNSOLICITED,)
    assert settles(talk.answer(tid=10)) == 11
    for _ in range(MOST_REMEMBERED + 10):
        talk.ask(tid=1)
        assert len(talk.conversation.waiting) <= MOST_REMEMBERED


# quirks --------------------------------------------------------------------------------------------


def test_a_client_with_one_id_for_all() -> None:
    talk = Talk(None, Quirk.CONSTANT_ID)
    assert talk.ask("03 0000 0001") == ()
    assert talk.ask("04 0000 0001") == ()
    assert talk.ask("03 0005 0002") == ()
    assert [settles(talk.answer(pdu)) for pdu in ("03 02 0000", "03 04 0000 0000", "04 02 0000")] == [1, 3, 2]


def test_a_device_with_ids_of_its_own() -> None:
    """Recorded: requests under id 0, answers under 1, 2, 3."""
    quirky = Talk(None, Quirk.CONSTANT_ID, Quirk.ID_NOT_ECHOED)
    strict = Talk()
    for talk in (quirky, strict):
        talk.ask(tid=0)
        talk.ask(tid=0)
    assert [settles(quirky.answer(tid=tid)) for tid in (1, 2)] == [1, 2]
    assert strict.answer(tid=1).findings == (Finding.UNSOLICITED,)
    assert quirky.answer(tid=3).findings == (Finding.UNSOLICITED,)


def test_ids_may_differ_but_unit_and_function_may_not() -> None:
    talk = Talk(None, Quirk.ID_NOT_ECHOED)
    talk.ask(tid=5)
    assert talk.answer("04 02 0000", tid=6).findings == (Finding.UNSOLICITED,)
    assert talk.answer(VALUE, tid=6, unit=2).findings == (Finding.UNSOLICITED,)
    assert settles(talk.answer(VALUE, tid=6)) == 1


def test_a_padded_exception_goes_on_as_it_should_have_been() -> None:
    talk = Talk(None, Quirk.EXCEPTION_PADDED)
    talk.ask()
    paired = talk.answer("83 02 00")
    assert (paired.answer, paired.findings) == (DeviceException(3, 2), ())
    assert paired.answer is not None
    assert not isinstance(paired.answer, WrongAnswer)
    assert paired.answer.encode() == b"\x83\x02"


@pytest.mark.parametrize("pdu", ["83 02 00 00", "83 07 00", "03 02 1234 00", "83"])
def test_the_quirk_tolerates_one_byte_behind_an_exception_and_nothing_else(pdu: str) -> None:
    talk = Talk(None, Quirk.EXCEPTION_PADDED)
    talk.ask()
    assert isinstance(talk.answer(pdu).answer, WrongAnswer)


GOOD = bytes.fromhex("0002 0000 0005 01 03 02 1234")
OVERCOUNTED = bytes.fromhex("0001 0000 0004 01 83 02")
"Recorded from a battery's energy manager: the length says 4, nine bytes come."


@pytest.mark.parametrize("cut", range(len(OVERCOUNTED + GOOD)))
def test_an_overcounted_exception_harms_no_answer_behind_it(cut: int) -> None:
    stream = OVERCOUNTED + GOOD
    reader = OvercountedReader()
    adus = [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])]
    assert adus == [Adu(1, 1, b"\x83\x02"), Adu(2, 1, bytes.fromhex("03021234"))]
    assert (reader.lost, reader.held) == (None, 0)


def test_without_the_quirk_it_does() -> None:
    reader = MbapReader()
    assert reader.feed(OVERCOUNTED + GOOD) != [Adu(1, 1, b"\x83\x02"), Adu(2, 1, bytes.fromhex("03021234"))]


def test_the_quirk_leaves_well_formed_answers_alone() -> None:
    exact = bytes.fromhex("0001 0000 0003 01 83 02")
    reader = OvercountedReader()
    assert reader.feed(exact + GOOD) == MbapReader().feed(exact + GOOD)
    assert OvercountedReader().feed(b"\0\1\0\1\0\4\1\x83\2") == []


# truncated -----------------------------------------------------------------------------------------


def test_an_adu_that_is_begun_and_not_finished() -> None:
    stall = Stall(Limits(partial_ms=1000))
    stall.heard(0, 5, 0)
    stall.heard(0, 6, SECOND // 2)  # one byte more is no reason to wait longer
    assert stall.found(SECOND) is None
    assert stall.found(SECOND + 1) is Finding.TRUNCATED
    assert stall.found(SECOND + 2) is None


def test_a_finished_adu_begins_the_wait_anew() -> None:
    stall = Stall(Limits(partial_ms=1000))
    stall.heard(0, 5, 0)
    stall.heard(1, 3, SECOND)
    assert stall.found(SECOND + 1) is None
    stall.heard(1, 0, SECOND + 2)
    assert stall.found(9 * SECOND, ended=True) is None


def test_the_end_of_a_direction_in_the_middle_of_an_adu() -> None:
    stall = Stall()
    stall.heard(2, 3, 0)
    assert stall.found(0) is None
    assert stall.found(0, ended=True) is Finding.TRUNCATED
