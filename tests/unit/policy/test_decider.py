"""The decider: nothing without a bundle, a bad bundle changes nothing, shared answers are watched."""

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.guard.ports import Engine as Port
from gateway.model.decision import Allowed, Denied, Origin
from gateway.model.errors import PolicyError
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.policy import cache as caching
from gateway.policy import decider as deciding
from gateway.policy import testing
from gateway.policy.cache import Cache, Projection
from gateway.policy.decider import Decider, prepare
from gateway.policy.engine import Engine
from gateway.policy.facts import Facts
from gateway.policy.loader import Policy, load
from tests.policy.questions import HISTORIAN, NOW, OPEN, caller, fetch, publish, read, shipped, write
from tests.unit.policy.bundles import HEAD, changed

HMI = caller("spiffe://demo.example/plant/hmi-1", "operator")


class Limits:
    """Settings of a decider."""

    def __init__(self, cache_entries: int = 1_000, recheck_one_in: int = 1_000_000) -> None:
        self.cache_entries = cache_entries
        self.recheck_one_in = recheck_one_in


class Heard(list[tuple[str, dict[str, Any]]]):
    """What the alarm said."""

    def __call__(self, code: str, note: dict[str, Any]) -> None:
        self.append((code, note))


@cache
def prepared() -> Policy:
    return prepare(shipped())


def ready(entries: int = 1_000, recheck: int = 1_000_000, alarm: Heard | None = None) -> Decider:
    decider = Decider(Ulids(7), Limits(entries, recheck), alarm if alarm is not None else Heard())
    decider.adopt(prepared())
    decider.facts = OPEN
    return decider


def later(seconds: float) -> Now:
    return msgspec.structs.replace(NOW, mono_ns=NOW.mono_ns + int(seconds * SECOND))


def test_nothing_is_allowed_before_a_bundle_is_active() -> None:
    decider = Decider(Ulids(1), Limits(), Heard())
    decision = decider.decide(HMI, read(), NOW)
    assert isinstance(decision, Denied)
    assert (decision.reasons[0].code, decision.revision, decider.revision) == ("engine.no_policy", "", "")


def test_is_an_engine_of_the_guard() -> None:
    port: Port = ready()
    assert port.revision == shipped().revision
    assert isinstance(asyncio.run(port.ask(HMI, write(), NOW, 0)), Allowed)


def test_the_first_answer_is_evaluated_and_the_next_is_shared() -> None:
    decider, operation = ready(), read()
    first = decider.decide(HMI, operation, NOW)
    second = decider.decide(HMI, operation, later(1))
    assert isinstance(first, Allowed)
    assert isinstance(second, Allowed)
    assert (first.origin, second.origin) == (Origin.EVALUATED, Origin.CACHED)
    assert second.evaluation == first.evaluation == json.loads(first.question)["op"]["id"]
    assert second.question == b"", "a kilobyte that nobody asked: records describe their own"
    assert decider.decide(HMI, operation, NOW) is second, "the same object, so that records can know it"


def test_shared_with_everybody_that_policy_cannot_tell_apart() -> None:
    decider = ready()
    decider.decide(HMI, read(), NOW)
    again = msgspec.structs.replace(HMI, connection="other", source="10.0.0.9")
    assert decider.decide(again, read(), NOW).origin is Origin.CACHED
    assert decider.stats.evaluated == 1


def test_what_many_decisions_say_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "MOST_SAID", 2)
    decider = ready()
    nobody = caller("spiffe://demo.example/plant/nobody")
    for start in range(3):
        for who in (HMI, nobody, caller("spiffe://demo.example/plant/view-1", "viewer")):
            decider.decide(who, read(start), NOW)
    assert decider._active is not None
    assert len(decider._active.cache._said) <= 2
    monkeypatch.undo()
    decider = ready()
    for start in (0, 1):
        decider.decide(HMI, read(start), NOW)
    one, other = (decider.decide(HMI, read(start), NOW) for start in (0, 1))
    assert one.evaluation != other.evaluation
    assert one.reasons is other.reasons
    assert one.grants is other.grants


def test_denials_are_shared_too() -> None:
    decider = ready()
    nobody = caller("spiffe://demo.example/plant/nobody")
    assert isinstance(decider.decide(nobody, read(), NOW), Denied)
    assert decider.decide(nobody, read(), NOW).origin is Origin.CACHED


def test_what_changes_something_is_always_evaluated() -> None:
    decider = ready()
    for action in (Action.WRITE, Action.CALL, Action.ADMIN):
        operation = msgspec.structs.replace(write(), action=action)
        for _ in range(3):
            assert decider.decide(HMI, operation, NOW, 0).origin is Origin.EVALUATED
    assert (decider.stats.evaluated, decider.stats.entries) == (9, 0)


def test_publications_and_fetches_are_shared() -> None:
    decider = ready()
    historian = caller(HISTORIAN, zone="it", listener="https")
    for who, what in ((HMI, publish()), (historian, fetch())):
        decider.decide(who, what, NOW)
        assert decider.decide(who, what, NOW).origin is Origin.CACHED


