"""The configuration, typed and frozen. Each struct is one section of `gateway.yaml`.

`config.read` turns the file into this; the JSON Schema in docs/reference is generated from it.
"""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field

from gateway.model.asset import Asset, OpcuaMode, OpcuaPolicy, Quirk, Tag
from gateway.model.record import RecordKind
from gateway.model.sensitive import Sensitive
from gateway.model.stage import Stage


class GatewaySection(Struct, frozen=True, kw_only=True):
    """The gateway itself."""

    name: str
    site: str
    data: Path
    "The data folder: keys, trust, journal, bundles, state. One gateway a folder."
    certificate: Path
    "Certificate chain of the gateway, PEM: leaf first, down to the root (Modbus/TCP Security R-46)."
    key: Path
    mode: str = "run"
    "The plant mode that policy sees as `state.mode`."
    freeze: bool = False
    "Policy sees it as `state.freeze`; core guardrails deny every write while it is on."


class Zone(Struct, frozen=True, kw_only=True):
    """Whom a zone trusts."""

    name: str
    anchors: Path
    "PEM file of the root (and intermediate) certificates that may vouch for peers of this zone."
    crls: tuple[Path, ...] = ()
    "PEM or DER files, one a CA. Reloaded by themselves within 500 ms of a change."
    crl_required: bool = True
    "Without a CRL of the issuing CA nobody gets in."
    crl_grace_s: int = 86_400
    "How long after nextUpdate writes are still allowed; reads only get flagged."


class ClockSection(Struct, frozen=True, kw_only=True):
    """When the wall clock is believed."""

    grace_s: int = 3_600
    "How long writes are still allowed with an untrusted clock."
    jump_s: int = 60
    "A wall clock that leaves the monotonic clock by more than this is not trusted."


class Security(StrEnum):
    """Whether callers of a listener are identified."""

    MUTUAL = "mutual"
    "By mutual TLS."
    NONE = "none"
    "By nothing: policy denies everybody unless a grant names the listener."


class Refusal(StrEnum):
    """How a listener says that policy denied."""

    ILLEGAL_FUNCTION = "01"
    "As Modbus/TCP Security R-31 demands."
    ILLEGAL_ADDRESS = "02"
    "A deviation, for clients that stop for good at 01."
    SILENCE = "silence"
    "A deviation, for clients that stop for good at any exception: they run into their own time-out."


class Listener(Struct, frozen=True, kw_only=True):
    """A place where Modbus clients come in."""

    name: str
    host: str = "127.0.0.1"
    port: int = 802
    zone: str
    "Zone that peers must belong to."
    certificate: Path | None = None
    "Where the gateway shows another certificate here than `gateway.certificate`."
    key: Path | None = None
    tls: Security = Security.MUTUAL
    refusal: Refusal = Refusal.ILLEGAL_FUNCTION
    quirks: tuple[Quirk, ...] = ()
    "How its clients are known to break the protocol: `constant_id`."
    stage: Stage | None = None
    """How far policy is enforced for who comes in here. Where listener and asset both name a stage the
    stricter holds; where neither does, `enforce`."""
    units: dict[int, str]
    "Unit number as callers say it -> asset name."
    most_connections: int = 256
    most_handshakes: int = 32
    "Handshakes under way at once; more are closed before TLS begins."
    handshake_s: float = 5.0
    idle_s: float = 300.0
    outstanding: int = 64
    "Most requests unanswered at once on one connection; beyond it exception 06."


class UserTokens(Struct, frozen=True, kw_only=True):
    """Users who come with a token of an identity provider: a JWT (OPC 10000-6 §6.5.2.2, RFC 9068)."""

    issuer: str
    "The `iss` that a token must name; clients are told to fetch one there."
    audience: str
    "The `aud` that a token must name."
    keys: Path
    "JWKS file with the public keys of the issuer. Reloaded by itself."
    token_endpoint: str = ""
    "Where clients get a token, as endpoints tell them."


