"""The connection protocol: how long a chunk is, and what a connection begins with (OPC 10000-6 §7.1.2).

Every message is a type of three letters, a flag and a size that counts the header:

    HELF size | version, receive buffer, send buffer, most message, most chunks, endpoint URL
    ACKF size | version, receive buffer, send buffer, most message, most chunks
    ERRF size | status, reason
    OPNF, MSGC, MSGF, MSGA, CLOF: a chunk of a secure channel (`channel`)

The size is judged on the 8 bytes of the header, against what the state of the connection permits, before any
byte more is kept: a peer makes us hold less than one chunk, however he cuts his stream.
"""

from enum import StrEnum
from struct import Struct as Layout

from msgspec import Struct

from gateway.wire.opcua.status import Status

HEAD = Layout("<4sI")
"Type with flag, size."
HEAD_SIZE = 8

HELLO = b"HELF"
ACKNOWLEDGE = b"ACKF"
ERROR = b"ERRF"
OPEN = b"OPNF"
CLOSE = b"CLOF"
FINAL = b"MSGF"
PART = b"MSGC"
ABORT = b"MSGA"

LEAST_BUFFER = 8192
"Neither side may have a smaller buffer (§7.1.2.3); 1024 is for ECC policies, which are not offered."
MOST_CHUNK = 65_535
"Our own buffers; what asyncua and open62541 use as well."
MOST_URL = 4096
"Bytes of an endpoint URL (§7.1.2.3)."
MOST_HELLO = 8 + 20 + 4 + MOST_URL
MOST_OPEN = 16_384
"A chain of 8 KiB, and twice what the rest of an OpenSecureChannel can need."
MOST_REASON = 4096
"Bytes of the text of an error (§7.1.2.5)."
MOST_ERROR = 8 + 8 + MOST_REASON

_BUFFERS = Layout("<IIIII")
_HELLO_HEAD = Layout("<4sIIIIIIi")
_ACKNOWLEDGE = Layout("<4sIIIIII")
_ERROR = Layout("<4sIIi")


class Fault(StrEnum):
    """Why a connection was lost, as the log says it; the peer learns only the status."""

    SIZE = "chunk size out of range"
    TYPE = "message type or flag not allowed in this state"
    HELLO = "Hello cannot be read"
    BUFFERS = "buffer sizes out of range"
    URL = "endpoint URL is too long or no UTF-8"
    ACKNOWLEDGE = "Acknowledge cannot be read or exceeds what was offered"
    ERROR = "error message of the peer"
    HEADER = "security header cannot be read"
    CHANNEL_ID = "foreign channel id"
    TOKEN_ID = "unknown or expired security token"  # noqa: S105 - no secret
    CERTIFICATE = "certificate missing, malformed, or not the pinned one"
    UNTRUSTED = "certificate refused"
    POLICY = "security policy not offered"
    MODE = "security mode not offered"
    THUMBPRINT = "meant for another receiver"
    OPEN = "OpenSecureChannel cannot be decrypted, verified or read"
    REFUSED = "the server refused to open a channel"
    REQUEST_TYPE = "issue or renewal does not fit the state of the channel"
    NONCE = "nonce of wrong length, or used before"
    CHANGED = "renewal under another certificate, policy or mode"
    PENDING = "renewal while another one is pending"
    OFTEN = "renewal too soon after the last one"
    SIGNATURE = "message cannot be decrypted or verified"
    SEQUENCE = "sequence number out of order"
    REQUEST_ID = "chunks of two messages are mixed"
    MESSAGE_SIZE = "message has too many bytes or chunks"


class Buffers(Struct, frozen=True):
    """What one side says of itself in Hello or Acknowledge."""

    receive: int = MOST_CHUNK
    send: int = MOST_CHUNK
    most_message: int = 2 * 1024 * 1024
    "Bytes of a message that it takes; 0 is no limit of its own."
    most_chunks: int = 64
    "Chunks of a message that it takes; 0 is no limit of its own."

    @property
    def sound(self) -> bool:
        """Whether both buffers are as large as they must be."""
        return self.receive >= LEAST_BUFFER and self.send >= LEAST_BUFFER


def hello(mine: Buffers, url: str) -> bytes:
    """The first message of a client."""
    text = url.encode()
    if len(text) > MOST_URL:
        raise ValueError(f"an endpoint URL has at most {MOST_URL} bytes")
    size = _HELLO_HEAD.size + len(text)
    return (
        _HELLO_HEAD.pack(
            HELLO, size, 0, mine.receive, mine.send, mine.most_message, mine.most_chunks, len(text)
        )
        + text
    )


def read_hello(chunk: bytes) -> tuple[Buffers, str] | Fault:
    """What a client says of itself, and the URL that it came by ("" where it says none)."""
    if len(chunk) < _HELLO_HEAD.size:
        return Fault.HELLO
    _, _, _, receive, send, most_message, most_chunks, length = _HELLO_HEAD.unpack_from(chunk)
    if length > MOST_URL:
        return Fault.URL
    if length < -1 or len(chunk) != _HELLO_HEAD.size + max(length, 0):
        return Fault.HELLO
    try:
        url = chunk[_HELLO_HEAD.size :].decode()
    except UnicodeDecodeError:
        return Fault.URL
    buffers = Buffers(receive, send, most_message, most_chunks)
    return (buffers, url) if buffers.sound else Fault.BUFFERS


def acknowledge(mine: Buffers) -> bytes:
    """The answer of a server."""
    return _ACKNOWLEDGE.pack(
        ACKNOWLEDGE, _ACKNOWLEDGE.size, 0, mine.receive, mine.send, mine.most_message, mine.most_chunks
    )


def read_acknowledge(chunk: bytes, asked: Buffers) -> Buffers | Fault:
    """What the server says of itself; it may shrink the buffers that were offered, never widen them."""
    if len(chunk) != _ACKNOWLEDGE.size:
        return Fault.ACKNOWLEDGE
    _, receive, send, most_message, most_chunks = _BUFFERS.unpack_from(chunk, HEAD_SIZE)
    buffers = Buffers(receive, send, most_message, most_chunks)
    if not buffers.sound or receive > asked.send or send > asked.receive:
        return Fault.ACKNOWLEDGE
    return buffers


def error(status: int) -> bytes:
    """The last message of a connection. It gives no reason: texts are for our log, codes for the peer."""
    return _ERROR.pack(ERROR, _ERROR.size, status, -1)


def read_error(chunk: bytes) -> tuple[int, str]:
    """Status and reason, for the log; what cannot be read is no reason to doubt that the peer ends it."""
    if len(chunk) < _ERROR.size:
        return Status.UNEXPECTED_ERROR, ""
    _, _, status, length = _ERROR.unpack_from(chunk)
    reason = chunk[_ERROR.size : _ERROR.size + max(0, min(length, MOST_REASON))]
    return status, reason.decode(errors="replace")


def agreed(mine: Buffers, theirs: Buffers) -> Buffers:
    """What a server acknowledges: no buffer wider than the other side's opposite one (§7.1.2.4)."""
    return Buffers(
        min(mine.receive, theirs.send), min(mine.send, theirs.receive), mine.most_message, mine.most_chunks
    )
