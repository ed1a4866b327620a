"""All connections of a capture: which packet belongs to which, which are followed, and the bounds on all.

A connection is two addresses with ports; a new SYN between the same four is a new one. Numbers are given as
Wireshark gives them (tcp.stream), so that what we say can be looked up there.
"""

from collections import OrderedDict
from ipaddress import ip_address
from typing import Protocol

from gateway.capture.direction import Sent, by_flags, by_port, first_bytes
from gateway.capture.packet import ACK, SYN, Segment
from gateway.capture.stream import Sink, Stream, Totals

MOST_STREAMS = 20_000
"""Connections known at once; beyond it the one that has been silent longest is forgotten. What comes of it
afterwards begins without a handshake."""
MOST_ENDED = 1_000
"Connections that ended and are still known, for what comes late."
MOST_HELD_BYTES = 32 << 20
"Memory for segments that wait, all connections together; beyond it the first that began to wait is flushed."


class Out(Sink, Protocol):
    """Where streams go (`pipe.Writer`)."""

    def opened(self, stream: int, frame: int, time: int, ends: str) -> None:
        """A stream that is followed."""

    def closed(self, stream: int, frame: int, time: int, why: str) -> None:
        """Nothing more of it."""


class Known:
    """What is kept of one connection."""

    __slots__ = ("client", "followed", "how", "number", "server", "stream")

    def __init__(self, number: int) -> None:
        self.number = number
        self.client = b""
        "Address and port; empty while nothing has told who is who."
        self.server = b""
        self.how = ""
        "What told it (`direction`)."
        self.followed: bool | None = None
        "None while only the first bytes can tell."
        self.stream: Stream | None = None
        "None while nobody knows who is who."


class Streams:
    """Sorts segments into connections."""

    def __init__(self, out: Out, ports: frozenset[int]) -> None:
        self.totals = Totals()
        self.met = 0
        "Connections so far."
        self.followed = 0
        self.forgotten = 0
        "Connections that were dropped for `MOST_STREAMS` before they had ended."
        self._out = out
        self._ports = ports
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        "By both ends, the lesser first; the one that was silent longest first."
        self._ended: OrderedDict[bytes, None] = OrderedDict()
        self._holding: OrderedDict[bytes, Stream] = OrderedDict()

    def segment(self, segment: Segment, frame: int, time: int) -> None:
        """Take one segment."""
        source, target, sequence, acknowledged, flags, data = segment
        key = source + target if source < target else target + source
        known = self._known.get(key)
        if known is not None and flags & SYN and not flags & ACK and self._anew(known, source, sequence):
            self._drop(key, frame, time, "reused")
            known = None
        if known is None:
            known = self._meet(key, source, target, flags, frame, time)
        else:
            self._known.move_to_end(key)
        if known.followed is None and data:
            self._look(known, source, target, data, frame, time)
        stream = known.stream
        if stream is None or known.followed is False:
            return
        side = 0 if source == known.client else 1
        stream.segment(side, sequence, acknowledged, flags, frame, time, data)
        if stream.holding or key in self._holding:
            self._watch(key, stream)
        if stream.ended and key not in self._ended:
            self._ended[key] = None
            if len(self._ended) > MOST_ENDED:
                self._drop(next(iter(self._ended)), frame, time, "end")

    def end(self, frame: int, time: int) -> None:
        """The capture is through: everything that waits is handed on."""
        for key in list(self._known):
            self._drop(key, frame, time, "end")

    # which connection ---------------------------------------------------------------------------------

    def _meet(self, key: bytes, source: bytes, target: bytes, flags: int, frame: int, time: int) -> Known:
        if len(self._known) >= MOST_STREAMS:
            self.forgotten += 1
            self._drop(next(iter(self._known)), frame, time, "forgotten")
        known = self._known[key] = Known(self.met)
        self.met += 1
        sent, how = by_port(source, target, self._ports), "port"
        if sent is None:
            sent, how = by_flags(flags), "syn"
        if sent is not None:
            self._tell_apart(known, source, target, sent, how)
            if how == "port" or self._expected(source):
                self._follow(known, frame, time)
        return known

    def _expected(self, end: bytes) -> bool:
        return int.from_bytes(end[-2:], "big") in self._ports

    def _anew(self, known: Known, source: bytes, sequence: int) -> bool:
        if known.stream is None:
            return True
        return known.stream.begins_anew(0 if source == known.client else 1, sequence)

    def _tell_apart(self, known: Known, source: bytes, target: bytes, sent: Sent, how: str) -> None:
        known.client, known.server = (source, target) if sent is Sent.BY_CLIENT else (target, source)
        known.how = how
        known.stream = Stream(known.number, self._out, self.totals)

    def _look(self, known: Known, source: bytes, target: bytes, data: bytes, frame: int, time: int) -> None:
        """Judge a connection by its first bytes: is it ours, and if nothing else has told, who is who."""
        sent = first_bytes(data)
        if sent is None and self._expected(source) and self._expected(target):
            sent = Sent.BY_CLIENT
        if sent is None:
            known.followed = False
            return
        if known.stream is None:
            self._tell_apart(known, source, target, sent, "first")
        self._follow(known, frame, time)

    def _follow(self, known: Known, frame: int, time: int) -> None:
        known.followed = True
        self.followed += 1
        ends = f"{_text(known.client)} {_text(known.server)} {known.how}"
        self._out.opened(known.number, frame, time, ends)

    # bounds -------------------------------------------------------------------------------------------

    def _watch(self, key: bytes, stream: Stream) -> None:
        """Keep who waits in order of when they began to; flush the first if all of them hold too much."""
        if stream.holding:
            self._holding.setdefault(key, stream)
        else:
            self._holding.pop(key, None)
        while self.totals.held_bytes > MOST_HELD_BYTES:
            _, first = self._holding.popitem(last=False)
            first.flush()

    def _drop(self, key: bytes, frame: int, time: int, why: str) -> None:
        known = self._known.pop(key)
        self._ended.pop(key, None)
        self._holding.pop(key, None)
        if known.stream is not None and known.followed:
            known.stream.flush()
            self._out.closed(known.number, frame, time, "ended" if known.stream.ended else why)


def _text(end: bytes) -> str:
    """An address and port, in words."""
    return f"{ip_address(end[:-2])} {int.from_bytes(end[-2:], 'big')}"
