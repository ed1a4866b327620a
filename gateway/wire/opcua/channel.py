"""A secure channel, whichever end of it we are: chunks in order, whole messages out (OPC 10000-6 §6.7).

    for event in channel.receive(data, now): …
    write(channel.take())

`server_channel` and `client_channel` add how each opens one. Here is what both do once it is open:

- a chunk is judged by its header first (size, type, state), then channel, token, HMAC, sequence number;
- a message is one chunk, or chunks that follow each other under one request id; bytes and number are judged
  before a chunk is kept;
- the old token serves until the new one is used, and messages under it are believed for a quarter of its
  life longer (OPC 10000-4 §5.6.2.1);
- the first fault ends it: an event `Lost`, an error message with the code alone, and nothing more of that
  peer is interpreted (invariant 4). Nothing raises, whatever comes.
"""

from struct import Struct as Layout

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.moment import Now
from gateway.wire.opcua.assembly import Assembly
from gateway.wire.opcua.events import (
    ChannelLimits,
    Closed,
    Event,
    Lost,
    Message,
)
from gateway.wire.opcua.framing import (
    ABORT,
    CLOSE,
    FINAL,
    HEAD,
    HEAD_SIZE,
    MOST_OPEN,
    PART,
    Buffers,
    Fault,
    error,
)
from gateway.wire.opcua.keys import Token, Unsealed
from gateway.wire.opcua.status import Status

LAST_SEQUENCE = 4_294_966_271
"A peer may begin again, below `FIRST_SEQUENCES`, after this: 2³² - 1 less 1024 (OPC 10000-6 §6.7.2.4)."
FIRST_SEQUENCES = 1024
TURN_SEQUENCE = LAST_SEQUENCE + 1
"Our last number: the least that is *greater* than the limit, for peers who read the clause to the letter."

_IDS = Layout("<II")


