"""Listening: every place where somebody comes in, with the protocol that they meet there."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.app import opcua
from gateway.config.settings import AdminSection, HttpsSection, Listener, ReviewSection, Security
from gateway.model.identity import Caller
from gateway.relay.listener import TlsListener
from gateway.relay.modbus import ModbusDoor
from gateway.relay.opcua.listener import OpcuaListener
from gateway.relay.plain import PlainListener
from gateway.relay.suspicion import Suspicion
from gateway.review.api import MOST_CONNECTIONS

if TYPE_CHECKING:
    from gateway.app.parts import Parts

Client = Callable[[Caller], asyncio.Protocol]
"The protocol of one admitted connection."


AnyListener = TlsListener | PlainListener | OpcuaListener


def listeners(parts: "Parts") -> list[AnyListener]:
    """All of them: Modbus and OPC UA as configured, then the APIs over HTTPS."""
    return [
        *(_modbus(parts, section) for section in parts.settings.listeners),
        *opcua.listeners(parts),
        *(_tls(parts, section, client) for section, client in _apis(parts)),
    ]


def admitted(parts: "Parts", caller: Caller) -> bool:
    """Whether somebody who proved who they are would be let in now: for acts long after their permit."""
    return any(
        isinstance(each, TlsListener | OpcuaListener) and each.admits(caller) for each in parts.listeners
    )


def _apis(parts: "Parts") -> Iterator[tuple[Listener, Client]]:
    """The listener and the protocol of each API; its name is what policy sees as `conn.listener`."""
    https, admin, review = parts.settings.north.https, parts.settings.admin, parts.settings.review
    if https is not None and parts.api is not None:
        yield _over_https("https", https), parts.api.client
    if admin is not None and parts.admin is not None:
        yield _over_https("admin", admin), parts.admin.client
    if review is not None and parts.review is not None:
        few = replace(_over_https("review", review), most_connections=MOST_CONNECTIONS)
        yield few, parts.review.client


def _over_https(name: str, section: HttpsSection | AdminSection | ReviewSection) -> Listener:
    return Listener(
        name=name,
        host=section.host,
        port=section.port,
        zone=section.zone,
        certificate=section.certificate,
        key=section.key,
        units={},
    )


def _modbus(parts: "Parts", section: Listener) -> TlsListener | PlainListener:
    door = ModbusDoor(
        routes={unit: parts.routes[asset] for unit, asset in section.units.items()},
        outstanding=section.outstanding,
        door=parts.door,
        last=parts.values,
        links=parts.links,
        tasks=parts.tasks,
        clock=parts.now,
        own_link=parts.link,
        suspicion=Suspicion(parts.journal, parts.metrics.count, quirks=section.quirks),
        read_back=parts.read_back,
        refusal=section.refusal,
    )
    match section.tls:
        case Security.MUTUAL:
            return _tls(parts, section, door.client)
        case Security.NONE:
            return PlainListener(
                section,
                inner=door.client,
                journal=parts.journal,
                clock=parts.now,
                ulids=parts.ulids,
                count=parts.metrics.count,
                flush=parts.flush,
            )


def _tls(parts: "Parts", section: Listener, client: Client) -> TlsListener:
    own = parts.settings.gateway
    return TlsListener(
        section,
        trust=parts.trust[section.zone],
        certificate=section.certificate or own.certificate,
        key=section.key or own.key,
        inner=client,
        journal=parts.journal,
        clock=parts.now,
        ulids=parts.ulids,
        count=parts.metrics.count,
        flush=parts.flush,
    )
