"""The log on disk: segments of records, the tree over them, signed checkpoints. Synchronous; one owner.

    segments/<first index>.seg    the records (`framing`)
    checkpoints                   every checkpoint ever signed, one after the other
    checkpoint                    the newest
    tile/…                        the tree (`tiles`)
    openings/<first index>.opn    what opens commitments in records (`vault`)

Space is zeroed before it is needed, in steps: an append then changes no metadata of the file, which makes
its fdatasync about a third faster, and the disk cannot run full in the middle of a record.
"""

import errno
from collections.abc import Sequence

from gateway.audit import framing
from gateway.audit.signer import Signer
from gateway.audit.storage import File, Storage, write_all
from gateway.audit.tiles import Tiles
from gateway.audit.tree import leaf
from gateway.audit.vault import Vault
from gateway.model.errors import JournalError

STEP = 1 << 20
"Bytes zeroed at once: about 3 ms of disk time, and head-room for a thousand records when space runs out."
LOW_SHARE = 0.8
"A disk that is fuller than this is told in status and alarmed (IEC 62443-4-2 CR 2.9 RE 1)."
LOW_SPACE = 256 << 20
"So is one with less free space than this."
KEPT_FREE = 32 << 20
"""With less free space than this writes are denied, so that what is under way is still recorded. A disk on
which that would be more than a sixteenth is used to its end."""
SEGMENTS = "segments"
CHECKPOINTS = "checkpoints"
CHECKPOINT = "checkpoint"
_ZEROS = bytes(STEP)


class Log:
    """Appends and signs. Any OSError leaves it unusable: what the disk holds then is not known."""

    def __init__(self, storage: Storage, signer: Signer, tiles: Tiles, segment_bytes: int) -> None:
        self._storage = storage
        self._signer = signer
        self._tiles = tiles
        self._segment_bytes = max(segment_bytes, 2 * STEP)
        self._file: File | None = None
        self._notes: File | None = None
        self._notes_end = 0
        self.vault = Vault(storage)
        self.used = 0
        "Bytes of the open segment that hold records."
        self.allocated = 0
        "Bytes of the open segment that are zeroed."
        self.short_of_space = False
        "The disk had no room for the next step of zeros."
        self.free_bytes = 0
        "Room on the disk when last looked, at each checkpoint."
        self.used_share = 0.0
        "How full the disk is, 0 to 1."
        self.kept_free = KEPT_FREE
        self._look()

    @property
    def size(self) -> int:
        """How many records it has."""
        return self._tiles.frontier.size

    def root(self) -> bytes:
        """The root over all of them."""
        return self._tiles.frontier.root()

    def adopt(self, file: File, used: int) -> None:
        """Go on in a segment that recovery has scanned and cleaned."""
        self._file, self.used, self.allocated = file, used, used
        self._extend(STEP)

    def adopt_notes(self, file: File, end: int) -> None:
        """Go on behind the last whole checkpoint."""
        self._notes, self._notes_end = file, end

    def append(self, records: Sequence[bytes]) -> int:
        """Index of the first; on return they are on stable storage."""
        first = self.size
        self.vault.keep(records, first)  # first: no record is acknowledged that nobody can open
        pending: list[bytes] = []
        length = 0
        for index, data in enumerate(records, first):
            need = framing.FRAME.size + len(data)
            if self._file is None or self.used + length + need > self._segment_bytes:
                self._write(b"".join(pending))
                pending, length = [], 0
                self._rotate(index)
            pending.append(framing.frame(index, data))
            length += need
        self._write(b"".join(pending))
        for data in records:
            self._tiles.push(leaf(data))
        return first

    def prepare(self) -> None:
        """Zero the next step if little is left. Called when nobody waits."""
        if self._file is None or self.allocated - self.used >= STEP or self.allocated >= self._segment_bytes:
            return
        try:
            self._extend(STEP)
            self.short_of_space = False
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            self.short_of_space = True

    def checkpoint(self) -> None:
        """Sign the present size and root, unless that has been done or the signer is held."""
        last = self._signer.last
        if last is not None and last.size == self.size:
            return
        self._look()
        self._tiles.write_partial()
        if self._signer.held is not None:
            return
        note = self._signer.sign(self.size, self.root())
        if self._notes is None:
            self._notes, self._notes_end = self._storage.open(CHECKPOINTS), 0
            self._storage.sync_folder("")
        write_all(self._notes, note, self._notes_end)
        self._notes.fdatasync()
        self._signer.stored()
        self._notes_end += len(note)
        self._storage.replace(CHECKPOINT, note)

    @property
    def low(self) -> bool:
        """Whether an operator must be told that the disk fills up."""
        return self.short_of_space or self.free_bytes < LOW_SPACE or self.used_share > LOW_SHARE

    @property
    def full(self) -> bool:
        """Whether nothing may begin that would need records."""
        return self.free_bytes < self.kept_free

    def _look(self) -> None:
        self.free_bytes = self._storage.free_bytes()
        total = self._storage.total_bytes()
        self.used_share = 1 - self.free_bytes / total if total else 1.0
        self.kept_free = KEPT_FREE if total >= 16 * KEPT_FREE else 0

    def close(self) -> None:
        """Let go of the files."""
        self.vault.close()
        for file in (self._file, self._notes):
            if file is not None:
                file.close()
        self._file = self._notes = None

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._file is None:
            raise JournalError("no segment is open")
        if self.used + len(data) > self.allocated:
            self._extend(self.used + len(data) - self.allocated)
        write_all(self._file, data, self.used)
        self._file.fdatasync()
        self.used += len(data)

    def _rotate(self, first: int) -> None:
        """Seal the open segment at its last record and begin the next."""
        if self._file is not None:
            self._file.truncate(self.used)
            self._file.fdatasync()
            self._file.close()
        file = self._storage.open(f"{SEGMENTS}/{framing.name(first)}")
        start = framing.head(first)
        write_all(file, start, 0)
        self._file, self.used, self.allocated = file, len(start), len(start)
        self._extend(STEP)
        self._storage.sync_folder(SEGMENTS)
        self._storage.sync_folder("")

    def _extend(self, need: int) -> None:
        """Zero at least so many more bytes, in whole steps."""
        if self._file is None:
            raise JournalError("no segment is open")
        for _ in range(-(-need // STEP)):
            write_all(self._file, _ZEROS, self.allocated)
            self._file.fdatasync()
            self.allocated += STEP
