"""What the parts of a configuration must mean together. Each check is a row of CHECKS.

A shape can be right and the sense wrong: a unit mapped to a device nobody declared, two listeners on one
address, a topic that leaves the tag out. Every fault says what to do; what is allowed but worth knowing is a
warning, which `dmz-gateway check` prints. Tags, OPC UA and files have modules of their own.
"""

import ipaddress
from collections.abc import Callable, Sequence
from string import Formatter
from urllib.parse import urlsplit

from gateway.config.document import Trail
from gateway.config.draft import Draft
from gateway.config.settings import (
    AdminSection,
    CollectorSection,
    ExportSection,
    HttpsSection,
    Listener,
    MqttSection,
    OffboxSection,
    OpaSection,
    OpcuaListener,
    PolicyEngine,
    PolicySection,
    Refusal,
    ReviewSection,
    Security,
    Zone,
)
from gateway.model.asset import Asset, Quirk, Speaks, Tag, Transport

RESERVED_UNITS = range(248, 255)
"Application Protocol V1.1b3 §4.1, Serial Line V1.02 §2.2: reserved, no device has them."

LAST_SERIAL_UNIT = 247
"Serial Line V1.02 §2.2."
QUIRKS: dict[Transport, frozenset[Quirk]] = {
    Transport.TCP: frozenset({Quirk.ID_NOT_ECHOED, Quirk.EXCEPTION_PADDED, Quirk.EXCEPTION_OVERCOUNTED}),
    Transport.RTU_OVER_TCP: frozenset({Quirk.ECHO}),
    Transport.SERIAL: frozenset({Quirk.ECHO}),
}
"Which quirks a device can have that is reached so."

NAMED: dict[str, tuple[str, ...]] = {
    "zones": ("zones",),
    "listeners": ("listeners", "opcua"),
    "assets": ("assets",),
    "tags": ("tags",),
}
"What has names, and the lists that it stands in."

Cost = Callable[[Asset, Sequence[Tag], int], float]
"Polls a second that an asset's tags cost it with a merge gap: `publish.poll_plan.asset_cost`."

TOPIC_FIELDS = frozenset({"path", "tag", "asset", "site", "gateway"})
STATUS_FIELDS = frozenset({"site", "gateway"})


def names(draft: Draft) -> None:
    """Names are how policy, records and people tell things apart: one name, one thing."""
    for kind, sections in NAMED.items():
        first = {name: at for each in reversed(sections) for name, at in draft.names(each).items()}
        for trail in [(each, number, "name") for each in sections for number in draft.numbers(each)]:
            name = draft.document.get(trail)
            if isinstance(name, str) and first[name] != trail:
                at = draft.document.where(first[name])
                what = f"{name} is taken: two {kind} cannot have one name ({at})"
                draft.fault(trail, what, "rename one of them")


def zones(draft: Draft) -> None:
    """Everything that names a zone names one that is declared."""
    known = draft.names("zones")
    parts: list[tuple[Trail, Listener | OpcuaListener | Asset | HttpsSection | AdminSection | ReviewSection]]
    parts = [
        *draft.each(Listener),
        *draft.each(OpcuaListener),
        *draft.each(Asset),
        *draft.each(HttpsSection),
        *draft.each(AdminSection),
        *draft.each(ReviewSection),
    ]
    for trail, part in parts:
        if part.zone not in known:
            _unknown(draft, (*trail, "zone"), "zone", part.zone, known)


def units(draft: Draft) -> None:
    """Unit maps name assets that are declared; no device is asked under a reserved number."""
    known = draft.names("assets")
    for trail, listener in draft.each(Listener):
        for unit, name in listener.units.items():
            if name not in known:
                _unknown(draft, (*trail, "units", str(unit)), "asset", name, known)
    for trail, asset in draft.each(Asset):
        if asset.unit in RESERVED_UNITS:
            draft.fault((*trail, "unit"), f"unit {asset.unit} is reserved", "write 1 to 247, or 255")


