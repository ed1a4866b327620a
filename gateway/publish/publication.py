"""The tags that one broker gets over one connection: decided, sent, refreshed, and what became of each.

Rules that hold here:
- Every message about a tag is an operation that policy decides and the journal counts; what is sent is what
  the permit holds, and it is made of a Released sample (invariant 8).
- A value that did not change is sent again every `refresh_s`, so that only what nobody looks after expires;
  one that nobody read anew is sent again as `stale` the moment it is.
- A refused PUBACK is a failure: counted, shown in `status`, tried again with the next refresh.
- A denial is recorded when policy says it, not again with every refresh under the same revision.
- What policy obliges to (`mask`, `round`) holds for what the broker retains, too: where it changes, a tag is
  sent again when it is next looked at (its poll, its refresh, another bundle), though its value is the same.
"""

import asyncio
import logging
from collections.abc import Callable

from gateway.config.settings import MqttSection
from gateway.guard.passage import Door, decide, enter, finish, settle
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.asset import Tag
from gateway.model.decision import Allowed, Denied, Obligation, Passed, Why
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, NorthTarget, Operation, Point, Protocol
from gateway.model.sample import Quality, Released, Value
from gateway.publish import uns
from gateway.publish.mqtt import NOBODY_LISTENS, Delivery, MqttConnection
from gateway.publish.ports import Count, Holder
from gateway.publish.values import Subscription, Values
from gateway.publish.vetting import Vetting

log = logging.getLogger(__name__)

Said = tuple[Value | None, Quality, str]
"What the broker was last told about a tag: its time and number alone are no news before the refresh."