class OpcuaUsers(Struct, frozen=True, kw_only=True):
    """Which users may stand on top of an application. Both must be granted."""

    anonymous: bool = True
    "Whether a session may have no user."
    passwords: Path | None = None
    "File of user names and password hashes, made by `dmz-gateway pki user`."
    anchors: Path | None = None
    "PEM file of the authorities whose certificates name users."
    crls: tuple[Path, ...] = ()
    "Revocation lists of those authorities; without one of an authority nobody of it gets in."
    tokens: UserTokens | None = None


class OpcuaListener(Struct, frozen=True, kw_only=True):
    """A place where OPC UA clients come in: one endpoint for each of its assets."""

    name: str
    host: str = "127.0.0.1"
    port: int = 4840
    zone: str
    "Zone that application certificates must belong to."
    certificate: Path
    "The gateway's application instance certificate (RSA), PEM: leaf first, down to the root."
    key: Path
    names: tuple[str, ...] = ()
    "Host names by which clients reach it, for endpoint URLs beside the one that a client came by."
    assets: tuple[str, ...]
    "Each has the endpoint `opc.tcp://HOST:PORT/ASSET`."
    policies: tuple[OpcuaPolicy, ...] = tuple(OpcuaPolicy)
    modes: tuple[OpcuaMode, ...] = (OpcuaMode.SIGN_AND_ENCRYPT,)
    users: OpcuaUsers = field(default_factory=OpcuaUsers)
    stage: Stage | None = None
    "How far policy is enforced for who comes in here."
    most_connections: int = 200
    most_from_one: int = 50
    "Most connections of one address."
    activate_s: float = 10.0
    "Time from the first byte to an active session, or the end of discovery."
    sessions_of_one: int = 10
    "Most sessions of one certificate."
    subscriptions: int = 20
    "Most subscriptions of a session."
    items: int = 10_000
    "Most monitored items of a session."
    outstanding: int = 64
    "Most requests unanswered at once in a session, Publish not counted."
    publishes: int = 20
    "Most Publish requests waiting in a session."
    least_publishing_ms: int = 50
    "Shorter publishing intervals are refused."
    least_sampling_ms: int = 50
    "Shorter sampling intervals are refused; 0 (as fast as the server can) is one of them."
    most_queue: int = 1_000
    "Longest queue of a monitored item."
    most_nodes: int = 1_000
    "Most nodes in a request."
    requests_per_s: float = 2_000.0
    "Requests a second that are read from one connection, after a burst of a fifth of them."
    request_s: float = 60.0
    "How long a server may take to answer; a client's own TimeoutHint counts where it is shorter."


class BundleService(Struct, frozen=True, kw_only=True):
    """An HTTPS server that gives the bundle, as OPA's bundle services do."""

    url: str
    "The bundle itself: `https://bundles.example/dmz.tar.gz`."
    anchors: Path
    "PEM file of the certificates that may vouch for the server."
    certificate: Path | None = None
    "Shown to the server, where it asks for one."
    key: Path | None = None
    poll_s: float = 10.0
    "How often it is asked whether there is a newer one (ETag)."


class Signing(Struct, frozen=True, kw_only=True):
    """Whose signature a bundle must carry. Without this section a bundle needs none."""

    keys: tuple[Path, ...]
    "Public keys, PEM; the file's name without its ending is the key id."
    scope: str = ""
    "The scope that the signature must name, as in OPA."


class OpaSection(Struct, frozen=True, kw_only=True):
    """The OPA server that decides, where `policy.engine` is `opa`. Either `url` or `socket`."""

    url: str | None = None
    "`https://127.0.0.1:8181`."
    socket: Path | None = None
    "A Unix socket."
    anchors: Path | None = None
    "PEM file of the certificates that may vouch for the server."
    certificate: Path | None = None
    "Shown to the server."
    key: Path | None = None
    timeout_ms: int = 250
    "How long an answer may take, everything included."
    reads_without_s: float = 60.0
    "How long reads go on, decided by the embedded engine, while OPA is away."


class PolicyEngine(StrEnum):
    """Who decides."""

    EMBEDDED = "embedded"
    "The engine in the gateway's own process."
    OPA = "opa"
    "An OPA server; the embedded engine stands in for reads when it is away, and checks it."