def transports(draft: Draft) -> None:
    """Endpoint, unit and quirks fit the transport, and assets on one line agree what the line is."""
    lines: dict[tuple[str, int], tuple[Trail, Asset]] = {}
    for trail, asset in draft.each(Asset):
        if asset.protocol is not Speaks.MODBUS:
            continue
        serial = asset.transport is Transport.SERIAL
        if serial != asset.host.startswith("/"):
            what = f"transport {asset.transport} does not go with this endpoint"
            mend = "write the file of the line, such as /dev/ttyUSB0" if serial else "write host:port"
            draft.fault((*trail, "endpoint"), what, f"{mend}, or another transport")
        for quirk in asset.quirks:
            if quirk not in QUIRKS[asset.transport]:
                known = ", ".join(sorted(QUIRKS[asset.transport]))
                what = f"no device on {asset.transport} has the quirk {quirk}"
                draft.fault((*trail, "quirks"), what, f"remove it; there are: {known}")
        if asset.transport is not Transport.TCP and asset.unit > LAST_SERIAL_UNIT:
            what = f"unit {asset.unit} cannot be on a serial line"
            draft.fault((*trail, "unit"), what, f"write 1 to {LAST_SERIAL_UNIT}")
        at, first = lines.setdefault((asset.host, asset.port), (trail, asset))
        if (asset.transport, asset.serial) != (first.transport, first.serial):
            what = f"{asset.name} and {first.name} share a line and describe it differently"
            mend = f"write the same transport and serial as at {draft.document.where(at)}"
            draft.fault((*trail, "endpoint"), what, mend)


def addresses(draft: Draft) -> None:
    """Two listeners cannot have one address, and a wildcard has them all."""
    taken: list[tuple[str, int, str, Trail]] = []
    servers: list[tuple[Trail, str, str, int]] = [
        *((trail, f"listener {part.name}", part.host, part.port) for trail, part in draft.each(Listener)),
        *(
            (trail, f"listener {part.name}", part.host, part.port)
            for trail, part in draft.each(OpcuaListener)
        ),
        *((trail, "the HTTPS API", part.host, part.port) for trail, part in draft.each(HttpsSection)),
        *((trail, "the admin API", part.host, part.port) for trail, part in draft.each(AdminSection)),
        *((trail, "the reviewers' API", part.host, part.port) for trail, part in draft.each(ReviewSection)),
    ]
    for trail, name, host, port in servers:
        for other_host, other_port, other, at in taken:
            if port == other_port and (host == other_host or _everywhere(host) or _everywhere(other_host)):
                what = f"{name} has the address of {other} ({host}:{port}), at {draft.document.where(at)}"
                draft.fault((*trail, "port"), what, "give one of them another port")
        taken.append((host, port, name, trail))
        if not _loopback(host):
            draft.warn((*trail, "host"), f"{name} can be reached from outside this machine: {host}:{port}")


def plain_listeners(draft: Draft) -> None:
    """A listener that identifies nobody is possible, but not unnoticed; so is a refusal other than 01."""
    for trail, listener in draft.each(Listener):
        if listener.tls is Security.NONE:
            what = f"listener {listener.name} identifies nobody: there is no TLS"
            draft.warn(
                (*trail, "tls"), what, "put stunnel next to the client, see docs/guides/legacy-clients.md"
            )
        for quirk in listener.quirks:
            if quirk is not Quirk.CONSTANT_ID:
                what = f"listener {listener.name}: {quirk} is no quirk of a client"
                draft.fault((*trail, "quirks"), what, f"remove it; there is: {Quirk.CONSTANT_ID}")
        if listener.refusal is not Refusal.ILLEGAL_FUNCTION:
            what = (
                f"listener {listener.name} deviates from Modbus/TCP Security R-31: denials are not said as 01"
            )
            draft.warn((*trail, "refusal"), what)


def own_certificates(draft: Draft) -> None:
    """A certificate of its own needs the key that belongs to it."""
    parts: list[tuple[Trail, Listener | HttpsSection | AdminSection | ReviewSection]]
    parts = [
        *draft.each(Listener),
        *draft.each(HttpsSection),
        *draft.each(AdminSection),
        *draft.each(ReviewSection),
    ]
    for trail, part in parts:
        if (part.certificate is None) != (part.key is None):
            here, missing = ("key", "certificate") if part.certificate is None else ("certificate", "key")
            draft.fault((*trail, here), f"{here} without {missing}", f"add {missing}, or remove {here}")


def engines(draft: Draft) -> None:
    """One bundle from one place, and an OPA server exactly where one decides."""
    for trail, policy in draft.each(PolicySection):
        if (policy.bundle is None) == (policy.service is None):
            what = "no bundle" if policy.bundle is None else "a bundle from two places"
            draft.fault(trail, what, "write either bundle (a folder or archive) or service")
        if (policy.engine is PolicyEngine.OPA) != (policy.opa is not None):
            what = "engine: opa and the section opa belong together"
            draft.fault((*trail, "engine"), what, "write both, or neither")
    for trail, opa in draft.each(OpaSection):
        if (opa.url is None) == (opa.socket is None):
            draft.fault(trail, "an OPA server is reached by url or by socket", "write one of the two")
        url = urlsplit(opa.url or "")
        if url.scheme == "https" and opa.anchors is None:
            draft.fault((*trail, "url"), "nobody vouches for this OPA server", "add anchors")
        if url.scheme == "http" and not _loopback(url.hostname or ""):
            draft.fault((*trail, "url"), "OPA without TLS over a network", "write https://…, or use socket")


