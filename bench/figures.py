"""What is computed from what the load generator measured: the rows of each bench."""

from bench.programs import Result
from bench.report import Row, compare

BUSY = 0.95
"Requests a second mean something only where the subject's core was at least this busy."


def closed_rows(bench: str, results: dict[str, Result], peer: str, reloads: int = 0) -> list[Row]:
    """Of a closed loop: what a request costs first of all."""
    busy = {name: r.cpu_s / r.seconds for name, r in results.items()}
    full = all(share >= BUSY for share in busy.values())
    latencies = {name: r.latency_us for name, r in results.items() if r.latency_us is not None}
    steady = {n: _steady_us(r, reloads) for n, r in results.items()} if reloads else {}
    rates = {n: r.requests / r.seconds for n, r in results.items()}
    return [
        *compare(bench, "cpu_per_request", "us", {n: _cpu_us(r) for n, r in results.items()}, peer),
        *compare(bench, "cpu_before_reload", "us", steady, peer),
        *compare(bench, "core_busy", "share", busy, peer, comparable=False),
        *compare(bench, "requests", "1/s", rates, peer, comparable=full),
        *compare(bench, "p50", "us", {n: p.p50 for n, p in latencies.items()}, peer),
        *compare(bench, "p99", "us", {n: p.p99 for n, p in latencies.items()}, peer),
    ]


def paced_rows(bench: str, results: dict[str, Result], peer: str, direct: str) -> list[Row]:
    """At a fixed rate: what each subject adds to the latency of asking the plant directly."""
    p50 = {n: r.latency_us.p50 for n, r in results.items() if r.latency_us is not None}
    p99 = {n: r.latency_us.p99 for n, r in results.items() if r.latency_us is not None}
    floor = p99.get(direct, 0.0)
    added = {n: value - floor for n, value in p99.items() if n != direct}
    rate = {n: r.requests / r.seconds for n, r in results.items()}
    return [
        *compare(bench, "requests", "1/s", rate, peer, comparable=False),
        *compare(bench, "p50", "us", p50, peer),
        *compare(bench, "p99", "us", p99, peer),
        *compare(bench, "added_p99", "us", added, peer),
    ]


def reload_rows(bench: str, subject: str, result: Result) -> list[Row]:
    """How long a caller waits at worst when policy is replaced."""
    assert result.latency_us is not None
    return [
        Row(bench, subject, "p50", result.latency_us.p50, "us"),
        Row(bench, subject, "p99", result.latency_us.p99, "us"),
        Row(bench, subject, "longest", result.latency_us.max, "us"),
    ]


def write_rows(bench: str, subject: str, result: Result) -> list[Row]:
    """Of durable writes, which nobody else makes."""
    assert result.write_latency_us is not None
    return [
        Row(bench, subject, "durable_writes", round(result.writes / result.seconds, 1), "1/s"),
        Row(bench, subject, "cpu_per_request", round(_cpu_us(result), 3), "us"),
        Row(bench, subject, "core_busy", round(result.cpu_s / result.seconds, 3), "share"),
        Row(bench, subject, "p50", result.write_latency_us.p50, "us"),
        Row(bench, subject, "p99", result.write_latency_us.p99, "us"),
    ]


def _cpu_us(result: Result) -> float:
    return result.cpu_s / result.requests * 1e6


def _steady_us(result: Result, reloads: int) -> float:
    """What a request costs before the first reload, from the half seconds that ended before it."""
    slices = result.slices or []
    before = slices[: int(len(slices) / (reloads + 1))]
    requests = sum(s.requests for s in before)
    return sum(s.cpu_s for s in before) / requests * 1e6 if requests else _cpu_us(result)
