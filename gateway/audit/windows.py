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
from itertools import chain

import msgspec

from gateway.audit import carry
from gateway.audit.entry import Writer
from gateway.audit.generations import Generations
from gateway.audit.heads import Heads, version
from gateway.audit.window import (
    MOST_ALIASES,
    Entry,
    Group,
    GroupKey,
    Window,
    entry_json,
    is_ripe,
    window_records,
)
from gateway.model.decision import Allowed, Origin, Passed
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Operation

MOST_ENTRIES = 50_000
"Entries open at once (about 1 KiB each); one more closes every window early."
MOST_KEPT = 2 * MOST_ENTRIES
"Entries open or waiting to be written; beyond it reads get no receipt."
MOST_IN_WINDOW = 2_000
"Entries of one window; one more ends it. Its records are written at one go, and that must not take long."
MOST_CALLERS = 1024
"Connections of one group whose reads take the short way; the oldest loses it to a new one."
MOST_CONNECTIONS = 64
"Connections named in a window record; the rest is counted."
AT_ONCE = 256
"Entries written in one tick: keeps a tick under about two milliseconds."
_encode = msgspec.json.Encoder().encode


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
        self._heads = Heads(writer)
        self._generations = Generations()
        self._groups: dict[GroupKey, Group] = {}
        self._open: dict[int, Window] = {}
        "In the order in which they began."
        self._closing: deque[Window] = deque()
        self._opened = 0
        self._numbers = 0

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
        place = (operation, *version(decision))
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
            if not force and (budget <= 0 or not is_ripe(window, now)):
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
        dirty, self.dirty[:] = list(self.dirty), []
        return self._generations.rows(dirty, closed, chain(self._open.values(), self._closing))

    def renew(self) -> None:
        """Let the side file forget what closed windows said."""
        self._generations.renew()

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
        window.common = self._heads.common(window.id, caller, operation, decision, now)
        group.windows[asset] = window
        self._open[window.number] = window
        return window

    def _add(self, window: Window, caller: Caller, operation: Operation, decision: Passed, now: Now) -> Entry:
        head = self._heads.head(window.id, caller, operation, decision, now)
        self._numbers += 1
        self._opened += 1
        self.kept += 1
        return Entry(self._numbers, window, head, self.dirty, now.wall_ns)

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
