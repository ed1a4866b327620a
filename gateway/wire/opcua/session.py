"""What belongs to a session, and who may name it: see `tables`, `owning` and `noting`."""

from collections.abc import Iterable

from gateway.model.operation import Operation
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.noting import NOTES
from gateway.wire.opcua.owning import CHECKS, Refused
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.tables import Bounds, Subscription, Tables

__all__ = ["MAKES", "Bounds", "Ownership", "Refused", "Subscription"]

_ORDINARY = Bounds()
MAKES = frozenset(
    {
        "CreateSubscription",
        "ModifySubscription",
        "TransferSubscriptions",
        "CreateMonitoredItems",
        "ModifyMonitoredItems",
    }
)
"Services that leave something at the server which goes on by itself: without their answer nobody knows what."


class Ownership(Tables):
    """The tables of one session, and what requests and answers are to them."""

    __slots__ = ()

    def __init__(self, bounds: Bounds = _ORDINARY) -> None:
        super().__init__(bounds)

    def check(self, request: Request, also: Iterable[Tables] = ()) -> Refused | Status:
        """What of a request names things that are not the session's, or too many: by item, or all of it.

        `also`: other sessions of the same identity and user, from which subscriptions may be transferred.
        Room that the request takes is kept for it until `note` or `release`.
        """
        checked = CHECKS.get(request.service.name)
        return {} if checked is None else checked(self, request, also)

    def release(self, request: Request) -> None:
        """No answer will come: the room that was kept for it is free."""
        self.reserved.pop(id(request), None)

    def note(self, answer: ServiceAnswer, operations: tuple[Operation, ...]) -> None:
        """What an answer made or ended. `operations` are those that were sent, in order."""
        request = answer.outbound.request
        noted = NOTES.get(request.service.name)
        if noted is not None and answer.good and not answer.fault:
            noted(self, answer, operations)
        self.release(request)
