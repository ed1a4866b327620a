"""What a receiver of checkpoints says to one: that it has it now, or why this cannot be. Pure.

The words are those of C2SP tlog-witness `add-checkpoint`: old size, proof of growth, new checkpoint; answered
by 200, or 409 with the size that was seen, or what is wrong. A receiver keeps the largest checkpoint of each
log, and takes another only with proof that the log grew from it. So a log that was put back to an older copy,
or that goes on in two ways, is noticed by whoever keeps what root on the gateway cannot reach.
"""

import base64
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from gateway.audit.note import Checkpoint, VerifierKey, newest, opened
from gateway.audit.tree import EMPTY, consistent

MOST_BYTES = 8192
"Of one request: 63 hashes of 45 bytes and a note are half of that."
MOST_HASHES = 63
"Of a proof (C2SP tlog-witness)."
SIZE_TYPE = "text/x.tlog.size"


class Answer(Struct, frozen=True):
    """An HTTP answer."""

    status: int
    body: str = ""
    type: str = "text/plain"


class Keeps(Protocol):
    """Where the newest note of each log lies."""

    def newest(self, key: VerifierKey) -> Checkpoint | None:
        """What was kept last of the log of that key."""

    def keep(self, key: VerifierKey, note: bytes) -> None:
        """Keep it; on return it is on stable storage."""


class Asked(Struct, frozen=True):
    """One request, read."""

    old: int
    proof: list[bytes]
    note: bytes


def asked(body: bytes) -> Asked:
    """Read a request. Raises ValueError."""
    head, blank, note = body.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    word, _, old = lines[0].partition(" ")
    if not blank or word != "old" or not old.isascii() or not old.isdigit() or len(old) > 19:
        raise ValueError("it begins with `old` and a size")
    if old != str(int(old)) or len(lines) - 1 > MOST_HASHES:
        raise ValueError("the size is no plain number, or the proof is too long")
    proof = [base64.b64decode(line, validate=True) for line in lines[1:]]
    if any(len(value) != len(EMPTY) for value in proof):
        raise ValueError("the proof has lines that are no SHA-256 hash")
    return Asked(int(old), proof, note)


def add_checkpoint(body: bytes, keys: Mapping[str, VerifierKey], keeps: Keeps) -> Answer:
    """Take a checkpoint, or say why not. What is answered 200 is on stable storage."""
    try:
        request = asked(body)
        origin = request.note.split(b"\n", 1)[0].decode()
    except ValueError as error:
        return Answer(400, f"not an add-checkpoint request: {error}\n")
    key = keys.get(origin)
    if key is None:
        return Answer(404, "no such log is known here\n")
    try:
        new = opened(request.note, key)
    except ValueError as error:
        return Answer(403, f"{error}\n")
    if newest(request.note, key) != (new, request.note):
        # Further lines are legal in C2SP, but such a note would not be found again among those kept, and what
        # is not found was never seen: the log could go on from before it in another way.
        return Answer(400, "a note of five lines is taken: origin, size, root, nothing, one signature\n")
    if request.old > new.size:
        return Answer(400, "the old size is larger than the new one\n")
    before = keeps.newest(key) or Checkpoint(origin, 0, EMPTY)
    if request.old != before.size or (new.size == before.size and new.root != before.root):
        return Answer(409, f"{before.size}\n", SIZE_TYPE)
    if not _grew(before, new, request.proof):
        return Answer(422, "the log did not grow from the one seen before\n")
    if new.size > before.size:
        keeps.keep(key, request.note)
    return Answer(200)


def _grew(before: Checkpoint, new: Checkpoint, proof: list[bytes]) -> bool:
    if before.size == 0:
        return not proof and (new.size > 0 or new.root == EMPTY)
    return consistent(before.size, new.size, before.root, new.root, proof)
