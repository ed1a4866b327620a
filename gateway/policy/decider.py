"""The decider: policy as the guard sees it (`guard.ports.Engine`), by the embedded engine.

It never raises and never waits. Where an OPA server decides, `opa_decider.OpaDecider` stands before it.

Until a bundle is active, and whenever anything goes wrong, the answer is Denied. A bundle becomes active
only when the loader let it pass and its own tests hold; otherwise the old one stays. The swap is one
assignment: a question is answered wholly by the old bundle or wholly by the new one.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway.model.decision import Approval, Decision
from gateway.model.errors import Fault, PolicyError
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.model.ulid import Ulids
from gateway.policy import question, testing
from gateway.policy.bundle import Bundle
from gateway.policy.cache import Cache, Projection
from gateway.policy.crosscheck import says
from gateway.policy.engine import Engine, failed
from gateway.policy.facts import Facts
from gateway.policy.loader import Policy, load

Alarm = Callable[[str, dict[str, Any]], None]
"Told when a shared decision turns out to differ from a fresh one: a code, and what is known."


class Limits(Protocol):
    """What of `config.settings.PolicySection` the decider needs."""

    @property
    def cache_entries(self) -> int:
        """Most decisions shared; 0 shares none."""

    @property
    def recheck_one_in(self) -> int:
        """One shared decision in this many is evaluated again; 0 or 1 means every one."""


class Stats(Struct):
    """What the decider did since start."""

    evaluated: int = 0
    cached: int = 0
    rechecked: int = 0
    differing: int = 0
    errors: int = 0
    entries: int = 0


class Active(Struct, frozen=True):
    """A bundle in use."""

    policy: Policy
    engine: Engine
    cache: Cache


MOST_WARNINGS = 50
"Told of one bundle. An emergency brake (`grants: []`) makes a warning of every row that expects an allow."


def prepare(bundle: Bundle) -> Policy:
    """Check a bundle and run its tests. Raises PolicyError. May run in any thread.

    What comes out denied although a table expects an allow is a warning: taking rights away must always work.
    """
    policy = load(bundle)
    results = testing.run(policy)
    broken = [_fault(result) for result in results if result.obstacle]
    if broken:
        raise PolicyError(broken)
    missed = [result for result in results if result.missed]
    warnings = [_fault(result) for result in missed[:MOST_WARNINGS]]
    if len(missed) > MOST_WARNINGS:
        what = f"{len(missed) - MOST_WARNINGS} more tests expect what is denied now"
        warnings.append(Fault("tests", what, "run dmz-gateway policy test"))
    return msgspec.structs.replace(policy, warnings=tuple(warnings))


def _fault(result: testing.Result) -> Fault:
    return Fault(result.where, f"test {result.name} fails: {result.detail}", "mend the rule or the test")


class Decider:
    """Decides every operation, by evaluation or from the cache."""

    def __init__(self, ulids: Ulids, settings: Limits, alarm: Alarm) -> None:
        self._ulids = ulids
        self._settings = settings
        self._alarm = alarm
        self._facts = Facts()
        self._active: Active | None = None
        self._until_recheck = settings.recheck_one_in
        self._stats = Stats()

    @property
    def revision(self) -> str:
        """Digest of the active bundle; empty while there is none."""
        return "" if self._active is None else self._active.policy.bundle.revision

    @property
    def bundle(self) -> Bundle | None:
        """The active bundle."""
        return None if self._active is None else self._active.policy.bundle

    @property
    def policy(self) -> Policy | None:
        """The active bundle as the loader understood it."""
        return None if self._active is None else self._active.policy

    @property
    def active(self) -> Active | None:
        """The bundle in use, with its engine and what is shared of its decisions."""
        return self._active

    @property
    def stats(self) -> Stats:
        """Counters since start, and how many decisions are shared now."""
        self._stats.entries = 0 if self._active is None else len(self._active.cache)
        return self._stats

    @property
    def facts(self) -> Facts:
        """What policy is told about plant, gateway and time."""
        return self._facts

    @facts.setter
    def facts(self, facts: Facts) -> None:
        self._facts = facts
        if self._active is not None:
            self._active.cache.facts(facts)

    def activate(self, bundle: Bundle) -> None:
        """Check, test and use a bundle. Raises PolicyError, and then the old one stays."""
        self.adopt(prepare(bundle))

    def adopt(self, policy: Policy, warm: Cache | None = None) -> None:
        """Use a prepared policy. Call it in the thread that decides: the engine works in no other.

        `warm` is a cache that a rehearsal of this very policy has filled (`rehearsal.warmed`).
        """
        cache = warm if warm is not None else Cache(Projection(policy.paths), self._settings.cache_entries)
        cache.facts(self._facts)
        self._active = Active(policy, Engine(policy), cache)

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision:
        """The decision. Never raises; a failure of any kind is Denied with the code `engine.error`."""
        active = self._active
        if active is None:
            return failed("", "no policy is active", code="engine.no_policy")
        try:
            shared = self.shared(active, caller, operation, now)
            if shared is not None:
                return shared
            decision = self._evaluate(active, caller, operation, now, writes_60s)
            place = active.cache.place(caller, operation)
            if place is not None:
                active.cache.put(place, decision, now.mono_ns)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is no
            return self.broken(active, error)
        return decision

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        """The same as `decide`; where people have approved, always by evaluation."""
        if approval is None or self._active is None:
            return self.decide(caller, operation, now, writes_60s)
        active = self._active
        try:
            return self._evaluate(active, caller, operation, now, writes_60s, approval)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is no
            return self.broken(active, error)

    def describe(self, caller: Caller, operation: Operation, now: Now, ulid: str) -> bytes:
        """The question as JSON, for the record of what was decided from the cache."""
        return question.encode(question.document(caller, operation, self._facts, ulid, now))

    # what `opa_decider` uses too ------------------------------------------------------------------

    def shared(self, active: Active, caller: Caller, operation: Operation, now: Now) -> Decision | None:
        """The decision that an equal question had before, if it had one; now and then evaluated again."""
        cache = active.cache
        shared = cache.find(caller, operation, now.mono_ns)
        if shared is None:
            place = cache.place(caller, operation)
            shared = None if place is None else cache.at(place, now.mono_ns)
            if shared is None:
                return None
        self._stats.cached += 1
        self._until_recheck -= 1
        if self._until_recheck > 0:
            return shared
        return self._recheck(active, shared, caller, operation, now)

    def ask_of(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> tuple[bytes, str]:
        """A new question as JSON text, and its ULID. Counts as an evaluation. Raises ValueError."""
        self._stats.evaluated += 1
        ulid = self._ulids.next(now.wall_ns)
        asked = question.document(caller, operation, self._facts, ulid, now, writes_60s, approval)
        return question.encode(asked), ulid

    def count_error(self, decision: Decision) -> None:
        """Count it, if an engine could not decide."""
        self._stats.errors += decision.reasons[0].kind == "engine"

    def broken(self, active: Active, error: Exception) -> Decision:
        """The denial for something nobody thought of."""
        self._stats.errors += 1
        return failed(active.engine.revision, f"the question could not be asked: {error!r}")

    def _evaluate(
        self,
        active: Active,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        if operation.unreadable is not None:
            return failed(active.engine.revision, "the gateway could not read what this would do")
        decision = active.engine.evaluate(*self.ask_of(caller, operation, now, writes_60s, approval))
        self.count_error(decision)
        return decision

    def _recheck(
        self, active: Active, shared: Decision, caller: Caller, operation: Operation, now: Now
    ) -> Decision:
        """Evaluate again what was found. A difference means the cache is wrong: forget it all, and deny."""
        self._until_recheck = self._settings.recheck_one_in
        self._stats.rechecked += 1
        fresh = self._evaluate(active, caller, operation, now)
        if says(fresh) == says(shared):
            return shared
        active.cache.flush()
        self._stats.differing += 1
        denied = failed(
            active.engine.revision,
            "a shared decision differs from a fresh one; the cache was emptied",
            fresh.question,
            code="engine.cache_differs",
        )
        self._alarm(
            "policy.cache_differs",
            {"shared": shared.evaluation, "fresh": fresh.evaluation, "question": fresh.question.decode()},
        )
        return denied
