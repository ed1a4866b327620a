"""The symmetric half of a channel: one direction under one token, sealed or opened (OPC 10000-6 §6.7.2).

    type flag 4 | size 4 | channel 4 | token 4 | sequence 4 | request 4 | body | padding | HMAC 32
    ------------------- clear -----------------  ----------- encrypted with AES-CBC ---------------

The HMAC covers all before it in plaintext. It is compared in constant time before the padding is looked at,
so that padding is no oracle. Three classes, one for each mode.

This runs for every message, so it is kept to a few calls: HMAC as two prepared hash states, and one AES
context for the life of a key. The standard starts every chunk with the *same* derived initialisation vector;
a context that goes on chains to the last block of the chunk before instead, and since CBC only ever XORs that
block, XORing it out of the first block again gives the same bytes at a tenth of the cost of a new context.
"""

from hashlib import sha256
from hmac import compare_digest
from struct import Struct as Layout
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from msgspec import Struct

from gateway.model.asset import OpcuaMode
from gateway.wire.opcua.security import Suite, derived

MILLISECOND = 1_000_000
CLEAR = 16
"Bytes before the sequence header."
MAC = 32
BLOCK = 16
_HEAD = Layout("<4sIIIII")
_SEQUENCE = Layout("<II")
_PADDING = [bytes((fill,)) * (fill + 1) for fill in range(256)]
"The padding size, and as many bytes of the same value."
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

Unsealed = tuple[int, int, bytes]
"Sequence number, request id, body."


class Keys(Protocol):
    """One direction under one token."""

    @property
    def overhead(self) -> int:
        """Bytes of a chunk, at most, that are no body."""

    def most_body(self, chunk: int) -> int:
        """The longest body in a chunk of so many bytes."""

    def seal(self, kind: bytes, channel: int, token: int, sequence: int, request: int, body: bytes) -> bytes:
        """A chunk. The body fits: see `most_body`."""

    def open(self, chunk: bytes) -> Unsealed | None:
        """What a chunk holds, or None if it is not exactly what the other side sealed."""


class Plain:
    """No protection: policy None, which carries discovery and nothing else."""

    __slots__ = ()
    overhead = CLEAR + 8

    def most_body(self, chunk: int) -> int:
        return chunk - CLEAR - 8

    def seal(self, kind: bytes, channel: int, token: int, sequence: int, request: int, body: bytes) -> bytes:
        return _HEAD.pack(kind, CLEAR + 8 + len(body), channel, token, sequence, request) + body

    def open(self, chunk: bytes) -> Unsealed | None:
        if len(chunk) < CLEAR + 8:
            return None
        sequence, request = _SEQUENCE.unpack_from(chunk, CLEAR)
        return sequence, request, chunk[CLEAR + 8 :]


class Mac:
    """HMAC-SHA256 (RFC 2104) under one key, with the key's two blocks hashed once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def __call__(self, data: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


class Signed:
    """Mode Sign: everybody can read it, nobody can change it."""

    __slots__ = ("_mac",)
    overhead = CLEAR + 8 + MAC

    def __init__(self, mac: bytes) -> None:
        self._mac = Mac(mac)

    def most_body(self, chunk: int) -> int:
        return chunk - CLEAR - 8 - MAC

    def seal(self, kind: bytes, channel: int, token: int, sequence: int, request: int, body: bytes) -> bytes:
        size = CLEAR + 8 + len(body) + MAC
        signed = _HEAD.pack(kind, size, channel, token, sequence, request) + body
        return signed + self._mac(signed)

    def open(self, chunk: bytes) -> Unsealed | None:
        signed = chunk[:-MAC]
        if len(signed) < CLEAR + 8 or not compare_digest(self._mac(signed), chunk[-MAC:]):
            return None
        sequence, request = _SEQUENCE.unpack_from(chunk, CLEAR)
        return sequence, request, signed[CLEAR + 8 :]


class Encrypted:
    """Mode SignAndEncrypt. An object is used for one direction only: to seal or to open."""

    __slots__ = ("_decrypt", "_encrypt", "_last", "_mac", "_vector")
    overhead = CLEAR + 8 + BLOCK + MAC

    def __init__(self, mac: bytes, key: bytes, vector: bytes) -> None:
        self._mac = Mac(mac)
        cipher = Cipher(algorithms.AES(key), modes.CBC(vector))
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update
        self._vector = int.from_bytes(vector)
        self._last = self._vector
        "The block that the context would chain to."

    def most_body(self, chunk: int) -> int:
        return (chunk - CLEAR) // BLOCK * BLOCK - 8 - 1 - MAC

    def seal(self, kind: bytes, channel: int, token: int, sequence: int, request: int, body: bytes) -> bytes:
        length = len(body)
        fill = -(length + 8 + 1 + MAC) & 15
        size = CLEAR + 8 + length + 1 + fill + MAC
        signed = _HEAD.pack(kind, size, channel, token, sequence, request) + body + _PADDING[fill]
        first = int.from_bytes(signed[16:32]) ^ self._vector ^ self._last
        sealed = self._encrypt(first.to_bytes(16) + signed[32:] + self._mac(signed))
        self._last = int.from_bytes(sealed[-16:])
        return signed[:16] + sealed

    def open(self, chunk: bytes) -> Unsealed | None:
        length = len(chunk) - CLEAR
        if length % BLOCK or length < 3 * BLOCK:
            return None
        sealed = chunk[16:]
        plain = self._decrypt(sealed)
        first = int.from_bytes(plain[:16]) ^ self._vector ^ self._last
        self._last = int.from_bytes(sealed[-16:])
        signed = chunk[:16] + first.to_bytes(16) + plain[16:-MAC]
        if not compare_digest(self._mac(signed), plain[-MAC:]):
            return None
        fill = signed[-1]
        end = len(signed) - fill - 1
        if end < CLEAR + 8 or signed[end:] != _PADDING[fill]:
            return None
        sequence, request = _SEQUENCE.unpack_from(signed, CLEAR)
        return sequence, request, signed[CLEAR + 8 : end]


def keys(suite: Suite, mode: OpcuaMode, secret: bytes, seed: bytes) -> Keys:
    """The keys of whoever chose `seed`; the other side chose `secret` (OPC 10000-6 §6.7.5)."""
    mac, key, vector = derived(secret, seed, (32, suite.key_size, BLOCK))
    return Signed(mac) if mode is OpcuaMode.SIGN else Encrypted(mac, key, vector)


class Token(Struct, eq=False):
    """Keys for a while."""

    id: int
    incoming: Keys
    outgoing: Keys
    made_ns: int
    lifetime_ms: int

    @property
    def expires_ns(self) -> int:
        """When a server stops sending under it."""
        return self.made_ns + self.lifetime_ms * MILLISECOND

    @property
    def dead_ns(self) -> int:
        """When messages under it are not believed any more: after 125 % of its life."""
        return self.made_ns + self.lifetime_ms * MILLISECOND * 5 // 4

    @property
    def due_ns(self) -> int:
        """When a client renews: after 75 % of its life."""
        return self.made_ns + self.lifetime_ms * MILLISECOND * 3 // 4
