"""The composition root: the only place that knows every part, and where the type checker sees that they fit.

Order of starting: lock the data folder, know the time, open the journal (recovery), load policy and trust,
then links, listeners, collector, northbound, control socket. Stopping goes the other way round.
"""

import asyncio
import gc
import logging
import secrets
import shutil
import signal
import ssl
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from msgspec.structs import asdict

from gateway import __version__
from gateway.audit.journal import Journal
from gateway.audit.signer import Signer
from gateway.config.read import read
from gateway.config.settings import Listener, Settings
from gateway.guard.passage import Door
from gateway.identity.contexts import client_context, expiry
from gateway.identity.expiry import Expiries
from gateway.identity.trust import ZoneTrust
from gateway.model.asset import Asset
from gateway.model.errors import GatewayError, IdentityError, PolicyError
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids
from gateway.ops.control import ControlSocket
from gateway.ops.folder import DataFolder
from gateway.ops.metrics import Metrics
from gateway.ops.myself import myself
from gateway.ops.watch import Watch
from gateway.policy import bundle
from gateway.policy.decider import Decider, prepare
from gateway.policy.facts import Facts, windows_now
from gateway.policy.loader import Policy
from gateway.publish.broker import Broker
from gateway.publish.collector import Collector
from gateway.publish.https import Api
from gateway.publish.poll_plan import asset_cost, plan
from gateway.publish.values import Values
from gateway.publish.vetting import Vetting
from gateway.relay.clock import Clock
from gateway.relay.link import Links, PlantLink
from gateway.relay.listener import TlsListener
from gateway.relay.modbus import ModbusDoor, Route
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place

log = logging.getLogger(__name__)

JUDGE_S = 60.0
"How often live connections are looked at again, so that none outlives its certificate by more."
WATCH_S = 0.15
"How often files, windows and the clock are looked at, so that a settled change counts within 500 ms."


