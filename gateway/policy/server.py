"""The OPA server, asked through opa-python-client: one question, one answer or none, within one budget.

Of the client only `query_rule` is used, in a session of our own (why: docs/decisions/0018):

- it knows neither unix sockets nor trust anchors of ours, so the connector is made here;
- a retry would outlive the budget, and a redirect would carry the question elsewhere: there is neither;
- questions go out as the very bytes that the record keeps, and answers come back as text, so that the one
  decoder which is strict about decisions (`engine.py`) reads them;
- what OPA is never sent: policies and data. It loads bundles by itself.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec
from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, UnixConnector
from msgspec import Struct
from opa_client import AsyncOpaClient  # type: ignore[import-untyped]

from gateway.model.errors import ConfigError, Fault, GatewayError

PACKAGE, RULE = "dmz", "decision"
STRICT = {"strict-builtin-errors": "true"}
"""A built-in function that fails ends the evaluation, as it does in the embedded engine. Without it the
expression would be undefined, and a rule that denies would not."""

MOST_CONNECTIONS = 32
"To OPA at once. It evaluates on as many cores as it has, so more would only wait there instead of here."
MOST_ASKED = 1_024
"Questions on their way at once. At 1 ms each on four cores they take the whole budget; more are too late."
MOST_BYTES = 1024 * 1024
"Of an answer. A decision has some hundred bytes; what sends more than this is no OPA of ours."
KEEPALIVE_S = 30.0
"How long an idle connection stays open; probes come more often."
HEADERS = {"Accept-Encoding": "identity"}

Context = Callable[[], ssl.SSLContext]


class Reach(Protocol):
    """What of `config.settings.OpaSection` the client needs."""

    @property
    def url(self) -> str | None:
        """Where it listens, or None for a socket."""

    @property
    def socket(self) -> Path | None:
        """A unix socket, or None for a URL."""

    @property
    def timeout_ms(self) -> int:
        """How long an answer may take, everything included."""


class UnansweredError(GatewayError):
    """OPA gave no decision. Whether it is well again is for a probe to find out."""


class UndecidedError(GatewayError):
    """OPA is there, and could not decide this question: one denial, and no outage."""


class _Body(Struct, frozen=True):
    """An answer of the Data API."""

    result: msgspec.Raw = msgspec.Raw()
    "Empty, because missing, where the rule is undefined: no bundle is loaded."


_body = msgspec.json.Decoder(_Body)
_encode = msgspec.json.Encoder().encode


class _Answer(ClientResponse):
    """A response that is read within a bound."""

    async def text_within(self) -> bytes:
        try:
            await self.content.readexactly(MOST_BYTES + 1)
        except asyncio.IncompleteReadError as end:
            return end.partial
        raise UnansweredError(f"an answer of more than {MOST_BYTES} bytes")

    def raise_for_status(self) -> None:
        """`json` says it better."""

    async def json(self, **_: Any) -> bytes:
        """The text of the decision, not read yet."""
        text = await self.text_within()
        said = f"HTTP {self.status}: {' '.join(text[:200].decode(errors='replace').split())}"
        match self.status:
            case HTTPStatus.OK:
                result = _body.decode(text).result
                if not bytes(result):
                    raise UnansweredError("the decision is undefined: is the bundle loaded?")
                return bytes(result)
            case HTTPStatus.BAD_REQUEST | HTTPStatus.INTERNAL_SERVER_ERROR:
                raise UndecidedError(said)
            case _:
                raise UnansweredError(said)


class OpaServer(AsyncOpaClient):  # type: ignore[misc]
    """One OPA server. Use it in the loop that started it."""

    def __init__(self, reach: Reach, context: Context | None = None) -> None:
        """`context` makes the TLS context for an https URL, with anchors and certificate of ours.

        Raises ConfigError if the server cannot be reached safely that way.
        """
        url = urlsplit(reach.url or "http://localhost")
        if reach.socket is None:
            _check(url, context)
        host = url.hostname or "localhost"
        super().__init__(
            host=f"[{host}]" if ":" in host else host,
            port=url.port or (443 if url.scheme == "https" else 8181),
            ssl=reach.socket is None and url.scheme == "https",
            retries=0,
            timeout=reach.timeout_ms / 1000,
        )
        self._path = reach.socket
        self._context = context
        self._asked = 0

    async def start(self) -> None:
        """Open the session; connections are made when something is asked."""
        await self._init_session()

    async def stop(self) -> None:
        """Close everything; questions on their way end without an answer."""
        await self.close_connection()

    async def renew(self) -> None:
        """Show a new certificate from now on. Questions on their way end without an answer."""
        old = self._session
        await self._init_session()
        if old is not None:
            await old.close()

    async def decision(self, question: bytes) -> bytes:
        """The decision on a question as JSON text, not judged. Raises in many ways; cancelling ends it."""
        if self._asked >= MOST_ASKED:
            raise UndecidedError(f"{MOST_ASKED} questions are on their way to OPA already")
        self._asked += 1
        try:
            text: bytes = await self.query_rule(msgspec.Raw(question), PACKAGE, RULE, STRICT)
            return text
        finally:
            self._asked -= 1

    # what of the client is other than it ships ---------------------------------------------------

    async def _init_session(self) -> None:
        self._connector = self._connect()
        self._session = ClientSession(
            connector=self._connector,
            timeout=ClientTimeout(total=self.timeout),
            headers=HEADERS,
            cookie_jar=DummyCookieJar(),
            json_serialize_bytes=_encode,
            response_class=_Answer,
        )

    def _connect(self) -> UnixConnector | TCPConnector:
        if self._path is not None:
            return UnixConnector(str(self._path), limit=MOST_CONNECTIONS, keepalive_timeout=KEEPALIVE_S)
        tls: ssl.SSLContext | bool = True
        if self.ssl and self._context is not None:
            tls = self._context()
            tls.minimum_version = ssl.TLSVersion.TLSv1_3
        return TCPConnector(ssl=tls, limit=MOST_CONNECTIONS, keepalive_timeout=KEEPALIVE_S)

    def _request(self, method: str, url: str, **more: Any) -> AbstractAsyncContextManager[Any]:
        asked: AbstractAsyncContextManager[Any] = super()._request(method, url, allow_redirects=False, **more)
        return asked


def _check(url: SplitResult, context: Context | None) -> None:
    """An answer that somebody else can forge is worse than none: TLS with our anchors, or this machine."""
    where = "policy.opa.url"
    if url.scheme == "https" and context is None:
        raise ConfigError([Fault(where, "nobody vouches for the server", "add anchors")])
    if url.scheme != "https" and not (url.scheme == "http" and _here(url.hostname)):
        what = "OPA would be asked without TLS over a network"
        raise ConfigError([Fault(where, what, "write https://…, or use socket")])


def _here(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
