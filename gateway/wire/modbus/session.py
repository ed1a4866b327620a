"""One conversation: which answer belongs to which request, and what is wrong between them.

MG §4.4.1: a client may have several requests unanswered; the transaction id, unique among them, says which
one an answer belongs to; an answer that nobody waits for must be discarded. This keeps just that, for a
conversation that we relay or only watch. `functions` judges each PDU by itself; here is what takes two.

- A request that could not be read still gets an answer, mostly an exception; the answer is then judged as
  far as it can be without its request.
- An answer of another unit or function than its request settles nothing: the request goes on waiting.
- A request that nobody need answer (broadcast, listen only) waits as well, in case somebody does, but it
  takes no place and its id is free.
- Memory is bounded by `MOST_REMEMBERED`; who sends more without waiting loses the memory of the oldest.
"""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

from msgspec import Struct

from gateway.model.asset import Quirk
from gateway.wire.modbus.checks import exception
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import Answer, DeviceException, Illegal, Request, Unsupported, WrongAnswer
from gateway.wire.modbus.framing import Adu
from gateway.wire.modbus.functions import read_answer

MOST_REMEMBERED = 64
"""Unanswered requests remembered in one conversation. MG §4.3.2 wants 1 to 16 from a server, so that four
times as many are long given up by whoever sent them."""

Token = TypeVar("Token")
Asked = Request | Illegal | Unsupported
"What a request was read as."


class Limits(Struct, frozen=True, kw_only=True):
    """What is ordinary in a conversation."""

    outstanding: int = 16
    "Requests waiting at once; MG's NumberMaxOfServerTransaction is 1 to 16."
    answer_ms: int = 5000
    "An answer after this is late, and a request unanswered for so long takes no place any more."
    partial_ms: int = 5000
    "The rest of an ADU that was begun comes within this, or the ADU is truncated."


ORDINARY = Limits()
"Where nobody says otherwise."


class Waiting(Struct, Generic[Token], gc=False):
    """A request without an answer so far."""

    tid: int
    unit: int
    fc: int
    asked: Asked
    silent: bool
    at_ns: int
    token: Token


class Paired(Struct, Generic[Token], frozen=True, kw_only=True):
    """What an answer turned out to be."""

    waiting: Waiting[Token] | None
    "The request that it settles; null where it settles none."
    answer: Answer | DeviceException | WrongAnswer | None
    """As judged against that request. Where there is none, or one that could not be read, only an exception
    can be judged, and anything else is null: nothing of it may be handed on."""
    findings: tuple[Finding, ...] = ()


