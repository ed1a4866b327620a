"""What changes while a gateway runs: policy, trust, certificates, tags, and the facts that policy sees.

Each is read whole and used whole, or refused, recorded, and the old stays in force.
"""

import asyncio
import logging
from typing import Any

from gateway.app.changes import by, changes
from gateway.app.parts import Parts
from gateway.app.told import dated
from gateway.config.read import read
from gateway.config.settings import Settings
from gateway.identity.expiry import Expiries
from gateway.model.errors import GatewayError, IdentityError
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.publish.poll_plan import asset_cost
from gateway.wire.modbus.meaning import Place
from gateway.wire.opcua.meaning import NodePlace

log = logging.getLogger(__name__)


class Live:
    """Reads again what may change, and makes it count."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.expiries = Expiries()
        parts.changed = self.facts
        self._loading = asyncio.Lock()
        "One reading at a time: a slow one that began earlier must not replace what a later one found."
        self.policies = parts.policies
        self._stages = parts.people.posture.stages

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
        await self.parts.deciding.renew()
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
        changed = changes(by(self.parts.settings.tags, "name"), by(fresh.tags, "name"))
        self.parts.settings = _with_tags(self.parts.settings, fresh)
        self.parts.values.replace(fresh.tags, self.parts.settings.assets, now)
        for route in self.parts.routes.values():
            route.place = Place(route.asset, [tag for tag in fresh.tags if tag.asset == route.asset.name])
        for name, server in self.parts.opcua.items():
            server.links.place = NodePlace(server.asset, [tag for tag in fresh.tags if tag.asset == name])
        self.parts.plan_polls()
        self.parts.journal.rotate_windows(now)
        self.parts.journal.event(
            RecordKind.CONFIG, {"what": "tags", "count": len(fresh.tags), **changed}, now
        )

    def facts(self) -> None:
        """Mode, windows, clock and revocation lists, as policy sees them from now on; and stages."""
        facts, stages = self.policies.facts(self.parts.windows()), self.parts.people.posture.stages
        if facts != self.parts.decider.facts:
            self.parts.decider.facts = facts
            self.parts.door.epoch.grow()
            self.parts.journal.rotate_windows(self.parts.now())
        if stages != self._stages:
            self._stages = stages
            self.parts.door.epoch.grow()

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
        await self.policies.load()
        self.load_trust()
        await self.load_certificates()
        await self.load_tags()
        self.facts()
        result: dict[str, Any] = {"revision": self.parts.decider.revision}
        if self.parts.refused:
            result["refused"] = dict(self.parts.refused)
        return result


def _with_tags(settings: Settings, fresh: Settings) -> Settings:
    """The running settings with other tags: the rest needs a restart."""
    fields = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    return Settings(**{**fields, "tags": fresh.tags})
