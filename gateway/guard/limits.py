"""Ceilings as functions of (state, now): how often somebody may do something."""

from collections import OrderedDict, deque

from gateway.model.moment import SECOND

MOST_SUBJECTS = 10_000
"Pairs of subject and asset remembered; the one unused longest is forgotten first."
MOST_TIMES = 10_000
"Writes of one pair counted within the window; beyond it the count stays at this."


class WriteCounts:
    """Allowed writes of each (subject, asset) in the last 60 seconds: `state.writes_60s` in `dmz.input/1`."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    def count(self, subject: str, asset: str, mono_ns: int) -> int:
        """How many in the 60 seconds before now."""
        times = self._times.get((subject, asset))
        if times is None:
            return 0
        while times and times[0] <= mono_ns - 60 * SECOND:
            times.popleft()
        return len(times)

    def note(self, subject: str, asset: str, mono_ns: int) -> None:
        """One more was allowed."""
        key = (subject, asset)
        times = self._times.setdefault(key, deque(maxlen=MOST_TIMES))
        times.append(mono_ns)
        self._times.move_to_end(key)
        if len(self._times) > MOST_SUBJECTS:
            self._times.popitem(last=False)


class Rates:
    """Token buckets for the `rate` obligation: at most `n` per `per_s` seconds for each key."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    def take(self, key: tuple[str, ...], n: float, per_s: float, mono_ns: int) -> bool:
        """Take one token, or say that none is left. A rate of zero or less gives none."""
        if n <= 0 or per_s <= 0:
            return False
        tokens, since = self._buckets.get(key, (n, mono_ns))
        tokens = min(n, tokens + (mono_ns - since) / SECOND * n / per_s)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, mono_ns)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_SUBJECTS:
            self._buckets.popitem(last=False)
        return allowed
