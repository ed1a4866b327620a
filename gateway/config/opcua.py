"""What the parts about OPC UA must mean together: servers in the plant, and listeners. Rows of CHECKS."""

from collections.abc import Callable, Iterator

from gateway.config.document import Trail
from gateway.config.draft import Draft
from gateway.config.form import OPC_TCP
from gateway.config.settings import Listener, OpcuaListener
from gateway.model.asset import Asset, OpcuaMode, OpcuaServer, OpcuaUser, Speaks, Tag

ONLY_MODBUS = (
    "transport",
    "serial",
    "quirks",
    "unit",
    "upstream",
    "connections",
    "in_flight",
    "queue",
    "spacing",
    "coalesce",
    "heartbeat",
    "registers",
    "overlays",
    "polls_per_s",
)
"Keys of an asset that mean nothing for an OPC UA server, which has sessions instead of connections to share."


def speaks(draft: Draft) -> None:
    """An asset is described in the words of its protocol, and of no other."""
    for trail, asset in draft.each(Asset):
        url = str(draft.document.get((*trail, "endpoint"))).startswith(OPC_TCP)
        if asset.protocol is Speaks.OPCUA:
            if asset.opcua is None:
                what = f"{asset.name} speaks opcua, and nothing says which certificate it must show"
                draft.fault((*trail, "protocol"), what, "add opcua: {server_certificate: …}")
            if asset.host.startswith("/"):
                mend = "write opc.tcp://host:port, and the path behind it if there is one"
                draft.fault((*trail, "endpoint"), f"{asset.name} speaks opcua, not over a line", mend)
            for key in ONLY_MODBUS:
                if key in draft.document.get(trail):
                    what = f"{key} means nothing for {asset.name}, which speaks opcua"
                    draft.fault((*trail, key), what, "remove it")
            continue
        if asset.opcua is not None:
            what = f"{asset.name} speaks modbus, and has a section opcua"
            draft.fault((*trail, "opcua"), what, "add protocol: opcua, or remove the section")
        elif url:
            what = f"{asset.name} speaks modbus, and its endpoint is that of an OPC UA server"
            draft.fault((*trail, "endpoint"), what, "add protocol: opcua, or write host:port")


def one_server(draft: Draft) -> None:
    """A server that is two assets has two budgets, and what is denied at one may be granted at the other."""
    first: dict[tuple[str, int, str], tuple[Trail, str]] = {}
    for trail, asset, server in _servers(draft):
        at, name = first.setdefault((asset.host, asset.port, server.path), (trail, asset.name))
        if at != trail:
            what = f"{asset.name} is the server that {name} is, at {draft.document.where(at)}"
            draft.warn((*trail, "endpoint"), what, "make them one, unless their users differ")


def users_there(draft: Draft) -> None:
    """Whom a server sees as the user can be told to it."""
    for trail, asset, server in _servers(draft):
        here = (*trail, "opcua")
        own = [key for key, value in _account(server) if value is not None]
        if server.user is OpcuaUser.FIXED:
            for key, value in _account(server):
                if value is None:
                    draft.fault((*here, "user"), f"user: fixed without {key}", f"add {key}: …")
        elif own:
            what = f"{own[0]} is for user: fixed, and {asset.name} has user: {server.user}"
            draft.fault((*here, own[0]), what, "remove it, or write user: fixed")
        if server.mode is OpcuaMode.SIGN:
            draft.warn((*here, "mode"), f"whoever is on the way to {asset.name} can read everything")


def shown(draft: Draft) -> None:
    """The gateway has an application certificate to show to every server, and the key to it."""
    listeners = draft.document.get(("opcua",))
    for trail, asset, server in _servers(draft):
        here = (*trail, "opcua")
        if (server.certificate is None) != (server.key is None):
            own, missing = ("key", "certificate") if server.certificate is None else ("certificate", "key")
            draft.fault((*here, own), f"{own} without {missing}", f"add {missing}, or remove {own}")
        elif server.certificate is None and not listeners:
            what = f"the gateway has no application certificate to show to {asset.name}"
            draft.fault(here, what, "add certificate and key (RSA), or a listener under `opcua`")


