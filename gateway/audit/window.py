"""One read window: its entries, what they count, and the records it becomes.

An entry is one distinct policy input, and the receipt for every read that asks it: counting is all that such
a read costs.
"""

from collections import deque
from hashlib import sha256
from typing import Any

import msgspec

from gateway.audit.entry import Writer
from gateway.model.decision import Origin
from gateway.model.identity import Caller, Identity
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Operation
from gateway.model.record import Accepted, RecordKind

MOST_ALIASES = 4
"Operation objects remembered for one entry; equal ones beyond it are found by value, more slowly."
MOST_ROWS = 60_000
"Bytes of entries in one record; the common part takes the rest of a log entry."
MOST_SEALED = MOST_ROWS // 2
"The same where what is sensitive becomes commitments, which are longer."
LINGER = 5 * SECOND
"How long a closed window waits for answers under way; later ones are not counted."

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


def is_ripe(window: Window, now: Now) -> bool:
    """Every read has its answer, or has had time enough."""
    return now.mono_ns - window.closed_ns >= LINGER or all(
        entry.asked == entry.answers + entry.lost for entry in window.entries.values()
    )


def window_records(
    writer: Writer, common: dict[str, Any], rows: list[bytes], note: dict[str, Any], now: Now
) -> list[bytes]:
    """As few records as these entries fit into."""
    parts: list[list[bytes]] = [[]]
    room = (MOST_ROWS if writer.sealer is None else MOST_SEALED) - len(_encode(common))
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
