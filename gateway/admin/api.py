"""The HTTPS API by which people act on the gateway, inside the gateway's own TLS.

Rules that hold here:
- Only persons: whom a certificate names as one (`Kind.PERSON`). Everybody else is denied, on record.
- Every row of the table is one operation through the same passage as everybody's: decided by policy, its
  intent durable before the act, its outcome recorded.
- What cannot be done is denied before policy is asked, under its code: a request that is not there, a
  statement that proves nothing (invariant 2).
- A body is JSON of a closed form, of at most MOST_BODY bytes (an archive may be longer; one at a time, and
  only from a person), and says that it is JSON. A page in a person's
  browser cannot send that without asking first (CORS), and nobody here says yes.
- One client has BUDGET requests a minute; an answer has its time; every error is a problem (RFC 9457).
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web
from msgspec.structs import replace

from gateway.admin.impossible import Impossible
from gateway.admin.route import Asked, Done, Long, Route, Wish
from gateway.guard.limits import Rates
from gateway.guard.passage import Door, enter, finish, settle
from gateway.guard.verdict import Forward, Pending, Refuse
from gateway.model.decision import Denied, Why
from gateway.model.identity import Authentication, Caller, Kind
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation, Protocol
from gateway.web.problem import HEADERS, Problem
from gateway.web.served import Handler, Row, Served

MOST_BODY = 16_384
"A signed statement with its certificate takes 9 kB at most."
BODY_S = 5.0
"How long a body may take to arrive."
BUDGET = 120
"Requests of one subject in a minute, a burst of as many included. Nobody clicks faster."


class Frame:
    """The act as a frame: what the permit holds is the body, encoded again from what was understood."""

    def __init__(self, body: object) -> None:
        self._body = body

    def encode(self) -> bytes:
        """The body as JSON."""
        return msgspec.json.encode(self._body)


class AdminApi:
    """The API; `client` gives the protocol for one admitted connection."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        door: Door,
        clock: Callable[[], Now],
        count: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after each act that was done, so that policy sees its facts at once."""
        self._door = door
        self._clock = clock
        self._changed = changed
        self._rates = Rates()
        self._long = asyncio.Lock()
        "Held while a long body is read and acted upon: two at once could take the machine's memory."
        rows = [Row(route.method, route.path, self._handler(route)) for route in routes]
        served = Served("admin", rows, admit=self._admit, count=count, most_body=MOST_BODY)
        self.start, self.stop, self.client = served.start, served.stop, served.client

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            async with self._alone(route):
                # What is long is not even read from who is no person: the denial does not hang on it.
                skipped = route.long is not None and not _is_person(caller)
                body = None if skipped else await _body(request, route)
                asked = Asked(caller, request.match_info.get("name", ""), body, self._clock())
                done = await self._through(route, asked)
            return web.Response(
                body=msgspec.json.encode(done.told), content_type="application/json", headers=HEADERS
            )

        return handle

    def _alone(self, route: Route) -> contextlib.AbstractAsyncContextManager[None]:
        if route.long is None:
            return contextlib.nullcontext()
        if self._long.locked():
            raise Problem(503, "another bundle is looked at; try again", code="busy")
        return self._long

    def _admit(self, _: web.Request, caller: Caller) -> None:
        if not self._rates.take((caller.identity.subject,), BUDGET, 60.0, self._clock().mono_ns):
            raise Problem(429, f"at most {BUDGET} requests in a minute", code="too_fast")

    # through the door -------------------------------------------------------------------------------------

    async def _through(self, route: Route, asked: Asked) -> Done:
        """Decide, record, act, record."""
        caller, door, frame = asked.caller, self._door, Frame(asked.body)
        asked, wish, fault = await _understood(route, asked)
        operation = _operation(route, wish, fault)
        verdict = enter(frame, (operation,), caller, door, asked.now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, door, asked.now)
        if fault is not None:
            raise Problem(fault.status, fault.detail, code=fault.code)
        if not isinstance(verdict, Forward):
            raise await self._refusal(verdict == Refuse(Why.NOT_RECORDED), operation, asked)
        permit = verdict.permit
        if permit.spend(door.engine.revision, self._clock().mono_ns) is None:
            settle(permit, {"status": "not_sent"}, b"", door, self._clock())
            raise Problem(503, "policy changed meanwhile; ask again", code="policy_changed")
        result: dict[str, object] = {"status": "failed"}
        data = b""
        try:
            async with asyncio.timeout(route.within_s):
                done = await route.act(asked)
            data = msgspec.json.encode(done.told)
            acted = operation.action is Action.ADMIN
            result = {"status": "ok", **done.told, **done.recorded} if acted else {"status": "ok"}
        except Impossible as error:
            result["why"] = error.code
            raise Problem(error.status, error.detail, code=error.code) from None
        finally:
            settle(permit, result, data, door, self._clock())
        if operation.action is Action.ADMIN:
            self._changed()
        return done

    async def _refusal(self, unrecorded: bool, operation: Operation, asked: Asked) -> Problem:
        """Why it was denied, in policy's codes. Asked once more for that: the answer decides nothing."""
        if unrecorded:
            return Problem(503, "the journal cannot record it, so it does not happen", code="not_recorded")
        again = await self._door.engine.ask(asked.caller, operation, asked.now, None)
        if isinstance(again, Denied):
            codes = sorted({reason.code for reason in again.reasons})
        else:  # allowed on a condition that was not met: approval by somebody else, a rate …
            codes = sorted({f"obligation.{obligation.type}" for obligation in again.obligations})
        return Problem(403, "policy does not allow it", code="denied", reasons=codes)


async def _understood(route: Route, asked: Asked) -> tuple[Asked, Wish, Impossible | None]:
    """What policy would be asked about, or why there is nothing to ask."""
    if not _is_person(asked.caller):
        fault = Impossible("not_a_person", 403, "only the certificate of a person counts here")
        return asked, Wish(), fault
    try:
        if route.understand is not None:
            asked = replace(asked, body=await route.understand(asked))
        return asked, route.wish(asked), None
    except Impossible as fault:
        return asked, Wish(), fault


def _is_person(caller: Caller) -> bool:
    return caller.identity.kind is Kind.PERSON and caller.identity.auth is Authentication.MTLS


def _operation(route: Route, wish: Wish, fault: Impossible | None) -> Operation:
    return Operation(
        protocol=Protocol.HTTPS,
        action=route.action or (Action.READ if route.method == "GET" else Action.ADMIN),
        kind=wish.kind or route.kind,
        asset=wish.asset,
        admin=wish.target,
        unreadable=fault.code if fault is not None else None,
    )


async def _body(request: web.Request, route: Route) -> object:
    """The body, read whole and of the row's form."""
    if request.query:
        raise Problem(400, "query: no resource here takes one", code="bad_request")
    if route.body is None:
        if request.body_exists:
            raise Problem(413, "a GET takes no body", code="too_large")
        return None
    if request.content_type != "application/json":
        raise Problem(415, "send Content-Type: application/json", code="not_json")
    long = route.long or Long(most=MOST_BODY, within_s=BODY_S)
    async with asyncio.timeout(long.within_s):
        data = await request.clone(client_max_size=long.most).read()
    try:
        return msgspec.json.decode(data, type=route.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Problem(400, f"body: {error}", code="bad_request") from None
