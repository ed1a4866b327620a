"""Messages of several chunks, put together (OPC 10000-6 §6.7.3).

All chunks of a message carry one request id and follow each other. Number and bytes are judged before a chunk
is kept, so that what a peer may have us hold is what was acknowledged to him, and no more.
"""

from gateway.wire.opcua.events import Aborted
from gateway.wire.opcua.framing import ABORT, FINAL, Buffers, Fault
from gateway.wire.opcua.status import Status


class Assembly:
    """The message of which chunks have come, if there is one."""

    __slots__ = ("_mine", "_request_id", "parts", "size")

    def __init__(self, mine: Buffers) -> None:
        self._mine = mine
        self._request_id = 0
        self.parts: list[bytes] = []
        self.size = 0
        "Bytes that are kept."

    def add(self, kind: bytes, request_id: int, body: bytes) -> bytes | Aborted | Fault | None:
        """A whole body with its last chunk; why it is none; or null while more must come."""
        if self.parts and request_id != self._request_id:
            return Fault.REQUEST_ID
        if kind == ABORT:
            self.forget()
            return read_abort(request_id, body)
        mine = self._mine
        if 0 < mine.most_message < self.size + len(body) or 0 < mine.most_chunks <= len(self.parts):
            return Fault.MESSAGE_SIZE
        self._request_id = request_id
        self.parts.append(body)
        self.size += len(body)
        if kind != FINAL:
            return None
        whole = b"".join(self.parts)
        self.forget()
        return whole

    def forget(self) -> None:
        """Keep nothing."""
        self.parts = []
        self.size = 0


def read_abort(request_id: int, body: bytes) -> Aborted:
    """Why a message was given up; what cannot be read gives it up as well."""
    if len(body) < 8:
        return Aborted(request_id, Status.UNEXPECTED_ERROR, "")
    return Aborted(request_id, int.from_bytes(body[:4], "little"), body[8:].decode(errors="replace"))
