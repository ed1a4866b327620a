"""The control socket: who asks is what the kernel says, what may be asked is what policy says."""

import asyncio
import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.model.decision import Allowed, Denied, Reason
from gateway.model.identity import Authentication, Caller, Kind
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation
from gateway.model.ulid import Ulids
from gateway.ops import control
from gateway.ops.control import ControlSocket, ask
from tests.scenarios.stage import Stage


@asynccontextmanager
async def listening(path: Path, stage: Stage, reload_error: bool = False) -> AsyncIterator[list[Caller]]:
    callers: list[Caller] = []
    granted = stage.engine.allows

    def decide(caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None) -> object:
        callers.append(caller)
        if (operation.action, None) in granted:
            return Allowed(revision="rev-1")
        return Denied(revision="rev-1", reasons=(Reason("default", "default"),))

    async def status() -> dict[str, Any]:
        return {"ready": True}

    async def reload() -> dict[str, Any]:
        return {"error": "no"} if reload_error else {"revision": "rev-2"}

    stage.engine.decide = decide  # type: ignore[method-assign,assignment]
    socket = ControlSocket(
        path, door=stage.door, clock=stage.now, ulids=Ulids(1), commands={"status": status, "reload": reload}
    )
    await socket.start()
    try:
        yield callers
    finally:
        await socket.stop()


async def test_the_user_is_who_the_kernel_says_and_reload_is_recorded_before_it_happens(
    tmp_path: Path,
) -> None:
    stage = Stage()
    stage.engine.allows = {(Action.READ, None): (), (Action.ADMIN, None): ()}
    path = tmp_path / "control.sock"
    async with listening(path, stage) as callers:
        assert path.stat().st_mode & 0o777 == 0o600
        assert await asyncio.to_thread(ask, path, "status") == {"ready": True}
        assert await asyncio.to_thread(ask, path, "reload") == {"revision": "rev-2"}
    identity = callers[0].identity
    assert identity.subject == f"local:{getpass.getuser()}"
    assert (identity.kind, identity.auth) == (Kind.LOCAL, Authentication.CONTROL)
    assert stage.story[-2:] == ["intent control.reload", "outcome ok"]
    assert not path.exists()


async def test_what_policy_does_not_allow_is_not_done(tmp_path: Path) -> None:
    stage = Stage()
    async with listening(tmp_path / "s", stage):
        answer = await asyncio.to_thread(ask, tmp_path / "s", "reload")
    assert "policy does not allow local:" in answer["error"]
    assert stage.story == ["denied control.reload default"]


async def test_without_any_policy_status_says_so_and_nothing_else_is_done(tmp_path: Path) -> None:
    stage = Stage()
    stage.engine.revision = ""
    async with listening(tmp_path / "s", stage):
        assert await asyncio.to_thread(ask, tmp_path / "s", "status") == {"ready": True}
        assert "error" in await asyncio.to_thread(ask, tmp_path / "s", "reload")


async def test_unknown_words_and_endless_ones_get_no_further(tmp_path: Path) -> None:
    stage = Stage()
    async with listening(tmp_path / "s", stage):
        answer = await asyncio.to_thread(ask, tmp_path / "s", "shutdown")
        assert "unknown command" in answer["error"]
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"x" * (control.MOST_BYTES * 40))
        async with asyncio.timeout(control.PATIENCE_S + 5):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
    assert stage.story == []


async def test_a_failed_reload_is_recorded_as_such(tmp_path: Path) -> None:
    stage = Stage()
    stage.engine.allows = {(Action.ADMIN, None): ()}
    async with listening(tmp_path / "s", stage, reload_error=True):
        assert await asyncio.to_thread(ask, tmp_path / "s", "reload") == {"error": "no"}
    assert stage.story[-1] == "outcome failed"
