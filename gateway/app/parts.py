"""Building: every part of a gateway, joined. Read this to see what depends on what."""

import logging
import secrets
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from gateway.admin import activation_routes, tag_routes
from gateway.app import opcua
from gateway.app.activation import Activation
from gateway.app.collecting import opcua_collector
from gateway.app.deciding import Deciding
from gateway.app.exporting import exporter
from gateway.app.listening import AnyListener, listeners
from gateway.app.looking import Looking
from gateway.app.people import People
from gateway.app.policies import Policies
from gateway.app.reviewing import review_api
from gateway.app.witnessing import dropping, offbox, retention
from gateway.audit.commitment import Sealer
from gateway.audit.journal import Journal
from gateway.audit.signer import Signer
from gateway.config.settings import Settings
from gateway.guard.passage import Door
from gateway.identity.contexts import client_context
from gateway.identity.trust import ZoneTrust
from gateway.model.asset import Asset, Speaks
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids
from gateway.ops.folder import DataFolder
from gateway.ops.metrics import Metrics
from gateway.ops.myself import myself
from gateway.policy.remote import BACK
from gateway.publish.broker import Broker
from gateway.publish.collector import Collector
from gateway.publish.https import Api
from gateway.publish.poll_plan import plan
from gateway.publish.values import Values
from gateway.publish.vetting import Vetting
from gateway.relay.clock import Clock
from gateway.relay.flush import Flush
from gateway.relay.link import Links, PlantLink
from gateway.relay.modbus import Route
from gateway.relay.readback import ReadBack
from gateway.relay.tasks import Tasks
from gateway.wire.modbus.meaning import Place

log = logging.getLogger(__name__)


class Parts:
    """Every part of one gateway, built and joined; nothing runs yet."""

    def __init__(self, path: Path, settings: Settings, folder: DataFolder) -> None:
        self.path = path
        self.settings = settings
        self.folder = folder
        self.listeners: list[AnyListener] = []
        self.listening = False
        "Whether everything listens."
        self.metrics = Metrics()
        self.tasks = Tasks()
        self.links = Links()
        self.flush = Flush()
        self.ulids = Ulids(secrets.randbits(79))
        self.random = Random(secrets.randbits(64))  # noqa: S311 # spreads pauses, protects nothing
        self.refused: dict[str, str] = {}
        "What could not be reloaded, and why: the old stays in force."
        section = settings.gateway
        state = folder.sub("state") / "clock"
        self.clock = Clock(state, settings.clock)
        self.deciding = Deciding(
            settings,
            folder,
            ulids=self.ulids,
            random=self.random,
            clock=lambda: self.clock.now(),
            told=self._engine_told,
        )
        self.decider, self.source = self.deciding.decider, self.deciding.source
        signer = Signer.load(settings.audit.key, settings.audit.origin)
        self.offbox = offbox(self, signer)
        self.journal = Journal(
            folder.sub("journal"),
            origin=settings.audit.origin,
            signer=signer,
            gateway=section.name,
            settings=settings.audit,
            ulids=self.ulids,
            describe=self.decider.describe,
            clock=lambda: self.clock.now(),
            alarm=self.alarm,
            units=self._units,
            sealer=Sealer(settings.audit.sensitive.fields, secrets.token_bytes),
        )
        recovery = self.journal.open()
        self.clock = Clock(state, settings.clock, recovery.trusted_ns)
        self.now = self.clock.now
        self.trust = {zone.name: ZoneTrust(zone) for zone in settings.zones}
        self.people = People(
            settings,
            folder.sub("state"),
            trust=self.trust,
            windows=self.windows,
            journal=self.journal,
            ulids=self.ulids,
            count=self.metrics.count,
            alarm=self.alarm,
            now=self.now(),
        )
        self.door = Door(self.deciding.engine, self.journal, self.people.approvals, self.people.posture)
        self.me = myself(section.certificate, self.ulids.next(self.now().wall_ns))
        self.values = Values(settings.tags, settings.assets, self.now())
        self.read_back = ReadBack(
            door=self.door,
            me=self.me,
            last=self.values,
            tasks=self.tasks,
            clock=self.now,
            alarm=self.alarm,
        )
        self.routes = {
            asset.name: self._route(asset) for asset in settings.assets if asset.protocol is Speaks.MODBUS
        }
        self.applications = opcua.applications(self)
        self.opcua = opcua.routes(self)
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
        self.opcua_collector = opcua_collector(self)
        self.plan_polls()
        self.api, self.broker = self._api(), self._broker()
        self.changed: Callable[[], None] = lambda: None
        "Called when people have changed what policy sees; `live` says what happens then."
        self.policies = Policies(self)
        self.activation = Activation(self, self.policies)
        self.admin = self.people.api(
            (*activation_routes.routes(self.activation), *tag_routes.routes(Looking(self))),
            door=self.door,
            clock=self.now,
            count=self.metrics.count,
            changed=lambda: self.changed(),
        )
        self.review = review_api(self)
        self.exporter = exporter(self)
        self.retention, self.dropping = retention(self), dropping(self)
        self.listeners = listeners(self)

    # what several parts need -----------------------------------------------------------------

    def refuse(self, what: str, why: str, kind: RecordKind, now: Now) -> None:
        self.refused[what] = why
        log.error("%s refused, the old stays: %s", what, why)
        self.journal.event(kind, {"result": "refused", "what": what, "why": why[:4000]}, now)

    def alarm(self, code: str, known: dict[str, Any] | None = None) -> None:
        log.error("ALARM: %s", code)
        self.metrics.count("alarms")
        if known is not None:
            self.journal.event(RecordKind.FINDING, {"alarm": code, **known}, self.now(), source="internal")

    def _engine_told(self, code: str, known: dict[str, Any]) -> None:
        """Engines differ, or OPA went or came back; that it went is told however often it does."""
        if not code.startswith("opa_"):
            self.alarm(code, known)
            return
        if code != BACK:
            self.alarm(code)
        self.journal.event(RecordKind.POLICY, {"result": code, **known}, self.now())

    def ready(self) -> dict[str, bool]:
        """What must hold before the gateway is of use."""
        return {
            "policy": bool(self.decider.revision),
            "journal": not self.journal.status()["failed"],
            "listeners": self.listening,
        }

    # building ---------------------------------------------------------------------------------

    def link(self, asset: Asset) -> PlantLink:
        """A new link to that device."""
        return self.links.add(
            PlantLink(
                asset,
                door=self.door,
                clock=self.now,
                tasks=self.tasks,
                flush=self.flush,
                lines=self.links.lines,
            )
        )

    def windows(self) -> Mapping[str, Mapping[str, Any]]:
        """`data.windows` of the active bundle."""
        active = self.decider.bundle
        return active.data.get("windows", {}) if active is not None else {}

    def _units(self, tag: str) -> tuple[float, str] | None:
        """Resolution and unit, so that records say engineering values."""
        found = self.values.tags.get(tag)
        return None if found is None else (found.resolution, found.unit)

    def _route(self, asset: Asset) -> Route:
        tags = [tag for tag in self.settings.tags if tag.asset == asset.name]
        return Route(Place(asset, tags), self.link(asset))

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

    def plan_polls(self) -> None:
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
        self.opcua_collector.replace(self.settings.tags)
