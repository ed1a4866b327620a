"""Security policies: which algorithms protect what, and their asymmetric half (OPC 10000-7, 10000-6 §6.7).

A policy is a row. The three RSA policies that are not deprecated differ in how a key is wrapped, how a
signature is padded and how long an AES key is; the rest they share: AES-CBC, HMAC-SHA256, P_SHA256 and nonces
of 32 bytes. Basic128Rsa15 and Basic256 have no row: RSA PKCS#1 v1.5 encryption is an oracle, SHA-1 a forgery.

Nothing here raises on bytes of a peer: it is None, or False.
"""

import hashlib
import hmac

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from msgspec import Struct

from gateway.model.asset import OpcuaMode, OpcuaPolicy

POLICY_PREFIX = "http://opcfoundation.org/UA/SecurityPolicy#"
NONE_URI = POLICY_PREFIX + "None"
NONCE_SIZE = 32
"Of all policies with a row; also of the nonces of sessions (OPC 10000-4 §5.7.2)."
LEAST_KEY_BITS = 2048
MOST_KEY_BITS = 4096
MOST_CHAIN_BYTES = 8192
MOST_CHAIN = 3
"Certificates of a chain: leaf, intermediate, root."
MOST_OPEN_SECRET = 1536
"""Encrypted bytes of an OpenSecureChannel: at the least (2048 bits, OAEP with SHA-256) they hold 1140, where
a request with a signature of 4096 bits needs 700. Every block costs an operation with our private key: six
of 0.7 ms at 2048 bits, three of 5 ms at 4096."""

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_PSS_SHA256 = "http://opcfoundation.org/UA/security/rsa-pss-sha2-256"
OAEP_SHA1 = "http://www.w3.org/2001/04/xmlenc#rsa-oaep"
OAEP_SHA256 = "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256"

MODE_NUMBERS: dict[OpcuaMode, int] = {OpcuaMode.SIGN: 2, OpcuaMode.SIGN_AND_ENCRYPT: 3}
"MessageSecurityMode (OPC 10000-4 §7.20); 1 is None."
MODES = {number: mode for mode, number in MODE_NUMBERS.items()}
MODE_NONE = 1

_SHA256 = hashes.SHA256()
_PKCS1 = padding.PKCS1v15()
_PSS = padding.PSS(padding.MGF1(_SHA256), 32)
_OAEP_SHA1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - as the policies say
_OAEP_SHA256 = padding.OAEP(padding.MGF1(_SHA256), _SHA256, None)


class Suite(Struct, frozen=True, eq=False):
    """One policy."""

    policy: OpcuaPolicy
    wrap: padding.OAEP
    "How secrets are encrypted for a receiver."
    wrap_uri: str
    overhead: int
    "Bytes of a block that the wrapping takes."
    sign: padding.PKCS1v15 | padding.PSS
    sign_uri: str
    key_size: int
    "Bytes of an AES key."

    @property
    def uri(self) -> str:
        """Its name on the wire."""
        return POLICY_PREFIX + self.policy


SUITES: dict[OpcuaPolicy, Suite] = {
    suite.policy: suite
    for suite in (
        Suite(OpcuaPolicy.BASIC256SHA256, _OAEP_SHA1, OAEP_SHA1, 42, _PKCS1, RSA_SHA256, 32),
        Suite(OpcuaPolicy.AES128_SHA256_RSAOAEP, _OAEP_SHA1, OAEP_SHA1, 42, _PKCS1, RSA_SHA256, 16),
        Suite(OpcuaPolicy.AES256_SHA256_RSAPSS, _OAEP_SHA256, OAEP_SHA256, 66, _PSS, RSA_PSS_SHA256, 32),
    )
}
"Every policy that is spoken."
BY_URI = {suite.uri: suite for suite in SUITES.values()}


class Credentials(Struct, frozen=True, eq=False):
    """An application instance certificate of ours, and its key."""

    chain: tuple[bytes, ...]
    "DER, leaf first. What follows the leaf is sent along, so that others can build the chain."
    key: RSAPrivateKey

    @property
    def leaf(self) -> bytes:
        """The certificate itself."""
        return self.chain[0]

    @property
    def sent(self) -> bytes:
        """As it stands in headers and answers: all of the chain."""
        return b"".join(self.chain)

    @property
    def thumbprint(self) -> bytes:
        """How a peer says that a message is meant for us."""
        return thumbprint(self.chain[0])


def thumbprint(leaf: bytes) -> bytes:
    """SHA-1 of a certificate: an address, no protection (OPC 10000-6 §6.7.2.3)."""
    return hashlib.sha1(leaf, usedforsecurity=False).digest()


