"""Passwords and access tokens on their way inside an ActivateSession (OPC 10000-4 §7.40.2.2).

    length 4 | secret | the server's last nonce 32      encrypted for the server's certificate, by block

The length counts what follows it; the nonce makes an old secret worthless. Whether a secret cannot be
decrypted, is of another session, or is simply wrong must not show, in words or in time: who could tell would
have an oracle for our key. So a secret that cannot be opened is *replaced* by one that nobody can know, and
goes through the same comparison as any other; there is no second way out.
"""

from hmac import compare_digest

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct

from gateway.wire.opcua.security import NONCE_SIZE, Credentials, Suite, unwrap, wrap

MOST_SECRET = 3072
"""Encrypted bytes: a token of 2.5 KB. Every block costs an operation with our private key: twelve of 0.7 ms
at 2048 bits, six of 5 ms at 4096."""


class Secret(Struct, frozen=True):
    """A secret as it was sent, or in the place of one that was not sound."""

    text: str
    sound: bool
    "For the log only: nobody who answers may look at it."

    def __repr__(self) -> str:
        """Without the text: what is printed ends up in logs."""
        return f"Secret(sound={self.sound})"


def seal(suite: Suite, key: RSAPublicKey, secret: bytes, nonce: bytes) -> bytes:
    """A secret for a server."""
    whole = secret + nonce
    return wrap(suite, key, len(whole).to_bytes(4, "little") + whole)


def open_(
    suite: Suite, mine: Credentials, secret: bytes, algorithm: str | None, nonce: bytes, nobody: bytes
) -> Secret:
    """A secret that was sent to us; `nobody` is 32 random bytes, drawn for each call whatever is sent."""
    substitute = Secret(nobody.hex(), False)
    if algorithm != suite.wrap_uri:
        return substitute
    plain = unwrap(suite, mine.key, secret, MOST_SECRET) or b""
    length = int.from_bytes(plain[:4], "little")
    fits = length == len(plain) - 4 and length >= NONCE_SIZE
    fresh = compare_digest(plain[-NONCE_SIZE:], nonce)
    try:
        text = plain[4:-NONCE_SIZE].decode()
    except UnicodeDecodeError:
        return substitute
    return Secret(text, True) if fits and fresh else substitute
