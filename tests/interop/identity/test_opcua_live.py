"""Trust of a running gateway: what an administrator decides counts within a second, without a restart."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from gateway.cli import main
from gateway.identity import passwords
from gateway.identity.certificate import fingerprint
from gateway.identity.passwords import Passwords
from gateway.identity.request import Request
from tests.interop.opcua.plant import plant
from tests.interop.opcua.site import Site, free_port, until
from tests.pki import Pki

from .openssl import Made, OpenSsl

pytestmark = pytest.mark.needs("openssl")

URI = "urn:demo.example:plant:ua-peer"
"The application that the site's policy knows as an engineer."
WITHIN_S = 1.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("live")
    pki = Pki(folder / "pki")
    with plant(pki, folder / "plc", free_port(), "asyncua") as plc:
        made = Site(folder / "site", pki, {"plc-a": plc})
        config = made.config.read_text()
        listener = "requests_per_s: 20000"
        assert listener in config
        made.config.write_text(config.replace(listener, listener + ", users: {passwords: users.json}"))
        passwords.write(made.folder / "users.json", Passwords().having("operator", b"correct horse"))
        made.run()
        try:
            yield made
        finally:
            made.end()


class Visit:
    """One session of an application."""

    def __init__(self, site: Site, cert: Path, key: Path) -> None:
        self.client = Client(site.url("plc-a"), timeout=5, watchdog_intervall=600)
        self.client.application_uri = URI
        self.shown = CertProperties(cert, "pem"), CertProperties(key, "pem")
        self.server = CertProperties(site.credential("opcua-application", "gw-ua").cert, "pem")

    async def begin(self) -> None:
        await self.client.set_security(
            SecurityPolicyBasic256Sha256, *self.shown, server_certificate=self.server
        )
        await self.client.connect()

    async def begin_as(self, name: str, secret: str) -> None:
        self.client.set_user(name)
        self.client.set_password(secret)
        await self.begin()

    async def read(self) -> float:
        index = await self.client.get_namespace_index("urn:demo.example:tank-farm")
        return float(await self.client.get_node(f"ns={index};s=Tank.Level").read_value())

    async def end(self) -> None:
        try:
            await asyncio.wait_for(self.client.disconnect(), 5)
        except (OSError, ua.UaError, TimeoutError, AttributeError):
            self.client.disconnect_socket()


GONE = (ua.UaError, OSError, TimeoutError)


async def refused(site: Site, app: Made) -> bool:
    visit = Visit(site, app.cert, app.key)
    try:
        await visit.begin()
    except GONE:
        return True
    finally:
        await visit.end()
    return False


async def within(what: str, look: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not await look():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        await asyncio.sleep(0.02)


async def ended(visit: Visit) -> bool:
    try:
        await asyncio.wait_for(visit.read(), WITHIN_S)
    except GONE:
        return True
    return False


def inbox(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["pki", "inbox", words[0], "-c", str(site.config), *words[1:]]) == 0
    return capsys.readouterr().out


def test_approving_and_rejecting_an_application(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = OpenSsl(tmp_path).application("stranger", uris=(URI,))
    known = fingerprint(app.der)

    async def play() -> None:
        assert await refused(site, app)
        listed = inbox(site, capsys, "list")
        assert known in listed
        assert "from 127.0.0.1, refused then: untrusted" in listed
        assert "if approved: gets in" in listed
        (record, *_) = until(
            "the refusal is on record",
            lambda: [
                each
                for each in site.records()
                if each["kind"] == "auth" and each["note"].get("fingerprint") == known
            ],
        )
        assert (record["note"]["result"], record["note"]["code"]) == ("refused", "untrusted")
        assert record["note"]["application_uri"] == URI

        inbox(site, capsys, "approve", known)

        async def admitted() -> bool:
            return not await refused(site, app)

        await within("an approved application gets in", admitted)
        visit = Visit(site, app.cert, app.key)
        await visit.begin()
        assert await visit.read() > -1

        inbox(site, capsys, "reject", known)
        await within("the session of a rejected application ends", lambda: ended(visit))
        assert await refused(site, app)
        await visit.end()

    asyncio.run(play())
    assert "nothing waits" in inbox(site, capsys, "list")


def test_removing_a_user(site: Site) -> None:
    peer, file = site.peer, site.folder / "users.json"

    async def play() -> None:
        told = []
        for name, secret in (("operator", "wrong"), ("nobody", "correct horse"), ("operator", "")):
            visit = Visit(site, peer.cert, peer.key)
            with pytest.raises(ua.UaError) as caught:
                await visit.begin_as(name, secret)
            told.append(type(caught.value))
            await visit.end()
        assert len(set(told)) == 1, "all failures look alike"
        visit = Visit(site, peer.cert, peer.key)
        await visit.begin_as("operator", "correct horse")

        async def over() -> bool:
            try:
                await asyncio.wait_for(visit.read(), WITHIN_S)
            except ua.uaerrors.BadUserAccessDenied:
                return False  # policy grants this user nothing; the session goes on
            except GONE:
                return True
            return False

        assert not await over()
        passwords.write(file, passwords.read(file).without("operator"))
        await within("the session of a removed user ends", over)
        await visit.end()

    asyncio.run(play())


def test_revoking_an_application(site: Site) -> None:
    authority, now = site.pki.authority, datetime.now(UTC).replace(microsecond=0)
    request = Request(profile="opcua-application", zone="plant", name="to-go", dns=("localhost",), uri=URI)
    cert = authority.certificate_file(authority.issue(request, now))
    peer = Made(cert, cert.with_suffix(".key"))

    async def play() -> None:
        visit = Visit(site, peer.cert, peer.key)
        await visit.begin()
        assert await visit.read() > -1
        authority.revoke("plant", now, name="to-go")
        await within("the session of a revoked application ends", lambda: ended(visit))
        await visit.end()
        assert await refused(site, peer)

    asyncio.run(play())
    cut = until("the record of what ended it", lambda: [r for r in site.records() if "revoked" in str(r)])
    assert URI in str(cut)
