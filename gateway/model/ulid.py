"""ULIDs without a clock or dice of their own: time is an argument, randomness a seed."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


class Ulids:
    """A source of ULIDs that never go backwards, even when the wall clock does.

    Within one millisecond (or while the clock is behind) the random part counts up, as the ULID
    specification's monotonic mode says.
    """

    __slots__ = ("_last_ms", "_tail")

    def __init__(self, seed: int) -> None:
        self._last_ms = 0
        self._tail = seed & ((1 << 79) - 1)

    def next(self, wall_ns: int) -> str:
        """The next ULID for that time; 26 characters of Crockford's base 32."""
        self._last_ms = max(wall_ns // 1_000_000, self._last_ms)
        self._tail += 1
        number = (self._last_ms & ((1 << 48) - 1)) << 80 | self._tail & ((1 << 80) - 1)
        pairs = _PAIRS
        return "".join([pairs[number >> shift & 1023] for shift in range(120, -1, -10)])
