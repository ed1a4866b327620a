"""The names of what is wrong or worth knowing about OPC UA in a capture."""

from enum import StrEnum

from msgspec import Struct

from gateway.wire.modbus.findings import Severity


class OpcuaFinding(StrEnum):
    """One thing found."""

    FRAMING = "framing"
    MALFORMED = "malformed"
    MALFORMED_ANSWER = "malformed_answer"
    SEQUENCE = "sequence"
    FOREIGN_CHANNEL = "foreign_channel"
    MIXED_CHUNKS = "mixed_chunks"
    PASSWORD_IN_CLEAR = "password_in_clear"  # noqa: S105 - no secret
    UNSOLICITED = "unsolicited"
    MODE_NONE = "mode_none"
    DEPRECATED_POLICY = "deprecated_policy"
    UNKNOWN_POLICY = "unknown_policy"
    CERTIFICATE_UNFIT = "certificate_unfit"
    NOT_OPCUA = "not_opcua"
    SIGN_ONLY = "sign_only"
    UNSUPPORTED_SERVICE = "unsupported_service"
    TOO_MANY_OPERATIONS = "too_many_operations"
    NOTHING_TO_DO = "nothing_to_do"
    MESSAGE_TOO_LARGE = "message_too_large"
    ERROR = "error"
    ABORTED = "aborted"
    REVERSE_HELLO = "reverse_hello"


class Means(Struct, frozen=True):
    """How bad, and in words."""

    severity: Severity
    means: str


_A, _W, _N = Severity.ALARM, Severity.WARNING, Severity.NOTICE
FINDINGS: dict[OpcuaFinding, Means] = {
    OpcuaFinding.FRAMING: Means(_A, "no chunk of OPC UA where one must begin; nothing more is read"),
    OpcuaFinding.MALFORMED: Means(_A, "a request that is not what it claims, or has bytes no field owns"),
    OpcuaFinding.MALFORMED_ANSWER: Means(_W, "an answer that is not what its request asks for"),
    OpcuaFinding.SEQUENCE: Means(
        _A, "a sequence number out of order: something is inserted, lost or replayed"
    ),
    OpcuaFinding.FOREIGN_CHANNEL: Means(_A, "a message under another channel id than the one opened"),
    OpcuaFinding.MIXED_CHUNKS: Means(_W, "chunks of two messages are mixed"),
    OpcuaFinding.PASSWORD_IN_CLEAR: Means(_A, "a password that everybody on the way can read"),
    OpcuaFinding.UNSOLICITED: Means(_W, "an answer that nobody asked for"),
    OpcuaFinding.MODE_NONE: Means(
        _W, "a channel without security: nobody is proved, all can be read and changed"
    ),
    OpcuaFinding.DEPRECATED_POLICY: Means(
        _W, "a security policy that is deprecated: SHA-1, or RSA PKCS#1 v1.5"
    ),
    OpcuaFinding.UNKNOWN_POLICY: Means(_W, "a security policy that the gateway does not speak"),
    OpcuaFinding.CERTIFICATE_UNFIT: Means(
        _W, "a certificate that the gateway would not take; see certificates"
    ),
    OpcuaFinding.NOT_OPCUA: Means(_W, "no chunk of OPC UA was found in what one side said"),
    OpcuaFinding.SIGN_ONLY: Means(_N, "messages are signed and not encrypted: all can be read"),
    OpcuaFinding.UNSUPPORTED_SERVICE: Means(_N, "a service that the gateway never forwards"),
    OpcuaFinding.TOO_MANY_OPERATIONS: Means(_N, "more items in one request than the gateway takes"),
    OpcuaFinding.NOTHING_TO_DO: Means(_N, "a request without items"),
    OpcuaFinding.MESSAGE_TOO_LARGE: Means(_N, "a message longer than the gateway takes; it is not read"),
    OpcuaFinding.ERROR: Means(_N, "one side ended the connection with an error"),
    OpcuaFinding.ABORTED: Means(_N, "a message that was given up halfway"),
    OpcuaFinding.REVERSE_HELLO: Means(
        _N, "the server opened the connection; the gateway has no reverse connect"
    ),
}
"Every one has a row; a test holds this."
