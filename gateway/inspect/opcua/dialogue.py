"""One TCP connection of OPC UA: chunks → lines, each with what is wrong about it.

Whether messages can be read is known by the policy of their OpenSecureChannel. Where the capture does not
have it, or has a policy, the look of the first message says it: under mode Sign a message is as readable as
without security, with a signature behind it.

Between what a capture lost and what peers did wrong stands the same line as for Modbus: behind a gap sequence
numbers begin anew, and an answer without its request is no finding.
"""

from collections.abc import Iterator

from gateway.inspect.opcua import opening
from gateway.inspect.opcua.around import Around
from gateway.inspect.opcua.chunks import REVERSE_HELLO, Chunks, Room
from gateway.inspect.opcua.findings import OpcuaFinding
from gateway.inspect.opcua.line import Line
from gateway.inspect.opcua.services import Services, Session
from gateway.inspect.plant import Plant
from gateway.inspect.segments import Data, Opened
from gateway.wire.opcua.asymmetric import read_head
from gateway.wire.opcua.channel import FIRST_SEQUENCES, LAST_SEQUENCE
from gateway.wire.opcua.framing import ABORT, ACKNOWLEDGE, CLOSE, ERROR, FINAL, HELLO, OPEN, Buffers
from gateway.wire.opcua.request import Malformed, read_request
from gateway.wire.opcua.services import BY_ANSWER, FAULT, SERVICES

TLS_HANDSHAKE = b"\x16\x03"
UNSEEN = "acknowledges_unseen"
MOST_BODY = 8 << 20
"Bytes of a message that are kept; the gateway takes 2 MiB."
DISCOVERY = frozenset({"FindServers", "GetEndpoints", None})
"What may come without security; None is what cannot be read."
HEADER = 24
"Of a chunk of a message: type, size, channel, token, sequence, request."


class Side:
    """What one side says."""

    __slots__ = ("chunks", "missing", "number", "odd", "parts", "request", "told")

    def __init__(self, room: Room, *, request: bool) -> None:
        self.request = request
        self.chunks = Chunks(room)
        self.parts: list[bytes] = []
        "Bodies of the chunks of a message that is not whole."
        self.told: Line | None = None
        "The line of that message."
        self.number: int | None = None
        "The last sequence number; None where any may follow."
        self.missing = 0
        self.odd: tuple[str, ...] = ()