class PolicySection(Struct, frozen=True, kw_only=True):
    """Which bundle decides, and by which engine."""

    bundle: Path | None = None
    "A folder with core/ base/ site/<plant>/ data/ tests/, or a bundle archive (.tar.gz). Or a `service`."
    service: BundleService | None = None
    "Where the bundle comes from instead."
    signing: Signing | None = None
    engine: PolicyEngine = PolicyEngine.EMBEDDED
    opa: OpaSection | None = None
    cross_check_one_in: int = 100
    """With `engine: opa`, one evaluation in this many is asked of the embedded engine too; 0 asks none. A
    difference denies, alarms and is kept as a counterexample."""
    cache_entries: int = 100_000
    recheck_one_in: int = 1000
    "One cached decision in this many is evaluated again; a difference flushes the cache, alarms and denies."


class Receipt(StrEnum):
    """What counts as a syslog receiver's word that it has read everything."""

    TCP = "tcp"
    "It ends the connection after our goodbye. Who can forge packets between the two can say that, too."
    TLS = "tls"
    "It also ends its TLS session (close_notify). Some receivers never do, rsyslog with GnuTLS among them."


class SyslogSection(Struct, frozen=True, kw_only=True):
    """A syslog receiver: RFC 5424 over TLS (RFC 5425), with a certificate on both sides."""

    host: str
    "Also the name that its certificate must have."
    port: int = 6514
    anchors: Path
    "PEM file of the certificates that may vouch for the receiver."
    certificate: Path
    key: Path
    message_bytes: int = 8192
    "Longest message; a longer one loses details, and says so. Receivers differ in what they take."
    receipt: Receipt = Receipt.TCP
    """What counts as the receiver's word that it has everything: the end of the connection (`tcp`), or of the
    TLS session (`tls`), which nobody on the way can forge, and which rsyslog with GnuTLS does not send."""


class EventTopic(Struct, frozen=True, kw_only=True):
    """CloudEvents to the broker of `north.mqtt`."""

    topic: str = "dmz/{site}/{gateway}/audit"
    "Topic of all events; `{site}` and `{gateway}` are filled in."


class Leave(StrEnum):
    """When a record may leave the gateway."""

    DURABLE = "durable"
    "As soon as it is on stable storage."
    SIGNED = "signed"
    "As soon as a checkpoint covers it."


class ExportSection(Struct, frozen=True, kw_only=True):
    """One place that gets a copy of the journal, in words that SIEMs know. Either `syslog` or `mqtt`."""

    name: str
    "Its place in the log is kept under this name: a new name begins at the first record."
    without: tuple[RecordKind, ...] = ()
    "Kinds of records that it does not get. Reads come as `window` records."
    once: Leave = Leave.DURABLE
    syslog: SyslogSection | None = None
    mqtt: EventTopic | None = None


class CheckpointReceiver(Struct, frozen=True, kw_only=True):
    """Takes checkpoints over mutual TLS: `dmz-gateway audit receive` on another host, or a C2SP witness."""

    host: str
    "Also the name that its certificate must have."
    port: int = 8446
    path: str = ""
    "What stands before `/add-checkpoint`."
    anchors: Path
    "PEM file of the certificates that may vouch for the receiver."
    certificate: Path
    key: Path


class OffboxSection(Struct, frozen=True, kw_only=True):
    """Where checkpoints go that root here cannot rewrite. Without one a rollback is undetectable."""

    https: CheckpointReceiver | None = None
    file: Path | None = None
    "A file of another host, made by its operator, that grows and never shrinks there."
    topic: str | None = None
    "Topic of the broker of `north.mqtt`, retained: it is told, and never asked."
    every_s: float = 10.0
    "What happened since the last telling is what a rollback can take away unseen."
    writes_before_answer: bool = False
    "Whether writes are done at start before every receiver knows this log. Nothing is signed until then."


class RetentionSection(Struct, frozen=True, kw_only=True):
    """How long records are kept. Whole segments go, oldest first; their hashes stay."""

    days: float | None = None
    "Records younger than this stay."
    most_bytes: int | None = None
    "Segments that together are larger than this lose their oldest."


