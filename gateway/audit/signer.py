"""The key that signs checkpoints. It never signs two that contradict each other.

What it signed before it remembers from the log itself, so a log that was put back to an older copy would make
it sign a fork. Against that it can be held (`Hold`) until somebody off this machine has said what it saw.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gateway.audit.note import Checkpoint, VerifierKey, good_origin, signed
from gateway.audit.tree import EMPTY
from gateway.model.errors import JournalError


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is signed."""

    code: str
    "`log_unconfirmed`: no answer yet. `log_rolled_back`: the answer was that this log is not the one."
    why: str
    writes: bool
    "Whether writes are done all the same; their records then wait unsigned."


class Signer:
    """Signs for one log. Each gateway has its own origin and its own key; two would sign forks."""

    def __init__(self, key: Ed25519PrivateKey, origin: str) -> None:
        if not good_origin(origin):
            raise JournalError(
                f"audit.origin {origin!r} cannot name a log: no spaces, no plus, nothing unprintable"
            )
        self._key = key
        self._last: Checkpoint | None = None
        self._stored: Checkpoint | None = None
        "The newest that is on stable storage: nobody off this machine is told of another."
        self.held: Hold | None = None
        "While set nothing new is signed."
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = VerifierKey(origin, raw)
        "Give its text to whoever shall check the log."

    @classmethod
    def load(cls, path: Path, origin: str) -> "Signer":
        """From a PKCS #8 PEM file that only its owner can read."""
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                pem = file.read(65_536)
        except OSError as error:
            raise JournalError(f"cannot read the log key {path}: {error.strerror}") from error
        if mode & 0o077:
            raise JournalError(f"{path} can be read by others (mode {mode:04o}): chmod 0600 it")
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise JournalError(f"{path} is not an unencrypted PKCS #8 PEM private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise JournalError(f"{path} is not an Ed25519 key: make one with `dmz-gateway pki`")
        return cls(key, origin)

    @property
    def vkey(self) -> str:
        """The verifier key as text, `name+hexid+base64`."""
        return str(self.verifier)

    @property
    def last(self) -> Checkpoint | None:
        """The newest checkpoint known to be signed."""
        return self._last

    def remember(self, checkpoint: Checkpoint) -> None:
        """What an earlier run signed; the caller has checked that the log still begins so."""
        self._last = self._stored = checkpoint

    def stored(self) -> None:
        """What was signed last is on stable storage."""
        self._stored = self._last

    def sign(self, size: int, root: bytes) -> bytes:
        """A signed note. Refuses to step back, or to give another root for the same size.

        That a bigger tree begins with the smaller one is not checked here: the tree only grows at its end,
        and opening the log compared it with the newest checkpoint.
        """
        if self.held is not None:
            raise JournalError(f"refusing to sign: {self.held.why}")
        last = self._last
        if last is not None and (size < last.size or (size == last.size and root != last.root)):
            raise JournalError(f"refusing to sign size {size}: it contradicts what was signed at {last.size}")
        checkpoint = Checkpoint(self.verifier.name, size, root)
        note = self._note(checkpoint)
        self._last = checkpoint
        return note

    def newest(self) -> tuple[Checkpoint, bytes]:
        """The newest checkpoint that no crash takes away, and its note: the same bytes, Ed25519 has no dice.

        Of a log that was never signed it is the checkpoint of no records, with which every log begins.
        """
        last = self._stored or Checkpoint(self.verifier.name, 0, EMPTY)
        return last, self._note(last)

    def _note(self, checkpoint: Checkpoint) -> bytes:
        return signed(checkpoint, self.verifier, self._key.sign(checkpoint.text()))
