"""Decisions a second at the mixed polling load, and how long callers wait while policy is replaced.

Both run what the gateway runs when a bundle changes: as it was (checked in a thread, every live question
evaluated again when it is next asked), and as it is (checked, tested and rehearsed in the workshop, adopted
with a warm cache), with the time that a reload has and with all the time it wants.
"""

import asyncio
import random
import resource
from pathlib import Path
from time import perf_counter, process_time, thread_time

from msgspec import Struct
from msgspec.structs import replace

from bench.policy.costs import SMALL, decider
from bench.policy.estate import FACTS, NOW, Asked, bundle, callers, mixed, reads
from bench.report import Row
from gateway.model.moment import Now
from gateway.model.ulid import Ulids
from gateway.policy.bundle import Bundle
from gateway.policy.decider import Decider, prepare
from gateway.policy.elsewhere import Workshop
from gateway.policy.loader import load
from gateway.policy.rehearsal import Limits, prepare_elsewhere, warmed

ENTRIES = 100_000
RATE = 150_000
"Decisions a second that the load's own clock counts, so that entries grow old as they would."
DECISIONS = 1_500_000
"Ten seconds of that, with one change of policy, as in `mixed-N` of the other benches."
ASKED_PER_S = 5_000
"While callers' waits are measured: half of what a gateway relays on one core."
PATIENT = Limits(rehearse_s=30)
"All live questions are rehearsed."


class Swap(Struct):
    """One replacement of the bundle, and what it cost."""

    shop: Workshop
    limits: Limits | None
    "None: as it was."

    async def __call__(self, engine: Decider, fresh: Bundle, now: Now) -> None:
        if self.limits is None:
            engine.adopt(await asyncio.to_thread(prepare, fresh))
            return
        assert engine.active is not None
        live = engine.active.cache.live(now.mono_ns, self.limits.most_live)
        found = await prepare_elsewhere(self.shop, fresh, live, FACTS, now, Ulids(2), self.limits)
        assert not found.flips, "the bundles decide alike"
        engine.adopt(found.policy, await warmed(found, ENTRIES))


def rows(folder: Path, decisions: int = DECISIONS) -> list[Row]:
    """The rows of both, as it was and as it is."""
    bundles = [bundle(folder / f"load-{number}", SMALL, number) for number in (1, 2)]
    return asyncio.run(_rows(bundles, decisions))


async def _rows(bundles: list[Bundle], decisions: int) -> list[Row]:
    shop = Workshop()
    try:
        await shop.prepare(bundles[0], 60)  # the workshop has been used before, as after a start
        made: list[Row] = []
        for name, limits in (("cold", None), ("rehearsed-0.3s", Limits()), ("rehearsed", PATIENT)):
            swap = Swap(shop, limits)
            made += await _throughput(f"policy-mixed-{name}", bundles, swap, decisions)
            made += await _waits(f"policy-reload-{name}", bundles, swap)
        return made
    finally:
        await shop.close()


async def _throughput(name: str, bundles: list[Bundle], swap: Swap, decisions: int) -> list[Row]:
    """Processor time of this process over all decisions and the change of policy among them."""
    dice = random.Random(1)
    asked = mixed(dice, SMALL, 100_000)
    engine = decider(load(bundles[0]), ENTRIES)
    _decide(engine, asked, 0, 2 * len(asked))
    began = process_time()
    half = decisions // 2
    now = _decide(engine, asked, 2 * len(asked), half)
    await swap(engine, bundles[1], now)
    _decide(engine, asked, 2 * len(asked) + half, half)
    spent = process_time() - began
    return [
        Row(name, "gateway", "decisions_per_core", round(2 * half / spent), "1/s"),
        Row(name, "gateway", "cpu_per_decision", round(spent / (2 * half) * 1e6, 3), "us"),
    ]


def _decide(engine: Decider, asked: list[Asked], start: int, many: int) -> Now:
    decide, now = engine.decide, NOW
    for first in range(start, start + many, 100):
        now = replace(NOW, mono_ns=first * 1_000_000_000 // RATE)
        place = first % len(asked)
        for one in asked[place : place + 100]:
            decide(one.caller, one.operation, now, one.writes_60s)
    return now


async def _waits(name: str, bundles: list[Bundle], swap: Swap) -> list[Row]:
    """Ask 10,000 questions round and round at a fixed rate; policy changes; how late is the latest answer?"""
    caller, operations = callers(1)[0], reads(SMALL)
    engine = decider(load(bundles[0]), ENTRIES)
    for operation in operations:
        engine.decide(caller, operation, _now())
    late: list[float] = []
    turns: list[float] = []
    done = False

    async def ask() -> None:
        number, began = 0, perf_counter()
        while not done:
            turn = thread_time()
            while (due := began + number / ASKED_PER_S) <= perf_counter():
                engine.decide(caller, operations[number % len(operations)], _now())
                late.append(perf_counter() - due)
                number += 1
            turns.append(thread_time() - turn)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask())
        await asyncio.sleep(1.0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        began = perf_counter()
        late.clear()
        turns.clear()
        await swap(engine, bundles[1], _now())
        took = perf_counter() - began
        await asyncio.sleep(4.0)  # twice round
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
        done = True
    late.sort()
    return [
        Row(name, "gateway", "longest_wait", round(late[-1] * 1e3, 1), "ms"),
        Row(name, "gateway", "p99_wait", round(late[int(len(late) * 0.99)] * 1e3, 1), "ms"),
        Row(name, "gateway", "longest_turn_cpu", round(max(turns) * 1e3, 1), "ms"),
        Row(name, "gateway", "until_active", round(took * 1e3), "ms"),
        Row(name, "gateway", "cpu_of_reload", round(spent, 3), "s"),
    ]


def _now() -> Now:
    return replace(NOW, mono_ns=int(perf_counter() * 1e9))
