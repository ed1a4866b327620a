"""The decider where an OPA server decides (`guard.ports.Engine`).

    at hand        what an equal question was answered under this revision and these facts (the cache)
    else           OPA is asked, and waited for no longer than its budget
    now and then   its answer is held against the embedded engine's (`crosscheck`)
    no answer      what changes something is denied; the rest is decided by the embedded engine on the same
                   revision, flagged as such and for a bounded time, and then denied too

What the embedded engine decides meanwhile is kept apart: it never becomes an answer of OPA's. Without a bound
it decides who may ask the control socket for the status, which is asked most when something is wrong.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from gateway.model.decision import Approval, Decision, Denied, Origin
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import MUTATING, Operation, Protocol
from gateway.policy.cache import Cache, Projection
from gateway.policy.crosscheck import CrossCheck
from gateway.policy.decider import Active, Decider
from gateway.policy.engine import Engine, failed
from gateway.policy.facts import Facts
from gateway.policy.remote import UNAVAILABLE, Remote, Unanswered


class Status(Struct, frozen=True):
    """How deciding by OPA goes; counters since start."""

    away: bool
    without_s: float
    "How long OPA has not answered; 0 while it does."
    why: str
    "What stood in the way last; empty while it answers."
    asked: int
    unanswered: int
    fallback: int
    "Decisions of the embedded engine in OPA's place."
    unavailable: int
    "Denied for want of OPA."
    compared: int
    disagreed: int
    "Of the decisions compared with the embedded engine's."


class OpaDecider:
    """Decides every operation by OPA or from what OPA decided; never raises but for being cancelled."""

    def __init__(self, decider: Decider, remote: Remote, check: CrossCheck, standin_entries: int) -> None:
        """`decider` holds bundle, facts and cache; `standin_entries` bounds what is kept without OPA."""
        self._decider = decider
        self._remote = remote
        self._check = check
        self._entries = standin_entries
        self._standin: _Standin | None = None
        self._acting: Counter[tuple[str, str | None]] = Counter()
        self._fallback = 0
        self._unavailable = 0

    @property
    def revision(self) -> str:
        """Digest of the active bundle; empty while there is none."""
        return self._decider.revision

    @property
    def status(self) -> Status:
        """For whoever asks how it goes."""
        return Status(
            away=self._remote.away,
            without_s=self._remote.without_s,
            why=self._remote.why,
            asked=self._remote.asked,
            unanswered=self._remote.unanswered,
            fallback=self._fallback,
            unavailable=self._unavailable,
            compared=self._check.compared,
            disagreed=self._check.disagreed,
        )

    async def run(self) -> None:
        """Find out whether OPA is there, for as long as the gateway runs."""
        await self._remote.run(self._engine)

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        """The decision, if it needs no waiting: from the cache, or because there is nobody to wait for."""
        active, remote = self._decider.active, self._remote
        if active is None or operation.unreadable is not None:
            return self._decider.decide(caller, operation, now, writes_60s)
        try:
            if not remote.reads(now.mono_ns) and operation.protocol is not Protocol.CONTROL:
                # Not from the cache either: the time without OPA is over.
                return self._denied(active, None)
            shared = self._decider.shared(active, caller, operation, now)
            if shared is not None or not remote.away:
                return shared
            return self._without(active, None, caller, operation, now)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is no
            return self._decider.broken(active, error)

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        """The decision, waited for. What people have approved is always evaluated."""
        active = self._decider.active
        if active is None or operation.unreadable is not None:
            return self._decider.decide(caller, operation, now, writes_60s)
        if approval is None:
            decision = self.decide(caller, operation, now, writes_60s)
            if decision is not None:
                return decision
        try:
            if self._remote.away:
                return self._without(active, None, caller, operation, now, approval)
            facts = self._decider.facts
            place = None if approval is not None else active.cache.place(caller, operation)
            with self._on_its_way(caller, operation) as others:
                counted = None if writes_60s is None else writes_60s + others
                asked, ulid = self._decider.ask_of(caller, operation, now, counted, approval)
                answer = await self._remote.ask(active.engine, asked, ulid)
            if isinstance(answer, Unanswered):
                return self._without(active, answer, caller, operation, now, approval)
            decision = self._checked(answer, active.engine)
            if place is not None and self._decider.facts is facts:  # else it was decided under other facts
                active.cache.put(place, decision, now.mono_ns)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is no
            return self._decider.broken(active, error)
        return decision

    @contextmanager
    def _on_its_way(self, caller: Caller, operation: Operation) -> Iterator[int]:
        """How many acts of this subject on this asset OPA is asked about now.

        They count as done in `state.writes_60s`: a write counts once it is allowed, and those that wait for
        their answers at the same time would all pass a budget that has room for one.
        """
        who = caller.identity.subject, operation.asset
        acts = operation.action in MUTATING
        others = self._acting[who]
        self._acting[who] += acts
        try:
            yield others
        finally:
            self._acting[who] -= acts
            if not self._acting[who]:
                del self._acting[who]

    def _checked(self, answer: Decision, engine: Engine) -> Decision:
        self._decider.count_error(answer)
        return self._check.judge(answer, engine) if answer.origin is Origin.EVALUATED else answer

    def _without(
        self,
        active: Active,
        why: Unanswered | None,
        caller: Caller,
        operation: Operation,
        now: Now,
        approval: Approval | None = None,
    ) -> Decision:
        """What is decided while OPA is away: reads, by the embedded engine, for as long as that may be."""
        if operation.action in MUTATING or (
            operation.protocol is not Protocol.CONTROL and not self._remote.reads(now.mono_ns)
        ):
            return self._denied(active, why)
        self._fallback += 1
        if self._standin is None or self._standin.active is not active:
            self._standin = _Standin(active, self._entries)
        return self._standin.decide(self._decider, caller, operation, now, approval)

    def _denied(self, active: Active, why: Unanswered | None) -> Denied:
        self._unavailable += 1
        why = why or Unanswered(UNAVAILABLE, f"OPA is away: {self._remote.why}")
        return failed(active.engine.revision, why.why, code=why.code)

    def _engine(self) -> Engine | None:
        active = self._decider.active
        return None if active is None else active.engine


class _Standin:
    """What the embedded engine decided about one bundle in OPA's place."""

    def __init__(self, active: Active, entries: int) -> None:
        self.active = active
        self._cache = Cache(Projection(active.policy.paths), entries)
        self._facts: Facts | None = None

    def decide(
        self, decider: Decider, caller: Caller, operation: Operation, now: Now, approval: Approval | None
    ) -> Decision:
        """A decision that says it is a fallback; equal questions share it, as they would OPA's."""
        if self._facts is not decider.facts:
            self._facts = decider.facts
            self._cache.facts(decider.facts)
        place = None if approval is not None else self._cache.place(caller, operation)
        shared = None if place is None else self._cache.at(place, now.mono_ns)
        if shared is not None:
            return shared
        asked, ulid = decider.ask_of(caller, operation, now, None, approval)
        decision = self.active.engine.evaluate(asked, ulid)
        decider.count_error(decision)
        if decision.origin is Origin.EVALUATED:
            decision = replace(decision, origin=Origin.FALLBACK)
        if place is not None:
            self._cache.put(place, decision, now.mono_ns)
        return decision
