"""What a channel reports: openings, messages, and why it is over."""

from msgspec import Struct

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.identity import Identity
from gateway.wire.opcua.framing import Buffers, Fault


class ChannelLimits(Struct, frozen=True, kw_only=True):
    """What one channel may hold and ask for."""

    buffers: Buffers = Buffers()
    "Chunk sizes, and the longest message that is taken."
    least_lifetime_ms: int = 10_000
    "A renewal costs an operation with the private key; more often than this nobody needs one."
    most_lifetime_ms: int = 3_600_000
    "How long a stolen key serves."
    least_between_ms: int = 1_000
    "Renewals that come sooner one after the other are a flood of operations with our private key."


class Admitted(Struct, frozen=True):
    """An application certificate that is trusted: who it is."""

    identity: Identity
    uri: str
    "Its ApplicationUri, byte for byte."


class Rejected(Struct, frozen=True):
    """An application certificate that is not."""

    why: str
    "For the log; the peer learns no more than that security checks failed."


class Hello(Struct, frozen=True):
    """A client said by which URL it came."""

    url: str


class Acknowledged(Struct, frozen=True):
    """A server takes the connection: open a channel now."""


class Opened(Struct, frozen=True, kw_only=True):
    """A channel is open, or has new keys."""

    policy: OpcuaPolicy | None
    "Null for discovery without security."
    mode: OpcuaMode | None
    application: Admitted | None
    "Null for discovery without security, and where we are the client: the server's certificate is pinned."
    renewed: bool
    lifetime_ms: int


class Message(Struct, frozen=True, gc=False):
    """A whole message."""

    request_id: int
    body: bytes
    discovery: bool = False
    "It came without security: only GetEndpoints and FindServers may be answered (facts §4.2)."


class Aborted(Struct, frozen=True):
    """The peer gave up a message halfway; no more of it comes, and the channel goes on."""

    request_id: int
    status: int
    reason: str


class Closed(Struct, frozen=True):
    """The peer closed the channel. There is no answer to that."""


class Lost(Struct, frozen=True):
    """Nothing more of this peer is interpreted; what is to be written before the end is in `out`."""

    status: int
    "What the peer is told, or what it told us."
    why: Fault
    detail: str = ""
    "For the log."


Event = Hello | Acknowledged | Opened | Message | Aborted | Closed | Lost
