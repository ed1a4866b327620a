"""Errors of the admin API: problem details (RFC 9457), also those of aiohttp.

A person is told more than a machine: which policy codes denied their own act, and what is wrong with a
statement. They have to mend it.
"""

from http import HTTPStatus

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"
HEADERS = {"Server": "dmz-gateway", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"On every answer. No CORS headers, so no page that a person happens to have open acts in their name."


class Problem(Exception):  # noqa: N818 # the word of RFC 9457
    """An answer that is an error. `code` is a stable slug; `more` are extension members."""

    def __init__(self, status: int, code: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.fields = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            **more,
        }


def answer(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """The response."""
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(problem.fields),
        content_type=CONTENT_TYPE,
        headers={**HEADERS, **(headers or {})},
    )
