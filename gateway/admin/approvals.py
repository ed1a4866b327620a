"""Requests for approval, what people say to them, and that each is used once (`guard.ports.Approvals`).

- Nothing here waits for a person. A write that needs one is refused and noted; once somebody has granted it,
  *the same write by the same identity* is let through, once, within its time.
- A grant counts only as a statement signed by a person (`statement`), and is checked again whenever it would
  count: signature, certificate, revocation, time, gateway, request, operation. What stands in the store is
  not believed, so neither an editor of the file nor one person's key makes two people.
- Nobody grants their own request, under whatever certificate: neither the same subject nor the same key, nor
  the user on whose behalf an application asks.
- Used is written down before it is told, so that no crash makes an approval good for two acts.
- A refusal stands as long as the request would have: asking again gets no second question.
"""

from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from gateway.admin import wanted
from gateway.admin.impossible import Impossible
from gateway.admin.request import KIND, Request, State, Vote, shown, signed, told
from gateway.admin.statement import Statement
from gateway.admin.store import Store, StoreError
from gateway.admin.votes import MOST_WITHIN_S, Votes, is_signed
from gateway.guard.ports import Journal
from gateway.identity.certificate import Refused
from gateway.model.decision import Approval, Obligation
from gateway.model.identity import Caller, Identity
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Operation
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids

PENDING_S = 3_600
"How long a request waits for people."
DEFAULT_WITHIN_S = 900
"How long an approval can be used where the obligation does not say (`within_s`)."
SHARE_OF_ONE = 10
"One requester may have one in so many of `most_pending`: a flood of one crowds out nobody else."
MOST_KEPT = 500
"Requests that are over and still shown; the journal keeps them all."
MOST_ROLES = 8
"Different roles that obligations may ask of one request."


