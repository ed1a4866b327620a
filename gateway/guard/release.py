"""Vetting: whether IT may have a sample. The only function that makes Released (invariant 8).

Two things are kept apart. Whether IT may know the tag at all is its release class; where it may not, nothing
goes north, not even that the tag exists. Whether its *value* can be relied on is quality: then IT is told
honestly that there is no value, and why. One rule follows that consumers can build on: the value is null
exactly where quality is bad.

Policy may oblige the gateway to say less of what is released (`masked`, `rounded`); more it cannot.
"""

from decimal import Decimal
from fractions import Fraction
from math import isfinite

from msgspec.structs import replace

from gateway.model.asset import DataType, Tag
from gateway.model.moment import Now
from gateway.model.sample import Quality, Released, Sample, Vetted, Withheld
from gateway.wire.modbus import points

UNRELEASED = "none"
"The release class that no zone can have: the tag stays in the plant."


def vet(sample: Sample, tag: Tag | None, zone: str, now: Now) -> Vetted:
    """Released as it is, as it may be told, or Withheld. `zone` is the zone of whoever would get it.

    | fault               | north                                                        |
    |---------------------|--------------------------------------------------------------|
    | unknown tag         | Withheld `unknown_tag`, nothing is said                      |
    | release class       | Withheld `release`, nothing is said                          |
    | quality bad         | Released without the value, with the reason                  |
    | wrong type, NaN     | Withheld `type`; instead: bad `type`                         |
    | outside low … high  | Withheld `range`; instead: bad `range`                       |
    | older than stale_ms | Released as uncertain `stale`: the last value that was known |
    """
    if tag is None or tag.name != sample.tag:
        return Withheld(sample, ("unknown_tag",))
    if UNRELEASED in (tag.release, zone) or tag.release != zone:
        return Withheld(sample, ("release",))
    if sample.quality is Quality.BAD:
        return _without_value(sample, sample.reason or "unspecified")
    fault = _fault(sample, tag)
    if fault is not None:
        return Withheld(sample, (fault,), _without_value(sample, fault))
    if now.mono_ns - sample.mono_ns > tag.stale_ms * 1_000_000:
        return Released(replace(sample, quality=Quality.UNCERTAIN, reason="stale"))
    return Released(sample)


def masked(released: Released) -> Released:
    """The tag is there and its value is not for the asker: bad `masked`, whatever it was."""
    return _without_value(released.sample, "masked")


def rounded(released: Released, tag: Tag, step: int) -> Released:
    """The nearest multiple of `step` quanta, half to even; it may lie just outside low … high.

    A number that is too large to be counted in quanta cannot be rounded, and its value stays here.
    """
    value = released.sample.value
    if value is None:
        return released
    q = points.quanta(tag, value)
    if q is None:
        return _without_value(released.sample, "round")
    there = round(Fraction(q, step)) * step * Decimal(repr(tag.resolution))
    whole = isinstance(value, int) and there == int(there)
    return Released(replace(released.sample, value=int(there) if whole else float(there)))


def _without_value(sample: Sample, reason: str) -> Released:
    return Released(replace(sample, value=None, quality=Quality.BAD, reason=reason))


def _fault(sample: Sample, tag: Tag) -> str | None:
    value = sample.value
    if tag.type is DataType.BOOL:
        return None if isinstance(value, bool) else "type"
    if value is None or isinstance(value, bool) or not isfinite(value):
        return "type"
    below = tag.low is not None and value < tag.low
    above = tag.high is not None and value > tag.high
    return "range" if below or above else None
