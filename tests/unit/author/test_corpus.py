"""What a journal gives back: every operation once, whole questions, and a count of what it cannot give."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.author import corpus
from gateway.author.corpus import Span, journal_of, moment
from gateway.author.form import UnaskableError, complete
from gateway.author.hours import Hours
from gateway.author.recorded import MOST_WHYS, Recorded, Seen, said
from gateway.model.errors import GatewayError
from gateway.model.moment import SECOND
from gateway.policy import documents
from gateway.policy.bundle import parse_yaml
from tests.policy.questions import HMI, VIEW, caller, shipped
from tests.unit.audit.world import WALL
from tests.unit.author.world import quiet, reading, record, replayed, setting

HMI_1 = caller(HMI, "operator")
VIEW_1 = caller(VIEW, "viewer")


def lines(*values: dict[str, Any], who: dict[str, Any] | None = None) -> tuple[list[Recorded], Seen]:
    seen = Seen()
    text = io.BytesIO(b"\n".join(map(msgspec.json.encode, values)))
    return list(corpus.lines(text, who or {}, Span(), seen, quiet)), seen


def question() -> dict[str, Any]:
    """A whole question, as the product's own tests have it."""
    bases = parse_yaml("bases.yaml", shipped().tests["tests/bases.yaml"])["bases"]
    found: dict[str, Any] = json.loads(json.dumps(bases["read"]))
    complete(found)
    return found


def test_every_operation_of_a_journal_comes_back_as_often_as_it_happened(tmp_path: Path) -> None:
    asked = [
        *[(HMI_1, reading(start)) for start in (0, 5, 0, 0)],
        (HMI_1, setting(425)),
        (VIEW_1, setting(425)),
        (VIEW_1, reading(7)),
    ]
    found, seen = replayed(record(tmp_path, shipped(), asked))
    assert seen.operations == sum(each.count for each in found) == len(asked)
    assert not seen.unusable
    assert not seen.damaged
    by = {
        (asked["subject"]["id"], asked["modbus"]["start"], asked["op"]["action"]): each
        for each in found
        for asked in [each.question]
    }
    assert by[HMI, 0, "read"].count == 3
    denied = by[VIEW, 0, "write"]
    assert denied.said is not None
    assert not denied.said.allow
    assert not denied.passed
    written = by[HMI, 0, "write"]
    assert written.said is not None
    assert written.said.grants == ("operator-level-setpoint",)
    assert written.said.obligations == ('{"type":"audit"}',)
    for each in found:
        documents.schema("input").validate(each.question)


def test_since_and_until_cut_a_journal(tmp_path: Path) -> None:
    asked = [(HMI_1, setting(100 + number)) for number in range(1500)]
    folder = record(tmp_path, shipped(), asked)
    second = WALL + 3 * SECOND  # the clock begins at 1 s, and the first 1000 come a second later
    early, _ = replayed(folder, Span(until_ns=second))
    late, _ = replayed(folder, Span(since_ns=second))
    assert (len(early), len(late)) == (1000, 500)


def test_a_record_of_an_older_schema_is_filled_with_null_and_told() -> None:
    old = question()
    for name in ("admin", "opcua"):
        del old[name]
    del old["state"]["break_glass"]
    found, seen = lines(old)
    assert found[0].question["admin"] is None
    assert set(seen.filled) == {"admin", "opcua", "state.break_glass"}
    documents.schema("input").validate(found[0].question)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda asked: asked.pop("subject"), "subject is missing"),
        (lambda asked: asked["conn"].pop("zone"), "conn.zone is missing"),
        (lambda asked: asked.update(wish=1), "wish is no field"),
    ],
)
def test_a_question_that_cannot_be_made_whole_is_counted_not_asked(change: Any, why: str) -> None:
    asked = question()
    change(asked)
    with pytest.raises(UnaskableError, match=why):
        complete(json.loads(json.dumps(asked)))
    found, seen = lines(asked)
    assert not found
    assert sum(seen.unusable.values()) == 1


def test_the_causes_that_are_counted_by_name_are_bounded() -> None:
    seen = Seen()
    for number in range(MOST_WHYS + 10):
        seen.unable(f"cause {number}")
    assert len(seen.unusable) == MOST_WHYS + 1
    assert seen.unusable["others"] == 10


def test_what_is_no_answer_of_policy_is_not_taken_for_one() -> None:
    engine = {"decision": "deny", "reasons": [{"code": "engine.error", "kind": "engine"}]}
    assert said(engine) is None
    unmet = said({"decision": "deny", "reasons": [{"code": "obligation.rate", "kind": "obligation"}]})
    assert unmet is not None
    assert unmet.allow, "policy allowed it, and the gateway could not do what policy asked for"
    waived = said({"decision": "would_deny", "reasons": [{"code": "grant.none", "kind": "default"}]})
    assert waived is not None
    assert not waived.allow


def test_a_captured_request_is_whose_somebody_says_it_is() -> None:
    asked = question()
    asked["subject"] |= {"id": "anonymous:inspect", "kind": "nobody", "auth": "none"}
    asked["conn"]["src"] = "10.0.0.5"
    line = {"frame": 7, "decisions": [{"decision": "denied", "reasons": [], "kinds": [], "question": asked}]}
    found, _ = lines(line, who={"10.0.0.5": (HMI, ("operator",))})
    assert found[0].question["subject"]["id"] == HMI
    assert found[0].question["subject"]["role_state"] == "ok"
    assert found[0].passed
    assert found[0].id == "frame 7"
    known = json.loads(json.dumps(line))
    known["decisions"][0]["question"]["subject"]["kind"] = "workload"
    assert lines(known, who={"10.0.0.5": (HMI, ())})[0][0].question["subject"]["id"] != HMI


def test_windows_are_those_of_the_bundle_that_is_asked() -> None:
    hours = Hours({"day": {"days": ["mon"], "from": "06:00", "to": "18:00", "zone": "UTC"}, "by-hand": {}})
    asked = question()
    asked["time"] = {"ns": 1_795_996_800 * SECOND, "windows": ["by-hand", "day"], "trusted": True}
    assert hours.put(asked)["time"]["windows"] == ["by-hand"]
    asked["time"]["ns"] += 6 * 3600 * SECOND
    assert hours.put(asked) is asked


def test_a_time_says_its_zone() -> None:
    assert moment("2026-11-23T08:00:00Z", 0) == 1_795_420_800 * SECOND
    assert moment("7d", 8 * 86_400 * SECOND) == 86_400 * SECOND
    for text in ("2026-11-23T08:00:00", "yesterday", "d"):
        with pytest.raises(GatewayError):
            moment(text, 0)


def test_a_folder_without_a_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="holds no journal"):
        journal_of(tmp_path)
