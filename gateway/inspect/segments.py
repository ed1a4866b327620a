"""The pipe from the capture program. The records are described in `gateway/capture/pipe.py`, which only that
program may import; what follows is the same in the words of a reader, and a test holds that both agree.

The other program may be killed or be another version, so every record is held against its bounds before it is
believed. Whatever does not fit ends the reading.
"""

import json
from collections.abc import Iterator
from struct import Struct as Layout
from typing import IO, Any

from msgspec import Struct

MAGIC = b"DMZSEG1\n"
HEAD = Layout(">cBIQQI")
"Kind, side, stream, frame, time, size of the body."
COUNT = Layout(">Q")
PROGRESS = Layout(">QQ")
MOST_BODY = 1 << 17
"A segment is at most 64 KiB."


class Data(Struct, frozen=True, gc=False):
    """The next bytes of one side: 0 the client, 1 the server."""

    stream: int
    side: int
    frame: int
    time: int
    body: bytes


class Gap(Struct, frozen=True, gc=False):
    """Bytes of one side that the capture does not have."""

    stream: int
    side: int
    frame: int
    time: int
    missing: int


class Odd(Struct, frozen=True, gc=False):
    """Something odd about TCP."""

    stream: int
    side: int
    frame: int
    time: int
    name: str


class Opened(Struct, frozen=True, gc=False):
    """A connection that is followed."""

    stream: int
    frame: int
    time: int
    client: str
    client_port: int
    server: str
    server_port: int
    how: str
    "What told who is the client: `port`, `syn`, `first`."


class Closed(Struct, frozen=True, gc=False):
    """Nothing more of it."""

    stream: int
    frame: int
    time: int
    why: str


class Progress(Struct, frozen=True, gc=False):
    """How far the other program is."""

    packets: int
    position: int
    "Bytes of the file read."


class End(Struct, frozen=True):
    """The capture is through."""

    totals: dict[str, Any]


Event = Data | Gap | Odd | Opened | Closed | Progress | End


class BrokenPipeFormatError(Exception):
    """The other end does not say what it should, or stopped in the middle."""


def read(pipe: IO[bytes]) -> Iterator[Event]:
    """All events, the last an End. Raises BrokenPipeFormatError if there is none."""
    magic = pipe.read(len(MAGIC))
    if magic != MAGIC:
        raise BrokenPipeFormatError("the capture program said nothing" if not magic else "not its format")
    while True:
        head = pipe.read(HEAD.size)
        if len(head) < HEAD.size:
            raise BrokenPipeFormatError("the capture program stopped in the middle")
        kind, side, stream, frame, time, size = HEAD.unpack(head)
        if side > 1 or size > MOST_BODY:
            raise BrokenPipeFormatError("a record that makes no sense")
        body = pipe.read(size)
        if len(body) < size:
            raise BrokenPipeFormatError("the capture program stopped in the middle")
        if kind == b"D":
            yield Data(stream, side, frame, time, body)
            continue
        try:
            event = _rarer(kind, side, stream, frame, time, body)
        except (ValueError, KeyError, LookupError, TypeError) as error:
            raise BrokenPipeFormatError("a record that makes no sense") from error
        yield event
        if isinstance(event, End):
            return


def _rarer(kind: bytes, side: int, stream: int, frame: int, time: int, body: bytes) -> Event:
    """Everything but data. Raises ValueError or KeyError for what makes no sense."""
    match kind:
        case b"G" if len(body) == COUNT.size:
            return Gap(stream, side, frame, time, COUNT.unpack(body)[0])
        case b"N":
            return Odd(stream, side, frame, time, body.decode("ascii"))
        case b"O":
            client, client_port, server, server_port, how = body.decode("ascii").split()
            return Opened(stream, frame, time, client, int(client_port), server, int(server_port), how)
        case b"C":
            return Closed(stream, frame, time, body.decode("ascii"))
        case b"P" if len(body) == PROGRESS.size:
            return Progress(*PROGRESS.unpack(body))
        case b"E":
            return End(dict(json.loads(body)))
        case _:
            raise ValueError(kind)