class Publication:
    """Sends tags over one connection; what it remembers is at most one entry a tag, and ends with it."""

    def __init__(
        self,
        connection: MqttConnection,
        section: MqttSection,
        *,
        gateway: str,
        site: str,
        values: Values,
        vetting: Vetting,
        door: Door,
        caller: Caller,
        clock: Callable[[], Now],
        tasks: Holder,
        count: Count,
        wake: asyncio.Event,
    ) -> None:
        """`wake` is set whenever `step` is worth another call."""
        self._connection = connection
        self._section = section
        self._gateway, self._site = gateway, site
        self._values = values
        self._vetting = vetting
        self._door = door
        self._caller = caller
        self._clock = clock
        self._tasks = tasks
        self._count = count
        self._wake = wake
        self._revision = door.engine.revision
        self._deciding: set[str] = set()
        "Tags whose decision is waited for."
        self._forget()

    def _forget(self) -> None:
        """The tags are others."""
        self._known_tags = self._values.tags
        self._operations: dict[str, Operation | None] = {}
        self._said: dict[str, Said] = {}
        self._obliged: dict[str, tuple[Obligation, ...]] = {}
        "What policy obliged to when it was last said."
        self._due_ns: dict[str, int] = {}
        self._denied: dict[str, str] = {}
        "The revision under which a tag was denied, and that is in the journal."
        self._refused: dict[str, str] = {}
        "Tags whose last message the broker did not take, and why."

    def step(self, subscription: Subscription) -> None:
        """Look what must be said, and send as much of it as the broker takes."""
        now = self._clock()
        if self._known_tags is not self._values.tags:
            self._forget()
        if self._revision != self._door.engine.revision:
            self._revision = self._door.engine.revision
            subscription.note(self._due_ns)
        subscription.note(name for name, due_ns in self._due_ns.items() if due_ns <= now.mono_ns)
        self._wake.clear()
        while self._connection.free > len(self._deciding) and (name := subscription.take()) is not None:
            self._publish(name, now)

    @property
    def refused(self) -> dict[str, str]:
        """Tags that the broker does not take, and why."""
        return dict(sorted(self._refused.items()))

    @property
    def denied(self) -> list[str]:
        """Tags that policy keeps from the broker."""
        return sorted(self._denied)

    # one tag -----------------------------------------------------------------------------------

    def _publish(self, name: str, now: Now) -> None:
        tag = self._values.tags.get(name)
        released = self._vetting.released(name, now)
        if tag is None or released is None:
            self._due_ns.pop(name, None)
            return
        operation = self._operation(tag)
        if operation is None or operation.north is None or operation.north.topic is None:
            self._count("mqtt_no_topic")
            return
        sample = released.sample
        said = (sample.value, sample.quality, sample.reason)
        if self._is_said(operation, name, said, now) and self._due_ns.get(name, 0) > now.mono_ns:
            return
        self._due_ns[name] = self._next_ns(tag, released, now)
        if name in self._deciding or self._still_denied(operation, name, now):
            return
        message = uns.TagMessage(
            released=released,
            tag=tag,
            topic=operation.north.topic,
            gateway=self._gateway,
            expiry_s=self._section.expiry_s,
        )
        verdict = enter(message, (operation,), self._caller, self._door, now)
        if isinstance(verdict, Pending):
            self._deciding.add(name)
            self._tasks.start(self._finish(verdict, name, said, now), f"publish {name}")
        else:
            self._carry_out(verdict, name, said)

    async def _finish(self, pending: Pending, name: str, said: Said, now: Now) -> None:
        try:
            verdict = await finish(pending, self._door, now)
        finally:
            self._deciding.discard(name)
            self._wake.set()
        self._carry_out(verdict, name, said)

    def _carry_out(self, verdict: Verdict, name: str, said: Said) -> None:
        if not isinstance(verdict, Forward):
            self._count("mqtt_denied")
            self._said.pop(name, None)
            if isinstance(verdict, Refuse) and verdict.why is Why.DENIED:
                self._denied[name] = self._door.engine.revision
            return
        self._denied.pop(name, None)
        permit = verdict.permit
        payload = permit.spend(self._door.engine.revision, self._clock().mono_ns)
        if payload is None or not isinstance(permit.frame, uns.TagMessage):
            self._due_ns[name] = 0  # the bundle changed meanwhile: ask again with the next sweep
            return

        def told(delivery: Delivery) -> None:
            settle(permit, {"status": delivery.outcome}, payload, self._door, self._clock())
            self._told(name, delivery)

        allowed = permit.decisions[0]
        message = permit.frame.decided(payload, revision=allowed.revision, evaluation=allowed.evaluation)
        if self._connection.send(message, message.user, payload, told):
            self._said[name] = said
            self._obliged[name] = _obligations(allowed)
        else:
            self._due_ns[name] = 0
            settle(permit, {"status": "not_sent"}, b"", self._door, self._clock())

    def _told(self, name: str, delivery: Delivery) -> None:
        """What the broker said about one message."""
        if delivery.accepted:
            self._count("mqtt_published")
            self._refused.pop(name, None)
            if delivery.code == NOBODY_LISTENS:
                self._count("mqtt_nobody_listens")
            return
        self._said.pop(name, None)
        if delivery.code is None:
            self._count("mqtt_lost")
            return
        self._count("mqtt_refused")
        if self._refused.get(name) != delivery.reason:
            log.warning("broker %s refused %s: %s", self._section.name, name, delivery.reason)
        self._refused[name] = delivery.reason

    def _is_said(self, operation: Operation, name: str, said: Said, now: Now) -> bool:
        """Whether the broker has it already, and as policy wants it now."""
        if self._said.get(name) != said:
            return False
        decision = decide(operation, self._caller, self._door, now)
        return isinstance(decision, Allowed) and _obligations(decision) == self._obliged.get(name)

    def _still_denied(self, operation: Operation, name: str, now: Now) -> bool:
        """Whether a denial that is in the journal stands: it is asked again, and not written again."""
        if self._denied.get(name) != self._door.engine.revision:
            return False
        return isinstance(decide(operation, self._caller, self._door, now), Denied)

    def _next_ns(self, tag: Tag, released: Released, now: Now) -> int:
        """When the tag must be looked at again: for the refresh, or because its value becomes stale."""
        refresh_ns = now.mono_ns + int(self._section.refresh_s * SECOND)
        if released.sample.quality is Quality.BAD or released.sample.reason == "stale":
            return refresh_ns
        return min(refresh_ns, released.sample.mono_ns + tag.stale_ms * 1_000_000 + 1)

    def _operation(self, tag: Tag) -> Operation | None:
        """What policy is asked about a tag: always the same object, so that its answer is found fast."""
        if tag.name in self._operations:
            return self._operations[tag.name]
        topic = uns.topic(self._section.topic, tag, site=self._site, gateway=self._gateway)
        operation = None
        if topic is not None:
            operation = Operation(
                protocol=Protocol.MQTT,
                action=Action.PUBLISH,
                kind="mqtt.publish_tag",
                asset=tag.asset,
                asset_kind=self._values.kinds.get(tag.asset),
                north=NorthTarget(topic=topic, consumer=self._section.name, format=uns.FORMAT),
                points=(Point(tag.name),),
            )
        self._operations[tag.name] = operation
        return operation


def _obligations(decision: Passed) -> tuple[Obligation, ...]:
    return decision.obligations if isinstance(decision, Allowed) else ()
