"""What the gateway does with one frame. A decision is about an operation; a verdict about a frame."""

from msgspec import Struct

from gateway.guard.permit import ActPermit, ReadPermit
from gateway.guard.ports import Frame
from gateway.model.decision import Decision, Why
from gateway.model.identity import Caller
from gateway.model.operation import Operation


class Forward(Struct, frozen=True, gc=False):
    """Send it: the permit holds the bytes."""

    permit: ReadPermit | ActPermit


class Refuse(Struct, frozen=True, gc=False):
    """Answer it ourselves; nothing reaches the plant and the connection goes on."""

    why: Why


class Sever(Struct, frozen=True, gc=False):
    """Interpret nothing further from this peer, and close."""

    why: str


class Pending(Struct, frozen=True):
    """Something must be waited for: an evaluation elsewhere, or a durable record. `passage.finish` does."""

    frame: Frame
    caller: Caller
    operations: tuple[Operation, ...]
    decisions: tuple[Decision | None, ...]
    epoch: int
    "When it was asked (`guard.epoch`): what changes while it waits is not overlooked."


Verdict = Forward | Refuse | Sever
