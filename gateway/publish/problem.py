"""Errors on HTTP: problem details (RFC 9457), the same shape for all of them, also for those of aiohttp.

What a caller is told is what the protocol needs. Why policy said no is in the journal, not in the answer.
"""

from http import HTTPStatus

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"
SERVER = "dmz-gateway"
"Instead of versions of Python and aiohttp, which are nobody's business."
HEADERS = {"Server": SERVER, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"On every answer: plant values are for the one who asked, now."


class Problem(Exception):  # noqa: N818 # the word of RFC 9457
    """An answer that is an error."""

    def __init__(self, status: int, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more
        "Extension members, such as the checks that are not ready."


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
