"""Read windows: allowed reads are counted, not written one by one, and still nothing is lost for a reviewer.

A window belongs to one identity at one source on one listener, and one asset, under one bundle and one set of
facts. Inside it every distinct policy input is one entry with its count, first and last time, and a digest
of the values that came back; connections of the same identity share it. An entry is the receipt that a
read needs, so counting is all that a read costs.

A window that is over waits for the answers still under way (`LINGER`), then becomes one or more records.
Until these are in the log its rows in the side file (`carry`) survive a crash.
"""

from collections import deque
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec

from gateway.audit import carry
from gateway.audit.entry import Writer, who, word
from gateway.model.decision import Allowed, Origin, Passed, Waived
from gateway.model.identity import Caller, Identity
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Operation
from gateway.model.record import Accepted, RecordKind

MOST_ENTRIES = 50_000
"Entries open at once (about 1 KiB each); one more closes every window early."
MOST_KEPT = 2 * MOST_ENTRIES
"Entries open or waiting to be written; beyond it reads get no receipt."
MOST_HEADS = 50_000
"Descriptions of operations kept for the next windows; beyond it all are forgotten."
MOST_IN_WINDOW = 2_000
"Entries of one window; one more ends it. Its records are written at one go, and that must not take long."
MOST_ALIASES = 4
"Operation objects remembered for one entry; equal ones beyond it are found by value, more slowly."
MOST_CALLERS = 1024
"Connections of one group whose reads take the short way; the oldest loses it to a new one."
MOST_CONNECTIONS = 64
"Connections named in a window record; the rest is counted."
MOST_ROWS = 60_000
"Bytes of entries in one record; the common part takes the rest of a log entry."
AT_ONCE = 256
"Entries written, or described anew, in one tick: keeps a tick under about two milliseconds."
LINGER = 5 * SECOND
"How long a closed window waits for answers under way; later ones are not counted."
COMMON = ("schema", "subject", "conn", "state", "time")
"Members of the policy question that every entry of a window shares; the others stand in each entry."

_encode = msgspec.json.Encoder().encode


class Entry(Accepted):
    """One distinct policy input of one window, and the receipt for every read that asks it."""

    __slots__ = (
        "answers",
        "asked",
        "digest",
        "dirty",
        "failures",
        "first_ns",
        "generation",
        "head",
        "keep",
        "last_ns",
        "lost",
        "number",
        "sheet",
        "window",
    )

    def __init__(
        self, number: int, window: "Window", head: bytes, sheet: "list[Entry]", wall_ns: int
    ) -> None:
        self.number = number
        self.window = window
        self.head = head
        "The beginning of its JSON object: input, grants, evaluation."
        self.sheet = sheet
        "Where changed entries sign up for the next row."
        self.keep: list[Operation] = []
        self.asked = 0
        self.answers = 0
        self.lost = 0
        self.failures: dict[str, int] = {}
        self.first_ns = self.last_ns = wall_ns
        self.digest = bytes(32)
        self.dirty = False
        self.generation = -1

    def answered(self, data: bytes) -> None:
        """The plant gave these bytes: they go into the chain of value hashes."""
        self.answers += 1
        self.digest = sha256(self.digest + data).digest()
        if not self.dirty:
            self.dirty = True
            self.sheet.append(self)

    def failed(self, why: str) -> None:
        """No value came."""
        self.lost += 1
        if why in self.failures or len(self.failures) < MOST_ALIASES:
            self.failures[why] = self.failures.get(why, 0) + 1
        if not self.dirty:
            self.dirty = True
            self.sheet.append(self)

    def count(self) -> tuple[int, int, int, int, int, bytes]:
        """Asked, answered, failed, first, last, digest."""
        return self.asked, self.answers, self.lost, self.first_ns, self.last_ns, self.digest


def entry_json(head: bytes, count: tuple[int, int, int, int, int, bytes], failures: bytes = b"{}") -> bytes:
    """An entry as it stands in a window record."""
    asked, answered, failed, first, last, digest = count
    return (
        b'%b,"asked":%d,"answered":%d,"failed":%d,"failures":%b,"first_ns":%d,"last_ns":%d,"values":"%b"}'
        % (
            head,
            asked,
            answered,
            failed,
            failures,
            first,
            last,
            digest.hex().encode(),
        )
    )


