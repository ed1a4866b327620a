"""Checkpoints: the size and root of the log, signed (C2SP signed-note, tlog-checkpoint). Pure.

    demo.example/gw-1
    1042
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — demo.example/gw-1 Az3grlgtzPICa5OS8npVmf1Myq…

The verifier key is one line of text, `name+hex key id+base64(0x01 ‖ public key)`, for the reviewer to keep
somewhere the gateway cannot reach. Needs only the standard library and `cryptography`.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = 1
"Signature type identifier of plain Ed25519 note signatures."
LINES = 5
"Lines of a note as we write it: origin, size, root, nothing, one signature."
LONGEST = 1024
"Most bytes of one of our notes; a longer run without an end is not a note."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log promised: its first `size` records have that root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """The note text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Whose signature counts."""

    name: str
    raw: bytes
    "The 32 bytes of the public key (RFC 8032)."

    @property
    def id(self) -> bytes:
        """The 4 bytes that go before a signature."""
        return sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([ED25519]) + self.raw).decode()}"


def verifier_key(text: str) -> VerifierKey:
    """Read a verifier key. Raises ValueError that says what is wrong with it."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0]:
        raise ValueError("a verifier key looks like name+hexid+base64")
    raw = _unbase64(parts[2])
    if raw is None or len(raw) != 33 or raw[0] != ED25519:
        raise ValueError("not an Ed25519 verifier key")
    key = VerifierKey(parts[0], raw[1:])
    if key.id.hex() != parts[1]:
        raise ValueError("the key id does not belong to this name and key")
    return key


def good_origin(origin: str) -> bool:
    """Whether it can name a log and its key: no space, no plus, no control character."""
    return bool(origin) and origin.isprintable() and not any(c.isspace() or c == "+" for c in origin)


def signed(checkpoint: Checkpoint, key: VerifierKey, signature: bytes) -> bytes:
    """The whole note."""
    line = base64.b64encode(key.id + signature).decode()
    return checkpoint.text() + f"\n— {key.name} {line}\n".encode()


def opened(note: bytes, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note signed by that key. Raises ValueError that says why it does not count."""
    text, blank, signatures = note.rpartition(b"\n\n")
    if not blank:
        raise ValueError("no signature")
    text += b"\n"
    checkpoint = _checkpoint(text)
    for line in signatures.decode("utf-8", "replace").splitlines():
        words = line.split(" ")
        blob = _unbase64(words[2]) if len(words) == 3 and words[0] == "—" and words[1] == key.name else None
        if blob is None or blob[:4] != key.id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(blob[4:], text)
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None
        return checkpoint
    raise ValueError("no signature by this key")


def _checkpoint(text: bytes) -> Checkpoint:
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if len(lines) < 4 or not all(lines[:3]):
        raise ValueError("not a checkpoint: origin, size and root are missing")
    origin, size, encoded = lines[:3]
    digest = _unbase64(encoded)
    if not size.isascii() or not size.isdigit() or size != str(int(size)) or len(size) > 19:
        raise ValueError("not a checkpoint: the size is not a number")
    if digest is None or len(digest) != 32:
        raise ValueError("not a checkpoint: the root is not a SHA-256 hash")
    return Checkpoint(origin, int(size), digest)


def notes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Our notes one after the other, each with where it begins; a rest that is no whole note comes last."""
    at = 0
    while at < len(data):
        end = at
        for _ in range(LINES):
            end = data.find(b"\n", end) + 1
            if end == 0:
                break
        if end == 0:
            yield at, data[at:]
            return
        yield at, data[at:end]
        at = end


def newest(data: bytes, key: VerifierKey) -> tuple[Checkpoint, bytes] | None:
    """The last note in these bytes that the key signed, whatever half-written notes stand around it."""
    lines = data.splitlines(keepends=True)
    for at in range(len(lines) - 1, LINES - 2, -1):
        if lines[at].startswith("— ".encode()) and lines[at].endswith(b"\n"):
            note = b"".join(lines[at - LINES + 1 : at + 1])
            try:
                return opened(note, key), note
            except ValueError:
                continue
    return None


def _unbase64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
