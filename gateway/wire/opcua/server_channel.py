"""The end of a secure channel that clients come to.

The order of judging an OpenSecureChannel is the order of what it costs and what it gives away (facts §3, §4):
its clear header; whether its certificate is trusted (before any operation with our private key: whoever is
not trusted makes us do none); whether policy and receiver are ours; only then is it decrypted, verified, and
read to the last byte; and only then mode, nonce and lifetime count.
"""

from collections.abc import Callable, Collection
from hmac import compare_digest

from msgspec import Struct

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.moment import Now
from gateway.wire.opcua import messages
from gateway.wire.opcua.asymmetric import SEQUENCE, OpenHead, head, read_head
from gateway.wire.opcua.channel import Channel, open_cap
from gateway.wire.opcua.events import Admitted, ChannelLimits, Event, Hello, Opened, Rejected
from gateway.wire.opcua.framing import (
    ABORT,
    FINAL,
    HELLO,
    MOST_HELLO,
    OPEN,
    Buffers,
    Fault,
    acknowledge,
    agreed,
    read_hello,
)
from gateway.wire.opcua.keys import MILLISECOND, Keys, Plain, Token, keys
from gateway.wire.opcua.messages import OpenRequest, OpenResponse, ResponseHeader, SecurityToken, Unread
from gateway.wire.opcua.security import (
    BY_URI,
    MODE_NONE,
    MODES,
    NONCE_SIZE,
    NONE_URI,
    Credentials,
    Suite,
    certificates,
    open_open,
    public_key,
    seal_open,
    thumbprint,
)
from gateway.wire.opcua.status import Status

Admit = Callable[[bytes, Now], Admitted | Rejected]
"Judges a chain (DER, leaf first); it is asked again at every renewal."
Random = Callable[[int], bytes]
"So many bytes that nobody can guess."


class _Peer(Struct, frozen=True, eq=False):
    """Whose channel it is, from its first OpenSecureChannel on."""

    suite: Suite | None
    mode: OpcuaMode | None
    chain: bytes
    leaf: bytes
    application: Admitted | None


