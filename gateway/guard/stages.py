"""Waiving: what policy denies and a listener or asset in `observe` or `monitor` lets through all the same.

A site begins by watching. So that watching opens nothing that must stay shut, only a denial of which every
reason is of a kind in WAIVED passes, and only where clients speak to the plant: what goes to IT, what the
gateway asks for itself and what people do to it is enforced always. Guardrails, what the wire could not
read, and an engine that failed are never waived.
"""

from gateway.guard.ports import Stages
from gateway.model.decision import Denied, Waived
from gateway.model.identity import Authentication, Caller
from gateway.model.operation import Action, Operation, Protocol
from gateway.model.stage import Stage

WAIVED = frozenset({"grant", "default", "base", "site", "obligation"})
"Kinds of reasons that a stage can waive. Every other kind, and one that is new, denies in all of them."
PLANT = frozenset({Protocol.MODBUS, Protocol.OPCUA})
"Protocols that stages are about."


class Enforced:
    """Everything is enforced: the stages of a gateway where nobody set any."""

    def of(self, listener: str, asset: str | None) -> Stage:
        """Always `enforce`."""
        return Stage.ENFORCE


def waive(denied: Denied, operation: Operation, caller: Caller, stages: Stages) -> Denied | Waived:
    """The denial as it is, or waived because of the stage."""
    clients = caller.identity.auth is not Authentication.INTERNAL
    if not clients or operation.protocol not in PLANT or operation.action is Action.ADMIN:
        return denied
    if (
        operation.unreadable is not None
        or not denied.reasons
        or any(reason.kind not in WAIVED for reason in denied.reasons)
    ):
        return denied
    stage = stages.of(caller.listener, operation.asset)
    return denied if stage is Stage.ENFORCE else Waived(denied=denied, stage=stage)
