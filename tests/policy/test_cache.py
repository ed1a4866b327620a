"""The projection cache shares decisions; it never changes one (facts/theorem in gateway/policy/cache.py)."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.model.decision import Allowed, Decision, Origin
from gateway.model.identity import Caller
from gateway.model.operation import MUTATING, Operation
from gateway.model.ulid import Ulids
from gateway.policy import question
from gateway.policy.cache import Cache, Projection
from gateway.policy.decider import Decider
from gateway.policy.engine import Engine
from gateway.policy.facts import Facts
from gateway.policy.loader import Policy, load
from tests.policy.questions import NOW, callers, conditioned, facts, neighbours, operations

SEED = 20261123
MANY = 24_000

ONLY_CHANGES = {
    # Read only by rules about writes, calls and admin acts, which are never shared: without them no shared
    # decision can differ. `writes_60s` is null in every question that is shared.
    ("modbus", "unit"),
    ("modbus", "and_mask"),
    ("target", "kind"),
    ("state", "freeze"),
    ("state", "crl"),
    ("state", "clock"),
    ("state", "writes_60s"),
}


class Limits:
    """Never full, never rechecked: what is tested is the key."""

    cache_entries = 1_000_000
    recheck_one_in = 1_000_000_000


def says(decision: Decision) -> tuple[Any, ...]:
    obligations = decision.obligations if isinstance(decision, Allowed) else ()
    return type(decision), decision.reasons, obligations, decision.grants


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(conditioned())


def corpus(many: int, every: int) -> Iterator[tuple[Caller, Operation, Facts]]:
    """Questions that come again and again, with other facts now and then."""
    dice = random.Random(SEED)  # noqa: S311  dice for tests, not for secrets
    who, what = callers(), operations(dice, 150)
    now = facts(dice)
    for number in range(many):
        if number % every == 0:
            now = facts(dice)
        yield dice.choice(who), dice.choice(what), now


def test_cached_and_evaluated_never_differ(policy: Policy) -> None:
    decider = Decider(Ulids(1), Limits(), lambda _code, _note: None)
    decider.adopt(policy)
    engine = Engine(policy)
    full: dict[tuple[int, int, Facts], Decision] = {}
    differing, hits, allowed = 0, 0, 0
    for caller, operation, now in corpus(MANY, 8_000):
        if now != decider.facts:
            decider.facts = now
        writes = 3 if operation.action in MUTATING else None
        decision = decider.decide(caller, operation, NOW, writes)
        same = (id(caller), id(operation), now)
        if same not in full:  # the same objects: the very same question, so once is enough
            asked = question.document(caller, operation, now, "0" * 26, NOW, writes)
            full[same] = engine.evaluate(question.encode(asked), "")
        differing += says(decision) != says(full[same])
        hits += decision.origin is Origin.CACHED
        allowed += isinstance(decision, Allowed)
    assert differing == 0
    assert hits > MANY / 3
    assert allowed > 500
    assert decider.stats.errors == 0


def test_every_path_of_the_projection_is_needed(policy: Policy) -> None:
    """Take any one path out of the key: the comparison must notice, or the path must be explained."""
    truth = truths(policy)
    assert not wrong(policy.paths, truth)
    survivors = {path for path in policy.paths if not wrong([p for p in policy.paths if p != path], truth)}
    assert survivors == ONLY_CHANGES


Truth = list[tuple[Caller, Operation, Facts, Decision]]


def truths(policy: Policy) -> Truth:
    engine = Engine(policy)
    found: Truth = []
    for caller, operation, now in neighbours():
        asked = question.document(caller, operation, now, "0" * 26, NOW)
        found.append((caller, operation, now, engine.evaluate(question.encode(asked), "")))
    return found


def wrong(paths: Any, truth: Truth) -> bool:
    """Whether any answer of a cache with that key is not the evaluated one."""
    cache = Cache(Projection(paths), 1_000_000)
    for caller, operation, now, decision in truth:
        cache.facts(now)
        place = cache.place(caller, operation)
        assert place is not None
        shared = cache.at(place, 0)
        if shared is None:
            cache.put(place, decision, 0)
        elif says(shared) != says(decision):
            return True
    return False
