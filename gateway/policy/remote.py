"""OPA as the decision point: its answers, judged as strictly as the embedded engine's; and what if none come.

Nobody waits longer than the budget, and nobody waits at all while OPA is away. Whether it is, is found out by
what comes of questions, and by probes: always a whole question with a decision of the active revision for an
answer, so an OPA that is up and serves another bundle is away. So is one that can decide nothing at all: what
it cannot decide for a client is that client's denial, but our probes it can. It is told when OPA goes, when
reads end for want of it, and when it is back.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway.model.decision import Decision
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, Operation
from gateway.model.operation import Protocol as Door
from gateway.policy import question
from gateway.policy.breaker import PROBE_NS, Breaker
from gateway.policy.engine import Engine, failed
from gateway.policy.facts import Facts
from gateway.policy.server import UndecidedError

AWAY, ENDED, BACK = "opa_away", "opa_reads_end", "opa_back"
"What is told: writes are denied and reads decided without OPA; reads are denied too; all is well again."
UNAVAILABLE = "engine.unavailable"
OTHER_REVISION = "engine.other_revision"

LOOK_S = PROBE_NS / SECOND / 2
"How often it is looked whether a probe is due."

Told = Callable[[str, dict[str, Any]], None]
"Told of each change once: which, and what is known."


class Server(Protocol):
    """What is asked (`server.OpaServer`)."""

    async def decision(self, question: bytes) -> bytes:
        """The text of a decision; raises whatever stood in the way."""


class Unanswered(Struct, frozen=True):
    """OPA gave no answer that counts."""

    code: str
    why: str


class _Stamp(Struct, frozen=True):
    """The one field that says whether an odd answer is our bundle's or somebody else's."""

    revision: str


_stamp = msgspec.json.Decoder(_Stamp)


class Remote:
    """One OPA server, and whether it counts as there."""

    def __init__(self, server: Server, reads_without_s: float, clock: Callable[[], Now], told: Told) -> None:
        """`reads_without_s`: how long reads may be decided by the embedded engine while OPA is away."""
        self._server = server
        self._clock = clock
        self._told = told
        self._breaker = Breaker(int(reads_without_s * SECOND))
        self._ended = False
        self.why = ""
        "What stood in the way last; empty while it answers."
        self.asked = 0
        self.unanswered = 0

    @property
    def away(self) -> bool:
        """Whether nobody but a probe asks it."""
        return self._breaker.away

    @property
    def without_s(self) -> float:
        """How long it has not answered; 0 while it does."""
        return self._breaker.without_ns(self._clock().mono_ns) / SECOND

    def reads(self, mono_ns: int) -> bool:
        """Whether reads may be decided now: OPA answers, or has not for a short time only."""
        return self._breaker.reads(mono_ns)

    async def ask(self, engine: Engine, asked: bytes, evaluation: str) -> Decision | Unanswered:
        """The decision on a question; a denial where OPA is well and cannot decide this one."""
        began = self._clock().mono_ns
        try:
            return await self._answered(began, engine, asked, evaluation)
        except UndecidedError as error:
            return failed(engine.revision, f"OPA could not decide: {error}", asked)

    async def _probe(self, engine: Engine) -> None:
        """Ask what our bundle decides for certain: who cannot, decides nothing for anybody."""
        began = self._clock().mono_ns
        try:
            await self._answered(began, engine, _PROBE, "")
        except UndecidedError as error:
            self._failed(began, Unanswered(UNAVAILABLE, f"OPA could not decide a probe: {error}"))

    async def _answered(
        self, began: int, engine: Engine, asked: bytes, evaluation: str
    ) -> Decision | Unanswered:
        """What comes of asking. Raises UndecidedError, which says nothing yet about whether OPA is well."""
        self.asked += 1
        try:
            text = await self._server.decision(asked)
        except UndecidedError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, there is no answer
            return self._failed(began, Unanswered(UNAVAILABLE, f"OPA did not answer: {_said(error)}"))
        decision = engine.judge(text, asked, evaluation)
        if decision.reasons[0].kind == "engine":
            stranger = _stranger(text, engine.revision)
            if stranger is not None:
                return self._failed(began, stranger)
        self._succeeded()
        return decision

    async def run(self, engine: Callable[[], Engine | None]) -> None:
        """Probe for as long as the gateway runs: at once, then whenever one is due.

        Whether OPA has the active revision is part of the question; while there is none, nothing is asked.
        """
        while True:
            # Whatever a look brings, there is a next one: nobody else finds out that OPA is back.
            with contextlib.suppress(Exception):
                active = engine()
                if active is not None and self._breaker.due(self._clock().mono_ns):
                    await self._probe(active)
                self._end(self._clock().mono_ns)
            await asyncio.sleep(LOOK_S)

    def _succeeded(self) -> None:
        now = self._clock().mono_ns
        without_s = round(self._breaker.without_ns(now) / SECOND, 3)
        ended, self.why, self._ended = self._ended, "", False
        if self._breaker.succeeded(now) or ended:
            self._told(BACK, {"after_s": without_s})

    def _failed(self, began: int, why: Unanswered) -> Unanswered:
        self.unanswered += 1
        self.why = why.why
        if self._breaker.failed(began, self._clock().mono_ns):
            self._told(AWAY, {"why": why.why})
        return why

    def _end(self, now: int) -> None:
        """Tell once that reads are denied too."""
        if not self._ended and not self._breaker.reads(now):
            self._ended = True
            self._told(ENDED, {"why": self.why})


def _stranger(text: bytes, revision: str) -> Unanswered | None:
    """Whether an odd answer is of another bundle, or of no OPA; None if our own bundle gave it.

    What our bundle gives for one question is that question's denial: it must not take OPA away from all.
    """
    try:
        stamp = _stamp.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Unanswered("engine.error", f"OPA gave an odd answer: {error}")
    if stamp.revision == revision:
        return None
    return Unanswered(OTHER_REVISION, f"OPA answers for revision {stamp.revision[:12]}, not {revision[:12]}")


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the time was over"
    return str(error)[:200] or type(error).__name__


def _probe() -> bytes:
    """A question of the right form that concerns nobody. What the answer says does not matter."""
    subject = "local:probe"
    nobody = Identity(
        subject=subject,
        kind=Kind.LOCAL,
        auth=Authentication.CONTROL,
        zone="local",
        role_state=RoleState.ABSENT,
    )
    caller = Caller(
        identity=nobody, source="local", listener="control", zone="local", tls=None, connection=""
    )
    operation = Operation(protocol=Door.CONTROL, action=Action.READ, kind="control.probe")
    never = Now(wall_ns=0, mono_ns=0, trusted=False, judge_ns=0)
    return question.encode(question.document(caller, operation, Facts(), "0" * 26, never))


_PROBE = _probe()
