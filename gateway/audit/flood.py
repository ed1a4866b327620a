"""What a flood of denials, findings or handshakes may cost the journal. Pure: the time is an argument.

Of each key (kind, source, identity, reason, target) the first records of a minute are written in full and the
rest is counted in one `suppressed` record when the minute is over. Beside that, all of them together grow
the journal by at most so many bytes in any minute; peers without an identity get at most half of it, so that
nobody who has not even authenticated can keep the denials of certified callers out of the journal.
"""

from collections import OrderedDict

from msgspec import Struct

from gateway.model.moment import SECOND

MINUTE = 60 * SECOND
MOST_KEYS = 2048
"Keys remembered at once. An attacker who invents more is counted under one key for all."
SUMMARY_BYTES = 1024
"Kept back from the budget for every key's summary; longer summaries do not occur (fields are cut)."
MOST_TEXT = 200
"Characters of a key's part: a peer chooses some of them."


class Key(Struct, frozen=True):
    """What makes two events the same to a reviewer."""

    kind: str
    source: str
    subject: str
    reason: str
    target: str


def key(kind: str, source: str, subject: str, reason: str, target: str) -> Key:
    """A key, with parts that peers choose cut to a bounded length."""
    return Key(kind, source[:MOST_TEXT], subject[:MOST_TEXT], reason[:MOST_TEXT], target[:MOST_TEXT])


OTHERS = "(others)"


class Tally(Struct):
    """One key's minute."""

    key: Key
    since_mono_ns: int
    first_wall_ns: int
    last_wall_ns: int
    full: int = 0
    "Written in full."
    counted: int = 0
    "Only counted."

    def by(self) -> dict[str, str | None]:
        """Whose they were, as a record says it."""
        return {"subject": self.key.subject or None, "source": self.key.source}

    def note(self) -> dict[str, str | int]:
        """What the one record tells that stands for all that was only counted."""
        return {
            "of": self.key.kind,
            "reason": self.key.reason,
            "target": self.key.target,
            "count": self.counted,
            "in_full": self.full,
            "first_ns": self.first_wall_ns,
            "last_ns": self.last_wall_ns,
        }


class Bucket:
    """Bytes that may be spent: never more than `per_minute` in any 60 seconds.

    Half can be saved up, half flows in during a minute: the two together are the most that a minute sees.
    """

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute // 2
        self._left = float(self._most)
        self._at: int | None = None

    def take(self, count: int, mono_ns: int) -> bool:
        """Spend, or say that it is not there."""
        if self._at is not None and mono_ns > self._at:
            self._left = min(self._most, self._left + (mono_ns - self._at) * self._most / MINUTE)
        self._at = mono_ns
        if count > self._left:
            return False
        self._left -= count
        return True


class Flood:
    """Decides what is written in full; keeps the counts of the rest."""

    def __init__(self, in_full: int, bytes_per_minute: int) -> None:
        self._in_full = in_full
        self._all = Bucket(bytes_per_minute)
        self._strangers = Bucket(bytes_per_minute // 2)
        self._tallies: OrderedDict[Key, Tally] = OrderedDict()

    def may_write(self, of: Key, wall_ns: int, mono_ns: int) -> Tally | None:
        """The tally to `spend` from if this one may be written in full; None if it was only counted."""
        tally = self._tallies.get(of)
        if tally is None:
            if len(self._tallies) >= MOST_KEYS:
                of = Key(of.kind, OTHERS, OTHERS, OTHERS, OTHERS)
                tally = self._tallies.get(of)
            if tally is None:
                tally = Tally(of, mono_ns, wall_ns, wall_ns)
                self._tallies[of] = tally
        tally.last_wall_ns = wall_ns
        if tally.full < self._in_full:
            return tally
        tally.counted += 1
        return None

    def spend(self, tally: Tally, size: int, mono_ns: int) -> bool:
        """Whether there is room for a full record of that size; otherwise it is counted."""
        need = size + (SUMMARY_BYTES if tally.full == 0 else 0)
        stranger = tally.key.subject in ("", OTHERS)
        if (not stranger or self._strangers.take(need, mono_ns)) and self._all.take(need, mono_ns):
            tally.full += 1
            return True
        tally.counted += 1
        return False

    def lost(self, tally: Tally) -> None:
        """It could not be written after all: count it."""
        tally.full -= 1
        tally.counted += 1

    def due(self, mono_ns: int) -> list[Tally]:
        """The tallies whose minute is over and that counted something."""
        over: list[Tally] = []
        while self._tallies:
            of, tally = next(iter(self._tallies.items()))
            if mono_ns - tally.since_mono_ns < MINUTE:
                break
            del self._tallies[of]
            self._settle(tally, over, mono_ns)
        return over

    def all(self, mono_ns: int) -> list[Tally]:
        """Every tally that counted something, at the end of a run."""
        over: list[Tally] = []
        for tally in self._tallies.values():
            self._settle(tally, over, mono_ns)
        self._tallies.clear()
        return over

    def _settle(self, tally: Tally, over: list[Tally], mono_ns: int) -> None:
        """Summarise what counted; a key that never got a full record has paid nothing yet."""
        if not tally.counted:
            return
        if tally.full > 0 or self._all.take(SUMMARY_BYTES, mono_ns):
            over.append(tally)
            return
        for other in over:
            if other.key.kind == tally.key.kind and other.key.source == OTHERS:
                other.counted += tally.counted
                other.last_wall_ns = max(other.last_wall_ns, tally.last_wall_ns)
                return
        tally.key = Key(tally.key.kind, OTHERS, OTHERS, OTHERS, OTHERS)
        over.append(tally)
