"""The embedded engine: the regorus interpreter behind a border that lets nothing but a decision through.

Why each check is here (all seen on regorus 0.13, see docs/decisions on policy engines):
- an undefined decision comes back as the *string* "<undefined>", which is true in Python;
- a lone surrogate in an input given as a dict overflows the stack and ends the process: so JSON text only;
- a panic in Rust is a BaseException that is no Exception;
- an engine works only in the thread that made it.
The compiled form (`Rvm`) is never used: it goes on after an undefined assignment, so denials get lost.
"""

import asyncio
import json
from typing import Any, Literal

import msgspec
import regorus
from msgspec import Struct

from gateway.model.decision import Allowed, Decision, Denied, Obligation, Origin, Reason
from gateway.model.errors import PolicyError
from gateway.policy.loader import Policy
from gateway.policy.module import engine_fault

ENTRYPOINT = "data.dmz.decision"
NOTHING = '{"op": {"action": "", "protocol": ""}, "target": {"asset": null}}'
"A first question, of which the index knows no grant. Without input all would be looked at: 45 ms for 10,000."
LET_THROUGH = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
"What is said to the program, not by the engine."


class _Why(Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    kind: Literal["grant", "guardrail", "base", "site", "default"]
    msg: str


class _Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """dmz.decision/1, as policies/schemas/decision.json says."""

    schema: Literal["dmz.decision/1"]
    allow: bool
    reasons: list[_Why]
    obligations: list[dict[str, str | int | float | bool | None]]
    grants: list[str]
    revision: str


_decoder = msgspec.json.Decoder(_Answer)


class Engine:
    """One policy, ready to answer. Use it in the thread that made it."""

    def __init__(self, policy: Policy, *, tests: bool = False) -> None:
        """With `tests`: for the bundle's Rego tests, without the index, so that they can replace the grants.

        Raises PolicyError if the engine cannot take what the loader let pass.
        """
        self.revision = policy.bundle.revision
        self._engine = regorus.Engine()
        modules, data = dict(policy.bundle.modules), policy.bundle.indexed()
        if tests:
            modules |= {module.name: policy.bundle.tests[module.name] for module in policy.tests}
            data = policy.bundle.stamped()
        name = "bundle"
        try:
            for name, text in modules.items():
                self._engine.add_policy(name, text)
            self._engine.add_data_json(msgspec.json.encode(data).decode())
            # The engine schedules rules when it is first asked, and only then finds unsafe variables.
            if not tests:
                self._engine.set_input_json(NOTHING)
            self._engine.eval_rule_as_json(ENTRYPOINT)
        except LET_THROUGH:
            raise
        except BaseException as error:  # noqa: BLE001  panics are no Exception
            raise PolicyError([engine_fault(name, error)]) from None

    def holds(self, rule: str) -> bool | str:
        """Whether a test rule is true; otherwise what came instead."""
        try:
            value = json.loads(self._engine.eval_rule_as_json(rule))
        except LET_THROUGH:
            raise
        except BaseException as error:  # noqa: BLE001  panics are no Exception
            return str(engine_fault(rule, error))
        return True if value is True else f"is {json.dumps(value)}"

    def evaluate(self, question: bytes, evaluation: str) -> Decision:
        """The decision on a question. Whatever is not a well-formed answer of this revision is Denied."""
        try:
            self._engine.set_input_json(question.decode())
            answer = self._engine.eval_rule_as_json(ENTRYPOINT)
        except LET_THROUGH:
            raise
        except BaseException as error:  # noqa: BLE001  panics are no Exception
            return failed(self.revision, f"the engine failed: {engine_fault('', error).what}", question)
        return self.judge(answer, question, evaluation)

    def judge(self, answer: Any, question: bytes, evaluation: str) -> Decision:
        """An engine's raw answer as a decision."""
        try:
            read = _decoder.decode(answer)
            obligations = tuple(_obligation(one) for one in read.obligations)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            return failed(self.revision, f"the engine gave an odd answer: {error}", question)
        if read.revision != self.revision:
            return failed(self.revision, "the engine answered for another revision", question)
        reasons = tuple(Reason(why.code, why.kind, why.msg) for why in read.reasons)
        grants = tuple(read.grants)
        granted = all(reason.kind == "grant" for reason in reasons)
        if not reasons or (read.allow and not (grants and granted)):
            return failed(self.revision, "the engine gave an answer that contradicts itself", question)
        if read.allow:
            return Allowed(
                revision=self.revision,
                reasons=reasons,
                obligations=obligations,
                grants=grants,
                evaluation=evaluation,
                question=question,
            )
        return Denied(
            revision=self.revision,
            reasons=reasons,
            grants=grants,
            evaluation=evaluation,
            question=question,
        )


def failed(revision: str, what: str, question: bytes = b"", code: str = "engine.error") -> Denied:
    """The answer where there is none. Its origin keeps it out of the cache."""
    return Denied(
        revision=revision,
        reasons=(Reason(code, "engine", what[:300]),),
        origin=Origin.UNASKED,
        question=question,
    )


def _obligation(fields: dict[str, Any]) -> Obligation:
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or not kind:
        raise ValueError("an obligation without a type")
    return Obligation(kind, tuple(sorted(fields.items())))
