"""The poll plan: which reads a device gets, how often and when. Pure: the same tags give the same plan.

Three rules hold here. A poll reads only what a tag occupies or what lies inside one declared span of the
asset: real devices answer a read across a hole with exception 02, and some old ones with a restart, so what
nobody declared is never touched. A tag is never split over two polls, because its registers could then come
from two moments. And no plan costs a device more than one poll a tag.

The collector carries plans out; `dmz-gateway check` prints what they cost and refuses what is over budget.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from zlib import crc32

from msgspec import Struct

from gateway.model.asset import Asset, Span, Table, Tag

MOST_ADDRESSES: dict[Table, int] = {
    Table.COIL: 2000,
    Table.DISCRETE: 2000,
    Table.INPUT: 125,
    Table.HOLDING: 125,
}
"Most addresses one request can read (Application Protocol V1.1b3 §6.1–6.4)."


class Poll(Struct, frozen=True, kw_only=True):
    """One read that is sent again every period."""

    asset: str
    table: Table
    start: int
    count: int
    period_ms: int
    phase_ms: int
    "When in each period it is due, from 0 up to but not including the period."
    tags: tuple[Tag, ...]
    "The tags that its answer holds, by address."

    @property
    def span(self) -> Span:
        """What it reads."""
        return Span(self.table, self.start, self.count)


def plan(asset: Asset, tags: Sequence[Tag], merge_gap: int) -> tuple[Poll, ...]:
    """The polls that cover each of the asset's tags exactly once; tags of other assets are left out, and so
    are nodes, which no poll reads.

    `merge_gap` is the most addresses between two tags that may be read for nothing to save a poll.
    """
    own = sorted((tag for tag in tags if tag.asset == asset.name and tag.table is not None), key=_order)
    polls: list[Poll] = []
    for period_ms, together in groupby(own, key=lambda tag: tag.poll_ms):
        runs = [run for _, each in groupby(together, key=_table) for run in _runs(asset, each, merge_gap)]
        polls += _staggered(asset.name, period_ms, runs)
    return tuple(polls)


def cost(polls: Iterable[Poll]) -> float:
    """Polls a second that a plan sends on average."""
    return sum(1000 / poll.period_ms for poll in polls)


def asset_cost(asset: Asset, tags: Sequence[Tag], merge_gap: int) -> float:
    """Polls a second that an asset's tags cost it: the figure that `Asset.polls_per_s` bounds."""
    return cost(plan(asset, tags, merge_gap))


def within_budget(asset: Asset, polls: Iterable[Poll]) -> bool:
    """Whether the asset may be asked that often."""
    return cost(polls) <= asset.polls_per_s


def _order(tag: Tag) -> tuple[int, str, int, int, str]:
    """By period, table and address; of two that start together the longer first: it holds the other."""
    span = tag.span
    return tag.poll_ms, span.table, span.start, -span.count, tag.name


def _table(tag: Tag) -> Table:
    return tag.span.table


def _runs(asset: Asset, tags: Iterable[Tag], merge_gap: int) -> list[tuple[Span, list[Tag]]]:
    """Neighbours merged, one pass over tags that are sorted by address."""
    runs: list[tuple[Span, list[Tag]]] = []
    for tag in tags:
        if runs:
            span, members = runs[-1]
            merged = _merge(asset, span, tag.span, merge_gap)
            if merged is not None:
                members.append(tag)
                runs[-1] = merged, members
                continue
        runs.append((tag.span, [tag]))
    return runs


def _merge(asset: Asset, span: Span, more: Span, merge_gap: int) -> Span | None:
    """One span over both, or None where that would be too long, too wasteful, or leave what is declared."""
    if more.end <= span.end:
        return span
    both = Span(span.table, span.start, more.end - span.start)
    fits = both.count <= MOST_ADDRESSES[both.table] and more.start - span.end <= merge_gap
    return both if fits and _declared(asset, both) else None


def _declared(asset: Asset, span: Span) -> bool:
    """Whether one declared span holds it whole. Two that touch are still two: the device said so."""
    return any(
        own.table == span.table and own.start <= span.start and span.end <= own.end for own in asset.registers
    )


def _staggered(asset: str, period_ms: int, runs: list[tuple[Span, list[Tag]]]) -> list[Poll]:
    """Polls of one period spread evenly over it; where the first falls differs from asset to asset.

    Without that, every device of a plant would be asked at the same instant of each second.
    """
    first = crc32(f"{asset}/{period_ms}".encode()) % max(1, period_ms // len(runs))
    return [
        Poll(
            asset=asset,
            table=span.table,
            start=span.start,
            count=span.count,
            period_ms=period_ms,
            phase_ms=number * period_ms // len(runs) + first,
            tags=tuple(members),
        )
        for number, (span, members) in enumerate(runs)
    ]