class Group:
    """One identity at one source on one listener: what windows are kept apart by, beside the asset."""

    __slots__ = ("callers", "hot", "key", "windows")

    def __init__(self, key: "GroupKey") -> None:
        self.key = key
        self.callers: deque[Caller] = deque()
        self.hot: dict[int, Entry] = {}
        "Identity of an operation object (held by its entry) -> entry of what is plainly allowed."
        self.windows: dict[str, Window] = {}


GroupKey = tuple[Identity, str, str, str, str | None]


class Window:
    """What one group asked of one asset."""

    __slots__ = (
        "asset",
        "closed_ns",
        "common",
        "connections",
        "entries",
        "generation",
        "gone",
        "group",
        "id",
        "more",
        "number",
        "revision",
        "since_ns",
    )

    def __init__(
        self, number: int, ulid: str, group: Group, asset: str, revision: str, since_ns: int
    ) -> None:
        self.number = number
        self.id = ulid
        self.group = group
        self.asset = asset
        self.revision = revision
        self.since_ns = since_ns
        "Monotonic."
        self.closed_ns = 0
        self.common: dict[str, Any] = {}
        "Everything its records have in common but the counts."
        self.connections: list[str] = []
        self.more = 0
        self.entries: dict[tuple[Operation, str, Origin, str, tuple[str, ...]], Entry] = {}
        self.generation = -1
        self.gone = False
        "Its records are on their way: nothing more is counted."


def _is_ripe(window: Window, now: Now) -> bool:
    """Every read has its answer, or has had time enough."""
    return now.mono_ns - window.closed_ns >= LINGER or all(
        entry.asked == entry.answers + entry.lost for entry in window.entries.values()
    )


