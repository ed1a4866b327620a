"""Must hold 3: OPA killed, hung, slow, answering garbage, of another revision, away at start.

The gateway process, its TLS clients, its plant and its journal are real, and so is OPA; where OPA must answer
what it never would, a small server stands on its socket. In every case: writes are denied within the budget,
reads go on for the time set and no longer, all is told, and a second after the recovery it is as before.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
from aiohttp import web

from gateway.policy import bundle as bundles
from tests.opa import Answer, OpaProcess, odd_opa

from .site import Site, until, value

pytestmark = pytest.mark.needs("opa")

BUDGET_S = 0.25
MARGIN_S = 0.75
"For a machine that does other things as well."
READS_S = 1.5
"How long reads go on here; 60 s as shipped."
BACK_S = 1.0
WRITTEN = bytes.fromhex("06000a0007")
DENIED_WRITE, DENIED_READ = b"\x86\x01", b"\x83\x01"


class Place:
    """A gateway that asks OPA, and that OPA."""

    def __init__(self, folder: Path, program: str) -> None:
        self.site = Site(folder, audit="denials_in_full: 1000, window: 1s")
        self.opa = OpaProcess(program, folder, bundles.read(self.site.policies))
        self.outage = ExitStack()
        opa = f"{{socket: {self.opa.socket}, reads_without: {int(READS_S * 1000)}ms}}"
        text = self.site.config.read_text()
        configured = f"{{bundle: policies, engine: opa, opa: {opa}, cross_check_one_in: 1, cache_entries: 0}}"
        self.site.config.write_text(text.replace("{bundle: policies}", configured))

    def stand_in(self, answer: Answer) -> None:
        self.opa.kill()
        self.opa.socket.unlink(missing_ok=True)
        self.outage.enter_context(odd_opa(self.opa.socket, answer))

    def recover(self, hung: bool = False) -> float:
        """OPA as it should be; when it was."""
        if hung:
            self.opa.send(signal.SIGCONT)
            return monotonic()
        self.outage.close()
        self.opa.kill()
        self.opa.write(bundles.read(self.site.policies))
        self.opa.run()
        return monotonic()

    def told(self, what: str, since: int) -> bool:
        return any(what in json.dumps(record["note"]) for record in self.site.records()[since:])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, component: Callable[[str], str]) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("opa"), component("opa"))
    with place.opa, place.site, place.outage:
        place.site.run()
        yield place


async def _garbage(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=os.urandom(500), content_type="application/json")


async def _yes(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"result": {"allow": True}})


async def _empty(_request: web.Request) -> web.StreamResponse:
    return web.json_response({})


async def _slow(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(BUDGET_S * 2)
    return web.json_response({})


async def _drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
    return response


def _killed(place: Place) -> None:
    place.opa.kill()


def _hung(place: Place) -> None:
    place.opa.send(signal.SIGSTOP)


def _other_revision(place: Place) -> None:
    grants = place.site.policies / "data" / "grants.yaml"
    kept = grants.read_text()
    folder = place.site.folder / "before"
    if not folder.exists():
        for name, content in bundles.read(place.site.policies).files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "data" / "grants.yaml").write_text(kept + "# as it was before\n")
    place.opa.kill()
    place.opa.write(bundles.read(folder))
    place.opa.run()


OUTAGES: dict[str, tuple[Callable[[Place], None], str]] = {
    "killed": (_killed, "engine.unavailable"),
    "hung": (_hung, "engine.unavailable"),
    "slow": (lambda place: place.stand_in(_slow), "engine.unavailable"),
    "dripping": (lambda place: place.stand_in(_drip), "engine.unavailable"),
    "garbage": (lambda place: place.stand_in(_garbage), "engine.unavailable"),
    "a bare yes": (lambda place: place.stand_in(_yes), "engine.error"),
    "no bundle": (lambda place: place.stand_in(_empty), "engine.unavailable"),
    "another revision": (_other_revision, "engine.other_revision"),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_without_opa(place: Place, name: str) -> None:
    site, (begin, code) = place.site, OUTAGES[name]
    assert site.plant is not None
    hmi, view = site.client("hmi-1"), site.client("view-1")
    until("all is well", lambda: hmi.write(10, 7) == WRITTEN, BACK_S + MARGIN_S)
    assert view.read(5) == value(5)
    known, written = len(site.records()), len(site.plant.written)
    begin(place)
    began = monotonic()
    for number in range(5):
        asked = monotonic()
        assert hmi.write(10, 8) == DENIED_WRITE, number
        assert monotonic() - asked < BUDGET_S + MARGIN_S
    assert view.read(5) == value(5), "a read goes on"
    assert view.write(10, 9) == DENIED_WRITE
    until("reads end", lambda: view.read(5) == DENIED_READ, READS_S + 2 * MARGIN_S)
    assert monotonic() - began > READS_S - MARGIN_S
    assert hmi.write(10, 8) == DENIED_WRITE
    assert site.status()["policy"]["opa"]["away"] is True, "and the status says so"
    for what in ("opa_away", "opa_reads_end"):
        until(what, lambda what=what: place.told(what, known))  # type: ignore[misc]
    recovered = place.recover(hung=name == "hung")
    until("writes pass again", lambda: hmi.write(10, 7) == WRITTEN, BACK_S + MARGIN_S)
    assert monotonic() - recovered < BACK_S + MARGIN_S
    assert view.read(5) == value(5)
    until("it is told", lambda: place.told("opa_back", known))
    assert {pdu[3:] for pdu in site.plant.written[written:]} == {b"\x00\x07"}, (
        "nothing denied reached the plant"
    )
    denials = [record for record in site.records("denial") if record["what"]["action"] == "write"][-20:]
    reasons = [reason for record in denials for reason in record["why"]["reasons"]]
    # Where OPA counted as away before it answered so, a probe has met the answer, and the words say it.
    away = name == "another revision" and any("answers for revision" in each["msg"] for each in reasons)
    assert away or code in {each["code"] for each in reasons}


def test_away_at_start(place: Place) -> None:
    site = place.site
    site.end()
    place.opa.kill()
    known = len(site.records())
    site.run()
    hmi = site.client("hmi-1")
    assert hmi.write(10, 8) == DENIED_WRITE
    until("it is told", lambda: place.told("opa_away", known))
    place.recover()
    until("writes pass", lambda: hmi.write(10, 7) == WRITTEN, BACK_S + MARGIN_S)
    until("reads pass", lambda: hmi.read(5) == value(5), BACK_S + MARGIN_S)
    assert place.told("opa_back", known)


def test_what_was_decided_without_opa_says_so(place: Place) -> None:
    site, view = place.site, place.site.client("view-1")
    place.recover()
    until("all is well", lambda: view.read(5) == value(5), BACK_S + MARGIN_S)
    known = len(site.records())
    place.opa.kill()
    assert view.read(5) == value(5)
    place.recover()

    def origins() -> set[str]:
        windows = [each for each in site.records("window")[-20:] if each in site.records()[known:]]
        return {word for word in ("fallback",) if any(word in json.dumps(each) for each in windows)}

    until("a window says fallback", lambda: origins() == {"fallback"}, 15)
