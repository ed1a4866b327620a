"""What changes while a gateway runs: policy, trust, certificates, tags, and the facts that policy sees.

Each is read whole and used whole, or refused, recorded, and the old stays in force.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.app.parts import Parts
from gateway.app.told import dated
from gateway.config.read import read
from gateway.config.settings import Settings
from gateway.identity.expiry import Expiries
from gateway.model.errors import GatewayError, IdentityError, PolicyError
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.policy import bundle
from gateway.policy.decider import prepare
from gateway.policy.facts import Facts, windows_now
from gateway.policy.loader import Policy
from gateway.policy.service import Service
from gateway.policy.source import Away, Found, Unchanged
from gateway.publish.poll_plan import asset_cost
from gateway.wire.modbus.meaning import Place

log = logging.getLogger(__name__)

SERVICE = "bundle service"
"What is told to be away."


class Live:
    """Reads again what may change, and makes it count."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.expiries = Expiries()
        parts.changed = self.people_acted
        self._loading = asyncio.Lock()
        "One reading at a time: a slow one that began earlier must not replace what a later one found."
        self._deciding = asyncio.Lock()
        "The same for policy, which a server may take half a minute to give."

    def first_policy(self) -> None:
        """Before anything listens: the bundle that is on this machine. A server is asked later."""
        try:
            found = self.parts.source.stored(self.parts.now())
        except PolicyError as error:
            self.use_policy(error)
            return
        if isinstance(found, Found):
            self.use_policy(self.prepare_policy(found), found)
            self._note(found)

    async def load_policy(self) -> None:
        """Check and test a bundle beside the running gateway; using it is one assignment."""
        async with self._deciding:
            try:
                found = await self.parts.source.fetch(self.parts.now())
            except PolicyError as error:
                self._answered()
                self.use_policy(error)
                return
            match found:
                case Away(why=why):
                    if SERVICE not in self.parts.refused:  # told once, until it is back
                        self.parts.refuse(SERVICE, why, RecordKind.POLICY, self.parts.now())
                case Unchanged():
                    self._answered()
                case Found():
                    self._answered()
                    self.use_policy(await asyncio.to_thread(self.prepare_policy, found), found)
                    await asyncio.to_thread(self._note, found)

    async def follow(self, service: Service) -> None:
        """Ask a bundle service again and again."""
        while True:
            await self.load_policy()
            await asyncio.sleep(service.pause_s)

    def _answered(self) -> None:
        if self.parts.refused.pop(SERVICE, None) is not None:
            log.info("%s answers again", SERVICE)

    def prepare_policy(self, found: Found) -> Policy | PolicyError | None:
        """The bundle, ready for use; why it is refused; None if it is the active one."""
        if found.bundle.revision == self.parts.decider.revision:
            return None
        try:
            prepared = prepare(found.bundle)
        except PolicyError as error:
            return error
        self._keep(prepared.bundle)
        return prepared

    def _note(self, found: Found) -> None:
        """Where the bundle that was found is the active one now, no older one may come after it."""
        if found.bundle.revision != self.parts.decider.revision:
            return
        try:
            self.parts.source.activated(found)
        except OSError as error:
            self.parts.alarm(f"that bundle {found.bundle.revision[:12]} is active cannot be noted: {error}")

    def _keep(self, found: bundle.Bundle) -> None:
        """Put a copy into the data folder, so that every revision in the journal can be looked at again."""
        stored = self.parts.folder.sub("bundles") / found.revision
        half = stored.with_name(f".{found.revision}.new")
        try:
            if not stored.exists():
                shutil.rmtree(half, ignore_errors=True)
                found.write_to(half)
                half.rename(stored)
        except OSError as error:
            # Rights may have been taken away: that must not wait for a disk.
            self.parts.alarm(f"bundle {found.revision[:12]} could not be kept: {error}")

    def use_policy(self, prepared: Policy | PolicyError | None, found: Found | None = None) -> None:
        """A bundle that is refused is recorded, and the old one stays."""
        now = self.parts.now()
        if isinstance(prepared, PolicyError):
            self.parts.refuse("policy", str(prepared), RecordKind.POLICY, now)
            return
        self.parts.refused.pop("policy", None)
        if prepared is None:
            return
        before = self.parts.decider.bundle
        grants_before = _by(before.data.get("grants", []) if before is not None else [], "id")
        self.parts.decider.adopt(prepared)
        self.parts.journal.rotate_windows(now)
        revision = prepared.bundle.revision
        changes = _changes(grants_before, _by(prepared.bundle.data.get("grants", []), "id"))
        warnings = [str(warning) for warning in prepared.warnings]
        note: dict[str, Any] = {
            "result": "activated",
            "revision": revision,
            "warnings": warnings,
            "grants": changes,
        }
        if found is not None and found.key_id is not None:
            note["signed_by"] = found.key_id
        if prepared.bundle.release is not None:
            note["serial"] = prepared.bundle.release.serial
        self.parts.journal.event(RecordKind.POLICY, note, now)
        log.info("policy %s is active", revision[:12])
        for warning in warnings:
            log.warning("policy: %s", warning)

    def load_trust(self) -> None:
        for name, trust in self.parts.trust.items():
            version = trust.version
            if trust.reload() or trust.version != version:
                self.parts.refused.pop(f"trust {name}", None)
                note = {"what": "trust", "zone": name, "version": trust.version}
                self.parts.journal.event(RecordKind.CONFIG, note, self.parts.now())
                self._recheck(name)
            elif trust.error is not None:
                self.parts.refuse(f"trust {name}", trust.error, RecordKind.CONFIG, self.parts.now())

    def _recheck(self, zone: str | None = None) -> bool:
        """Look at everybody of a zone (or all) again; False where our own certificate cannot be used now."""
        concerned = [each for each in self.parts.listeners if zone in (None, each.limits.zone)]
        for listener in concerned:  # whoever was revoked goes first, whatever becomes of our own certificates
            listener.judge()
        faults = []
        for listener in concerned:
            try:
                listener.renew()
            except IdentityError as error:
                faults.append(f"listener {listener.limits.name}: {error}")
        if faults:
            self.parts.refuse("certificates", "; ".join(faults), RecordKind.CONFIG, self.parts.now())
            return False
        self.parts.refused.pop("certificates", None)
        return True

    async def load_certificates(self) -> None:
        if not self._recheck():
            return
        self.parts.journal.event(
            RecordKind.CONFIG, {"what": "certificates", "result": "loaded"}, self.parts.now()
        )
        if self.parts.broker is not None:
            await self.parts.broker.renew()

    async def load_tags(self) -> None:
        """See `_load_tags`; one at a time."""
        async with self._loading:
            await self._load_tags()

    async def _load_tags(self) -> None:
        """Tags may change while it runs; every other section needs a restart, and says so."""
        now = self.parts.now()
        try:
            fresh = await asyncio.to_thread(read, self.parts.path, asset_cost)
        except GatewayError as error:
            self.parts.refuse("configuration", str(error), RecordKind.CONFIG, now)
            return
        self.parts.refused.pop("configuration", None)
        for section in Settings.__struct_fields__:
            if section != "tags" and getattr(fresh, section) != getattr(self.parts.settings, section):
                self.parts.refused["configuration"] = f"a change of `{section}` needs a restart"
                log.warning("configuration: a change of `%s` needs a restart", section)
        if fresh.tags == self.parts.settings.tags:
            return
        changes = _changes(_by(self.parts.settings.tags, "name"), _by(fresh.tags, "name"))
        self.parts.settings = _with_tags(self.parts.settings, fresh)
        self.parts.values.replace(fresh.tags, self.parts.settings.assets, now)
        for route in self.parts.routes.values():
            route.place = Place(route.asset, [tag for tag in fresh.tags if tag.asset == route.asset.name])
        self.parts.plan_polls()
        self.parts.journal.rotate_windows(now)
        self.parts.journal.event(
            RecordKind.CONFIG, {"what": "tags", "count": len(fresh.tags), **changes}, now
        )

    def facts(self) -> None:
        """Mode, windows, clock and revocation lists, as policy sees them from now on."""
        now = self.parts.now()
        posture = self.parts.people.posture
        facts = Facts(
            mode=posture.mode,
            freeze=self.parts.settings.gateway.freeze,
            windows=windows_now(self.parts.windows(), now.wall_ns, posture.windows(now)),
            break_glass=posture.broken(now),
            crls=tuple(sorted((name, trust.crl_state(now)) for name, trust in self.parts.trust.items())),
            clock=self.parts.clock.state(now),
            trusted=now.trusted,
        )
        if facts != self.parts.decider.facts:
            self.parts.decider.facts = facts
            self.parts.journal.rotate_windows(now)

    def people_acted(self) -> None:
        """What people set counts at once; windows of the journal hold one stage each, so they end here."""
        self.facts()
        self.parts.journal.rotate_windows(self.parts.now())

    def warn_of_expiry(self, now: Now) -> None:
        for alarm in self.expiries.alarms(dated(self.parts), now.judge_ns):
            log.warning("%s expires in %d days", alarm.name, alarm.days_left)
            note = {
                "what": "expiry",
                "name": alarm.name,
                "level": alarm.level.value,
                "days_left": alarm.days_left,
            }
            self.parts.journal.event(RecordKind.LIFECYCLE, note, now)

    async def reload(self) -> dict[str, Any]:
        """Read policy, trust, certificates and tags again; what was refused is named."""
        await self.load_policy()
        self.load_trust()
        await self.load_certificates()
        await self.load_tags()
        self.facts()
        result: dict[str, Any] = {"revision": self.parts.decider.revision}
        if self.parts.refused:
            result["refused"] = dict(self.parts.refused)
        return result


MOST_TOLD = 50
"Changes told one by one in a record; the rest is counted."


def _by(rows: Iterable[Any], name: str) -> dict[str, Any]:
    return {str(row[name]): row for row in map(msgspec.to_builtins, rows)}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What came, what went, and what is other than before, for the record of a reload."""
    changed = {
        name: {"old": old[name], "new": new[name]} for name in old if name in new and old[name] != new[name]
    }
    return {
        "added": sorted(new.keys() - old.keys())[:MOST_TOLD],
        "removed": sorted(old.keys() - new.keys())[:MOST_TOLD],
        "changed": dict(sorted(changed.items())[:MOST_TOLD]),
        "changes": len(new.keys() ^ old.keys()) + len(changed),
    }


def _with_tags(settings: Settings, fresh: Settings) -> Settings:
    """The running settings with other tags: the rest needs a restart."""
    fields = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    return Settings(**{**fields, "tags": fresh.tags})
