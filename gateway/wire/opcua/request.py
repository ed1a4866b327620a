"""Request bodies: read strictly, parted, and sent on as slices of what was read.

A body begins at its TypeId. It is scanned to its last byte before anything else looks at it; a byte that no
field owns refuses it. What goes to the server is the original but for the session's token, and, where items
were taken out, but for their bytes and the count (DESIGN invariant 3).
"""

from collections.abc import Mapping, Sequence
from struct import Struct as Layout

from msgspec import Struct

from gateway.wire.opcua.binary import BROKEN, MOST_ELEMENTS, MOST_NAME, Wrong, count, counted, node_id
from gateway.wire.opcua.services import SERVICES, Service, Treatment
from gateway.wire.opcua.status import Status

MOST_SEEN = 1024
"Different parameters of reads remembered for each server; see `Seen`."
MOST_SEEN_BYTES = 16_384
"Longer parameters are read anew each time."

_COMMON = Layout("<qIIi").unpack_from
"Timestamp, request handle, diagnostics, length of the audit id."
_TAIL = Layout("<I3s").unpack_from
"Time-out hint, additional header."
_COUNT = Layout("<i").pack
NO_HEADER = b"\0\0\0"
"An additional header that is null: nothing else is let in, and nothing of it is ever decoded."
TYPE_ID = b"\x01\x00"
"How the TypeId of a message begins: the four-byte form, namespace 0."


class Limits(Struct, frozen=True):
    """What a site allows beside what the wire can bear."""

    most_nodes: int = MOST_ELEMENTS
    "Items of one request: nodes, methods, monitored items …"


LIMITS = Limits()


class Header(Struct, frozen=True, gc=False):
    """What a RequestHeader (OPC 10000-4 §7.28) says."""

    token: slice
    "Where the session's authentication token lies in the body, as an encoded NodeId."
    handle: int
    "RequestHandle: comes back in the answer."
    timestamp: int
    "DateTime of the client: 100 ns since 1601."
    diagnostics: int
    "Which diagnostics the client wants."
    audit_id: bytes | None
    "AuditEntryId as it came; goes on to the server."
    timeout_ms: int
    "TimeoutHint; 0 is none."
    end: int
    "Where the parameters begin."


class Parameters(Struct, frozen=True, gc=False, eq=False):
    """What stands behind the header, and where its items lie. Depends on nothing but its own bytes."""

    service: Service
    tail: bytes
    counted: int
    "Where the count of the items stands; the end, where there are none."
    borders: tuple[int, ...]
    "Where each item begins, and where the last one ends; empty for a service without items."


class Request(Struct, frozen=True, gc=False, eq=False):
    """One request, read to its last byte."""

    body: bytes
    header: Header
    parameters: Parameters

    @property
    def service(self) -> Service:
        """Its row of the table."""
        return self.parameters.service

    @property
    def tail(self) -> bytes:
        """Its parameters' bytes."""
        return self.parameters.tail

    @property
    def items(self) -> int:
        """How many items it has."""
        return max(len(self.parameters.borders) - 1, 0)

    @property
    def token(self) -> bytes:
        """The session's token as the client encoded it."""
        return self.body[self.header.token]

    def item(self, at: int) -> bytes:
        """The bytes of one item."""
        borders = self.parameters.borders
        return self.parameters.tail[borders[at] : borders[at + 1]]


class Malformed(Struct, frozen=True):
    """Bytes that are no message of ours: the connection ends (DESIGN invariant 4)."""

    status: Status
    what: str


class Unsupported(Struct, frozen=True):
    """A request of a service that is never forwarded. Its parameters are not read."""

    type_id: int
    name: str | None
    "Where it has a row."
    header: Header
    status: Status = Status.SERVICE_UNSUPPORTED

    @property
    def handle(self) -> int:
        """RequestHandle, for the fault."""
        return self.header.handle


class Improper(Struct, frozen=True):
    """A request that is whole, and answered with this fault before policy is asked."""

    service: Service
    header: Header
    status: Status

    @property
    def handle(self) -> int:
        """RequestHandle, for the fault."""
        return self.header.handle


