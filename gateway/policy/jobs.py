"""What the gateway asks of the workshop (Prepare, Ask), and what it answers (Ready, Refused, Answers).

Messages are MessagePack, and go both ways between the gateway and its child (`child`); one job at a time.
"""

import msgspec
from msgspec import Struct

from gateway.model.decision import Allowed, Decision, Denied, Obligation, Origin, Reason
from gateway.model.errors import Fault
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.policy.bundle import Bundle
from gateway.policy.facts import Facts
from gateway.policy.module import Module, Path

MOST_MESSAGE = 256 * 1024 * 1024
"Four times the largest bundle: files and what is read from them travel together."


class Prepare(Struct, frozen=True, tag=True):
    """Check this bundle and run its tests."""

    bundle: Bundle
    within_s: float


class Live(Struct, frozen=True, array_like=True):
    """One question, with the id that its evaluation will have."""

    caller: int
    "Place in `Ask.callers`."
    operation: Operation
    evaluation: str


class Ask(Struct, frozen=True, tag=True):
    """Decide these questions under the bundle that was prepared last."""

    revision: str
    facts: Facts
    now: Now
    callers: tuple[Caller, ...]
    questions: tuple[Live, ...]
    within_s: float


class Ready(Struct, frozen=True, tag=True):
    """The bundle passed; all of `loader.Policy` but the bundle itself."""

    revision: str
    modules: tuple[Module, ...]
    tests: tuple[Module, ...]
    readers: tuple[tuple[Path, str], ...]
    "In the order of `Policy.paths`."
    warnings: tuple[Fault, ...]


class Refused(Struct, frozen=True, tag=True):
    """The bundle did not pass."""

    faults: tuple[Fault, ...]


class Answer(Struct, frozen=True, array_like=True):
    """One decision; what the engine could not decide has the kind of reason `engine`."""

    allowed: bool
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    grants: tuple[str, ...]


class Answers(Struct, frozen=True, tag=True):
    """One for each question, in their order."""

    revision: str
    answers: tuple[Answer, ...]


Job = Prepare | Ask
Result = Ready | Refused | Answers

jobs: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
results: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


def encoded(message: Job | Result) -> bytes:
    """A message, without its length."""
    return msgspec.msgpack.encode(message)


def decision(answer: Answer, revision: str, evaluation: str) -> Decision:
    """An answer as a decision: evaluated, unless the engine failed."""
    if answer.allowed:
        return Allowed(
            revision=revision,
            reasons=answer.reasons,
            obligations=answer.obligations,
            grants=answer.grants,
            evaluation=evaluation,
        )
    engine = any(reason.kind == "engine" for reason in answer.reasons)
    return Denied(
        revision=revision,
        reasons=answer.reasons,
        grants=answer.grants,
        origin=Origin.UNASKED if engine else Origin.EVALUATED,
        evaluation=evaluation,
    )
