"""The header of OpenSecureChannel: who sends it, under which policy, for whom (OPC 10000-6 §6.7.2.3).

    OPNF | size | channel | policy URI | sender's certificates | receiver's thumbprint
         | sequence | request | body

It stands in clear, so that who sends it can be judged before a private key is touched.
"""

from struct import Struct as Layout

from msgspec import Struct

from gateway.wire.opcua.framing import OPEN
from gateway.wire.opcua.security import MOST_CHAIN_BYTES

MOST_POLICY_URI = 255
_CHANNEL = Layout("<I")
_LENGTH = Layout("<i")
SEQUENCE = Layout("<II")


class OpenHead(Struct, frozen=True):
    """The clear part."""

    channel_id: int
    policy_uri: bytes
    chain: bytes
    "DER, one behind the other, leaf first; empty where there is none."
    thumbprint: bytes
    end: int
    "Where the rest begins."


def read_head(chunk: bytes) -> OpenHead | None:
    """The clear part of a chunk, if it is well formed."""
    if len(chunk) < 12:
        return None
    at, fields = 12, []
    for most in (MOST_POLICY_URI, MOST_CHAIN_BYTES, 20):
        if at + 4 > len(chunk):
            return None
        (size,) = _LENGTH.unpack_from(chunk, at)
        at += 4
        if not -1 <= size <= most or at + size > len(chunk):
            return None
        size = max(size, 0)
        fields.append(chunk[at : at + size])
        at += size
    return OpenHead(_CHANNEL.unpack_from(chunk, 8)[0], fields[0], fields[1], fields[2], at)


def head(channel_id: int, policy_uri: str, chain: bytes | None, thumbprint: bytes | None) -> bytes:
    """The clear part, with a size of 0 that is filled in when it is known."""
    texts = [
        b"\xff\xff\xff\xff" if each is None else _LENGTH.pack(len(each)) + each
        for each in (policy_uri.encode(), chain, thumbprint)
    ]
    return OPEN + bytes(4) + _CHANNEL.pack(channel_id) + b"".join(texts)
