"""The poll plan, whatever the tags: complete, within limits, never outside what is declared, never dearer."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.asset import REGISTERS, Asset, DataType, Span, Table, Tag
from gateway.publish.poll_plan import MOST_ADDRESSES, Poll, asset_cost, cost, plan, within_budget

TABLES = st.sampled_from(Table)
BITS = (Table.COIL, Table.DISCRETE)


@st.composite
def tags(draw: st.DrawFn) -> list[Tag]:
    """Tags close together, so that they meet, overlap and hold each other."""
    found = []
    for number in range(draw(st.integers(0, 25))):
        table = draw(TABLES)
        kind = DataType.BOOL if table in BITS else draw(st.sampled_from(DataType))
        bit = draw(st.integers(0, 15)) if kind is DataType.BOOL and table not in BITS else None
        last = draw(st.sampled_from([30, 300, 65_536])) - REGISTERS[kind]
        address, period = draw(st.integers(0, last)), draw(st.sampled_from([100, 1000, 1500]))
        place = {"table": table, "address": address, "type": kind, "bit": bit, "poll_ms": period}
        found.append(Tag(name=f"a.{number}", asset="a", path=f"a/{number}", **place))
    return found


SPANS = st.lists(
    st.builds(Span, TABLES, st.integers(0, 300), st.sampled_from([1, 2, 10, 125, 126, 400, 2500])), max_size=8
)
GAPS = st.integers(0, 60)


def asset(registers: list[Span]) -> Asset:
    return Asset(name="a", host="127.0.0.1", port=502, registers=tuple(registers))


def addresses(span: Span) -> set[tuple[Table, int]]:
    return {(span.table, address) for address in range(span.start, span.end)}


@given(tags(), SPANS, GAPS)
def test_every_tag_is_in_exactly_one_poll_and_whole(some: list[Tag], registers: list[Span], gap: int) -> None:
    polls = plan(asset(registers), some, gap)
    assert sorted(tag.name for poll in polls for tag in poll.tags) == sorted(tag.name for tag in some)
    for poll in polls:
        for tag in poll.tags:
            assert addresses(tag.span) <= addresses(poll.span)
            assert tag.poll_ms == poll.period_ms


@given(tags(), SPANS, GAPS)
def test_no_poll_is_longer_than_a_request_can_be(some: list[Tag], registers: list[Span], gap: int) -> None:
    for poll in plan(asset(registers), some, gap):
        assert 1 <= poll.count <= MOST_ADDRESSES[poll.table]
        assert poll.span.end <= 65_536


@given(tags(), SPANS, GAPS)
def test_nothing_is_read_that_is_neither_declared_nor_a_tag(
    some: list[Tag], registers: list[Span], gap: int
) -> None:
    for poll in plan(asset(registers), some, gap):
        exact = any(tag.span == poll.span for tag in poll.tags)
        assert exact or any(addresses(poll.span) <= addresses(span) for span in registers)


@given(tags(), SPANS, GAPS)
def test_no_gap_is_wider_than_allowed(some: list[Tag], registers: list[Span], gap: int) -> None:
    for poll in plan(asset(registers), some, gap):
        wanted = sorted({address for tag in poll.tags for _, address in addresses(tag.span)})
        assert all(later - earlier - 1 <= gap for earlier, later in pairwise(wanted))
        assert (wanted[0], wanted[-1]) == (poll.start, poll.span.end - 1)


@given(tags(), SPANS, GAPS)
def test_never_dearer_than_a_poll_a_tag(some: list[Tag], registers: list[Span], gap: int) -> None:
    each = sum(1000 / tag.poll_ms for tag in some)
    planned = asset_cost(asset(registers), some, gap)
    assert planned <= each + 1e-9
    assert planned == cost(plan(asset(registers), some, gap))


@given(tags(), SPANS, GAPS, st.randoms(use_true_random=False))
def test_the_same_tags_in_any_order_give_the_same_plan(
    some: list[Tag], registers: list[Span], gap: int, random: object
) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis does not say what its randoms are
    assert plan(asset(registers), shuffled, gap) == plan(asset(registers), some, gap)


@given(tags(), SPANS, GAPS)
def test_polls_of_one_period_are_spread_over_it(some: list[Tag], registers: list[Span], gap: int) -> None:
    by_period: dict[int, list[Poll]] = {}
    for poll in plan(asset(registers), some, gap):
        by_period.setdefault(poll.period_ms, []).append(poll)
    for period, polls in by_period.items():
        phases = sorted(poll.phase_ms for poll in polls)
        assert phases[0] >= 0
        assert phases[-1] < period
        apart = [later - earlier for earlier, later in pairwise([*phases, phases[0] + period])]
        assert max(apart) - min(apart) <= 1, "even but for what whole milliseconds cannot divide"


def a_tag(name: str, address: int, kind: DataType = DataType.UINT16, bit: int | None = None) -> Tag:
    return Tag(name=name, asset="a", path=name, table=Table.HOLDING, address=address, type=kind, bit=bit)


def spans(polls: tuple[Poll, ...]) -> list[tuple[int, int]]:
    return [(poll.start, poll.count) for poll in polls]


def test_neighbours_merge_within_one_declared_span_only() -> None:
    two = [a_tag("x", 4), a_tag("y", 6)]
    assert spans(plan(asset([Span(Table.HOLDING, 0, 10)]), two, 8)) == [(4, 3)]
    assert spans(plan(asset([]), two, 8)) == [(4, 1), (6, 1)]
    assert spans(plan(asset([Span(Table.INPUT, 0, 10)]), two, 8)) == [(4, 1), (6, 1)]
    touching = [Span(Table.HOLDING, 0, 5), Span(Table.HOLDING, 5, 5)]
    assert spans(plan(asset(touching), two, 8)) == [(4, 1), (6, 1)]
    assert spans(plan(asset([Span(Table.HOLDING, 0, 10)]), two, 0)) == [(4, 1), (6, 1)]


def test_bits_of_one_register_share_a_poll_even_where_nothing_is_declared() -> None:
    bits = [a_tag(f"b{bit}", 7, DataType.BOOL, bit) for bit in range(16)]
    assert spans(plan(asset([]), bits, 0)) == [(7, 1)]


def test_the_longest_poll_is_full_and_the_next_tag_begins_another() -> None:
    whole = asset([Span(Table.HOLDING, 0, 200)])
    assert spans(plan(whole, [a_tag(f"t{n:03}", n) for n in range(126)], 0)) == [(0, 125), (125, 1)]
    pairs = [a_tag(f"t{n:03}", 2 * n, DataType.FLOAT32) for n in range(63)]
    assert spans(plan(whole, pairs, 0)) == [(0, 124), (124, 2)], "a float is not split at 125"


def test_tags_of_other_assets_are_not_this_asset_s_business() -> None:
    other = Tag(name="b.x", asset="b", path="x", table=Table.COIL, address=0, type=DataType.BOOL)
    assert plan(asset([]), [other], 0) == ()


def test_the_budget_is_what_it_says() -> None:
    ten = [a_tag(f"t{n}", n * 10) for n in range(10)]
    polls = plan(asset([]), ten, 0)
    assert cost(polls) == 10.0
    assert within_budget(asset([]), polls), "10 polls a second is the default budget"
    assert not within_budget(asset([]), plan(asset([]), [*ten, a_tag("more", 200)], 0))
