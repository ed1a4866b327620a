"""What a reviewer may ask: closed forms, and one text for each question."""

from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.review import jobs
from gateway.review.jobs import Job
from gateway.review.rows import target
from gateway.review.wishes import Follow, Grown, NotUnderstoodError, Search, Show, said, understood


def test_a_question_is_understood_and_said_again_in_one_form() -> None:
    given = {"until": "2026-11-23T09:00:00+01:00", "asset": "plc-1", "limit": "100"}
    wish = understood(Search, given)
    assert isinstance(wish, Search)
    assert said(wish) == "asset=plc-1&until=2026-11-23T08%3A00%3A00%2B00%3A00"
    assert understood(Search, dict(parse_qsl(said(wish)))) == wish


def test_who_asks_for_everything_is_recorded_as_that() -> None:
    assert said(Search()) == ""
    assert target(Search()).value is None


def test_what_policy_sees() -> None:
    assert target(Follow(asset="plc-1")).scope == "asset:plc-1"
    assert target(Search(tag="plc-1.level")).scope is None
    shown = target(Show(record="7"))
    assert (shown.scope, shown.request, shown.value) == (None, "7", "record=7")
    assert target(Grown(old=3, new=9)).value == "from=3&to=9"


@pytest.mark.parametrize(
    "asked",
    [
        {"nobody": "1"},
        {"type": "Show"},
        {"limit": "0"},
        {"limit": "many"},
        {"since": "2026-11-23"},
        {"who": ""},
        {"who": "x" * 513},
        {"action": "destroy"},
        {"changed_to": "lots"},
        {"cursor": "-1"},
        {"outcome": "good"},
        {"since": "0001-01-01T00:00:00+23:59"},
        {"who": "\ud800"},
    ],
)
def test_what_fits_no_form_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(NotUnderstoodError):
        understood(Search, asked)


@pytest.mark.parametrize("record", ["", "x", "7/../8", "01ARZ3NDEKTSV4RRFFQ69G5FA", "1" * 16, "7\n"])
def test_a_record_has_an_index_or_a_ulid(record: str) -> None:
    with pytest.raises(NotUnderstoodError):
        understood(Show, {"record": record})


@given(st.dictionaries(st.sampled_from([*Search.__struct_fields__, "x"]), st.text(max_size=40), max_size=5))
def test_any_query_is_a_question_or_a_mistake_and_survives_the_way(asked: dict[str, str]) -> None:
    try:
        wish = understood(Search, asked)
    except NotUnderstoodError:
        return
    job = Job(wish, 1.0)
    assert jobs.jobs.decode(jobs.encoded(job)) == job
    assert msgspec.json.encode(said(wish))
