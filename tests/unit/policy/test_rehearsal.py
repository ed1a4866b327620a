"""The rehearsal: another process checks a bundle and says what flips; if it dies, the gateway goes on."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.model.decision import Allowed, Denied, Origin
from gateway.model.errors import PolicyError
from gateway.model.ulid import Ulids
from gateway.policy import child, elsewhere, jobs, rehearsal
from gateway.policy.bundle import Bundle
from gateway.policy.cache import Cache, LiveQuestion, Projection
from gateway.policy.decider import Decider, prepare
from gateway.policy.elsewhere import Workshop
from gateway.policy.rehearsal import Limits, Rehearsed, prepare_elsewhere, warmed
from tests.policy.questions import NOW, OPEN, caller, read, shipped, write
from tests.unit.policy.bundles import HEAD, changed

HMI = caller("spiffe://demo.example/plant/hmi-1", "operator")
NOBODY = caller("spiffe://demo.example/plant/nobody", "operator")
PATIENT = Limits(rehearse_s=20)
SLOW = """
n := numbers.range(1, 3000)

deny contains {"code": "site.slow", "msg": "slow"} if {
	input.modbus.start == 77
	some a in n
	some b in n
	a * b == 0
}
"""
"Nine million steps, some seconds, where somebody asks about address 77."
TOO_SLOW = SLOW.replace("input.modbus.start == 77", "input.op.protocol").replace("3000", "100000")
"The same about everything, and for hours."


class Settings:
    """Of a decider."""

    cache_entries = 10_000
    recheck_one_in = 1_000_000


@asynccontextmanager
async def workshop() -> AsyncIterator[Workshop]:
    shop = Workshop()
    try:
        yield shop
    finally:
        await shop.close()


def asking(many: int) -> Decider:
    """A decider whose cache knows that many questions of two callers."""
    decider = Decider(Ulids(7), Settings(), lambda _code, _note: None)
    decider.adopt(prepare(shipped()))
    decider.facts = OPEN
    for start in range(many):
        for who in (HMI, NOBODY):
            decider.decide(who, read(start), NOW)
    return decider


def live(decider: Decider, most: int = 10_000) -> list[LiveQuestion]:
    assert decider._active is not None
    return decider._active.cache.live(NOW.mono_ns, most)


async def rehearse(shop: Workshop, bundle: Bundle, decider: Decider, limits: Limits = PATIENT) -> Rehearsed:
    return await prepare_elsewhere(shop, bundle, live(decider), OPEN, NOW, Ulids(8), limits)


async def test_what_flips_is_told_and_what_widens_comes_first(tmp_path: Path) -> None:
    """The viewers' reads go to everybody with the role of operators, and one address is closed."""
    decider = asking(3)
    grants = shipped().files["data/grants.yaml"].decode()
    widened = "  - {id: x, subjects: ['spiffe://demo.example/plant/nobody'], actions: [read],\n"
    widened += "     protocols: [modbus], assets: [plc-1], modbus: [{table: input, ranges: [[0, 1]]}]}\n"
    rule = 'deny contains {"code": "site.closed", "msg": "closed"} if data.dmz.lib.touches("input", 0)\n'
    bundle = changed(tmp_path, {"data/grants.yaml": grants + widened, "site/demo/more.rego": HEAD + rule})
    async with workshop() as shop:
        found = await rehearse(shop, bundle, decider)
    assert [(flip.widens, flip.subject, flip.tags) for flip in found.flips] == [
        (True, NOBODY.identity.subject, ("plc-1.level",)),
        (False, HMI.identity.subject, ("plc-1.level",)),
    ]
    lost = found.flips[1]
    assert (lost.was, lost.becomes, lost.asset, lost.kind) == (
        "allow",
        "deny",
        "plc-1",
        "modbus.read_input_registers",
    )
    assert (lost.source, lost.listener) == (HMI.source, HMI.listener)
    assert [reason.code for reason in lost.reasons] == ["site.closed"]
    assert (found.widened, found.narrowed, found.left_out, found.why) == (1, 1, 0, "")


