"""A bundle service: an HTTPS server that hands out one archive, as OPA's do (GET with If-None-Match).

The server must show a certificate of its anchors; no proxy, no redirect, no cookie. An archive is read up to
a bound and within a time, and then treated like any other: who can serve it cannot sign it. What was active
last is kept on disk, so that a gateway starts while the server is away. Failures change nothing; the next
tries come later and later, never two at once, and never all gateways at the same moment.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from gateway.model.errors import GatewayError, PolicyError
from gateway.model.moment import Now
from gateway.policy import archive
from gateway.policy.source import Admission, Away, Found, Unchanged

CONNECT_S = 5.0
"How long TCP and TLS may take."
SILENCE_S = 5.0
"How long the server may send nothing at all."
FETCH_S = 30.0
"How long the whole may take: a server that sends a byte a second is not one that we wait for."
LONGEST_PAUSE_S = 300.0
"A server that was away for a week is asked again within five minutes."
MOST_DOUBLINGS = 10
"The pause grows to a thousand times poll_s at most, and never beyond the above."
MOST_ETAG = 256
"A longer tag is not remembered: the archive is fetched anew each time."
OK, NOT_MODIFIED = 200, 304


class Where(Protocol):
    """What of `config.settings.BundleService` matters here."""

    @property
    def url(self) -> str:
        """The archive."""

    @property
    def poll_s(self) -> float:
        """How often it is asked for."""


class Service:
    """Fetches from one server. Call `fetch` again after `pause_s`."""

    def __init__(
        self,
        where: Where,
        *,
        context: Callable[[], ssl.SSLContext],
        kept: Path,
        admission: Admission,
        random: Random,
    ) -> None:
        """`context` makes the TLS context anew each time; `kept` is the file of the archive last active."""
        self._where = where
        self._context = context
        self._kept = kept
        self._admission = admission
        self._random = random
        self._failures = 0
        self._etag = ""
        self._refused: bytes | None = None
        "What came last, where it was refused or not tried: time and keys may yet make it right."
        self._untried = 0
        "How often in a row what came could not be tried."
        self._why = ""
        "Why it was refused: the same of the same archive is said once."
        self._asking = asyncio.Lock()

    @property
    def pause_s(self) -> float:
        """How long to leave the server alone now: spread, so that a fleet does not ask all at once."""
        doubled = self._where.poll_s * 2.0 ** min(max(self._failures, self._untried), MOST_DOUBLINGS)
        longest = max(self._where.poll_s, LONGEST_PAUSE_S)
        return min(doubled, longest) * self._random.uniform(0.8, 1.0)

    def stored(self, now: Now) -> Found | Away:
        """What was active last. Raises PolicyError, also where it has expired since."""
        if not self._kept.exists():
            return Away("nothing was fetched yet")
        return self._admission.members(archive.read(self._kept), now)

    async def fetch(self, now: Now) -> Found | Unchanged | Away:
        """Ask the server once. Raises PolicyError for an archive that must not be used."""
        async with self._asking:
            try:
                got = await self._get()
            except (ClientError, TimeoutError, OSError, ValueError, GatewayError) as error:
                if isinstance(error, PolicyError):
                    self._failures += 1
                    raise
                got = Away(f"{self._where.url}: {_said(error)}")
            if isinstance(got, Away):
                self._failures += 1
                return got
            self._failures = 0
            if got is None:
                self._untried = 0
                return Unchanged()
            return await asyncio.to_thread(self._admit, got, now)

    def activated(self, found: Found) -> None:
        """Keep it for the next start; its serial is the least from now on."""
        self._admission.serials.keep(found.bundle)
        self._untried = 0
        if found.archive is None:
            return
        fresh = self._kept.with_name(self._kept.name + ".new")
        with fresh.open("wb") as file:
            file.write(found.archive)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._kept)

    def untried(self, found: Found) -> None:
        """The next fetch gives it again, later and later: what never ends must not be tried without end."""
        self._refused = found.archive
        self._untried += 1

    def _admit(self, data: bytes, now: Now) -> Found | Unchanged:
        known, why = data == self._refused, self._why
        self._refused = data
        try:
            found = self._admission.members(archive.unpack(data, self._where.url), now)
        except PolicyError as error:
            self._why = str(error)
            if known and self._why == why:
                return Unchanged()
            raise
        self._refused = None
        return Found(found.bundle, found.key_id, data)

    async def _get(self) -> bytes | Away | None:
        """The archive; None where there is no other than before."""
        context = await asyncio.to_thread(self._context)
        headers = {"Accept-Encoding": "identity"}
        if self._etag:
            headers["If-None-Match"] = self._etag
        limits = ClientTimeout(total=FETCH_S, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        async with (
            ClientSession(
                connector=TCPConnector(ssl=context, limit=1, force_close=True),
                cookie_jar=DummyCookieJar(),
                timeout=limits,
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.get(self._where.url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status == NOT_MODIFIED and self._etag:
                return self._refused
            if response.status != OK:
                return Away(f"{self._where.url} answers {response.status}")
            data = await _body(response)
            etag = response.headers.get("ETag", "")
            self._etag = etag if len(etag) <= MOST_ETAG else ""
            return data


async def _body(response: ClientResponse) -> bytes:
    """All of it. Raises PolicyError beyond the bound, ClientError where it ends before its length."""
    data = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        data += part
        if len(data) > archive.MOST_PACKED:
            raise archive.refused(str(response.url), f"is longer than {archive.MOST_PACKED} bytes")
    return bytes(data)


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"
