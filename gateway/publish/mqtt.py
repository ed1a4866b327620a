"""One MQTT 5 connection: paho-mqtt without its thread, on our event loop.

Rules that hold here:
- A message counts as delivered only when the broker's PUBACK says so. A reason code of 0x80 or more is a
  failure, and so is an end of the connection before the PUBACK.
- Never more unanswered messages than min(WINDOW, the broker's Receive Maximum) (MQTT 5.0 §4.9): `send` says
  no, the caller keeps what it has.
- One object is one connection. After its end every message that was under way has been told, and nothing of
  it lives on: no session, no resending by the library (the caller knows newer values by then).
- Looking up, connecting and shaking hands block, so they run in a thread; from then on only the loop's
  thread touches the client.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.publish.uns import UTF8, Message

log = logging.getLogger(__name__)

WINDOW = 100
"Most messages under way without a PUBACK; more brings no speed on a local broker."
RECEIVE_MAXIMUM = 65_535
"What a broker that names no Receive Maximum can take (MQTT 5.0 §3.2.2.3.3)."
CONNECT_S = 5.0
"How long TCP, TLS and CONNACK may take, each."
KEEPALIVE_S = 10
"""A broker that hears nothing for one and a half of these sends our will (MQTT 5.0 §3.1.2.10); one
that does not answer a ping within one is left."""
ACK_S = 10.0
"How long a PUBACK may take; then the connection is given up with all that is in it."
TICK_S = 1.0
"How often keep-alive and overdue PUBACKs are looked at."
FAILURE = 0x80
"Reason codes from here on are failures (MQTT 5.0 §2.4)."
NOBODY_LISTENS = 0x10
"PUBACK: accepted, but nobody subscribes to the topic."


class Delivery(Struct, frozen=True, gc=False):
    """What came of one message."""

    code: int | None
    "The PUBACK's reason code; None where the connection ended first."
    reason: str

    @property
    def accepted(self) -> bool:
        """Whether the broker took it."""
        return self.code is not None and self.code < FAILURE

    @property
    def outcome(self) -> str:
        """The same for the journal: `ok`, `puback_87`, `connection_lost`."""
        if self.code is None:
            return "connection_lost"
        return "ok" if self.accepted else f"puback_{self.code:02x}"


Told = Callable[[Delivery], None]


class ConnectError(Exception):
    """The broker could not be reached, would not have us, or cannot do what we need."""


class MqttConnection:
    """One connection to one broker. `connect` once, `send` many, `disconnect`; `closed` when it is over."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        client_id: str,
        context: ssl.SSLContext,
        will: Message | None,
        ready: Callable[[], None],
    ) -> None:
        """`ready` is called whenever `send` may be worth another try."""
        self._host, self._port = host, port
        self._ready = ready
        self._told: dict[int, tuple[Told, float]] = {}
        "By message id, in the order of sending: whom to tell, and until when a PUBACK may take."
        self._loop = asyncio.get_running_loop()
        self._descriptor: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connack: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._window = 0
        self._room = asyncio.Event()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        "Done with the reason when the connection is over."
        client = self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.enable_logger(log.getChild("paho"))  # it knows why a socket failed, and tells nobody else
        client.max_inflight_messages = 0
        client.connect_timeout = CONNECT_S
        client.tls_set_context(context)
        if will is not None:
            properties = _properties(PacketTypes.WILLMESSAGE, will, will.user)
            client.will_set(will.topic, will.payload, 1, will.retain, properties)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_no_write

    async def connect(self) -> None:
        """Connect and wait for the CONNACK. Raises ConnectError; the object is of no use then."""
        try:
            await self._loop.run_in_executor(None, self._connect_blocking)
            self._attach()
            async with asyncio.timeout(CONNECT_S):
                code = await self._connack
        except (OSError, ValueError) as error:  # TimeoutError and ssl.SSLError are OSErrors
            self._end(str(error) or type(error).__name__)
            raise ConnectError(str(error) or "no answer in time") from error
        except asyncio.CancelledError:
            self._end("cancelled")
            raise
        if code.is_failure:
            self._end(str(code))
            raise ConnectError(f"the broker refused: {code}")
        if not self._window:
            self._end("no retained messages at QoS 1")
            raise ConnectError("the broker does not do retained messages at QoS 1")

    @property
    def free(self) -> int:
        """How many messages `send` would take now."""
        return 0 if self.closed.done() else max(0, self._window - len(self._told))

    @property
    def under_way(self) -> int:
        """Messages without PUBACK."""
        return len(self._told)

    def send(self, message: Message, user: tuple[tuple[str, str], ...], payload: bytes, told: Told) -> bool:
        """Send at QoS 1; `told` is called once with what came of it, never from here. False: not taken."""
        if not self.free:
            return False
        properties = _properties(PacketTypes.PUBLISH, message, user)
        info = self._client.publish(message.topic, payload, 1, message.retain, properties)
        # With an event loop's write callback set, paho only queues: no PUBACK can come before this line.
        self._told[info.mid] = told, self._loop.time() + ACK_S
        return True

    async def deliver(self, message: Message) -> Delivery:
        """Send one message as soon as there is room, and wait for its PUBACK."""
        while not self.free and not self.closed.done():
            self._room.clear()
            await self._room.wait()
        done: asyncio.Future[Delivery] = self._loop.create_future()

        def told(delivery: Delivery) -> None:
            if not done.done():
                done.set_result(delivery)

        if not self.send(message, message.user, message.payload, told):
            return Delivery(None, "not taken")
        return await done

    async def disconnect(self) -> None:
        """Orderly: the broker keeps the will to itself."""
        if not self.closed.done():
            self._client.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    await asyncio.shield(self.closed)
        self._end("disconnected")

    def abort(self, why: str) -> None:
        """Cut it; the broker will send the will."""
        self._end(why)

    # the socket --------------------------------------------------------------------------------

    def _connect_blocking(self) -> None:
        self._client.connect(self._host, self._port, KEEPALIVE_S, clean_start=True)
        if self.closed.done() and (sock := self._client.socket()) is not None:
            sock.close()  # whoever waited for us has left meanwhile

    def _attach(self) -> None:
        sock = self._client.socket()
        if sock is None:
            raise ConnectionError("closed at once")
        self._descriptor = sock.fileno()
        self._loop.add_reader(self._descriptor, self._readable)
        self._timer = self._loop.call_later(TICK_S, self._tick)
        if self._client.want_write():
            self._loop.add_writer(self._descriptor, self._client.loop_write)

    def _readable(self) -> None:
        """TLS may hold more than the socket shows as readable, so read until it holds nothing."""
        while True:
            self._client.loop_read()
            sock = self._client.socket()
            if not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                return

    def _on_want_write(self, client: Client, userdata: object, sock: Any) -> None:
        if self._descriptor is not None:
            self._loop.add_writer(self._descriptor, client.loop_write)

    def _on_no_write(self, client: Client, userdata: object, sock: Any) -> None:
        if self._descriptor is not None:
            self._loop.remove_writer(self._descriptor)

    def _on_socket_close(self, client: Client, userdata: object, sock: Any) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)

    def _tick(self) -> None:
        """Keep-alive, and the PUBACK that has been waited for longest."""
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._client.loop_misc()
        oldest = next(iter(self._told.values()), None)
        if oldest is not None and oldest[1] <= self._loop.time():
            self._end("no PUBACK in time")

    # what the broker says ------------------------------------------------------------------------

    def _on_connect(
        self,
        client: Client,
        userdata: object,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if not code.is_failure and _can_retain(properties):
            self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM))
        if not self._connack.done():
            self._connack.set_result(code)

    def _on_publish(
        self, client: Client, userdata: object, mid: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        told = self._told.pop(mid, None)
        if told is not None:
            told[0](Delivery(code.value, str(code)))
            self._room.set()
            self._ready()

    def _on_disconnect(
        self,
        client: Client,
        userdata: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        # paho closes its socket right after (or has closed it): ending here would do so within its callback.
        self._loop.call_soon(self._end, str(code))

    def _end(self, why: str) -> None:
        """Close, and tell everybody who still waits. Does nothing the second time."""
        if self.closed.done():
            return
        self.closed.set_result(why)
        if self._timer is not None:
            self._timer.cancel()
        if not self._connack.done():
            self._connack.set_exception(ConnectionError(why))
            self._connack.exception()  # if nobody waits for it, nobody needs to hear of it
        sock = self._client.socket()
        self._on_socket_close(self._client, None, sock)
        if sock is not None:
            sock.close()
        orphans, self._told = self._told, {}
        for told, _ in orphans.values():
            told(Delivery(None, why))
        self._room.set()
        self._ready()


def _can_retain(properties: Properties | None) -> bool:
    """Whether the broker takes retained messages at QoS 1 (MQTT 5.0 §3.2.2.3.4–5); both are the default."""
    return getattr(properties, "RetainAvailable", 1) == 1 and getattr(properties, "MaximumQoS", 1) == 1


def _properties(packet: int, message: Message, user: tuple[tuple[str, str], ...]) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = UTF8
    if message.content_type is not None:
        properties.ContentType = message.content_type
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    if user:
        properties.UserProperty = list(user)
    return properties
