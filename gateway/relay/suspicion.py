"""What clients' requests add up to: scans, storms, ids used twice. Told to people; policy decides, not this.

Every finding of `wire.modbus.behaviour` becomes a record and a count. One source's traffic with one asset has
one memory, whatever connections it comes by. What a client asked a moment ago cannot be news, so a poller
costs one look-up; only what it has not asked in this window is looked at.
"""

from collections import OrderedDict
from collections.abc import Callable

from gateway.guard.ports import Answer, Journal
from gateway.model.asset import Quirk
from gateway.model.decision import Why
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import MUTATING, Operation
from gateway.model.record import RecordKind
from gateway.wire.modbus.behaviour import ORDINARY, Thresholds, Watch
from gateway.wire.modbus.findings import FINDINGS, Finding
from gateway.wire.modbus.frames import DeviceException
from gateway.wire.modbus.functions import Illegal, Request, Unsupported
from gateway.wire.modbus.meaning import Place
from gateway.wire.modbus.refusal import CODES

MOST_WATCHES = 4_096
"Pairs of source and asset remembered; the one silent longest is forgotten first."
MOST_FAMILIAR = 65_536
"Requests of one source that are no news in this window; beyond it all are looked at anew."
MOST_SOURCES = 1_024
"Sources whose familiar requests new connections share; the one that came first is forgotten first."

Key = tuple[str, str, str]


class Familiar:
    """What one source has asked in this window."""

    __slots__ = ("seen", "until_ns")

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Operation, ...]] = {}
        "By identity; held, so that no other object can take the identity."
        self.until_ns = 0


class Suspicion:
    """The memory of one listener."""

    def __init__(
        self,
        journal: Journal,
        count: Callable[[str], None],
        thresholds: Thresholds = ORDINARY,
        quirks: tuple[Quirk, ...] = (),
    ) -> None:
        self.ids_mean_nothing = Quirk.CONSTANT_ID in quirks
        self.window_ns = int(thresholds.window_s * SECOND)
        self._journal = journal
        self._count = count
        self._thresholds = thresholds
        self._familiars: OrderedDict[tuple[str, str], Familiar] = OrderedDict()
        self._watches: OrderedDict[Key, Watch] = OrderedDict()

    def familiar(self, caller: Caller) -> Familiar:
        """What this source has asked in this window, whatever connection it came by."""
        key = (caller.identity.subject, caller.source)
        found = self._familiars.get(key)
        if found is None:
            found = self._familiars[key] = Familiar()
            if len(self._familiars) > MOST_SOURCES:
                self._familiars.popitem(last=False)
        return found

    def watch(self, caller: Caller, place: Place) -> Watch:
        """The memory of this source and this asset."""
        key = (caller.identity.subject, caller.source, place.asset.name)
        found = self._watches.get(key)
        if found is None:
            tags = {tag.name: tag for tag in place.tags()}
            found = self._watches[key] = Watch(self._thresholds, tags)
            if len(self._watches) > MOST_WATCHES:
                self._watches.popitem(last=False)
        self._watches.move_to_end(key)
        return found

    def tell(self, findings: tuple[Finding, ...], caller: Caller, asset: str, now: Now) -> None:
        """Into the journal (under the flood rule) and the metrics."""
        for finding in findings:
            self._count(f"finding_{finding.value}")
            note = {
                "finding": finding.value,
                "severity": FINDINGS[finding].severity.value,
                "asset": asset,
                "side": "client",
            }
            self._journal.event(RecordKind.FINDING, note, now, caller=caller)


class Suspect:
    """One connection, as it is watched."""

    __slots__ = ("_caller", "_familiar", "_shared", "_tids")

    def __init__(self, shared: Suspicion, caller: Caller) -> None:
        self._shared = shared
        self._caller = caller
        self._familiar = shared.familiar(caller)
        self._tids: set[int] = set()

    def asked(
        self,
        tid: int,
        unit: int,
        request: Request | Illegal | Unsupported,
        operations: tuple[Operation, ...],
        place: Place,
        now: Now,
    ) -> None:
        """A request came."""
        if tid in self._tids and not self._shared.ids_mean_nothing:
            self._shared.tell((Finding.DUPLICATE_TID_OUTSTANDING,), self._caller, place.asset.name, now)
        self._tids.add(tid)
        familiar = self._familiar
        if now.mono_ns >= familiar.until_ns or len(familiar.seen) > MOST_FAMILIAR:
            familiar.seen.clear()
            familiar.until_ns = now.mono_ns + self._shared.window_ns
        if id(operations) in familiar.seen:
            return
        if operations and operations[0].action not in MUTATING:
            familiar.seen[id(operations)] = operations
        watch = self._shared.watch(self._caller, place)
        found = watch.request(unit, request, now.mono_ns, operations)
        if found:
            self._shared.tell(found, self._caller, place.asset.name, now)

    def answered(self, tid: int) -> None:
        """The id is free again."""
        self._tids.discard(tid)

    def excepted(self, answer: Answer, place: Place, now: Now) -> None:
        """An exception went to it: the device's, or ours."""
        found = self._shared.watch(self._caller, place).answer(answer, now.mono_ns)
        if found:
            self._shared.tell(found, self._caller, place.asset.name, now)

    def refused(self, fc: int, why: Why, place: Place, now: Now) -> None:
        """We said no ourselves: to a scan it is all the same."""
        self.excepted(DeviceException(fc & 0x7F, CODES[why]), place, now)
