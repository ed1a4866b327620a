"""What the journal keeps (`dmz.record/1`) and what it promises about it.

Field by field description: docs/reference/record.md.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

SCHEMA = "dmz.record/1"
MOST_BYTES = 65_535
"A record is a C2SP log entry: its length must fit 16 bits (tlog-tiles)."


class RecordKind(StrEnum):
    """The kinds of record."""

    INTENT = "intent"
    "What is about to be done; durable before it is."
    OUTCOME = "outcome"
    "What came of an intent."
    DENIAL = "denial"
    WINDOW = "window"
    "Allowed reads of one caller on one asset during a window, each distinct policy input with its count."
    AUTH = "auth"
    FINDING = "finding"
    "Something a peer did against its protocol."
    POLICY = "policy"
    CONFIG = "config"
    ADMIN = "admin"
    LIFECYCLE = "lifecycle"
    "Start, stop, recovery (what was cut, which intents have no outcome), expiry alarms."
    GAP = "gap"
    "A time during which records could not be made durable."
    SUPPRESSED = "suppressed"
    "How many more records of one source, identity, reason and target a flood would have made."
    WITHHELD = "withheld"
    "Values that did not go north."


class Record(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One entry of the journal. Encoded once as JSON; the stored bytes are the leaf, never encoded again."""

    schema: str = SCHEMA
    id: str
    "ULID."
    kind: RecordKind
    wall_ns: int
    mono_ns: int
    clock: str
    "`trusted` or `untrusted`."
    gateway: str
    who: dict[str, Any] | None = None
    what: dict[str, Any] | None = None
    why: dict[str, Any] | None = None
    "`{decision: allow|deny, reasons, grants, revision, origin, evaluation, input, obligations}`."
    result: dict[str, Any] | None = None
    about: str | None = None
    "The record that this one completes: an outcome names its intent."
    connection: str | None = None
    note: dict[str, Any] | None = None
    "What lifecycle, config, policy, gap and suppressed records tell."


class Durable(Struct, frozen=True, gc=False):
    """On stable storage. The only receipt that lets a write, call or admin act happen."""

    record: str
    "ULID of the record."
    index: int
    "Its index in the log."
    asked_ns: int | None = None
    "Monotonic time at which the record was asked for, so that its outcome can say how long it took."


class Accepted:
    """In the journal's bounded queue, durable within 20 ms. Enough for a read.

    It stands for one distinct policy input of one window; what came of the read is told to it.
    """

    __slots__ = ()

    def answered(self, data: bytes) -> None:
        """The plant (or the store) gave these bytes; they go into the window's value digest."""

    def failed(self, why: str) -> None:
        """No value came: `exception_02`, `timeout`, `device_down` …"""


class Gap(Struct, frozen=True, gc=False):
    """The journal has failed; reads may go on until then, and the gap will be recorded."""

    until_mono_ns: int


class NotRecorded(Struct, frozen=True, gc=False):
    """No receipt: nothing may happen."""

    why: str


Receipt = Durable | Accepted | Gap