class Gateway:
    """One gateway: built from settings, started, watched, stopped."""

    def __init__(self, path: Path, settings: Settings, folder: DataFolder) -> None:
        self.path = path
        self.settings = settings
        self.folder = folder
        self.started = asyncio.Event()
        "Set when everything listens."
        self.metrics = Metrics()
        self.tasks = Tasks()
        self.links = Links()
        self.ulids = Ulids(secrets.randbits(79))
        self.random = Random(secrets.randbits(64))  # noqa: S311 # spreads pauses, protects nothing
        self.expiries = Expiries()
        self._refused: dict[str, str] = {}
        "What could not be reloaded, and why: the old stays in force."
        section = settings.gateway
        state = folder.sub("state") / "clock"
        self.clock = Clock(state, settings.clock)
        self.decider = Decider(self.ulids, settings.policy, self._alarm)
        self.journal = Journal(
            folder.sub("journal"),
            origin=settings.audit.origin,
            signer=Signer.load(settings.audit.key, settings.audit.origin),
            gateway=section.name,
            settings=settings.audit,
            ulids=self.ulids,
            describe=self.decider.describe,
            clock=lambda: self.clock.now(),
            alarm=self._alarm,
            units=self._units,
        )
        recovery = self.journal.open()
        self.clock = Clock(state, settings.clock, recovery.trusted_ns)
        self.now = self.clock.now
        self.door = Door(self.decider, self.journal)
        self.trust = {zone.name: ZoneTrust(zone) for zone in settings.zones}
        self._use_policy(self._prepare_policy())
        self.me = myself(section.certificate, self.ulids.next(self.now().wall_ns))
        self.values = Values(settings.tags, settings.assets, self.now())
        self.routes = {asset.name: self._route(asset) for asset in settings.assets}
        self.collector = Collector(
            values=self.values,
            door=self.door,
            caller=self.me,
            clock=self.now,
            tasks=self.tasks,
            random=self.random,
            count=self.metrics.count,
            backoff_s=settings.collector.backoff_s,
        )
        self._plan_polls()
        self.api, self.broker = self._api(), self._broker()
        self.listeners = self._listeners()
        self.control = ControlSocket(
            folder.control,
            door=self.door,
            clock=self.now,
            ulids=self.ulids,
            commands={"status": self.status, "reload": self.reload},
        )
        self.metrics.gauges(self._gauges)

    # building ----------------------------------------------------------------------------------

    def _link(self, asset: Asset) -> PlantLink:
        return self.links.add(PlantLink(asset, door=self.door, clock=self.now, tasks=self.tasks))

    def _units(self, tag: str) -> tuple[float, str] | None:
        """Resolution and unit, so that records say engineering values."""
        found = self.values.tags.get(tag)
        return None if found is None else (found.resolution, found.unit)

    def _route(self, asset: Asset) -> Route:
        tags = [tag for tag in self.settings.tags if tag.asset == asset.name]
        return Route(Place(asset, tags), self._link(asset))

    def _api(self) -> Api | None:
        https = self.settings.north.https
        if https is None:
            return None
        return Api(
            values=self.values,
            vetting=Vetting(
                self.values,
                sink="https",
                zone=https.zone,
                door=self.door,
                caller=self.me,
                count=self.metrics.count,
            ),
            door=self.door,
            clock=self.now,
            count=self.metrics.count,
            metrics=self.metrics.text,
            ready=self.ready,
        )

    def _broker(self) -> Broker | None:
        mqtt = self.settings.north.mqtt
        if mqtt is None:
            return None

        def context() -> ssl.SSLContext:
            return client_context(mqtt.anchors, mqtt.certificate, mqtt.key)

        return Broker(
            mqtt,
            zone="it",
            gateway=self.settings.gateway.name,
            site=self.settings.gateway.site,
            values=self.values,
            door=self.door,
            caller=self.me,
            context=context,
            clock=self.now,
            tasks=self.tasks,
            random=self.random,
            count=self.metrics.count,
        )

    def _listeners(self) -> list[TlsListener]:
        found = [self._listener(section, self._modbus(section).client) for section in self.settings.listeners]
        https = self.settings.north.https
        if https is not None and self.api is not None:
            section = Listener(
                name="https",
                host=https.host,
                port=https.port,
                zone=https.zone,
                certificate=https.certificate,
                key=https.key,
                units={},
            )
            found.append(self._listener(section, self.api.client))
        return found

    def _listener(self, section: Listener, inner: Any) -> TlsListener:
        own = self.settings.gateway
        return TlsListener(
            section,
            trust=self.trust[section.zone],
            certificate=section.certificate or own.certificate,
            key=section.key or own.key,
            inner=inner,
            journal=self.journal,
            clock=self.now,
            ulids=self.ulids,
            count=self.metrics.count,
        )

    def _modbus(self, section: Listener) -> ModbusDoor:
        return ModbusDoor(
            routes={unit: self.routes[asset] for unit, asset in section.units.items()},
            outstanding=section.outstanding,
            door=self.door,
            last=self.values,
            links=self.links,
            tasks=self.tasks,
            clock=self.now,
            own_link=self._link,
        )

    def _plan_polls(self) -> None:
        polls = [
            poll
            for route in self.routes.values()
            for poll in plan(
                route.asset,
                [tag for tag in self.settings.tags if tag.asset == route.asset.name],
                self.settings.collector.merge_gap,
            )
        ]
        places = {name: route.place for name, route in self.routes.items()}
        self.collector.replace(polls, places, {name: route.plant for name, route in self.routes.items()})

    # running -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start everything, serve until SIGINT or SIGTERM, stop in order."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.tasks.start(self.reload(), "reload"))
        try:
            await self._start(loop)
            log.info(
                "ready: %s", ", ".join(f"{x.limits.name} on {x.limits.host}:{x.port}" for x in self.listeners)
            )
            await stop.wait()
        finally:
            await self._stop()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        await self.journal.start(loop)
        self._facts()
        self.links.start(self.now)
        if self.api is not None:
            await self.api.start()
        for listener in self.listeners:
            await listener.start()
        if self.settings.collector.enabled:
            self.tasks.start(self.collector.run(), "collector")
        if self.broker is not None:
            self.tasks.start(self.broker.run(), "mqtt")
        await self.control.start()
        self.tasks.start(self._watch(), "watch")
        gc.collect()
        gc.freeze()  # what lives as long as the gateway is never looked at again: 170 ms less at the worst
        self.started.set()

    async def _stop(self) -> None:
        await self.control.stop()
        for listener in self.listeners:
            await listener.stop()
        if self.broker is not None:
            await self.broker.stop()
        if self.api is not None:
            await self.api.stop()
        self.links.stop()
        await self.tasks.stop()
        await self.journal.stop()
        self.clock.keep(self.now())

    async def _watch(self) -> None:
        policy = Watch(self.settings.policy.bundle)
        certificates = Watch(*self._own_files())
        tags = Watch(self.path, *self.path.parent.glob("*.yaml"))
        judged_ns = self.now().mono_ns
        while True:
            await asyncio.sleep(WATCH_S)
            if any(trust.changed() for trust in self.trust.values()):
                self._load_trust()
            if policy.settled():
                await self._load_policy()
            if certificates.settled():
                await self._load_certificates()
            if tags.settled():
                await self._load_tags()
            self._facts()
            self._warn_of_expiry(self.now())
            due = self.now().mono_ns - judged_ns > JUDGE_S * SECOND
            for listener in self.listeners:
                listener.close_idle()
                if due:
                    listener.judge()
            if due:
                judged_ns = self.now().mono_ns

    def _own_files(self) -> list[Path]:
        own, mqtt = self.settings.gateway, self.settings.north.mqtt
        files = [own.certificate, own.key]
        for listener in self.listeners:
            files += [f for f in (listener.limits.certificate, listener.limits.key) if f is not None]
        if mqtt is not None:
            files += [mqtt.anchors, mqtt.certificate, mqtt.key]
        return files

    # what changes while it runs ------------------------------------------------------------------

    async def _load_policy(self) -> None:
        """Check and test a bundle beside the running gateway; using it is one assignment."""
        self._use_policy(await asyncio.to_thread(self._prepare_policy))

    def _prepare_policy(self) -> Policy | PolicyError | None:
        """The bundle on disk, ready for use; why it is refused; None if it is the active one."""
        try:
            found = bundle.read(self.settings.policy.bundle)
            return None if found.revision == self.decider.revision else prepare(found)
        except PolicyError as error:
            return error

    def _use_policy(self, prepared: Policy | PolicyError | None) -> None:
        """A bundle that is refused is recorded, and the old one stays."""
        now = self.now()
        if isinstance(prepared, PolicyError):
            self._refuse("policy", str(prepared), RecordKind.POLICY, now)
            return
        self._refused.pop("policy", None)
        if prepared is None:
            return
        self.decider.adopt(prepared)
        self.journal.rotate_windows(now)
        revision = prepared.bundle.revision
        stored = self.folder.sub("bundles") / revision
        if not stored.exists():
            half = self.folder.sub("bundles") / f".{revision}.new"
            shutil.rmtree(half, ignore_errors=True)
            prepared.bundle.write_to(half)
            half.rename(stored)
        self.journal.event(RecordKind.POLICY, {"result": "activated", "revision": revision}, now)
        log.info("policy %s is active", revision[:12])

    def _load_trust(self) -> None:
        for name, trust in self.trust.items():
            version = trust.version
            if trust.reload() or trust.version != version:
                self._refused.pop(f"trust {name}", None)
                note = {"what": "trust", "zone": name, "version": trust.version}
                self.journal.event(RecordKind.CONFIG, note, self.now())
                self._recheck(name)
            elif trust.error is not None:
                self._refuse(f"trust {name}", trust.error, RecordKind.CONFIG, self.now())

    def _recheck(self, zone: str | None = None) -> bool:
        """Look at everybody of a zone (or all) again; False where our own certificate cannot be used now."""
        for listener in self.listeners:
            if zone in (None, listener.limits.zone):
                try:
                    listener.recheck()
                except IdentityError as error:
                    self._refuse("certificates", str(error), RecordKind.CONFIG, self.now())
                    return False
        self._refused.pop("certificates", None)
        return True

    async def _load_certificates(self) -> None:
        if not self._recheck():
            return
        self.journal.event(RecordKind.CONFIG, {"what": "certificates", "result": "loaded"}, self.now())
        if self.broker is not None:
            await self.broker.renew()

    async def _load_tags(self) -> None:
        """Tags may change while it runs; every other section needs a restart, and says so."""
        now = self.now()
        try:
            fresh = await asyncio.to_thread(read, self.path, asset_cost)
        except GatewayError as error:
            self._refuse("configuration", str(error), RecordKind.CONFIG, now)
            return
        self._refused.pop("configuration", None)
        for section in Settings.__struct_fields__:
            if section != "tags" and getattr(fresh, section) != getattr(self.settings, section):
                self._refused["configuration"] = f"a change of `{section}` needs a restart"
                log.warning("configuration: a change of `%s` needs a restart", section)
        if fresh.tags == self.settings.tags:
            return
        self.settings = _with_tags(self.settings, fresh)
        self.values.replace(fresh.tags, self.settings.assets, now)
        for route in self.routes.values():
            route.place = Place(route.asset, [tag for tag in fresh.tags if tag.asset == route.asset.name])
        self._plan_polls()
        self.journal.rotate_windows(now)
        self.journal.event(RecordKind.CONFIG, {"what": "tags", "count": len(fresh.tags)}, now)

    def _facts(self) -> None:
        """Mode, windows, clock and revocation lists, as policy sees them from now on."""
        now = self.now()
        self.clock.keep(now)
        section = self.settings.gateway
        active = self.decider.bundle
        definitions = active.data.get("windows", {}) if active is not None else {}
        facts = Facts(
            mode=section.mode,
            freeze=section.freeze,
            windows=windows_now(definitions, now.wall_ns),
            crls=tuple(sorted((name, trust.crl_state(now)) for name, trust in self.trust.items())),
            clock=self.clock.state(now),
            trusted=now.trusted,
        )
        if facts != self.decider.facts:
            self.decider.facts = facts
            self.journal.rotate_windows(now)

    def _warn_of_expiry(self, now: Now) -> None:
        for alarm in self.expiries.alarms(self._dated(), now.judge_ns):
            log.warning("%s expires in %d days", alarm.name, alarm.days_left)
            note = {
                "what": "expiry",
                "name": alarm.name,
                "level": alarm.level.value,
                "days_left": alarm.days_left,
            }
            self.journal.event(RecordKind.LIFECYCLE, note, now)

    def _dated(self) -> list[tuple[str, int]]:
        own, mqtt = self.settings.gateway, self.settings.north.mqtt
        files = {own.certificate} | {x.limits.certificate for x in self.listeners if x.limits.certificate}
        if mqtt is not None:
            files.add(mqtt.certificate)
        found = [entry for trust in self.trust.values() for entry in trust.expiries()]
        for file in sorted(files):
            try:
                found.append((f"certificate {file.name}", expiry(file)))
            except IdentityError as error:
                self._refused[f"certificate {file.name}"] = str(error)
        return found

    def _refuse(self, what: str, why: str, kind: RecordKind, now: Now) -> None:
        self._refused[what] = why
        log.error("%s refused, the old stays: %s", what, why)
        self.journal.event(kind, {"result": "refused", "what": what, "why": why[:4000]}, now)

    def _alarm(self, code: str, known: dict[str, Any] | None = None) -> None:
        log.error("ALARM: %s", code)
        self.metrics.count("alarms")
        if known is not None:
            self.journal.event(RecordKind.FINDING, {"alarm": code, **known}, self.now(), source="internal")

    # being asked -------------------------------------------------------------------------------

    def ready(self) -> dict[str, bool]:
        """What must hold before the gateway is of use."""
        return {
            "policy": bool(self.decider.revision),
            "journal": not self.journal.status()["failed"],
            "listeners": self.started.is_set(),
        }

    async def reload(self) -> dict[str, Any]:
        """Read policy, trust, certificates and tags again; what was refused is named."""
        await self._load_policy()
        self._load_trust()
        await self._load_certificates()
        await self._load_tags()
        self._facts()
        result: dict[str, Any] = {"revision": self.decider.revision}
        if self._refused:
            result["refused"] = dict(self._refused)
        return result

    async def status(self) -> dict[str, Any]:
        """Everything an operator asks first."""
        now = self.now()
        return {
            "gateway": self.settings.gateway.name,
            "version": __version__,
            "ready": all(self.ready().values()),
            "refused": dict(self._refused),
            "clock": {"state": self.clock.state(now), "wall_ns": now.wall_ns},
            "policy": {"revision": self.decider.revision, **asdict(self.decider.stats)},
            "trust": [
                {"zone": name, "crl": trust.crl_state(now), "version": trust.version, "error": trust.error}
                for name, trust in self.trust.items()
            ],
            "listeners": [listener.status() for listener in self.listeners],
            "assets": [
                {
                    "name": name,
                    "up": route.link.up,
                    "queued": route.link.queued,
                    "in_flight": route.link.in_flight,
                    **route.link.counts,
                }
                for name, route in self.routes.items()
            ],
            "tags": self.values.qualities(),
            "collector": self.collector.status(),
            "mqtt": self.broker.status() if self.broker is not None else None,
            "journal": self.journal.status(),
            "expiries": [
                {"name": name, "days_left": (expires_ns - now.judge_ns) // (86_400 * SECOND)}
                for name, expires_ns in self._dated()
            ],
            "counters": dict(sorted(self.metrics.counters.items())),
        }

    def _gauges(self) -> dict[str, float]:
        gauges: dict[str, float] = {}
        for name, route in self.routes.items():
            gauges[f'link_up{{asset="{name}"}}'] = route.link.up
            gauges[f'link_queued{{asset="{name}"}}'] = route.link.queued
            gauges[f'link_in_flight{{asset="{name}"}}'] = route.link.in_flight
        for quality, number in self.values.qualities().items():
            gauges[f'tags{{quality="{quality}"}}'] = number
        for name, value in self.journal.status().items():
            if isinstance(value, bool | int | float):
                gauges[f"journal_{name}"] = value
        for name, value in asdict(self.decider.stats).items():
            if isinstance(value, bool | int | float):
                gauges[f"policy_{name}"] = value
        now = self.now()
        for name, expires_ns in self._dated():
            gauges[f'expires_in_seconds{{name="{name}"}}'] = (expires_ns - now.judge_ns) / SECOND
        return gauges


def _with_tags(settings: Settings, fresh: Settings) -> Settings:
    """The running settings with other tags: the rest needs a restart."""
    fields = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    return Settings(**{**fields, "tags": fresh.tags})


def serve(path: Path) -> None:
    """Run a gateway until it is told to stop."""
    settings = read(path, asset_cost)

    async def main() -> None:
        with DataFolder(settings.gateway.data) as folder:
            await Gateway(path, settings, folder).run()

    uvloop.run(main())
