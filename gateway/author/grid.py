"""The boundary grid: questions around everything that two bundles' data and rules distinguish.

From every base (a grant's own question) one dimension at a time is varied, all of them to the end. Then two
at a time, as many as asked for, spread evenly over all pairs. It is a grid, not a proof: a rule that asks for
three unusual things at once can lie between its points.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from msgspec import Struct

from gateway.author.bases import Base
from gateway.author.form import Question
from gateway.author.variations import DIMENSIONS, Change, changed
from gateway.author.vocabulary import Vocabulary

PAIRS = 5_000
"Points with two changes, unless told otherwise: about two seconds."
MOST_BASES = 20_000
"Bases; a larger estate is compared in parts."
STRIDE = 0.6180339887498949
"Golden section: multiples of it spread evenly, and no period of the dimensions resonates with it."


class Point(Struct, frozen=True):
    """One question of the grid."""

    name: str
    "The base, and what is changed."
    question: Question


def singles(bases: Sequence[Base], words: Vocabulary) -> Iterator[Point]:
    """Every base, and every base with one change."""
    for base in bases:
        yield Point(base.name, base.question)
        for dimension in DIMENSIONS.values():
            for change in dimension(base, words):
                yield Point(f"{base.name}: {change[0]}", changed(base.question, change))


def pairs(bases: Sequence[Base], words: Vocabulary, most: int) -> Iterator[Point]:
    """So many points with two changes of different dimensions, the same ones each time."""
    if not bases or most <= 0:
        return
    each, more = divmod(most, len(bases))
    for at, base in enumerate(bases):
        wanted = each + (at < more)
        if not wanted:
            return
        values = [list(dimension(base, words)) for dimension in DIMENSIONS.values()]
        couples = [couple for couple in combinations(values, 2) if all(couple)]
        sizes = [len(first) * len(second) for first, second in couples]
        for place in _places(sum(sizes), wanted):
            one, other = _at(place, couples, sizes)
            question = changed(changed(base.question, one), other)
            yield Point(f"{base.name}: {one[0]}, {other[0]}", question)


def _places(size: int, wanted: int) -> Iterator[int]:
    """Places in a row of that size: all of them, or so many spread evenly."""
    if wanted >= size:
        yield from range(size)
        return
    seen: set[int] = set()
    step = 0
    while len(seen) < wanted:
        step += 1
        place = int((step * STRIDE) % 1.0 * size)
        if place not in seen:
            seen.add(place)
            yield place


def _at(
    place: int, couples: Sequence[tuple[list[Change], list[Change]]], sizes: Sequence[int]
) -> tuple[Change, Change]:
    """The pair at a place among the pairs of all couples of dimensions."""
    for (first, second), size in zip(couples, sizes, strict=True):
        if place < size:
            return first[place // len(second)], second[place % len(second)]
        place -= size
    raise IndexError(place)
