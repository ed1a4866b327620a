"""Running: start, watch, stop."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from gateway.app.live import Live
from gateway.app.parts import Parts
from gateway.app.told import gauges, status
from gateway.config.read import read
from gateway.config.settings import Settings
from gateway.model.moment import SECOND
from gateway.ops.control import ControlSocket
from gateway.ops.folder import DataFolder
from gateway.ops.watch import Watch
from gateway.policy.service import Service
from gateway.publish.poll_plan import asset_cost
from gateway.relay.tasks import Tasks

log = logging.getLogger(__name__)

WATCH_S = 0.1
"How often files, windows and the clock are looked at, so that a settled change counts within 500 ms."
JUDGE_S = 60.0
"How often live connections are looked at again, so that none outlives its certificate by more."
AGAIN_S = 1.0
"How long after a failure polling or publishing begins again."
DRAIN_S = 2.0
"How long a stop waits for requests that were taken: a device that is slower ends as `unknown`."
YOUNG = 20_000
"""Objects made before the collector looks for cycles among the young. Requests make no cycles; the default of
700 would look seventy times a second for nothing."""


class Gateway:
    """One gateway, running."""

    def __init__(self, parts: Parts, watches: "Watches") -> None:
        self.parts = parts
        self.watches = watches
        self.live = Live(parts)
        self._judged_ns = parts.now().mono_ns
        self.control = ControlSocket(
            parts.folder.control,
            door=parts.door,
            clock=parts.now,
            ulids=parts.ulids,
            commands={"status": self._status, "reload": self.live.reload},
        )
        parts.metrics.gauges(lambda: gauges(parts))

    async def run(self) -> None:
        """Start everything, serve until SIGINT or SIGTERM, stop in order."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.parts.tasks.start(self.live.reload(), "reload"))
        try:
            await self._start(loop)
            where = [f"{x.limits.name} on {x.limits.host}:{x.port}" for x in self.parts.listeners]
            log.info("ready: %s", ", ".join(where))
            await stop.wait()
        finally:
            await self._stop()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        parts = self.parts
        await parts.journal.start(loop)
        parts.tasks.start(self._again("telling checkpoints", parts.offbox.run), "checkpoints")
        parts.tasks.start(self._again("retention", parts.retention.run), "retention")
        parts.tasks.start(self._again("dropping", parts.dropping.run), "dropping")
        await self.live.policies.first()
        self.live.facts()
        parts.links.start(parts.now)
        await parts.deciding.start(parts.tasks)
        for api in (parts.api, parts.admin, parts.review):
            if api is not None:
                await api.start()
        for listener in parts.listeners:
            await listener.start()
        if parts.settings.collector.enabled:
            parts.tasks.start(self._again("polling", parts.collector.run), "collector")
            parts.tasks.start(self._again("collecting", parts.opcua_collector.run), "OPC UA collector")
        parts.exporter.start(Tasks())  # of its own: it ends after the journal, which ends after the others
        if parts.broker is not None:
            parts.tasks.start(self._again("publishing", parts.broker.run), "mqtt")
        if parts.review is not None:
            parts.tasks.start(self._again("keeping the search index", parts.review.run), "review")
        await self.control.start()
        service = parts.source
        if isinstance(service, Service):
            asking = self._again("asking for the bundle", lambda: self.live.policies.follow(service))
            parts.tasks.start(asking, "bundle service")
        parts.tasks.start(self._every("watching people", self._look_at_people), "watch people")
        parts.tasks.start(self._every("watching files", self._look_at_files), "watch files")
        gc.collect()
        gc.freeze()  # what lives as long as the gateway is never looked at again: 170 ms less at the worst
        gc.set_threshold(YOUNG, 20, 50)
        parts.listening = True

    async def _stop(self) -> None:
        """What was taken is finished, within a bound; its outcome is in the journal before that is signed."""
        parts = self.parts
        await self.control.stop()
        for listener in parts.listeners:
            listener.quiesce()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while parts.tasks.running("passage") or not parts.links.idle:  # noqa: ASYNC110 # once, at the end
                    await asyncio.sleep(0.005)
        async with contextlib.AsyncExitStack() as last_first:  # whatever fails, the journal is ended in order
            last_first.callback(lambda: parts.clock.keep(parts.now()))
            last_first.push_async_callback(parts.offbox.stop)
            last_first.push_async_callback(parts.exporter.stop)
            last_first.push_async_callback(parts.journal.stop)
            last_first.push_async_callback(parts.tasks.stop)
            last_first.callback(parts.links.stop)
            last_first.callback(parts.people.close)
            last_first.push_async_callback(parts.deciding.stop)
            for api in (parts.api, parts.admin, parts.review):
                if api is not None:
                    last_first.push_async_callback(api.stop)
            if parts.broker is not None:
                last_first.push_async_callback(parts.broker.stop)
            for listener in parts.listeners:
                last_first.push_async_callback(listener.stop)

    async def _status(self) -> dict[str, Any]:
        return status(self.parts)

    async def _again(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run it for as long as the gateway runs: a fault nobody thought of costs a second, not the day."""
        while True:
            try:
                await run()
            except Exception as error:
                log.exception("%s failed", what)
                self.parts.alarm(f"{what} failed and begins again: {error!r}")
                await asyncio.sleep(AGAIN_S)
            else:
                return

    # watching ----------------------------------------------------------------------------------

    async def _every(self, what: str, look: Callable[[], Awaitable[None]]) -> None:
        """Look again and again, whatever a look brings: who does not look does not see who was revoked."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await look()
            except Exception as error:
                log.exception("%s failed", what)
                self.parts.refused[what] = repr(error)
                self.parts.alarm(f"{what} failed: {error!r}")
            else:
                self.parts.refused.pop(what, None)

    async def _look_at_people(self) -> None:
        """Trust, time and who is connected. Nothing here waits for anything: a slow policy must not."""
        live, parts = self.live, self.parts
        if any(trust.changed() for trust in parts.trust.values()):
            live.load_trust()
        now = parts.now()
        parts.people.sweep(now)
        parts.activation.sweep(now)
        live.facts()
        due = now.mono_ns - self._judged_ns > JUDGE_S * SECOND
        for listener in parts.listeners:
            listener.close_idle()
            if due:
                listener.judge()
        if due:
            self._judged_ns = now.mono_ns

    async def _look_at_files(self) -> None:
        """Policy, our own certificates, tags; and the time last known good is kept."""
        live, watches = self.live, self.watches
        if watches.policy.settled():
            await live.policies.load()
        if watches.certificates.settled():
            await live.load_certificates()
        if watches.tags.settled():
            await live.load_tags()
        live.warn_of_expiry(self.parts.now())
        await asyncio.to_thread(self.parts.clock.keep, self.parts.now())


class Watches:
    """What is looked at. Made before any of it is read, so that no change falls in between."""

    def __init__(self, path: Path) -> None:
        self.tags = Watch(path, *path.parent.glob("*.yaml"))
        self.settings = read(path, asset_cost)
        self.policy = Watch(*filter(None, [self.settings.policy.bundle]))
        self.certificates = Watch(*_own_files(self.settings))


def _own_files(settings: Settings) -> list[Path]:
    """Certificates and keys that the gateway shows."""
    north = settings.north
    others = (north.https, north.mqtt, settings.admin, settings.review, settings.policy.opa)
    shown = [
        settings.gateway,
        *settings.listeners,
        *settings.opcua,
        *(each for each in others if each),
    ]
    files = [file for each in shown for file in (each.certificate, each.key) if file is not None]
    return [*files, north.mqtt.anchors] if north.mqtt is not None else files


def serve(path: Path) -> None:
    """Run a gateway until it is told to stop."""
    watches = Watches(path)

    async def main() -> None:
        with DataFolder(watches.settings.gateway.data) as folder:
            await Gateway(Parts(path, watches.settings, folder), watches).run()

    uvloop.run(main())
