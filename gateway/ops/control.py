"""The control socket: a Unix user of this machine asks for status or reload, nothing else.

The kernel says who is asking (SO_PEERCRED); the socket is 0600. Each request is one operation that policy
decides and the journal records, like everybody's: `control.status` is a read, `control.reload` an admin act.
One request a connection: a line of JSON in, a line of JSON out.
"""

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.guard.passage import Door, enter, finish, settle
from gateway.guard.verdict import Forward, Pending, Refuse
from gateway.model.decision import Why
from gateway.model.identity import Authentication, Caller, Identity, Kind
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation, Protocol
from gateway.model.ulid import Ulids

MOST_BYTES = 4_096
"A request is a word; more is not one."
PATIENCE_S = 5.0
"How long a local client may take to say it."

ACTIONS = {"status": Action.READ, "reload": Action.ADMIN}
"What may be asked, and which action it is."
ALWAYS = frozenset({"status"})
"""What a local user is told even where no record can be made of it, or no policy is active: whoever has to
mend that must be able to see it. It shows nothing of the plant but names and counts."""


class Request:
    """A control request, as a frame."""

    def __init__(self, command: str) -> None:
        self.command = command

    def encode(self) -> bytes:
        """The command, as text."""
        return self.command.encode()


class ControlSocket:
    """The listening socket and what it offers."""

    def __init__(
        self,
        path: Path,
        *,
        door: Door,
        clock: Callable[[], Now],
        ulids: Ulids,
        commands: dict[str, Callable[[], Awaitable[dict[str, Any]]]],
    ) -> None:
        self._path = path
        self._door = door
        self._clock = clock
        self._ulids = ulids
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket left by one that died is replaced (the data folder's lock says it is ours)."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MOST_BYTES)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Stop, and leave no socket behind where the disk lets us; a start replaces one that was left."""
        if self._server is not None:
            self._server.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = await reader.readline()
            command = line.decode("ascii", "replace").strip()
            answer = await self._answer(command, _peer(writer))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass  # a client that does not speak gets no answer
        finally:
            writer.close()

    async def _answer(self, command: str, user: str) -> dict[str, Any]:
        if command not in ACTIONS or command not in self._commands:
            return {"error": f"unknown command; there are: {', '.join(sorted(self._commands))}"}
        now = self._clock()
        identity = Identity(
            subject=f"local:{user}", kind=Kind.LOCAL, auth=Authentication.CONTROL, zone="local"
        )
        caller = Caller(
            identity=identity,
            source="local",
            listener="control",
            zone="local",
            tls=None,
            connection=self._ulids.next(now.wall_ns),
        )
        operation = Operation(protocol=Protocol.CONTROL, action=ACTIONS[command], kind=f"control.{command}")
        verdict = enter(Request(command), (operation,), caller, self._door, now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, self._door, now)
        unable = verdict == Refuse(Why.NOT_RECORDED) or not self._door.engine.revision
        if unable and command in ALWAYS:
            return await self._commands[command]()
        if verdict == Refuse(Why.NOT_RECORDED):
            return {"error": f"the journal cannot record a {command}; status says why"}
        if isinstance(verdict, Forward) and not verdict.permit.spend(self._door.engine.revision, now.mono_ns):
            settle(verdict.permit, {"status": "not_sent"}, b"", self._door, self._clock())
            return {"error": f"policy changed while {command} was decided: ask again"}
        if not isinstance(verdict, Forward):
            return {
                "error": f"policy does not allow {identity.subject} to ask for {command}; see audit search"
            }
        try:
            result = await self._commands[command]()
        except Exception:
            settle(verdict.permit, {"status": "failed"}, b"", self._door, self._clock())
            raise
        settle(
            verdict.permit,
            {"status": "failed" if "error" in result else "ok"},
            b"",
            self._door,
            self._clock(),
        )
        return result


def _peer(writer: asyncio.StreamWriter) -> str:
    """The user at the other end, as the kernel knows it."""
    sock = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", credentials)[1]
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def ask(path: Path, command: str, timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask a running gateway (blocking; used by the command line)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        chunks = []
        while chunk := sock.recv(65_536):
            chunks.append(chunk)
    answer = json.loads(b"".join(chunks) or b'{"error": "no answer"}')
    return answer if isinstance(answer, dict) else {"error": "odd answer"}
