"""One MQTT broker: connecting, the gateway's sign of life, and beginning again after each end.

Rules that hold here:
- A dead gateway leaves no "good" behind: values expire at the broker, a will says `offline`, and after a
  (re)connect every tag is sent with the quality it has now (`publication`).
- The status topic is put to policy like everything else (`mqtt.publish_status`, no asset, no points). The
  will is decided when it is handed to the broker: when it is sent there is no gateway left to ask.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from random import Random
from typing import Any

from gateway.config.settings import MqttSection
from gateway.guard.passage import Door, enter, finish, settle
from gateway.guard.verdict import Forward, Pending
from gateway.model.errors import GatewayError
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, NorthTarget, Operation, Protocol
from gateway.publish import uns
from gateway.publish.backoff import BackOff
from gateway.publish.mqtt import ConnectError, Delivery, MqttConnection
from gateway.publish.ports import Count, Holder
from gateway.publish.publication import Publication
from gateway.publish.values import Values
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
        self._publication: Publication | None = None
        self._stopping = False
        self._trouble = "not connected yet"

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

    async def carry(self, message: uns.Message) -> Delivery:
        """Send one message that is none of a tag, as soon as there is room, and wait for its PUBACK.

        Policy is not asked: who sends is a part of the gateway, and where to is configured.
        """
        if self._connection is None:
            return Delivery(None, self._trouble or "not connected")
        return await self._connection.deliver(message)

    def status(self) -> dict[str, Any]:
        """For `status`."""
        connection, publication = self._connection, self._publication
        return {
            "name": self._section.name,
            "address": f"{self._section.host}:{self._section.port}",
            "connected": connection is not None,
            "under_way": connection.under_way if connection is not None else 0,
            "trouble": self._trouble,
            "refused": publication.refused if publication is not None else {},
            "denied": publication.denied if publication is not None else [],
        }

    async def _connect(self) -> MqttConnection:
        section = self._section
        will = self._status("offline", None)
        try:
            context = self._context()
        except (GatewayError, OSError, ValueError) as error:  # files that are just being replaced
            raise ConnectError(f"no TLS context: {error}") from error
        connection = MqttConnection(
            host=section.host,
            port=section.port,
            client_id=section.client_id,
            context=context,
            will=will if await self._allowed(will) is not None else None,
            ready=self._wake.set,
        )
        await connection.connect()
        return connection

    async def _serve(self, connection: MqttConnection) -> None:
        self._count("mqtt_connects")
        self._connection, self._trouble = connection, ""
        publication = self._publication = self._publish(connection)
        subscription = self._values.subscribe(self._wake.set)
        try:
            await self._say(connection, "online")
            while not connection.closed.done():
                self._wake.clear()
                if not self._stopping:
                    publication.step(subscription)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_S):
                        await self._wake.wait()
            self._trouble = connection.closed.result()
            log.warning("broker %s: connection ended: %s", self._section.name, self._trouble)
        finally:
            self._connection = self._publication = None
            self._values.unsubscribe(subscription)
            connection.abort("cancelled")

    def _publish(self, connection: MqttConnection) -> Publication:
        return Publication(
            connection,
            self._section,
            gateway=self._gateway,
            site=self._site,
            values=self._values,
            vetting=self._vetting,
            door=self._door,
            caller=self._caller,
            clock=self._clock,
            tasks=self._tasks,
            count=self._count,
            wake=self._wake,
        )

    async def _leave(self, state: str | None) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    if state is not None:
                        await self._say(connection, state)
                    await connection.disconnect()

    # the status topic --------------------------------------------------------------------------

    async def _say(self, connection: MqttConnection, state: str) -> None:
        """Say how the gateway is, if policy lets it."""
        message = self._status(state, self._clock())
        allowed = await self._allowed(message)
        payload = None
        if allowed is not None:
            payload = allowed.permit.spend(self._door.engine.revision, self._clock().mono_ns)
        if allowed is None or payload is None:
            self._trouble = "status topic: policy denied it"
            return
        delivery = await connection.deliver(message)
        settle(allowed.permit, {"status": delivery.outcome}, payload, self._door, self._clock())
        if not delivery.accepted:
            self._count("mqtt_refused")
            self._trouble = f"status topic: {delivery.reason}"
            log.warning("broker %s did not take the status: %s", self._section.name, delivery.reason)

    async def _allowed(self, message: uns.Message) -> Forward | None:
        operation = Operation(
            protocol=Protocol.MQTT,
            action=Action.PUBLISH,
            kind="mqtt.publish_status",
            north=NorthTarget(topic=message.topic, consumer=self._section.name, format=uns.FORMAT),
        )
        now = self._clock()
        verdict = enter(message, (operation,), self._caller, self._door, now)
        if isinstance(verdict, Pending):
            verdict = await finish(verdict, self._door, now)
        return verdict if isinstance(verdict, Forward) else None

    def _status(self, state: str, now: Now | None) -> uns.Message:
        names = {"site": self._site, "gateway": self._gateway}
        topic = uns.fill(self._section.status_topic, names)
        if topic is None:
            raise ConnectError(f"status_topic {self._section.status_topic!r} makes no topic")
        wall_ms = now.wall_ns // 1_000_000 if now is not None else None
        return uns.status(state, topic=topic, gateway=self._gateway, site=self._site, wall_ms=wall_ms)