def test_other_facts_are_another_question() -> None:
    decider, operation = ready(), read()
    decider.decide(HMI, operation, NOW)
    decider.facts = msgspec.structs.replace(OPEN, windows=("working-hours",))
    assert decider.decide(HMI, operation, NOW).origin is Origin.EVALUATED
    decider.facts = msgspec.structs.replace(OPEN, windows=("working-hours",))
    assert decider.decide(HMI, operation, NOW).origin is Origin.CACHED, "equal facts change nothing"


def test_facts_of_the_start_allow_no_write() -> None:
    decider = Decider(Ulids(1), Limits(), Heard())
    decider.activate(shipped())
    assert decider.facts == Facts()
    assert isinstance(decider.decide(HMI, write(), NOW, 0), Denied)


def test_no_shared_answer_is_older_than_a_minute() -> None:
    decider, operation = ready(), read()
    decider.decide(HMI, operation, NOW)
    assert decider.decide(HMI, operation, later(29)).origin is Origin.CACHED
    assert decider.decide(HMI, operation, later(60)).origin is Origin.EVALUATED


def test_ages_are_spread_so_that_not_all_end_at_once() -> None:
    decider = ready()
    operations = [read(start) for start in range(50)]
    for operation in operations:
        decider.decide(HMI, operation, NOW)
    early = [decider.decide(HMI, operation, later(29)).origin for operation in operations]
    late = [decider.decide(HMI, operation, later(59.5)).origin for operation in operations]
    assert set(early) == {Origin.CACHED}
    assert set(late) == {Origin.CACHED, Origin.EVALUATED}


def test_more_entries_than_the_bound_push_the_oldest_out() -> None:
    decider = ready(entries=10)
    operations = [read(start) for start in range(11)]
    for operation in operations:
        decider.decide(HMI, operation, NOW)
    assert decider.stats.entries == 10
    assert decider.decide(HMI, operations[10], NOW).origin is Origin.CACHED
    assert decider.decide(HMI, operations[0], NOW).origin is Origin.EVALUATED


def test_memories_are_bounded_and_forgetting_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "MOST_CALLERS", 5)
    projection = Projection(load(shipped()).paths)
    engine = Engine(load(shipped()))
    cache = Cache(projection, 10)
    kept = []
    for number in range(100):
        who = caller(f"spiffe://demo.example/plant/x-{number}", "operator")
        what = read(number)
        kept.append((who, what))
        place = cache.place(who, what)
        assert place is not None
        assert cache.at(place, 0) is None, "a forgotten number is never used again"
        cache.put(place, engine.judge("", b"", ""), 0)
        assert cache.at(place, 0) is None, "what was not evaluated is not shared"
    assert len(cache._callers) <= 5
    assert len(cache._operations) <= 10
    assert len(cache._numbers) <= 2 * 10 + 5


def test_no_entries_means_no_sharing() -> None:
    decider, operation = ready(entries=0), read()
    for _ in range(3):
        assert decider.decide(HMI, operation, NOW).origin is Origin.EVALUATED


def test_a_policy_that_reads_the_clock_is_never_shared(tmp_path: Path) -> None:
    decider = Decider(Ulids(1), Limits(), Heard())
    rule = 'deny contains {"code": "site.late", "msg": "late"} if input.time.ns > 2000000000000000000\n'
    decider.activate(changed(tmp_path, {"site/demo/more.rego": HEAD + rule}))
    decider.facts = OPEN
    operation = read()
    assert decider.decide(HMI, operation, NOW).origin is Origin.EVALUATED
    assert decider.decide(HMI, operation, NOW).origin is Origin.EVALUATED
    late = msgspec.structs.replace(NOW, wall_ns=2 * 10**18 + 1)
    assert isinstance(decider.decide(HMI, operation, late), Denied)


def test_some_shared_answers_are_evaluated_again() -> None:
    heard = Heard()
    decider, operation = ready(recheck=10, alarm=heard), read()
    for _ in range(101):
        assert isinstance(decider.decide(HMI, operation, NOW), Allowed)
    assert (decider.stats.cached, decider.stats.rechecked, decider.stats.evaluated) == (100, 10, 11)
    assert heard == []


def test_operations_that_are_made_anew_are_rechecked_too() -> None:
    decider = ready(recheck=10)
    for _ in range(101):
        decider.decide(HMI, read(), NOW)
    assert decider.stats.rechecked == 10


def test_a_wrong_shared_answer_denies_alarms_and_empties_the_cache() -> None:
    """The cache is poisoned by hand: an allow lies where a denial belongs."""
    heard = Heard()
    decider = ready(recheck=2, alarm=heard)
    nobody, operation, other = caller("spiffe://demo.example/plant/nobody"), read(), read(5)
    decider.decide(HMI, other, NOW)
    active = decider._active
    assert active is not None
    allowed = decider.decide(HMI, operation, NOW)
    place = active.cache.place(nobody, operation)
    assert place is not None
    active.cache.put(place, allowed, NOW.mono_ns)
    assert isinstance(decider.decide(nobody, operation, NOW), Allowed), "wrong, and not yet noticed"
    noticed = decider.decide(nobody, operation, NOW)
    assert isinstance(noticed, Denied)
    assert noticed.reasons[0].code == "engine.cache_differs"
    assert [code for code, _ in heard] == ["policy.cache_differs"]
    assert json.loads(heard[0][1]["question"])["subject"]["id"] == nobody.identity.subject
    assert decider.stats.differing == 1
    assert decider.stats.entries == 0
    assert decider.decide(HMI, other, NOW).origin is Origin.EVALUATED