class Conversation(Generic[Token]):
    """The requests of one connection that wait, oldest first."""

    __slots__ = ("_by_id", "_count", "_limits", "_quirks")

    def __init__(self, limits: Limits = ORDINARY, quirks: Collection[Quirk] = ()) -> None:
        self._limits = limits
        self._quirks = frozenset(quirks)
        self._by_id: dict[int, deque[Waiting[Token]]] = {}
        self._count = 0

    @property
    def waiting(self) -> list[Waiting[Token]]:
        """All of them, oldest first; at most `MOST_REMEMBERED`."""
        return sorted([each for same in self._by_id.values() for each in same], key=lambda each: each.at_ns)

    def asked(self, adu: Adu, read: Asked, now_ns: int, token: Token) -> tuple[Finding, ...]:
        """A request was sent; `read` is what `read_request` made of it."""
        findings = []
        same = self._by_id.get(adu.tid)
        if same and Quirk.CONSTANT_ID not in self._quirks and any(not each.silent for each in same):
            findings.append(Finding.DUPLICATE_TID_OUTSTANDING)
        silent = not isinstance(read, Illegal) and read.silent
        if not silent and self._count >= self._limits.outstanding and self._fresh(now_ns):
            findings.append(Finding.TOO_MANY_OUTSTANDING)
        if self._count >= MOST_REMEMBERED:
            self._forget(self.waiting[0])
        fc = adu.pdu[0] if adu.pdu else 0
        self._by_id.setdefault(adu.tid, deque()).append(
            Waiting(adu.tid, adu.unit, fc, read, silent, now_ns, token)
        )
        self._count += 1
        return tuple(findings)

    def answered(self, adu: Adu, now_ns: int) -> Paired[Token]:
        """An answer came. Never raises, whatever it says."""
        same = self._by_id.get(adu.tid)
        waiting = _first(same or (), adu)
        if waiting is None and Quirk.ID_NOT_ECHOED in self._quirks:
            waiting = _first(self.waiting, adu)
        findings: list[Finding] = []
        if waiting is None:
            answer: Answer | DeviceException | WrongAnswer | None = self._alone(adu.pdu)
            findings.append(self._stranger(adu, same))
        else:
            self._forget(waiting)
            if now_ns - waiting.at_ns > self._limits.answer_ms * 1_000_000:
                findings.append(Finding.LATE_RESPONSE)
            if isinstance(waiting.asked, Request):
                answer = tolerant(waiting.asked, adu.pdu, self._quirks)
            else:
                answer = self._alone(adu.pdu)
        if isinstance(answer, WrongAnswer):
            findings.append(answer.finding)
        return Paired(waiting=waiting, answer=answer, findings=tuple(findings))

    def _fresh(self, now_ns: int) -> bool:
        """Whether as many as are ordinary are still waited for."""
        since = now_ns - self._limits.answer_ms * 1_000_000
        fresh = [each for each in self.waiting if each.at_ns >= since and not each.silent]
        return len(fresh) >= self._limits.outstanding

    def _forget(self, waiting: Waiting[Token]) -> None:
        same = self._by_id[waiting.tid]
        same.remove(waiting)
        if not same:
            del self._by_id[waiting.tid]
        self._count -= 1

    def _stranger(self, adu: Adu, same: deque[Waiting[Token]] | None) -> Finding:
        """Why an answer settles nothing."""
        if not same:
            return Finding.UNSOLICITED
        return Finding.FUNCTION_MISMATCH if same[0].unit == adu.unit else Finding.UNIT_MISMATCH

    def _alone(self, pdu: bytes) -> DeviceException | WrongAnswer | None:
        """What can be said of an answer without a request that was read: whether its exception is one."""
        if not pdu:
            return WrongAnswer(Finding.EMPTY)
        return exception(_unpadded(pdu, self._quirks)) if pdu[0] & 0x80 else None


def _first(those: Iterable[Waiting[Token]], adu: Adu) -> Waiting[Token] | None:
    """The first of the unit and function that the answer is of."""
    fc = adu.pdu[0] & 0x7F if adu.pdu else 0
    return next((each for each in those if each.unit == adu.unit and each.fc & 0x7F == fc), None)


def tolerant(
    request: Request, pdu: bytes, quirks: Collection[Quirk]
) -> Answer | DeviceException | WrongAnswer:
    """`read_answer`, for a device of which something is tolerated. What goes on is as it should have been."""
    return read_answer(request, _unpadded(pdu, quirks) if quirks else pdu)


def _unpadded(pdu: bytes, quirks: Collection[Quirk]) -> bytes:
    if Quirk.EXCEPTION_PADDED in quirks and len(pdu) == 3 and pdu[0] & 0x80:
        return pdu[:2]
    return pdu


class Stall:
    """Watches one direction for an ADU that is begun and not finished (`MbapReader.held`)."""

    __slots__ = ("_since_ns", "_within_ns")

    def __init__(self, limits: Limits = ORDINARY) -> None:
        self._within_ns = limits.partial_ms * 1_000_000
        self._since_ns: int | None = None

    def heard(self, adus: int, held: int, now_ns: int) -> None:
        """Bytes came: so many ADUs were finished, and so many bytes wait for the rest of theirs."""
        if not held:
            self._since_ns = None
        elif adus or self._since_ns is None:
            self._since_ns = now_ns

    def found(self, now_ns: int, *, ended: bool = False) -> Finding | None:
        """TRUNCATED once the rest is overdue, or the direction has ended without it."""
        if self._since_ns is None or not (ended or now_ns - self._since_ns > self._within_ns):
            return None
        self._since_ns = None
        return Finding.TRUNCATED
