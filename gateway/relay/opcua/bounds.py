"""What one OPC UA peer may cost the others: bounds that no site sets, and the bucket that meters requests.

What sites set is in `config.settings.OpcuaListener`. DESIGN invariant 9: each has a test that crosses it.
"""

from gateway.model.moment import SECOND

PACKETS_A_TURN = 16
"Frames of one connection handled in one turn of the loop: then whoever else has something is looked at."
BURST_SHARE = 5
"A connection may send a fifth of what it may send in a second at once."
LOOK_AGAIN_S = 0.02
"An empty bucket is looked at again after this long; meanwhile nothing is read from the peer."
HIGH_WATER = 262_144
"Bytes waiting for a peer that does not read its answers; above it no request of its is read or handled."
MOST_WAITING = 32 * 1024 * 1024
"""Bytes waiting for a peer at the most, twice the longest answer of a server: one that asks for much and
reads nothing is cut."""
WAITING_SESSIONS = 2
"One in so many connections may be without an active session; beyond that the oldest such makes room."
OPENINGS_PER_SECOND = 50.0
"""Channels that one address may begin to open in a second, after a burst of as many: each costs RSA
operations with our private key, and an unauthenticated flood must not take the processor from who is in."""
SESSIONS_PER_SECOND = 50.0
"CreateSession and ActivateSession of one address in a second, after a burst of as many: as costly."
STRANGER_PER_S = 100.0
"Frames a second from a connection that has come to no session yet: a handshake is five, and discovery free."
SWEEP_S = 0.05
"How often time-outs of connections, sessions and requests are looked for: one timer for all of a listener."
CLOSING_S = 2.0
"How long a closing connection may take to deliver its last bytes."
DECIDED_A_TURN = 50
"""Items of one request that are decided in one turn of the loop: an evaluation takes up to 0.2 ms, an answer
that is at hand nearly nothing."""
MOST_ACTS = 100
"""Nodes written or methods called by one request: each is evaluated, none from the cache, and all of them
stand in one record before any of them is done."""
MOST_WARM = 256
"Batches of which it is remembered that their decisions are at hand."
REJUDGED_A_TURN = 50
"Monitored items decided again between two looks at the rest, after policy or facts changed."


class Bucket:
    """A token bucket for one connection."""

    __slots__ = ("_burst", "_per_s", "_since_ns", "tokens")

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._burst = max(1.0, per_s / BURST_SHARE)
        self.tokens = self._burst
        self._since_ns = 0

    def fill(self, mono_ns: int) -> None:
        """What time gave since the last look."""
        if self._since_ns:
            grown = self.tokens + (mono_ns - self._since_ns) / SECOND * self._per_s
            self.tokens = min(self._burst, grown)
        self._since_ns = mono_ns
