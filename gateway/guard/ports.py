"""What the doors ask of the world, as shapes. Nothing here knows who stands behind them.

`policy.decider.Decider` is an Engine, `audit.journal.Journal` a Journal, `relay.link` the plant;
`app.py` is where the type checker sees that they fit.
"""

from typing import TYPE_CHECKING, Any, Protocol

from gateway.model.decision import Allowed, Decision, Denied, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.model.record import Accepted, Durable, Gap, NotRecorded, RecordKind

if TYPE_CHECKING:
    from gateway.guard.permit import Permit


class Frame(Protocol):
    """One understood request of some protocol."""

    def encode(self) -> bytes:
        """The request encoded again from its parsed form (invariant 3); never the bytes that came in."""


class Engine(Protocol):
    """Policy."""

    @property
    def revision(self) -> str:
        """Digest of the active bundle."""

    def decide(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision | None:
        """The decision, or None where it must be waited for (`ask`). Never raises."""

    async def ask(
        self, caller: Caller, operation: Operation, now: Now, writes_60s: int | None = None
    ) -> Decision:
        """The decision, waited for. Never raises: a failed engine is Denied."""


class Journal(Protocol):
    """The log. Methods that return no receipt never block and never raise."""

    def read(
        self, caller: Caller, operation: Operation, decision: Allowed, now: Now
    ) -> Accepted | Gap | NotRecorded:
        """Count an allowed operation that changes nothing into its window."""

    async def intent(
        self, caller: Caller, operations: tuple[Operation, ...], decisions: tuple[Allowed, ...], now: Now
    ) -> Durable | NotRecorded:
        """Write down what is about to be done; returns when it is on stable storage, or why it is not."""

    def outcome(self, intent: Durable, caller: Caller, result: dict[str, Any], now: Now) -> None:
        """What came of an intent: ok, exception_XX, timeout, wrong_answer, unknown, not_sent, failed."""

    def denied(self, caller: Caller, operation: Operation, decision: Denied, now: Now) -> None:
        """A refusal, in full or counted (the flood rule of invariant 10)."""

    def event(
        self,
        kind: RecordKind,
        note: dict[str, Any],
        now: Now,
        *,
        caller: Caller | None = None,
        source: str | None = None,
    ) -> None:
        """Authentication, findings, lifecycle …; `auth` and `finding` fall under the flood rule."""


class Answer(Protocol):
    """A plant's answer that was checked against its request."""

    @property
    def data(self) -> bytes:
        """The value bytes, for the value digest; empty where the answer carries none."""

    def encode(self) -> bytes:
        """The answer encoded again from its parsed form."""


class Sink(Protocol):
    """Whoever waits for what comes of a permit. Exactly one of the two is called, once, never from `send`."""

    @property
    def gone(self) -> bool:
        """Nobody waits any more: what has not been sent yet must not be."""

    def answered(self, permit: "Permit", answer: Answer, at: Now) -> None:
        """The plant answered, and the answer fits the request. It may be an exception of the device.

        `at` is when the plant answered; that may be a while ago where equal reads share an answer.
        """

    def failed(self, permit: "Permit", why: Why) -> None:
        """BUSY (queue full) and NO_PATH (no connection): nothing was sent. NO_ANSWER: sent, and unknown."""


class Plant(Protocol):
    """One asset's link: the only writer towards it."""

    def send(self, permit: "Permit", sink: Sink, now: Now) -> None:
        """Queue the permit; it is spent when its turn comes. The link calls `passage.settle` itself."""
