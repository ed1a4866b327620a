"""Where the time goes: one run of mixed-64 with the gateway under cProfile."""

import io
import pstats
from pathlib import Path

from bench.measure import GATEWAY, Bench

LINES = 45


def profile(bench: Bench, to: Path) -> str:
    """Run, keep the profile in a file, and give the functions that cost most as text.

    cProfile makes Python calls about twice as dear and leaves C calls alone: shares lean towards small
    Python functions. What it calls `{method 'run' of 'uvloop.loop.Loop'}` is the loop itself and its system
    calls.
    """
    with bench.up(GATEWAY, wrapper=("-m", "cProfile", "-o", str(to))) as running:
        result = running.run(64)
    text = io.StringIO()
    pstats.Stats(str(to), stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return f"{result.requests} requests in the window\n{text.getvalue()}"
