"""Invariant 5: an engine that fails, in whatever way, denies."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.model.decision import Allowed, Decision, Denied, Obligation, Origin
from gateway.model.errors import PolicyError
from gateway.model.identity import Caller
from gateway.model.operation import Operation, Point
from gateway.model.ulid import Ulids
from gateway.policy import question
from gateway.policy.decider import Decider
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy, load
from tests.policy.questions import NOW, OPEN, caller, read, shipped, write
from tests.unit.policy.bundles import changed

HMI = caller("spiffe://demo.example/plant/hmi-1", "operator")
ASKED = question.encode(question.document(HMI, read(), OPEN, "0" * 26, NOW))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(shipped())


@pytest.fixture
def engine(policy: Policy) -> Engine:
    return Engine(policy)


def answer(**change: Any) -> dict[str, Any]:
    return {
        "schema": "dmz.decision/1",
        "allow": True,
        "reasons": [{"code": "grant.matched", "kind": "grant", "msg": ""}],
        "obligations": [],
        "grants": ["g"],
        "revision": shipped().revision,
        **change,
    }


def code(decision: Decision) -> str:
    assert isinstance(decision, Denied)
    return decision.reasons[0].code


def test_a_good_answer(engine: Engine) -> None:
    decision = engine.evaluate(ASKED, "01EVALUATION")
    assert isinstance(decision, Allowed)
    assert decision.grants == ("operator-reads",)
    assert (decision.evaluation, decision.question) == ("01EVALUATION", ASKED)
    assert decision.origin is Origin.EVALUATED


def test_obligations_keep_their_parameters(engine: Engine) -> None:
    obligations = [{"type": "rate", "per_s": 10, "n": 1}]
    decision = engine.judge(json.dumps(answer(obligations=obligations)), b"", "")
    assert isinstance(decision, Allowed)
    assert decision.obligations == (Obligation("rate", (("n", 1), ("per_s", 10))),)


ODD: list[tuple[str, Any]] = [
    ("undefined, as regorus says it", '"<undefined>"'),
    ("true", "true"),
    ("null", "null"),
    ("nothing", ""),
    ("not JSON", "{"),
    ("not text", None),
    ("a list", json.dumps([answer()])),
    ("another schema", json.dumps(answer(schema="dmz.decision/2"))),
    ("a field too many", json.dumps(answer(ttl_ms=5))),
    ("a field too few", json.dumps({k: v for k, v in answer().items() if k != "obligations"})),
    ("allow as text", json.dumps(answer(allow="true"))),
    ("allow as a number", json.dumps(answer(allow=1))),
    ("another revision", json.dumps(answer(revision="0" * 64))),
    ("no revision", json.dumps(answer(revision=""))),
    ("allowed by no grant", json.dumps(answer(grants=[]))),
    ("allowed for no reason", json.dumps(answer(reasons=[]))),
    ("allowed with a denial", json.dumps(answer(reasons=[{"code": "x", "kind": "site", "msg": ""}]))),
    ("denied for no reason", json.dumps(answer(allow=False, reasons=[]))),
    ("a reason of unknown kind", json.dumps(answer(reasons=[{"code": "x", "kind": "engine", "msg": ""}]))),
    ("a reason without a code", json.dumps(answer(reasons=[{"kind": "grant", "msg": ""}]))),
    ("an obligation without a type", json.dumps(answer(obligations=[{"n": 1}]))),
    ("an obligation of no type", json.dumps(answer(obligations=[{"type": ""}]))),
    ("an obligation that is nested", json.dumps(answer(obligations=[{"type": "mask", "tags": ["a"]}]))),
    ("deeper than anybody reads", "[" * 100_000),
]


@pytest.mark.parametrize("raw", [row[1] for row in ODD], ids=[row[0] for row in ODD])
def test_an_odd_answer_denies(engine: Engine, raw: Any) -> None:
    decision = engine.judge(raw, ASKED, "01EVALUATION")
    assert code(decision) == "engine.error"
    assert decision.origin is Origin.UNASKED
    assert decision.revision == engine.revision


DECISIONS: list[tuple[str, str]] = [
    ("undefined", "decision := data.dmz.lib.asset if input.op.kind == `never`"),
    ("of another bundle", f"decision := {json.dumps(answer(revision='another'))}"),
    ("two at once", "decision := 1\n\ndecision := 2 if input.op.kind"),
    ("fails while it is evaluated", "decision := count(input.subject.id) - count(input.modbus.fc)"),
    ("divides by zero", "decision := 1 / (input.modbus.fc - input.modbus.fc)"),
]


@pytest.mark.parametrize("rule", [row[1] for row in DECISIONS], ids=[row[0] for row in DECISIONS])
def test_a_core_that_answers_badly_denies_everything(tmp_path: Path, rule: str) -> None:
    text = f"package dmz\n\nimport future.keywords.not\n\n{rule}\n"
    broken = load(changed(tmp_path, {"core/decision.rego": text}))
    assert code(Engine(broken).evaluate(ASKED, "")) == "engine.error"


def test_unsafe_variables_are_found_before_the_bundle_is_used(tmp_path: Path) -> None:
    text = "package site.demo\n\nimport future.keywords.not\n\nx if not operators\n"
    with pytest.raises(PolicyError) as caught:
        Engine(load(changed(tmp_path, {"site/demo/more.rego": text})))
    assert caught.value.faults[0].where == "site/demo/more.rego:5"
    assert "operators" in caught.value.faults[0].what


def test_questions_that_are_not_json_deny(engine: Engine) -> None:
    for asked in (b"", b"{", b'{"a": NaN}', b'{"a": 1e400}', b'"\xff"', b'{"a": "\\ud800"}', b"[" * 100_000):
        assert code(engine.evaluate(asked, "")) == "engine.error"
    assert isinstance(engine.evaluate(ASKED, ""), Allowed), "and the engine goes on"


def test_a_panic_denies(engine: Engine) -> None:
    """The engine works in no other thread: there it panics, with a BaseException that is no Exception."""
    found: list[Decision] = []
    other = threading.Thread(target=lambda: found.append(engine.evaluate(ASKED, "")))
    other.start()
    other.join()
    assert code(found[0]) == "engine.error"
    assert isinstance(engine.evaluate(ASKED, ""), Allowed)


class Odd(BaseException):
    """What a native library may raise."""


class Raising:
    """An engine that is interrupted in the middle."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def set_input_json(self, text: str) -> None:
        raise self.error


