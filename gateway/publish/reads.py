"""What the HTTPS API asks of the door: every read is decided and recorded before it is answered."""

from collections.abc import Callable

from gateway.guard.passage import Door, decide, enter, finish, settle
from gateway.guard.ports import Frame
from gateway.guard.verdict import Forward, Pending, Refuse
from gateway.model.asset import Tag
from gateway.model.decision import Denied, Origin, Reason, Why
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, NorthTarget, Operation, Point, Protocol
from gateway.publish import pages
from gateway.publish.ports import Count
from gateway.publish.values import Values

MOST_OPERATIONS = 20_000
"Questions remembered: ten consumers of 2000 tags. Beyond it all are made anew, microseconds each."
MOST_NAME = 128
"So much of a name that does not exist is recorded."


class Reads:
    """Reads of tags, and of the gateway's own state, by callers of the API."""

    def __init__(self, values: Values, door: Door, clock: Callable[[], Now], count: Count) -> None:
        self._values = values
        self._door = door
        self._clock = clock
        self._count = count
        self._operations: dict[tuple[str, str, str], tuple[Tag | None, Operation]] = {}

    def operation(self, kind: str, caller: Caller, tag: Tag | None) -> Operation:
        """What policy is asked; without a tag it is about the gateway itself.

        The same question is the same object, because policy finds an answer it has by the object.
        """
        subject = caller.identity.subject
        asset_kind = self._values.kinds.get(tag.asset) if tag is not None else None
        key = (kind, subject, tag.name if tag is not None else "")
        known = self._operations.get(key)
        if known is not None and known[0] is tag and known[1].asset_kind == asset_kind:
            return known[1]
        operation = Operation(
            protocol=Protocol.HTTPS,
            action=Action.READ,
            kind=kind,
            asset=tag.asset if tag is not None else None,
            asset_kind=asset_kind,
            north=NorthTarget(consumer=subject, format=pages.FORMAT),
            points=(Point(tag.name),) if tag is not None else (),
        )
        if len(self._operations) >= MOST_OPERATIONS:
            self._operations.clear()
        self._operations[key] = tag, operation
        return operation

    def hidden(self, operation: Operation, caller: Caller, now: Now) -> bool:
        """Whether a page leaves it out. Nobody asked for this one by name, so it is no refusal to record."""
        return isinstance(decide(operation, caller, self._door, now), Denied)

    async def ask(self, frame: Frame, operation: Operation, caller: Caller, now: Now) -> bytes | Why:
        """The bytes that the permit holds, or why there is none."""
        verdict = enter(frame, (operation,), caller, self._door, now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, self._door, now)
        if not isinstance(verdict, Forward):
            self._count("https_denied")
            return verdict.why if isinstance(verdict, Refuse) else Why.DENIED
        permit = verdict.permit
        body = permit.spend(self._door.engine.revision, self._clock().mono_ns)
        if body is None:
            settle(permit, {"status": "not_sent"}, b"", self._door, now)
            return Why.BUSY
        settle(permit, {"status": "ok"}, body, self._door, now)
        return body

    def unknown(self, kind: str, caller: Caller, tag: Tag | None, name: str, now: Now) -> None:
        """Somebody names what is not there for them: a denial like others, under the flood rule."""
        code, what = "wire.unknown_tag", repr(name[:MOST_NAME])
        if tag is not None:
            code, what = "release.withheld", name
        denied = Denied(
            revision=self._door.engine.revision, reasons=(Reason(code, "wire", what),), origin=Origin.UNASKED
        )
        self._door.journal.denied(caller, self.operation(kind, caller, tag), denied, now)
