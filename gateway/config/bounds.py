"""How large, how small and of which characters: one row a field of `settings`.

A bound is here because something breaks beyond it: a standard's limit, a device's patience, our memory.
"""

from msgspec import Struct

from gateway.config.settings import (
    AdminSection,
    AuditSection,
    BundleService,
    CheckpointReceiver,
    ClockSection,
    CollectorSection,
    ExportSection,
    GatewaySection,
    HttpsSection,
    Listener,
    MqttSection,
    OffboxSection,
    OpaSection,
    OpcuaListener,
    PolicySection,
    RetentionSection,
    ReviewSection,
    SensitiveSection,
    Signing,
    SyslogSection,
    UserTokens,
    Zone,
)
from gateway.model.asset import Asset, OpcuaServer, SerialLine, Tag, Window


class Bound(Struct, frozen=True):
    """Smallest and largest value, both allowed, in the unit of the field."""

    low: float
    high: float


class Words(Struct, frozen=True):
    """Of which characters a text is made."""

    pattern: str
    hint: str


PORT = Bound(1, 65535)
DAY_S = 86_400

NUMBERS: dict[tuple[type[Struct], str], Bound] = {
    (Zone, "crl_grace_s"): Bound(0, 90 * DAY_S),
    (ClockSection, "grace_s"): Bound(0, 7 * DAY_S),
    (ClockSection, "jump_s"): Bound(1, 3600),
    (Listener, "port"): PORT,
    (Listener, "most_connections"): Bound(1, 10_000),
    (Listener, "most_handshakes"): Bound(1, 1000),
    (Listener, "handshake_s"): Bound(0.1, 60),
    (Listener, "idle_s"): Bound(1, DAY_S),
    (Listener, "outstanding"): Bound(1, 1024),
    (OpcuaListener, "port"): PORT,
    (OpcuaListener, "most_connections"): Bound(1, 10_000),
    (OpcuaListener, "most_from_one"): Bound(1, 10_000),
    (OpcuaListener, "activate_s"): Bound(0.5, 60),
    (OpcuaListener, "sessions_of_one"): Bound(1, 1000),
    (OpcuaListener, "subscriptions"): Bound(1, 1000),
    # What is remembered of each item is some 200 bytes.
    (OpcuaListener, "items"): Bound(1, 1_000_000),
    (OpcuaListener, "outstanding"): Bound(1, 1024),
    (OpcuaListener, "publishes"): Bound(1, 1000),
    (OpcuaListener, "least_publishing_ms"): Bound(1, 60_000),
    (OpcuaListener, "least_sampling_ms"): Bound(0, 60_000),
    (OpcuaListener, "most_queue"): Bound(1, 100_000),
    # Beyond it a scan takes longer than the 50 ms that one request may cost.
    (OpcuaListener, "most_nodes"): Bound(1, 10_000),
    (OpcuaListener, "requests_per_s"): Bound(1, 100_000),
    (OpcuaListener, "request_s"): Bound(0.1, 600),
    (PolicySection, "cache_entries"): Bound(0, 10_000_000),
    (PolicySection, "recheck_one_in"): Bound(1, 1_000_000),
    (PolicySection, "cross_check_one_in"): Bound(0, 1_000_000),
    (BundleService, "poll_s"): Bound(0.1, DAY_S),
    (OpaSection, "timeout_ms"): Bound(10, 5_000),
    (OpaSection, "reads_without_s"): Bound(0, 3600),
    (AdminSection, "port"): PORT,
    (AdminSection, "most_pending"): Bound(1, 10_000),
    (ReviewSection, "port"): PORT,
    (AuditSection, "window_s"): Bound(0.1, 3600),
    (AuditSection, "checkpoint_s"): Bound(0.05, 3600),
    (AuditSection, "segment_bytes"): Bound(1024**2, 4 * 1024**3),
    (AuditSection, "reads_without_journal_s"): Bound(0, 3600),
    (AuditSection, "denials_in_full"): Bound(1, 1000),
    (AuditSection, "growth_bytes_per_minute"): Bound(64 * 1024, 1024**3),
    (CheckpointReceiver, "port"): PORT,
    (OffboxSection, "every_s"): Bound(0.1, 3600),
    (RetentionSection, "days"): Bound(1 / 24, 36_525),
    (RetentionSection, "most_bytes"): Bound(64 * 1024**2, 2**50),
    (SensitiveSection, "days"): Bound(1 / 24, 36_525),
    (SyslogSection, "port"): PORT,
    # RFC 5425 §4.3.1: receivers must take 2048 bytes and should take 8192.
    (SyslogSection, "message_bytes"): Bound(2048, 1024**2),
    (HttpsSection, "port"): PORT,
    (MqttSection, "port"): PORT,
    (MqttSection, "expiry_s"): Bound(1, 30 * DAY_S),
    (MqttSection, "refresh_s"): Bound(0.1, DAY_S),
    (CollectorSection, "merge_gap"): Bound(0, 2000),
    (CollectorSection, "backoff_s"): Bound(0.1, 3600),
    # 248 to 254 are reserved, 0 is a broadcast that nobody answers (Application Protocol V1.1b3 §4.1,
    # Messaging on TCP/IP V1.0b §4.4.2); `meaning` refuses 248 to 254 by name.
    (Asset, "unit"): Bound(1, 255),
    (Asset, "connections"): Bound(1, 64),
    # NumberMaxOfServerTransaction is 1 to 16 (Messaging on TCP/IP V1.0b §4.4.1.2).
    (Asset, "in_flight"): Bound(1, 16),
    (Asset, "queue"): Bound(1, 65_536),
    (Asset, "timeout_ms"): Bound(10, 60_000),
    (Asset, "spacing_ms"): Bound(0, 60_000),
    (Asset, "coalesce_ms"): Bound(0, 60_000),
    (Asset, "polls_per_s"): Bound(0.001, 1000),
    # One for the collector, and one for somebody else: a server that has fewer is for either.
    (OpcuaServer, "sessions"): Bound(1, 1000),
    (OpcuaServer, "session_ms"): Bound(10_000, 3_600_000),
    (OpcuaServer, "publishing_ms"): Bound(50, 60_000),
    (Window, "start"): Bound(0, 65_535),
    (Window, "count"): Bound(1, 65_536),
    (Window, "word"): Bound(0, 65_535),
    (SerialLine, "baud"): Bound(300, 1_000_000),
    (SerialLine, "stop_bits"): Bound(1, 2),
    (Tag, "address"): Bound(0, 65_535),
    (Tag, "bit"): Bound(0, 15),
    (Tag, "poll_ms"): Bound(100, DAY_S * 1000),
    (Tag, "stale_ms"): Bound(100, 7 * DAY_S * 1000),
}
"Numbers."

