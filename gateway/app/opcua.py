"""The OPC UA door, joined: servers of the plant with their budgets, applications of each zone, listeners."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.config.settings import OpcuaListener as Section
from gateway.identity.applications import Applications
from gateway.identity.inbox import Inbox
from gateway.identity.trust import CrlState
from gateway.identity.users import Users
from gateway.model.asset import Asset, OpcuaUser, Speaks
from gateway.model.errors import IdentityError
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.relay.link.opcua_links import OpcuaLinks
from gateway.relay.link.opcua_opening import Myself
from gateway.relay.opcua.credentials import load_credentials, load_server, read_password, uri_of
from gateway.relay.opcua.listener import OpcuaListener
from gateway.relay.opcua.route import OpcuaRoute
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.meaning import NodePlace

if TYPE_CHECKING:
    from gateway.app.parts import Parts

WORSE: tuple[CrlState, ...] = ("fresh", "stale", "grace_over", "missing")
REQUEST_S = 60.0
"How long a server may take where no listener leads to it: the collector's questions."


def applications(parts: "Parts") -> dict[str, Applications]:
    """Whose application certificates count, by zone: those of zones that a listener names."""
    folder = parts.folder.sub("trust")
    zones = dict.fromkeys(section.zone for section in parts.settings.opcua)
    return {zone: Applications(parts.trust[zone], folder / zone) for zone in zones}


def routes(parts: "Parts") -> dict[str, OpcuaRoute]:
    """Every OPC UA server of the plant, by its asset's name."""
    return {
        asset.name: _route(parts, asset)
        for asset in parts.settings.assets
        if asset.protocol is Speaks.OPCUA and asset.opcua is not None
    }


def listeners(parts: "Parts") -> list[OpcuaListener]:
    """Every listener for OPC UA."""
    return [_listener(parts, section) for section in parts.settings.opcua]


def _listener(parts: "Parts", section: Section) -> OpcuaListener:
    trusted = parts.applications[section.zone]
    mine = {name: parts.opcua[name] for name in section.assets}
    return OpcuaListener(
        section,
        applications=trusted,
        inbox=Inbox(trusted.folder),
        users=Users(section.users),
        routes=mine,
        accounts={name: one for name, route in mine.items() if (one := account(route.asset))},
        door=parts.door,
        last=parts.values,
        tasks=parts.tasks,
        clock=parts.now,
        ulids=parts.ulids,
        count=parts.metrics.count,
        flush=parts.flush,
        told=lambda what, why: _told(parts, what, why),
    )


def _told(parts: "Parts", what: str, why: str | None) -> None:
    """What is wrong with files, for `status`; on record when it begins."""
    if why is None:
        parts.refused.pop(what, None)
    elif parts.refused.get(what) != why:
        parts.refuse(what, why, RecordKind.CONFIG, parts.now())


def crl_states(parts: "Parts", now: Now) -> tuple[tuple[str, CrlState], ...]:
    """The worst state of the revocation lists that count in each zone: its own, issuers' and users'."""
    states: dict[str, CrlState] = {name: trust.crl_state(now) for name, trust in parts.trust.items()}
    found = [(zone, trusted.crl_state(now)) for zone, trusted in parts.applications.items()]
    found += [
        (each.limits.zone, each.users.crl_state(now))
        for each in parts.listeners
        if isinstance(each, OpcuaListener)
    ]
    for zone, state in found:
        states[zone] = max(states[zone], state, key=WORSE.index)
    return tuple(sorted(states.items()))


def _route(parts: "Parts", asset: Asset) -> OpcuaRoute:
    leading = [section for section in parts.settings.opcua if asset.name in section.assets]
    tags = [tag for tag in parts.settings.tags if tag.asset == asset.name]
    return OpcuaRoute(
        OpcuaLinks(
            NodePlace(asset, tags),
            server_certificate=_pinned(asset),
            myself=lambda: _myself(parts, asset),
            me=parts.me,
            last=parts.values,
            door=parts.door,
            links=parts.links,
            tasks=parts.tasks,
            clock=parts.now,
            flush=parts.flush,
            request_s=max((section.request_s for section in leading), default=REQUEST_S),
        )
    )


def _pinned(asset: Asset) -> Callable[[], bytes]:
    """Read each time that a session is opened: who replaces the file need not start anew."""
    server = asset.opcua
    if server is None:
        raise IdentityError(f"{asset.name} has no section opcua")
    return lambda: load_server(server.server_certificate)


def _myself(parts: "Parts", asset: Asset) -> Myself:
    """By which certificate a server knows the gateway: its own, or that of the first listener for OPC UA."""
    server, sections, own = asset.opcua, parts.settings.opcua, parts.settings.gateway
    if server is not None and server.certificate is not None and server.key is not None:
        credentials = load_credentials(server.certificate, server.key)
    elif sections:
        credentials = load_credentials(sections[0].certificate, sections[0].key)
    else:
        raise IdentityError(
            f"{asset.name} needs certificate and key: the gateway shows it an RSA certificate"
        )
    return Myself(credentials, uri_of(credentials), f"dmz-gateway {own.name}")


def account(asset: Asset) -> Account | None:
    """The account of `user: fixed`."""
    server = asset.opcua
    if server is None or server.user is not OpcuaUser.FIXED:
        return None
    if server.user_name is None or server.password is None:
        raise IdentityError(f"{asset.name}: user: fixed needs user_name and password")
    return Account(server.user_name, read_password(server.password))
