"""A Modbus/TCP Security client and server that are not ours, on certificates and contexts that are."""

import asyncio
import contextlib
from collections.abc import Callable

from pymodbus.client import AsyncModbusTlsClient
from pymodbus.server import ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.identity.contexts import client_context, server_context
from tests.pki import Pki


async def read(pki: Pki, zone: str, name: str, free_port: Callable[[], int]) -> list[int] | None:
    """Ten registers, read by pymodbus's TLS client from its TLS server; None where it did not get in."""
    shown = pki.issue("gateway-server", "plant", f"server-of-{name}")
    client = pki.issue("modbus-client", zone, name, "operator")
    device = SimDevice(1, [SimData(0, values=list(range(10)), datatype=DataType.REGISTERS)])
    port = free_port()
    inside = server_context(shown.cert, shown.key, pki.trust("plant"))
    server = ModbusTlsServer(device, address=("127.0.0.1", port), sslctx=inside)
    await server.serve_forever(background=True)
    try:
        context = client_context(pki.anchors("plant"), client.cert, client.key)
        caller = AsyncModbusTlsClient(
            "127.0.0.1", port=port, sslctx=context, reconnect_delay=0, retries=0, timeout=1
        )
        try:
            if not await caller.connect():
                return None
            # TLS 1.3: the client has finished before the server has judged it; the read is what tells.
            with contextlib.suppress(Exception):
                answer = await asyncio.wait_for(caller.read_holding_registers(0, count=10, device_id=1), 5)
                return None if answer.isError() else list(answer.registers)
            return None
        finally:
            caller.close()
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_pymodbus_speaks_through_our_certificates(pki: Pki, free_port: Callable[[], int]) -> None:
    assert await read(pki, "plant", "pymodbus-hmi", free_port) == list(range(10))


async def test_and_the_other_zone_does_not(pki: Pki, free_port: Callable[[], int]) -> None:
    assert await read(pki, "it", "pymodbus-stranger", free_port) is None