class Seen:
    """Parameters read before: a client that polls asks the same again and again.

    The same bytes have the same borders, so nothing else is left to look at.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], Parameters] = {}

    def get(self, service: Service, tail: bytes) -> Parameters | None:
        """What was found then."""
        return self._known.get((service.request, tail))

    def keep(self, parameters: Parameters) -> None:
        """Remember; a full memory starts again empty."""
        if parameters.service.name in _POLLED and len(parameters.tail) <= MOST_SEEN_BYTES:
            if len(self._known) >= MOST_SEEN:
                self._known.clear()
            self._known[parameters.service.request, parameters.tail] = parameters


_POLLED = frozenset({"Read", "Publish"})


def read_request(
    body: bytes, limits: Limits = LIMITS, seen: Seen | None = None
) -> Request | Malformed | Unsupported | Improper:
    """What a client asks for. Never raises, whatever the bytes are."""
    try:
        return _read(body, limits, seen)
    except BROKEN as wrong:
        what = str(wrong) if isinstance(wrong, Wrong) else "the bytes end too early"
        return Malformed(Status.DECODING_ERROR, what)


def _read(body: bytes, limits: Limits, seen: Seen | None) -> Request | Malformed | Unsupported | Improper:
    if body[:2] != TYPE_ID:
        return Malformed(Status.DECODING_ERROR, "a TypeId that is not in the four-byte form of namespace 0")
    type_id = body[2] | body[3] << 8
    header = read_header(body)
    if header is None:
        return Malformed(Status.REQUEST_HEADER_INVALID, "an additional header")
    service = SERVICES.get(type_id)
    if service is None or service.treatment is Treatment.REFUSED:
        return Unsupported(type_id, service.name if service else None, header)
    tail = body[header.end :]
    known = seen.get(service, tail) if seen is not None else None
    if known is None:
        found = read_parameters(service, tail)
        if seen is not None:
            seen.keep(found)
    else:
        found = known
    if service.items is not None:
        number = len(found.borders) - 1
        if number > limits.most_nodes:
            return Improper(service, header, Status.TOO_MANY_OPERATIONS)
        if number == 0 and service.items.needed:
            return Improper(service, header, Status.NOTHING_TO_DO)
    return Request(body, header, found)


def read_header(body: bytes) -> Header | None:
    """The RequestHeader; null where it has an additional header."""
    at = node_id(body, 4)
    timestamp, handle, wanted, size = _COMMON(body, at)
    token, start = slice(4, at), at + 20
    at = start
    if size >= 0:
        at += size
        if size > MOST_NAME or at > len(body):
            raise Wrong("an audit id longer than names are")
    elif size != -1:
        raise Wrong("a length below -1")
    hint, extra = _TAIL(body, at)
    if extra != NO_HEADER:
        return None
    audit = body[start:at] if size >= 0 else None
    return Header(token, handle, timestamp, wanted, audit, hint, at + 7)


def read_parameters(service: Service, parameters: bytes) -> Parameters:
    """Where the items of a service's parameters lie. Raises what scanners raise."""
    tail = counted(parameters)
    at = service.before(tail, 0)
    place, items = at, service.items
    borders: tuple[int, ...] = ()
    if items is not None:
        number = count(tail, at, items.least)
        at += 4
        if items.many is not None:
            found = items.many(tail, at, number)
        else:
            found, scan = [at], items.scan
            for _ in range(number):
                at = scan(tail, at)
                found.append(at)
        at = found[-1]
        borders = tuple(found)
    at = service.after(tail, at)
    if at != len(tail):
        raise Wrong("bytes that no field owns" if at < len(tail) else "the bytes end too early")
    return Parameters(service, parameters, place, borders)


_NOBODY: Mapping[int, int] = {}


class Outbound:
    """A request on its way to the server, under the token of the session there. Implements `Parted`."""

    __slots__ = ("kept", "refused", "request", "token", "whole")

    def __init__(
        self,
        request: Request,
        token: bytes,
        kept: Sequence[int] | None = None,
        refused: Mapping[int, int] = _NOBODY,
        whole: bool = False,
    ) -> None:
        """`token`: an encoded NodeId. `kept`: which items go, ascending; all but `refused` where not given.

        `refused`: items that we answer ourselves, and how. `whole`: all that is kept goes, or nothing.
        """
        self.request = request
        self.token = token
        self.refused = refused
        if kept is None:
            every = range(request.items)
            kept = [at for at in every if at not in refused] if refused else every
        self.kept = kept
        self.whole = whole

    @property
    def parts(self) -> int:
        """How many items it has that could be left out."""
        items = self.request.parameters.service.items
        return len(self.kept) if items is not None and items.parted and not self.whole else 0

    def only(self, kept: tuple[int, ...]) -> "Outbound":
        """With these of its parts only, by their place among them."""
        return Outbound(self.request, self.token, [self.kept[at] for at in kept], self.refused, self.whole)

    @property
    def untouched(self) -> bool:
        """Whether every item goes."""
        return len(self.kept) == self.request.items

    def encode(self) -> bytes:
        """The original bytes, but for the token and for what is left out."""
        body, header, found = self.request.body, self.request.header, self.request.parameters
        if self.untouched:
            return b"".join((body[:4], self.token, body[header.token.stop :]))
        tail, borders = found.tail, found.borders
        return b"".join(
            (
                body[:4],
                self.token,
                body[header.token.stop : header.end],
                tail[: found.counted],
                _COUNT(len(self.kept)),
                *[tail[borders[at] : borders[at + 1]] for at in self.kept],
                tail[borders[-1] :],
            )
        )

    def __repr__(self) -> str:
        return f"Outbound({self.request.service.name}, {len(self.kept)} of {self.request.items})"
