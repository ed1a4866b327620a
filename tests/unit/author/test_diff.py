"""Every way in which a bundle can come to allow more is found, and none is claimed where there is none."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gateway.author import difference, grid
from gateway.author.answers import Answers
from gateway.author.bases import bases
from gateway.author.difference import Difference
from gateway.author.grouping import MOST_GROUPS, Groups, Turn
from gateway.author.vocabulary import Vocabulary
from gateway.policy import documents
from gateway.policy.bundle import Bundle
from gateway.policy.loader import load
from tests.policy.questions import VIEW
from tests.unit.author.mutants import base, grant, replaced, with_data, without
from tests.unit.author.world import quiet

BASE = base()
OLD = Answers(load(BASE))

WIDENINGS: dict[str, Callable[[Bundle], Bundle]] = {
    "a range one longer": lambda b: with_data(
        b, lambda d: grant(d, "night-reads")["modbus"][0].update(ranges=[[100, 200]])
    ),
    "another function": lambda b: with_data(
        b, lambda d: grant(d, "night-reads")["modbus"][0].update(fcs=[3, 23])
    ),
    "a limit one higher": lambda b: with_data(
        b, lambda d: grant(d, "operator-level-setpoint")["limits"]["plc-1.level_sp"].update(max=901)
    ),
    "a step one larger": lambda b: with_data(
        b, lambda d: grant(d, "operator-level-setpoint")["limits"]["plc-1.level_sp"].update(max_delta=301)
    ),
    "a role bound": lambda b: with_data(
        b, lambda d: d["role_bindings"].update({VIEW: ["viewer", "operator"]})
    ),
    "another asset": lambda b: with_data(
        b, lambda d: grant(d, "night-reads").update(assets=["plc-1", "meter-1"])
    ),
    "no window any more": lambda b: with_data(b, lambda d: grant(d, "night-reads").pop("windows")),
    "a window an hour longer": lambda b: with_data(
        b, lambda d: d["windows"]["working-hours"].update(to="19:00")
    ),
    "a window on another day": lambda b: with_data(
        b, lambda d: d["windows"]["working-hours"]["days"].append("sat")
    ),
    "in every mode": lambda b: with_data(b, lambda d: grant(d, "night-reads").pop("modes")),
    "by every listener": lambda b: with_data(b, lambda d: grant(d, "night-reads").pop("listeners")),
    "one more record": lambda b: with_data(
        b, lambda d: grant(d, "device")["modbus"][1].update(records=[[0, 10]])
    ),
    "every operation": lambda b: with_data(b, lambda d: grant(d, "it-reader-gateway").pop("operations")),
    **{
        f"without {code}": partial(without, code=code)
        for code in (
            "guardrail.role_state",
            "guardrail.never_forward",
            "guardrail.broadcast_write",
            "guardrail.conduit",
            "guardrail.identity",
            "guardrail.on_behalf_of",
            "guardrail.freeze",
            "guardrail.crl",
            "guardrail.clock",
            "guardrail.write_budget",
            "guardrail.safety_read_only",
            "site.valve",
            "site.holiday",
            "site.laptop",
        )
    },
    "a rule about the address beside": lambda b: replaced(b, '"holding", 13', '"holding", 14'),
}

TAGS = [f"plc-1.t{number:02}" for number in range(15)]
NODE, METHOD = "nsu=urn:a;s=object", "nsu=urn:a;s=method"


def _limits(data: dict[str, Any]) -> None:
    limits = {tag: {"min": 0, "max": 10} for tag in TAGS}
    data["bounds"]["limits"] = {}
    grant(data, "operator-level-setpoint").update(tags=TAGS, limits=limits)


def _bounds(data: dict[str, Any]) -> None:
    data["bounds"]["limits"] = {tag: {"min": 0, "max": 10} for tag in TAGS}
    grant(data, "operator-level-setpoint").update(tags=TAGS)
    grant(data, "operator-level-setpoint").pop("limits")


def _https(data: dict[str, Any], **members: Any) -> None:
    one = {"id": "more", "roles": ["it-reader"], "actions": ["read"], "protocols": ["https"]}
    data["grants"].append({**one, "assets": ["plc-1"], **members})


def _publishing(data: dict[str, Any], **members: Any) -> None:
    _https(data, **members)
    grant(data, "more").update(roles=["collector"], actions=["publish"], protocols=["mqtt"])


def _opcua(data: dict[str, Any], action: str, **entry: Any) -> None:
    one = {"id": "more", "roles": ["operator"], "actions": [action], "protocols": ["opcua"]}
    data["grants"].append({**one, "assets": ["plc-1"], "opcua": [{"nodes": [NODE], **entry}]})
    data["bounds"]["writable"]["plc-1"] |= {"nodes": [NODE], "methods": [METHOD]}
    for conduit in data["conduits"]:
        conduit["protocols"] = sorted({*conduit["protocols"], "opcua"})


def _entry(data: dict[str, Any], **entry: Any) -> None:
    grant(data, "more")["opcua"][0].update(entry)


Change = Callable[[dict[str, Any]], Any]
STEPS: dict[str, tuple[Change, Change]] = {
    "the last of many limits": (
        _limits,
        lambda d: grant(d, "operator-level-setpoint")["limits"][TAGS[-1]].update(max=11),
    ),
    "the last of many bounds": (_bounds, lambda d: d["bounds"]["limits"][TAGS[-1]].update(max=11)),
    "one more of many tags over https": (
        lambda d: _https(d, tags=TAGS[:-1]),
        lambda d: grant(d, "more").update(tags=TAGS),
    ),
    "one more consumer over https": (
        lambda d: _https(d, consumers=["a"]),
        lambda d: grant(d, "more").update(consumers=["a", "b"]),
    ),
    "one more topic of one consumer": (
        lambda d: _publishing(d, consumers=["central"], topics=["a/b"]),
        lambda d: grant(d, "more").update(topics=["a/b", "a/c"]),
    ),
    "an argument one higher": (
        lambda d: _opcua(d, "call", methods=[METHOD], arguments=[{"min": 0, "max": 9}, {"one_of": ["slow"]}]),
        lambda d: _entry(d, arguments=[{"min": 0, "max": 10}, {"one_of": ["slow"]}]),
    ),
    "history a second longer": (
        lambda d: _opcua(d, "read", services=["HistoryRead"], most_history_s=60),
        lambda d: _entry(d, most_history_s=61),
    ),
    "asked a millisecond more often": (
        lambda d: _opcua(d, "subscribe", min_interval_ms=500),
        lambda d: _entry(d, min_interval_ms=499),
    ),
    "without an approval": (
        lambda d: grant(d, "operator-pump").update(approval={"by": "viewer", "within_s": 60}),
        lambda d: grant(d, "operator-pump").pop("approval"),
    ),
    "at another rate": (
        lambda d: grant(d, "operator-pump").update(obligations=[{"type": "rate", "n": 1, "per_s": 60}]),
        lambda d: grant(d, "operator-pump").update(obligations=[{"type": "rate", "n": 2, "per_s": 60}]),
    ),
}


@pytest.mark.parametrize("change", STEPS)
def test_every_widening_of_what_a_plant_writes_is_found(change: str) -> None:
    first, then = STEPS[change]
    old = with_data(BASE, first)
    new = with_data(old, then)
    found = difference.run(Answers(load(old)), Answers(load(new)), 0, quiet)
    assert found.widens
    assert not found.as_json()["never_allows_more"]


EQUAL_OR_NARROWER: dict[str, Callable[[Bundle], Bundle]] = {
    "a range one shorter": lambda b: with_data(
        b, lambda d: grant(d, "night-reads")["modbus"][0].update(ranges=[[100, 198]])
    ),
    "no grants": lambda b: with_data(b, lambda d: d.update(grants=[])),
}


def compared(new: Bundle, pairs: int = 0) -> Difference:
    return difference.run(OLD, Answers(load(new)), pairs, quiet)


@pytest.mark.parametrize("name", WIDENINGS)
def test_a_widening_has_a_counterexample(name: str) -> None:
    new = Answers(load(WIDENINGS[name](BASE)))
    points = difference.points(OLD, new, 0)
    found = next((point for point in points if new.allows(point.question) > OLD.allows(point.question)), None)
    assert found is not None, name
    documents.schema("input").validate(found.question)


@pytest.mark.parametrize("name", EQUAL_OR_NARROWER)
def test_what_allows_no_more_is_said_to_allow_no_more(name: str) -> None:
    found = compared(EQUAL_OR_NARROWER[name](BASE))
    assert not found.widens
    assert found.allowed > 100


def test_what_is_denied_now_is_told_too() -> None:
    found = compared(EQUAL_OR_NARROWER["a range one shorter"](BASE))
    assert found.groups.counts[Turn.NARROWS] > 0
    assert {group.lost[0] for group in found.groups.sorted() if group.lost} == {"night-reads"}


def test_other_obligations_are_told() -> None:
    def rate(data: dict[str, Any]) -> None:
        grant(data, "operator-pump")["obligations"] = [{"type": "rate", "n": 1, "per_s": 60}]

    found = compared(with_data(BASE, rate))
    assert not found.widens
    assert found.groups.counts[Turn.OBLIGES] > 0


def test_two_changes_at_once_are_tried_where_one_is_not_enough() -> None:
    both = without(replaced(BASE, HOLIDAY, f'{HOLIDAY}\n\tinput.conn.listener == "laptops"'), "site.laptop")
    old = Answers(load(both))
    new = Answers(load(without(both, "site.holiday")))
    assert not difference.run(old, new, 0, quiet).widens, "one change at a time does not meet it"
    words = Vocabulary(old.policy.bundle, new.policy.bundle)
    data = new.policy.bundle.data
    start = next(bases([grant(data, "operator-pump")], data, words, new.allows))
    every = {point.name: point for point in grid.pairs([start], words, 1_000_000)}
    both_at_once = every["operator-pump: by listener laptops, mode holiday"]
    assert new.allows(both_at_once.question)
    assert not old.allows(both_at_once.question)


HOLIDAY = 'input.state.mode == "holiday"'


def test_every_point_of_the_grid_is_a_whole_question() -> None:
    words = Vocabulary(BASE, BASE)
    starts = [*bases(BASE.data["grants"], BASE.data, words, OLD.allows)]
    valid = documents.schema("input")
    for point in [*grid.singles(starts, words)][::23]:
        error = next(valid.iter_errors(point.question), None)
        assert error is None, (point.name, error and error.message)


def test_the_pairs_are_as_many_as_asked_for_and_the_same_every_time() -> None:
    words = Vocabulary(BASE, BASE)
    starts = [*bases(BASE.data["grants"], BASE.data, words, OLD.allows)]
    names = [point.name for point in grid.pairs(starts, words, 1000)]
    assert len(names) == len(set(names)) == 1000
    assert names == [point.name for point in grid.pairs(starts, words, 1000)]


def test_groups_are_bounded_and_what_is_beyond_is_counted() -> None:
    groups = Groups()
    question = grid_question()
    allow, deny = OLD.of(question), OLD.of({**question, "modbus": {**question["modbus"], "start": 5000}})
    assert allow.allow
    assert not deny.allow
    for number in range(MOST_GROUPS + 3):
        asked = {**question, "subject": {**question["subject"], "id": f"spiffe://x/{number}"}}
        groups.add(asked, deny, allow)
    assert len(groups.sorted()) == MOST_GROUPS
    assert groups.beyond[Turn.WIDENS] == 3
    assert groups.counts[Turn.WIDENS] == MOST_GROUPS + 3


def grid_question() -> dict[str, Any]:
    words = Vocabulary(BASE, BASE)
    return next(bases(BASE.data["grants"][:1], BASE.data, words, OLD.allows)).question
