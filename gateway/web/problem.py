"""Errors on HTTP: problem details (RFC 9457), the same shape for all of them, also for those of aiohttp."""

from http import HTTPStatus

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"
HEADERS = {"Server": "dmz-gateway", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On every answer: it is for the one who asked, now, and versions of our parts are nobody's business. No CORS
headers, so no page that a person happens to have open asks in their name."""


class Problem(Exception):  # noqa: N818 # the word of RFC 9457
    """An answer that is an error. `more` are extension members; `code` among them is a stable slug."""

    def __init__(self, status: int, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more


def answer(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """The response."""
    fields = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.more,
    }
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(fields),
        content_type=CONTENT_TYPE,
        headers={**HEADERS, **(headers or {})},
    )