class Dialogue:
    """One connection."""

    def __init__(self, opened: Opened, around: Around, plant: Plant) -> None:
        self.opened = opened
        self.services = Services(around, plant, opened.server, opened.server_port)
        self.over = False
        self.readable: bool | None = None
        "Whether messages can be read; None while nothing has told."
        self.session: Session | None = None
        "Whose the last line is."
        self._undecoded = 0
        self._room = around.room
        self._sides = (Side(around.room, request=True), Side(around.room, request=False))
        self._told = False
        "Whether it was said that all can be read."
        self._signature: int | None = None
        "Bytes behind a message that is signed only; None while nothing has told."
        self._channel: int | None = None
        self._offered: Buffers | None = None

    @property
    def undecoded(self) -> int:
        """Bytes that no line was made of."""
        return self._undecoded + sum(side.chunks.undecoded for side in self._sides)

    def data(self, event: Data) -> Iterator[Line]:
        """The next bytes. Take each line before the next: `session` is that of the last one."""
        if self.over:
            self._undecoded += len(event.body)
            return
        side = self._sides[event.side]
        if not side.chunks.begun and event.body.startswith(TLS_HANDSHAKE):
            self.over = True
            yield Line(event.stream, event.frame, event.time, side.request, tls=True)
            return
        for chunk in side.chunks.feed(event.body):
            line = self._chunk(side, chunk, event)
            if line is not None:
                yield self._tell(side, line)
        if side.chunks.lost:
            self.over = True
            line = Line(event.stream, event.frame, event.time, side.request, fatal=True)
            line.findings = (OpcuaFinding.FRAMING,)
            yield self._tell(side, line)

    def gap(self, number: int, missing: int) -> None:
        """The capture lost bytes of that side."""
        side = self._sides[number]
        self.services.unsure = True
        if self.over:
            return
        side.chunks.gap()
        self._undecoded += self._drop(side)
        side.number = None
        side.missing += missing

    def odd(self, number: int, name: str) -> None:
        """Something odd about TCP on that side; it is told with what comes next."""
        if name == UNSEEN:
            self.services.unsure = True
        if name not in self._sides[number].odd:
            self._sides[number].odd += (name,)

    def closed(self, frame: int, time: int) -> list[Line]:
        """Nothing more. What was not told yet is told."""
        lines = []
        for side in self._sides:
            self._undecoded += self._drop(side)
            side.chunks.end()
            nothing = side.chunks.undecoded > 0 and not side.chunks.begun and not self.over
            if nothing or set(side.odd) - {UNSEEN}:
                line = Line(self.opened.stream, frame, time, side.request)
                line.findings = (OpcuaFinding.NOT_OPCUA,) if nothing else ()
                lines.append(self._tell(side, line))
        self.services.end()
        return lines

    # chunks -------------------------------------------------------------------------------------------

    def _chunk(self, side: Side, chunk: bytes, event: Data) -> Line | None:
        kind, size = chunk[:4], len(chunk)
        line = Line(event.stream, event.frame, event.time, side.request, kind[:3].decode(), size=size)
        line.largest = size
        self.session = None
        if kind == HELLO:
            self.services.unsure = False
            found = opening.hello(line, chunk)
            if found is not None:
                self._offered = found[0]
                self.services.arrive(found[1])
        elif kind == ACKNOWLEDGE:
            opening.acknowledge(line, chunk, self._offered)
        elif kind == ERROR:
            opening.error(line, chunk)
        elif kind == OPEN:
            self._open(side, line, chunk)
        elif kind == REVERSE_HELLO:
            line.findings += (OpcuaFinding.REVERSE_HELLO,)
        elif size < HEADER:
            line.findings += (OpcuaFinding.MALFORMED,)
            line.why = "a chunk shorter than its headers"
        else:
            return self._secured(side, line, chunk)
        return line

    def _open(self, side: Side, line: Line, chunk: bytes) -> None:
        head = read_head(chunk)
        if head is None:
            line.findings += (OpcuaFinding.MALFORMED,)
            line.why = "the header of OpenSecureChannel cannot be read"
            return
        policy = opening.opened(line, head)
        services = self.services
        if services.policy != policy:
            services.policy, services.mode = policy, "None" if policy == "None" else None
            self.readable, self._signature = (True, 0) if policy == "None" else (None, None)
        if head.chain:
            shown = services.shown(head.chain, server=not side.request, time=line.time)
            line.shown = (shown,)
        if policy != "None":
            line.encrypted = True
            side.number = None  # it has one, which nobody can read
            if not side.request:
                self._channel = head.channel_id
            return
        if len(chunk) < head.end + 8:
            line.findings += (OpcuaFinding.MALFORMED,)
            line.why = "the bytes end too early"
            return
        number, line.request_id = opening.SEQUENCE.unpack_from(chunk, head.end)
        self._count(side, line, number)
        given = opening.in_clear(line, chunk[head.end + 8 :])
        if given is not None:
            self._channel = line.channel = given

    def _secured(self, side: Side, line: Line, chunk: bytes) -> Line | None:
        """A chunk of a message: its line once the message is whole."""
        kind = chunk[:4]
        line.channel = int.from_bytes(chunk[8:12], "little")
        if self._channel is not None and line.channel != self._channel:
            line.findings += (OpcuaFinding.FOREIGN_CHANNEL,)
        if self.readable is None:
            self._look(side, chunk)
        body = chunk[HEADER:]
        if self.readable:
            number, line.request_id = opening.SEQUENCE.unpack_from(chunk, 16)
            self._count(side, line, number)
            if self._signature:
                body = body[: -self._signature]
        if side.told is not None:
            self._join(side, line)
        if kind == ABORT:
            return self._aborted(side, line, body)
        if self.readable:
            self._keep(side, line, body)
        if kind not in (FINAL, CLOSE):
            side.told = line
            return None
        return self._whole(side, line)

    def _join(self, side: Side, line: Line) -> None:
        """A further chunk of a message."""
        before, side.told = side.told, None
        assert before is not None  # noqa: S101  asked by the caller
        if before.request_id != line.request_id:
            line.findings += (OpcuaFinding.MIXED_CHUNKS,)
            self._drop(side)
        line.chunks = before.chunks + 1
        line.size += before.size
        line.largest = max(line.largest, before.largest)
        line.findings = tuple(dict.fromkeys(before.findings + line.findings))

    def _keep(self, side: Side, line: Line, body: bytes) -> None:
        if OpcuaFinding.MESSAGE_TOO_LARGE in line.findings:
            return
        held = sum(map(len, side.parts))
        if held + len(body) > MOST_BODY or not self._room.take(len(body)):
            self._drop(side)
            line.findings += (OpcuaFinding.MESSAGE_TOO_LARGE,)
            return
        side.parts.append(body)

    def _whole(self, side: Side, line: Line) -> Line:
        if not self.readable:
            line.encrypted = True
            return line
        too_large = OpcuaFinding.MESSAGE_TOO_LARGE in line.findings
        body = b"".join(side.parts)
        self._drop(side)
        if too_large:
            self._undecoded += line.size
            return line
        if self._signature is None and side.request:
            self._signature = _signature(body)
            if self._signature is not None:
                body = body[: len(body) - self._signature]
                self.services.mode = "Sign" if self._signature else "None"
                self.services.policy = None if self._signature else "None"
        read = self.services.request if side.request else self.services.answer
        self.session = read(line, body)
        if side.request and not self._told and line.kind == "MSG" and line.service not in DISCOVERY:
            self._told = True
            signed = self.services.mode == "Sign"
            line.findings += (OpcuaFinding.SIGN_ONLY if signed else OpcuaFinding.MODE_NONE,)
        return line

    def _aborted(self, side: Side, line: Line, body: bytes) -> Line:
        self._drop(side)
        line.findings += (OpcuaFinding.ABORTED,)
        if self.readable:
            line.status = int.from_bytes(body[:4], "little") if len(body) >= 4 else None
        else:
            line.encrypted = True
        return line

    def _look(self, side: Side, chunk: bytes) -> None:
        """Whether the first message of a channel can be read, by its look."""
        body = chunk[HEADER:]
        number = int.from_bytes(body[2:4], "little")
        known = number == FAULT or number in SERVICES or number in BY_ANSWER
        self.readable = body[:2] == b"\1\0" and known
        services = self.services
        if self.readable and services.policy is not None:
            services.mode = "Sign"
            self._signature = opening.SIGNATURES.get(services.policy, opening.SIGNATURE)
        elif not self.readable:
            services.mode = "SignAndEncrypt"

    def _count(self, side: Side, line: Line, number: int) -> None:
        """Sequence numbers go up by one (OPC 10000-6 §6.7.2.4)."""
        last, side.number = side.number, number
        turned = last is not None and last >= LAST_SEQUENCE and number < FIRST_SEQUENCES
        if last is not None and number != last + 1 and not turned:
            line.findings += (OpcuaFinding.SEQUENCE,)

    def _drop(self, side: Side) -> int:
        """Keep nothing of a message; how many bytes of it there were."""
        size = sum(map(len, side.parts))
        self._room.give(size)
        side.parts = []
        side.told = None
        return size

    def _tell(self, side: Side, line: Line) -> Line:
        """Say with this line what was not said yet."""
        line.missing, line.odd = side.missing, side.odd
        side.missing, side.odd = 0, ()
        return line


def _signature(body: bytes) -> int | None:
    """How much of a request is signature, where no OpenSecureChannel said so; None if it cannot be read."""
    for size in (0, opening.SIGNATURE, 20):
        if not isinstance(read_request(body[: len(body) - size]), Malformed):
            return size
    return None
