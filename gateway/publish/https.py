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
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.guard.passage import Door
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.publish import pages
from gateway.publish.ports import Count
from gateway.publish.reads import Reads
from gateway.publish.values import Values
from gateway.publish.vetting import Vetting
from gateway.web.problem import HEADERS, Problem
from gateway.web.served import Handler, Row, Served, bodiless, query_of

ANSWER_S = 10.0
"How long making an answer may take."
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
        self._metrics = metrics
        self._ready = ready
        rows = [Row("GET", route.path, self._handler(route)) for route in ROUTES]
        served = Served("https", rows, admit=bodiless, count=count)
        self.start, self.stop, self.client = served.start, served.stop, served.client

    def _handler(self, route: "Route") -> Handler:
        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            async with asyncio.timeout(ANSWER_S):
                return await route.answer(self, route, request, caller)

        return handle

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
            body=body, headers={**HEADERS, "Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
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


def _page(request: web.Request) -> tuple[int, str | None]:
    """`limit` and `cursor`; everything else, or twice, is a mistake that is named."""
    query = query_of(request)
    for key in query:
        if key not in ("limit", "cursor"):
            raise Problem(400, f"query: only limit and cursor, not {key[:40]!r}")
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
    headers: dict[str, Any] = {**HEADERS, "ETag": f'"{etag}"'}
    if any(known.value in (etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)
