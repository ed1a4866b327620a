"""What one decision costs in processor time: cached, evaluated, and asked of OPA.

Rounds are interleaved, so that what else the machine does falls on all alike, and the median of the rounds
counts.
"""

import gc
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time

import msgspec

from bench.policy.estate import FACTS, NOW, Asked, bundle, callers, reads, write
from bench.policy.opa import Opa
from bench.report import Row
from gateway.model.decision import Allowed, Origin
from gateway.model.ulid import Ulids
from gateway.policy import question
from gateway.policy.decider import Decider
from gateway.policy.loader import Policy, load

ROUNDS = 9
SMALL, LARGE = 200, 2_000
"Assets; five times as many grants."

Measure = Callable[[], float]
"Does one round, and gives the µs that one decision took."


class Settings:
    """Of a decider."""

    def __init__(self, entries: int) -> None:
        self.cache_entries = entries
        self.recheck_one_in = 1_000


def decider(policy: Policy, entries: int = 100_000) -> Decider:
    """A decider with this policy, and facts under which all is ordinary."""
    made = Decider(Ulids(1), Settings(entries), lambda _code, _note: None)
    made.facts = FACTS
    made.adopt(policy)
    return made


def rows(folder: Path, opa: str | None) -> list[Row]:
    """Every cost, and OPA's beside it where there is an OPA."""
    policies = {assets: load(bundle(folder / f"estate-{assets}", assets)) for assets in (SMALL, LARGE)}
    measures: dict[str, Measure] = {
        "cached": _cached(policies[SMALL]),
        "recognised": _recognised(policies[SMALL]),
        "evaluated-read": _evaluated(policies[SMALL], _reads()),
        "evaluated-write": _evaluated(policies[SMALL], _writes()),
        "large-read": _evaluated(policies[LARGE], _reads()),
        "large-write": _evaluated(policies[LARGE], _writes()),
    }
    servers = {} if opa is None else {a: Opa(opa, p.bundle, folder) for a, p in policies.items()}
    try:
        for assets, server in servers.items():
            prefix = "opa-evaluated" if assets == SMALL else "opa-large"
            measures[f"{prefix}-read"] = _asked(server, _reads()[:50])
            measures[f"{prefix}-write"] = _asked(server, _writes()[:50])
        found = _medians(measures)
    finally:
        for server in servers.values():
            server.close()
    return _rows(found)


def _medians(measures: dict[str, Measure]) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in measures}
    gc.collect()
    gc.freeze()  # as the gateway does when it has started
    for measure in measures.values():
        measure()
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            rounds[name].append(measure())
    gc.unfreeze()
    return {name: statistics.median(values) for name, values in rounds.items()}


def _rows(found: dict[str, float]) -> list[Row]:
    def row(bench: str, name: str, peer: str | None, against: str) -> Row:
        value, other = found[name], found.get(against)
        if peer is None or other is None:
            return Row(bench, "gateway", "cpu_per_decision", round(value, 3), "us")
        ratio = round(value / other, 3)
        return Row(bench, "gateway", "cpu_per_decision", round(value, 3), "us", peer, round(other, 3), ratio)

    made = [
        row("policy-cached", "cached", "opa", "opa-evaluated-read"),
        row("policy-recognised", "recognised", "opa", "opa-evaluated-read"),
        row("policy-read", "evaluated-read", "opa", "opa-evaluated-read"),
        row("policy-write", "evaluated-write", "opa", "opa-evaluated-write"),
        row("policy-read-10000", "large-read", "opa", "opa-large-read"),
        row("policy-write-10000", "large-write", "opa", "opa-large-write"),
    ]
    for kind in ("read", "write"):
        large, small = found[f"large-{kind}"], found[f"evaluated-{kind}"]
        ratio, peer = round(large / small, 3), "1,000 grants"
        growth = f"policy-growth-{kind}"
        made.append(
            Row(growth, "gateway", "cpu_per_decision", round(large, 3), "us", peer, round(small, 3), ratio)
        )
    return made


def _reads() -> list[Asked]:
    caller = callers(1)[0]
    return [Asked(caller, operation) for operation in reads(SMALL)[:1_000]]


def _writes() -> list[Asked]:
    caller = callers(1)[0]
    return [Asked(caller, write(asset), 3) for asset in range(SMALL)]


def _cached(policy: Policy) -> Measure:
    """What the relay does most: a request that it has read before, by the same objects."""
    engine, asked = decider(policy), _reads()
    for one in asked:
        engine.decide(one.caller, one.operation, NOW)

    def measure() -> float:
        began, decide = process_time(), engine.decide
        for _ in range(20):
            for one in asked:
                decide(one.caller, one.operation, NOW)
        return (process_time() - began) / (20 * len(asked)) * 1e6

    assert engine.decide(asked[0].caller, asked[0].operation, NOW).origin is Origin.CACHED
    return measure


def _recognised(policy: Policy) -> Measure:
    """The first time that a connection asks what others have asked: the key is made and looked up."""
    engine = decider(policy)
    for one in _reads():
        engine.decide(one.caller, one.operation, NOW)

    def measure() -> float:
        asked = _reads()
        caller = asked[0].caller
        before, began = engine.stats.evaluated, process_time()
        for one in asked:
            engine.decide(caller, one.operation, NOW)
        spent = process_time() - began
        assert engine.stats.evaluated - before <= 2, "rechecks alone"
        return spent / len(asked) * 1e6

    return measure


def _evaluated(policy: Policy, asked: list[Asked]) -> Measure:
    """From the operation to the decision, the question's JSON included."""
    engine = decider(policy, entries=0)

    def measure() -> float:
        began = process_time()
        for one in asked[:200]:
            decision = engine.decide(one.caller, one.operation, NOW, one.writes_60s)
            assert isinstance(decision, Allowed), decision.reasons
        return (process_time() - began) / min(len(asked), 200) * 1e6

    return measure


def _asked(server: Opa, asked: list[Asked]) -> Measure:
    """The same of OPA: the question made here, sent, evaluated there, the answer read."""

    def measure() -> float:
        before = server.cpu_s() + process_time()
        for one in asked:
            document = question.document(one.caller, one.operation, FACTS, "0" * 26, NOW, one.writes_60s)
            assert server.decide(msgspec.json.encode({"input": document}))["allow"] is True
        return (server.cpu_s() + process_time() - before) / len(asked) * 1e6

    return measure
