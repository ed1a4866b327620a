"""The end of a secure channel from which we go to servers of the plant.

A server is believed by one thing: the certificate that is pinned for it, byte for byte. What it says besides
is bounded and read as strictly as what clients say; a device is not a friend.
"""

from collections.abc import Callable
from hmac import compare_digest

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.moment import Now
from gateway.wire.opcua import messages
from gateway.wire.opcua.asymmetric import SEQUENCE, head, read_head
from gateway.wire.opcua.channel import Channel, open_cap
from gateway.wire.opcua.events import Acknowledged, ChannelLimits, Event, Lost, Opened
from gateway.wire.opcua.framing import (
    ACKNOWLEDGE,
    CLOSE,
    ERROR,
    HEAD_SIZE,
    MOST_ERROR,
    OPEN,
    Buffers,
    Fault,
    hello,
    read_acknowledge,
    read_error,
)
from gateway.wire.opcua.keys import Token, keys
from gateway.wire.opcua.messages import (
    CloseChannelRequest,
    OpenRequest,
    OpenResponse,
    RequestHeader,
    ServiceFault,
    Unread,
)
from gateway.wire.opcua.security import (
    MODE_NUMBERS,
    NONCE_SIZE,
    SUITES,
    Credentials,
    Suite,
    certificates,
    open_open,
    public_key,
    seal_open,
    thumbprint,
)
from gateway.wire.opcua.status import Status

LEAST_LIFETIME_MS = 1_000
"A server that gives tokens a shorter life would have us renew without end."


