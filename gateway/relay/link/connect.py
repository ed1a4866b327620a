"""How a link comes to a connection: the one place that knows what carries Modbus to a device."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from gateway.model.asset import Asset, Parity, Transport
from gateway.relay.link.connection import Connection, Owner, PlantConnection
from gateway.relay.link.rtu import Line
from gateway.wire.modbus.rtu import UNITS

PARITY = {Parity.EVEN: "E", Parity.ODD: "O", Parity.NONE: "N"}

Endpoint = tuple[str, int]


async def connect(link: Owner, lines: "Lines") -> Connection:
    """Raises OSError where there is no way to the device. Cancelling it leaves nothing open."""
    asset = link.asset
    if asset.transport is not Transport.TCP:
        return await lines.seat(link)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: PlantConnection(link), asset.host, asset.port)
    return connection


class Lines:
    """The lines that are open, by endpoint, so that all their devices share them."""

    def __init__(self) -> None:
        self._lines: dict[Endpoint, Line] = {}
        self._opening: defaultdict[Endpoint, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def seat(self, link: Owner) -> Connection:
        """A place at the link's line, which is opened if it is not open. Raises OSError."""
        asset = link.asset
        if asset.unit not in UNITS:
            raise ConnectionError(f"unit {asset.unit} cannot be asked on a serial line")
        endpoint = (asset.host, asset.port)
        async with self._opening[endpoint]:
            line = self._lines.get(endpoint)
            if line is None:
                line = await OPEN[asset.transport](asset, partial(self._forget, endpoint))
                self._lines[endpoint] = line
        return line.seat(link)

    def close(self) -> None:
        """Close them all."""
        for line in list(self._lines.values()):
            line.close()

    def _forget(self, endpoint: Endpoint, line: Line) -> None:
        if self._lines.get(endpoint) is line:
            del self._lines[endpoint]


Forget = Callable[[Line], None]


async def _tcp(asset: Asset, forget: Forget) -> Line:
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(asset, forget), asset.host, asset.port)
    return line


async def _serial(asset: Asset, forget: Forget) -> Line:
    """By pymodbus over pyserial: both come with the extra `serial`. It locks the device file."""
    try:
        from pymodbus.transport.serialtransport import create_serial_connection
    except ImportError as error:
        raise OSError("transport serial needs: pip install 'dmz-gateway[serial]'") from error
    line = Line(asset, forget)
    try:
        transport, _ = await create_serial_connection(
            asyncio.get_running_loop(),
            lambda: line,
            asset.host,
            baudrate=asset.serial.baud,
            bytesize=8,
            parity=PARITY[asset.serial.parity],
            stopbits=asset.serial.stop_bits,
            timeout=0,
        )
    except (RuntimeError, ValueError) as error:
        raise OSError(str(error)) from error
    try:
        await line.opened.wait()
    except asyncio.CancelledError:
        transport.close()
        raise
    return line


OPEN = {Transport.RTU_OVER_TCP: _tcp, Transport.SERIAL: _serial}
