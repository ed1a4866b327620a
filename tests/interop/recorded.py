"""Recorded conversations, cut up so that they can be held again: what the client sent, and what it was told.

An answer belongs to the oldest unanswered request of its transaction id. Where none was recorded, the plant
of a replay says 04: it has an answer to everything, so that a missing one is the gateway's.
"""

from pathlib import Path

from msgspec import Struct

from gateway.wire.modbus.framing import Adu, MbapReader
from gateway.wire.modbus.functions import (
    Illegal,
    Request,
    Unsupported,
    WrongAnswer,
    read_answer,
    read_request,
)
from gateway.wire.modbus.refusal import CODES
from tests.interop.pcap import Stream, streams

WRITES = frozenset({5, 6, 15, 16, 21, 22, 23})
"Functions that change the four tables or files, by the specification and not by our table."
ILLEGAL_FUNCTION, DEVICE_FAILURE, NO_ANSWER = 0x01, 0x04, 0x0B


class Ask(Struct, eq=False):
    """One request, and the unit and PDU of its recorded answer."""

    adu: Adu
    read: Request | Illegal | Unsupported
    answer: tuple[int, bytes] | None = None

    @property
    def accepted(self) -> bool:
        return isinstance(self.read, Request)

    @property
    def writes(self) -> bool:
        return self.adu.pdu[0] in WRITES

    @property
    def device(self) -> tuple[int, bytes]:
        """Unit and PDU of what the device says."""
        return self.answer or (self.adu.unit, self.no(DEVICE_FAILURE))

    def no(self, code: int) -> bytes:
        return bytes((self.adu.pdu[0] | 0x80, code))

    def expected(self, allowed: bool) -> bytes:
        """The PDU that the client must get."""
        if isinstance(self.read, Illegal):
            return self.no(CODES[self.read.why])
        if isinstance(self.read, Unsupported) or not allowed:
            return self.no(ILLEGAL_FUNCTION)
        unit, pdu = self.device
        if unit != self.adu.unit or isinstance(read_answer(self.read, pdu), WrongAnswer):
            return self.no(NO_ANSWER)
        return pdu


class Segment(Struct):
    """What the client sent at once."""

    data: bytes
    asks: list[Ask]
    "Requests that are whole with it."
    outstanding: int
    "Requests that were unanswered before it."
    severs: bool = False
    "It breaks the framing."


def recordings(capture: Path) -> list[list[Segment]]:
    """The client's side of every connection of a capture, each as far as its framing holds."""
    return [segments for stream in streams(capture, 502) if (segments := _segments(stream))]


def _segments(stream: Stream) -> list[Segment]:
    readers = {"req": MbapReader(), "resp": MbapReader()}
    pieces = {direction: iter(stream.pieces[direction]) for direction in readers}
    waiting: list[Ask] = []
    found: list[Segment] = []
    for direction in stream.order:
        data = next(pieces[direction])
        reader = readers[direction]
        adus = reader.feed(data)
        if direction == "resp":
            for adu in adus:
                _settle(adu, waiting)
            continue
        asks = [Ask(adu, read_request(adu.unit, adu.pdu)) for adu in adus]
        found.append(Segment(data, asks, len(waiting), reader.lost is not None))
        waiting += asks
        if reader.lost is not None:
            break
    return found


def _settle(adu: Adu, waiting: list[Ask]) -> None:
    ask = next((each for each in waiting if each.adu.tid == adu.tid), None)
    if ask is not None:
        ask.answer = (adu.unit, adu.pdu)
        waiting.remove(ask)
