"""The receiver of checkpoints: a small HTTPS server for a host that root on the gateway does not rule.

It keeps every checkpoint of each log it knows, the largest last, and takes another one only with proof of
growth (`audit.witness`). `POST /add-checkpoint` is the form of C2SP tlog-witness, without
cosignatures; `GET /checkpoint?origin=…` gives what was kept, for an auditor.

Rules that hold here:
- Nobody is answered without a certificate of the zone; what counts is the signature under the checkpoint.
- What was answered 200 is on stable storage.
- One request is looked at at a time, so nothing comes between reading what was kept and keeping more.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path

from aiohttp import web

from gateway.audit.note import LINES, LONGEST, Checkpoint, VerifierKey, newest
from gateway.audit.storage import Disk, write_all
from gateway.audit.witness import MOST_BYTES, Answer, add_checkpoint
from gateway.identity.certificate import Refused
from gateway.identity.trust import ZoneTrust
from gateway.model.errors import JournalError
from gateway.model.moment import Now

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
IDLE_S = 30.0
"How long a connection may do nothing."
TAIL = 8 * LONGEST
"Bytes at the end of a file in which the newest note must be."


class Kept:
    """Every note that was taken, in one file a log, which only grows."""

    def __init__(self, folder: Path) -> None:
        self._disk = Disk(folder)

    def newest(self, key: VerifierKey) -> Checkpoint | None:
        """What was kept last."""
        last = self._last(key)
        return last[0] if last is not None else None

    def note(self, key: VerifierKey) -> bytes | None:
        """As it was signed."""
        last = self._last(key)
        return last[1] if last is not None else None

    def keep(self, key: VerifierKey, note: bytes) -> None:
        """Append; durable on return. An OSError takes it back: it must not be found as if it were kept."""
        file = self._disk.open(_name(key.name))
        try:
            size = file.size()
            torn = size > 0 and file.pread(1, size - 1) != b"\n"
            try:
                write_all(file, b"\n" + note if torn else note, size)
                file.fdatasync()
            except OSError:
                file.truncate(size)
                raise
        finally:
            file.close()
        self._disk.sync_folder("")

    def _last(self, key: VerifierKey) -> tuple[Checkpoint, bytes] | None:
        """JournalError where the file has something and ends in no checkpoint: it may have seen the log."""
        file = self._disk.open(_name(key.name))
        try:
            size = file.size()
            tail = file.pread(TAIL, max(0, size - TAIL))
        finally:
            file.close()
        last = newest(tail, key)
        if last is None and (size > LONGEST or tail.count(b"\n") >= LINES):  # more than half of a first one
            why = f"{_name(key.name)} ends in no checkpoint that the key of {key.name} signed"
            raise JournalError(f"{why}: look at it, and move it away")
        return last


def _name(origin: str) -> str:
    """A file name for an origin: readable where it can be, and never another's."""
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in ".-" else "_" for c in origin).lstrip(".")
    return f"{plain[:80]}-{sha256(origin.encode()).hexdigest()[:12]}.checkpoints"


class Keeping:
    """The server. `start`, then `stop`."""

    def __init__(self, keys: Mapping[str, VerifierKey], kept: Kept, trust: ZoneTrust) -> None:
        """`keys`: the verifier key of each log by its origin."""
        self._keys = keys
        self._kept = kept
        self._trust = trust
        self._one = asyncio.Lock()
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._admitted])
        app.router.add_post("/add-checkpoint", self._add)
        app.router.add_get("/checkpoint", self._get)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=IDLE_S)
        self.port = 0

    async def start(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen; port 0 takes a free one (`port`)."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End."""
        await self._runner.cleanup()

    @web.middleware
    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """TLS has checked the chain; revocation and validity are checked here."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if self._trust.changed():
            self._trust.reload()
        now = time.time_ns()
        at = Now(wall_ns=now, mono_ns=time.monotonic_ns(), trusted=True, judge_ns=now)
        if der is None or isinstance(self._trust.admit(der, at), Refused):
            return web.Response(status=401, text="no certificate that counts here\n")
        return await handler(request)

    async def _add(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._one:
            answer = await asyncio.to_thread(add_checkpoint, body, self._keys, self._kept)
        return _response(answer)

    async def _get(self, request: web.Request) -> web.Response:
        origin = request.query.get("origin", "")
        note = self._kept.note(self._keys[origin]) if origin in self._keys else None
        if note is None:
            return web.Response(status=404, text="nothing was seen of this log\n")
        return web.Response(body=note, content_type="text/plain", charset="utf-8")


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, text=answer.body, content_type=answer.type)
