"""Serial lines and converters for tests: a cable between two pseudo-terminals, and a scripted converter.

The device's side is pymodbus's server or a script; checksums are pymodbus's, not the gateway's own.
"""

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from struct import pack
from typing import Self

from pymodbus.framer import FramerType
from pymodbus.framer.rtu import FramerRTU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from .plants import Device

Reply = Callable[[bytes], Awaitable[None]]


def checked(body: bytes) -> bytes:
    """A frame: a body and its checksum."""
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


class Cable:
    """Two pseudo-terminals and what happens to bytes between them. `gateway` and `device` are the files."""

    def __init__(self, to_gateway: Callable[[bytes], bytes] = bytes, dead: int | None = None) -> None:
        self.to_gateway = to_gateway
        self.dead = dead
        "A unit whose requests nobody hears."
        self.delay_s = 0.0
        "How late bytes reach the gateway."
        self.carried: list[bytes] = []
        "What the gateway sent, as it came."
        self._far, self._near = os.openpty(), os.openpty()
        self.device, self.gateway = os.ttyname(self._far[1]), os.ttyname(self._near[1])

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for master, slave in (self._far, self._near):
            tty.setraw(slave)
            os.set_blocking(master, False)
        loop.add_reader(self._near[0], self._from_gateway)
        loop.add_reader(self._far[0], self._from_device)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for pair in (self._far, self._near):
            loop.remove_reader(pair[0])
            for end in pair:
                os.close(end)

    def _from_gateway(self) -> None:
        data = os.read(self._near[0], 4096)
        self.carried.append(data)
        if data[0] != self.dead:
            os.write(self._far[0], data)

    def _from_device(self) -> None:
        data = self.to_gateway(os.read(self._far[0], 4096))
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, os.write, self._near[0], data)
        else:
            os.write(self._near[0], data)


def device(unit: int) -> SimDevice:
    """A device of 100 of each: holding register n holds 1000 × unit + n, input register n holds n."""
    holding = [SimData(0, values=[1000 * unit + n for n in range(100)], datatype=DataType.REGISTERS)]
    inputs = [SimData(0, values=list(range(100)), datatype=DataType.REGISTERS)]
    coils = [SimData(0, values=[n % 3 == 0 for n in range(96)], datatype=DataType.BITS)]
    discretes = [SimData(0, values=[n % 2 == 0 for n in range(96)], datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(coils, discretes, holding, inputs))


@asynccontextmanager
async def rtu_over_tcp(port: int, *units: int) -> AsyncIterator[None]:
    """pymodbus's RTU server on TCP."""
    server = ModbusTcpServer(
        [device(unit) for unit in units], framer=FramerType.RTU, address=("127.0.0.1", port)
    )
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def on_a_cable(cable: Cable, *units: int) -> AsyncIterator[None]:
    """pymodbus's RTU server at the far end of a cable."""
    server = ModbusSerialServer([device(unit) for unit in units], port=cable.device, parity="N")
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


Script = Callable[["Converter", bytes, Reply], Awaitable[None]]


class Converter:
    """A TCP server that hands each request of 8 bytes to a script; one honest device is behind it."""

    def __init__(self, script: Script | None = None) -> None:
        self.plc = Device()
        self.connections = 0
        self.seen: list[bytes] = []
        self.port = 0
        self._script = script or Converter.honest
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, request: bytes) -> bytes:
        """The right answer frame."""
        adu = pack(">HHH", 0, 0, len(request) - 2) + request[:-2]
        return checked(self.plc.answer(adu)[6:])

    async def honest(self, request: bytes, reply: Reply) -> None:
        await reply(self.answer(request))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
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
                request = await reader.readexactly(8)
                assert checked(request[:-2]) == request, request.hex()
                self.seen.append(request)
                await self._script(self, request, reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)
