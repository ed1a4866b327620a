"""A line that devices share: a serial line of this machine, or a TCP connection to a converter (RTU on TCP).

- One request is on the line at a time, whoever asks and whomever: there are no ids to tell answers by.
  Links take turns at it, one request each, and those that want to change the plant go first.
- On a serial line nothing is sent before it was silent for 3.5 characters (Serial Line V1.02 §2.5.1.1).
- What did not end in a good answer ends the exchange, and the line is left alone until what is late has come
  or had its time, and it is silent. A line that stays mute or never falls silent is closed and opened anew.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.guard.passage import settle
from gateway.model.asset import Asset, Parity, Quirk, Transport
from gateway.model.moment import SECOND, Now
from gateway.relay.link.connection import Owner, outcome
from gateway.relay.link.turns import Waiting
from gateway.wire.modbus.functions import Request, WrongAnswer, read_answer
from gateway.wire.modbus.rtu import RtuReader, frame

QUIET_S = 0.05
"After bytes that nobody asked for, a line must be silent for this long: longer than any pause in a frame."
NOISE_S = 2.0
"A line that does not fall silent for this long is closed and opened anew."
LATE_SHARE = 0.5
"How long a late answer is waited for, as a share of the device's time-out: nobody else is asked meanwhile."
MUTE = 3
"After this many exchanges in a row without an answer a line is opened anew; a converter may have hung."
FAST_BAUD = 19_200
FAST_SILENCE_S = 0.00175
"Above 19200 baud the silence between frames does not shrink (Serial Line V1.02 §2.5.1.1)."


def character_s(asset: Asset) -> float:
    """How long one character takes: start, 8 data bits, parity, stop. Zero where it is not our line."""
    if asset.transport is not Transport.SERIAL:
        return 0.0
    return (9 + (asset.serial.parity is not Parity.NONE) + asset.serial.stop_bits) / asset.serial.baud


def silence_s(asset: Asset) -> float:
    """The silence between two frames. Before a TCP connection the converter keeps it."""
    fast = asset.transport is Transport.SERIAL and asset.serial.baud > FAST_BAUD
    return FAST_SILENCE_S if fast else 3.5 * character_s(asset)


class Line(asyncio.Protocol):
    """One line while it is open."""

    def __init__(self, asset: Asset, forget: Callable[["Line"], None]) -> None:
        """`asset` is any that is on the line: they all describe it alike."""
        self._forget = forget
        self._serial = asset.transport is Transport.SERIAL
        self._silence_s = silence_s(asset)
        self._character_s = character_s(asset)
        self._transport: asyncio.Transport | None = None
        self._seats: list[RtuConnection] = []
        "Whose turn it is comes first."
        self._current: RtuConnection | None = None
        self._reader: RtuReader | None = None
        "Of the exchange under way, or of one that is over and whose answer may still come."
        self._rest: asyncio.TimerHandle | None = None
        self._rest_until = 0.0
        self._noisy_since: float | None = None
        self._mute = 0
        self.opened = asyncio.Event()

    @property
    def free(self) -> bool:
        """Whether a request may be sent now."""
        return self._transport is not None and self._current is None and self._rest is None

    def seat(self, link: Owner) -> "RtuConnection":
        """A place at the line for one link."""
        seat = RtuConnection(link, self)
        self._seats.append(seat)
        return seat

    def begin(self, seat: "RtuConnection", waiting: Waiting, pdu: bytes) -> None:
        """Send one request. Its time begins when its last character is on the line."""
        asset = seat.link.asset
        sent = frame(asset.unit, pdu)
        waiting.deadline_ns += int(len(sent) * self._character_s * SECOND)
        self._seats.remove(seat)
        self._seats.append(seat)
        self._current = seat
        self._reader = RtuReader(asset.unit, pdu, echo=Quirk.ECHO in asset.quirks)
        if self._transport is not None:
            self._transport.write(sent)

    def leave(self, seat: "RtuConnection") -> None:
        """A link is done with the line, or its request was answered by nobody."""
        if seat not in self._seats:
            return
        self._seats.remove(seat)
        if self._current is seat:
            self._current = None
            self._mute += 1
            if self._mute >= MUTE:
                self.close()
            else:
                self._rest_for(seat.link.asset.timeout_ms / 1000 * LATE_SHARE)
        elif not self._seats and self._rest is None:
            self.close()

    def close(self) -> None:
        """Close; whoever wants the line again opens a new one."""
        transport, self._transport = self._transport, None
        self._forget(self)
        if transport is not None:
            transport.close()
            if self._serial:  # pymodbus tells nobody of a close that was asked for
                self.connection_lost(None)

    # what comes off the line -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.opened.set()

    def data_received(self, data: bytes) -> None:
        reader, seat = self._reader, self._current
        pdu = None if reader is None else reader.feed(data)
        if seat is None:
            if pdu is None:
                self._noise()
            else:  # the answer that was waited for in vain: it goes to nobody, and the line is ours again
                self._over(QUIET_S)
        elif pdu is not None and reader is not None:
            self._mute = 0
            self._over(QUIET_S if reader.extra else self._silence_s)
            seat.answered(pdu)
        elif reader is not None and reader.lost is not None:
            self._over(QUIET_S)
            seat.broken(reader.lost)
        if self.free:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._forget(self)
        if self._rest is not None:
            self._rest.cancel()
        seats, self._seats = self._seats, []
        self._current = None
        loop = asyncio.get_running_loop()
        for seat in seats:
            loop.call_soon(seat.link.lost, seat)

    # the line between exchanges ----------------------------------------------------------------

    def _over(self, pause_s: float) -> None:
        """The exchange is over; leave the line alone for so long."""
        self._current = self._reader = None
        self._noisy_since = None
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if pause_s:
            self._rest_for(pause_s)

    def _rest_for(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._rest is not None:
            if until <= self._rest_until:
                return
            self._rest.cancel()
        self._rest_until = until
        self._rest = loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._rest = self._reader = self._noisy_since = None
        if self._seats:
            self._next()
        else:
            self.close()

    def _noise(self) -> None:
        """Bytes that belong to no exchange: nothing is read from them, and nothing sent until they end."""
        now = asyncio.get_running_loop().time()
        if self._noisy_since is None:
            self._noisy_since = now
            if self._seats and self._reader is None:
                self._seats[0].link.finding("unsolicited", self._seats[0].link.clock())
        if now - self._noisy_since > NOISE_S:
            self.close()
        else:
            self._rest_for(QUIET_S)

    def _next(self) -> None:
        """Whose turn it is; those first who want to change the plant."""
        for seat in sorted(self._seats, key=lambda seat: not seat.link.urgent):
            if not self.free:
                return
            seat.link.pump(seat.link.clock())


class RtuConnection:
    """One link's place at a line; to the link, a connection."""

    def __init__(self, link: Owner, line: Line) -> None:
        self.link = link
        self._line = line
        self.outstanding: dict[int, Waiting] = {}
        "At most one."
        self.retired = False
        self.proven = True

    @property
    def ready(self) -> bool:
        """Whether a request may be sent now."""
        return not self.retired and self._line.free

    def send(self, waiting: Waiting, pdu: bytes) -> None:
        """Send one request; only while `ready`."""
        self.outstanding[0] = waiting
        self._line.begin(self, waiting, pdu)

    def answered(self, pdu: bytes) -> None:
        """A whole frame of our device came."""
        link, now = self.link, self.link.clock()
        waiting = self.outstanding.pop(0)
        answer = read_answer(cast(Request, waiting.permit.frame), pdu)
        if isinstance(answer, WrongAnswer):
            link.failed(waiting, "wrong_answer", now)
            self.retire(answer.finding, now)
        else:
            settle(waiting.permit, outcome(answer), answer.data, link.door, now)
            waiting.sink.answered(waiting.permit, answer, now)
        if self.retired:
            self.close()

    def broken(self, finding: str) -> None:
        """What came is no frame of our device."""
        now = self.link.clock()
        self.link.failed(self.outstanding.pop(0), "wrong_answer", now)
        self.retire(finding, now)
        self.close()

    def retire(self, why: str | None, now: Now) -> None:
        """Send nothing more from this place; `why` is recorded where the device broke the protocol."""
        if not self.retired:
            self.retired = True
            if why is not None:
                self.link.finding(why, now)

    def close(self) -> None:
        """Leave the line; what is in flight ends as NO_ANSWER."""
        self._line.leave(self)
        asyncio.get_running_loop().call_soon(self.link.lost, self)
