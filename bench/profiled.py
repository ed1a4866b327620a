"""Where the time goes: one run of the gateway with a profiler beside it.

`calls` is cProfile over mixed-64. It makes Python calls about twice as dear and leaves C calls alone: shares
lean towards small Python functions. What it calls `{method 'run' of 'uvloop.loop.Loop'}` is the loop itself
and its system calls.

`libraries` is perf(1), which samples the processor and slows nothing down, over reads-64 with TLS and
plain-64: shares by library (the kernel, the interpreter, OpenSSL, uvloop), and the dearest functions of each.
"""

import io
import pstats
import shutil
import subprocess
from pathlib import Path

from bench.measure import GATEWAY, Bench
from bench.programs import BenchError
from bench.site import DEFAULT, Scene
from gateway.config.settings import Security

LINES = 45
SAMPLES = 1999
"A second; a prime, so that nothing periodic is in step with it."
LEAST_SHARE = 0.7
"Functions below this share, in percent, are left out."


def calls(bench: Bench, to: Path) -> str:
    """Run, keep the profile in a file, and give the functions that cost most as text."""
    with bench.up(GATEWAY, wrapper=("-m", "cProfile", "-o", str(to))) as running:
        result = running.run(64)
    text = io.StringIO()
    pstats.Stats(str(to), stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return f"{result.requests} requests in the window\n{text.getvalue()}"


def libraries(bench: Bench, assets: int, to: Path) -> str:
    """Run with TLS and without, and give the shares of each as text; BenchError where perf may not sample."""
    if shutil.which("perf") is None:
        raise BenchError("perf is missing: apt-get install linux-perf")
    scenes = {"reads-64": Scene(assets), "plain-64": Scene(assets, DEFAULT, Security.NONE)}
    return "\n".join(_sampled(bench, name, scene, to) for name, scene in scenes.items())


def _sampled(bench: Bench, name: str, scene: Scene, to: Path) -> str:
    with bench.up(GATEWAY, scene) as running:
        pids = ",".join(map(str, running.where.pids))
        record = ["perf", "record", "-q", "-F", str(SAMPLES), "-o", str(to), "-p", pids]
        sampler: list[subprocess.Popen[bytes]] = []
        result = running.run(
            64, writes=0.0, measuring=lambda: sampler.append(subprocess.Popen(record, stderr=subprocess.PIPE))
        )
        sampler[0].terminate()
        _, said = sampler[0].communicate()
    cost = result.cpu_s / result.requests * 1e6
    by_library = _report(to, "dso", said)
    by_function = _report(to, "dso,symbol", said, "--percent-limit", str(LEAST_SHARE))
    return f"{name}: {cost:.1f} us a request, {result.requests} requests\n{by_library}\n{by_function}"


def _report(profile: Path, by: str, said: bytes, *options: str) -> str:
    command = ["perf", "report", "-q", "--stdio", "-i", str(profile), "-F", f"overhead,{by}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise BenchError(f"perf has nothing to report:\n{said.decode()}{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines() if line.strip()) + "\n"