def test_an_alarm_that_fails_does_not_allow() -> None:
    def alarm(_code: str, _note: dict[str, Any]) -> None:
        raise OSError("no alarm")

    decider = Decider(Ulids(1), Limits(recheck_one_in=1), alarm)
    decider.activate(shipped())
    decider.facts = OPEN
    operation = read()
    allowed = decider.decide(HMI, operation, NOW)
    active = decider._active
    assert active is not None
    nobody = caller("spiffe://demo.example/plant/nobody")
    place = active.cache.place(nobody, operation)
    assert place is not None
    active.cache.put(place, allowed, NOW.mono_ns)
    assert isinstance(decider.decide(nobody, operation, NOW), Denied)


def test_a_bad_bundle_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    decider = ready()
    before = decider.revision
    bad = changed(tmp_path, {"site/demo/more.rego": HEAD + "x if nonsense(1)\n"})
    with pytest.raises(PolicyError, match=r"site/demo/more.rego:5: unknown function nonsense"):
        decider.activate(bad)
    assert decider.revision == before
    assert isinstance(decider.decide(HMI, read(), NOW), Allowed)


def test_a_bundle_that_allows_what_its_tests_deny_is_refused(tmp_path: Path) -> None:
    text = shipped().files["data/grants.yaml"].decode()
    text += "  - {id: x, roles: [viewer], actions: [write], protocols: [modbus], assets: [plc-1],\n"
    text += "     modbus: [{table: holding, ranges: [[0, 0]]}]}\n"
    with pytest.raises(PolicyError, match=r"tests/demo.yaml:\d+: test the viewer writes nothing fails"):
        prepare(changed(tmp_path, {"data/grants.yaml": text}))


def test_rights_can_always_be_taken_away(tmp_path: Path) -> None:
    """An emergency stop must not fail on tests that expect an allow."""
    decider, operation = ready(), read()
    assert isinstance(decider.decide(HMI, operation, NOW), Allowed)
    before = decider.revision
    decider.activate(changed(tmp_path, {"data/grants.yaml": "grants: []\n"}))
    assert decider.revision != before
    assert isinstance(decider.decide(HMI, operation, NOW), Denied), "at once, on the same objects"
    assert isinstance(decider.decide(HMI, write(), NOW, 0), Denied)


def test_what_its_tests_miss_is_told_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared().warnings == ()
    brake = changed(tmp_path, {"data/grants.yaml": "grants: []\n"})
    told = prepare(brake).warnings
    first = (
        "test the operator reads fails: denied, expected allowed; "
        "codes [grant.none], expected [grant.matched]; grants [], expected [operator-reads]"
    )
    assert (told[0].where, told[0].what) == ("tests/demo.yaml:3", first)
    assert len(told) == sum(row.case.allow for row in testing.rows(prepared())) > 20
    monkeypatch.setattr(deciding, "MOST_WARNINGS", len(told))
    assert prepare(brake).warnings == told
    monkeypatch.setattr(deciding, "MOST_WARNINGS", len(told) - 1)
    short = prepare(brake).warnings
    assert short[:-1] == told[:-1]
    assert short[-1].what == "1 more tests expect what is denied now"


def test_a_failing_rego_test_refuses_the_bundle(tmp_path: Path) -> None:
    text = "package tests.more\n\nimport future.keywords.not\n\ntest_it if data.dmz.allow with input as {}\n"
    with pytest.raises(PolicyError, match=r"tests/more_test.rego:5: test tests.more.test_it fails"):
        prepare(changed(tmp_path, {"tests/more_test.rego": text}))


def test_describes_a_question_as_it_would_be_asked() -> None:
    decider = ready()
    described = json.loads(decider.describe(HMI, read(3), NOW, "01J00000000000000000000000"))
    assert described["op"]["id"] == "01J00000000000000000000000"
    assert (described["modbus"]["start"], described["time"]["ns"]) == (3, NOW.wall_ns)
    asked = json.loads(decider.decide(HMI, read(3), NOW).question)
    asked["op"]["id"] = described["op"]["id"]
    assert asked == described


def test_callers_are_known_by_identity_and_held() -> None:
    """An id that is used again by another object would be somebody else's right."""
    decider = ready()
    operation = read()
    for number in range(200):
        right = "operator" if number % 2 else "viewer"
        who: Caller = caller("spiffe://demo.example/plant/hmi-1", right)
        assert isinstance(decider.decide(who, operation, NOW), Allowed if number % 2 else Denied)
        del who
