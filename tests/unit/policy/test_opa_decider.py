"""Deciding by OPA: what is asked, what is at hand, what the embedded engine may stand in for, and what not.

The server here is a second embedded engine behind a function that a test can break, and the clock is moved
by hand. With a real server: tests/policy/test_two_engines.py and tests/faults/test_opa_away.py.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.guard.passage import Door, enter, finish
from gateway.guard.ports import Engine as Port
from gateway.guard.verdict import Forward, Pending
from gateway.model.decision import Allowed, Approval, Decision, Denied, Origin
from gateway.model.identity import Authentication, Kind
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, Operation, Protocol
from gateway.model.ulid import Ulids
from gateway.policy import crosscheck
from gateway.policy.breaker import FAILURES
from gateway.policy.crosscheck import CrossCheck
from gateway.policy.decider import Decider, prepare
from gateway.policy.engine import ENTRYPOINT, Engine
from gateway.policy.facts import Facts
from gateway.policy.loader import Policy
from gateway.policy.opa_decider import OpaDecider
from gateway.policy.remote import AWAY, BACK, ENDED, Remote
from gateway.policy.server import UndecidedError
from tests.policy.questions import NOW, OPEN, caller, read, shipped, write
from tests.scenarios.stage import Bytes, Memory
from tests.unit.policy.bundles import changed

HMI = caller("spiffe://demo.example/plant/hmi-1", "operator")
NOBODY = caller("spiffe://demo.example/plant/nobody")
WITHOUT_S = 60

Answer = Callable[[bytes], Awaitable[bytes]]


@cache
def prepared() -> Policy:
    return prepare(shipped())


class Limits:
    cache_entries = 1_000
    recheck_one_in = 1_000_000


class Bench:
    """A decider by OPA, its server, its clock, and what it told."""

    def __init__(self, one_in: int = 0, folder: Path | None = None, most: int = 1_000) -> None:
        self.mono_ns = NOW.mono_ns
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.alarms: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[bytes] = []
        self.answer: Answer = self.right
        self.decider = Decider(Ulids(7), Limits(), lambda *said: self.alarms.append(said))
        self.decider.adopt(prepared())
        self.decider.facts = OPEN
        self._theirs = Engine(prepared())
        remote = Remote(self, WITHOUT_S, self.clock, lambda *said: self.told.append(said))
        check = CrossCheck(one_in, folder, lambda *said: self.alarms.append(said))
        self.remote = remote
        self.opa = OpaDecider(self.decider, remote, check, most)

    def clock(self) -> Now:
        return msgspec.structs.replace(NOW, mono_ns=self.mono_ns)

    async def decision(self, question: bytes) -> bytes:
        self.asked.append(question)
        return await self.answer(question)

    async def right(self, question: bytes) -> bytes:
        self._theirs._engine.set_input_json(question.decode())
        answer: str = self._theirs._engine.eval_rule_as_json(ENTRYPOINT)
        return answer.encode()

    async def changed(self, question: bytes, **fields: Any) -> bytes:
        return json.dumps({**json.loads(await self.right(question)), **fields}).encode()

    def fails(self, error: Exception) -> None:
        async def answer(_question: bytes) -> bytes:
            raise error

        self.answer = answer

    def says(self, **fields: Any) -> None:
        async def answer(question: bytes) -> bytes:
            return await self.changed(question, **fields)

        self.answer = answer

    def ask(self, operation: Operation, who: Any = HMI) -> Decision:
        return asyncio.run(self.opa.ask(who, operation, self.clock(), 3))

    def go_away(self) -> None:
        self.fails(TimeoutError())
        for _ in range(FAILURES):
            self.ask(write())
        assert self.opa.status.away

    def code(self, operation: Operation) -> str:
        decision = self.ask(operation)
        assert isinstance(decision, Denied)
        return decision.reasons[0].code


def test_is_an_engine_of_the_guard() -> None:
    port: Port = Bench().opa
    assert port.revision == shipped().revision


def test_nothing_is_asked_before_a_bundle_is_active_or_about_what_could_not_be_read() -> None:
    bench = Bench()
    unreadable = msgspec.structs.replace(write(), unreadable="partial_tag")
    assert bench.code(unreadable) == "engine.error"
    empty = OpaDecider(Decider(Ulids(1), Limits(), print), bench.remote, CrossCheck(0, None, print), 1)
    decision = asyncio.run(empty.ask(HMI, read(), NOW))
    assert decision.reasons[0].code == "engine.no_policy"
    assert bench.asked == []


def test_a_read_is_waited_for_once_and_then_shared() -> None:
    bench, operation = Bench(), read()
    assert bench.opa.decide(HMI, operation, NOW) is None, "must be waited for"
    first = bench.ask(operation)
    second = bench.opa.decide(HMI, operation, NOW)
    assert isinstance(first, Allowed)
    assert isinstance(second, Allowed)
    assert (first.origin, second.origin) == (Origin.EVALUATED, Origin.CACHED)
    assert [first.question] == bench.asked, "the record keeps the very bytes that OPA was asked"
    assert json.loads(first.question)["op"]["id"] == first.evaluation == second.evaluation


def test_what_changes_something_is_always_asked() -> None:
    bench = Bench()
    for action in (Action.WRITE, Action.CALL, Action.ADMIN):
        operation = msgspec.structs.replace(write(), action=action)
        assert bench.opa.decide(HMI, operation, NOW, 3) is None
        assert bench.ask(operation).origin is Origin.EVALUATED
        assert bench.ask(operation).origin is Origin.EVALUATED
    assert len(bench.asked) == 6


def test_what_people_approved_is_asked_and_not_shared() -> None:
    bench, operation = Bench(), read()
    bench.ask(operation)
    approval = Approval(id="0" * 26, by=("spiffe://demo.example/plant/boss",))
    decision = asyncio.run(bench.opa.ask(HMI, operation, NOW, None, approval))
    assert isinstance(decision, Allowed)
    assert json.loads(bench.asked[-1])["state"]["approval"] == {"id": approval.id, "by": list(approval.by)}
    assert decision.origin is Origin.EVALUATED


def test_an_answer_under_facts_that_have_changed_meanwhile_is_not_shared() -> None:
    bench, operation = Bench(), read()

    async def answer(question: bytes) -> bytes:
        bench.decider.facts = msgspec.structs.replace(OPEN, windows=("working-hours",))
        return await bench.right(question)

    bench.answer = answer
    bench.ask(operation)
    assert bench.opa.decide(HMI, operation, NOW) is None


def test_an_answer_under_a_bundle_that_was_replaced_meanwhile_is_not_shared(tmp_path: Path) -> None:
    bench, operation = Bench(), read()
    other = prepare(changed(tmp_path, {"data/grants.yaml": "grants: []\n"}))

    async def answer(question: bytes) -> bytes:
        bench.decider.adopt(other)
        return await bench.right(question)

    bench.answer = answer
    decision = bench.ask(operation)
    assert decision.revision == shipped().revision, "a permit of it is worth nothing any more"
    assert bench.opa.decide(HMI, operation, NOW) is None
    bench.answer = bench.right
    assert bench.code(write()) == "engine.other_revision"


FAILURES_OF_OPA: dict[str, tuple[Callable[[Bench], None], str]] = {
    "time out": (lambda bench: bench.fails(TimeoutError()), "engine.unavailable"),
    "refused": (lambda bench: bench.fails(ConnectionRefusedError("no")), "engine.unavailable"),
    "a fault": (lambda bench: bench.fails(AttributeError("x")), "engine.unavailable"),
    "old revision": (lambda bench: bench.says(revision="0" * 64), "engine.other_revision"),
    "no revision": (lambda bench: bench.says(revision=None), "engine.error"),
}


@pytest.mark.parametrize("name", FAILURES_OF_OPA)
def test_without_an_answer_acts_are_denied_and_reads_decided_here_for_a_while(name: str) -> None:
    bench = Bench()
    break_it, code = FAILURES_OF_OPA[name]
    break_it(bench)
    assert bench.code(write()) == code
    fallback = bench.ask(read())
    assert isinstance(fallback, Allowed)
    assert fallback.origin is Origin.FALLBACK
    assert fallback.question in bench.asked or json.loads(fallback.question)["op"]["id"]
    assert isinstance(bench.ask(read(), NOBODY), Denied), "by the same rules"
    assert bench.told == [(AWAY, {"why": bench.opa.status.why})]
    for action in (Action.WRITE, Action.CALL, Action.ADMIN):
        assert bench.code(msgspec.structs.replace(write(), action=action)) == "engine.unavailable"
    bench.mono_ns += WITHOUT_S * SECOND
    assert bench.code(read()) == "engine.unavailable"
    assert bench.opa.status.unavailable == 5


def test_while_it_is_away_nobody_waits_for_it() -> None:
    bench = Bench()
    bench.go_away()
    asked = len(bench.asked)
    assert isinstance(bench.opa.decide(HMI, write(), bench.clock(), 3), Denied)
    fallback = bench.opa.decide(HMI, read(), bench.clock())
    assert isinstance(fallback, Allowed)
    assert fallback.origin is Origin.FALLBACK
    assert len(bench.asked) == asked


def test_what_stood_in_is_shared_as_such_and_never_as_an_answer_of_opa() -> None:
    bench, operation = Bench(), read()
    bench.go_away()
    first = bench.opa.decide(HMI, operation, bench.clock())
    second = bench.opa.decide(HMI, operation, bench.clock())
    assert first is not None
    assert second is not None
    assert (first.origin, second.origin, second.evaluation) == (
        Origin.FALLBACK,
        Origin.FALLBACK,
        first.evaluation,
    )
    bench.decider.facts = msgspec.structs.replace(OPEN, windows=("working-hours",))
    third = bench.opa.decide(HMI, operation, bench.clock())
    assert third is not None
    assert third.evaluation != first.evaluation, "other facts, another question"
    bench.answer = bench.right
    asyncio.run(bench.remote.ask(Engine(prepared()), bench.asked[0], ""))
    assert bench.opa.decide(HMI, operation, bench.clock()) is None, "it is back, and has not been asked"
    assert bench.ask(operation).origin is Origin.EVALUATED
    assert bench.opa.status.fallback == 3


def test_what_stands_in_is_kept_within_a_bound() -> None:
    bench = Bench(most=5)
    bench.go_away()
    for start in range(20):
        bench.opa.decide(HMI, read(start), bench.clock())
    assert bench.opa._standin is not None
    assert len(bench.opa._standin._cache) == 5


def test_what_opa_decided_before_is_shared_until_the_time_without_it_is_over() -> None:
    bench, operation = Bench(), read()
    bench.ask(operation)
    bench.go_away()
    bench.mono_ns += 10 * SECOND
    cached = bench.opa.decide(HMI, operation, bench.clock())
    assert cached is not None
    assert cached.origin is Origin.CACHED
    bench.remote._breaker._without_ns = 10 * SECOND
    assert bench.code(operation) == "engine.unavailable"


def test_a_question_that_opa_cannot_decide_is_denied_and_takes_nothing_from_others() -> None:
    bench = Bench()
    bench.fails(UndecidedError("HTTP 500: eval_builtin_error"))
    for _ in range(2 * FAILURES):
        assert bench.code(read()) == "engine.error"
        assert bench.code(write()) == "engine.error"
    bench.says(obligations=[{"no": "type"}])
    for _ in range(2 * FAILURES):
        assert bench.code(read()) == "engine.error"
    assert not bench.opa.status.away
    assert bench.told == []
    assert bench.opa.decide(HMI, read(), bench.clock()) is None, "and is not shared"


async def test_it_is_told_once_that_it_goes_that_reads_end_and_that_it_is_back() -> None:
    bench = Bench()
    bench.fails(TimeoutError())
    engine = Engine(prepared())
    for _ in range(3 * FAILURES):
        await bench.remote.ask(engine, b"{}", "")
    bench.mono_ns += WITHOUT_S * SECOND + 1
    running = asyncio.create_task(bench.opa.run())
    async with asyncio.timeout(10):
        while len(bench.told) < 2:  # noqa: ASYNC110  a test's wait, with a deadline
            await asyncio.sleep(0.01)
        bench.answer = bench.right
        bench.mono_ns += SECOND
        while len(bench.told) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    assert [code for code, _ in bench.told] == [AWAY, ENDED, BACK]
    assert bench.told[2][1]["after_s"] == pytest.approx(WITHOUT_S + 1)
    assert bench.opa.status.why == ""


async def test_probes_are_whole_questions_that_find_an_outage_before_anybody_asks() -> None:
    bench = Bench()
    bench.says(revision="0" * 64)
    running = asyncio.create_task(bench.opa.run())
    async with asyncio.timeout(10):
        while not bench.told:
            bench.mono_ns += SECOND
            await asyncio.sleep(0.01)
    running.cancel()
    assert bench.told[0][0] == AWAY
    assert "answers for revision 000000000000" in bench.told[0][1]["why"]
    assert json.loads(bench.asked[0])["op"]["kind"] == "control.probe"


async def test_an_opa_that_can_decide_nothing_at_all_is_away_and_reads_are_decided_here() -> None:
    """It answers 500 to everything. To a client that is a denial; that it is so to our probe is an outage."""
    bench = Bench()
    bench.fails(UndecidedError("HTTP 500: eval_internal_error"))
    running = asyncio.create_task(bench.opa.run())
    async with asyncio.timeout(10):
        while not bench.told:
            bench.mono_ns += SECOND // 2
            await asyncio.sleep(0.01)
        assert (bench.told[0][0], bench.opa.status.away) == (AWAY, True)
        assert "HTTP 500" in bench.told[0][1]["why"]
        fallback = await bench.opa.ask(HMI, read(), bench.clock(), 3)
        assert (type(fallback), fallback.origin) == (Allowed, Origin.FALLBACK)
        bench.answer = bench.right
        while bench.opa.status.away:
            bench.mono_ns += SECOND // 2
            await asyncio.sleep(0.01)
    running.cancel()
    assert [code for code, _ in bench.told] == [AWAY, BACK]


async def test_a_look_that_fails_is_followed_by_another() -> None:
    bench = Bench()
    bench.fails(TimeoutError())

    def told(code: str, _known: dict[str, Any]) -> None:
        bench.told.append((code, {}))
        raise OSError("no journal")

    bench.remote._told = told
    running = asyncio.create_task(bench.opa.run())
    async with asyncio.timeout(10):
        while not bench.opa.status.away:
            bench.mono_ns += SECOND
            await asyncio.sleep(0.01)
        bench.answer = bench.right
        while bench.opa.status.away:
            bench.mono_ns += SECOND
            await asyncio.sleep(0.01)
    running.cancel()
    assert bench.told == [(AWAY, {}), (BACK, {})]


async def test_that_reads_ended_is_never_left_without_a_back() -> None:
    """Without any time for reads, one lost answer ends them, and is no outage."""
    bench = Bench()
    bench.remote._breaker._without_ns = 0
    bench.fails(TimeoutError())
    running = asyncio.create_task(bench.opa.run())
    async with asyncio.timeout(10):
        while not bench.told:  # noqa: ASYNC110  a test's wait, with a deadline
            await asyncio.sleep(0.01)
        bench.answer = bench.right
        bench.mono_ns += SECOND
        while len(bench.told) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    assert [code for code, _ in bench.told] == [ENDED, BACK]


async def test_cancelling_passes() -> None:
    bench = Bench()

    async def never(_question: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    bench.answer = never
    task = asyncio.create_task(bench.opa.ask(HMI, write(), NOW, 3))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.told == []


def test_a_failing_clock_or_alarm_denies() -> None:
    bench = Bench()

    def told(_code: str, _known: dict[str, Any]) -> None:
        raise OSError("no journal")

    bench.remote._told = told
    bench.fails(TimeoutError())
    for _ in range(FAILURES):
        assert isinstance(bench.ask(write()), Denied)


# the cross-check -------------------------------------------------------------------------------------


def test_agreement_on_all_changes_nothing() -> None:
    bench = Bench(one_in=1)
    for operation in (read(), write(), read(5)):
        assert isinstance(bench.ask(operation), Allowed)
    assert isinstance(bench.ask(read(), NOBODY), Denied)
    assert (bench.opa.status.compared, bench.opa.status.disagreed, bench.alarms) == (4, 0, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"allow": True, "grants": ["g"], "reasons": [{"code": "grant.matched", "kind": "grant", "msg": ""}]},
        {"grants": ["g"]},
        {"reasons": [{"code": "grant.none", "kind": "default", "msg": "another text"}]},
    ],
)
def test_a_difference_denies_alarms_and_is_kept(fields: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(one_in=1, folder=tmp_path / "kept")
    bench.says(**fields)
    decision = bench.ask(read(), NOBODY)
    assert isinstance(decision, Denied)
    assert decision.reasons[0].code == "engine.cross_check"
    assert decision.question == bench.asked[0]
    [(code, known)] = bench.alarms
    assert code == "policy.engines_differ"
    file = tmp_path / "kept" / known["kept"]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = json.loads(file.read_text())
    assert json.dumps(kept["input"]) == json.dumps(json.loads(bench.asked[0]))
    assert kept["opa"] != kept["embedded"]
    assert kept["embedded"]["allow"] is False
    assert bench.opa.decide(NOBODY, read(), bench.clock()) is None, "and it is not shared"


def test_obligations_count_and_their_types_do() -> None:
    bench = Bench(one_in=1)
    bench.says(obligations=[{"type": "rate", "n": 1, "per_s": True}])
    assert bench.code(write()) == "engine.cross_check"
    one, other = (
        Allowed(revision="r", reasons=(), obligations=(crosscheck_obligation(value),)) for value in (1, True)
    )
    assert one.obligations == other.obligations, "1 and true are equal in Python"
    assert crosscheck.says(one) != crosscheck.says(other)


def crosscheck_obligation(value: int) -> Any:
    from gateway.model.decision import Obligation

    return Obligation("x", (("n", value),))


def test_one_in_so_many_is_compared_and_none_at_0() -> None:
    bench = Bench(one_in=3)
    for _ in range(10):
        bench.ask(write())
    assert bench.opa.status.compared == 3
    bench = Bench(one_in=0)
    bench.says(reasons=[{"code": "x", "kind": "grant", "msg": ""}])
    assert isinstance(bench.ask(write()), Allowed)
    assert bench.opa.status.compared == 0


def test_no_more_counterexamples_than_the_bound_and_no_failing_disk_changes_the_denial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crosscheck, "MOST_KEPT", 2)
    bench = Bench(one_in=1, folder=tmp_path)
    bench.says(grants=["g"])
    for _ in range(4):
        assert bench.code(write()) == "engine.cross_check"
    assert len(list(tmp_path.iterdir())) == 2
    assert [known["kept"].startswith("nowhere") for _, known in bench.alarms] == [False, False, True, True]
    (tmp_path / "file").write_text("")
    bench = Bench(one_in=1, folder=tmp_path / "file" / "below")
    bench.says(grants=["g"])
    assert bench.code(write()) == "engine.cross_check"
    assert bench.alarms[0][1]["kept"].startswith("nowhere: ")


def test_what_is_shared_is_evaluated_again_by_the_other_engine() -> None:
    bench, operation = Bench(), read()
    bench.decider._until_recheck = 1
    lie = {"allow": False, "reasons": [{"code": "grant.none", "kind": "default", "msg": ""}], "grants": []}
    bench.says(**lie)
    assert isinstance(bench.ask(operation), Denied)
    assert bench.code(operation) == "engine.cache_differs"
    assert [code for code, _ in bench.alarms] == ["policy.cache_differs"]
    assert bench.decider.stats.entries == 0


def test_facts_of_the_start_allow_no_write() -> None:
    bench = Bench()
    bench.decider.facts = Facts()
    assert isinstance(bench.ask(write()), Denied)


def test_the_status_is_told_however_long_opa_is_away() -> None:
    bench = Bench()
    bench.go_away()
    bench.mono_ns += 2 * WITHOUT_S * SECOND
    identity = msgspec.structs.replace(
        HMI.identity, subject="local:root", kind=Kind.LOCAL, auth=Authentication.CONTROL, zone="local"
    )
    root = msgspec.structs.replace(HMI, identity=identity, listener="control", zone="local", tls=None)
    status = Operation(protocol=Protocol.CONTROL, action=Action.READ, kind="control.status")
    decision = bench.ask(status, root)
    assert isinstance(decision, Allowed)
    assert decision.origin is Origin.FALLBACK
    assert bench.code(msgspec.structs.replace(status, action=Action.ADMIN)) == "engine.unavailable"
    assert bench.code(read()) == "engine.unavailable"


async def test_writes_that_wait_together_do_not_pass_a_budget_that_has_room_for_fewer() -> None:
    bench = Bench()

    async def slow(question: bytes) -> bytes:
        await asyncio.sleep(0.01)
        return await bench.right(question)

    bench.answer = slow
    budget = shipped().data["bounds"]["writes_60s"]
    door = Door(bench.opa, Memory([]))

    async def one() -> bool:
        pending = enter(Bytes(b""), (write(),), HMI, door, NOW)
        assert isinstance(pending, Pending)
        return isinstance(await finish(pending, door, NOW), Forward)

    passed = await asyncio.gather(*(one() for _ in range(budget + 80)))
    assert sum(passed) == budget
    assert not bench.opa._acting
