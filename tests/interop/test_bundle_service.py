"""A bundle service over HTTPS with client certificates: what the gateway and a real OPA make of one server.

The server is aiohttp's behind the ssl module, in a thread; where it must misbehave it is a bare TLS socket.
"""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import pytest
from aiohttp import web
from msgspec.structs import replace

from gateway.config.settings import BundleService, Signing
from gateway.identity.contexts import client_context
from gateway.model.errors import PolicyError
from gateway.model.moment import SECOND
from gateway.policy import archive, service
from gateway.policy import bundle as bundles
from gateway.policy.release import Release
from gateway.policy.serials import Serials
from gateway.policy.service import Service
from gateway.policy.source import Admission, Away, Found, Unchanged
from tests.faults.site import Site, after_last_start, until
from tests.pki import Credential, Pki, moment, pki
from tests.unit.policy.archives import NOW, SCOPE, Signer, released

__all__ = ["pki"]

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Hands out one archive under /dmz.tar.gz, to those who show a certificate of the zone."""

    def __init__(self, shown: Credential, anchors: Path, *, port: int = 0) -> None:
        self.archive: bytes = b""
        self.status = 200
        self.seen: list[tuple[int, str | None]] = []
        "Of each request: the status of its answer, and who asked."
        self.away = False
        self._loop = asyncio.new_event_loop()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(anchors))
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(shown.cert, shown.key)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._port = port
        self._runner: web.AppRunner | None = None
        self._bare: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        """Of the archive."""
        return f"https://127.0.0.1:{self._port}/dmz.tar.gz"

    def start(self, answer: Answer | None = None) -> Self:
        """Serve, by aiohttp or by `answer`, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._start(answer), self._loop).result(5)
        return self

    def stop(self) -> None:
        """Stop listening, and end every connection."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)

    async def _start(self, answer: Answer | None) -> None:
        await self._stop()
        if answer is not None:

            async def bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._open.add(writer)
                await reader.readuntil(b"\r\n\r\n")
                await answer(reader, writer)

            self._bare = await asyncio.start_server(bare, "127.0.0.1", self._port, ssl=self._context)
            self._port = self._bare.sockets[0].getsockname()[1]
            return
        app = web.Application()
        app.router.add_get("/dmz.tar.gz", self._hand_out)
        app.router.add_get("/elsewhere.tar.gz", self._elsewhere)
        self._runner = web.AppRunner(app, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._context)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._bare is not None:
            self._bare.close()
            for writer in self._open:
                writer.transport.abort()
            self._open.clear()
            self._bare = None

    async def _hand_out(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        uri = next((name for kind, name in peer.get("subjectAltName", ()) if kind == "URI"), None)
        etag = f'"{sha256(self.archive).hexdigest()}"'
        status = 304 if request.headers.get("If-None-Match") == etag else self.status
        self.seen.append((status, uri))
        headers = {"ETag": etag, **({"Location": "/elsewhere.tar.gz"} if 300 < status < 304 else {})}
        return web.Response(status=status, body=None if status == 304 else self.archive, headers=headers)

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        self.seen.append((200, "elsewhere"))
        return web.Response(body=self.archive)


class Desk:
    """A server, who signs for it, and a gateway's way to fetch from it."""

    def __init__(self, folder: Path, pki: Pki, anchors: Path | None = None) -> None:
        self.folder = folder
        self.pki = pki
        self.signer = Signer(folder)
        name = f"svc-{folder.name}"[:40].replace("_", "-").lower()
        self.shown = pki.issue("gateway-server", "it", name)
        self.client = pki.issue("modbus-client", "it", f"{name}-gw")
        self.server = Server(self.shown, anchors or pki.anchors("it"))
        (folder / "copies").mkdir()
        self.serials = Serials(folder / "serial", folder / "copies")

    def source(self, url: str | None = None, anchors: Path | None = None) -> Service:
        """A new one, as after a restart."""
        where = BundleService(
            url=url or self.server.url,
            anchors=anchors or self.pki.anchors("it"),
            certificate=self.client.cert,
            key=self.client.key,
            poll_s=10,
        )
        return Service(
            where,
            context=lambda: client_context(where.anchors, self.client.cert, self.client.key),
            kept=self.folder / "fetched.tar.gz",
            admission=Admission(Signing(keys=(self.signer.public,), scope=SCOPE), self.serials),
            random=Random(7),  # noqa: S311
        )


@pytest.fixture
def desk(tmp_path: Path, pki: Pki) -> Iterator[Desk]:
    desk = Desk(tmp_path, pki)
    with desk.server:
        yield desk


