"""Devices in the plant and the named points on them."""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from gateway.model.stage import Stage


class Table(StrEnum):
    """The four tables of the Modbus data model (Application Protocol V1.1b3 §4.3)."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"


class Span(Struct, frozen=True):
    """A run of addresses in one table, 0-based as on the wire."""

    table: Table
    start: int
    count: int

    @property
    def end(self) -> int:
        """The first address behind the span."""
        return self.start + self.count


class Upstream(StrEnum):
    """How clients share connections to a device."""

    SHARED = "shared"
    "Few connections, shared fairly by all."
    PER_CLIENT = "per-client"
    "One opened and closed with each client: a PLC's watchdog may depend on it."


class Quirk(StrEnum):
    """How a peer is known to break the protocol, and what is tolerated of it because of that."""

    CONSTANT_ID = "constant_id"
    "A client that gives every request the same transaction id: using one twice is no finding."
    ID_NOT_ECHOED = "id_not_echoed"
    "A device that answers under ids of its own: answers are matched by order, unit and function."
    EXCEPTION_PADDED = "exception_padded"
    "A device whose exceptions are three bytes long: the third is dropped."
    EXCEPTION_OVERCOUNTED = "exception_overcounted"
    "A device whose MBAP length counts a byte of its exceptions that it never sends."
    ECHO = "echo"
    "A serial line that gives back what was sent, before the answer comes: it is compared and dropped."


class Transport(StrEnum):
    """What carries Modbus to a device."""

    TCP = "tcp"
    "Modbus/TCP."
    RTU_OVER_TCP = "rtu-over-tcp"
    "RTU frames in a TCP connection: a converter that does not translate."
    SERIAL = "serial"
    "A serial line of this machine; `endpoint` is its device file."


class Parity(StrEnum):
    """Parity of a serial line (MODBUS over Serial Line V1.02 §2.5.1: even unless somebody says otherwise)."""

    EVEN = "even"
    ODD = "odd"
    NONE = "none"


class SerialLine(Struct, frozen=True, kw_only=True):
    """How characters go over a serial line; RTU always has 8 data bits."""

    baud: int = 19_200
    "Bits a second."
    parity: Parity = Parity.EVEN
    stop_bits: int = 1
    "1 or 2; the specification wants 2 without parity, most devices have 1."


class Window(Struct, frozen=True, kw_only=True):
    """Where a run of one table lies in the memory of a device whose tables overlay each other.

    Windows that meet in that memory name the same thing twice (AP §4.3 calls this very common). A register
    is one word of it; coils and discrete inputs are its bits, the least significant first.
    """

    table: Table
    start: int
    "First address of the run."
    count: int
    word: int
    "The word of the device's memory that the run begins at."


class Speaks(StrEnum):
    """The protocol that a device speaks."""

    MODBUS = "modbus"
    OPCUA = "opcua"


class OpcuaPolicy(StrEnum):
    """The security policies that are offered and used (OPC 10000-7); the others are deprecated."""

    BASIC256SHA256 = "Basic256Sha256"
    AES128_SHA256_RSAOAEP = "Aes128_Sha256_RsaOaep"
    AES256_SHA256_RSAPSS = "Aes256_Sha256_RsaPss"


class OpcuaMode(StrEnum):
    """How messages of a channel are protected (OPC 10000-4 §7.20)."""

    SIGN = "Sign"
    SIGN_AND_ENCRYPT = "SignAndEncrypt"


class OpcuaUser(StrEnum):
    """Whom a device sees as the user of a session (OPC 10000-4 §5.6.1)."""

    ANONYMOUS = "anonymous"
    FIXED = "fixed"
    "One account of the gateway's own, whoever asks."
    IMPERSONATE = "impersonate"
    "The user name and password that the client gave; other kinds of users cannot be passed on."


class OpcuaServer(Struct, frozen=True, kw_only=True):
    """How an OPC UA server in the plant is talked to."""

    server_certificate: Path
    "The certificate that the server must show, PEM or DER: it is pinned, whoever issued it."
    path: str = ""
    "What stands behind host and port in its endpoint URL, such as `/UA/Server`."
    certificate: Path | None = None
    """The application certificate (RSA) that the gateway shows to it, PEM; without it that of the first
    listener under `opcua`."""
    key: Path | None = None
    policy: OpcuaPolicy = OpcuaPolicy.BASIC256SHA256
    mode: OpcuaMode = OpcuaMode.SIGN_AND_ENCRYPT
    user: OpcuaUser = OpcuaUser.ANONYMOUS
    user_name: str | None = None
    "For `user: fixed`."
    password: Path | None = None
    "For `user: fixed`: a file of mode 0600 that holds the password on its first line."
    sessions: int = 10
    "Most sessions open to the server at once; one of them is kept for the collector."
    session_ms: int = 60_000
    "The session time-out that is asked for."
    whole_batches: bool = False
    """Whether a Write or Call of several items goes only if all of them are allowed: a setpoint without its
    enable may be worse than neither."""
    hide: bool = False
    """Whether references to nodes that the caller may not browse are left out of browse results, and paths to
    them lead nowhere."""
    publishing_ms: int = 1_000
    "Publishing interval of the collector's subscription."


class Asset(Struct, frozen=True, kw_only=True):
    """A device: where it is and what it can bear."""

    name: str
    kind: str = "plc"
    "Its class: plc, drive, meter, rtu, safety … A write grant on `safety` is refused by `check`."
    zone: str = "plant"
    host: str
    port: int
    protocol: Speaks = Speaks.MODBUS
    opcua: OpcuaServer | None = None
    "For `protocol: opcua`, where it is needed."
    transport: Transport = Transport.TCP
    "What carries Modbus to it. On `rtu-over-tcp` and `serial` assets with equal endpoints share a line."
    serial: SerialLine = SerialLine()
    "For `transport: serial`."
    quirks: tuple[Quirk, ...] = ()
    "How the device, or what stands before it, is known to break the protocol."
    unit: int = 1
    "The unit number to use towards the device."
    upstream: Upstream = Upstream.SHARED
    connections: int = 1
    "Most connections open to the device at once."
    in_flight: int = 1
    "Most requests unanswered at once on one connection."
    queue: int = 256
    "Most requests waiting; beyond it callers get exception 06."
    timeout_ms: int = 1000
    "How long the device may take to answer; then callers get exception 0x0B."
    spacing_ms: int = 0
    "Least time between two requests to the device."
    coalesce_ms: int = 0
    "How old an answer may be that serves another caller's equal read; 0 shares none."
    heartbeat: tuple[Span, ...] = ()
    "Points by which somebody watches that somebody lives: reads of these are never shared."
    registers: tuple[Span, ...] = ()
    "What the device declares to have; polls merge neighbours only inside these."
    overlays: tuple[Window, ...] = ()
    "Where tables overlay each other: a request then also asks for what else it reaches, under those names."
    polls_per_s: float = 10.0
    "The most polls a second that the collector may cost the device."
    stage: Stage | None = None
    "How far policy is enforced for what clients want of it; see the listener's `stage`."


class DataType(StrEnum):
    """How a tag's registers are read."""

    BOOL = "bool"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


