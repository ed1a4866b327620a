"""One MQTT broker and what it gets: every tag that policy lets it have, and the gateway's sign of life.

Rules that hold here:
- Every message about a tag is an operation that policy decides and the journal counts; what is sent is what
  the permit holds, and it is made of a Released sample (invariant 8).
- A dead gateway leaves no "good" behind: values expire at the broker, a will says `offline`, and after a
  (re)connect every tag is sent with the quality it has now.
- A value that did not change is sent again every `refresh_s`, so that only what nobody looks after expires.
- A refused PUBACK is a failure: counted, shown in `status`, tried again with the next refresh.

The status topic is not put to policy: it says nothing about the plant, and the broker sends the will when
there is no gateway left to ask. The broker's own access list is what bounds it.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from random import Random
from typing import Any

from gateway.config.settings import MqttSection
from gateway.guard.passage import Door, decide, enter, finish, settle
from gateway.guard.verdict import Forward, Pending, Refuse, Verdict
from gateway.model.asset import Tag
from gateway.model.decision import Denied, Why
from gateway.model.errors import GatewayError
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, NorthTarget, Operation, Point, Protocol
from gateway.model.sample import Quality, Released, Value
from gateway.publish import uns
from gateway.publish.backoff import BackOff
from gateway.publish.mqtt import NOBODY_LISTENS, ConnectError, Delivery, MqttConnection
from gateway.publish.ports import Count, Holder
from gateway.publish.values import Subscription, Values
from gateway.publish.vetting import Vetting

log = logging.getLogger(__name__)

MOST_PAUSE_S = 30.0
"Longest pause between tries to connect."
STEADY_S = 10.0
"""A connection that lived this long ends the back-off. Two gateways with one client id throw each other out
at once and for ever; they must not do so as fast as they can."""
SWEEP_S = 1.0
"How often is looked for values that are to be refreshed or have become stale."
STOP_S = 3.0
"How long saying goodbye may take."

Said = tuple[Value | None, Quality, str]
"What the broker was last told about a tag: its time and number alone are no news before the refresh."


class Broker:
    """Publishes to one broker until cancelled."""

    def __init__(
        self,
        section: MqttSection,
        *,
        zone: str,
        gateway: str,
        site: str,
        values: Values,
        door: Door,
        caller: Caller,
        context: Callable[[], ssl.SSLContext],
        clock: Callable[[], Now],
        tasks: Holder,
        random: Random,
        count: Count,
    ) -> None:
        """`zone` is the release class the broker may get; `context` gives each connection its TLS context."""
        self._section = section
        self._gateway, self._site = gateway, site
        self._values = values
        self._door = door
        self._caller = caller
        self._context = context
        self._clock = clock
        self._tasks = tasks
        self._count = count
        self._vetting = Vetting(values, sink=section.name, zone=zone, door=door, caller=caller, count=count)
        self._pause = BackOff(MOST_PAUSE_S, random)
        self._wake = asyncio.Event()
        self._connection: MqttConnection | None = None
        self._stopping = False
        self._trouble = "not connected yet"
        self._forget()

    def _forget(self) -> None:
        """Begin anew: the broker may know nothing, or the tags are others. All of this is one entry a tag."""
        self._known_tags = self._values.tags
        self._operations: dict[str, Operation | None] = {}
        self._said: dict[str, Said] = {}
        self._due_ns: dict[str, int] = {}
        self._denied: dict[str, str] = {}
        "The revision under which a tag was denied, and that is in the journal."
        self._refused: dict[str, str] = {}
        "Tags whose last message the broker did not take, and why."
        self._deciding: set[str] = set()

    # life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, publish, and begin again after each end."""
        while not self._stopping:
            began_ns = self._clock().mono_ns
            try:
                connection = await self._connect()
            except ConnectError as error:
                self._count("mqtt_connect_failed")
                self._trouble = str(error)
                log.warning("broker %s: %s", self._section.name, error)
            else:
                await self._serve(connection)
            now_ns = self._clock().mono_ns
            if now_ns - began_ns >= STEADY_S * SECOND:
                self._pause.answered()
            if not self._stopping:
                await asyncio.sleep(self._pause.failed(now_ns))

    async def stop(self) -> None:
        """Say `stopping` and leave in order, so that the will is not sent."""
        self._stopping = True
        await self._leave("stopping")

    async def renew(self) -> None:
        """Connect again: trust or our certificate has changed."""
        self._pause.answered()
        await self._leave(None)

    def status(self) -> dict[str, Any]:
        """For `status`."""
        connection = self._connection
        return {
            "name": self._section.name,
            "address": f"{self._section.host}:{self._section.port}",
            "connected": connection is not None,
            "under_way": connection.under_way if connection is not None else 0,
            "trouble": self._trouble,
            "refused": dict(sorted(self._refused.items())),
            "denied": sorted(self._denied),
        }

    async def _connect(self) -> MqttConnection:
        section = self._section
        try:
            context = self._context()
        except (GatewayError, OSError, ValueError) as error:  # files that are just being replaced
            raise ConnectError(f"no TLS context: {error}") from error
        connection = MqttConnection(
            host=section.host,
            port=section.port,
            client_id=section.client_id,
            context=context,
            will=self._status("offline", None),
            ready=self._wake.set,
        )
        await connection.connect()
        return connection

    async def _serve(self, connection: MqttConnection) -> None:
        self._count("mqtt_connects")
        self._forget()
        self._connection, self._trouble = connection, ""
        subscription = self._values.subscribe(self._wake.set)
        try:
            birth = await connection.deliver(self._status("online", self._clock()))
            if not birth.accepted:
                self._count("mqtt_refused")
                self._trouble = f"status topic: {birth.reason}"
                log.warning("broker %s did not take the status: %s", self._section.name, birth.reason)
            while not connection.closed.done():
                self._wake.clear()
                if not self._stopping:
                    self._sweep(subscription, self._clock())
                    self._pump(connection, subscription)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_S):
                        await self._wake.wait()
            self._trouble = connection.closed.result()
            log.warning("broker %s: connection ended: %s", self._section.name, self._trouble)
        finally:
            self._connection = None
            self._values.unsubscribe(subscription)
            connection.abort("cancelled")

    async def _leave(self, state: str | None) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    if state is not None:
                        await connection.deliver(self._status(state, self._clock()))
                    await connection.disconnect()

    def _status(self, state: str, now: Now | None) -> uns.Message:
        names = {"site": self._site, "gateway": self._gateway}
        topic = uns.fill(self._section.status_topic, names)
        if topic is None:
            raise ConnectError(f"status_topic {self._section.status_topic!r} makes no topic")
        wall_ms = now.wall_ns // 1_000_000 if now is not None else None
        return uns.status(state, topic=topic, gateway=self._gateway, site=self._site, wall_ms=wall_ms)

    # values ----------------------------------------------------------------------------------------

    def _sweep(self, subscription: Subscription, now: Now) -> None:
        """What must be said again."""
        if self._known_tags is not self._values.tags:
            self._forget()
        subscription.note(name for name, due_ns in self._due_ns.items() if due_ns <= now.mono_ns)
        self._wake.clear()

    def _pump(self, connection: MqttConnection, subscription: Subscription) -> None:
        """Send as much as the broker takes."""
        now = self._clock()
        while connection.free > len(self._deciding) and (name := subscription.take()) is not None:
            self._publish(connection, name, now)

    def _publish(self, connection: MqttConnection, name: str, now: Now) -> None:
        tag = self._values.tags.get(name)
        released = self._vetting.released(name, now)
        if tag is None or released is None:
            self._due_ns.pop(name, None)
            return
        sample = released.sample
        said = (sample.value, sample.quality, sample.reason)
        if self._said.get(name) == said and self._due_ns.get(name, 0) > now.mono_ns:
            return
        operation = self._operation(tag)
        if operation is None or operation.north is None or operation.north.topic is None:
            self._count("mqtt_no_topic")
            return
        self._due_ns[name] = self._next_ns(tag, released, now)
        if name in self._deciding or self._still_denied(operation, name, now):
            return
        message = uns.message(
            released,
            tag,
            topic=operation.north.topic,
            gateway=self._gateway,
            expiry_s=self._section.expiry_s,
        )
        verdict = enter(message, (operation,), self._caller, self._door, now)
        if isinstance(verdict, Pending):
            self._deciding.add(name)
            self._tasks.start(self._finish(verdict, connection, name, said, now), f"publish {name}")
        else:
            self._carry_out(verdict, connection, name, said)

    async def _finish(
        self, pending: Pending, connection: MqttConnection, name: str, said: Said, now: Now
    ) -> None:
        try:
            verdict = await finish(pending, self._door, now)
        finally:
            self._deciding.discard(name)
            self._wake.set()
        self._carry_out(verdict, connection, name, said)

    def _carry_out(self, verdict: Verdict, connection: MqttConnection, name: str, said: Said) -> None:
        if not isinstance(verdict, Forward):
            self._count("mqtt_denied")
            self._said.pop(name, None)
            if isinstance(verdict, Refuse) and verdict.why is Why.DENIED:
                self._denied[name] = self._door.engine.revision
            return
        self._denied.pop(name, None)
        permit = verdict.permit
        payload = permit.spend(self._door.engine.revision, self._clock().mono_ns)
        if payload is None or not isinstance(permit.frame, uns.Message):
            self._due_ns[name] = 0  # the bundle changed meanwhile: ask again with the next sweep
            return

        def told(delivery: Delivery) -> None:
            settle(permit, {"status": _outcome(delivery)}, payload, self._door, self._clock())
            self._told(name, delivery)

        allowed = permit.decisions[0]
        user = uns.decided(permit.frame, revision=allowed.revision, evaluation=allowed.evaluation)
        if connection.send(permit.frame, user, payload, told):
            self._said[name] = said
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


def _outcome(delivery: Delivery) -> str:
    if delivery.accepted:
        return "ok"
    return "connection_lost" if delivery.code is None else f"puback_{delivery.code:02x}"
