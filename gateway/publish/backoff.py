"""How long to leave alone who did not answer: exponential, bounded, with jitter from a passed-in source."""

from random import Random

from gateway.model.moment import SECOND

FIRST_S = 1.0
"The first pause; each further one is twice as long, up to the limit."
MOST_DOUBLINGS = 20
"The exponent stops here, so that a device that is off for a year does not make the number grow."


class BackOff:
    """Failures in a row, and until when nobody should try."""

    __slots__ = ("_limit_s", "_random", "failures", "until_ns")

    def __init__(self, limit_s: float, random: Random) -> None:
        self._limit_s = limit_s
        self._random = random
        self.failures = 0
        self.until_ns = 0

    def failed(self, mono_ns: int) -> float:
        """One more failure; gives the pause in seconds, between half and all of the doubled one."""
        doubled = FIRST_S * 2.0 ** min(self.failures, MOST_DOUBLINGS)
        self.failures += 1
        pause_s = min(self._limit_s, doubled) * self._random.uniform(0.5, 1.0)
        self.until_ns = mono_ns + int(pause_s * SECOND)
        return pause_s

    def answered(self) -> None:
        """It lives."""
        self.failures = 0
        self.until_ns = 0

    def waiting(self, mono_ns: int) -> bool:
        """Whether it is still to be left alone."""
        return mono_ns < self.until_ns
