"""Both clocks, read together, and whether the wall clock is believed.

A wall clock is believed only if it is not before the last time known good (persisted, and the newest record
of the journal), not before this program was released, and has not left the monotonic clock by more than
`jump_s`. Machines in plants boot in 1970, and NTP is not authenticated.

Where it is not believed, everything goes on: certificates and CRLs are judged by the last time known good
plus the monotonic time since, reads are flagged, and after `grace_s` policy denies writes (invariant 11).
Belief comes back by itself when the clock does. A jump forward that stays is accepted by a restart. A clock
that once was believed far in the future needs a person: the state file and the journal both hold that time.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gateway.config.settings import ClockSection
from gateway.model.moment import SECOND, Now

RELEASED_NS = 1_793_491_200 * SECOND
"2026-11-01T00:00:00Z: nobody ran this program before it existed."
KEEP_EVERY_NS = 60 * SECOND
"The last time known good is written at most this often: at worst a boot loses a minute of it."
MOST_DRIFT = 5_000
"""One part in so many is how fast two honest clocks may part: 200 ppm is beyond any working crystal. It
lets small steps of NTP add up over years without ever walking past `jump_s` in a hurry."""
MOST_STATE_BYTES = 32
"The state file holds one decimal number."

ClockState = Literal["trusted", "untrusted", "grace_over"]


class Clock:
    """The only place that asks the machine for the time."""

    __slots__ = (
        "_base_ns",
        "_floor_ns",
        "_grace_ns",
        "_high",
        "_judge_offset",
        "_jump_ns",
        "_kept_mono",
        "_low",
        "_mono",
        "_state_file",
        "_untrusted_since",
        "_wall",
        "error",
    )

    def __init__(
        self,
        state_file: Path,
        section: ClockSection,
        last_record_ns: int = 0,
        *,
        wall: Callable[[], int] = time.time_ns,
        mono: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`last_record_ns` is the time of the journal's newest record; `wall` and `mono` give nanoseconds."""
        self._wall, self._mono = wall, mono
        self._state_file = state_file
        self._jump_ns = section.jump_s * SECOND
        self._grace_ns = section.grace_s * SECOND
        self._floor_ns = max(RELEASED_NS, last_record_ns, _read(state_file))
        started = mono()
        self._untrusted_since: int | None = started
        self._judge_offset = self._floor_ns - started
        self._kept_mono: int | None = None
        self._base_ns: int | None = None
        "Wall minus monotonic time when the wall clock was first believed, let drift."
        self._low, self._high = 1, 0
        self.error: str | None = None
        "Why the last time known good could not be written, if it could not."

    def now(self) -> Now:
        """Read both clocks. Called for every frame: no input or output, no allocation but the result."""
        wall, mono = self._wall(), self._mono()
        offset = wall - mono
        if (self._low <= offset <= self._high and wall >= self._floor_ns) or self._begin(wall, offset):
            self._judge_offset = offset
            self._untrusted_since = None
            return Now(wall, mono, True, wall)
        if self._untrusted_since is None:
            self._untrusted_since = mono
        return Now(wall, mono, False, mono + self._judge_offset)

    def state(self, now: Now) -> ClockState:
        """For policy and `status`."""
        if now.trusted:
            return "trusted"
        since = self._untrusted_since
        return "untrusted" if since is None or now.mono_ns - since <= self._grace_ns else "grace_over"

    def keep(self, now: Now) -> None:
        """Persist the last time known good. Call it from a slow timer, and at the end: it waits for the disk.

        Never raises: a full disk must not stop the gateway (`error` says what is wrong).
        """
        before = self._kept_mono
        if not now.trusted or (before is not None and now.mono_ns - before < KEEP_EVERY_NS):
            return
        if self._base_ns is not None and before is not None:
            allowed = (now.mono_ns - before) // MOST_DRIFT
            moved = now.wall_ns - now.mono_ns - self._base_ns
            self._believe(self._base_ns + max(-allowed, min(allowed, moved)))
        self._kept_mono = now.mono_ns
        try:
            _write(self._state_file, now.wall_ns)
        except OSError as error:
            self.error = f"{self._state_file} cannot be written: {error.strerror}"
        else:
            self.error = None

    def _begin(self, wall: int, offset: int) -> bool:
        """Believe the first reading that is not before the floor; after that only the distance counts."""
        if self._base_ns is not None or wall < self._floor_ns:
            return False
        self._believe(offset)
        return True

    def _believe(self, offset: int) -> None:
        self._base_ns = offset
        self._low, self._high = offset - self._jump_ns, offset + self._jump_ns


def _read(state_file: Path) -> int:
    """The last time known good, or 0 where there is none: then only the release and the journal say."""
    try:
        with state_file.open("rb") as file:
            text = file.read(MOST_STATE_BYTES + 1)
    except OSError:
        return 0
    return int(text) if len(text) <= MOST_STATE_BYTES and text.strip().isdigit() else 0


def _write(state_file: Path, wall_ns: int) -> None:
    fresh = state_file.with_name(state_file.name + ".new")
    with fresh.open("wb") as file:
        file.write(b"%d\n" % wall_ns)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(state_file)
