"""The moment, always as an argument: below floor 3 nobody asks a clock."""

from msgspec import Struct

SECOND = 1_000_000_000
"Nanoseconds in a second."


class Now(Struct, frozen=True, gc=False):
    """One reading of both clocks, taken in `relay` and handed down."""

    wall_ns: int
    "Nanoseconds since 1970-01-01T00:00:00Z, as the machine says; a boot in 1970 says so here."
    mono_ns: int
    "Nanoseconds of a clock that never jumps; only differences mean anything."
    trusted: bool
    "Whether the wall clock is believed (see `relay/clock.py`)."
    judge_ns: int
    "The time to judge certificates and CRLs by: the wall clock where trusted, else the last time known good."