class SensitiveSection(Struct, frozen=True, kw_only=True):
    """What records keep by commitment, so that it can be dropped and every proof still holds."""

    fields: tuple[Sensitive, ...] = ()
    "Groups of fields, docs/reference/record.md. Only records written from then on."
    days: float | None = None
    "How long they can be opened. Without it they stay until `dmz-gateway audit drop`."


class AuditSection(Struct, frozen=True, kw_only=True):
    """The journal."""

    origin: str
    "Name of the log in its checkpoints, e.g. `plant-a.example/gw-1`. Never shared by two gateways."
    key: Path
    "Ed25519 private key, PKCS #8 PEM, that signs checkpoints."
    window_s: float = 10.0
    checkpoint_s: float = 1.0
    segment_bytes: int = 64 * 1024 * 1024
    reads_without_journal_s: float = 60.0
    denials_in_full: int = 10
    "Records a minute in full for each source, identity, reason and target; the rest is counted."
    growth_bytes_per_minute: int = 4 * 1024 * 1024
    "The most that denials, findings and failed handshakes may add in a minute, all sources together."
    export: tuple[ExportSection, ...] = ()
    "Where else records go, beside the journal; it stays the only proof."
    offbox: OffboxSection = field(default_factory=OffboxSection)
    retention: RetentionSection = field(default_factory=RetentionSection)
    "Without a figure nothing goes."
    sensitive: SensitiveSection = field(default_factory=SensitiveSection)


class HttpsSection(Struct, frozen=True, kw_only=True):
    """The northbound API."""

    host: str = "127.0.0.1"
    port: int = 8443
    zone: str = "it"
    certificate: Path | None = None
    key: Path | None = None


class MqttSection(Struct, frozen=True, kw_only=True):
    """The broker that gets values."""

    name: str = "broker"
    "Policy sees it as `northbound.consumer`."
    host: str
    port: int = 8883
    anchors: Path
    certificate: Path
    key: Path
    client_id: str
    topic: str = "{path}"
    "Topic of a tag; `{path}`, `{tag}`, `{asset}`, `{site}` and `{gateway}` are filled in."
    status_topic: str = "dmz/{site}/{gateway}/status"
    expiry_s: int = 30
    "Message expiry: after it the broker forgets a value that nobody refreshed."
    refresh_s: float = 10.0
    "Unchanged values are sent again this often."


class NorthSection(Struct, frozen=True, kw_only=True):
    """What goes to IT, and how."""

    https: HttpsSection | None = None
    mqtt: MqttSection | None = None


class CollectorSection(Struct, frozen=True, kw_only=True):
    """How tags are polled."""

    enabled: bool = True
    merge_gap: int = 8
    "Merge two tags into one read if at most this many declared registers between them go to waste."
    backoff_s: float = 30.0
    "Longest pause between tries of a device that does not answer."


class AdminSection(Struct, frozen=True, kw_only=True):
    """Where people act on the gateway: approvals, windows, stages, activation, break-glass. Over HTTPS."""

    host: str = "127.0.0.1"
    port: int = 8444
    zone: str
    "Zone that people's certificates must belong to."
    certificate: Path | None = None
    "Where the gateway shows another certificate here than `gateway.certificate`."
    key: Path | None = None
    most_pending: int = 100
    "Most requests for approval that wait at once, all requesters together."


class ReviewSection(Struct, frozen=True, kw_only=True):
    """Where reviewers read the journal: search, records, proofs, checkpoints, reports. Over HTTPS."""

    host: str = "127.0.0.1"
    port: int = 8445
    zone: str
    "Zone that reviewers' certificates must belong to."
    certificate: Path | None = None
    "Where the gateway shows another certificate here than `gateway.certificate`."
    key: Path | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """A whole configuration."""

    gateway: GatewaySection
    zones: tuple[Zone, ...]
    listeners: tuple[Listener, ...] = ()
    opcua: tuple[OpcuaListener, ...] = ()
    assets: tuple[Asset, ...] = ()
    tags: tuple[Tag, ...] = ()
    policy: PolicySection
    audit: AuditSection
    clock: ClockSection = field(default_factory=ClockSection)
    north: NorthSection = field(default_factory=NorthSection)
    admin: AdminSection | None = None
    review: ReviewSection | None = None
    collector: CollectorSection = field(default_factory=CollectorSection)
