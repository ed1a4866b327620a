"""The projection cache: every operation is decided, and equal questions share one evaluation.

The loader knows the set P of input paths that any rule can read. Rego without clock, dice and network is a
function of input, data and policy; every read of `input` goes through a reference whose constant prefix is
in P. So two questions that agree on presence and value of every path in P have the same decision, under one
revision. No age is needed for that: time enters as facts.

What keeps it from being only an argument: the key is injective (1, 1.0, true, null and absent all differ);
a test compares every cached answer with a full evaluation, and must notice when any path is taken out of P;
in operation one hit in `recheck_one_in` is evaluated again (decider.py); no entry lives longer than
MOST_AGE_NS; what changes something, and what went wrong, never gets in.

How a hit is made cheap. The key of each part (caller, operation) is turned into a small number, and the
number is remembered by the identity of the object, which is held so that its identity cannot be used again.
Facts have no part in the key: other facts begin an empty table. Numbers are never used twice, so forgetting
any of the memories costs time, never truth.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from gateway.model.decision import Decision, Origin, Reason
from gateway.model.identity import Caller
from gateway.model.moment import SECOND
from gateway.model.operation import MUTATING, Operation
from gateway.policy.facts import Facts
from gateway.policy.module import Path
from gateway.policy.question import Part, both_part, caller_part, facts_part, operation_part

MOST_AGE_NS = 60 * SECOND
"Belt and braces: an error in the argument above would last no longer."
SPREAD_NS = 30 * SECOND // 1024
"Entries made together grow old apart, over 30 s, so that they are not all evaluated again at once."
MOST_CALLERS = 4_096
"Connections remembered by identity; beyond it all are forgotten and recognised anew, at 5 µs each."
MOST_SAID = 4_096
"Different reasons and grants kept once for all entries; beyond it they are kept again."

REQUEST = (("op", "id"), ("time", "ns"))
"What differs in every question. A policy that reads one of these is never answered from the cache."

_WHO = (1 << 64) - 1
"The half of a place that says who asks; the rest says what."
SHARED_AS = {Origin.EVALUATED: Origin.CACHED, Origin.FALLBACK: Origin.FALLBACK}
"What a decision says of its origin when it is shared. Any other was not evaluated, and is not shared."

_CALLER = ("subject", "conn")
_FACTS = ("state", "time")
_BOTH = ((), ("crl",), ("break_glass",))
"Below `state`: what depends on the caller and on facts (`question.both_part`)."
_canonical = msgspec.json.Encoder(order="deterministic").encode


class LiveQuestion(Struct, frozen=True):
    """A question that is asked again and again, and the decision that is shared for it now."""

    caller: Caller
    operation: Operation
    decision: Decision


class Projection:
    """The paths that a policy reads, by the part of the question they lie in."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(sorted(paths))
        self._caller = tuple(path for path in self.paths if path[0] in _CALLER)
        self._both = tuple(path for path in self.paths if path[0] == "state" and path[1:2] in _BOTH)
        self._facts = tuple(path for path in self.paths if path[0] in _FACTS)
        self._operation = tuple(path for path in self.paths if path[0] not in (*_CALLER, *_FACTS, "schema"))

    @property
    def spoilers(self) -> tuple[Path, ...]:
        """The paths that make every decision uncacheable: those that hold what differs in every question."""
        return tuple(path for path in self.paths if any(path == request[: len(path)] for request in REQUEST))

    def caller(self, caller: Caller, facts: Facts) -> bytes:
        """Key of who asks, and of what is true now for this caller."""
        return key(both_part(caller, facts), self._both) + key(caller_part(caller), self._caller)

    def operation(self, operation: Operation) -> bytes:
        """Key of what is asked."""
        return key(operation_part(operation), self._operation)

    def facts(self, facts: Facts) -> bytes:
        """Key of what is true now. `writes_60s` and `approval` are null in every question that is cached."""
        return key(_both_of_all(facts), self._both) + key(facts_part(facts), self._facts)


def key(part: Part, paths: tuple[Path, ...]) -> bytes:
    """The values at those paths as text, different for any two that differ: `[value]`, or `[]` if absent."""
    return _canonical([_at(part, path) for path in paths])


def _both_of_all(facts: Facts) -> Part:
    """What `question.both_part` can be for any caller."""
    return {"state": {"crl": [facts.crl, facts.crls], "break_glass": facts.break_glass}}


def _at(node: Any, path: Path) -> list[Any]:
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return []
        node = node[name]
    return [node]