NAME = Words(
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    "write letters, digits, `_`, `.` and `-`, at most 64, a letter or digit first",
)
HOST = Words(r"^[A-Za-z0-9:._-]{1,253}$", "write an IP address or a host name, without port")
URL = Words(r"^https?://[!-~]{1,2000}$", "write https:// and the rest of the address")

WORDS: dict[tuple[type[Struct], str], Words] = {
    (GatewaySection, "name"): NAME,
    (GatewaySection, "site"): NAME,
    (GatewaySection, "mode"): NAME,
    (Zone, "name"): NAME,
    (Listener, "name"): NAME,
    (Listener, "zone"): NAME,
    (Listener, "host"): HOST,
    (OpcuaListener, "name"): NAME,
    (OpcuaListener, "zone"): NAME,
    (OpcuaListener, "host"): HOST,
    (OpcuaListener, "names"): HOST,
    (OpcuaListener, "assets"): NAME,
    (UserTokens, "issuer"): Words(
        r"^[!-~]{1,2000}$", "write the `iss` of the tokens, mostly an https:// URL"
    ),
    (UserTokens, "token_endpoint"): Words(
        r"^https://[!-~]{1,2000}$", "write https:// and the rest of the address"
    ),
    (Asset, "name"): NAME,
    (Asset, "kind"): NAME,
    (Asset, "zone"): NAME,
    (BundleService, "url"): Words(r"^https://[!-~]{1,2000}$", "write https:// and the rest of the address"),
    (Signing, "scope"): Words(r"^[!-~]{0,128}$", "write visible ASCII characters, at most 128"),
    (OpaSection, "url"): URL,
    (AdminSection, "host"): HOST,
    (AdminSection, "zone"): NAME,
    (ReviewSection, "host"): HOST,
    (ReviewSection, "zone"): NAME,
    (HttpsSection, "host"): HOST,
    (HttpsSection, "zone"): NAME,
    (MqttSection, "name"): NAME,
    (MqttSection, "host"): HOST,
    (MqttSection, "client_id"): Words(r"^[!-~]{1,128}$", "write visible ASCII characters, at most 128"),
    (ExportSection, "name"): NAME,
    (SyslogSection, "host"): HOST,
    (AuditSection, "origin"): Words(
        r"^[!-*,-~]{1,255}$", "write something like plant-a.example/gw-1, without spaces and `+`"
    ),
    (Tag, "name"): Words(
        r"^[a-z0-9_.-]{1,128}$", "write small letters, digits, `_`, `.` and `-`, at most 128"
    ),
    (Tag, "asset"): NAME,
    (Tag, "release"): NAME,
}
"Texts."
