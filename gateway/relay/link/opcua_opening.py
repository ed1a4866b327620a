"""How a session with a server begins: connect, Hello, OpenSecureChannel, CreateSession, ActivateSession.

All of it is transport, as a TCP connect is: it asks nothing of the plant and changes nothing there. What the
server must prove against its pinned certificate is `wire.opcua.login`'s. The last step is a question, and
goes through the passage as the gateway's own (`opcua_links`).
"""

import asyncio
import secrets

from msgspec import Struct

from gateway.model.asset import Asset
from gateway.relay.link.opcua import OpcuaLink
from gateway.wire.opcua import login, messages
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.security import NONCE_SIZE, Credentials
from gateway.wire.opcua.status import Status

STEPS = 6
"Answers that an opening waits for; each may take the time that the asset has for a request."
MOST_ANSWER = 16 * 1024 * 1024
"Bytes of an answer that the server is told we take."
CLIENT = 1
"ApplicationType (OPC 10000-4 §7.4)."


class LinkRefused(Exception):  # noqa: N818 # what it is named after is a refusal
    """There is no session with the server."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        self.why = why
        super().__init__(why)


class Myself(Struct, frozen=True, eq=False):
    """What the gateway says of itself to servers."""

    credentials: Credentials
    uri: str
    "ApplicationUri of that certificate."
    name: str

    def described(self) -> messages.ApplicationDescription:
        """As a client."""
        return messages.ApplicationDescription(
            uri=self.uri, product_uri=self.uri, name=self.name, kind=CLIENT
        )


def url(asset: Asset) -> str:
    """The endpoint of a server."""
    host = f"[{asset.host}]" if ":" in asset.host else asset.host
    return f"opc.tcp://{host}:{asset.port}{asset.opcua.path if asset.opcua is not None else ''}"


async def establish(link: OpcuaLink, me: Myself, account: Account | None, timeout_ms: float) -> None:
    """Open a link. LinkRefused where the server does not let us, or is not the one that it should be."""
    asset = link.asset
    try:
        async with asyncio.timeout(STEPS * asset.timeout_ms / 1000):
            await asyncio.get_running_loop().create_connection(lambda: link, asset.host, asset.port)
            await _channel(link)
            await _session(link, me, account, timeout_ms)
    except (OSError, TimeoutError) as error:
        link.cut("it could not be opened")
        why = str(error) or "it did not answer in time"
        raise LinkRefused(Status.SERVER_NOT_CONNECTED, f"{asset.name}: {why}") from error
    except BaseException:
        link.cut("it could not be opened")
        raise


async def _channel(link: OpcuaLink) -> None:
    acknowledged = link.step()
    link.say(link.channel.hello())
    await acknowledged
    opened = link.step()
    link.say(link.channel.open(link.clock()))
    await opened


async def _session(link: OpcuaLink, me: Myself, account: Account | None, timeout_ms: float) -> None:
    channel, nonce = link.channel, secrets.token_bytes(NONCE_SIZE)
    name = f"{me.name} {secrets.token_hex(4)}"
    asked = login.create(
        channel, me.described(), url(link.asset), name, nonce, timeout_ms, MOST_ANSWER, link.clock()
    )
    made = login.created(await link.ask(asked), channel, nonce)
    if isinstance(made, login.Refused):
        raise LinkRefused(made.status, f"{link.asset.name}: {made.why} ({made.status:08x})")
    link.token, link.timeout_ms = made.token, made.timeout_ms
    activate = login.activate(channel, made, account, link.clock())
    if isinstance(activate, login.Refused):
        raise LinkRefused(activate.status, f"{link.asset.name}: {activate.why} ({activate.status:08x})")
    active = login.activated(await link.ask(activate))
    if isinstance(active, login.Refused):
        raise LinkRefused(active.status, f"{link.asset.name}: {active.why} ({active.status:08x})")
    link.opened = True
