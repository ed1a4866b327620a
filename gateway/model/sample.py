"""What the plant said, and whether IT may have it."""

from enum import StrEnum

from msgspec import Struct

Value = bool | int | float


class Quality(StrEnum):
    """Whether a value can be relied on (OPC UA Part 8's three severities)."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Sample(Struct, frozen=True, kw_only=True):
    """One value of one tag. A bad sample keeps the last value known and says why it is not good."""

    tag: str
    value: Value | None
    "Engineering units."
    quality: Quality
    reason: str = ""
    "Empty when good: `timeout`, `device_down`, `exception_02`, `denied`, `restart`, `stale`, `range` …"
    at_ns: int
    "Acquisition time: when the plant's answer arrived, wall clock."
    received_ns: int
    mono_ns: int
    "When it arrived by the monotonic clock: age is judged by this one, since a wall clock may jump."
    sequence: int = 0
    "Counts the samples of a tag since start."


class Released(Struct, frozen=True):
    """A sample that passed vetting. Sinks accept nothing else (invariant 8)."""

    sample: Sample


class Withheld(Struct, frozen=True):
    """A sample that stays in the plant, and why."""

    sample: Sample
    reasons: tuple[str, ...]
    instead: Released | None = None
    """What may be said in its place: the same tag without the value, quality bad, and why. Null where IT may
    not know the tag at all."""


Vetted = Released | Withheld