def certificates(chain: bytes) -> tuple[bytes, ...] | None:
    """The certificates that stand one behind the other, leaf first; None where bytes are left or missing."""
    if not 0 < len(chain) <= MOST_CHAIN_BYTES:
        return None
    found: list[bytes] = []
    at = 0
    while at < len(chain):
        if len(found) == MOST_CHAIN or chain[at : at + 2] != b"\x30\x82":  # no certificate is below 256 bytes
            return None
        end = at + 4 + int.from_bytes(chain[at + 2 : at + 4])
        if end > len(chain) or end - at < 260:
            return None
        found.append(chain[at:end])
        at = end
    return tuple(found)


def public_key(leaf: bytes) -> RSAPublicKey | None:
    """The key of a certificate, if it is RSA of a size that every policy permits."""
    try:
        key = x509.load_der_x509_certificate(leaf).public_key()
    except Exception:  # noqa: BLE001 - the parser promises no list of what it raises, and a peer chose the bytes
        return None
    if not isinstance(key, RSAPublicKey) or not LEAST_KEY_BITS <= key.key_size <= MOST_KEY_BITS:
        return None
    return key


def sign(suite: Suite, key: RSAPrivateKey, data: bytes) -> bytes:
    """A signature of ours."""
    return key.sign(data, suite.sign, _SHA256)


def verified(suite: Suite, key: RSAPublicKey, signature: bytes, data: bytes) -> bool:
    """Whether whoever holds the key signed this."""
    try:
        key.verify(signature, data, suite.sign, _SHA256)
    except (InvalidSignature, ValueError):
        return False
    return True


def wrap(suite: Suite, key: RSAPublicKey, data: bytes) -> bytes:
    """Encrypt for a receiver, block by block."""
    step = key.key_size // 8 - suite.overhead
    return b"".join([key.encrypt(data[at : at + step], suite.wrap) for at in range(0, len(data), step)])


def unwrap(suite: Suite, key: RSAPrivateKey, data: bytes, most: int) -> bytes | None:
    """Decrypt what was encrypted for us, `most` bytes of it; None alike for every reason."""
    size = key.key_size // 8
    if not data or len(data) % size or len(data) > most:
        return None
    try:
        blocks = [key.decrypt(data[at : at + size], suite.wrap) for at in range(0, len(data), size)]
    except ValueError:
        return None
    return b"".join(blocks)


def seal_open(suite: Suite, mine: RSAPrivateKey, theirs: RSAPublicKey, clear: bytes, body: bytes) -> bytes:
    """An OpenSecureChannel chunk: `clear` begins with the 8 bytes of a header without its size, `body` with
    the sequence header. Signed, then encrypted, in either mode (OPC 10000-6 §6.7.4).
    """
    wide = theirs.key_size > 2048
    block = theirs.key_size // 8
    step = block - suite.overhead
    signature_size = mine.key_size // 8
    fill = -(len(body) + 1 + wide + signature_size) % step
    low = bytes((fill & 0xFF,))
    padded = body + low + low * fill + (bytes((fill >> 8,)) if wide else b"")
    blocks = (len(padded) + signature_size) // step
    size = len(clear) + blocks * block
    clear = clear[:4] + size.to_bytes(4, "little") + clear[8:]
    signature = sign(suite, mine, clear + padded)
    return clear + wrap(suite, theirs, padded + signature)


def open_open(suite: Suite, mine: RSAPrivateKey, theirs: RSAPublicKey, chunk: bytes, at: int) -> bytes | None:
    """The sequence header and body of an OpenSecureChannel chunk whose encrypted part begins at `at`.

    The signature is checked before the padding is looked at, and every failure is the same None.
    """
    plain = unwrap(suite, mine, chunk[at:], MOST_OPEN_SECRET)
    signature_size = theirs.key_size // 8
    if plain is None or len(plain) < signature_size + 10:
        return None
    padded, signature = plain[:-signature_size], plain[-signature_size:]
    if not verified(suite, theirs, signature, chunk[:at] + padded):
        return None
    if mine.key_size > 2048:
        fill, tail = padded[-1] << 8 | padded[-2], 2
    else:
        fill, tail = padded[-1], 1
    end = len(padded) - fill - tail
    if end < 8 or padded[end : len(padded) - tail + 1] != bytes((fill & 0xFF,)) * (fill + 1):
        return None
    return padded[:end]


def derived(secret: bytes, seed: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    """Keys out of two nonces: P_SHA256 of RFC 5246 §5, with the seed alone (OPC 10000-6 §6.7.5)."""
    stream, a = b"", seed
    while len(stream) < sum(sizes):
        a = hmac.digest(secret, a, "sha256")
        stream += hmac.digest(secret, a + seed, "sha256")
    keys, at = [], 0
    for size in sizes:
        keys.append(stream[at : at + size])
        at += size
    return keys