class Channel:
    """What both ends of a channel have in common."""

    __slots__ = (
        "_allowed",
        "_assembly",
        "_dead_ns",
        "_held",
        "_limits",
        "_most_body",
        "_need",
        "_pending",
        "_previous",
        "_received",
        "_sent",
        "_theirs",
        "_token",
        "channel_id",
        "mode",
        "out",
        "over",
        "policy",
    )

    def __init__(self, limits: ChannelLimits, allowed: dict[bytes, int]) -> None:
        self._limits = limits
        self._allowed = allowed
        "Types of chunk that may come in this state, and how long each may be."
        self._theirs = limits.buffers
        "What was agreed: `send` is the longest chunk that they take, `receive` the longest that we do."
        self._held = bytearray()
        self._need = HEAD_SIZE
        self._token: Token | None = None
        "The newest token that both sides have used, and under which we send."
        self._pending: Token | None = None
        "For a server: the token of a renewal that the client has not used yet."
        self._previous: Token | None = None
        self._dead_ns = 0
        self._sent = 0
        self._received: int | None = None
        self._assembly = Assembly(limits.buffers)
        self._most_body = 0
        self.channel_id = 0
        self.policy: OpcuaPolicy | None = None
        self.mode: OpcuaMode | None = None
        self.out = b""
        "What is to be written: `take` empties it."
        self.over = False
        "Closed or lost."

    @property
    def opened(self) -> bool:
        """Whether messages may be sent."""
        return self._token is not None and not self.over

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their chunk or message; bounded by a chunk and a message."""
        return len(self._held) + self._assembly.size

    def take(self) -> bytes:
        """What is to be written now."""
        out, self.out = self.out, b""
        return out

    def receive(self, data: bytes, now: Now) -> list[Event]:
        """What these bytes bring. Never raises; after `Lost` or `Closed` it is always nothing."""
        events: list[Event] = []
        if self.over:
            return events
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return events
            data = bytes(self._held)
            self._held.clear()
        at, size = 0, len(data)
        while size - at >= HEAD_SIZE:
            kind, length = HEAD.unpack_from(data, at)
            allowed = self._allowed
            most = allowed.get(kind)
            if most is None or not HEAD_SIZE <= length <= most:
                large = length < HEAD_SIZE or length > (most or max(allowed.values()))
                self._misframed(events, large=large)
                return events
            end = at + length
            if end > size:
                self._need = length
                break
            chunk = data[at:end] if length != size else data
            at = end
            if kind == FINAL and not self._assembly.parts:
                self._final(chunk, now, events)
            else:
                self._chunk(kind, chunk, now, events)
            if self.over:
                return events
        else:
            self._need = HEAD_SIZE
        if at < size:
            self._held += data[at:]
        return events

    def fits(self, size: int) -> bool:
        """Whether the other side takes a message of so many bytes."""
        token = self._token
        if token is None or self._most_body <= 0:
            return False
        theirs = self._theirs
        chunks = -(-size // self._most_body)
        return not (0 < theirs.most_message < size or 0 < theirs.most_chunks < chunks)

    def message(self, request_id: int, body: bytes, now: Now) -> bytes:
        """The chunks of a message, to be written in the order in which they were made."""
        return self._sealed(FINAL, request_id, body, now)

    def error(self, status: int) -> bytes:
        """End the connection with this code: the bytes to write last."""
        self.over = True
        return error(status)

    def expired(self, now: Now) -> bool:
        """Whether no token is left under which anything would be believed."""
        newest = self._pending or self._token
        return newest is not None and now.mono_ns >= newest.dead_ns

    # -- incoming ----------------------------------------------------------------------------------------

    def _final(self, chunk: bytes, now: Now, events: list[Event]) -> None:
        """A message of one chunk."""
        opened = self._unsealed(chunk, now, events)
        if opened is None:
            return
        _, request_id, body = opened
        if 0 < self._limits.buffers.most_message < len(body):
            self._lost(events, Status.TCP_MESSAGE_TOO_LARGE, Fault.MESSAGE_SIZE)
            return
        events.append(Message(request_id, body, self.policy is None))

    def _chunk(self, kind: bytes, chunk: bytes, now: Now, events: list[Event]) -> None:
        """Everything but a message of one chunk."""
        if kind in _SECURED:
            opened = self._unsealed(chunk, now, events)
            if opened is None:
                return
            if kind == CLOSE:
                self.over = True
                events.append(Closed())
                return
            part = self._assembly.add(kind, opened[1], opened[2])
            if isinstance(part, Fault):
                mixed = part is Fault.REQUEST_ID
                self._lost(
                    events, Status.SECURITY_CHECKS_FAILED if mixed else Status.TCP_MESSAGE_TOO_LARGE, part
                )
            elif isinstance(part, bytes):
                events.append(Message(opened[1], part, self.policy is None))
            elif part is not None:
                events.append(part)
        elif self._assembly.parts:
            self._lost(events, Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE)
        else:
            self._other(kind, chunk, now, events)

    def _other(self, kind: bytes, chunk: bytes, now: Now, events: list[Event]) -> None:
        """What opens a channel, or ends it: each role has its own."""
        raise NotImplementedError

    def _unsealed(self, chunk: bytes, now: Now, events: list[Event]) -> Unsealed | None:
        """Channel, token, HMAC and sequence number are right; or else it is lost."""
        token = self._token
        if token is None or len(chunk) < 16:
            self._lost(events, Status.TCP_MESSAGE_TYPE_INVALID, Fault.SIZE)
            return None
        channel_id, token_id = _IDS.unpack_from(chunk, 8)
        if channel_id != self.channel_id:
            self._lost(events, Status.TCP_SECURE_CHANNEL_UNKNOWN, Fault.CHANNEL_ID)
            return None
        if token_id != token.id:
            older = self._named(token_id)
            if older is None:
                self._lost(events, Status.SECURE_CHANNEL_TOKEN_UNKNOWN, Fault.TOKEN_ID)
                return None
            token = older
        if now.mono_ns >= token.dead_ns:
            self._lost(events, Status.SECURE_CHANNEL_TOKEN_UNKNOWN, Fault.TOKEN_ID)
            return None
        opened = token.incoming.open(chunk)
        if opened is None:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.SIGNATURE)
            return None
        if not self._in_order(opened[0]):
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.SEQUENCE)
            return None
        if token is self._pending:
            self._turn()
        return opened

    def _named(self, token_id: int) -> Token | None:
        for token in (self._pending, self._previous):
            if token is not None and token.id == token_id:
                return token
        return None

    def _turn(self) -> None:
        """The pending token becomes the one that we send under."""
        self._previous, self._token, self._pending = self._token, self._pending, None

    def _in_order(self, sequence: int) -> bool:
        """The number after the last one; the first is any, since a channel may begin where it likes."""
        last = self._received
        if last is None or sequence == last + 1 or (last >= LAST_SEQUENCE and sequence < FIRST_SEQUENCES):
            self._received = sequence
            return True
        return False

    def _misframed(self, events: list[Event], *, large: bool) -> None:
        if large:
            self._lost(events, Status.TCP_MESSAGE_TOO_LARGE, Fault.SIZE)
        else:
            self._lost(events, Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE)

    def _lost(self, events: list[Event], status: int, why: Fault, detail: str = "") -> None:
        """Tell the peer the code and interpret nothing more."""
        self.over = True
        self._held.clear()
        self._assembly.forget()
        self.out += error(status)
        events.append(Lost(status, why, detail))

    # -- outgoing ----------------------------------------------------------------------------------------

    def _adopt(self, token: Token) -> None:
        """A first token, or for a client a new one: it is used from now on."""
        if self._token is not None:
            self._previous = self._token
        self._token = token
        self._most_body = token.outgoing.most_body(self._theirs.send)

    def _in_state(self, extra: dict[bytes, int]) -> None:
        """A channel is open: messages may come, and what else `extra` names. Where nobody is known there is
        no message of several chunks, so that nobody makes us keep one: a question of discovery is short.
        """
        chunk = self._theirs.receive
        if self.policy is None:
            chunk = open_cap(self._theirs)
            self._allowed = {FINAL: chunk, CLOSE: chunk} | extra
        else:
            self._allowed = {FINAL: chunk, PART: chunk, ABORT: chunk, CLOSE: chunk} | extra

    def _next(self) -> int:
        """Our next sequence number."""
        self._sent = 1 if self._sent >= TURN_SEQUENCE else self._sent + 1
        return self._sent

    def _sending(self, now: Now) -> Token:
        """The token to send under. A server keeps the old one until it expires or the client uses the new."""
        if self._pending is not None and self._token is not None and now.mono_ns >= self._token.expires_ns:
            self._turn()
        if self._token is None:
            raise ValueError("no channel is open")
        return self._token

    def _sealed(self, kind: bytes, request_id: int, body: bytes, now: Now) -> bytes:
        token = self._token
        if token is None or self._pending is not None:
            token = self._sending(now)
        most = self._most_body
        if len(body) <= most:
            return token.outgoing.seal(kind, self.channel_id, token.id, self._next(), request_id, body)
        if not self.fits(len(body)):
            raise ValueError("the other side takes no message so long: ask `fits` first")
        seal, channel_id, chunks = token.outgoing.seal, self.channel_id, []
        for at in range(0, len(body), most):
            part = kind if at + most >= len(body) else PART
            chunks.append(seal(part, channel_id, token.id, self._next(), request_id, body[at : at + most]))
        return b"".join(chunks)


def open_cap(buffers: Buffers) -> int:
    """How long an OpenSecureChannel may be, and not longer than any other chunk."""
    return min(MOST_OPEN, buffers.receive)


_SECURED = frozenset({FINAL, PART, ABORT, CLOSE})
