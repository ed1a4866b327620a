"""The monitored items of one OPC UA server: which nodes are watched, and what their news mean. Pure.

A subscription says nothing while nothing changes. So a value is as young as the last message of its
subscription, a keep-alive too: what the server did not report has not changed, up to one sampling interval.
Ages are reckoned so that they are never too small, since policy and IT build on them.
"""

from collections.abc import Iterable, Sequence
from math import ceil

from msgspec import Struct

from gateway.model.asset import Tag
from gateway.model.moment import SECOND, Now
from gateway.model.sample import Quality
from gateway.publish.values import Reading, decimal
from gateway.wire.opcua import asking
from gateway.wire.opcua.codes import BAD, UNCERTAIN, status_slug
from gateway.wire.opcua.nodeid import find
from gateway.wire.opcua.notifications import Change
from gateway.wire.opcua.values import DataValue, engineering
from gateway.wire.quanta import rounded

MOST_KEEP_ALIVE = 10
"""Publishing intervals without news until the server says that it lives. A library's default can be eleven
minutes long; more often than this is asked for where tags are stale sooner."""
LEAST_LIFETIME = 3 * MOST_KEEP_ALIVE
"Publishing intervals without us until the server gives up: at least three keep-alives (OPC 10000-4 §5.14.2)."
LEAST_LIFETIME_MS = 10_000
"A pause of ours that is shorter than this costs no subscription."
MOST_AHEAD_NS = 60 * SECOND
"How far ahead of us a server's clock may be before its times are doubted."
MILLISECOND = 1_000_000


class Pace(Struct, frozen=True):
    """How often a subscription speaks."""

    publishing_ms: float
    lifetime: int
    "In publishing intervals."
    keep_alive: int

    @property
    def silence_ns(self) -> int:
        """The longest that a living subscription is silent."""
        return ceil(self.publishing_ms * max(self.keep_alive, 1)) * MILLISECOND


def pace(publishing_ms: int, tags: Iterable[Tag]) -> Pace:
    """So that a value that does not change stays younger than its tag's `stale`, where that can be.

    A keep-alive vouches for a value as it was one sampling and one publishing interval before.
    """
    room_ms = min((tag.stale_ms - tag.poll_ms for tag in tags), default=0) - 2 * publishing_ms
    keep_alive = max(1, min(MOST_KEEP_ALIVE, room_ms // publishing_ms))
    lifetime = max(LEAST_LIFETIME, ceil(LEAST_LIFETIME_MS / publishing_ms))
    return Pace(float(publishing_ms), lifetime, keep_alive)


class Watched(Struct, frozen=True):
    """A tag with its place in the server's namespaces."""

    tag: Tag
    item: asking.Item


def watched(tags: Sequence[Tag], namespaces: Sequence[str]) -> tuple[dict[int, Watched], list[Tag]]:
    """An item for each tag, by its handle; and the tags whose namespace the server does not have."""
    found: dict[int, Watched] = {}
    lost = []
    for handle, tag in enumerate(tags, 1):
        node = find(tag.node or "", namespaces)
        if node is None:
            lost.append(tag)
        else:
            found[handle] = Watched(tag, asking.Item(node.encode(), handle, float(tag.poll_ms)))
    return found, lost


def bad(tags: Iterable[Tag], reason: str) -> list[Reading]:
    """None of them has a value, and why."""
    return [Reading(tag.name, None, Quality.BAD, reason) for tag in tags]


def refused(status: int) -> str:
    """What a tag says whose item the server does not make."""
    return status_slug(status)


def reading(tag: Tag, value: DataValue, now: Now, age_ns: int) -> Reading:
    """What a value says about its tag. Status and time are the server's; nothing is put in their place."""
    at_ns = value.source_ns if value.source_ns is not None else value.server_ns
    if value.status & BAD:
        return Reading(tag.name, None, Quality.BAD, status_slug(value.status), at_ns)
    number = engineering(tag, value.value)
    if number is None:
        return Reading(tag.name, None, Quality.BAD, "undecodable", at_ns)
    quality, why = Quality.GOOD, ""
    if value.status & UNCERTAIN:
        quality, why = Quality.UNCERTAIN, status_slug(value.status)
    elif not now.trusted:
        quality, why = Quality.UNCERTAIN, "clock"
    elif at_ns is not None and at_ns > now.wall_ns + MOST_AHEAD_NS:
        quality, why = Quality.UNCERTAIN, "source_time"
    return Reading(tag.name, decimal(rounded(tag, number)), quality, why, at_ns, age_ns)


class Items:
    """Items that the server has made, and what it said of each."""

    def __init__(self, made: dict[int, Watched], given: Pace, namespaces: Sequence[str]) -> None:
        self.watched = made
        self.pace = given
        "As the server revised it."
        self.namespaces = tuple(namespaces)
        self.sampling_ms = max((float(each.tag.poll_ms) for each in made.values()), default=0.0)
        "The longest of the sampling intervals, as the server revised them."
        self._known: dict[str, tuple[Tag, DataValue]] = {}
        "Tags with a value that holds until the server says otherwise, and what it said."
        self._trusted = True
        "Whether our clock was trusted when they were last told."

    def readings(self, changes: Sequence[Change], now: Now) -> list[Reading]:
        """What a notification says; of several about one tag the last.

        Where our clock has become trusted, or is not any more, all values say so, unchanged ones too.
        """
        found: dict[str, Reading] = {}
        if now.trusted != self._trusted:
            self._trusted = now.trusted
            for name, (tag, value) in self._known.items():
                found[name] = reading(tag, value, now, self._vouched_ns)
        age_ns = int(self.pace.publishing_ms * MILLISECOND)
        for change in changes:
            each = self.watched.get(change.handle)
            if each is None:
                continue
            name = each.tag.name
            found[name] = reading(each.tag, change.value, now, age_ns)
            if found[name].quality is Quality.BAD:
                self._known.pop(name, None)
            else:
                self._known[name] = (each.tag, change.value)
        return list(found.values())

    @property
    def _vouched_ns(self) -> int:
        """How old a value may be that a message confirms: a sampling and a publishing interval."""
        return int((self.pace.publishing_ms + self.sampling_ms) * MILLISECOND)

    def unchanged(self, but: Sequence[Reading], now: Now) -> tuple[list[str], int]:
        """The tags that a message vouches for by not naming them, and until when (monotonic ns)."""
        named = {each.tag for each in but}
        return [name for name in self._known if name not in named], now.mono_ns - self._vouched_ns

    def drop(self, handles: Iterable[int]) -> list[Tag]:
        """These are watched no longer."""
        gone = [self.watched.pop(handle).tag for handle in handles if handle in self.watched]
        for tag in gone:
            self._known.pop(tag.name, None)
        return gone
