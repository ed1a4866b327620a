"""The collector for OPC UA servers: one session each, watched, and built anew whenever it is in doubt.

Rules that hold here:
- Time is the monotonic clock. A subscription that says nothing, not even that it lives, within its keep-alive
  time is dead: all its tags are bad, and its session goes with it. What TCP says does not count.
- Who does not answer is left alone, longer each time, up to the configured limit.
- When policy or facts change, what is watched is decided again within a second. What is denied now is bad at
  once; what was denied is asked for again.
- A server that shows another certificate than the pinned one is nobody: no value, and an alarm.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from gateway.guard.passage import Door
from gateway.model.asset import Asset, Tag
from gateway.model.moment import Now
from gateway.publish.backoff import BackOff
from gateway.publish.opcua_endings import Ended
from gateway.publish.opcua_items import bad
from gateway.publish.opcua_talk import Talk
from gateway.publish.ports import Alarm, Count, Holder, Server
from gateway.publish.values import Values

log = logging.getLogger(__name__)

LOOK_S = 0.2
"How often subscriptions, policy and pauses are looked at."
CERTIFICATE = "certificate"
"The reason of tags whose server is not the pinned one."
Mark = tuple[str, int]
"What policy and facts were: the revision, and the guard's epoch."


class Station:
    """What the collector knows about one server."""

    def __init__(self, asset: Asset, server: Server, collector: "OpcuaCollector", pause: BackOff) -> None:
        self.asset = asset
        self.tags: tuple[Tag, ...] = ()
        self.pause = pause
        self.reason = ""
        "Why there are no values; empty while there are."
        self._server = server
        self._collector = collector
        self._talk: Talk | None = None
        self._running: asyncio.Task[None] | None = None
        self._deciding: asyncio.Task[None] | None = None
        self._mark: Mark = ("", -1)
        "Under which policy was last asked about what is watched."
        self._alarmed = False

    def replace(self, tags: Sequence[Tag]) -> None:
        """Other tags: the session is made anew, at once. Equal ones change nothing."""
        if tuple(tags) != self.tags:
            self.stop()
            self.tags = tuple(tags)
            self.pause.answered()

    def stop(self) -> None:
        """End the session, if there is one."""
        for task in (self._running, self._deciding):
            if task is not None:
                task.cancel()
        self._talk = self._running = self._deciding = None

    def tick(self, now: Now) -> None:
        """Begin, go on or give up."""
        mark = self._collector.mark()
        talk = self._talk
        if talk is None:
            if self.tags and (not self.pause.waiting(now.mono_ns) or self._asks_again(mark)):
                self._begin(mark)
        elif now.mono_ns >= talk.deadline_ns:
            self._over(talk, Ended("timeout", "nothing was heard in time, not even that it lives"))
        elif talk.items is not None and (self._deciding is None or self._deciding.done()):
            if mark != self._mark:
                self._mark = mark
                self._deciding = self._start(self._decide(talk), "deciding again")
            elif talk.refused and now.mono_ns >= talk.refused_again_ns:
                self._deciding = self._start(self._again(talk), "asking again")

    def status(self) -> dict[str, Any]:
        """For `status`."""
        talk = self._talk
        items = talk.items if talk is not None else None
        return {
            "tags": len(self.tags),
            "items": 0 if items is None else len(items.watched),
            "denied": 0 if talk is None else len(talk.denied),
            "refused": 0 if talk is None else len(talk.refused),
            "down": self.pause.failures > 0,
            "failures": self.pause.failures,
            "reason": self.reason,
        }

    # one session ---------------------------------------------------------------------------------

    def _begin(self, mark: Mark) -> None:
        self._mark = mark
        server = self.asset.opcua
        assert server is not None  # noqa: S101 # `replace` of the collector looked
        talk = self._talk = Talk(
            self.tags,
            server.publishing_ms,
            self.asset.timeout_ms,
            server=self._server,
            values=self._collector.values,
            clock=self._collector.clock,
            count=self._collector.count,
            heard=self._heard,
        )
        self._running = self._start(self._run(talk), "collecting")

    async def _run(self, talk: Talk) -> None:
        try:
            ended = await talk.run()
        except Exception as error:
            log.exception("asset %s: collecting failed", self.asset.name)
            ended = Ended("failed", repr(error))
        self._over(talk, ended)

    async def _decide(self, talk: Talk) -> None:
        fits = await talk.fits()
        self._deciding = None
        if not fits and self._talk is talk:
            self.stop()  # and begins again with the next look: what stays allowed keeps its values
            self.pause.answered()

    async def _again(self, talk: Talk) -> None:
        ended = await talk.again()
        self._deciding = None
        if ended is not None:
            self._over(talk, ended)

    def _heard(self) -> None:
        self.pause.answered()
        self.reason = ""
        self._alarmed = False

    def _over(self, talk: Talk, ended: Ended) -> None:
        """No values from here on, and everybody is told so."""
        if self._talk is not talk:
            return
        running, self._running = self._running, None
        self.stop()
        if running is not None and running is not asyncio.current_task():
            running.cancel()
        now = self._collector.clock()
        self._collector.values.update(bad(self.tags, ended.reason), now)
        self._collector.count(f"opcua_{ended.reason if ended.reason in COUNTED else 'ended'}")
        if ended.reason != self.reason:
            log.warning("asset %s: no values: %s (%s)", self.asset.name, ended.reason, ended.why)
        self.reason = ended.reason
        self.pause.failed(now.mono_ns)
        if ended.reason == CERTIFICATE and not self._alarmed:
            self._alarmed = True
            self._collector.alarm("opcua_server_certificate", {"asset": self.asset.name, "why": ended.why})

    def _asks_again(self, mark: Mark) -> bool:
        return self.reason == "denied" and mark != self._mark

    def _start(self, work: Any, what: str) -> "asyncio.Task[None]":
        return self._collector.tasks.start(work, f"{what} {self.asset.name}")


COUNTED = frozenset({"timeout", "device_down", "denied", "gap", CERTIFICATE})
"Endings that have a counter of their own."


class OpcuaCollector:
    """All servers."""

    def __init__(
        self,
        servers: Mapping[str, tuple[Asset, Server]],
        *,
        values: Values,
        door: Door,
        clock: Callable[[], Now],
        tasks: Holder,
        random: Random,
        count: Count,
        alarm: Alarm,
        backoff_s: float,
    ) -> None:
        """`random` only spreads the pauses of back-off."""
        self.values = values
        self.clock = clock
        self.tasks = tasks
        self.count = count
        self.alarm = alarm
        self._door = door
        self._stations = {
            name: Station(asset, server, self, BackOff(backoff_s, random))
            for name, (asset, server) in servers.items()
            if asset.opcua is not None
        }

    def mark(self) -> Mark:
        """What policy and facts are."""
        return self._door.engine.revision, self._door.epoch.value

    def replace(self, tags: Sequence[Tag]) -> None:
        """Other tags."""
        for name, station in self._stations.items():
            station.replace([tag for tag in tags if tag.asset == name and tag.node is not None])

    async def run(self) -> None:
        """Collect until cancelled."""
        try:
            while True:
                self.tick(self.clock())
                await asyncio.sleep(LOOK_S)
        finally:
            for station in self._stations.values():
                station.stop()

    def tick(self, now: Now) -> None:
        """Look at every server."""
        for station in self._stations.values():
            station.tick(now)

    def status(self) -> dict[str, Any]:
        """For `status`: what each server gives, or why it gives nothing."""
        return {name: station.status() for name, station in sorted(self._stations.items())}