class Windows:
    """All windows, open and closing. Lives in the event loop; nothing here waits."""

    def __init__(self, writer: Writer, window_ns: int) -> None:
        self.hot: dict[Caller, dict[int, Entry]] = {}
        "Caller -> identity of operation -> entry: the whole cost of a read that was asked before."
        self.dirty: list[Entry] = []
        self.kept = 0
        "Entries open or closing."
        self._writer = writer
        self._window_ns = window_ns
        self._heads: dict[int, tuple[Operation, tuple[str, Origin, str, tuple[str, ...], str], bytes]] = {}
        "Identity of an operation object (held here) -> what entries say about it."
        self._groups: dict[GroupKey, Group] = {}
        self._open: dict[int, Window] = {}
        "In the order in which they began."
        self._closing: deque[Window] = deque()
        self._opened = 0
        self._numbers = 0
        self._generation = self._cleared = 0
        self._written = self._described = 0
        "Bytes of the present generation, and how many of them describe."
        self._moving: Iterator[Window] | None = None

    def first(self, caller: Caller, operation: Operation, decision: Passed, now: Now) -> Entry | None:
        """The entry of a read that `hot` does not know; None where there is no room for one more."""
        group = self._group(caller)
        window = group.windows.get(operation.asset or "")
        if window is not None and (
            window.revision != decision.revision
            or now.mono_ns - window.since_ns >= self._window_ns
            or len(window.entries) >= MOST_IN_WINDOW
        ):
            self._close(window, now.mono_ns)
            return self.first(caller, operation, decision, now)
        place = (operation, *_version(decision))
        entry = window.entries.get(place) if window is not None else None
        if entry is None:
            if self._opened >= MOST_ENTRIES:
                self.close_all(now)
                return self.first(caller, operation, decision, now)
            if self.kept >= MOST_KEPT:
                self._forget_if_idle(group)
                return None
            if window is None:
                window = self._begin(group, caller, operation, decision, now)
            entry = self._add(window, caller, operation, decision, now)
            window.entries[place] = entry
        self._name_connection(entry.window, caller)
        plain = isinstance(decision, Allowed) and decision.origin is not Origin.FALLBACK
        if plain and len(entry.keep) < MOST_ALIASES:
            entry.keep.append(operation)
            group.hot[id(operation)] = entry
        return entry

    def close_all(self, now: Now) -> None:
        """Facts or bundle change, or there is no room: every window ends here."""
        for window in list(self._open.values()):
            self._close(window, now.mono_ns)

    def close_old(self, now: Now) -> None:
        """End the windows whose time is over."""
        for window in list(self._open.values()):
            if now.mono_ns - window.since_ns < self._window_ns:
                break
            self._close(window, now.mono_ns)

    def ripe(self, now: Now, *, force: bool = False) -> Iterator[Window]:
        """Closed windows that have all their answers or have waited long enough, a bounded number at a time.

        Whoever takes one writes its records and then calls `written`.
        """
        budget = AT_ONCE
        for _ in range(len(self._closing)):
            window = self._closing.popleft()
            if not force and (budget <= 0 or not _is_ripe(window, now)):
                self._closing.append(window)
                continue
            budget -= len(window.entries)
            yield window

    def put_back(self, window: Window) -> None:
        """Its records could not be handed over; try again at the next tick."""
        self._closing.append(window)

    def records(self, window: Window, now: Now) -> list[bytes]:
        """The records of a window."""
        rows = [
            entry_json(e.head, e.count(), _encode(e.failures) if e.failures else b"{}")
            for e in window.entries.values()
        ]
        note = {
            "window": window.id,
            "recovered": False,
            "connections": window.connections,
            "more_connections": window.more,
        }
        return window_records(self._writer, window.common, rows, note, now)

    def written(self, window: Window) -> bytes:
        """Its records are on their way; gives the row that says so."""
        self.kept -= len(window.entries)
        window.gone = True
        for entry in window.entries.values():
            entry.dirty = True
        return carry.CLOSED.pack(b"X", window.number) if window.generation >= 0 else b""

    def rows(self, closed: list[bytes]) -> list[bytes]:
        """What the side file needs to know since the last tick, ready to write."""
        parts: list[bytes] = []
        full = self._written > max(carry.SMALLEST_LIMIT, 3 * self._described)
        if self._generation == 0 or (full and self._moving is None):
            self._begin_generation(parts)
        out = bytearray()
        dirty, self.dirty[:] = list(self.dirty), []
        generation, pack = self._generation, carry.COUNT.pack
        for entry in dirty:
            if entry.window.gone:
                continue
            entry.dirty = False
            if entry.generation != generation:
                self._describe(entry, out)
            out += pack(
                b"C",
                entry.number,
                entry.asked,
                entry.answers,
                entry.lost,
                entry.first_ns,
                entry.last_ns,
                entry.digest,
            )  # as `count` says; one call less, because this is done for nearly every read
        self._move(out)
        for row in closed:
            out += row
        if out:
            parts.append(carry.block(out, generation))
            self._written += len(out)
        if self._moving is None and generation > 1 and self._cleared < generation - 1:
            parts.append(carry.clear(generation - 1))
            self._cleared = generation - 1
        return parts

    def _begin_generation(self, parts: list[bytes]) -> None:
        self._generation += 1
        self._written = self._described = 0
        parts.append(carry.begin(self._generation))
        self._moving = iter([*self._open.values(), *self._closing])

    def _move(self, out: bytearray) -> None:
        """Describe open entries anew in the present generation, some at a time."""
        budget = AT_ONCE
        while self._moving is not None and budget > 0:
            window = next(self._moving, None)
            if window is None:
                self._moving = None
                return
            for entry in () if window.gone else window.entries.values():
                if entry.generation != self._generation:
                    self._describe(entry, out)
                    out += carry.COUNT.pack(b"C", entry.number, *entry.count())
                    budget -= 1

    def _describe(self, entry: Entry, out: bytearray) -> None:
        before, window = len(out), entry.window
        if window.generation != self._generation:
            window.generation = self._generation
            note = {"window": window.id, "connections": window.connections}
            common = _encode({"common": window.common, "note": note})
            out += carry.WINDOW.pack(b"W", window.number, len(common)) + common
        entry.generation = self._generation
        out += carry.ENTRY.pack(b"E", entry.number, window.number, len(entry.head)) + entry.head
        self._described += len(out) - before

    def _group(self, caller: Caller) -> Group:
        key = (caller.identity, caller.source, caller.listener, caller.zone, caller.tls)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
        if caller not in self.hot:
            if len(group.callers) >= MOST_CALLERS:
                self.hot.pop(group.callers.popleft(), None)
            self.hot[caller] = group.hot
            group.callers.append(caller)
        return group

    def _begin(
        self, group: Group, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> Window:
        self._numbers += 1
        asset = operation.asset or ""
        window = Window(self._numbers, self._writer.id(now), group, asset, decision.revision, now.mono_ns)
        question = self._question(window, caller, operation, decision, now)
        window.common = {
            "who": who(caller),
            "what": {
                "protocol": operation.protocol,
                "action": operation.action,
                "asset": operation.asset,
                "asset_kind": operation.asset_kind,
            },
            "why": {
                "decision": "allow",
                "revision": decision.revision,
                "input": {name: question[name] for name in COMMON if name in question},
            },
        }
        group.windows[asset] = window
        self._open[window.number] = window
        return window

    def _add(self, window: Window, caller: Caller, operation: Operation, decision: Passed, now: Now) -> Entry:
        head = self._head(window, caller, operation, decision, now)
        self._numbers += 1
        self._opened += 1
        self.kept += 1
        return Entry(self._numbers, window, head, self.dirty, now.wall_ns)

    def _head(
        self, window: Window, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> bytes:
        """What an entry says beside its counts. It depends on no caller, so windows of all share it."""
        said = decision.denied if isinstance(decision, Waived) else decision
        version = (*_version(decision), said.evaluation)
        known = self._heads.get(id(operation))
        if known is not None and known[1] == version:
            return known[2]
        question = self._question(window, caller, operation, decision, now)
        own = {name: value for name, value in question.items() if name not in COMMON}
        told: dict[str, Any] = {
            "action": operation.action,
            "kind": operation.kind,
            "input": own,
            "grants": said.grants,
            "reasons": said.reasons,
            "evaluation": said.evaluation,
        }
        if isinstance(decision, Waived):
            told |= {"decision": word(decision), "stage": decision.stage}
        if said.origin is Origin.FALLBACK:
            told["origin"] = said.origin
        head = _encode(told)[:-1]
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        self._heads[id(operation)] = (operation, version, head)
        return head

    def _question(
        self, window: Window, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> dict[str, msgspec.Raw]:
        return _MEMBERS.decode(self._writer.question(caller, operation, decision, now, window.id))

    def _name_connection(self, window: Window, caller: Caller) -> None:
        if caller.connection not in window.connections:
            if len(window.connections) < MOST_CONNECTIONS:
                window.connections.append(caller.connection)
            else:
                window.more += 1

    def _close(self, window: Window, mono_ns: int) -> None:
        group = window.group
        for entry in window.entries.values():
            for operation in entry.keep:
                group.hot.pop(id(operation), None)
            entry.keep.clear()
        self._opened -= len(window.entries)
        window.closed_ns = mono_ns
        del self._open[window.number]
        del group.windows[window.asset]
        self._closing.append(window)
        for caller in group.callers:  # each is named again in the next window that it reads in
            self.hot.pop(caller, None)
        group.callers.clear()
        self._forget_if_idle(group)

    def _forget_if_idle(self, group: Group) -> None:
        """A group is remembered as long as it has a window."""
        if not group.windows:
            for caller in group.callers:
                self.hot.pop(caller, None)
            self._groups.pop(group.key, None)


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _version(decision: Passed) -> tuple[str, Origin, str, tuple[str, ...]]:
    """What keeps entries about one operation apart. Cached or evaluated is no difference, fallback is."""
    said = decision.denied if isinstance(decision, Waived) else decision
    origin = Origin.FALLBACK if said.origin is Origin.FALLBACK else Origin.EVALUATED
    return word(decision), origin, said.revision, said.grants


def window_records(
    writer: Writer, common: dict[str, Any], rows: list[bytes], note: dict[str, Any], now: Now
) -> list[bytes]:
    """As few records as these entries fit into."""
    parts: list[list[bytes]] = [[]]
    room = MOST_ROWS - len(_encode(common))
    length = 0
    for row in rows:
        if length + len(row) > room and parts[-1]:
            parts.append([])
            length = 0
        parts[-1].append(row)
        length += len(row) + 1
    records = []
    for number, part in enumerate(parts):
        what = {**common["what"], "entries": msgspec.Raw(b"[" + b",".join(part) + b"]")}
        told = {**note, "part": number + 1, "parts": len(parts)}
        _, data = writer.record(
            RecordKind.WINDOW, now, who=common["who"], what=what, why=common["why"], note=told
        )
        records.append(data)
    return [record for record in records if record]
