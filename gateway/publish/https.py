"""The HTTPS API for IT, inside the gateway's own TLS.

Rules that hold here:
- The table ROUTES says what there is and which operation policy is asked about; there is no other path.
- Nobody is anonymous: without a Caller from the TLS layer the answer is 401 and the connection ends. That
  goes for /healthz and /metrics as well.
- Every tag is its own operation, decided and recorded. A tag that the caller may not read and one that does
  not exist get the same 404; which it was is in the journal.
- A page leaves out what the caller may not read. That is no refusal, and makes no record of a denial.
- Every error is a problem (RFC 9457), also those of the HTTP parser.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.guard.passage import Door
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.publish import pages, problem
from gateway.publish.ports import Count
from gateway.publish.problem import Problem
from gateway.publish.reads import Reads
from gateway.publish.values import Values
from gateway.publish.vetting import Vetting

log = logging.getLogger(__name__)

MOST_LINE = 4096
"Longest request line, and longest header field: a cursor fits well."
MOST_HEADERS = 64
IDLE_S = 30.0
"How long a connection may wait for, or dribble, the head of its next request."
ANSWER_S = 10.0
"How long making an answer may take."
STOP_S = 3.0
"How long answers under way may take when the gateway stops."
BREATH = 64
"After so many tags of a page everybody else gets a turn."


class Api:
    """The API; `client` gives the protocol for one admitted connection."""

    def __init__(
        self,
        *,
        values: Values,
        vetting: Vetting,
        door: Door,
        clock: Callable[[], Now],
        count: Count,
        metrics: Callable[[], str],
        ready: Callable[[], Mapping[str, bool]],
    ) -> None:
        """`ready` names each thing that must hold before the gateway is of use; none at all is not ready."""
        self._values = values
        self._vetting = vetting
        self._reads = Reads(values, door, clock, count)
        self._clock = clock
        self._count = count
        self._metrics = metrics
        self._ready = ready
        self._runner = web.AppRunner(
            self.application(), access_log=None, handle_signals=False, shutdown_timeout=STOP_S
        )

    async def start(self) -> None:
        """Must have been called before the first client."""
        await self._runner.setup()

    async def stop(self) -> None:
        """End what is under way, and every connection."""
        await self._runner.cleanup()

    def client(self, caller: Caller) -> asyncio.Protocol:
        """The protocol for one connection. The caller is found again by the transport (`dmz.caller`)."""
        server = self._runner.server
        if server is None:
            raise RuntimeError("start() was not called")
        return Requests(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # what its own Application passes, too
            keepalive_timeout=IDLE_S,
            lingering_time=0,
            max_line_size=MOST_LINE,
            max_field_size=MOST_LINE,
            max_headers=MOST_HEADERS,
        )

    def application(self) -> web.Application:
        """The routes of the table behind the one middleware."""
        app = web.Application(middlewares=[self._guard])
        for route in ROUTES:
            app.router.add_route("GET", route.path, self._handler(route))
        return app

    def _handler(self, route: "Route") -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await route.answer(self, route, request, _caller(request))

        return handle

    # around every request --------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._count("https_requests")
        try:
            _admit(request)
            async with asyncio.timeout(ANSWER_S):
                return await handler(request)
        except Problem as error:
            return self._problem(error)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return self._problem(Problem(error.status, DETAILS.get(error.status, error.reason)), allow)
        except TimeoutError:
            return self._problem(Problem(503, "the answer took too long"), {"Retry-After": "1"})
        except Exception:
            log.exception("a request failed")
            return self._problem(Problem(500, "the gateway failed; its log says why"))

    def _problem(self, error: Problem, headers: dict[str, str] | None = None) -> web.Response:
        self._count(f"https_{error.status}")
        response = problem.answer(error, headers)
        if error.status in CLOSING:
            response.force_close()
        return response

    # the answers -----------------------------------------------------------------------------------

    async def tags(self, route: "Route", request: web.Request, caller: Caller) -> web.StreamResponse:
        limit, after = _page(request)
        now = self._clock()
        found: list[bytes] = []
        cursor = None
        for number, name in enumerate(self._values.after(after) if after else self._values.names):
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            tag = self._values.tags.get(name)
            if tag is None or (released := self._vetting.released(name, now)) is None:
                continue
            operation = self._reads.operation(route.kind, caller, tag)
            if self._reads.hidden(operation, caller, now):
                continue
            passed = await self._reads.ask(pages.TagBody(released, tag), operation, caller, now)
            if isinstance(passed, bytes):
                found.append(passed)
            elif passed is not Why.DENIED:
                raise _unavailable(passed)
            if len(found) == limit:
                cursor = pages.cursor(name) if name != self._values.names[-1] else None
                break
        return _json(request, pages.page(found, cursor))

    async def tag(self, route: "Route", request: web.Request, caller: Caller) -> web.StreamResponse:
        _no_query(request)
        now = self._clock()
        name = request.match_info["name"]
        tag = self._values.tags.get(name) if pages.NAME.fullmatch(name) else None
        released = self._vetting.released(name, now) if tag is not None else None
        if tag is None or released is None:
            self._reads.unknown(route.kind, caller, tag, name, now)
            raise Problem(404, NO_TAG)
        operation = self._reads.operation(route.kind, caller, tag)
        passed = await self._reads.ask(pages.TagBody(released, tag), operation, caller, now)
        if passed is Why.DENIED:
            raise Problem(404, NO_TAG)
        if isinstance(passed, Why):
            raise _unavailable(passed)
        return _json(request, passed)

    async def health(self, route: "Route", request: web.Request, caller: Caller) -> web.StreamResponse:
        return _json(request, await self._own(route, caller, b'{"status":"ok"}'))

    async def readiness(self, route: "Route", request: web.Request, caller: Caller) -> web.StreamResponse:
        checks = dict(self._ready())
        body = await self._own(route, caller, msgspec.json.encode({"status": "ready", "checks": checks}))
        if not checks or not all(checks.values()):
            raise Problem(503, "not everything that must hold does", checks=checks)
        return _json(request, body)

    async def figures(self, route: "Route", request: web.Request, caller: Caller) -> web.StreamResponse:
        body = await self._own(route, caller, self._metrics().encode())
        return web.Response(
            body=body, headers={**problem.HEADERS, "Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _own(self, route: "Route", caller: Caller, body: bytes) -> bytes:
        """Something about the gateway itself: that it exists is no secret, so a denial is 403."""
        operation = self._reads.operation(route.kind, caller, None)
        passed = await self._reads.ask(pages.Body(body), operation, caller, self._clock())
        if passed is Why.DENIED:
            raise Problem(403, "policy does not allow it")
        if isinstance(passed, Why):
            raise _unavailable(passed)
        return passed


class Route(Struct, frozen=True):
    """One row: a path and the operation that policy is asked about."""

    path: str
    kind: str
    answer: Callable[[Api, "Route", web.Request, Caller], Awaitable[web.StreamResponse]]
    summary: str


ROUTES: tuple[Route, ...] = (
    Route("/api/v1/tags", "https.read_tag", Api.tags, "Tags you may read, by name, in pages"),
    Route("/api/v1/tags/{name}", "https.read_tag", Api.tag, "One tag"),
    Route("/healthz", "https.health", Api.health, "Whether the gateway runs"),
    Route("/readyz", "https.health", Api.readiness, "Whether it is of use"),
    Route("/metrics", "https.metrics", Api.figures, "Prometheus text"),
)
"All of the API. Every row is a GET."

NO_TAG = "there is no such tag for you"
DETAILS: dict[int, str] = {404: "there is no such resource", 405: "this resource can only be read: GET"}
CLOSING = frozenset({400, 401, 413})
"After these the connection ends: what follows cannot be trusted to be a request, or has no one behind it."


class Requests(web.RequestHandler):
    """aiohttp's HTTP/1.1, with its parser's errors as problems too, and without the text of what was sent."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers when there is no handler to do it."""
        if status >= 500:
            log.error("a request failed", exc_info=exc)
        detail = (
            "this is no HTTP request, or more of one than is taken here" if status == 400 else "it failed"
        )
        response = problem.answer(Problem(status, detail))
        response.force_close()
        return response