class Cache:
    """Decisions of one revision. When it is full, the entry made first makes room."""

    def __init__(self, projection: Projection, most: int) -> None:
        self._projection = projection
        self._most = most if not projection.spoilers else 0
        self._facts: bytes | None = None
        self._now = Facts()
        self._last = 0
        self._callers: dict[Caller, int] = {}
        self._operations: dict[int, tuple[int, Operation]] = {}
        self._who: dict[int, Caller] = {}
        self._what: dict[int, Operation] = {}
        self._numbers: dict[bytes, int] = {}
        self._table: dict[int, tuple[Decision, int]] = {}
        self._said: dict[Any, tuple[tuple[Reason, ...], tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def facts(self, facts: Facts) -> None:
        """From now on answer under these facts. A difference that policy can see empties the table."""
        seen = self._projection.facts(facts)
        self._now = facts
        if seen != self._facts:
            self._facts = seen
            self._table.clear()
            self._callers.clear()
            self._who.clear()

    def flush(self) -> None:
        """Forget every decision."""
        self._table.clear()

    def find(self, caller: Caller, operation: Operation, mono_ns: int) -> Decision | None:
        """The shared decision of a caller and an operation that were met before: the hot path."""
        who = self._callers.get(caller)
        what = self._operations.get(id(operation))
        if who is None or what is None:
            return None
        entry = self._table.get(who + what[0])
        if entry is None or mono_ns >= entry[1]:
            return None
        return entry[0]

    def place(self, caller: Caller, operation: Operation) -> int | None:
        """Where the decision belongs; None if it may not be shared."""
        if self._most <= 0 or operation.action in MUTATING or operation.unreadable is not None:
            return None
        who = self._callers.get(caller)
        if who is None:
            who = self._number(b"c" + self._projection.caller(caller, self._now))
            if len(self._callers) >= MOST_CALLERS:
                self._callers.clear()
                self._who.clear()
            self._callers[caller] = who
            self._who[who] = caller
        what = self._operations.get(id(operation))
        if what is None:
            what = self._number(b"o" + self._projection.operation(operation)) << 64, operation
            if len(self._operations) >= self._most:
                self._operations.clear()
                self._what.clear()
            self._operations[id(operation)] = what
            self._what[what[0]] = operation
        return who + what[0]

    def at(self, place: int, mono_ns: int) -> Decision | None:
        """The decision there, unless it is too old."""
        entry = self._table.get(place)
        return None if entry is None or mono_ns >= entry[1] else entry[0]

    def live(self, mono_ns: int, most: int) -> list[LiveQuestion]:
        """At most that many questions whose decisions are shared now, those evaluated last first.

        What is asked again and again is evaluated again once a minute, so the oldest are those that nobody
        asks any more. A question whose caller or operation was forgotten is left out.
        """
        found: list[LiveQuestion] = []
        for place in reversed(self._table):
            if len(found) >= most:
                break
            decision, until = self._table[place]
            caller, operation = self._who.get(place & _WHO), self._what.get(place & ~_WHO)
            if mono_ns < until and caller is not None and operation is not None:
                found.append(LiveQuestion(caller, operation, decision))
        return found

    def warm(self, caller: Caller, operation: Operation, decision: Decision, mono_ns: int) -> None:
        """Share a decision that was evaluated elsewhere at that time, under this revision and these facts."""
        place = self.place(caller, operation)
        if place is not None:
            self.put(place, decision, mono_ns)

    def put(self, place: int, decision: Decision, mono_ns: int) -> None:
        """Share an evaluated decision, without its question: whoever shares it asked another one. What says
        that it is a fallback goes on saying so.

        What was not evaluated is not shared. Few decisions say something of their own, so what they say is
        kept once.
        """
        origin = SHARED_AS.get(decision.origin)
        if origin is None:
            return
        if len(self._said) >= MOST_SAID:
            self._said.clear()
        said = decision.reasons, decision.grants
        reasons, grants = self._said.setdefault(said, said)
        shared = msgspec.structs.replace(
            decision, origin=origin, question=b"", reasons=reasons, grants=grants
        )
        self._table.pop(place, None)
        if len(self._table) >= self._most:
            del self._table[next(iter(self._table))]
        self._last += 1
        self._table[place] = shared, mono_ns + MOST_AGE_NS - (self._last & 1023) * SPREAD_NS

    def _number(self, part: bytes) -> int:
        number = self._numbers.get(part)
        if number is None:
            if len(self._numbers) >= 2 * self._most + MOST_CALLERS:
                self._numbers.clear()
            self._last += 1
            number = self._numbers[part] = self._last
        return number
