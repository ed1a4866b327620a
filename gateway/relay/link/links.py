"""All links to the plant, and the one timer that looks for time-outs."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from gateway.model.moment import Now
from gateway.relay.link.connect import Lines

SWEEP_S = 0.02
"How often time-outs are looked for: one timer for all links, none per request."


class Link(Protocol):
    """What all links have in common, whatever protocol they speak."""

    @property
    def queued(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def sweep(self, now: Now) -> None: ...
    def close(self) -> None: ...
    def cut(self) -> None: ...


AnyLink = TypeVar("AnyLink", bound=Link)


class Links:
    """Every link from its making until nothing is in flight on it any more."""

    def __init__(self) -> None:
        self.lines = Lines()
        "Serial lines, and what stands for them; links that are to share one are made with these."
        self._links: set[Link] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, link: AnyLink) -> AnyLink:
        """Watch a link's time-outs until `remove`."""
        self._links.add(link)
        return link

    def remove(self, link: Link) -> None:
        """Close a link; it is forgotten once nothing is in flight on it."""
        link.close()
        if link.finished:
            self._links.discard(link)

    def start(self, clock: Callable[[], Now]) -> None:
        """Begin to sweep."""
        loop = asyncio.get_running_loop()

        def sweep() -> None:
            now = clock()
            for link in list(self._links):
                link.sweep(now)
                if link.finished:
                    self._links.discard(link)
            self._timer = loop.call_later(SWEEP_S, sweep)

        self._timer = loop.call_later(SWEEP_S, sweep)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not any(link.queued or link.in_flight for link in self._links)

    def stop(self) -> None:
        """Close every link."""
        if self._timer is not None:
            self._timer.cancel()
        for link in list(self._links):
            link.cut()
        self._links.clear()
        self.lines.close()
