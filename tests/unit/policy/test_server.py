"""The client of the OPA server: exactly one question goes out, and nothing but an answer comes in."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.config.settings import OpaSection
from gateway.model.errors import ConfigError
from gateway.policy import server as asking
from gateway.policy.server import OpaServer, UnansweredError, UndecidedError
from tests.opa import OddOpa

QUESTION = b'{"schema": "dmz.input/1",  "odd spacing": 1.0}'


@asynccontextmanager
async def both(timeout_ms: int = 250) -> AsyncIterator[tuple[OddOpa, OpaServer]]:
    async with OddOpa() as odd:
        server = OpaServer(OpaSection(socket=odd.socket, timeout_ms=timeout_ms))
        await server.start()
        try:
            yield odd, server
        finally:
            await server.stop()


def answering(text: bytes | str, status: int = 200, **headers: str) -> Callable[[web.Request], Any]:
    async def answer(_request: web.Request) -> web.StreamResponse:
        body = text if isinstance(text, bytes) else text.encode()
        return web.Response(body=body, status=status, content_type="application/json", headers=headers)

    return answer


async def test_the_bytes_of_the_question_go_out_and_the_text_of_the_decision_comes_back() -> None:
    async with both() as (odd, server):
        odd.answer = answering('{"decision_id": "x", "result":  {"allow" : true, "n": 1.0}}')
        assert await server.decision(QUESTION) == b'{"allow" : true, "n": 1.0}'
        assert odd.bodies == [b'{"input":' + QUESTION + b"}"]
        asked = odd.asked[0]
        assert (asked.method, asked.path_qs) == ("POST", "/v1/data/dmz/decision?strict-builtin-errors=true")
        assert asked.headers["Accept-Encoding"] == "identity"


ODD = {
    "no bundle": (answering("{}"), "undefined"),
    "null": (answering("null"), None),
    "a list": (answering("[1, 2]"), None),
    "nothing": (answering(""), None),
    "no JSON": (answering("<html>"), None),
    "cut off": (answering('{"result": {"allow": tr'), None),
    "forbidden": (answering('{"code": "unauthorized"}', 401), "HTTP 401"),
    "not found": (answering('{"result": {"allow": true}}', 404), "HTTP 404"),
    "accepted": (answering('{"result": {"allow": true}}', 202), "HTTP 202"),
    "overloaded": (answering("", 503), "HTTP 503"),
    "gateway": (answering("", 502), "HTTP 502"),
    "too long": (answering(b'{"result": "' + b"x" * asking.MOST_BYTES + b'"}'), "more than"),
}


@pytest.mark.parametrize("name", ODD)
async def test_whatever_is_no_answer_is_an_error_after_one_request(name: str) -> None:
    answer, message = ODD[name]
    async with both(timeout_ms=5_000) as (odd, server):
        odd.answer = answer
        with pytest.raises(Exception, match=message):
            await server.decision(QUESTION)
        assert len(odd.asked) == 1, "no retry"


async def test_a_question_that_opa_cannot_decide_is_told_from_an_outage() -> None:
    async with both() as (odd, server):
        for status in (400, 500):
            odd.answer = answering('{"code": "internal_error", "message": "eval_builtin_error"}', status)
            with pytest.raises(UndecidedError, match=rf"HTTP {status}: .*eval_builtin_error"):
                await server.decision(QUESTION)
        assert len(odd.asked) == 2, "no retry"


async def test_the_longest_answer_that_is_read() -> None:
    async with both(timeout_ms=5_000) as (odd, server):
        text = '{"result":"' + "x" * (asking.MOST_BYTES - 13) + '"}'
        assert len(text) == asking.MOST_BYTES
        odd.answer = answering(text)
        assert len(await server.decision(QUESTION)) == asking.MOST_BYTES - 11
        odd.answer = answering(text + " ")
        with pytest.raises(UnansweredError, match="more than"):
            await server.decision(QUESTION)


async def test_a_redirect_is_not_followed() -> None:
    async with both() as (odd, server):
        odd.answer = answering("", 307, Location="http://elsewhere.example/v1/data/dmz/decision")
        with pytest.raises(UnansweredError, match="HTTP 307"):
            await server.decision(QUESTION)
        assert len(odd.asked) == 1


@pytest.mark.parametrize("where", ["before the head", "in the body"])
async def test_the_budget_holds_wherever_it_hangs(where: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if where == "in the body":
            await response.prepare(request)
            await response.write(b'{"result": {')
        await asyncio.sleep(3)
        return response

    async with both(timeout_ms=250) as (odd, server):
        odd.answer = answer
        began = monotonic()
        with pytest.raises(TimeoutError):
            await server.decision(QUESTION)
        assert 0.2 < monotonic() - began < 0.75


async def test_nobody_listens(tmp_path: Path) -> None:
    server = OpaServer(OpaSection(socket=tmp_path / "none.sock"))
    with pytest.raises(AttributeError):
        await server.decision(QUESTION)
    await server.start()
    with pytest.raises(aiohttp.ClientConnectionError):
        await server.decision(QUESTION)
    await server.stop()
    await server.stop()


async def test_no_more_questions_at_once_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_ASKED", 2)
    go_on = asyncio.Event()

    async def answer(_request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({"result": 1})

    async with both(timeout_ms=5_000) as (odd, server):
        odd.answer = answer
        async with asyncio.TaskGroup() as group:
            first = [group.create_task(server.decision(QUESTION)) for _ in range(2)]
            await odd.until_asked(2)
            with pytest.raises(UndecidedError, match="2 questions"):
                await server.decision(QUESTION)
            go_on.set()
        assert [task.result() for task in first] == [b"1", b"1"]
        assert await server.decision(QUESTION) == b"1", "there is room again"


async def test_no_more_connections_than_the_bound() -> None:
    now, most = 0, 0

    async def answer(_request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.01)
        now -= 1
        return web.json_response({"result": 1})

    async with both(timeout_ms=5_000) as (odd, server):
        odd.answer = answer
        await asyncio.gather(*(server.decision(QUESTION) for _ in range(asking.MOST_CONNECTIONS + 20)))
        assert most == asking.MOST_CONNECTIONS


async def test_cancelling_passes_and_leaves_room() -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with both(timeout_ms=5_000) as (odd, server):
        odd.answer = never
        task = asyncio.create_task(server.decision(QUESTION))
        await odd.until_asked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server._asked == 0


async def test_renewing_goes_on_with_another_session() -> None:
    async with both() as (odd, server):
        odd.answer = answering(json.dumps({"result": 7}))
        assert await server.decision(QUESTION) == b"7"
        old = server._session
        await server.renew()
        assert old.closed
        assert await server.decision(QUESTION) == b"7"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://opa.example:8181", "without TLS over a network"),
        ("http://10.0.0.7", "without TLS over a network"),
        ("https://127.0.0.1:8181", "nobody vouches"),
        ("ftp://localhost", "without TLS"),
        ("localhost:8181", "without TLS"),
    ],
)
def test_opa_is_not_asked_where_others_can_answer(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        OpaServer(OpaSection(url=url))


def test_where_a_url_leads() -> None:
    def context() -> ssl.SSLContext:
        raise NotImplementedError

    for url, root in (
        ("http://localhost", "http://localhost:8181/v1"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/v1"),
        ("http://[::1]:9000", "http://[::1]:9000/v1"),
        ("https://opa.example", "https://opa.example:443/v1"),
    ):
        assert OpaServer(OpaSection(url=url), context).root_url == root
