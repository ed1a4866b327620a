"""Writes that wait until everything that has arrived was looked at.

A write to a socket wakes whoever reads it, often on another processor, and waking is most of what a small
write costs. In one turn of the loop dozens of requests and answers come in; if each were written on at once,
each would wake somebody. So connections say here that they have something, and write it one after the other
at the end of the turn: whoever the first write wakes finds the others' too. It costs no timer, and no latency
that anybody could measure: the turn would have to end anyway.
"""

import asyncio
import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Flushable(Protocol):
    """Something that has bytes to write."""

    def flush(self) -> None:
        """Write them."""


class Flush:
    """The end of the loop's turn."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Flushable] = []

    def add(self, what: Flushable) -> None:
        """Flush it when this turn of the loop is over; call once a turn for each."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(what)

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        for what in waiting:
            try:
                what.flush()
            except Exception:
                # One connection that cannot be written to must not keep the others from being written.
                log.exception("a flush failed")
