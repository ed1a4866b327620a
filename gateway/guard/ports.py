"""What the doors ask of the world, as shapes. Nothing here knows who stands behind them.

`policy.decider.Decider` is an Engine, `audit.journal.Journal` a Journal, `relay.link` the plant;
`app.py` is where the type checker sees that they fit.
"""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gateway.model.asset import Tag
from gateway.model.decision import Approval, Decision, Denied, Obligation, Passed, Waived, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.model.record import Accepted, Durable, Gap, NotRecorded, RecordKind
from gateway.model.sample import Released
from gateway.model.stage import Stage

if TYPE_CHECKING:
    from gateway.guard.permit import Permit


class Frame(Protocol):
    """One understood request of some protocol."""

    def encode(self) -> bytes:
        """The request encoded again from its parsed form (invariant 3); never the bytes that came in."""


@runtime_checkable
class Parted(Protocol):
    """A frame of several parts that can do without some: what is denied is left out, what is allowed goes.

    It has one operation for each part, in order. One that must go whole or not at all says `parts` 0.
    """

    @property
    def parts(self) -> int:
        """How many parts it has."""

    def only(self, kept: tuple[int, ...]) -> "Parted":
        """The same frame with these parts only; at least one, ascending."""

    def encode(self) -> bytes:
        """See Frame."""


@runtime_checkable
class NorthFrame(Protocol):
    """What goes to IT about one tag: policy may oblige the gateway to say less of it than is known."""

    @property
    def released(self) -> Released:
        """The vetted sample that it is about."""

    @property
    def tag(self) -> Tag:
        """Whose sample it is."""

    def saying(self, released: Released) -> "NorthFrame":
        """The same about this sample instead."""

    def encode(self) -> bytes:
        """See Frame."""


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
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        """The decision, waited for. With an approval always evaluated. Never raises: failure is Denied."""


class Approvals(Protocol):
    """What people agreed to beforehand. Nothing here waits for a person: whoever needs one asks again."""

    def claim(self, caller: Caller, operation: Operation, now: Now) -> Approval | None:
        """An approval that is granted, in time and unused, for exactly this operation by this identity."""

    def spend(self, approval: Approval, now: Now) -> bool:
        """Use it up, durably. False if it was used meanwhile, or that cannot be written down."""

    def request(self, caller: Caller, operation: Operation, obligation: Obligation, now: Now) -> str:
        """Note that this needs approval by `obligation`. The id of the request; empty if there is no room."""


class Stages(Protocol):
    """How far policy is enforced where."""

    def of(self, listener: str, asset: str | None) -> Stage:
        """The stricter of what is set for listener and asset; `enforce` where neither is set."""


class Journal(Protocol):
    """The log. Methods that return no receipt never block and never raise."""

    def read(
        self, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> Accepted | Gap | NotRecorded:
        """Count an allowed operation that changes nothing into its window."""

    async def intent(
        self, caller: Caller, operations: tuple[Operation, ...], decisions: tuple[Passed, ...], now: Now
    ) -> Durable | NotRecorded:
        """Write down what is about to be done; returns when it is on stable storage, or why it is not."""

    def outcome(self, intent: Durable, caller: Caller, result: dict[str, Any], now: Now) -> None:
        """What came of an intent: ok, exception_XX, timeout, wrong_answer, unknown, not_sent, failed."""

    def denied(self, caller: Caller, operation: Operation, decision: Denied | Waived, now: Now) -> None:
        """A refusal, or what would be one, in full or counted (the flood rule of invariant 10)."""

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