class ServerChannel(Channel):
    """One connection of a client, up to whole messages."""

    __slots__ = ("_admit", "_credentials", "_least_between_ns", "_nonce", "_offers", "_peer", "_random")

    def __init__(
        self,
        credentials: Credentials,
        offers: Collection[tuple[OpcuaPolicy, OpcuaMode]],
        limits: ChannelLimits,
        random: Random,
        channel_id: int,
        admit: Admit,
    ) -> None:
        super().__init__(limits, {HELLO: MOST_HELLO})
        self._credentials = credentials
        self._offers = frozenset(offers)
        self._random = random
        self._admit = admit
        self._peer: _Peer | None = None
        self._least_between_ns = limits.least_between_ms * MILLISECOND
        self._nonce = b""
        "The client's last one."
        self.channel_id = channel_id

    @property
    def certificate(self) -> bytes:
        """The client's certificate, DER, the leaf alone; empty without security."""
        return self._peer.leaf if self._peer is not None else b""

    @property
    def application(self) -> Admitted | None:
        """Who the client is."""
        return self._peer.application if self._peer is not None else None

    @property
    def credentials(self) -> Credentials:
        """What we showed on this channel; a later certificate of ours comes with later channels."""
        return self._credentials

    def message(self, request_id: int, body: bytes, now: Now) -> bytes:
        """The chunks of an answer. One that the client takes no message for becomes a fault that says so."""
        if self.fits(len(body)):
            return self._sealed(FINAL, request_id, body, now)
        handle = int.from_bytes(body[12:16], "little")
        fault = messages.fault(handle, Status.RESPONSE_TOO_LARGE, now.wall_ns)
        if self.fits(len(fault)):
            return self._sealed(FINAL, request_id, fault, now)
        too_large = int(Status.RESPONSE_TOO_LARGE).to_bytes(4, "little") + b"\xff\xff\xff\xff"
        return self._sealed(ABORT, request_id, too_large, now)

    # -- opening -----------------------------------------------------------------------------------------

    def _other(self, kind: bytes, chunk: bytes, now: Now, events: list[Event]) -> None:
        if kind == HELLO:
            self._hello(chunk, events)
        else:
            self._open(chunk, now, events)

    def _hello(self, chunk: bytes, events: list[Event]) -> None:
        read = read_hello(chunk)
        if isinstance(read, Fault):
            wrong_url = read is Fault.URL
            self._lost(
                events, Status.TCP_ENDPOINT_URL_INVALID if wrong_url else Status.CONNECTION_REJECTED, read
            )
            return
        theirs, url = read
        ours = agreed(self._limits.buffers, theirs)
        self._theirs = Buffers(ours.receive, ours.send, theirs.most_message, theirs.most_chunks)
        self.out += acknowledge(ours)
        self._allowed = {OPEN: open_cap(ours)}
        events.append(Hello(url))

    def _open(self, chunk: bytes, now: Now, events: list[Event]) -> None:
        read = read_head(chunk)
        if read is None:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.HEADER)
        elif read.channel_id != (self.channel_id if self._peer is not None else 0):
            self._lost(events, Status.TCP_SECURE_CHANNEL_UNKNOWN, Fault.CHANNEL_ID)
        elif read.policy_uri == NONE_URI.encode():
            self._open_plain(read, chunk, now, events)
        else:
            self._open_secured(read, chunk, now, events)

    def _open_plain(self, read: OpenHead, chunk: bytes, now: Now, events: list[Event]) -> None:
        """Discovery: whoever asks may learn what is offered here."""
        if self._peer is not None and self._peer.suite is not None:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.CHANGED)
        elif read.chain or read.thumbprint:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.HEADER)
        elif len(chunk) < read.end + 8:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.OPEN)
        else:
            peer = self._peer or _Peer(None, None, b"", b"", None)
            self._issue(peer, chunk[read.end :], now, events)

    def _open_secured(self, read: OpenHead, chunk: bytes, now: Now, events: list[Event]) -> None:
        """Whom to believe first, then whether it is for us and by them."""
        refused = Status.SECURITY_CHECKS_FAILED
        was = self._peer
        if was is not None and not compare_digest(read.chain, was.chain):
            self._lost(events, refused, Fault.CHANGED)
            return
        chain = certificates(read.chain)
        if chain is None:
            self._lost(events, refused, Fault.CERTIFICATE)
            return
        admitted = self._admit(read.chain, now)
        if isinstance(admitted, Rejected):
            self._lost(events, refused, Fault.UNTRUSTED, admitted.why)
            return
        suite = BY_URI.get(read.policy_uri.decode(errors="replace"))
        if suite is None or not any(policy is suite.policy for policy, _ in self._offers):
            self._lost(events, Status.SECURITY_POLICY_REJECTED, Fault.POLICY)
            return
        if was is not None and was.suite is not suite:
            self._lost(events, refused, Fault.CHANGED)
            return
        key = public_key(chain[0])
        if key is None:
            self._lost(events, refused, Fault.CERTIFICATE)
            return
        if not compare_digest(read.thumbprint, self._credentials.thumbprint):
            self._lost(events, refused, Fault.THUMBPRINT)
            return
        plain = open_open(suite, self._credentials.key, key, chunk, read.end)
        if plain is None:
            self._lost(events, refused, Fault.OPEN)
            return
        mode = was.mode if was is not None else None
        self._issue(_Peer(suite, mode, read.chain, chain[0], admitted), plain, now, events)

    def _issue(self, peer: _Peer, plain: bytes, now: Now, events: list[Event]) -> None:
        """The request is the sender's own: read it, and give out a token."""
        sequence, request_id = SEQUENCE.unpack_from(plain)
        if not self._in_order(sequence):
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.SEQUENCE)
            return
        request = messages.read(plain[8:], OpenRequest)
        if isinstance(request, Unread):
            self._lost(events, Status.DECODING_ERROR, Fault.OPEN, request.what)
            return
        renewed = self._token is not None
        if (request.kind == 1) is not renewed:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.REQUEST_TYPE)
            return
        if self._pending is not None:
            self._sending(now)  # which turns to it if the old one has expired: an idle client uses none
        if self._pending is not None:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.PENDING)
            return
        if self._token is not None and now.mono_ns - self._token.made_ns < self._least_between_ns:
            self._lost(events, Status.SECURITY_CHECKS_FAILED, Fault.OFTEN)
            return
        made = self._agreed(peer, request, renewed=renewed)
        if isinstance(made, Fault):
            status = Status.NONCE_INVALID if made is Fault.NONCE else Status.SECURITY_MODE_REJECTED
            self._lost(events, status, made)
            return
        peer, nonce, incoming, outgoing = made
        limits = self._limits
        lifetime = min(max(request.lifetime_ms, limits.least_lifetime_ms), limits.most_lifetime_ms)
        token = Token(self._token_id(), incoming, outgoing, now.mono_ns, lifetime)
        self._peer, self.mode = peer, peer.mode
        self.policy = peer.suite.policy if peer.suite is not None else None
        self._nonce = request.nonce or b""
        answer = OpenResponse(
            header=ResponseHeader(timestamp=messages.moment(now.wall_ns), handle=request.header.handle),
            token=SecurityToken(self.channel_id, token.id, messages.moment(now.wall_ns), lifetime),
            nonce=nonce or None,
        )
        self.out += self._opening(peer, SEQUENCE.pack(self._next(), request_id) + messages.encode(answer))
        if renewed:
            self._pending = token
        else:
            self._adopt(token)
            self._in_state({OPEN: open_cap(Buffers(self._theirs.receive))})
        events.append(
            Opened(
                policy=self.policy,
                mode=self.mode,
                application=peer.application,
                renewed=renewed,
                lifetime_ms=lifetime,
            )
        )

    def _agreed(
        self, peer: _Peer, request: OpenRequest, *, renewed: bool
    ) -> tuple[_Peer, bytes, Keys, Keys] | Fault:
        """Mode and nonce are as they must be: the peer with its mode, our nonce, and the keys."""
        suite = peer.suite
        if suite is None:
            plain = Plain()
            return (peer, b"", plain, plain) if request.mode == MODE_NONE else Fault.MODE
        mode = MODES.get(request.mode)
        if mode is None or (suite.policy, mode) not in self._offers:
            return Fault.MODE
        if renewed and mode is not peer.mode:
            return Fault.CHANGED
        theirs = request.nonce or b""
        if len(theirs) != NONCE_SIZE or compare_digest(theirs, self._nonce):
            return Fault.NONCE
        mine = self._random(NONCE_SIZE)
        peer = _Peer(suite, mode, peer.chain, peer.leaf, peer.application)
        return peer, mine, keys(suite, mode, mine, theirs), keys(suite, mode, theirs, mine)

    def _opening(self, peer: _Peer, plain: bytes) -> bytes:
        """An OpenSecureChannel answer as it goes out."""
        if peer.suite is None:
            clear = head(self.channel_id, NONE_URI, None, None)
            size = len(clear) + len(plain)
            return clear[:4] + size.to_bytes(4, "little") + clear[8:] + plain
        key = public_key(peer.leaf)
        if key is None:
            raise ValueError("a certificate that was verified has no key")
        mine = self._credentials
        clear = head(self.channel_id, peer.suite.uri, mine.sent, thumbprint(peer.leaf))
        return seal_open(peer.suite, mine.key, key, clear, plain)

    def _token_id(self) -> int:
        """Any but those in use, and none that could be foreseen."""
        used = {token.id for token in (self._token, self._pending, self._previous) if token is not None}
        while True:
            token_id = int.from_bytes(self._random(4), "little")
            if token_id and token_id not in used:
                return token_id
