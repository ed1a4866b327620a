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


class OpcuaTarget(Struct, frozen=True, kw_only=True):
    """The OPC UA half of an operation: one node, method or monitored item of a service request.

    Nodes are written with their namespace URI, `nsu=urn:acme:plc;s=Tank.SP` (OPC 10000-6 §5.1.12), never with
    its index, which a server may change when it starts.
    """

    service: str
    "`Read`, `Write`, `Call`, `Browse`, `CreateMonitoredItems`, `HistoryRead` …"
    node: str | None = None
    "For Call the object."
    path: str | None = None
    "Browse path from the Objects folder, where known: `/Plant/plc-1/Tank/SP`."
    attribute: str | None = None
    "`Value`, `DisplayName` … (OPC 10000-6 A.1)."
    index_range: str | None = None
    method: str | None = None
    "Node of the method, for Call."
    type: str | None = None
    "Built-in type of what would be written: `Double`, `Int32[]` …"
    value: int | str | bool | None = None
    "What would be written where no tag names it: integers and texts as they are, other numbers as text."
    arguments: tuple[int | str | bool | None, ...] | None = None
    "Input arguments of a method, in the same form."
    sampling_ms: int | None = None
    "Sampling interval that a monitored item asks for; -1 is that of the subscription."
    publishing_ms: int | None = None
    "Publishing interval of the subscription."
    history_start_ns: int | None = None
    history_end_ns: int | None = None
    "The span of a HistoryRead, nanoseconds since 1970; null is open."
    security: str | None = None
    "Security policy of the channel: `Basic256Sha256` …"
    mode: str | None = None
    "`Sign` or `SignAndEncrypt`."


class AdminTarget(Struct, frozen=True, kw_only=True):
    """What a person's act on the gateway, or a reviewer's look into its journal, is about."""

    subject: str | None = None
    "Whom it concerns: whose request is approved, who breaks the glass."
    scope: str | None = None
    "`listener:<name>`, `asset:<name>`, or null for the whole gateway."
    value: str | None = None
    "What it would become: a stage, a mode, a window, a revision, a reason; for a look the question."
    minutes: int | None = None
    "For how long, where the act ends by itself."
    request: str | None = None
    "The request that is answered; the record that is looked at."


class Operation(Struct, frozen=True, kw_only=True):
    """One read, write, call, browse, subscription, publication or admin act."""

    protocol: Protocol
    action: Action
    kind: str
    "`modbus.write_multiple_registers`, `https.read_tag`, `mqtt.publish_tag`, `control.reload` …"
    asset: str | None = None
    asset_kind: str | None = None
    modbus: ModbusTarget | None = None
    opcua: OpcuaTarget | None = None
    north: NorthTarget | None = None
    admin: AdminTarget | None = None
    points: tuple[Point, ...] = ()
    unreadable: str | None = None
    """Why policy is not asked (invariant 2): `partial_tag`, `not_a_number`, `beyond_2_53` …
    An unreadable operation is always Denied."""
