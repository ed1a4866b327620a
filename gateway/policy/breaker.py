"""Whether the OPA server counts as there: a state machine without a clock, moved by what came of questions.

    there     it is asked
    failing   the last answer failed, and fewer than FAILURES in a row: it is still asked
    away      FAILURES in a row: nobody waits for it any more; only probes ask, until one succeeds

Reads may be decided without OPA from the first failure of a row on, for a bounded time; a success ends the
row.
"""

FAILURES = 3
"In a row, before OPA counts as away. One lost answer is no outage; three are 750 ms at the most."
PROBE_NS = 250_000_000
"How often OPA is asked while its last answer failed: it is back within two of these."
IDLE_NS = 1_000_000_000
"How long OPA may go unasked while all is well, so that an outage is noticed before somebody needs an answer."


class Breaker:
    """All times are monotonic ns."""

    def __init__(self, without_ns: int) -> None:
        """`without_ns`: how long reads may be decided without OPA, from the first failure on."""
        self._without_ns = without_ns
        self._failures = 0
        self._since_ns = 0
        self._succeeded_ns: int | None = None
        self._looked_ns: int | None = None
        self.away = False
        "Whether it is asked by probes only."

    def succeeded(self, now_ns: int) -> bool:
        """An answer came that OPA vouches for. True if it was away until now."""
        back, self.away = self.away, False
        self._failures = 0
        self._succeeded_ns = self._looked_ns = now_ns
        return back

    def failed(self, began_ns: int, now_ns: int) -> bool:
        """None came to a question asked at `began_ns`. True if OPA counts as away from now on.

        What was asked before the last success says nothing about now: questions that hung with a server
        which was started again since would call it away once more.
        """
        self._looked_ns = now_ns
        if self._succeeded_ns is not None and began_ns < self._succeeded_ns:
            return False
        if self._failures == 0:
            self._since_ns = now_ns
        self._failures += 1
        gone, self.away = not self.away and self._failures >= FAILURES, self._failures >= FAILURES
        return gone

    def due(self, now_ns: int) -> bool:
        """Whether it is time for a probe."""
        pause = PROBE_NS if self._failures else IDLE_NS
        return self._looked_ns is None or now_ns - self._looked_ns >= pause

    def without_ns(self, now_ns: int) -> int:
        """How long OPA has not answered; 0 while it does."""
        return max(0, now_ns - self._since_ns) if self._failures else 0

    def reads(self, now_ns: int) -> bool:
        """Whether reads may be decided: while OPA answers, and without it for the time set."""
        return not self._failures or self.without_ns(now_ns) < self._without_ns
