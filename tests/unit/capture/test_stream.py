"""One connection put in order: what a capture may do to it, and what must come out all the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.capture.packet import ACK, FIN, RST, SYN
from gateway.capture.stream import MOST_HELD, Stream, Totals
from tests.unit.capture.conversation import Seen, Sent, Two, changed, play, without

QUESTIONS = [b"question-%d" % n for n in range(6)]
ANSWERS = [b"answer-number-%d" % n for n in range(6)]


def polling() -> Two:
    two = Two().handshake()
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        two.say(0, question).say(1, answer)
    return two.end()


def test_in_order() -> None:
    seen = play(polling().sent)
    assert seen.order == [turn for q, a in zip(QUESTIONS, ANSWERS, strict=True) for turn in ((0, q), (1, a))]
    assert not seen.gaps
    assert not seen.notes
    assert seen.totals.most_held_bytes == 0, "what comes in order waits for nothing"


def test_a_segment_that_comes_late_keeps_the_conversation_in_order() -> None:
    """The second question is captured behind its answer and the third question."""
    sent = polling().sent
    at = next(n for n, one in enumerate(sent) if one.data == QUESTIONS[1])
    late = [*sent[:at], sent[at + 1], sent[at + 2], sent[at], *sent[at + 3 :]]
    assert play(late).order == play(sent).order


def test_retransmissions_say_nothing_new() -> None:
    sent = [one for one in polling().sent for _ in range(2)]
    seen = play(sent)
    assert seen.order == play(polling().sent).order
    assert seen.totals.repeated == 12
    assert not seen.notes


def test_a_retransmission_that_takes_more_along() -> None:
    """TCP may join segments when it repeats them."""
    two = Two().handshake().say(0, b"abc").say(0, b"def")
    joined = changed(two.sent[-2], b"abcdef")
    assert play([*two.sent[:-1], joined]).sides[0] == b"abcdef"
    assert play([*two.sent[:-1], joined, two.sent[-1]]).sides[0] == b"abcdef"


def test_a_retransmission_that_says_something_else_is_told_and_the_first_counts() -> None:
    two = Two().handshake().say(0, b"read")
    seen = play([*two.sent, changed(two.sent[-1], b"kill")])
    assert seen.sides[0] == b"read"
    assert seen.notes == ["overlap_differs"]
    assert seen.totals.differing == 1


def test_an_overlap_among_segments_that_wait_is_compared_too() -> None:
    two = Two().handshake().say(0, b"one").say(0, b"two").say(0, b"three")
    first, second, third = two.sent[3:]
    other = changed(second, b"TWO")
    seen = play([*two.sent[:3], third, second, other, first])
    assert seen.sides[0] == b"onetwothree"
    assert seen.notes == ["overlap_differs"]


def test_a_keep_alive_is_no_difference() -> None:
    """It repeats the last byte's number, and its byte is anything."""
    two = Two().handshake().say(0, b"abc")
    probe = Sent(0, (two.next[0] - 1) % 2**32, two.next[1], ACK, b"\0")
    seen = play([*two.sent, probe])
    assert seen.sides[0] == b"abc"
    assert not seen.notes


def test_what_the_capture_lost_is_a_gap_of_its_size_and_the_order_holds_behind_it() -> None:
    sent = polling().sent
    at = next(n for n, one in enumerate(sent) if one.data == QUESTIONS[2])
    seen = play(without(sent, at))
    assert seen.gaps == [(0, len(QUESTIONS[0] + QUESTIONS[1]), len(QUESTIONS[2]))]
    lost = (0, QUESTIONS[2])
    assert seen.order == [turn for turn in play(sent).order if turn != lost]


def test_the_bound_on_waiting_is_crossed() -> None:
    """A hole that is never filled: after MOST_HELD segments it is a gap, without waiting for the end."""
    two = Two().handshake().say(0, b"lost")
    for number in range(MOST_HELD + 1):
        two.say(0, b"%4d" % number)
    assert play(without(two.sent, 3), flush=False).gaps == [(0, 0, 4)]
    short = play(without(two.sent, 3)[:-1], flush=False)
    assert not short.gaps
    assert not short.sides[0]
    assert short.totals.held_bytes > 0


@pytest.mark.parametrize("kept", [False, True])
def test_no_handshake(kept: bool) -> None:
    """The capture begins in the middle: each side begins with what is seen of it first."""
    sent = polling().sent
    seen = play(sent[2:] if kept else sent[4:])
    assert seen.sides[1] == b"".join(ANSWERS)
    assert seen.sides[0] == b"".join(QUESTIONS if kept else QUESTIONS[1:])
    assert not seen.gaps