async def test_an_archive_is_fetched_once_and_again_when_it_is_another(desk: Desk) -> None:
    desk.server.archive = desk.signer.archive(released(1))
    source = desk.source(desk.server.start().url)
    first = await source.fetch(NOW)
    assert isinstance(first, Found)
    assert (first.bundle, first.key_id) == (released(1), "release")
    assert isinstance(await source.fetch(NOW), Unchanged)
    desk.server.archive = desk.signer.archive(released(2))
    second = await source.fetch(NOW)
    assert isinstance(second, Found)
    assert second.bundle.revision == released(2).revision
    statuses, askers = zip(*desk.server.seen, strict=True)
    assert statuses == (200, 304, 200)
    (asker,) = set(askers)
    assert asker is not None
    assert asker.endswith("-gw"), "it shows its certificate"


async def test_no_proxy_is_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    desk.server.archive = desk.signer.archive(released(1))
    assert isinstance(await desk.source(desk.server.start().url).fetch(NOW), Found)


async def test_a_refused_archive_is_told_once_and_counts_when_it_is_right(desk: Desk) -> None:
    early = released(3, issued_s=NOW.judge_ns // SECOND + 3_600)
    desk.server.archive = desk.signer.archive(early)
    source = desk.source(desk.server.start().url)
    with pytest.raises(PolicyError, match="issued in the future"):
        await source.fetch(NOW)
    assert isinstance(await source.fetch(NOW), Unchanged)
    later = replace(NOW, judge_ns=NOW.judge_ns + 7_200 * SECOND)
    found = await source.fetch(later)
    assert isinstance(found, Found)
    assert found.bundle == early
    assert [status for status, _ in desk.server.seen] == [200, 304, 304]


async def test_an_archive_that_is_cut_is_refused_even_where_the_server_says_it_is_whole(desk: Desk) -> None:
    whole = desk.signer.archive(released(1))
    desk.server.archive = whole[: len(whole) // 2]
    with pytest.raises(PolicyError, match="is truncated"):
        await desk.source(desk.server.start().url).fetch(NOW)


async def test_what_was_active_is_there_for_the_next_start(desk: Desk) -> None:
    desk.server.archive = desk.signer.archive(released(4))
    source = desk.source(desk.server.start().url)
    assert isinstance(source.stored(NOW), Away)
    found = await source.fetch(NOW)
    assert isinstance(found, Found)
    assert isinstance(source.stored(NOW), Away), "what was not activated is not kept"
    source.activated(found)
    desk.server.stop()
    again = desk.source()
    kept = again.stored(NOW)
    assert isinstance(kept, Found)
    assert kept.bundle == released(4)
    assert isinstance(await again.fetch(NOW), Away)
    with pytest.raises(PolicyError, match="rolled back"):
        Admission(None, desk.serials).members(archive.unpack(desk.signer.archive(released(3))), NOW)
    (desk.folder / "fetched.tar.gz").write_bytes(Signer(desk.folder / "copies").archive(released(5)))
    with pytest.raises(PolicyError, match="does not hold"):
        again.stored(NOW)


async def test_what_could_not_be_tried_is_given_again_later_and_later(desk: Desk) -> None:
    desk.server.archive = desk.signer.archive(released(1))
    source = desk.source(desk.server.start().url)
    pauses = []
    for _ in range(8):
        found = await source.fetch(NOW)
        assert isinstance(found, Found)
        assert found.bundle == released(1)
        source.untried(found)
        pauses.append(source.pause_s)
    assert [status for status, _ in desk.server.seen] == [200] + [304] * 7
    assert 16 <= pauses[0] <= 20
    assert all(240 <= pause <= service.LONGEST_PAUSE_S for pause in pauses[5:])
    found = await source.fetch(NOW)
    assert isinstance(found, Found)
    assert isinstance(await source.fetch(NOW), Unchanged), "it was tried now, and is its own fault"
    assert source.pause_s <= 10


def _head(length: int, *more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {length}", *more, "", ""]).encode()


async def _cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head(10_000) + b"\x1f\x8b" + bytes(5_000))
    await writer.drain()
    writer.close()


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drop_by_drop(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head(10_000))
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def _endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)  # drain need not wait, and whoever hung up is heard of by the loop only


async def _no_http(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()
    writer.close()


async def _not_modified(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    await writer.drain()
    writer.close()


BARE: dict[str, tuple[Answer, str]] = {
    "body cut off": (_cut, "ClientPayloadError"),
    "silent": (_silent, "no answer in time"),
    "drop by drop": (_drop_by_drop, "no answer in time"),
    "no HTTP": (_no_http, "ClientResponseError|BadStatusLine|BadHttp"),
    "304 although nothing was fetched": (_not_modified, "answers 304"),
}


@pytest.mark.parametrize("what", BARE)
async def test_a_server_that_misbehaves_is_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(service, "SILENCE_S", 0.3)
    monkeypatch.setattr(service, "FETCH_S", 1.0)
    answer, why = BARE[what]
    source = desk.source(desk.server.start(answer).url)
    found = await source.fetch(NOW)
    assert isinstance(found, Away)
    assert any(text in found.why for text in why.split("|")), found.why
    assert desk.server.url in found.why
    desk.server.archive = desk.signer.archive(released(1))
    desk.server.start()
    assert isinstance(await source.fetch(NOW), Found), "it comes back by itself"


async def test_an_archive_without_end_is_left(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_PACKED", 1 << 20)
    with pytest.raises(PolicyError, match="is longer than 1048576 bytes"):
        await desk.source(desk.server.start(_endless).url).fetch(NOW)


@pytest.mark.parametrize("status", [301, 302, 307, 404, 403, 500, 503])
async def test_other_answers_are_none_and_redirects_lead_nowhere(desk: Desk, status: int) -> None:
    desk.server.archive, desk.server.status = desk.signer.archive(released(1)), status
    found = await desk.source(desk.server.start().url).fetch(NOW)
    assert isinstance(found, Away)
    assert found.why.endswith(f"answers {status}")
    assert [seen for seen, _ in desk.server.seen] == [status]


async def test_a_server_that_nobody_vouches_for_is_told_nothing(desk: Desk) -> None:
    desk.server.archive = desk.signer.archive(released(1))
    url = desk.server.start().url
    found = await desk.source(url, anchors=desk.pki.anchors("plant")).fetch(NOW)
    assert isinstance(found, Away)
    assert "certificate" in found.why.lower()
    by_name = await desk.source(url.replace("127.0.0.1", "127.0.0.2")).fetch(NOW)
    assert isinstance(by_name, Away)
    assert desk.server.seen == []


async def test_tries_come_later_and_later_but_within_five_minutes(desk: Desk) -> None:
    source = desk.source("https://127.0.0.1:9/dmz.tar.gz")
    pauses = []
    for _ in range(20):
        pauses.append(source.pause_s)
        assert isinstance(await source.fetch(NOW), Away)
    assert 8 <= pauses[0] <= 10
    assert 16 <= pauses[1] <= 20
    assert all(240 <= pause <= service.LONGEST_PAUSE_S for pause in pauses[6:])
    assert len(set(pauses[6:])) == 14, "spread"


async def test_one_asks_at_a_time(desk: Desk) -> None:
    asking = most = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0.05)
        asking -= 1
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    source = desk.source(desk.server.start(count).url)
    await asyncio.gather(*(source.fetch(NOW) for _ in range(4)))
    assert most == 1


# OPA ---------------------------------------------------------------------------------------------

OPA_CONFIG = """\
services:
  dmz:
    url: {url}
    tls: {{ca_cert: {ca}}}
    credentials: {{client_tls: {{cert: {cert}, private_key: {key}}}}}
keys:
  release: {{algorithm: ES256, key: {pem}}}
bundles:
  dmz:
    service: dmz
    resource: dmz.tar.gz
    polling: {{min_delay_seconds: 1, max_delay_seconds: 1}}
    signing: {{keyid: release, scope: {scope}}}
"""


class Opa:
    """A real OPA server that downloads its bundle."""

    def __init__(self, desk: Desk, port: int, program: str, *, signer: Signer | None = None) -> None:
        config = desk.folder / f"opa-{port}.yaml"
        config.write_text(
            OPA_CONFIG.format(
                url=desk.server.url.rsplit("/", 1)[0],
                ca=desk.pki.root,
                cert=desk.client.cert,
                key=desk.client.key,
                pem=json.dumps((signer or desk.signer).public.read_text()),
                scope=SCOPE,
            )
        )
        self._log = (desk.folder / f"opa-{port}.log").open("wb")
        self.log = Path(self._log.name)
        self._port = port
        self._process = subprocess.Popen(
            [program, "run", "--server", "--addr", f"127.0.0.1:{port}", "--config-file", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "HOME": str(desk.folder)},
        )

    def revision(self) -> str | None:
        """What its data says."""
        try:
            url = f"http://127.0.0.1:{self._port}/v1/data/bundle/revision"
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except OSError:
            return None
        return found.get("result")

    def end(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._log.close()


@pytest.mark.needs("opa")
def test_opa_takes_the_same_archive_from_the_same_place(
    desk: Desk, free_port: Callable[[], int], component: Callable[[str], str]
) -> None:
    desk.server.archive = desk.signer.archive(released(1))
    desk.server.start()
    (desk.folder / "other").mkdir()
    opa = Opa(desk, free_port(), component("opa"))
    wary = Opa(desk, free_port(), component("opa"), signer=Signer(desk.folder / "other"))
    try:
        until("OPA has the bundle", lambda: opa.revision() == released(1).revision)
        found = asyncio.run(desk.source().fetch(NOW))
        assert isinstance(found, Found)
        assert found.bundle.revision == opa.revision()
        desk.server.archive = desk.signer.archive(released(2))
        until("OPA has the next", lambda: opa.revision() == released(2).revision)
        until("the other refuses", lambda: b"failed to verify JWT signature" in wary.log.read_bytes())
        assert wary.revision() is None
        desk.server.archive = archive.pack(released(3).members())
        until("OPA refuses it unsigned", lambda: b"bundle missing .signatures.json" in opa.log.read_bytes())
        assert opa.revision() == released(2).revision
    finally:
        opa.end()
        wary.end()


# a gateway ---------------------------------------------------------------------------------------

POLICY = """\
policy:
  service: {{url: '{url}', anchors: {anchors}, poll: 200ms}}
  signing: {{keys: [{key}], scope: dmz}}
"""


def test_a_gateway_follows_a_service_and_starts_while_it_is_away(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        desk = Desk(tmp_path, site.pki, site.pki.root)  # the gateway shows its certificate of the plant zone
        content = bundles.read(site.policies)
        now = moment()

        def put(serial: int) -> str:
            issued = now.judge_ns // SECOND * SECOND
            made = content.released(Release(serial=serial, issued_ns=issued))
            desk.server.archive = desk.signer.archive(made)
            return made.revision

        def active() -> str:
            notes = [each["note"] for each in after_last_start(site.records()) if each["kind"] == "policy"]
            return next((each["revision"] for each in notes[::-1] if each["result"] == "activated"), "")

        with desk.server.start():
            policy = POLICY.format(
                url=desk.server.url, anchors=site.pki.anchors("it"), key=desk.signer.public
            )
            site.config.write_text(site.config.read_text().replace("policy: {bundle: policies}", policy))
            first = put(1)
            site.run()
            until("the bundle is fetched and used", lambda: active() == first)
            second = put(2)
            until("the next is used", lambda: active() == second)
            put(1)
            until("the older one is refused", lambda: _refused(site, "rolled back"))
            desk.server.stop()
            until("the service is away", lambda: _refused(site, "Cannot connect"))
            assert active() == second
            assert site.end() == 0
            site.run()
            assert active() == second, "what was active last is used at once"
            until("that it is away is told", lambda: _refused(site, "Cannot connect"))
            third = put(3)
            desk.server.start()
            until("it is back", lambda: active() == third, 15)
            assert "bundle service" not in site.status()["refused"]
            assert len([1 for why in _whys(site) if "Cannot connect" in why]) == 1, "told once"


def test_a_crashed_workshop_does_not_lose_an_archive_and_who_sends_a_bad_one_is_there(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        desk = Desk(tmp_path, site.pki, site.pki.root)
        content, issued = bundles.read(site.policies), moment().judge_ns // SECOND * SECOND

        def put(serial: int) -> str:
            made = content.released(Release(serial=serial, issued_ns=issued))
            desk.server.archive = desk.signer.archive(made)
            return made.revision

        def killed() -> bool:
            if (workshop := site.workshop()) is not None:
                os.kill(workshop, signal.SIGKILL)
            return _refused(site, "ended the process")

        with desk.server.start():
            policy = POLICY.format(
                url=desk.server.url, anchors=site.pki.anchors("it"), key=desk.signer.public
            )
            site.config.write_text(site.config.read_text().replace("policy: {bundle: policies}", policy))
            first = put(2)
            site.run()
            until("the bundle is used", lambda: site.status()["policy"]["revision"] == first)
            desk.server.stop()
            until("the service is away", lambda: "bundle service" in site.status()["refused"])
            put(1)
            desk.server.start()
            until("the older one is refused", lambda: _refused(site, "rolled back"), 15)
            assert "bundle service" not in site.status()["refused"], "it answers"
            second = put(3)
            until("no workshop dies of it", killed, 15)
            until("it is not tried again", lambda: site.status()["policy"]["revision"] == second, 15)
            assert site.status()["refused"] == {}


def _whys(site: Site) -> list[str]:
    notes = [each["note"] for each in after_last_start(site.records()) if each["kind"] == "policy"]
    return [note["why"] for note in notes if note["result"] == "refused"]


def _refused(site: Site, why: str) -> bool:
    return any(why in each for each in _whys(site))
