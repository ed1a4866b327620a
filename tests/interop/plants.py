"""Plants that do as a script says: the devices of real plants that answer late, twice or to another."""

import asyncio
from collections.abc import Awaitable, Callable
from struct import pack, unpack_from
from typing import Self

Reply = Callable[[bytes], Awaitable[None]]


class Device:
    """A small honest PLC: 1000 holding registers, register n holds n; FC 3, 4, 6 and 16."""

    def __init__(self) -> None:
        self.registers = list(range(1000))
        self.seen: list[bytes] = []
        "Every request ADU, in the order of arrival."

    def answer(self, request: bytes) -> bytes:
        """The right answer to one ADU."""
        tid, _, _, unit = unpack_from(">HHHB", request)
        pdu = request[7:]
        fc, first, count = pdu[0], *unpack_from(">HH", pdu, 1)
        if fc in (3, 4):
            values = self.registers[first : first + count]
            body = bytes([fc, 2 * count]) + pack(f">{count}H", *values)
        elif fc == 6:
            self.registers[first] = count
            body = pdu
        else:
            self.registers[first : first + count] = unpack_from(f">{count}H", pdu, 6)
            body = pdu[:5]
        return pack(">HHHB", tid, 0, len(body) + 1, unit) + body


Script = Callable[["ScriptedPlant", bytes, Reply], Awaitable[None]]


class ScriptedPlant:
    """A TCP server that hands each request to `script` together with a way to send bytes back."""

    def __init__(self, script: Script | None = None) -> None:
        self.device = Device()
        self.connections = 0
        self._script = script or ScriptedPlant.honest
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def honest(self, request: bytes, reply: Reply) -> None:
        await reply(self.device.answer(request))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

        async def reply(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            while True:
                head = await reader.readexactly(6)
                request = head + await reader.readexactly(unpack_from(">H", head, 4)[0])
                self.device.seen.append(request)
                await self._script(self, request, reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)