def revocation(draft: Draft) -> None:
    """Two ways to configure CRLs that are legal and seldom meant."""
    for trail, zone in draft.each(Zone):
        if zone.crl_required and not zone.crls:
            draft.warn(trail, f"nobody gets into zone {zone.name}: it has no CRL", "add crls: […]")
        elif not zone.crl_required:
            draft.warn((*trail, "crl_required"), f"a revoked certificate may get into zone {zone.name}")


def topics(draft: Draft) -> None:
    """MQTT topics are made of fields that exist, and differ from tag to tag."""
    for trail, mqtt in draft.each(MqttSection):
        for key, template, known in (
            ("topic", mqtt.topic, TOPIC_FIELDS),
            ("status_topic", mqtt.status_topic, STATUS_FIELDS),
        ):
            _topic(draft, (*trail, key), template, known)
        if not {"path", "tag"} & set(_fields(mqtt.topic) or ()):
            draft.fault((*trail, "topic"), "all tags would share one topic", "use {path} or {tag} in it")
        if mqtt.refresh_s >= mqtt.expiry_s:
            what = f"values expire after {mqtt.expiry_s} s and are refreshed only every {mqtt.refresh_s:g} s"
            draft.fault((*trail, "refresh"), what, "make expiry at least twice refresh")


def exports(draft: Draft) -> None:
    """A destination is one place, with a name of its own; events need the broker that takes them."""
    broker = next((True for _ in draft.each(MqttSection)), False)
    for trail, offbox in draft.each(OffboxSection):
        if offbox.topic is not None:
            _topic(draft, (*trail, "topic"), offbox.topic, STATUS_FIELDS)
            if not broker:
                draft.fault((*trail, "topic"), "there is no broker to tell checkpoints to", "add north.mqtt")
    taken: dict[str, Trail] = {}
    for trail, export in draft.each(ExportSection):
        if (export.syslog is None) == (export.mqtt is None):
            what = f"{export.name} has no place" if export.syslog is None else f"{export.name} is two places"
            draft.fault(trail, what, "write either syslog or mqtt")
        if export.mqtt is not None:
            _topic(draft, (*trail, "mqtt", "topic"), export.mqtt.topic, STATUS_FIELDS)
            if not broker:
                draft.fault((*trail, "mqtt"), "there is no broker to send events to", "add north.mqtt")
        at = taken.setdefault(export.name, trail)
        if at != trail:
            what = f"{export.name} is taken ({draft.document.where(at)})"
            draft.fault((*trail, "name"), what, "rename one of them")


def budgets(draft: Draft, cost: Cost) -> None:
    """No asset is polled more often than it can bear. Tags at fault count nothing: no figure is too high."""
    collector = next((part for _, part in draft.each(CollectorSection)), CollectorSection())
    if not collector.enabled:
        return
    tags: dict[str, list[Tag]] = {}
    for _, tag in draft.each(Tag):
        tags.setdefault(tag.asset, []).append(tag)
    for trail, asset in draft.each(Asset):
        figure, budget = cost(asset, tags.get(asset.name, ()), collector.merge_gap), asset.polls_per_s
        if figure > budget:
            draft.fault(
                (*trail, "polls_per_s"),
                f"polling {asset.name} takes {figure:.4g} polls a second; its budget is {budget:.4g}",
                "poll its tags less often, declare the registers between them so that they merge,"
                f" or raise polls_per_s to {figure:.4g}",
            )


CHECKS: tuple[Callable[[Draft], None], ...] = (
    names,
    zones,
    units,
    transports,
    addresses,
    plain_listeners,
    own_certificates,
    engines,
    revocation,
    topics,
    exports,
)


def _unknown(draft: Draft, trail: Trail, kind: str, name: str, known: dict[str, Trail]) -> None:
    known_names = ", ".join(sorted(known)[:20]) or "none"
    draft.fault(trail, f"there is no {kind} {name}", f"declare it, or write one of: {known_names}")


def _everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fields(template: str) -> list[str] | None:
    """The names in braces; None where the braces do not match."""
    try:
        return [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError:
        return None


def _topic(draft: Draft, trail: Trail, template: str, known: frozenset[str]) -> None:
    fields = _fields(template)
    choices = ", ".join(f"{{{field}}}" for field in sorted(known))
    if fields is None:
        draft.fault(trail, f"the braces in {template} do not match", f"fields are {choices}")
        return
    for field in fields:
        if field not in known:
            draft.fault(trail, f"a topic has no field {{{field}}}", f"fields are {choices}")
    if set(template) & set("+#\0") or template.startswith(("$", "/")) or not template:
        draft.fault(trail, f"{template} is not a topic to publish to", "write no + or #, and no $ or / first")