REGISTERS: dict[DataType, int] = {
    DataType.BOOL: 1,
    DataType.INT16: 1,
    DataType.UINT16: 1,
    DataType.INT32: 2,
    DataType.UINT32: 2,
    DataType.INT64: 4,
    DataType.UINT64: 4,
    DataType.FLOAT32: 2,
    DataType.FLOAT64: 4,
}
"How many 16-bit registers a value of each type takes (in coil tables a BOOL takes one coil)."


class Order(StrEnum):
    """Order of bytes in a register, or of registers in a value."""

    BIG = "big"
    LITTLE = "little"


class Tag(Struct, frozen=True, kw_only=True):
    """A named, typed, scaled point of an asset.

    engineering value = raw * scale + offset; quanta `q` = round(engineering value / resolution).
    """

    name: str
    "`[a-z0-9_.-]+`, unique in the gateway."
    asset: str
    path: str
    "ISA-95 path for topics, e.g. `acme/north/tank-farm/tank-1/level`."
    table: Table | None = None
    "For a Modbus asset."
    address: int = 0
    node: str | None = None
    """For an OPC UA asset: its node with the namespace's URI, `nsu=urn:acme:plc;s=Tank.Level`
    (OPC 10000-6 §5.1.12), never with the index, which a server may change."""
    type: DataType
    bit: int | None = None
    "For a BOOL inside a register: which bit, 0 is the least significant. Null in coil tables."
    byte_order: Order = Order.BIG
    word_order: Order = Order.BIG
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    low: float | None = None
    "Smallest sensible engineering value; below it the value is withheld and IT gets bad, reason `range`."
    high: float | None = None
    resolution: float = 1.0
    "One quantum in engineering units; policy sees integers in it."
    poll_ms: int = 1000
    stale_ms: int = 5000
    "Older than this, a value is no longer good."
    release: str = "it"
    "Release class: which zone may see it northbound; `none` keeps it in the plant."
    description: str = ""

    @property
    def span(self) -> Span:
        """The addresses the tag occupies. ValueError for the tag of a node, which has none."""
        if self.table is None:
            raise ValueError(f"{self.name} is a node, not a register")
        return Span(self.table, self.address, REGISTERS[self.type])