class Approvals:
    """All requests of one gateway."""

    def __init__(
        self,
        store: Store,
        *,
        gateway: str,
        admit: Callable[[bytes, Now], Identity | Refused],
        journal: Journal,
        ulids: Ulids,
        count: Callable[[str], None],
        alarm: Callable[[str, dict[str, Any]], None],
        most_pending: int,
        now: Now,
    ) -> None:
        """`admit` is the trust of the zone that people come from; `gateway` the name in their statements."""
        self._store = store
        self._votes = Votes(gateway, admit)
        self._journal = journal
        self._ulids = ulids
        self._count = count
        self._most_pending = most_pending
        self._requests: dict[str, Request] = {}
        "By id; ids grow with time, so this is their order."
        self._open: dict[str, str] = {}
        "Digest -> id of the request about it that is open, or refused and still standing."
        self._deadlines: dict[str, int] = {}
        "Id -> monotonic time at which it is over, so that no jump of the wall clock makes it live longer."
        damaged = store.damaged
        adopted = [self._adopt(request, now) for request in store.read(KIND, Request).values()]
        if store.damaged != damaged:
            alarm("admin.store_damaged", {"why": store.damaged})
        if not all(adopted):
            alarm("admin.forged_approval", {"requests": adopted.count(False)})

    def _adopt(self, request: Request, now: Now) -> bool:
        """Take up what an earlier run left; whether all its votes were signed.

        Where nobody knows how much time has passed, it is over.
        """
        votes = tuple(vote for vote in request.votes if is_signed(vote))
        signed = votes == request.votes
        request = replace(request, votes=votes)
        self._requests[request.id] = request
        if request.state not in (State.OPEN, State.REFUSED):
            return signed
        known = now.trusted and request.made_ns <= now.wall_ns
        left = max(0, request.until_ns - now.wall_ns) if known else 0
        self._deadlines[request.id] = now.mono_ns + min(left, MOST_WITHIN_S * SECOND)
        self._open[request.digest] = request.id
        return signed

    # the port ---------------------------------------------------------------------------------------------

    def request(self, caller: Caller, operation: Operation, obligation: Obligation, now: Now) -> str:
        """Note that this needs approval. The id of the request; empty if there is no room, or no store."""
        try:
            document = wanted.document(caller, operation)
            text = wanted.canonical(document)
        except (ValueError, TypeError):
            return ""
        if len(text) > wanted.MOST_BYTES:
            return ""
        self.sweep(now)
        role, within_s = _terms(obligation)
        try:
            known = self._open.get(wanted.digest(document))
            if known is not None:
                return self._ask_more(self._requests[known], role, within_s)
            if not self._has_room(caller.identity.subject):
                self._count("approvals_no_room")
                return ""
            return self._begin(caller, operation, document, role, within_s, now)
        except StoreError:
            self._count("approvals_not_kept")
            return ""

    def claim(self, caller: Caller, operation: Operation, now: Now) -> Approval | None:
        """An approval that is granted, in time and unused, for exactly this operation by this identity."""
        try:
            digest = wanted.digest(wanted.document(caller, operation))
        except (ValueError, TypeError):
            return None
        self.sweep(now)
        request = self._requests.get(self._open.get(digest, ""))
        if request is None or request.state is not State.OPEN:
            return None
        by = tuple(self._votes.grants(request, digest, caller.identity, now))
        return Approval(id=request.id, by=by) if by else None

    def spend(self, approval: Approval, now: Now) -> bool:
        """Use it up, durably; the signed statements go to the journal before the act's own intent does."""
        request = self._requests.get(approval.id)
        if request is None or request.state is not State.OPEN or not approval.by:
            return False
        used = self._end(request, State.USED)
        try:
            self._store.write([(KIND, used.id, used)])
        except StoreError:
            self._count(
                "approvals_not_kept"
            )  # used all the same, in this run: nobody knows what the disk has
            return False
        self._count("approvals_used")
        note = {**told(used), "event": "approval used", "by": list(approval.by), **signed(used.votes)}
        self._journal.event(RecordKind.ADMIN, note, now, source="internal")
        return True

    # people -----------------------------------------------------------------------------------------------

    def find(self, name: str, now: Now) -> Request:
        """A request that people can still answer; Impossible where there is none."""
        self.sweep(now)
        request = self._requests.get(name)
        if request is None:
            raise Impossible("unknown_request", 404, "there is no such request")
        if request.state is not State.OPEN:
            raise Impossible("request_over", 409, f"the request is over: {request.state.value}")
        return request

    def weigh(
        self, request: Request, vote: Vote, decision: Literal["grant", "refuse"], caller: Caller, now: Now
    ) -> Statement:
        """What a person says about a request, if it proves that they say it; Impossible where it does not."""
        return self._votes.weigh(request, vote, decision, caller.identity, now)

    def answer(self, request: Request, vote: Vote, statement: Statement, now: Now) -> Request:
        """Write down what `weigh` found good; a refusal ends the request. Impossible where it is not kept."""
        refused = statement.decision == "refuse"
        until_ns, deadline = request.until_ns, self._deadlines[request.id]
        if not refused:
            # `issued` may lie ahead by the skew that `votes` allows: that makes nothing usable for longer.
            ends_ns = min(statement.expires_s * SECOND, now.wall_ns + request.within_s * SECOND)
            first = not request.votes  # a second grant makes nothing live longer than the first
            until_ns = ends_ns if first else min(until_ns, ends_ns)
            left = now.mono_ns + ends_ns - now.wall_ns
            deadline = left if first else min(deadline, left)
        answered = replace(
            request,
            votes=(*request.votes, vote),
            state=State.REFUSED if refused else State.OPEN,
            until_ns=until_ns,
        )
        try:
            self._store.write([(KIND, answered.id, answered)])
        except StoreError as error:
            raise Impossible("not_kept", 503, str(error)) from None
        self._requests[answered.id] = answered
        self._deadlines[answered.id] = deadline
        self._count("approvals_refused" if refused else "approvals_granted")
        return answered

    def recent(self, most: int, now: Now) -> list[dict[str, Any]]:
        """Requests for people to see, those that are open first, the newest of each first."""
        self.sweep(now)
        newest = sorted(self._requests.values(), key=lambda r: (r.state is State.OPEN, r.id), reverse=True)
        return [shown(request) for request in newest[:most]]

    def status(self) -> dict[str, Any]:
        """For `status`."""
        states = [request.state for request in self._requests.values()]
        return {state.value: states.count(state) for state in State} | {"damaged": self._store.damaged}

    def sweep(self, now: Now) -> None:
        """End what is over, and forget the oldest of what has been over. Bounded, and mostly nothing."""
        over = [name for name, at_ns in self._deadlines.items() if now.mono_ns >= at_ns]
        for name in over:
            request = self._requests[name]
            ended = request.state if request.state is State.REFUSED else State.EXPIRED
            self._requests[name] = self._end(request, ended)
        forgotten = self._forget()
        if over or forgotten:
            changes = [(KIND, name, self._requests.get(name)) for name in (*over, *forgotten)]
            try:
                self._store.write(changes)
            except StoreError:
                self._count("approvals_not_kept")  # it is over in memory, and by its own time after a restart

    # inside -----------------------------------------------------------------------------------------------

    def _begin(
        self,
        caller: Caller,
        operation: Operation,
        document: wanted.Document,
        role: str,
        within_s: int,
        now: Now,
    ) -> str:
        request = Request(
            id=self._ulids.next(now.wall_ns),
            digest=wanted.digest(document),
            document=wanted.canonical(document).decode(),
            words=wanted.words(document),
            requester=caller.identity.subject,
            on_behalf_of=caller.identity.on_behalf_of,
            ski=caller.identity.ski,
            kind=operation.kind,
            asset=operation.asset,
            by=(role,),
            within_s=within_s,
            made_ns=now.wall_ns,
            until_ns=now.wall_ns + PENDING_S * SECOND,
        )
        self._store.write([(KIND, request.id, request)])
        self._requests[request.id] = request
        self._open[request.digest] = request.id
        self._deadlines[request.id] = now.mono_ns + PENDING_S * SECOND
        self._count("approvals_requested")
        note = {**told(request), "event": "approval requested", "by_role": role, "within_s": within_s}
        self._journal.event(RecordKind.ADMIN, note, now, caller=caller)
        return request.id

    def _ask_more(self, request: Request, role: str, within_s: int) -> str:
        """The same again. Policy may want another role to agree too, or sooner."""
        roles = request.by if role in request.by else (*request.by, role)
        fresh = replace(request, by=roles, within_s=min(within_s, request.within_s))
        if fresh != request and len(roles) <= MOST_ROLES and request.state is State.OPEN:
            self._store.write([(KIND, fresh.id, fresh)])
            self._requests[fresh.id] = fresh
        return request.id

    def _has_room(self, requester: str) -> bool:
        waiting = [self._requests[name].requester for name in self._deadlines]
        share = max(1, self._most_pending // SHARE_OF_ONE)
        return len(waiting) < self._most_pending and waiting.count(requester) < share

    def _end(self, request: Request, state: State) -> Request:
        """Over, in memory; who calls writes it down."""
        ended = replace(request, state=state)
        self._requests[request.id] = ended
        self._open.pop(request.digest, None)
        self._deadlines.pop(request.id, None)
        return ended

    def _forget(self) -> list[str]:
        too_many = len(self._requests) - len(self._deadlines) - MOST_KEPT
        if too_many <= 0:
            return []
        forgotten = sorted(name for name in self._requests if name not in self._deadlines)[:too_many]
        for name in forgotten:
            del self._requests[name]
        return forgotten


def _terms(obligation: Obligation) -> tuple[str, int]:
    """Role and seconds of an approval obligation."""
    within = obligation.param("within_s")
    if isinstance(within, bool) or not isinstance(within, int | float):
        within = DEFAULT_WITHIN_S
    return str(obligation.param("by") or ""), max(1, int(min(within, MOST_WITHIN_S)))