async def test_what_was_rehearsed_is_what_would_have_been_evaluated(tmp_path: Path) -> None:
    rule = 'deny contains {"code": "site.closed", "msg": "closed"} if data.dmz.lib.touches("input", 0)\n'
    bundle = changed(tmp_path, {"site/demo/more.rego": HEAD + rule})
    decider = asking(40)
    async with workshop() as shop:
        found = await rehearse(shop, bundle, decider)
    assert len(found.decisions) == 80
    decider.adopt(prepare(bundle))
    for one, rehearsed in found.decisions:
        fresh = decider._evaluate(decider._active, one.caller, one.operation, NOW)  # type: ignore[arg-type]
        change = {"evaluation": rehearsed.evaluation, "question": b""}
        assert msgspec.structs.replace(fresh, **change) == rehearsed


async def test_the_policy_is_what_would_have_been_prepared_here(tmp_path: Path) -> None:
    brake = changed(tmp_path, {"data/grants.yaml": "grants: []\n"})
    here = prepare(brake)
    assert here.warnings
    async with workshop() as shop:
        assert await shop.prepare(brake, 20) == here


async def test_a_warm_cache_answers_at_once_and_its_entries_are_as_old_as_their_evaluation() -> None:
    decider = asking(40)
    async with workshop() as shop:
        found = await rehearse(shop, shipped(), decider)
    cache = await warmed(found, 10_000)
    assert len(cache) == 80
    for one, decision in found.decisions:
        shared = cache.find(one.caller, one.operation, NOW.mono_ns + 29 * 10**9)
        assert shared is not None
        assert (shared.origin, shared.evaluation) == (Origin.CACHED, decision.evaluation)
        assert cache.find(one.caller, one.operation, NOW.mono_ns + 60 * 10**9) is None


async def test_with_other_facts_it_starts_cold() -> None:
    decider = asking(2)
    async with workshop() as shop:
        found = await rehearse(shop, shipped(), decider)
    cache = await warmed(found, 10_000)
    cache.facts(OPEN)
    assert len(cache) == 4, "equal facts are the same facts"
    cache.facts(msgspec.structs.replace(OPEN, windows=("working-hours",)))
    assert len(cache) == 0


async def test_a_rule_that_never_ends_is_refused_in_time_and_the_gateway_goes_on(tmp_path: Path) -> None:
    bundle = changed(tmp_path, {"site/demo/more.rego": HEAD + TOO_SLOW})
    stalls, began = [], time.monotonic()

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            stalls.append(time.monotonic() - before)

    async with workshop() as shop, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        with pytest.raises(PolicyError, match="takes longer than 2 s"):
            await shop.prepare(bundle, 2.0)
        watching.cancel()
        assert shop.pid is None
        assert await shop.prepare(shipped(), 20) == prepare(shipped()), "and the next bundle is prepared"
    assert time.monotonic() - began < 15
    assert max(stalls) < 1.0


async def test_a_question_that_never_ends_means_a_cold_start_and_no_more(tmp_path: Path) -> None:
    """The bundle takes rights away; one of its rules is slow where somebody asks. It must come into force."""
    bundle = changed(tmp_path, {"data/grants.yaml": "grants: []\n", "site/demo/more.rego": HEAD + SLOW})
    decider = asking(80)
    async with workshop() as shop:
        await shop.prepare(bundle, 20)
        began = time.monotonic()
        found = await rehearse(shop, bundle, decider, Limits(ask_s=0.5))
        assert time.monotonic() - began < 5
    assert found.policy.bundle.revision == bundle.revision
    assert "takes longer than 0.5 s" in found.why
    assert found.left_out > 0
    assert len(found.decisions) + found.left_out == 160


@pytest.mark.parametrize(
    ("limits", "asked", "why"),
    [
        (Limits(rehearse_s=0.0), 0, "rehearsing takes longer than 0 s"),
        (Limits(rehearse_s=20, most_live=3), 3, "more than 3 questions are asked"),
    ],
)
async def test_what_is_beyond_the_bounds_starts_cold(limits: Limits, asked: int, why: str) -> None:
    decider = asking(4)
    async with workshop() as shop:
        found = await rehearse(shop, shipped(), decider, limits)
    assert (len(found.decisions), found.left_out, found.why) == (asked, 8 - asked, why)


