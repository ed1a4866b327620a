"""A real OPA server for tests: `opa run --server` with a written bundle, on a unix socket.

with OpaProcess(component("opa"), tmp_path, bundle) as opa:
    OpaSection(socket=opa.socket)
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from gateway.policy.bundle import Bundle

START_S = 30.0


class OpaProcess:
    """One server. It can be killed, stopped, continued, and run again with another bundle."""

    def __init__(self, program: str, folder: Path, bundle: Bundle | None, *more: str) -> None:
        """`more` are arguments behind the bundle's; without a bundle it has none."""
        self._program = program
        self._more = more
        self._bundle = folder / "opa-bundle"
        self._log = folder / "opa.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._place = tempfile.mkdtemp(prefix="opa-")  # a socket's path has at most 107 characters
        self.socket = Path(self._place) / "opa.sock"
        if bundle is not None:
            self.write(bundle)

    def __enter__(self) -> Self:
        self.run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._place, ignore_errors=True)

    def write(self, bundle: Bundle) -> None:
        """The bundle that it has from its next start on."""
        shutil.rmtree(self._bundle, ignore_errors=True)
        self._bundle.mkdir()
        bundle.write_to(self._bundle)

    def run(self) -> None:
        """Start it, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        bundle = ["--bundle", str(self._bundle)] if self._bundle.exists() else []
        command = [
            self._program,
            "run",
            "--server",
            "--addr",
            f"unix://{self.socket}",
            "--log-level",
            "error",
            "--optimize-store-for-read-speed",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *bundle, *self._more],
                stdout=log,
                stderr=log,
                env={**os.environ, "GOMAXPROCS": "2"},
            )
        deadline = time.monotonic() + START_S
        while not self._listens():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, "OPA does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def send(self, number: int) -> None:
        """A signal: SIGSTOP hangs it, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, also where it was stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class OddOpa:
    """What stands where OPA should, on a unix socket, and answers as a test wants: the injector of faults."""

    def __init__(self, socket: Path | None = None) -> None:
        """On that socket, or on one of its own."""
        self._place = tempfile.mkdtemp(prefix="opa-")
        self.socket = socket or Path(self._place) / "opa.sock"
        self.answer: Answer = _unset
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        shutil.rmtree(self._place, ignore_errors=True)

    async def until_asked(self, many: int) -> None:
        """Wait until that many questions have come."""
        async with asyncio.timeout(10):
            while len(self.asked) < many:  # noqa: ASYNC110  a test's wait, with a deadline
                await asyncio.sleep(0.005)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)


async def _unset(_request: web.Request) -> web.StreamResponse:
    raise AssertionError("the test sets `answer`")


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextmanager
def odd_opa(socket: Path, answer: Answer) -> Iterator[OddOpa]:
    """The same in a loop and thread of its own, for tests that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    odd = OddOpa(socket)
    odd.answer = answer
    asyncio.run_coroutine_threadsafe(odd.__aenter__(), loop).result(10)
    try:
        yield odd
    finally:
        asyncio.run_coroutine_threadsafe(odd.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
