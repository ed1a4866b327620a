"""What certificates, keys, CRLs and policy say about a configuration that reads well.

A file can be there and still be of no use: a key that belongs to another certificate, a CRL that its
authority did not sign, an anchor that expires next week. What would keep a gateway from running, or would
let somebody write to a safety system, is a fault; what will hurt later is a warning.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway.audit.signer import Signer
from gateway.cli.opcua_findings import OpcuaLook, unread
from gateway.config.document import Document, Trail
from gateway.config.settings import Settings
from gateway.identity.contexts import client_context, expiry, server_context
from gateway.identity.expiry import DAY, level
from gateway.identity.trust import ZoneTrust
from gateway.model.asset import Asset
from gateway.model.errors import Fault, IdentityError, JournalError, PolicyError
from gateway.model.moment import Now
from gateway.ops.myself import ROLE, myself
from gateway.policy.bundle import Bundle
from gateway.policy.decider import prepare
from gateway.policy.documents import doubts, tags_named, write_granted_assets
from gateway.policy.serials import Serials
from gateway.policy.signature import public_keys
from gateway.policy.source import Admission, Disk

SAFETY = "safety"
"The kind of asset that nobody writes to through a gateway, whatever a grant says."

CRL_STATES = {
    "stale": "a CRL is past its nextUpdate; reads are flagged",
    "grace_over": "a CRL is past its nextUpdate and the grace: writes are denied",
    "missing": "an issuing authority has no CRL, and nobody it vouches for gets in",
}


def _addresses(area: dict[str, Any]) -> Iterator[int]:
    """Every address of the ranges that a grant gives of a table."""
    for first, last in area.get("ranges", ()):
        yield from range(first, last + 1)


class Fatal(Struct, frozen=True):
    """A gateway cannot or must not run with it."""

    fault: Fault


class Doubt(Struct, frozen=True):
    """A gateway runs with it; a person should know."""

    fault: Fault


Finding = Fatal | Doubt


def findings(settings: Settings, document: Document, wall_ns: int) -> tuple[list[Fault], list[Fault]]:
    """Faults and warnings, each with the line of the configuration or the policy that it is about."""
    look = _Look(settings, document, wall_ns)
    found = [
        *look.zones(),
        *look.servers(),
        *look.opcua(),
        *look.broker(),
        *look.log_key(),
        *look.policy(),
    ]
    unique = dict.fromkeys(found)
    return (
        [each.fault for each in unique if isinstance(each, Fatal)],
        [each.fault for each in unique if isinstance(each, Doubt)],
    )


class _Look:
    """One look at everything that the settings name."""

    def __init__(self, settings: Settings, document: Document, wall_ns: int) -> None:
        self.settings = settings
        self.where = document.where
        self.now = Now(wall_ns, 0, trusted=True, judge_ns=wall_ns)
        self.trusts: dict[str, ZoneTrust] = {}

    def zones(self) -> Iterator[Finding]:
        """Anchors and CRLs of each zone."""
        for number, zone in enumerate(self.settings.zones):
            anchors, crls = self.where(("zones", number, "anchors")), self.where(("zones", number, "crls"))
            try:
                trust = self.trusts[zone.name] = ZoneTrust(zone)
            except IdentityError as error:
                yield Fatal(Fault(anchors, str(error), "name a PEM file of the authorities of this zone"))
                continue
            for name, expires_ns in trust.expiries():
                yield from self._expires(anchors, name, expires_ns)
            if trust.error is not None:
                yield Fatal(Fault(crls, trust.error, "fetch the CRL again; until then nobody gets in"))
            elif zone.crls and (state := CRL_STATES.get(trust.crl_state(self.now))):
                yield Doubt(Fault(crls, f"zone {zone.name}: {state}", "fetch a new one from the authority"))

    def servers(self) -> Iterator[Finding]:
        """Each listener and the HTTPS API can show a certificate, and has the key to it."""
        gateway = self.settings.gateway
        places: list[tuple[Trail, str, Path | None, Path | None]] = [
            (("listeners", number), each.zone, each.certificate, each.key)
            for number, each in enumerate(self.settings.listeners)
        ]
        if (https := self.settings.north.https) is not None:
            places.append((("north", "https"), https.zone, https.certificate, https.key))
        for trail, zone, certificate, key in places:
            where = self.where((*trail, "certificate") if certificate else ("gateway", "certificate"))
            if zone not in self.trusts:
                continue
            try:
                server_context(certificate or gateway.certificate, key or gateway.key, self.trusts[zone])
                until_ns = expiry(certificate or gateway.certificate)
            except IdentityError as error:
                yield Fatal(Fault(where, str(error), "name a certificate and the key that belongs to it"))
                continue
            yield from self._expires(where, str(certificate or gateway.certificate), until_ns)

    def opcua(self) -> Iterator[Finding]:
        """Certificates, users and pinned servers of OPC UA."""
        look = OpcuaLook(self.settings, self.where)
        for fatal, fault in look.all():
            yield Fatal(fault) if fatal else Doubt(fault)
        for trail, name, until_ns in look.dated:
            yield from self._expires(self.where(trail), name, until_ns)

    def broker(self) -> Iterator[Finding]:
        """The gateway can show the broker who it is, and tell whether it is the broker."""
        mqtt, where = self.settings.north.mqtt, self.where(("north", "mqtt", "certificate"))
        if mqtt is None:
            return
        try:
            client_context(mqtt.anchors, mqtt.certificate, mqtt.key)
            until_ns = expiry(mqtt.certificate)
        except IdentityError as error:
            yield Fatal(Fault(where, str(error), "name a certificate, its key, and the broker's authority"))
            return
        yield from self._expires(where, str(mqtt.certificate), until_ns)

    def log_key(self) -> Iterator[Finding]:
        """The journal can be signed."""
        try:
            Signer.load(self.settings.audit.key, self.settings.audit.origin)
        except JournalError as error:
            yield Fatal(Fault(self.where(("audit", "key")), str(error), ""))

    def policy(self) -> Iterator[Finding]:
        """The bundle can be activated, knows the assets, and lets nobody write to a safety system."""
        section, data = self.settings.policy, self.settings.gateway.data
        if section.bundle is None:
            yield from self._service()
            return  # whether what it has is good shows when it comes
        name = section.bundle.name
        admission = Admission(section.signing, Serials(data / "state" / "policy", data / "bundles"))
        try:
            bundle = Disk(section.bundle, admission).stored(self.now).bundle
            warnings = prepare(bundle).warnings
        except PolicyError as error:
            for fault in error.faults:
                yield Fatal(_within(name, fault))
            return
        for fault in (*warnings, *doubts(bundle)):
            yield Doubt(_within(name, fault))
        yield from self._own_role(bundle)
        yield from self._conduits(bundle)
        yield from self._tags(bundle)
        yield from self._untagged(bundle)
        known, granted = bundle.data.get("assets", {}), write_granted_assets(bundle)
        for number, asset in enumerate(self.settings.assets):
            where = self.where(("assets", number, "name"))
            if asset.kind == SAFETY:
                yield from _written(f"{name}/", bundle, asset, granted.get(asset.name, []))
            if asset.name not in known:
                what = f"policy does not know {asset.name}: it denies every request to it"
                yield Doubt(Fault(where, what, f"add it to assets in {name}/data"))
            elif (kind := known[asset.name].get("kind")) != asset.kind:
                what = f"{asset.name} is of kind {asset.kind} here and {kind} in {name}/data"
                yield Doubt(Fault(where, what, "say the same in both"))

    def _service(self) -> Iterator[Finding]:
        """The bundle service can be called, and what it gives can be verified."""
        section, own = self.settings.policy, self.settings.gateway
        service = section.service
        try:
            if service is not None:
                shown = service.certificate or own.certificate, service.key or own.key
                client_context(service.anchors, *shown)
            if section.signing is not None:
                public_keys(section.signing.keys)
        except IdentityError as error:
            yield Fatal(Fault(self.where(("policy", "service")), str(error), ""))
        except PolicyError as error:
            yield from map(Fatal, error.faults)

    @property
    def _bundle(self) -> str:
        """How people call it."""
        return self.settings.policy.bundle.name if self.settings.policy.bundle else "the bundle"

    def _own_role(self, bundle: Bundle) -> Iterator[Finding]:
        """Policy data binds the role with which the gateway polls and publishes."""
        where = self.where(("gateway", "certificate"))
        try:
            subject = myself(self.settings.gateway.certificate, "").identity.subject
        except IdentityError as error:
            yield Fatal(Fault(where, str(error), "name the gateway's certificate"))
            return
        if self.settings.tags and ROLE not in bundle.data["role_bindings"].get(subject, ()):
            what = f"policy does not bind the role {ROLE} to the gateway itself, {subject}: it polls nothing"
            mend = f"add `{subject}: [{ROLE}]` to role_bindings in {self._bundle}/data"
            yield Doubt(Fault(where, what, mend))
        for trail, what in unread(self.settings, bundle.data, subject):
            mend = f"grant the role {ROLE} to read node i=2255 of it over opcua in {self._bundle}/data"
            yield Doubt(Fault(self.where(trail), what, mend))

    def _conduits(self, bundle: Bundle) -> Iterator[Finding]:
        """A conduit leads from the zone of each listener to that of each of its assets, and from `gateway` to
        those whose nodes are collected.
        """
        zones = {name: asset["zone"] for name, asset in bundle.data["assets"].items()}
        ways = {(p, c["from"], c["to"]) for c in bundle.data["conduits"] for p in c["protocols"]}
        for trail, protocol, zone, asset in self._ways_in():
            if asset in zones and (protocol, zone, zones[asset]) not in ways:
                what = f"no conduit for {protocol} leads from {zone} to {zones[asset]}, the zone of {asset}"
                mend = f"add one in {self._bundle}/data; now all is denied"
                yield Doubt(Fault(self.where(trail), what, mend))

    def _ways_in(self) -> Iterator[tuple[Trail, str, str, str]]:
        """Where it says so, the protocol, the zone, and the asset that is reached from there."""
        for number, listener in enumerate(self.settings.listeners):
            for unit, asset in listener.units.items():
                yield ("listeners", number, "units", str(unit)), "modbus", listener.zone, asset
        for number, door in enumerate(self.settings.opcua):
            for at, asset in enumerate(door.assets):
                yield ("opcua", number, "assets", at), "opcua", door.zone, asset
        collected = {tag.asset for tag in self.settings.tags if tag.node is not None}
        for number, each in enumerate(self.settings.assets):
            if each.name in collected:
                yield ("assets", number, "name"), "opcua", "gateway", each.name

    def _tags(self, bundle: Bundle) -> Iterator[Finding]:
        """Tags that grants and bounds name are tags here; those of assets that are elsewhere are not ours."""
        known = {tag.name for tag in self.settings.tags}
        for tag, where in tags_named(bundle, {asset.name for asset in self.settings.assets}):
            if tag not in known:
                fault = Fault(where, f"no tag {tag} is configured", "mend the name, or add the tag")
                yield Doubt(_within(self._bundle, fault))

    def _untagged(self, bundle: Bundle) -> Iterator[Finding]:
        """Policy judges tags: an address without one rides along beside those that have, in one request."""
        tagged: dict[tuple[str, str], set[int]] = {}
        for tag in self.settings.tags:
            if tag.node is not None:
                continue
            covered = tagged.setdefault((tag.asset, tag.span.table.value), set())
            covered.update(range(tag.span.start, tag.span.end))
        ours = {asset.name for asset in self.settings.assets}
        for place, grant in enumerate(bundle.data["grants"]):
            if not grant.get("tags") and not grant.get("limits"):
                continue
            for at, area in enumerate(grant.get("modbus", ())):
                for asset in ours.intersection(grant.get("assets", ())):
                    names = tagged.get((asset, area.get("table", "")), set())
                    reached = set(_addresses(area))
                    if names & reached and reached - names:
                        bare = min(reached - names)
                        named = f"grant {grant['id']} reaches {area['table']} {bare} of {asset}"
                        what = f"{named}, which no tag names"
                        mend = "narrow the range to the tags, or give the address a tag"
                        where = bundle.where(("grants", place, "modbus", at))
                        yield Doubt(_within(self._bundle, Fault(where, what, mend)))

    def _expires(self, where: str, name: str, expires_ns: int) -> Iterator[Finding]:
        """Told from 90 days before, as alarms are. Expiry stops no polling, so it is never a fault."""
        if level(expires_ns, self.now.judge_ns) is None:
            return
        days = (expires_ns - self.now.judge_ns) // DAY
        when = f"expires in {days} days" if days >= 0 else f"expired {-days} days ago"
        yield Doubt(Fault(where, f"{name} {when}", "renew it: dmz-gateway pki renew"))


def _within(folder: str, fault: Fault) -> Fault:
    return Fault(f"{folder}/{fault.where}", fault.what, fault.mend)


def _written(prefix: str, bundle: Bundle, asset: Asset, grants: list[str]) -> Iterator[Finding]:
    for number, grant in enumerate(bundle.data.get("grants", ())):
        if grant["id"] in grants:
            what = f"grant {grant['id']} lets somebody write to {asset.name}, which is a safety system"
            where = prefix + bundle.where(("grants", number))
            yield Fatal(Fault(where, what, "take it out: safety systems are read only here"))