FAILURES = [Odd("x"), MemoryError(), RecursionError(), OSError(5, "x"), StopIteration()]
SAID = [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), GeneratorExit()]


@pytest.mark.parametrize("error", FAILURES)
def test_any_exception_denies(engine: Engine, error: BaseException) -> None:
    engine._engine = Raising(error)
    assert code(engine.evaluate(ASKED, "")) == "engine.error"


@pytest.mark.parametrize("error", SAID)
def test_what_is_said_to_the_program_goes_through(engine: Engine, error: BaseException) -> None:
    engine._engine = Raising(error)
    with pytest.raises(type(error)):
        engine.evaluate(ASKED, "")


class Limits:
    cache_entries = 100
    recheck_one_in = 1_000


UNASKABLE: list[tuple[str, Caller, Operation]] = [
    ("a lone surrogate in a subject", caller("spiffe://demo.example/\ud800", "operator"), read()),
    ("a lone surrogate in an asset", HMI, read(asset="plc-\udfff")),
    ("not a number", HMI, write(q=float("nan"))),  # type: ignore[arg-type]
    ("a fraction", HMI, write(q=1.5)),  # type: ignore[arg-type]
    ("a truth value", HMI, write(q=True)),
    ("beyond 2^53", HMI, write(q=(1 << 53) + 1)),
    ("what the wire could not read", HMI, msgspec.structs.replace(read(), unreadable="partial_tag")),
]


@pytest.mark.parametrize(("who", "what"), [row[1:] for row in UNASKABLE], ids=[row[0] for row in UNASKABLE])
def test_questions_that_cannot_be_asked_deny(policy: Policy, who: Caller, what: Operation) -> None:
    decider = Decider(Ulids(1), Limits(), lambda _code, _note: None)
    decider.adopt(policy)
    decider.facts = OPEN
    for _ in range(3):
        assert code(decider.decide(who, what, NOW, 0)) == "engine.error"
    assert decider.stats.cached == 0
    assert decider.stats.errors == (3 if what.unreadable is None else 0)


def test_numbers_at_the_edge_are_asked(policy: Policy) -> None:
    edge = msgspec.structs.replace(write(), points=(Point("plc-1.level_sp", 1 << 53, -(1 << 53), 0),))
    asked = question.document(HMI, edge, OPEN, "0" * 26, NOW, 0)
    decision = Engine(policy).evaluate(question.encode(asked), "")
    assert "guardrail.bounds" in {reason.code for reason in decision.reasons}
