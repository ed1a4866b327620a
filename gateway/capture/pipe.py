"""What goes through the pipe: records, each a head of 26 bytes and a body. All numbers big-endian.

    magic      8 bytes, once: "DMZSEG1\\n"
    record     kind 1 | side 1 | stream 4 | frame 8 | time 8 | size 4 | body

    kind  body                                             said
    O     ASCII `client port server port how`              once, before anything else of the stream
    D     bytes of the stream, in order                    side's next bytes; never empty
    G     8 bytes: how many bytes of that side are missing because the capture does not have them
    N     ASCII name of something odd about TCP            before the bytes that it is about (see `stream`)
    C     ASCII `ended` (both sides said so), `end` (of the   nothing more of this stream
          capture), `reused`, `forgotten`
    P     8 + 8 bytes: packets so far, bytes of the file   now and then
    E     JSON object: totals, and `fault` (text or null)  once, the last record; without it we were cut off

`side` is 0 for the client and 1 for the server. `stream` counts TCP connections of the capture from 0 as
Wireshark's tcp.stream does, the ones that are not followed included. `frame` counts packets from 1. `time` is
nanoseconds since 1970, 0 where the capture has none. `how` says what told the client: `port`, `syn`, `first`.

The other end is `gateway/inspect/segments.py`; a test holds that both agree.
"""

import json
from collections.abc import Mapping
from struct import Struct
from typing import IO

MAGIC = b"DMZSEG1\n"
HEAD = Struct(">cBIQQI")
"Kind, side, stream, frame, time, size of the body."
COUNT = Struct(">Q")
PROGRESS = Struct(">QQ")
CHUNK = 65_536
"Bytes gathered before they are written: a write for each segment would cost more than reading it."


class Writer:
    """The writing end."""

    __slots__ = ("_gathered", "_out", "_size")

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._gathered = [MAGIC]
        self._size = 0

    def data(self, stream: int, side: int, frame: int, time: int, body: bytes) -> None:
        """The next bytes of one side."""
        self._put(b"D", side, stream, frame, time, body)

    def gap(self, stream: int, side: int, frame: int, time: int, missing: int) -> None:
        """Bytes that the capture does not have."""
        self._put(b"G", side, stream, frame, time, COUNT.pack(missing))

    def note(self, stream: int, side: int, frame: int, time: int, name: str) -> None:
        """Something odd about TCP."""
        self._put(b"N", side, stream, frame, time, name.encode("ascii"))

    def opened(self, stream: int, frame: int, time: int, ends: str) -> None:
        """A stream that is followed."""
        self._put(b"O", 0, stream, frame, time, ends.encode("ascii"))

    def closed(self, stream: int, frame: int, time: int, why: str) -> None:
        """Nothing more of it."""
        self._put(b"C", 0, stream, frame, time, why.encode("ascii"))

    def progress(self, packets: int, position: int) -> None:
        """How far we are; also a point at which nothing is left gathered."""
        self._put(b"P", 0, 0, packets, 0, PROGRESS.pack(packets, position))
        self.flush()

    def end(self, totals: Mapping[str, object]) -> None:
        """The last record."""
        self._put(b"E", 0, 0, 0, 0, json.dumps(totals).encode())
        self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        self._out.write(b"".join(self._gathered))
        self._out.flush()
        self._gathered = []
        self._size = 0

    def _put(self, kind: bytes, side: int, stream: int, frame: int, time: int, body: bytes) -> None:
        size = len(body)
        self._gathered += (HEAD.pack(kind, side, stream, frame, time, size), body)
        self._size += size + HEAD.size
        if self._size >= CHUNK:
            self.flush()