async def test_a_workshop_that_is_killed_is_refused_and_the_next_one_works() -> None:
    async with workshop() as shop:
        await shop.prepare(shipped(), 20)
        first = shop.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(0.2, os.kill, first, signal.SIGKILL)
        with pytest.raises(PolicyError, match="signal 9"):
            await shop.prepare(shipped(), 20)
        await shop.prepare(shipped(), 20)
        assert shop.pid not in (None, first)


async def test_a_bundle_that_eats_memory_ends_the_workshop_only(tmp_path: Path) -> None:
    rule = 'deny contains {"code": "site.big", "msg": "big"} if count(numbers.range(1, 2000000000)) == 1\n'
    bundle = changed(tmp_path, {"site/demo/more.rego": HEAD + rule})
    async with workshop() as shop:
        with pytest.raises(PolicyError, match=r"ended the process: signal|takes longer than"):
            await shop.prepare(bundle, 10)


async def test_whoever_gives_up_waiting_leaves_no_answer_for_the_next() -> None:
    async with workshop() as shop:
        await shop.prepare(shipped(), 20)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await shop.prepare(shipped(), 20)
        assert (await shop.prepare(shipped(), 20)).bundle == shipped()


async def test_a_bad_bundle_is_refused_with_its_faults(tmp_path: Path) -> None:
    bad = changed(tmp_path, {"site/demo/more.rego": HEAD + "x if nonsense(1)\n"})
    async with workshop() as shop:
        with pytest.raises(PolicyError, match=r"site/demo/more.rego:5: unknown function nonsense"):
            await shop.prepare(bad, 20)


async def test_questions_about_another_revision_are_not_answered() -> None:
    async with workshop() as shop:
        ask = jobs.Ask("0" * 64, OPEN, NOW, (HMI,), (jobs.Live(0, read(), "01"),), 5.0)
        with pytest.raises(PolicyError, match="not what was prepared last"):
            await shop.ask(ask)


async def test_it_ends_with_its_input_and_with_its_parent() -> None:
    shop = Workshop()
    await shop.prepare(shipped(), 20)
    pid = shop.pid
    assert pid is not None
    await shop.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    orphan = await asyncio.create_subprocess_exec(
        *child.command(elsewhere.MODULE, parent=1),
        stdin=asyncio.subprocess.PIPE,
        env=child.environment(),
    )
    async with asyncio.timeout(20):
        assert await orphan.wait() == 1, "its parent is another"


def test_flips_are_told_up_to_a_bound_and_counted_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_FLIPS", 2)
    decider = asking(3)
    denied = decider.decide(NOBODY, read(0), NOW)
    flipped = [(one, denied) for one in live(decider) if isinstance(one.decision, Allowed)]
    found = rehearsal._rehearsed(prepare(shipped()), OPEN, NOW, flipped, 0, "")
    assert (len(found.flips), found.narrowed, found.widened) == (2, 3, 0)


def test_live_questions_are_those_evaluated_last() -> None:
    decider = asking(50)
    found = live(decider, 3)
    assert [one.operation.modbus.start for one in found if one.operation.modbus] == [49, 49, 48]
    assert [one.caller for one in found] == [NOBODY, HMI, NOBODY]
    assert isinstance(found[0].decision, Denied)
    assert decider._active is not None
    assert decider._active.cache.live(NOW.mono_ns + 60 * 10**9, 10) == [], "what is too old is not live"
    decider.decide(HMI, write(), NOW, 0)
    assert all(one.operation.modbus and one.operation.modbus.fc == 4 for one in live(decider))


def test_live_questions_survive_what_is_forgotten() -> None:
    cache = Cache(Projection(prepare(shipped()).paths), 5)
    denied = asking(0).decide(NOBODY, read(), NOW)
    for start in range(100):
        cache.warm(HMI, read(start), denied, 0)
        assert len(cache.live(0, 10)) <= 5
        assert all(one.operation == read(start) for one in cache.live(0, 1))
