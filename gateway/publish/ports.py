"""What this floor asks of the one beside it, as shapes: `relay.tasks.Tasks`, `ops.metrics.Metrics`."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol


class Holder(Protocol):
    """Holds running tasks, so that none fails unheard."""

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run it."""


class Count(Protocol):
    """Counts something for the metrics."""

    def __call__(self, name: str, n: int = 1) -> None: ...