class ClientChannel(Channel):
    """One connection to a server, up to whole messages."""

    __slots__ = (
        "_asked",
        "_credentials",
        "_key",
        "_mode",
        "_nonce",
        "_random",
        "_request_id",
        "_server",
        "_suite",
        "_url",
    )

    def __init__(
        self,
        credentials: Credentials,
        server_certificate: bytes,
        policy: OpcuaPolicy,
        mode: OpcuaMode,
        url: str,
        limits: ChannelLimits,
        random: Callable[[int], bytes],
    ) -> None:
        super().__init__(limits, {ACKNOWLEDGE: HEAD_SIZE + 20, ERROR: MOST_ERROR})
        key = public_key(server_certificate)
        if key is None:
            raise ValueError("the pinned certificate has no RSA key of 2048 to 4096 bits")
        self._credentials = credentials
        self._server = server_certificate
        self._key = key
        self._suite = SUITES[policy]
        self._mode = mode
        self._url = url
        self._random = random
        self._nonce = b""
        self._asked: int | None = None
        "The request id of the OpenSecureChannel that waits for its answer."
        self._request_id = 0
        self.policy = policy
        self.mode = mode

    @property
    def certificate(self) -> bytes:
        """The server's certificate, DER: the pinned one."""
        return self._server

    @property
    def credentials(self) -> Credentials:
        """What we show on this channel."""
        return self._credentials

    @property
    def suite(self) -> Suite:
        """Its policy."""
        return self._suite

    @property
    def key(self) -> RSAPublicKey:
        """The pinned certificate's."""
        return self._key

    @property
    def mode_number(self) -> int:
        """Its mode, as it stands on the wire."""
        return MODE_NUMBERS[self._mode]

    def next_id(self) -> int:
        """A request id that has not been used for long."""
        self._request_id = self._request_id % 0xFFFF_FFFF + 1
        return self._request_id

    def hello(self) -> bytes:
        """The first bytes of the connection."""
        return hello(self._limits.buffers, self._url)

    def open(self, now: Now) -> bytes:
        """Ask for a channel, once the server has acknowledged."""
        return self._ask(0, now)

    def renew(self, now: Now) -> bytes:
        """Ask for new keys; nothing where that is asked already."""
        return self._ask(1, now) if self._asked is None else b""

    def due_renewal(self, now: Now) -> bool:
        """Whether it is time for new keys: after 75 % of their life (OPC 10000-4 §5.6.2.1)."""
        return self._asked is None and self._token is not None and now.mono_ns >= self._token.due_ns

    def close(self, now: Now) -> bytes:
        """Say goodbye: the last bytes of the connection."""
        if not self.opened:
            return b""
        body = messages.encode(CloseChannelRequest(RequestHeader(timestamp=messages.moment(now.wall_ns))))
        last = self._sealed(CLOSE, self.next_id(), body, now)
        self.over = True
        return last

    def _ask(self, kind: int, now: Now) -> bytes:
        self._asked = self.next_id()
        self._nonce = self._random(NONCE_SIZE)
        request = OpenRequest(
            header=RequestHeader(timestamp=messages.moment(now.wall_ns), handle=self._asked),
            kind=kind,
            mode=self.mode_number,
            nonce=self._nonce,
            lifetime_ms=self._limits.most_lifetime_ms,
        )
        clear = head(self.channel_id, self._suite.uri, self._credentials.sent, thumbprint(self._server))
        plain = SEQUENCE.pack(self._next(), self._asked) + messages.encode(request)
        return seal_open(self._suite, self._credentials.key, self._key, clear, plain)

    # -- answers -----------------------------------------------------------------------------------------

    def _other(self, kind: bytes, chunk: bytes, now: Now, events: list[Event]) -> None:
        if kind == ACKNOWLEDGE:
            self._acknowledged(chunk, events)
        elif kind == OPEN:
            self._opened(chunk, now, events)
        else:
            status, reason = read_error(chunk)
            self.over = True
            events.append(Lost(status, Fault.ERROR, reason))

    def _acknowledged(self, chunk: bytes, events: list[Event]) -> None:
        theirs = read_acknowledge(chunk, self._limits.buffers)
        if isinstance(theirs, Fault):
            self._lost(events, Status.CONNECTION_REJECTED, theirs)
            return
        self._theirs = Buffers(theirs.send, theirs.receive, theirs.most_message, theirs.most_chunks)
        self._allowed = {OPEN: open_cap(Buffers(theirs.send)), ERROR: MOST_ERROR}
        events.append(Acknowledged())

    def _opened(self, chunk: bytes, now: Now, events: list[Event]) -> None:
        refused = Status.SECURITY_CHECKS_FAILED
        read = read_head(chunk)
        if self._asked is None:
            self._lost(events, Status.TCP_MESSAGE_TYPE_INVALID, Fault.REQUEST_TYPE)
        elif read is None:
            self._lost(events, refused, Fault.HEADER)
        elif self._token is not None and read.channel_id != self.channel_id:
            self._lost(events, refused, Fault.CHANNEL_ID)
        elif read.policy_uri != self._suite.uri.encode():
            self._lost(events, refused, Fault.POLICY)
        elif not compare_digest((certificates(read.chain) or (b"",))[0], self._server):
            self._lost(events, refused, Fault.CERTIFICATE)
        elif not compare_digest(read.thumbprint, self._credentials.thumbprint):
            self._lost(events, refused, Fault.THUMBPRINT)
        else:
            plain = open_open(self._suite, self._credentials.key, self._key, chunk, read.end)
            if plain is None:
                self._lost(events, refused, Fault.OPEN)
            else:
                self._issued(read.channel_id, plain, now, events)

    def _issued(self, channel_id: int, plain: bytes, now: Now, events: list[Event]) -> None:
        """The answer is the server's own: read it, and use its token."""
        refused = Status.SECURITY_CHECKS_FAILED
        sequence, request_id = SEQUENCE.unpack_from(plain)
        if not self._in_order(sequence):
            self._lost(events, refused, Fault.SEQUENCE)
            return
        if request_id != self._asked:
            self._lost(events, refused, Fault.REQUEST_ID)
            return
        fault = messages.read(plain[8:], ServiceFault)
        if isinstance(fault, ServiceFault):
            self._lost(events, fault.header.status, Fault.REFUSED)
            return
        answer = messages.read(plain[8:], OpenResponse)
        if isinstance(answer, Unread):
            self._lost(events, Status.DECODING_ERROR, Fault.OPEN, answer.what)
            return
        if answer.header.status:
            self._lost(events, answer.header.status, Fault.REFUSED)
            return
        given = answer.token
        theirs = answer.nonce or b""
        if given.channel_id != channel_id or not channel_id:
            self._lost(events, refused, Fault.CHANNEL_ID)
            return
        if len(theirs) != NONCE_SIZE or compare_digest(theirs, self._nonce):
            self._lost(events, Status.NONCE_INVALID, Fault.NONCE)
            return
        renewed = self._token is not None
        if given.lifetime_ms < LEAST_LIFETIME_MS or (
            self._token is not None and given.token_id == self._token.id
        ):
            self._lost(events, refused, Fault.TOKEN_ID)
            return
        self._asked = None
        self.channel_id = channel_id
        incoming = keys(self._suite, self._mode, self._nonce, theirs)
        outgoing = keys(self._suite, self._mode, theirs, self._nonce)
        self._adopt(Token(given.token_id, incoming, outgoing, now.mono_ns, given.lifetime_ms))
        self._in_state({OPEN: open_cap(Buffers(self._theirs.receive)), ERROR: MOST_ERROR})
        events.append(
            Opened(
                policy=self.policy,
                mode=self.mode,
                application=None,
                renewed=renewed,
                lifetime_ms=given.lifetime_ms,
            )
        )
