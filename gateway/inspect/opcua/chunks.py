"""One side of a connection: bytes in order → chunks.

A chunk begins with a type of four letters and its size, which is much surer than anything Modbus has: behind
a gap, or where the capture begins in the middle, reading goes on at the first segment that begins with one.
Where chunks were read and the next one is none, framing is lost as it would be for the gateway.
"""

from gateway.wire.opcua.framing import (
    ABORT,
    ACKNOWLEDGE,
    CLOSE,
    ERROR,
    FINAL,
    HEAD,
    HEAD_SIZE,
    HELLO,
    OPEN,
    PART,
)

REVERSE_HELLO = b"RHEF"
KINDS = frozenset({HELLO, ACKNOWLEDGE, ERROR, OPEN, FINAL, PART, ABORT, CLOSE, REVERSE_HELLO})
MOST_CHUNK = 1 << 20
"Longer than what stacks agree on (some 64 KiB), so that what peers of other stacks said is read."
MOST_HELD = 128 << 20
"Bytes that wait for the rest of their chunk, message or answer, all connections together."


class Room:
    """What all connections together may hold."""

    __slots__ = ("held", "most")

    def __init__(self, most: int = MOST_HELD) -> None:
        self.held = 0
        self.most = most

    def take(self, size: int) -> bool:
        """Whether so many bytes more may be held; then they are."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """They are not held any more."""
        self.held -= size


class Chunks:
    """What one side said."""

    __slots__ = ("_buffer", "_room", "begun", "in_step", "lost", "sure", "undecoded")

    def __init__(self, room: Room) -> None:
        self.begun = False
        "Whether any chunk was read."
        self.in_step = True
        self.sure = False
        "Whether a chunk was read since the beginning, or since the last gap."
        self.lost = False
        "Framing is lost."
        self.undecoded = 0
        self._buffer = bytearray()
        self._room = room

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that these bytes complete."""
        if self.lost or not (self.in_step or begins(data)):
            self.undecoded += len(data)
            return []
        if not self._room.take(len(data)):
            self.undecoded += len(data)
            self.gap()
            return []
        self.in_step = True
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        at = 0
        while len(buffer) - at >= HEAD_SIZE:
            if not begins(buffer[at : at + HEAD_SIZE]):
                self._out_of_step(at)
                return found
            end = at + HEAD.unpack_from(buffer, at)[1]
            if end > len(buffer):
                break
            found.append(bytes(buffer[at:end]))
            self.begun = self.sure = True
            at = end
        del buffer[:at]
        self._room.give(at)
        return found

    def gap(self) -> None:
        """Bytes are missing here."""
        self.undecoded += self._forget()
        self.in_step = self.sure = False

    def end(self) -> None:
        """Nothing more comes."""
        self.undecoded += self._forget()

    def _out_of_step(self, at: int) -> None:
        """What stands here is no chunk: framing is lost, or this was no beginning."""
        self.lost = self.sure
        self.in_step = False
        self.undecoded -= at
        self.undecoded += self._forget()

    def _forget(self) -> int:
        size = len(self._buffer)
        self._room.give(size)
        self._buffer.clear()
        return size


def begins(data: bytes | bytearray) -> bool:
    """Whether a chunk can begin with these bytes."""
    if len(data) < HEAD_SIZE:
        return any(kind.startswith(bytes(data[:4])) for kind in KINDS)
    kind, size = HEAD.unpack_from(data)
    return kind in KINDS and HEAD_SIZE <= size <= MOST_CHUNK
