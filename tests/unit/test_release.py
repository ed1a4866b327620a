"""Vetting: what IT may be told about a sample."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.guard.release import UNRELEASED, vet
from gateway.model.asset import DataType
from gateway.model.moment import SECOND, Now
from gateway.model.sample import Quality, Released, Sample, Value, Withheld
from tests.scenarios.north import tag

NOW = Now(1_800_000_000 * SECOND, 100 * SECOND, True, 1_800_000_000 * SECOND)


def sample(
    value: Value | None, quality: Quality = Quality.GOOD, reason: str = "", age_s: float = 0.0
) -> Sample:
    return Sample(
        tag="plc-1.level",
        value=value,
        quality=quality,
        reason=reason,
        at_ns=NOW.wall_ns,
        received_ns=NOW.wall_ns,
        mono_ns=NOW.mono_ns - int(age_s * SECOND),
        sequence=3,
    )


def test_a_good_value_goes_as_it_is() -> None:
    good = sample(41.5)
    assert vet(good, tag("level"), "it", NOW) == Released(good)


@pytest.mark.parametrize(
    ("release", "zone"),
    [("it", "plant"), ("plant", "it"), ("none", "it"), (UNRELEASED, UNRELEASED), ("", "it"), ("it", "")],
)
def test_invariant_8_another_release_class_withholds_the_tag_itself(release: str, zone: str) -> None:
    vetted = vet(sample(1.0), tag("level", release=release), zone, NOW)
    assert isinstance(vetted, Withheld)
    assert (vetted.reasons, vetted.instead) == (("release",), None)


@pytest.mark.parametrize("known", [None, tag("other")])
def test_an_unknown_tag_is_withheld(known: object) -> None:
    vetted = vet(sample(1.0), known, "it", NOW)  # type: ignore[arg-type]
    assert isinstance(vetted, Withheld)
    assert (vetted.reasons, vetted.instead) == (("unknown_tag",), None)


@pytest.mark.parametrize("reason", ["timeout", "exception_02", "restart", ""])
def test_a_bad_sample_goes_as_bad_with_its_reason_and_without_the_last_value(reason: str) -> None:
    vetted = vet(sample(41.5, Quality.BAD, reason), tag("level"), "it", NOW)
    assert isinstance(vetted, Released)
    told = vetted.sample
    assert (told.value, told.quality, told.reason) == (None, Quality.BAD, reason or "unspecified")
    assert told.sequence == 3


@pytest.mark.parametrize(
    ("value", "changes", "fault"),
    [
        (100.5, {}, "range"),
        (-0.1, {}, "range"),
        (100.0, {}, None),
        (0.0, {}, None),
        (1e9, {"high": None}, None),
        (nan, {"low": None, "high": None}, "type"),
        (inf, {"low": None, "high": None}, "type"),
        (None, {}, "type"),
        (True, {}, "type"),
        (1, {"type": DataType.BOOL}, "type"),
        (True, {"type": DataType.BOOL}, None),
    ],
)
def test_type_and_range(value: Value | None, changes: dict[str, object], fault: str | None) -> None:
    vetted = vet(sample(value), tag("level", **changes), "it", NOW)
    if fault is None:
        assert isinstance(vetted, Released)
        return
    assert isinstance(vetted, Withheld)
    assert vetted.reasons == (fault,)
    assert vetted.instead is not None
    told = vetted.instead.sample
    assert (told.value, told.quality, told.reason) == (None, Quality.BAD, fault)


@pytest.mark.parametrize(("age_s", "quality"), [(5.0, Quality.GOOD), (5.001, Quality.UNCERTAIN)])
def test_older_than_stale_is_uncertain(age_s: float, quality: Quality) -> None:
    vetted = vet(sample(41.5, age_s=age_s), tag("level", stale_ms=5000), "it", NOW)
    assert isinstance(vetted, Released)
    assert (vetted.sample.value, vetted.sample.quality) == (41.5, quality)


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats()


@given(
    value=VALUES,
    quality=st.sampled_from(Quality),
    kind=st.sampled_from(DataType),
    release=st.sampled_from(["it", "plant", "none", ""]),
    zone=st.sampled_from(["it", "plant", "none", ""]),
    age_s=st.floats(0, 100),
)
def test_whatever_comes_what_is_said_has_a_value_exactly_where_it_is_not_bad(
    value: Value | None, quality: Quality, kind: DataType, release: str, zone: str, age_s: float
) -> None:
    vetted = vet(sample(value, quality, "x", age_s), tag("level", type=kind, release=release), zone, NOW)
    said = vetted if isinstance(vetted, Released) else vetted.instead
    if said is None:
        return
    assert release == zone != UNRELEASED
    assert (said.sample.value is None) == (said.sample.quality is Quality.BAD)
    assert said.sample.value in (None, value)
    assert said.sample.reason or said.sample.quality is Quality.GOOD
