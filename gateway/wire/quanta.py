"""Tags and numbers, whatever the protocol: raw number ⇄ engineering value ⇄ quanta.

    raw      the number on the wire
    value    raw × scale + offset, in the tag's unit: what people and IT see
    quanta   value ÷ resolution, rounded half to even: the integer that policy sees

Policy compares quanta with limits, so a quantum too few or too many is a wrong decision. Numbers in the
configuration are decimal ("0.1" is a tenth, not the nearest binary fraction): `quanta` computes with exact
fractions. That costs microseconds, and only writes and polls pay them; reading a client's request does not.
"""

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

from gateway.model.asset import DataType, Tag
from gateway.model.moment import Now
from gateway.model.operation import Point
from gateway.model.sample import Value

MOST_QUANTA = 2**53
"Beyond it JSON numbers are not exact everywhere: an engine might compare another number than we sent."
MOST_FRACTIONS = 4096
"Decimal numbers of the configuration remembered as fractions: three a tag, most of them equal."

INTEGERS = frozenset(set(DataType) - {DataType.BOOL, DataType.FLOAT32, DataType.FLOAT64})
_NANOSECONDS = 1_000_000
"In a millisecond."


class LastValues(Protocol):
    """What the collector knows."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        """Quanta last polled, and the monotonic nanosecond of it; null where unknown."""


def point(tag: Tag, q: int | None, last: LastValues, now: Now) -> Point:
    """A tag that would be written, beside the last value polled and its age."""
    known = last.last(tag.name)
    if known is None or known[0] is None:
        return Point(tag.name, q)
    return Point(tag.name, q, known[0], max(0, now.mono_ns - known[1]) // _NANOSECONDS)


def rounded(tag: Tag, value: Value) -> Value:
    """The value in whole quanta: digits beyond the tag's resolution are noise, and no news to anybody."""
    if tag.type is DataType.BOOL or tag.type in INTEGERS:
        return value
    q = quanta(tag, value)
    return value if q is None else float(q * fraction(tag.resolution))


def quanta(tag: Tag, value: Value) -> int | None:
    """An engineering value in the tag's resolution; None if it is no finite number or beyond ±2⁵³.

    A value that came from an integer register is taken back to that integer first, so that a float's last
    bit cannot move it across half a quantum.
    """
    if tag.type is DataType.BOOL:
        return int(value) if value in (0, 1) else None
    try:
        if tag.type in INTEGERS and tag.scale:
            steps = round((value - tag.offset) / tag.scale)
            if scaled(tag, steps) == value:
                return quanta_of_raw(tag, steps)
        return _rounded(tag, Fraction(Decimal(repr(value))))
    except (ValueError, OverflowError):
        return None


def quanta_of_raw(tag: Tag, number: Value) -> int | None:
    """The same, straight from what the registers say."""
    if tag.type not in INTEGERS:
        return quanta(tag, scaled(tag, number) if isinstance(number, float) else number)
    try:
        return _rounded(tag, int(number) * fraction(tag.scale) + fraction(tag.offset))
    except (ValueError, OverflowError):
        return None


def scaled(tag: Tag, number: float) -> int | float:
    """The engineering value of a raw number."""
    return number if tag.scale == 1 and tag.offset == 0 else number * tag.scale + tag.offset


def _rounded(tag: Tag, value: Fraction) -> int | None:
    """Half to even; None where the resolution is no positive number or the result is too large."""
    if not 0 < tag.resolution < float("inf"):
        return None
    q = round(value / fraction(tag.resolution))
    return q if -MOST_QUANTA <= q <= MOST_QUANTA else None


@lru_cache(MOST_FRACTIONS)
def fraction(number: float) -> Fraction:
    """What the configuration says, as people wrote it. ValueError or OverflowError for NaN and infinity."""
    return Fraction(Decimal(repr(number)))
