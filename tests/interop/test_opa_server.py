"""OPA started as deploy/opa says: the commands of its README as they stand, and what it then answers."""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.cli import main
from gateway.config.settings import OpaSection
from gateway.identity.contexts import client_context
from gateway.model.decision import Allowed, Decision
from gateway.policy import bundle as bundles
from gateway.policy import question
from gateway.policy.engine import Engine
from gateway.policy.loader import load
from gateway.policy.remote import Remote, Unanswered
from gateway.policy.server import OpaServer
from tests.pki import Pki
from tests.policy.questions import HMI, NOW, OPEN, caller, write

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0

pytestmark = pytest.mark.needs("opa", "openssl")


def commands() -> list[list[str]]:
    """The shell block of the README."""
    text = (ROOT / "deploy/opa/README.md").read_text()
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return [shlex.split(line) for line in block[1].splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's commands were run, all but the last; and once more by another signer."""
    folder = tmp_path_factory.mktemp("opa")
    shutil.copytree(ROOT / "policies", folder / "policies")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    made = commands()
    assert [words[0] for words in made] == ["openssl", "openssl", "dmz-gateway", "deploy/opa/start"]
    with contextlib.chdir(folder):
        run(made[:3])
        run([[word.replace("policy.key", "other.key") for word in made[0]]])
        again = {"policy.key": "other.key", "dmz.tar.gz": "other.tar.gz"}
        run([[*(again.get(word, word) for word in made[2]), "--key-id", "policy"]])
    return folder


def run(some: list[list[str]]) -> None:
    for words in some:
        if words[0] == "openssl":
            subprocess.run(words, check=True, capture_output=True)
        else:
            assert main(words[1:]) == 0


@contextmanager
def started(place: Path, component: Callable[[str], str], *words: str) -> Iterator[Path]:
    """The last command, or another of the same program; ends it, and gives its log."""
    log = place / "opa.log"
    path = f"{Path(component('opa')).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words or commands()[3], cwd=place, stdout=out, stderr=out, env={**os.environ, "PATH": path}
        )
    try:
        yield log
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@asynccontextmanager
async def asking(place: Path, context: Any = None, **reach: Any) -> AsyncIterator[Callable[[], Any]]:
    """A function that asks for a write which the demo's operator may do."""
    engine = Engine(load(bundles.read(place / "dmz.tar.gz")))
    asked = question.encode(
        question.document(caller(HMI, "operator"), write(), OPEN, "0" * 26, NOW, 0),
    )
    server = OpaServer(OpaSection(timeout_ms=2_000, **reach), context)
    await server.start()
    remote = Remote(server, 0, lambda: NOW, lambda _code, _known: None)
    try:
        yield lambda: remote.ask(engine, asked, "")
    finally:
        await server.stop()


async def answered(ask: Callable[[], Any]) -> Decision:
    """The first answer that counts."""
    deadline = time.monotonic() + START_S
    while isinstance(decision := await ask(), Unanswered):
        assert time.monotonic() < deadline, decision
        await asyncio.sleep(0.05)
    assert isinstance(decision, Decision)
    return decision


async def test_the_commands_as_they_stand(place: Path, component: Callable[[str], str]) -> None:
    with started(place, component):
        async with asking(place, socket=place / "opa.sock") as ask:
            decision = await answered(ask)
        assert isinstance(decision, Allowed)
        assert decision.grants == ("operator-level-setpoint",)
        assert (place / "opa.sock").stat().st_mode & 0o777 == 0o660


CLOSED = (
    ("GET", "/v1/data"),
    ("GET", "/v1/data/dmz/decision"),
    ("POST", "/v1/data/dmz"),
    ("POST", "/v1/data"),
    ("PUT", "/v1/data/bundle"),
    ("PATCH", "/v1/data/grants"),
    ("GET", "/v1/policies"),
    ("PUT", "/v1/policies/x"),
    ("DELETE", "/v1/policies/x"),
    ("POST", "/v1/query"),
    ("GET", "/v1/query?q=data"),
    ("POST", "/v1/compile"),
    ("POST", "/"),
    ("POST", "/v0/data/dmz/decision"),
    ("GET", "/v1/config"),
    ("GET", "/v1/status"),
    ("GET", "/metrics"),
)


async def test_everything_else_is_closed(place: Path, component: Callable[[str], str]) -> None:
    with started(place, component):
        async with asking(place, socket=place / "opa.sock") as ask:
            await answered(ask)
        connector = aiohttp.UnixConnector(str(place / "opa.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            for method, path in CLOSED:
                async with session.request(method, f"http://opa{path}", json={"input": {}}) as response:
                    assert response.status == 401, (method, path, await response.text())
            async with session.get("http://opa/health") as response:
                assert response.status == 200


async def test_an_archive_that_somebody_else_signed_is_not_loaded(
    place: Path, component: Callable[[str], str]
) -> None:
    with started(place, component, "deploy/opa/start", "other.tar.gz", "policy.pem", "opa.sock") as log:
        deadline = time.monotonic() + START_S
        while b"failed to verify" not in log.read_bytes():
            assert time.monotonic() < deadline, log
            await asyncio.sleep(0.05)
        async with asking(place, socket=place / "opa.sock") as ask:
            assert (await ask()).why.endswith("the decision is undefined: is the bundle loaded?")


async def test_over_mutual_tls(
    place: Path, component: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    pki, port = Pki(place / "pki"), free_port()
    server, client = (pki.issue("gateway-server", "plant", name) for name in ("opa-1", "gw-1"))
    stranger, anchors = pki.issue("gateway-server", "it", "gw-1"), pki.anchors("plant")
    files = [str(file) for file in (server.cert, server.key, anchors)]
    where = f"https://127.0.0.1:{port}"
    start = ["deploy/opa/start", "dmz.tar.gz", "policy.pem", f"127.0.0.1:{port}", *files]
    with started(place, component, *start):
        context: ssl.SSLContext | None = None

        def known() -> ssl.SSLContext:
            nonlocal context
            context = client_context(anchors, client.cert, client.key)
            return context

        async with asking(place, known, url=where) as ask:
            assert isinstance(await answered(ask), Allowed)
        assert context is not None
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        for wrong in (
            lambda: client_context(anchors, stranger.cert, stranger.key),
            lambda: client_context(pki.anchors("it"), client.cert, client.key),
        ):
            async with asking(place, wrong, url=where) as ask:
                assert isinstance(await ask(), Unanswered)


def test_who_calls_it_wrongly_is_told_how() -> None:
    done = subprocess.run([ROOT / "deploy/opa/start"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "start ARCHIVE PUBLIC-KEY" in done.stderr
