"""Cached and evaluated decisions agree, whatever is asked, with facts and bundles that change in between.

CACHE_OPERATIONS=100000 asks as many; each is evaluated once more without the cache, about 0.3 ms each.
"""

import os
import random
from functools import cache

import msgspec

from gateway.model.decision import Allowed, Decision, Origin
from gateway.model.identity import Caller
from gateway.model.operation import MUTATING, Operation
from gateway.model.ulid import Ulids
from gateway.policy import question
from gateway.policy.cache import Cache, Projection
from gateway.policy.decider import Decider
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy, load
from tests.policy.questions import NOW, callers, conditioned, facts, operations
from tests.policy.test_cached_keys import probed, says

MANY = int(os.environ.get("CACHE_OPERATIONS", "6000"))
CHANGE_EVERY = 500
"Operations between two changes of facts or of the bundle."
SEED = int(os.environ.get("CACHE_SEED", "20261123"))


class Limits:
    """Never full, never rechecked: what is tested is the key."""

    cache_entries = 1_000_000
    recheck_one_in = 1_000_000_000


@cache
def bundles() -> tuple[Policy, ...]:
    """Four that decide differently, and read different things."""
    whole = conditioned()
    fewer = {**whole.data, "grants": whole.data["grants"][::2]}
    modules = {name: text for name, text in whole.modules.items() if not name.startswith("site/")}
    return (
        load(whole),
        load(msgspec.structs.replace(whole, data=fewer, revision="1" * 64)),
        load(msgspec.structs.replace(whole, modules=modules, revision="2" * 64)),
        probed(),
    )


def adopt(decider: Decider, policy: Policy, *, rehearsed: bool) -> int:
    """A new bundle, cold or with what is asked now; how many decisions it starts with."""
    active = decider.active
    if active is None or not rehearsed:
        decider.adopt(policy)
        return 0
    engine, warm = Engine(policy), Cache(Projection(policy.paths), Limits.cache_entries)
    warm.facts(decider.facts)
    for live in active.cache.live(NOW.mono_ns, 2_000):
        asked = question.document(live.caller, live.operation, decider.facts, "0" * 26, NOW)
        decision = engine.evaluate(question.encode(asked), "0" * 26)
        warm.warm(live.caller, live.operation, decision, NOW.mono_ns)
    decider.adopt(policy, warm)
    return len(warm)


def test_cached_and_evaluated_agree_while_bundles_and_facts_change() -> None:
    dice = random.Random(SEED)  # noqa: S311  dice for tests, not for secrets
    who, what = callers(), operations(dice, 120)
    decider = Decider(Ulids(1), Limits(), lambda _code, _note: None)
    adopt(decider, bundles()[0], rehearsed=False)
    engine = Engine(bundles()[0])
    differing, hits, allowed, warm, changes = 0, 0, 0, 0, 0
    for number in range(MANY):
        if number % CHANGE_EVERY == 0:
            if number % (2 * CHANGE_EVERY):
                decider.facts = facts(dice)
            else:
                policy = dice.choice(bundles())
                warm += adopt(decider, policy, rehearsed=dice.random() < 0.7)
                engine, changes = Engine(policy), changes + 1
        caller, operation = dice.choice(who[:6]), dice.choice(what[:40])
        if dice.random() < 0.2:
            caller, operation = dice.choice(who), dice.choice(what)
        if dice.random() < 0.3:
            operation = msgspec.structs.replace(operation)  # equal, and another object
        decision = decider.decide(caller, operation, NOW, writes(operation))
        differing += says(decision) != says(truth(engine, decider, caller, operation))
        hits += decision.origin is Origin.CACHED
        allowed += isinstance(decision, Allowed)
    assert differing == 0
    assert decider.stats.errors == 0
    assert hits > MANY / 4
    assert allowed > MANY / 50
    assert warm > 0
    assert changes >= MANY // (2 * CHANGE_EVERY)


def writes(operation: Operation) -> int | None:
    return 3 if operation.action in MUTATING else None


def truth(engine: Engine, decider: Decider, caller: Caller, operation: Operation) -> Decision:
    asked = question.document(caller, operation, decider.facts, "0" * 26, NOW, writes(operation))
    return engine.evaluate(question.encode(asked), "")
