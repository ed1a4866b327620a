"""Deciding: where bundles come from, the workshop that tries them, and the engine that the guard asks."""

import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import asdict

from gateway.config.settings import GatewaySection, OpaSection, Settings
from gateway.guard.ports import Engine
from gateway.identity.contexts import client_context
from gateway.model.moment import Now
from gateway.model.ulid import Ulids
from gateway.ops.folder import DataFolder
from gateway.policy.crosscheck import CrossCheck
from gateway.policy.decider import Decider
from gateway.policy.elsewhere import Workshop
from gateway.policy.opa_decider import OpaDecider
from gateway.policy.remote import Remote
from gateway.policy.serials import Serials
from gateway.policy.server import OpaServer
from gateway.policy.service import Service
from gateway.policy.source import Admission, Disk, Source
from gateway.relay.tasks import Tasks

MOST_WITHOUT_OPA = 10_000
"Decisions of the embedded engine kept while OPA is away: the reads of one minute, most of them polls."

Told = Callable[[str, dict[str, Any]], None]


class Deciding:
    """Who decides, and by what. `decider` holds bundle, facts and cache; `engine` is what the guard asks."""

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        *,
        ulids: Ulids,
        random: Random,
        clock: Callable[[], Now],
        told: Told,
    ) -> None:
        """`told` of alarms, and of OPA going and coming back."""
        policy = settings.policy
        self.admission = Admission(
            policy.signing, Serials(folder.sub("state") / "policy", folder.sub("bundles"))
        )
        self.source = _source(settings, folder, self.admission, random)
        self.decider = Decider(ulids, policy, told)
        self.workshop = Workshop()
        self._server: OpaServer | None = None
        self._opa: OpaDecider | None = None
        if policy.opa is not None:
            self._server = OpaServer(policy.opa, _opa_context(settings.gateway, policy.opa))
            remote = Remote(self._server, policy.opa.reads_without_s, clock, told)
            check = CrossCheck(policy.cross_check_one_in, folder.sub("counterexamples"), told)
            entries = min(policy.cache_entries, MOST_WITHOUT_OPA)
            self._opa = OpaDecider(self.decider, remote, check, entries)

    @property
    def engine(self) -> Engine:
        """Policy, as the guard asks it."""
        return self.decider if self._opa is None else self._opa

    @property
    def shares_warm(self) -> bool:
        """Whether what a rehearsal decided may be shared: it asks the embedded engine, never OPA."""
        return self._opa is None

    async def start(self, tasks: Tasks) -> None:
        """Look for OPA, where it decides."""
        if self._server is not None and self._opa is not None:
            await self._server.start()
            tasks.start(self._opa.run(), "opa")

    async def renew(self) -> None:
        """Show OPA a new certificate."""
        if self._server is not None:
            await self._server.renew()

    async def stop(self) -> None:
        """End the sessions and the other process."""
        await self.workshop.close()
        if self._server is not None:
            await self._server.stop()

    def status(self) -> dict[str, Any]:
        """Revision, counters, and how OPA is."""
        told: dict[str, Any] = {"revision": self.decider.revision, **asdict(self.decider.stats)}
        return told if self._opa is None else {**told, "opa": asdict(self._opa.status)}


def _source(settings: Settings, folder: DataFolder, admission: Admission, random: Random) -> Source:
    policy, own = settings.policy, settings.gateway
    state, service = folder.sub("state"), policy.service
    if service is None:
        return Disk(policy.bundle or Path(), admission)

    def context() -> ssl.SSLContext:
        return client_context(service.anchors, service.certificate or own.certificate, service.key or own.key)

    kept = state / "fetched.tar.gz"
    return Service(service, context=context, kept=kept, admission=admission, random=random)


def _opa_context(own: GatewaySection, opa: OpaSection) -> Callable[[], ssl.SSLContext] | None:
    anchors = opa.anchors
    if anchors is None:
        return None
    return lambda: client_context(anchors, opa.certificate or own.certificate, opa.key or own.key)