def _caller(request: web.Request) -> Caller:
    transport = request.transport
    caller = transport.get_extra_info("dmz.caller") if transport is not None else None
    if not isinstance(caller, Caller):
        raise Problem(401, "a client certificate is needed")
    return caller


def _admit(request: web.Request) -> None:
    """No route takes a body: one that comes is refused unread, and the connection ends."""
    _caller(request)
    if request.body_exists:
        raise Problem(413, "no resource here takes a body")


def _page(request: web.Request) -> tuple[int, str | None]:
    """`limit` and `cursor`; everything else, or twice, is a mistake that is named."""
    query: dict[str, str] = {}
    for key, value in request.query.items():
        if key not in ("limit", "cursor") or key in query:
            raise Problem(400, f"query: only limit and cursor, once each, not {key[:40]!r}")
        query[key] = value
    limit = query.get("limit", str(pages.DEFAULT_TAGS))
    if not limit.isascii() or not limit.isdigit() or len(limit) > 3 or not 1 <= int(limit) <= pages.MOST_TAGS:
        raise Problem(400, f"limit: a whole number from 1 to {pages.MOST_TAGS}")
    after = None
    if "cursor" in query and (after := pages.after(query["cursor"])) is None:
        raise Problem(400, "cursor: not one that this API gave")
    return int(limit), after


def _no_query(request: web.Request) -> None:
    if request.query:
        raise Problem(400, "query: this resource takes none")


def _unavailable(why: Why) -> Problem:
    if why is Why.NOT_RECORDED:
        return Problem(503, "the journal cannot record the read, so it does not happen")
    return Problem(503, "policy changed meanwhile; ask again")


def _json(request: web.Request, body: bytes) -> web.Response:
    """200, or 304 for who has it already (RFC 9110 §13.1.2: compared weakly)."""
    etag = pages.etag(body)
    headers: dict[str, Any] = {**problem.HEADERS, "ETag": f'"{etag}"'}
    if any(known.value in (etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)
