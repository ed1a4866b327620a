"""The permit: proof that policy allowed and the journal knows. The plant link takes nothing else.

Only `guard.passage` may make one (an import contract holds this). A permit works once and dies with the
bundle that allowed it, so a frame that waited in a queue while policy changed does not go through. One of an
act dies with the facts and stages too (`epoch`); a read that was allowed a moment ago does no harm now.
"""

from gateway.guard.epoch import Epoch
from gateway.guard.ports import Frame
from gateway.model.decision import Passed
from gateway.model.identity import Caller
from gateway.model.operation import Operation
from gateway.model.record import Accepted, Durable, Gap


class ReadPermit:
    """Leave to send one frame that changes nothing."""

    __slots__ = (
        "_spent",
        "caller",
        "decisions",
        "expires_mono_ns",
        "frame",
        "operations",
        "receipts",
        "revision",
    )

    def __init__(
        self,
        frame: Frame,
        caller: Caller,
        operations: tuple[Operation, ...],
        decisions: tuple[Passed, ...],
        receipts: tuple[Accepted | Gap, ...],
        expires_mono_ns: int | None = None,
    ) -> None:
        self.frame = frame
        self.caller = caller
        self.operations = operations
        self.decisions = decisions
        self.receipts = receipts
        self.revision = decisions[0].revision
        self.expires_mono_ns = expires_mono_ns
        # Decisions of two bundles about one frame are no leave by either.
        self._spent = len(decisions) > 1 and any(each.revision != self.revision for each in decisions)

    def spend(self, revision: str, mono_ns: int) -> bytes | None:
        """The bytes to send, once; None if spent, expired, or the bundle is no longer active."""
        if self._spent or revision != self.revision:
            return None
        if self.expires_mono_ns is not None and mono_ns >= self.expires_mono_ns:
            return None
        self._spent = True
        return self.frame.encode()


class ActPermit(ReadPermit):
    """Leave to send one frame that changes something. Cannot be made without a Durable receipt."""

    __slots__ = ("_epoch", "_since", "intent")

    def __init__(
        self,
        frame: Frame,
        caller: Caller,
        operations: tuple[Operation, ...],
        decisions: tuple[Passed, ...],
        intent: Durable,
        expires_mono_ns: int | None,
        epoch: Epoch,
        since: int,
    ) -> None:
        """`since`: the value of `epoch` when policy was asked."""
        super().__init__(frame, caller, operations, decisions, (), expires_mono_ns)
        self.intent = intent
        self._epoch = epoch
        self._since = since

    def spend(self, revision: str, mono_ns: int) -> bytes | None:
        """As of a read; also None where facts or stages have changed since policy was asked."""
        return super().spend(revision, mono_ns) if self._epoch.value == self._since else None


Permit = ReadPermit | ActPermit
