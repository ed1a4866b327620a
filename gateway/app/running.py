"""Running: start, watch, stop."""

import asyncio
import contextlib
import gc
import logging
import signal
from pathlib import Path
from typing import Any

import uvloop

from gateway.app.live import Live
from gateway.app.parts import Parts
from gateway.app.told import gauges, status
from gateway.config.read import read
from gateway.model.moment import SECOND
from gateway.ops.control import ControlSocket
from gateway.ops.folder import DataFolder
from gateway.ops.watch import Watch
from gateway.publish.poll_plan import asset_cost

log = logging.getLogger(__name__)

WATCH_S = 0.15
"How often files, windows and the clock are looked at, so that a settled change counts within 500 ms."
JUDGE_S = 60.0
"How often live connections are looked at again, so that none outlives its certificate by more."
DRAIN_S = 2.0
"How long a stop waits for requests that were taken: a device that is slower ends as `unknown`."
YOUNG = 20_000
"""Objects made before the collector looks for cycles among the young. Requests make no cycles; the default of
700 would look seventy times a second for nothing."""


class Gateway:
    """One gateway, running."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.live = Live(parts)
        self.live.use_policy(self.live.prepare_policy())
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
        self.live.facts()
        parts.links.start(parts.now)
        if parts.api is not None:
            await parts.api.start()
        for listener in parts.listeners:
            await listener.start()
        if parts.settings.collector.enabled:
            parts.tasks.start(parts.collector.run(), "collector")
        if parts.broker is not None:
            parts.tasks.start(parts.broker.run(), "mqtt")
        await self.control.start()
        parts.tasks.start(self._watch(), "watch")
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
        for listener in parts.listeners:
            await listener.stop()
        if parts.broker is not None:
            await parts.broker.stop()
        if parts.api is not None:
            await parts.api.stop()
        parts.links.stop()
        await parts.tasks.stop()
        await parts.journal.stop()
        parts.clock.keep(parts.now())

    async def _status(self) -> dict[str, Any]:
        return status(self.parts)

    # watching ----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        settings = self.parts.settings
        policy = Watch(settings.policy.bundle)
        certificates = Watch(*self._own_files())
        tags = Watch(self.parts.path, *self.parts.path.parent.glob("*.yaml"))
        judged_ns = self.parts.now().mono_ns
        while True:
            await asyncio.sleep(WATCH_S)
            due = self.parts.now().mono_ns - judged_ns > JUDGE_S * SECOND
            try:
                await self._look(policy, certificates, tags, due)
            except Exception as error:
                # Whoever does not look does not see who was revoked. So it is told, and looked again.
                log.exception("watching failed")
                self.parts.refused["watch"] = repr(error)
                self.parts.alarm("watching failed")
            else:
                self.parts.refused.pop("watch", None)
            if due:
                judged_ns = self.parts.now().mono_ns

    async def _look(self, policy: Watch, certificates: Watch, tags: Watch, due: bool) -> None:
        live, parts = self.live, self.parts
        if any(trust.changed() for trust in parts.trust.values()):
            live.load_trust()
        if policy.settled():
            await live.load_policy()
        if certificates.settled():
            await live.load_certificates()
        if tags.settled():
            await live.load_tags()
        live.facts()
        live.warn_of_expiry(parts.now())
        for listener in parts.listeners:
            listener.close_idle()
            if due:
                listener.judge()

    def _own_files(self) -> list[Path]:
        own, mqtt = self.parts.settings.gateway, self.parts.settings.north.mqtt
        files = [own.certificate, own.key]
        for listener in self.parts.listeners:
            files += [f for f in (listener.limits.certificate, listener.limits.key) if f is not None]
        if mqtt is not None:
            files += [mqtt.anchors, mqtt.certificate, mqtt.key]
        return files


def serve(path: Path) -> None:
    """Run a gateway until it is told to stop."""
    settings = read(path, asset_cost)

    async def main() -> None:
        with DataFolder(settings.gateway.data) as folder:
            await Gateway(Parts(path, settings, folder)).run()

    uvloop.run(main())
