"""The HTTPS API for reviewers: they look, and can do nothing else.

Rules that hold here:
- Every row is a GET, and a read through the same passage as everybody's: decided by policy, recorded with
  everything that was asked for before anything is looked up, and with a digest of what was shown.
- Who may not look hears 403 for everything alike, whether there is such a record or not.
- One reviewer has BUDGET looks a minute and AT_ONCE under way; beyond it 429. Nobody's search takes the
  gateway's own time (`desk`).
- Each error is a problem (RFC 9457) and says what to do about it; why policy said no is in the journal.
"""

from collections import Counter
from collections.abc import Callable

from aiohttp import web

from gateway.guard.limits import Rates
from gateway.guard.passage import Door, enter, finish, settle
from gateway.guard.verdict import Forward, Pending, Refuse, Sever
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation, Protocol
from gateway.review import jobs
from gateway.review.desk import WITHIN_S, Desk
from gateway.review.jobs import Found, Job
from gateway.review.rows import LOOKS, Look, target
from gateway.review.wishes import NotUnderstoodError, Wish, understood
from gateway.web.problem import HEADERS, Problem
from gateway.web.served import Handler, Row, Served, bodiless, query_of

BUDGET = 120
"Looks of one reviewer in a minute, a burst of as many included."
AT_ONCE = 4
"Looks of one reviewer under way at once."
MOST_CONNECTIONS = 32
"Each may hold one answer that its reader takes slowly: 128 MiB all together, at the very worst."


INERT = {**HEADERS, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"On every answer: what somebody wrote into a record is never more than text in a reviewer's browser."


class Frame:
    """A look as a frame: what the permit holds is the job, encoded from what was understood."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def encode(self) -> bytes:
        """As it goes to the reading room."""
        return jobs.encoded(self._job)


class ReviewApi:
    """The API; `client` gives the protocol for one admitted connection."""

    def __init__(
        self, desk: Desk, *, door: Door, clock: Callable[[], Now], count: Callable[[str], None]
    ) -> None:
        self._desk = desk
        self._door = door
        self._clock = clock
        self._rates = Rates()
        self._under_way: Counter[str] = Counter()
        rows = [Row("GET", look.path, self._handler(look)) for look in LOOKS]
        self._served = Served("review", rows, admit=bodiless, count=count)
        self.client = self._served.client
        self.start = self._served.start
        self.run = desk.run

    async def stop(self) -> None:
        """End what is under way, every connection, and the reading room."""
        await self._served.stop()
        await self._desk.close()

    def _handler(self, look: Look) -> Handler:
        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            async with _Turn(self._under_way, caller, self._rates, self._clock()):
                found = await self._through(look, _wish(look, request), caller)
            return web.Response(body=found.body, headers={**INERT, "Content-Type": found.media})

        return handle

    async def _through(self, look: Look, wish: Wish, caller: Caller) -> Found:
        """Decide, record, look."""
        now, door = self._clock(), self._door
        operation = Operation(protocol=Protocol.HTTPS, action=Action.READ, kind=look.kind, admin=target(wish))
        frame = Frame(Job(wish, WITHIN_S))
        verdict = enter(frame, (operation,), caller, door, now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, door, now)
        if not isinstance(verdict, Forward):
            raise _refusal(verdict)
        job = verdict.permit.spend(door.engine.revision, self._clock().mono_ns)
        if job is None:
            settle(verdict.permit, {"status": "not_sent"}, b"", door, self._clock())
            raise Problem(503, "policy changed meanwhile; ask again", code="policy_changed")
        return await self._looked(verdict, job)

    async def _looked(self, forward: Forward, job: bytes) -> Found:
        """What was found; its digest goes into the record of the look."""
        result, data = {"status": "failed"}, b""
        try:
            answer = await self._desk.ask(job)
            if isinstance(answer, Found):
                result, data = {"status": "ok"}, answer.body
                return answer
            result = {"status": answer.code}
            raise Problem(answer.status, answer.detail, code=answer.code)
        finally:
            settle(forward.permit, result, data, self._door, self._clock())


class _Turn:
    """One look of one reviewer, within the reviewer's budget."""

    def __init__(self, under_way: Counter[str], caller: Caller, rates: Rates, now: Now) -> None:
        self._under_way = under_way
        self._subject = caller.identity.subject
        self._rates = rates
        self._now = now

    async def __aenter__(self) -> None:
        if self._under_way[self._subject] >= AT_ONCE:
            raise Problem(429, f"at most {AT_ONCE} questions at once", code="too_many")
        if not self._rates.take((self._subject,), BUDGET, 60.0, self._now.mono_ns):
            raise Problem(429, f"at most {BUDGET} questions in a minute", code="too_fast")
        self._under_way[self._subject] += 1

    async def __aexit__(self, *_: object) -> None:
        self._under_way[self._subject] -= 1
        self._under_way += Counter()  # forget who has none


def _wish(look: Look, request: web.Request) -> Wish:
    given = query_of(request)
    for name, value in request.match_info.items():
        if name in given:
            raise Problem(400, f"query: {name} stands in the path", code="bad_request")
        given[name] = value
    try:
        return understood(look.form, given)
    except NotUnderstoodError as error:
        raise Problem(400, f"query: {error}", code="bad_request") from None


def _refusal(verdict: Refuse | Sever) -> Problem:
    if verdict == Refuse(Why.NOT_RECORDED):
        return Problem(503, "the journal cannot record the look, so it does not happen", code="not_recorded")
    return Problem(403, "policy does not allow it", code="denied")
