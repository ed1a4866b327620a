"""The rehearsal: what a new bundle would decide about all that is asked now, before it decides anything.

It gives two things. The cache starts warm, so that no caller waits while thousands of questions are evaluated
one after another in the loop. And the decisions that flip are told: who gains, who loses, and why.

The work is done in the workshop, a process of its own. The rules between the two:
- Preparing (the loader and the bundle's tests) must succeed in time, or the bundle is refused.
- Rehearsing may fail, or take too long: then what was not rehearsed starts cold. A bundle that takes rights
  away is held up by it for `Limits.rehearse_s`, and by a question that never ends for `ask_s` more.
- A decision is worth something only under the revision and the facts it was made with: `warmed` makes a cache
  for exactly these, and a cache that is told other facts empties itself.
- Writes, calls and admin acts are in no cache, so none of their flips is found here; `policy replay` does.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic

from msgspec import Struct

from gateway.model.decision import Allowed, Decision, Origin, Reason
from gateway.model.errors import PolicyError
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action
from gateway.model.ulid import Ulids
from gateway.policy.bundle import Bundle
from gateway.policy.cache import Cache, LiveQuestion, Projection
from gateway.policy.elsewhere import Workshop
from gateway.policy.facts import Facts
from gateway.policy.jobs import Ask, Live
from gateway.policy.loader import Policy

AT_ONCE = 100
"Questions in one message: the loop is held for less than a millisecond on each side of it."
MOST_FLIPS = 1_000
"Flips told one by one; the others are counted."


class Limits(Struct, frozen=True, kw_only=True):
    """How long a bundle may take."""

    prepare_s: float = 60.0
    "Loader and tests; 10,000 grants take about 4 s. Beyond it the bundle is refused."
    rehearse_s: float = 0.3
    """All questions together. A change of policy has one second to reach every connection, so a reload that
    nobody watches rehearses what it can in this time; an activation by hand may take longer."""
    ask_s: float = 1.0
    "One message of `AT_ONCE` questions, which takes 20 ms; beyond it the workshop hangs, and is ended."
    most_live: int = 20_000
    "Questions rehearsed, those evaluated last first."


class Flip(Struct, frozen=True, kw_only=True):
    """A decision that becomes another."""

    subject: str
    source: str
    listener: str
    action: Action
    kind: str
    "Of operation."
    asset: str | None
    tags: tuple[str, ...]
    was: str
    "`allow` or `deny`."
    becomes: str
    reasons: tuple[Reason, ...]
    "Of what it becomes."

    @property
    def widens(self) -> bool:
        """Whether somebody may do what they may not do now."""
        return self.becomes == "allow"


class Rehearsed(Struct, frozen=True, kw_only=True):
    """A bundle that may be activated, and what it would change."""

    policy: Policy
    facts: Facts
    "Under which it was rehearsed."
    mono_ns: int
    "When it was begun: from then on decisions grow old."
    decisions: tuple[tuple[LiveQuestion, Decision], ...]
    "Each live question, and what it will be answered."
    flips: tuple[Flip, ...]
    "At most MOST_FLIPS, those that widen first."
    widened: int
    "All flips from deny to allow."
    narrowed: int
    "All flips from allow to deny."
    left_out: int
    "Live questions that were not rehearsed, for want of time or because the engine failed on them."
    why: str = ""
    "Why some were left out."


async def prepare_elsewhere(
    shop: Workshop,
    bundle: Bundle,
    live: Sequence[LiveQuestion],
    facts: Facts,
    now: Now,
    ulids: Ulids,
    limits: Limits = Limits(),  # noqa: B008  a frozen value
) -> Rehearsed:
    """Check a bundle, test it and rehearse it, elsewhere. Raises PolicyError if it must not be activated.

    `facts` are those that will hold when it is active: the windows are the new bundle's.
    """
    policy = await shop.prepare(bundle, limits.prepare_s)
    until, why = monotonic() + limits.rehearse_s, ""
    decisions: list[tuple[LiveQuestion, Decision]] = []
    wanted = live[: limits.most_live]
    if len(wanted) < len(live):
        why = f"more than {limits.most_live} questions are asked"
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        if monotonic() >= until:
            why = f"rehearsing takes longer than {limits.rehearse_s:g} s"
            break
        try:
            found = await shop.ask(_ask(policy, some, facts, now, ulids, limits.ask_s))
        except PolicyError as error:
            why = str(error)
            break
        pairs = zip(some, found, strict=True)
        decisions += [pair for pair in pairs if pair[1].origin is Origin.EVALUATED]
    return _rehearsed(policy, facts, now, decisions, len(live) - len(decisions), why)


async def warmed(rehearsed: Rehearsed, most: int) -> Cache:
    """A cache for the rehearsed policy that knows what it will be asked, made without holding the loop."""
    cache = Cache(Projection(rehearsed.policy.paths), most)
    cache.facts(rehearsed.facts)
    for number, (live, decision) in enumerate(reversed(rehearsed.decisions), 1):
        cache.warm(live.caller, live.operation, decision, rehearsed.mono_ns)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return cache


def _ask(
    policy: Policy, some: Sequence[LiveQuestion], facts: Facts, now: Now, ulids: Ulids, within_s: float
) -> Ask:
    places: dict[Caller, int] = {}
    questions = tuple(
        Live(places.setdefault(one.caller, len(places)), one.operation, ulids.next(now.wall_ns))
        for one in some
    )
    return Ask(policy.bundle.revision, facts, now, tuple(places), questions, within_s)


def _rehearsed(
    policy: Policy,
    facts: Facts,
    now: Now,
    decisions: list[tuple[LiveQuestion, Decision]],
    left_out: int,
    why: str,
) -> Rehearsed:
    flips = list(_flips(decisions))
    flips.sort(key=lambda flip: not flip.widens)
    widened = sum(flip.widens for flip in flips)
    return Rehearsed(
        policy=policy,
        facts=facts,
        mono_ns=now.mono_ns,
        decisions=tuple(decisions),
        flips=tuple(flips[:MOST_FLIPS]),
        widened=widened,
        narrowed=len(flips) - widened,
        left_out=left_out,
        why=why if left_out else "",
    )


def _flips(decisions: Iterable[tuple[LiveQuestion, Decision]]) -> Iterator[Flip]:
    for live, decision in decisions:
        was, becomes = isinstance(live.decision, Allowed), isinstance(decision, Allowed)
        if was is not becomes:
            caller, operation = live.caller, live.operation
            yield Flip(
                subject=caller.identity.subject,
                source=caller.source,
                listener=caller.listener,
                action=operation.action,
                kind=operation.kind,
                asset=operation.asset,
                tags=tuple(point.tag for point in operation.points),
                was="allow" if was else "deny",
                becomes="allow" if becomes else "deny",
                reasons=decision.reasons,
            )
