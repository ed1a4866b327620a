"""Explanations: what they say of allows and denials, and that no change is said to help that does not."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.author.conditions import conditions, lacking
from gateway.author.edits import Edit, applied
from gateway.author.explain import explain
from gateway.author.nearest import Change
from gateway.cli import main
from gateway.model.decision import Allowed
from gateway.model.identity import Caller
from gateway.policy import documents, testing
from gateway.policy.bundle import Bundle
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy, load
from tests.policy.questions import HMI, NOBODY, VIEW, caller, conditioned, shipped
from tests.unit.author.world import reading, record, setting
from tests.unit.policy.bundles import changed, written

Question = dict[str, Any]


@cache
def policy() -> Policy:
    return load(shipped())


def question(base: str, **patch: Any) -> Question:
    """A question of the shipped tables, changed."""
    bases = testing.rows(policy())
    asked = {row.case.base: row for row in reversed(bases)}[base]
    whole = testing._table(testing.BASES, shipped().tests[testing.BASES]).bases[base]
    assert asked.case.base == base
    return dict(testing.patched(whole, patch))


def operator() -> Caller:
    return caller(HMI, "operator")


def percent(tag: str) -> tuple[float, str] | None:
    return (0.1, "%") if tag == "plc-1.level_sp" else None


def with_grants(*grants: dict[str, Any]) -> Policy:
    bundle = shipped()
    return load(msgspec.structs.replace(bundle, data={**bundle.data, "grants": list(grants)}))


def reads(name: str, *ranges: list[int], **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "subjects": [HMI],
        "actions": ["read"],
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [{"table": "holding", "ranges": list(ranges)}],
        **more,
    }


def holding(start: int, count: int) -> Question:
    return question("read", modbus={"fc": 3, "table": "holding", "start": start, "count": count})


def test_an_allow_names_the_grant_and_how_each_condition_held() -> None:
    told = explain(policy(), question("write"), percent)
    assert told.decision == "allow"
    assert told.sentence == (
        f"{HMI} (operator) may write 425 (42.5 %) to plc-1.level_sp (holding 0 of plc-1): "
        "grant operator-level-setpoint gives it, and no rule denies it."
    )
    (grant,) = told.matched
    lines = shipped().files["data/grants.yaml"].decode().splitlines()
    assert lines[_line(grant.where) - 1].endswith("id: operator-level-setpoint")
    held = {one.condition: one for one in grant.conditions}
    assert set(held) == {"action", "protocol", "asset", "subject", "addresses", "tags", "limits"}
    assert (
        held["limits"].gives == "plc-1.level_sp from 100 (10 %) to 900 (90 %), in steps of at most 300 (30 %)"
    )
    assert held["limits"].asked == "425 (42.5 %), a step of 25 (2.5 %) from 400 (40 %)"
    assert lines[_line(held["limits"].where) - 1].strip() == "limits:"
    assert held["subject"].asked.startswith(f"{HMI}, bound to operator; the certificate claims operator")
    assert told.obligations == ("audit",)


def _line(where: str) -> int:
    return int(where.rpartition(":")[2])


CHANGES: list[tuple[str, dict[str, Any], str, tuple[str, ...], str]] = [
    # base, patch, nearest grant, what it lacks, and what would allow it
    (
        "write",
        {"points": [{"tag": "plc-1.level_sp", "q": 901, "q_prev": 900, "age_ms": 0}]},
        "operator-level-setpoint",
        ("limits",),
        "raise max of plc-1.level_sp in grant operator-level-setpoint from 900 (90 %) to 901 (90.1 %)",
    ),
    (
        "write",
        {"points": [{"tag": "plc-1.level_sp", "q": 701, "q_prev": 400, "age_ms": 0}]},
        "operator-level-setpoint",
        ("limits",),
        "raise max_delta of plc-1.level_sp in grant operator-level-setpoint from 300 to 301",
    ),
    (
        "read",
        {"modbus": {"start": 98, "count": 4}},
        "operator-reads",
        ("addresses",),
        "widen input 0-99 of grant operator-reads to 0-101",
    ),
    (
        "write",
        {"subject": {"id": VIEW, "roles": ["operator"]}},
        "operator-level-setpoint",
        ("subject",),
        f"bind role operator to {VIEW}",
    ),
    (
        "read",
        {"modbus": {"fc": 43, "mei": 14, "table": None, "start": None, "count": None}},
        "operator-reads",
        ("addresses",),
        "add function 43 to modbus of grant operator-reads",
    ),
]


@pytest.mark.parametrize(("base", "patch", "grant", "lacks", "said"), CHANGES)
def test_the_nearest_grant_and_the_smallest_change(
    base: str, patch: dict[str, Any], grant: str, lacks: tuple[str, ...], said: str
) -> None:
    told = explain(policy(), question(base, **patch), percent)
    near = told.nearest[0]
    assert (told.decision, near.grant, tuple(one.condition for one in near.lacks)) == ("deny", grant, lacks)
    assert near.change is not None
    assert near.change.would_allow
    assert near.change.said[0].startswith(said)
    assert near.change.said[0].endswith(")"), "the file and line to change"


def test_no_change_is_said_to_help_that_does_not() -> None:
    """Over rows of the shipped tables: apply what is said, and ask again."""
    seen = 0
    for row in testing.rows(policy())[::6]:
        told = explain(policy(), row.question)
        for near in told.nearest:
            if near.change is not None:
                seen += near.change.would_allow
                assert near.change.would_allow == _allows(near.change, row.question), near
        if told.own_grant is not None:
            at = len(shipped().data["grants"])
            change = Change(said=(), data=((("grants", at), told.own_grant),), would_allow=True)
            assert _allows(change, row.question)
    assert seen > 4, "or the rows have nothing that could be granted"


def _allows(change: Change, asked: Question) -> bool:
    data = copy.deepcopy(json.loads(json.dumps(shipped().data)))
    data = applied(data, [Edit(path, value, "") for path, value in change.data])
    bundle = msgspec.structs.replace(shipped(), data=data)
    if documents.faults(bundle):
        return False
    decision = Engine(load(bundle)).evaluate(json.dumps(asked).encode(), "")
    return isinstance(decision, Allowed)


def test_lines_that_grants_share_are_told() -> None:
    told = explain(policy(), question("read", modbus={"start": 98, "count": 4}))
    change = told.nearest[0].change
    assert change is not None
    assert change.note == "shares these lines with viewer-reads: write them out first"


def test_a_grant_without_limits_is_no_small_change_for_a_value_beyond_them() -> None:
    points = [{"tag": "plc-1.level_sp", "q": 901, "q_prev": 900, "age_ms": 0}]
    told = explain(policy(), question("write", points=points), percent)
    assert [near.grant for near in told.nearest] == ["operator-level-setpoint"], (
        "operator-pump limits nothing"
    )
    assert [change.said for change in told.otherwise] == [("write at most 900 (90 %) to plc-1.level_sp",)]
    assert told.own_grant is not None
    assert told.own_grant["limits"]["plc-1.level_sp"]["max"] == 901


def test_what_lies_beyond_the_bounds_is_said_to_be_refused() -> None:
    told = explain(policy(), question("pump", modbus={"start": 0, "count": 3, "fc": 15}, points=[]))
    change = told.nearest[0].change
    assert change is not None
    assert not change.would_allow
    assert "no gateway would load it" in change.instead
    assert "beyond bounds.writable" in change.instead
    assert told.own_grant is None


BEYOND: list[tuple[dict[str, Any], str, str, str]] = [
    ({"state": {"freeze": True}}, "guardrail.freeze", "core/guardrails.rego", "SR 3.6"),
    ({"modbus": {"start": 1}}, "site.pump_speed_local", "site/demo/site.rego", "SR 2.1"),
]


@pytest.mark.parametrize(("patch", "code", "file", "standard"), BEYOND)
def test_no_grant_can_help_against_other_rules(
    patch: dict[str, Any], code: str, file: str, standard: str
) -> None:
    told = explain(policy(), question("write", **patch))
    assert told.no_grant_helps
    assert (told.nearest, told.own_grant) == ((), None)
    spoke = told.spoke[0]
    assert (spoke.code, spoke.standard) == (code, standard)
    assert spoke.title
    name, _, line = spoke.where.partition(":")
    assert name == file
    text = shipped().files[file].decode().splitlines()
    assert code in "\n".join(text[int(line) - 1 : int(line) + 2])


def test_a_block_that_straddles_two_grants_is_named_as_such() -> None:
    two = with_grants(reads("a", [0, 9]), reads("b", [10, 19]))
    told = explain(two, holding(8, 4))
    assert told.straddle == (
        "addresses 8-11 lie in grant a up to 9 and grant b from 10: one range is needed for one request"
    )
    assert told.straddle in told.sentence
    assert ("read holding 8-9 and 10-11 by themselves",) in [change.said for change in told.otherwise]
    near = told.nearest[0].change
    assert near is not None
    assert near.would_allow
    assert near.said[0].startswith("widen holding 0-9 of grant a to 0-11")


@pytest.mark.parametrize(("start", "count"), [(8, 2), (9, 1), (19, 2), (25, 2)])
def test_other_blocks_straddle_nothing(start: int, count: int) -> None:
    two = with_grants(reads("a", [0, 9]), reads("b", [10, 19]))
    assert explain(two, holding(start, count)).straddle == ""


def test_ranges_of_one_grant_are_straddled_too() -> None:
    told = explain(with_grants(reads("a", [0, 9], [10, 19])), holding(9, 2))
    assert "grant a up to 9 and the same grant from 10" in told.straddle


def test_a_window_is_told_with_its_hours_and_what_would_be_allowed_in_it() -> None:
    told = explain(with_grants(reads("day", [0, 9], windows=["working-hours"])), holding(0, 1))
    assert "mon, tue, wed, thu, fri 06:00-18:00 Europe/Berlin" in told.sentence
    assert told.nearest[0].change is None, "no window was open that could be added"
    (change,) = told.otherwise
    assert change.said[0].startswith("ask while working-hours (")


def test_nobody_is_given_no_grant_of_their_own() -> None:
    subject = {"id": NOBODY, "kind": "nobody", "auth": "none", "roles": [], "role_state": "absent"}
    told = explain(policy(), question("read", subject=subject, conn={"listener": "legacy", "tls": None}))
    assert (told.own_grant, told.nearest) == (None, ())


def test_every_condition_of_core_is_known() -> None:
    """A grant that fits lacks nothing, and one that does not lacks something: the conditions are all."""
    whole = load(conditioned())
    assert {"subject", "addresses", "limits", "window", "topic"} <= set(conditions(whole))
    for row in testing.rows(policy())[:: len(testing.rows(policy())) // 40]:
        fitting = {
            whole.bundle.data["grants"][each.place]["id"]
            for each in lacking(whole, row.question)
            if not each.conditions
        }
        decision = Engine(whole).evaluate(json.dumps(row.question).encode(), "")
        assert fitting == set(decision.grants), row.case.name


def test_a_condition_of_a_later_core_is_found(tmp_path: Path) -> None:
    core = shipped().modules["core/grants.rego"]
    core = core.replace("	topic_fits(grant)\n", "	topic_fits(grant)\n	moon_fits(grant)\n", 1)
    core += "\nmoon_fits(grant) if {\n\tnot grant.description\n}\n"
    assert "moon" in conditions(load(changed(tmp_path, {"core/grants.rego": core})))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., tuple[Path, Bundle]]:
    """A data folder with a journal, and the bundle that decided kept in it as a gateway does."""

    def make(*asked: Any) -> tuple[Path, Bundle]:
        data = record(tmp_path / "data", shipped(), asked)
        written(data / "bundles" / shipped().revision, {})
        return data, shipped()

    return make


def explained(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["policy", "explain", "--json", *argv]) == 0
    return dict(json.loads(capsys.readouterr().out))


def found(capsys: pytest.CaptureFixture[str], data: Path, *argv: str) -> dict[str, Any]:
    assert main(["audit", "search", "--json", "--data", str(data), *argv]) == 0
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1])["record"])


def test_a_recorded_denial_and_a_recorded_write(
    folder: Callable[..., tuple[Path, Bundle]], capsys: pytest.CaptureFixture[str]
) -> None:
    data, bundle = folder(
        (operator(), setting(901, 900)), (operator(), setting(425)), (operator(), reading())
    )
    denial = found(capsys, data, "--decision", "deny")
    for ulid in (denial["id"], denial["why"]["evaluation"]):
        report = explained(capsys, ulid, "--journal", str(data))
        (told,) = report["explanations"]
        assert (told["decision"], told["differs"]) == ("deny", "")
        assert told["revision"] == bundle.revision
        assert told["nearest"][0]["grant"] == "operator-level-setpoint"
    intent = found(capsys, data, "--kind", "intent")
    (told,) = explained(capsys, intent["id"], "--journal", str(data / "journal"), "--bundle", _copy(data))[
        "explanations"
    ]
    assert told["decision"] == "allow"
    window = found(capsys, data, "--kind", "window")
    (told,) = explained(capsys, window["id"], "--journal", str(data))["explanations"]
    assert [one["grant"] for one in told["matched"]] == ["operator-reads"]


def _copy(data: Path) -> str:
    return str(next((data / "bundles").iterdir()))


def test_what_the_record_says_otherwise_is_told(
    folder: Callable[..., tuple[Path, Bundle]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = folder((operator(), setting(901, 900)))
    denial = found(capsys, data, "--decision", "deny")
    grants = shipped().files["data/grants.yaml"].decode().replace("max: 900", "max: 950")
    other = written(tmp_path / "other", {"data/grants.yaml": grants})
    (told,) = explained(capsys, denial["id"], "--journal", str(data), "--bundle", str(other))["explanations"]
    assert told["decision"] == "allow"
    assert told["differs"].startswith("recorded was: denied by ")
    assert "grant.limits" in told["differs"]


def test_a_bundle_that_is_gone_is_named(
    folder: Callable[..., tuple[Path, Bundle]], capsys: pytest.CaptureFixture[str]
) -> None:
    data, bundle = folder((operator(), setting(901, 900)))
    denial = found(capsys, data, "--decision", "deny")
    (data / "bundles" / bundle.revision).rename(data / "elsewhere")
    assert main(["policy", "explain", denial["id"], "--journal", str(data)]) == 2
    assert f"bundle {bundle.revision[:12]}, which decided, is no longer there" in capsys.readouterr().err
    assert main(["policy", "explain", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--journal", str(data)]) == 2
    assert "no decision 01ARZ3NDEKTSV4RRFFQ69G5FAV" in capsys.readouterr().err


def test_a_question_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(written(tmp_path / "bundle", {}))
    file = tmp_path / "question.json"
    file.write_text(json.dumps(question("write", state={"freeze": True})))
    assert main(["policy", "explain", "--input", str(file), "--bundle", bundle]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"DENIED: {HMI} (operator) may not write ")
    assert "no grant can help" in out
    file.write_text(json.dumps({"schema": "dmz.input/1", "op": 3}))
    assert main(["policy", "explain", "--input", str(file), "--bundle", bundle]) == 2
    assert "question.json" in capsys.readouterr().err


def test_who_may(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(written(tmp_path, {}))
    ask = ["policy", "explain", "--bundle", bundle, "--who-may", "write", "--asset", "plc-1"]
    assert main([*ask, "--tag", "plc-1.level_sp", "--json"]) == 0
    rights = {one["grant"]: one for one in json.loads(capsys.readouterr().out)["rights"]}
    assert HMI in rights["operator-level-setpoint"]["who"]
    assert rights["operator-level-setpoint"]["conditions"][0].startswith("plc-1.level_sp from 100 to 900")
    assert main(["policy", "explain", "--bundle", bundle, "--who-may", "call", "--asset", "meter-1"]) == 1
    assert capsys.readouterr().out == "nobody\n"
    with pytest.raises(SystemExit):
        main(["policy", "explain", "--bundle", bundle, "--who-may", "fly"])


def test_the_call_must_say_what_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain"]) == 2
    assert "name a DECISION-ID, or --input FILE" in capsys.readouterr().err


def test_an_obligation_that_was_not_met_and_a_stage_that_let_through_are_told() -> None:
    unmet = {"code": "obligation.rate", "kind": "obligation", "msg": "once in 10 s"}
    told = explain(policy(), question("write"), recorded={"decision": "deny", "reasons": [unmet]})
    assert (told.decision, told.differs, told.spoke[0].code) == ("deny", "", "obligation.rate")
    assert told.sentence.endswith("grant operator-level-setpoint gives it, but once in 10 s.")
    frozen = question("write", state={"freeze": True})
    reason = {"code": "guardrail.freeze", "kind": "guardrail", "msg": ""}
    told = explain(policy(), frozen, recorded={"decision": "would_deny", "reasons": [reason]})
    assert told.differs.startswith("it was let through")
