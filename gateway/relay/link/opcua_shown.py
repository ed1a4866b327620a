"""What certificates a server shows to everybody: asked after it could not be reached as itself."""

import asyncio
import contextlib
from collections.abc import Callable

from gateway.model.asset import Asset
from gateway.model.moment import Now
from gateway.relay.link.opcua_opening import url
from gateway.wire.opcua.enquiry import Enquiry

AT_ONCE = 65_536
STEPS = 2
"Answers that are waited for; each may take the time that the asset has for a request."


async def shown(asset: Asset, clock: Callable[[], Now]) -> frozenset[bytes] | None:
    """Leaf certificates of its endpoints, DER; null where it does not say."""
    enquiry = Enquiry(url(asset))
    try:
        async with asyncio.timeout(STEPS * asset.timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(asset.host, asset.port)
            try:
                writer.write(enquiry.begin())
                while not enquiry.over and (data := await reader.read(AT_ONCE)):
                    writer.write(enquiry.receive(data, clock()))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
    return enquiry.shown
