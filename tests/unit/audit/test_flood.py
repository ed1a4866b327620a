"""The flood rule, with a clock moved by hand (invariant 10)."""

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.audit import flood
from gateway.audit.flood import MINUTE, Bucket, Flood, Key, key
from gateway.audit.reader import records
from gateway.model.record import RecordKind
from tests.unit.audit import world
from tests.unit.audit.world import DENY, Clock, caller, writing

SOURCE = key("denial", "10.0.0.7", "spiffe://x/a", "default", "plc-1")


def offer(rule: Flood, of: Key, mono_ns: int, size: int = 1000) -> bool:
    tally = rule.may_write(of, mono_ns, mono_ns)
    return tally is not None and rule.spend(tally, size, mono_ns)


def test_the_first_ten_of_a_minute_in_full_and_the_rest_counted_once() -> None:
    rule = Flood(10, 1 << 20)
    written = [offer(rule, SOURCE, i * 1_000_000) for i in range(500)]
    assert written == [True] * 10 + [False] * 490
    assert rule.due(MINUTE - 1) == []
    (tally,) = rule.due(MINUTE)
    assert (tally.full, tally.counted) == (10, 490)
    assert offer(rule, SOURCE, MINUTE), "the next minute begins anew"


def test_another_reason_or_target_has_a_count_of_its_own() -> None:
    rule = Flood(1, 1 << 20)
    others = [key("denial", "10.0.0.7", "spiffe://x/a", "default", f"plc-{i}") for i in range(2, 7)]
    assert [offer(rule, of, 0) for of in [SOURCE, *others, SOURCE]] == [True] * 6 + [False]


def test_a_quiet_key_leaves_no_summary() -> None:
    rule = Flood(10, 1 << 20)
    offer(rule, SOURCE, 0)
    assert rule.due(MINUTE) == []
    assert not rule._tallies


def test_keys_without_end_are_counted_together() -> None:
    rule = Flood(10, 1 << 30)
    for i in range(flood.MOST_KEYS + 5000):
        offer(rule, key("auth", f"10.{i}", "", "no_certificate", "north"), 0)
    assert len(rule._tallies) == flood.MOST_KEYS + 1
    counted = [tally for tally in rule.due(MINUTE) if tally.counted]
    assert [(t.key.source, t.counted) for t in counted] == [(flood.OTHERS, 4990)]


def test_no_minute_sees_more_bytes_than_the_budget() -> None:
    bucket, budget = Bucket(600_000), 600_000
    spent = [(t, 1000) for t in range(0, 5 * MINUTE, MINUTE // 3000) if bucket.take(1000, t)]
    for begin in range(0, 4 * MINUTE, MINUTE // 7):
        within = sum(size for at, size in spent if begin <= at < begin + MINUTE)
        assert within <= budget
    assert sum(size for _, size in spent) > budget


def test_strangers_leave_half_to_certified_callers() -> None:
    rule = Flood(1_000_000, 1 << 20)
    stranger = key("auth", "10.9.9.9", "", "no_certificate", "north")
    while offer(rule, stranger, 0):
        pass
    room = 0
    while offer(rule, SOURCE, 0):
        room += 1000
    assert room > (1 << 20) // 4 - 10_000


def test_the_journal_grows_within_its_budget_and_every_denial_is_accounted_for(tmp_path: Path) -> None:
    budget, denials = 256 * 1024, 20_000

    async def run() -> None:
        clock = Clock()
        journal = world.journal(tmp_path, clock, growth_bytes_per_minute=budget, window_s=3600.0)
        journal.open()
        await journal.start(asyncio.get_running_loop())
        before = journal.status()["segment_bytes"]
        for i in range(denials):
            who = caller(subject=f"spiffe://x/{i % 700}", source=f"10.0.{i % 3}.7")
            journal.denied(who, writing(start=i % 50), DENY, clock.forward(60 / denials))
            if i % 1000 == 0:
                journal.event(
                    RecordKind.AUTH,
                    {"result": "refused", "code": "no_certificate"},
                    clock(),
                    source="1.2.3.4",
                )
                await asyncio.sleep(0)
                # The clock runs ahead of a real disk, which is no stall of the disk.
                while journal.status()["queue"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        clock.forward(61)
        await journal.stop()
        assert journal._log is not None
        assert (
            journal._log.used - before < 2 * budget + 4096
        )  # the flood's minute and the one of its summaries

    asyncio.run(run())
    told: list[dict[str, Any]] = [json.loads(data) for _, data in records(tmp_path)]
    full = sum(r["kind"] == "denial" for r in told)
    counted = sum(
        r["note"]["count"] for r in told if r["kind"] == "suppressed" and r["note"]["of"] == "denial"
    )
    assert full + counted == denials
    assert full >= 10
