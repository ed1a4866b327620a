"""Alarms before something expires: at 90, 30 and 7 days, and when it has. Pure.

Expiry never stops plant-side polling (invariant 11); being told in time is what it does instead. Each level
is raised once for each (name, expiry), and only the most severe that applies, so that a restart shortly
before the end raises one alarm and not three. A renewed certificate has a new expiry and starts afresh.
"""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from gateway.model.moment import SECOND

DAY = 86_400 * SECOND
"Nanoseconds in a day."


class Level(StrEnum):
    """How near the end is."""

    DAYS_90 = "90_days"
    DAYS_30 = "30_days"
    DAYS_7 = "7_days"
    EXPIRED = "expired"


THRESHOLDS: tuple[tuple[int, Level], ...] = (
    (0, Level.EXPIRED),
    (7 * DAY, Level.DAYS_7),
    (30 * DAY, Level.DAYS_30),
    (90 * DAY, Level.DAYS_90),
)
"Most severe first: the first whose time is not left any more is the level."
_SEVERITY = {level: rank for rank, (_, level) in enumerate(THRESHOLDS)}


class Alarm(Struct, frozen=True):
    """Something expires, or has."""

    name: str
    level: Level
    expires_ns: int
    days_left: int
    "Whole days; negative once it has expired."


def level(expires_ns: int, judge_ns: int) -> Level | None:
    """The level at that moment; None while more than 90 days are left."""
    left = expires_ns - judge_ns
    return next((name for limit, name in THRESHOLDS if left <= limit), None)


class Expiries:
    """Remembers which alarms were raised. As big as the list that it was last shown."""

    def __init__(self) -> None:
        self._raised: dict[tuple[str, int], Level] = {}

    def alarms(self, dated: Iterable[tuple[str, int]], judge_ns: int) -> tuple[Alarm, ...]:
        """The alarms that are new: `dated` is (name, expiry in ns since 1970) of everything that expires."""
        new: list[Alarm] = []
        raised: dict[tuple[str, int], Level] = {}
        for name, expires_ns in dated:
            now = level(expires_ns, judge_ns)
            before = self._raised.get((name, expires_ns))
            if now is None or (before is not None and _SEVERITY[before] <= _SEVERITY[now]):
                # A clock that went back is no reason to raise the same alarm twice.
                if before is not None:
                    raised[name, expires_ns] = before
                continue
            raised[name, expires_ns] = now
            new.append(Alarm(name, now, expires_ns, (expires_ns - judge_ns) // DAY))
        self._raised = raised
        return tuple(new)
