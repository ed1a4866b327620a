"""The latest sample of every tag: what HTTPS answers from, MQTT sends, and a write is compared with.

Bounded by the tag list: one sample a tag, and in each subscription at most one pending name a tag, so that a
slow consumer gets the newest value of each and never a backlog. At start, and when a tag's definition
changes, its sample is bad with reason `restart` until the plant has been asked anew.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.model.asset import Asset, Tag
from gateway.model.moment import Now
from gateway.model.sample import Quality, Sample, Value
from gateway.wire.modbus import points


class Reading(Struct, frozen=True, gc=False):
    """What one poll, or one notification, said about one tag; `update` makes a Sample of it."""

    tag: str
    value: Value | None
    quality: Quality
    reason: str = ""
    at_ns: int | None = None
    "Acquisition time as the plant tells it (wall clock); null where it tells none: then when it arrived."
    age_ns: int = 0
    "How long before it arrived the plant may have taken the value."


class Subscription:
    """Names of tags that have a new sample. Taking a name is a promise to look at its latest sample."""

    __slots__ = ("_pending", "_wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._pending: dict[str, None] = {}
        self._wake = wake

    def __len__(self) -> int:
        return len(self._pending)

    def note(self, tags: Iterable[str]) -> None:
        """These have news; the subscriber is woken once a batch."""
        self._pending.update(dict.fromkeys(tags))
        self._wake()

    def take(self) -> str | None:
        """The name that has waited longest, or None."""
        for tag in self._pending:
            del self._pending[tag]
            return tag
        return None

    def keep(self, tags: Sequence[str]) -> None:
        """Forget what waits for tags that are no more."""
        known = set(tags)
        self._pending = {tag: None for tag in self._pending if tag in known}


class Write:
    """What the gateway lets somebody write to a tag: until a poll says otherwise, that is its value."""

    __slots__ = ("asked", "mono_ns", "q", "under_way")

    def __init__(self) -> None:
        self.q: int | None = None
        self.mono_ns = -1
        "When; before everything while nothing was let through."
        self.asked = 0
        "Writes that wait to be decided: while there are any, nobody knows from where a step would be."
        self.under_way = 0
        "Writes decided and not yet settled: while there are any, a poll may be from before them."


class Values:
    """Tags and the latest sample of each. Implements `wire.modbus.meaning.LastValues`."""

    def __init__(self, tags: Iterable[Tag], assets: Iterable[Asset], now: Now) -> None:
        self.tags: dict[str, Tag] = {}
        self.kinds: dict[str, str] = {}
        "The kind of each asset: policy asks for it beside the name."
        self.names: tuple[str, ...] = ()
        "All names, sorted: the order of pages."
        self._samples: dict[str, Sample] = {}
        self._writes: dict[str, Write] = {}
        "What was last written to a tag, or is about to be; bounded by the tag list."
        self._subscriptions: list[Subscription] = []
        self.replace(tags, assets, now)

    def replace(self, tags: Iterable[Tag], assets: Iterable[Asset], now: Now) -> None:
        """Other tags and assets. A tag defined as before keeps its sample; others start at `restart`."""
        before, samples = self.tags, self._samples
        self.kinds = {asset.name: asset.kind for asset in assets}
        self.tags = {tag.name: tag for tag in tags}
        self.names = tuple(sorted(self.tags))
        self._writes = {
            name: write for name, write in self._writes.items() if before.get(name) == self.tags.get(name)
        }
        self._samples = {
            name: samples[name] if before.get(name) == tag else _unread(name, now)
            for name, tag in self.tags.items()
        }
        for subscription in self._subscriptions:
            subscription.keep(self.names)
            subscription.note(self.names)

    def subscribe(self, wake: Callable[[], None]) -> Subscription:
        """A new subscription, to which every tag is news. `wake` is called after each batch."""
        subscription = Subscription(wake)
        self._subscriptions.append(subscription)
        subscription.note(self.names)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Tell it nothing more."""
        self._subscriptions.remove(subscription)

    def update(self, readings: Sequence[Reading], now: Now) -> None:
        """Take a batch that was read at `now`. A bad reading keeps the last value known; `vet` strips it."""
        samples = self._samples
        for reading in readings:
            before = samples.get(reading.tag)
            if before is None:
                continue  # the tag went away while its poll was under way
            samples[reading.tag] = Sample(
                tag=reading.tag,
                value=before.value if reading.quality is Quality.BAD else reading.value,
                quality=reading.quality,
                reason=reading.reason,
                at_ns=now.wall_ns if reading.at_ns is None else reading.at_ns,
                received_ns=now.wall_ns,
                mono_ns=before.mono_ns if reading.quality is Quality.BAD else now.mono_ns - reading.age_ns,
                sequence=before.sequence + 1,
            )
        news = [reading.tag for reading in readings if reading.tag in samples]
        for subscription in self._subscriptions:
            subscription.note(news)

    def confirm(self, names: Iterable[str], mono_ns: int, now: Now) -> None:
        """The plant says that these have not changed until then: what is known of them is that young again.

        That is no new sample. Who was told that a value is stale hears that it is not any more.
        """
        news = []
        for name in names:
            sample = self._samples.get(name)
            if sample is None or sample.quality is Quality.BAD or sample.mono_ns >= mono_ns:
                continue
            if now.mono_ns - sample.mono_ns > self.tags[name].stale_ms * 1_000_000:
                news.append(name)
            self._samples[name] = replace(sample, mono_ns=mono_ns)
        if news:
            for subscription in self._subscriptions:
                subscription.note(news)

    def sample(self, name: str) -> Sample | None:
        """The latest sample of a tag, None if there is no such tag."""
        return self._samples.get(name)

    def after(self, name: str) -> Sequence[str]:
        """The names that come after this one."""
        return self.names[bisect_right(self.names, name) :]

    def last(self, tag: str) -> tuple[int | None, int] | None:
        """Last value known of a tag in its resolution, and when it was acquired (monotonic ns).

        A write that we let through counts as soon as it is decided: otherwise a step could be measured
        against a value that is no more, and two quick steps pass where one of their sum would not. One that
        is not decided yet counts as nothing known: neither its value nor the one before is a measure.
        """
        sample, write = self._samples.get(tag), self._writes.get(tag)
        if write is not None and write.asked:
            return None
        if write is not None and (write.under_way or sample is None or write.mono_ns >= sample.mono_ns):
            return None if write.q is None else (write.q, write.mono_ns)
        if sample is None or sample.value is None:
            return None
        return points.quanta(self.tags[tag], sample.value), sample.mono_ns

    def asked(self, tag: str) -> None:
        """A write of it waits to be decided."""
        if tag in self.tags:
            self._writes.setdefault(tag, Write()).asked += 1

    def decided(self, tag: str) -> None:
        """It waits no more."""
        write = self._writes.get(tag)
        if write is not None:
            write.asked = max(0, write.asked - 1)

    def writing(self, tag: str, q: int | None, mono_ns: int) -> None:
        """A write of this value is on its way; null where nobody knows what it will be."""
        if tag in self.tags:
            write = self._writes.setdefault(tag, Write())
            write.q, write.mono_ns = q, mono_ns
            write.under_way += 1

    def written(self, tag: str, done: bool, mono_ns: int) -> None:
        """It is over. If it may not have been done, nobody knows the value until the next poll."""
        write = self._writes.get(tag)
        if write is not None:
            write.under_way = max(0, write.under_way - 1)
            write.mono_ns = mono_ns
            if not done:
                write.q = None

    def qualities(self) -> dict[str, int]:
        """How many tags are good, uncertain and bad, for metrics and `status`."""
        counts = {quality.value: 0 for quality in Quality}
        for sample in self._samples.values():
            counts[sample.quality.value] += 1
        return counts


def _unread(name: str, now: Now) -> Sample:
    return Sample(
        tag=name,
        value=None,
        quality=Quality.BAD,
        reason="restart",
        at_ns=now.wall_ns,
        received_ns=now.wall_ns,
        mono_ns=now.mono_ns,
    )


def decimal(value: Value) -> Value:
    """The number as a person would write it: 3 · 0.1 is 0.3, and not above a limit of 0.3.

    Floats of scaled registers carry 15 significant digits at most; 16 or 17 are noise of the multiplication.
    """
    return float(f"{value:.15g}") if isinstance(value, float) else value