def test_the_answer_to_a_syn_that_was_not_captured_does_not_hold_things_up_for_ever() -> None:
    two = Two().handshake().say(1, b"hello")
    seen = play([two.sent[0], two.sent[3]])
    assert seen.sides[1] == b"hello"


def test_a_reset_ends_the_waiting() -> None:
    two = Two().handshake().say(0, b"lost").say(0, b"here")
    reset = Sent(1, two.next[1], 0, RST)
    seen = play([*without(two.sent, 3), reset], flush=False)
    assert seen.sides[0] == b"here"
    assert seen.gaps == [(0, 0, 4)]


def test_half_closed_goes_on() -> None:
    """The FIN takes a sequence number that the other side acknowledges; nothing waits for it."""
    two = Two().handshake().say(0, b"all")
    two.sent.append(Sent(0, two.next[0], two.next[1], FIN | ACK))
    two.next[0] += 1
    two.say(1, b"fine")
    seen = play(two.sent, flush=False)
    assert seen.sides == [b"all", b"fine"]


def test_flags_that_no_tcp_takes_are_not_taken() -> None:
    two = Two().handshake().say(0, b"abc")
    odd = Sent(0, two.next[0], two.next[1], SYN | FIN | ACK, b"xyz")
    assert play([*two.sent, odd]).sides[0] == b"abc"


def test_a_syn_with_another_number_is_another_connection() -> None:
    seen = Seen()
    stream = Stream(0, seen, Totals())
    for one in Two().handshake().say(0, b"abc").sent:
        stream.segment(one.side, one.sequence, one.acknowledged, one.flags, 1, 0, one.data)
    assert not stream.begins_anew(0, 1000), "a repeated SYN"
    assert stream.begins_anew(0, 77_000)


CHUNKS = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.binary(min_size=1, max_size=40), st.integers(1, 17)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    chunks=CHUNKS,
    initial=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    jumble=st.data(),
)
def test_however_it_is_cut_repeated_and_jumbled_the_same_comes_out(
    chunks: list[tuple[int, bytes, int]], initial: tuple[int, int], jumble: st.DataObject
) -> None:
    """And never an answer before the question whose bytes it acknowledges."""
    two = Two(initial).handshake()
    for side, data, size in chunks:
        two.say(side, data, size)
    said = two.sent[3:]
    again = jumble.draw(st.lists(st.sampled_from(said), max_size=30))
    mixed = jumble.draw(st.permutations(said + again)) if len(said) + len(again) <= MOST_HELD else said
    seen = play([*two.sent[:3], *mixed], flush=False)
    whole = play(two.sent)
    assert seen.sides == whole.sides
    assert not seen.gaps
    assert not seen.notes
    told = [0, 0]
    position = {
        one.sequence: (sum(len(s.data) for s in said[:at] if s.side == 1 - one.side), one.side)
        for at, one in enumerate(said)
    }
    for side, data in seen.order:
        sequence = (two.initial[side] + 1 + told[side]) % 2**32
        if sequence in position and position[sequence][1] == side:
            assert told[1 - side] >= position[sequence][0]
        told[side] += len(data)


@settings(max_examples=100, deadline=None)
@given(
    chunks=CHUNKS,
    jumble=st.data(),
)
def test_whatever_is_lost_the_rest_comes_and_every_missing_byte_is_counted(
    chunks: list[tuple[int, bytes, int]], jumble: st.DataObject
) -> None:
    two = Two().handshake()
    for side, data, size in chunks:
        two.say(side, data, size)
    two.say(0, b"last").say(1, b"last")
    said = two.sent[3:]
    lost = jumble.draw(st.sets(st.integers(0, len(said) - 3)))
    seen = play([*two.sent[:3], *without(said, *lost)])
    for side in (0, 1):
        kept = b"".join(one.data for at, one in enumerate(said) if at not in lost and one.side == side)
        missing = sum(len(said[at].data) for at in lost if said[at].side == side)
        assert seen.sides[side] == kept
        assert sum(size for which, _, size in seen.gaps if which == side) == missing


@settings(max_examples=250, deadline=None)
@given(
    st.lists(
        st.builds(
            Sent,
            st.sampled_from([0, 1]),
            st.integers(0, 2**32 - 1) | st.integers(0, 30),
            st.integers(0, 2**32 - 1) | st.integers(0, 30),
            st.integers(0, 255),
            st.binary(max_size=8),
        ),
        max_size=60,
    )
)
def test_nothing_that_is_sent_breaks_it(sent: list[Sent]) -> None:
    """`play` holds that all memory is given back."""
    seen = play(sent)
    assert sum(map(len, seen.sides)) <= sum(len(one.data) for one in sent)