def reached(draft: Draft) -> None:
    """A listener names OPC UA assets, each once, and each can be talked to by whom it lets in."""
    known = draft.names("assets")
    assets = {asset.name: asset for _, asset in draft.each(Asset)}
    for trail, listener in draft.each(OpcuaListener):
        for number, name in enumerate(listener.assets):
            here, asset = (*trail, "assets", number), assets.get(name)
            if name not in known:
                names = ", ".join(sorted(known)[:20]) or "none"
                draft.fault(here, f"there is no asset {name}", f"declare it, or write one of: {names}")
            elif name in listener.assets[:number]:
                draft.fault(here, f"{name} is there twice", "keep one of them")
            elif asset is not None and asset.protocol is not Speaks.OPCUA:
                what = f"{name} speaks {asset.protocol}: no OPC UA client can be led to it"
                draft.fault(here, what, "remove it, or give it a unit number at a listener under `listeners`")
            elif asset is not None and asset.opcua is not None:
                _impersonated(draft, here, listener, asset.opcua)
    for trail, by_unit in draft.each(Listener):
        for unit, name in by_unit.units.items():
            if name in assets and assets[name].protocol is Speaks.OPCUA:
                what = f"{name} speaks opcua: no unit number leads to it"
                mend = "remove it, and name it in `assets` of a listener under `opcua`"
                draft.fault((*trail, "units", str(unit)), what, mend)


def users_here(draft: Draft) -> None:
    """A listener lets somebody in, and what it reads of users belongs together."""
    for trail, listener in draft.each(OpcuaListener):
        users, here = listener.users, (*trail, "users")
        kinds = (users.passwords, users.anchors, users.tokens)
        if not users.anonymous and not any(kinds):
            mend = "add passwords, anchors or tokens, or write anonymous: true"
            draft.fault(here, f"nobody can have a session at {listener.name}: no kind of user may", mend)
        if users.crls and users.anchors is None:
            draft.fault((*here, "crls"), "crls without anchors", "add the anchors that issue them")
        if users.anchors is not None and not users.crls:
            what = f"no user gets in by a certificate at {listener.name}: there is no CRL"
            draft.warn((*here, "anchors"), what, "add crls: […]")
        if OpcuaMode.SIGN in listener.modes:
            what = f"listener {listener.name} lets clients choose that everybody can read what they exchange"
            draft.warn((*trail, "modes"), what, "write modes: [SignAndEncrypt]")


def reserve(draft: Draft) -> None:
    """One session of a server is the collector's; where there is no other nobody gets one."""
    collected = {tag.asset for _, tag in draft.each(Tag)}
    offered = {name for _, listener in draft.each(OpcuaListener) for name in listener.assets}
    for trail, asset, server in _servers(draft):
        if server.sessions == 1 and asset.name in collected & offered:
            what = f"the only session to {asset.name} is the collector's: clients get none"
            draft.fault((*trail, "opcua", "sessions"), what, "write 2 or more")


CHECKS: tuple[Callable[[Draft], None], ...] = (
    speaks,
    one_server,
    users_there,
    shown,
    reached,
    users_here,
    reserve,
)


def _servers(draft: Draft) -> Iterator[tuple[Trail, Asset, OpcuaServer]]:
    """The assets that speak OPC UA and say how."""
    for trail, asset in draft.each(Asset):
        if asset.protocol is Speaks.OPCUA and asset.opcua is not None:
            yield trail, asset, asset.opcua


def _account(server: OpcuaServer) -> tuple[tuple[str, object], ...]:
    return ("user_name", server.user_name), ("password", server.password)


def _impersonated(draft: Draft, trail: Trail, listener: OpcuaListener, server: OpcuaServer) -> None:
    """Only a name and a password can be passed on."""
    if server.user is OpcuaUser.IMPERSONATE and listener.users.passwords is None:
        what = f"user: impersonate passes on names and passwords, and {listener.name} takes none"
        draft.fault(trail, what, "add users: {passwords: …} to the listener, or write user: fixed there")
