"""All destinations: made from the settings, started, told about, ended.

What it needs of other parts comes in as callables: how far the journal is, whom to alarm, how to publish.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, Protocol

from gateway.config.settings import ExportSection, SyslogSection
from gateway.export.carriers import Carrier, Events, Publish, Syslog
from gateway.export.destination import Alarm, Destination, Extent
from gateway.model.moment import Now

FINISH_S = 2.0
"How long the last records may take at the end; the rest goes at the next start."


class Holder(Protocol):
    """Holds running tasks, so that none fails unheard: `relay.tasks.Tasks`."""

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run it."""


class Exporter:
    """`start` when the journal runs, `stop` after it has ended."""

    def __init__(
        self,
        sections: tuple[ExportSection, ...],
        *,
        journal: Path,
        state: Path,
        origin: str,
        gateway: str,
        site: str,
        extent: Callable[[], Extent],
        clock: Callable[[], Now],
        alarm: Alarm,
        random: Random,
        publish: Publish,
        context: Callable[[SyslogSection], ssl.SSLContext],
    ) -> None:
        self._context = context
        self._publish = publish
        self._names = {"site": site, "gateway": gateway}
        self._clock = clock
        self._running: list[asyncio.Task[Any]] = []
        self.destinations = [
            Destination(
                section,
                self._carrier(section, origin),
                journal=journal,
                state=state,
                origin=origin,
                extent=extent,
                clock=clock,
                alarm=alarm,
                random=random,
            )
            for section in sections
        ]

    def start(self, tasks: Holder) -> None:
        """Begin to export."""
        self._running = [tasks.start(each.run(), f"export {each.name}") for each in self.destinations]

    async def stop(self) -> None:
        """Send what the journal wrote last, for a bounded time."""
        for each in self.destinations:
            each.finish()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=FINISH_S)
            for task in late:
                task.cancel()

    def least_exported(self) -> int | None:
        """The first record that some receiver may not have; null where nothing is exported.

        Retention that removes it, or any behind it, must say so.
        """
        return min((each.next for each in self.destinations), default=None)

    def status(self) -> list[dict[str, Any]]:
        """For `status`."""
        now = self._clock()
        return [each.status(now) for each in self.destinations]

    def gauges(self) -> dict[str, float]:
        """For the metrics."""
        now = self._clock()
        found: dict[str, float] = {}
        for each in self.destinations:
            found[f'export_lag_records{{destination="{each.name}"}}'] = each.lag
            found[f'export_lag_seconds{{destination="{each.name}"}}'] = each.lag_s(now)
            found[f'export_sent{{destination="{each.name}"}}'] = each.sent
            found[f'export_trouble{{destination="{each.name}"}}'] = bool(each.trouble)
        return found

    def _carrier(self, section: ExportSection, origin: str) -> Carrier:
        if section.syslog is not None:
            syslog = section.syslog
            return Syslog(syslog, lambda: self._context(syslog))
        if section.mqtt is not None:
            topic = section.mqtt.topic
            for name, text in self._names.items():
                topic = topic.replace(f"{{{name}}}", text)
            return Events(topic, origin, self._publish)
        raise ValueError(f"{section.name} has no place")  # `config.meaning` has refused it
