"""One TCP connection to a device: requests out under ids of ours, answers back to whoever waits.

- Transaction ids step by an odd stride from a random start, so that a device which answers with "another id"
  or twice does not hit one that a later request will use. No client's id goes upstream.
- A connection that owes us an answer, or gave us one that nobody asked for, is retired: it gets no further
  request, and is closed once what is in flight on it is settled. A late answer has nowhere to go.
"""

import asyncio
import secrets
from collections.abc import Callable
from struct import Struct as Layout
from typing import Any, Protocol, cast

from gateway.guard.passage import Door, settle
from gateway.guard.ports import Answer
from gateway.model.asset import Asset, Quirk
from gateway.model.moment import Now
from gateway.relay.flush import Flush
from gateway.relay.link.turns import Waiting
from gateway.wire.modbus.framing import MbapReader, OvercountedReader
from gateway.wire.modbus.functions import DeviceException, Request, WrongAnswer
from gateway.wire.modbus.session import tolerant

MBAP = Layout(">HHHB")

_OK = {"status": "ok"}


def outcome(answer: Answer) -> dict[str, Any]:
    """What an answer means for the record."""
    return {"status": f"exception_{answer.code:02x}"} if isinstance(answer, DeviceException) else _OK


class Owner(Protocol):
    """What a connection asks of the link that it belongs to."""

    door: Door
    asset: Asset
    clock: Callable[[], Now]
    flush: Flush

    @property
    def urgent(self) -> bool: ...
    def pump(self, now: Now) -> None: ...
    def failed(self, waiting: Waiting, status: str, now: Now) -> None: ...
    def finding(self, name: str, now: Now) -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(Protocol):
    """What a link asks of its connections, whatever carries Modbus to the device."""

    outstanding: dict[int, Waiting]
    "What was sent and is not yet settled, oldest first."
    retired: bool
    proven: bool
    "Whether the device has ever answered on it: one that it never wanted, it may close without a word."

    @property
    def ready(self) -> bool: ...
    def send(self, waiting: Waiting, pdu: bytes) -> None: ...
    def retire(self, why: str | None, now: Now) -> None: ...
    def close(self) -> None: ...


class PlantConnection(asyncio.Protocol):
    """One TCP connection to a device."""

    def __init__(self, link: Owner) -> None:
        self._link = link
        quirks = self._quirks = link.asset.quirks
        self._by_order = Quirk.ID_NOT_ECHOED in quirks
        self._reader = OvercountedReader() if Quirk.EXCEPTION_OVERCOUNTED in quirks else MbapReader()
        self._transport: asyncio.Transport | None = None
        self._tid = secrets.randbelow(65_536)
        self._stride = secrets.randbelow(16_384) * 2 + 1
        self._out: list[bytes] = []
        "ADUs to be written at the end of the loop's turn, each in a segment of its own."
        self.outstanding: dict[int, Waiting] = {}
        self.retired = False
        self.proven = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def ready(self) -> bool:
        """Whether a request may be sent now, as far as the connection is concerned.

        A device that does not echo ids is asked one thing at a time: order is all that is left to match by.
        """
        return not self.retired and not (self._by_order and self.outstanding)

    def send(self, waiting: Waiting, pdu: bytes) -> None:
        """Send one request under an id of ours."""
        outstanding = self.outstanding
        tid = self._tid = (self._tid + self._stride) & 0xFFFF
        while tid in outstanding:
            tid = self._tid = (self._tid + self._stride) & 0xFFFF
        outstanding[tid] = waiting
        if not self._out:
            self._link.flush.add(self)
        self._out.append(MBAP.pack(tid, 0, len(pdu) + 1, self._link.asset.unit) + pdu)

    def flush(self) -> None:
        """Write what was sent in this turn of the loop. Some devices misread two ADUs in one segment."""
        adus, self._out = self._out, []
        if self._transport is not None:
            for adu in adus:
                self._transport.write(adu)

    def data_received(self, data: bytes) -> None:
        link = self._link
        now = link.clock()
        for adu in self._reader.feed(data):
            tid = next(iter(self.outstanding), adu.tid) if self._by_order else adu.tid
            waiting = self.outstanding.pop(tid, None)
            if waiting is None:
                self.retire("unsolicited", now)
                continue
            if adu.unit != link.asset.unit:
                link.failed(waiting, "wrong_answer", now)
                self.retire("unit_mismatch", now)
                continue
            answer = tolerant(cast(Request, waiting.permit.frame), adu.pdu, self._quirks)
            if isinstance(answer, WrongAnswer):
                link.failed(waiting, "wrong_answer", now)
                self.retire(answer.finding, now)
                continue
            self.proven = True
            settle(waiting.permit, outcome(answer), answer.data, link.door, now)
            waiting.sink.answered(waiting.permit, answer, now)
        if self._reader.lost is not None:
            self.retire(self._reader.lost, now)
            self.close()
        if self.retired and not self.outstanding:
            self.close()
        link.pump(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._link.lost(self)

    def retire(self, why: str | None, now: Now) -> None:
        """Send nothing more on this connection; `why` is recorded where the device broke the protocol."""
        if not self.retired:
            self.retired = True
            if why is not None:
                self._link.finding(why, now)

    def close(self) -> None:
        """Close; what is in flight ends as NO_ANSWER when the connection is lost."""
        if self._transport is not None:
            self._transport.close()
