"""What a frame wants, in words that no protocol owns. Policy sees operations, never frames."""

from enum import StrEnum

from msgspec import Struct

from gateway.model.asset import Table


class Action(StrEnum):
    """The seven things anybody can want."""

    READ = "read"
    WRITE = "write"
    CALL = "call"
    BROWSE = "browse"
    SUBSCRIBE = "subscribe"
    PUBLISH = "publish"
    ADMIN = "admin"


MUTATING = frozenset({Action.WRITE, Action.CALL, Action.ADMIN})
"Actions that change something: never decided from the cache, always recorded durably before they happen."


class Protocol(StrEnum):
    """Which door an operation came through."""

    MODBUS = "modbus"
    OPCUA = "opcua"
    HTTPS = "https"
    MQTT = "mqtt"
    CONTROL = "control"


class Point(Struct, frozen=True):
    """One tag that an operation touches."""

    tag: str
    q: int | None = None
    "What would be written, in the tag's resolution; null for reads."
    q_prev: int | None = None
    "Last value polled; null where unknown, and for reads."
    age_ms: int | None = None
    "Age of `q_prev`."


class ModbusTarget(Struct, frozen=True, kw_only=True):
    """The Modbus half of an operation, as in `dmz.input/1`. Numbers as on the wire, addresses 0-based."""

    unit: int
    "Unit number as the caller addressed it."
    fc: int
    sub: int | None = None
    mei: int | None = None
    table: Table | None = None
    start: int | None = None
    count: int | None = None
    values: tuple[int, ...] | None = None
    "Raw registers (0…65535) or coils (0 or 1) that would be written; null for reads."
    and_mask: int | None = None
    or_mask: int | None = None
    file: int | None = None
    record: int | None = None


class NorthTarget(Struct, frozen=True, kw_only=True):
    """The northbound half of an operation, as in `dmz.input/1`."""

    topic: str | None = None
    consumer: str | None = None
    "The broker or client that would receive it."
    format: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """One read, write, call, browse, subscription, publication or admin act."""

    protocol: Protocol
    action: Action
    kind: str
    "`modbus.write_multiple_registers`, `https.read_tag`, `mqtt.publish_tag`, `control.reload` …"
    asset: str | None = None
    asset_kind: str | None = None
    modbus: ModbusTarget | None = None
    north: NorthTarget | None = None
    points: tuple[Point, ...] = ()
    unreadable: str | None = None
    """Why policy is not asked (invariant 2): `partial_tag`, `not_a_number`, `beyond_2_53` …
    An unreadable operation is always Denied."""
