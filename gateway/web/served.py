"""One API over HTTPS inside the gateway's own TLS: aiohttp without its sockets, a guard around every request.

Rules that hold in each API:
- The rows say what there is; there is no other path.
- Nobody is anonymous: without a Caller from the TLS layer the answer is 401 and the connection ends.
- Every error is a problem (RFC 9457), also those of the HTTP parser, without the text of what was sent.
- A request is short (MOST_LINE, MOST_HEADERS, `most_body`), and does not dribble (IDLE_S).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from msgspec import Struct

from gateway.model.identity import Caller
from gateway.web import problem
from gateway.web.problem import Problem

log = logging.getLogger(__name__)

MOST_LINE = 4096
"Longest request line, and longest header field."
MOST_HEADERS = 64
IDLE_S = 30.0
"How long a connection may wait for, or dribble, the head of its next request."
STOP_S = 3.0
"How long answers under way may take when the gateway stops."
CLOSING = frozenset({400, 401, 413, 415})
"After these the connection ends: what follows cannot be trusted to be a request, or has no one behind it."
LATER = frozenset({429, 503})
"After these the same may be asked again in a moment."
DETAILS = {404: "there is no such resource", 405: "not with this method"}

Handler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
Admit = Callable[[web.Request, Caller], None]
"What each request must pass before its path counts; raises Problem."


class Row(Struct, frozen=True):
    """One way in."""

    method: str
    path: str
    handle: Handler


class Served:
    """The rows of one API behind one guard; `client` gives the protocol for one admitted connection."""

    def __init__(
        self,
        name: str,
        rows: Iterable[Row],
        *,
        admit: Admit,
        count: Callable[[str], None],
        most_body: int = 0,
    ) -> None:
        """`name` begins its counters: `<name>_requests`, `<name>_404` …"""
        self._name = name
        self._admit = admit
        self._count = count
        app = web.Application(middlewares=[self._guard], client_max_size=most_body)
        for row in rows:
            app.router.add_route(row.method, row.path, _known(row.handle))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_S)

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

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._count(f"{self._name}_requests")
        try:
            self._admit(request, caller_of(request))
            return await handler(request)
        except Problem as error:
            return self._problem(error)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            detail = DETAILS.get(error.status, error.reason)
            return self._problem(Problem(error.status, detail, code=f"http_{error.status}"), allow)
        except TimeoutError:
            return self._problem(Problem(503, "it took too long", code="timeout"))
        except Exception:
            log.exception("a request failed")
            return self._problem(Problem(500, "the gateway failed; its log says why", code="failed"))

    def _problem(self, error: Problem, headers: dict[str, str] | None = None) -> web.Response:
        self._count(f"{self._name}_{error.status}")
        later = {"Retry-After": "1"} if error.status in LATER else {}
        response = problem.answer(error, {**later, **(headers or {})})
        if error.status in CLOSING:
            response.force_close()
        return response


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
        no_request = "this is no HTTP request, or more of one than is taken here"
        detail = no_request if status == 400 else "it failed"
        response = problem.answer(Problem(status, detail, code=f"http_{status}"))
        response.force_close()
        return response


def caller_of(request: web.Request) -> Caller:
    """Who asks, as TLS found out."""
    transport = request.transport
    caller = transport.get_extra_info("dmz.caller") if transport is not None else None
    if not isinstance(caller, Caller):
        raise Problem(401, "a client certificate is needed", code="no_certificate")
    return caller


def bodiless(request: web.Request, _: Caller | None = None) -> None:
    """No body comes: one that does is refused unread, and the connection ends."""
    if request.body_exists:
        raise Problem(413, "nothing here takes a body", code="too_large")


def query_of(request: web.Request) -> dict[str, str]:
    """What stands behind the question mark, each name once."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name in found:
            raise Problem(400, f"query: {name[:40]!r} stands there twice", code="bad_request")
        found[name] = value
    return found


def _known(handle: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await handle(request, caller_of(request))

    return handler
