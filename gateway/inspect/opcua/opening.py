"""From Hello to OpenSecureChannel: what stands in clear although messages are encrypted afterwards."""

from struct import Struct as Layout
from typing import Any

from gateway.inspect.opcua.findings import OpcuaFinding
from gateway.inspect.opcua.line import Line
from gateway.inspect.opcua.local import MODE_NAMES, policy_name, text
from gateway.wire.opcua.asymmetric import OpenHead
from gateway.wire.opcua.framing import Buffers, Fault, read_acknowledge, read_error, read_hello
from gateway.wire.opcua.messages import OpenRequest, OpenResponse, Unread, read
from gateway.wire.opcua.security import BY_URI, NONE_URI

DEPRECATED = frozenset({"Basic128Rsa15", "Basic256"})
"OPC 10000-7: SHA-1 signatures, and RSA PKCS#1 v1.5 encryption in the first."
SIGNATURES = {"Basic128Rsa15": 20, "Basic256": 20}
"Bytes that HMAC-SHA1 takes; the other policies have HMAC-SHA256."
SIGNATURE = 32
ANYTHING = Buffers(receive=0xFFFF_FFFF, send=0xFFFF_FFFF, most_message=0, most_chunks=0)
"What a client may have offered, where the capture does not show its Hello."
SEQUENCE = Layout("<II")


def hello(line: Line, chunk: bytes) -> tuple[Buffers, str] | None:
    """A Hello: buffers and URL."""
    found = read_hello(chunk)
    if isinstance(found, Fault):
        line.findings += (OpcuaFinding.MALFORMED,)
        line.why = found.value
        return None
    line.details = {"url": text(found[1]), **_buffers(found[0])}
    return found


def acknowledge(line: Line, chunk: bytes, asked: Buffers | None) -> None:
    """An Acknowledge."""
    found = read_acknowledge(chunk, asked or ANYTHING)
    if isinstance(found, Fault):
        line.findings += (OpcuaFinding.MALFORMED_ANSWER,)
        line.why = found.value
    else:
        line.details = _buffers(found)


def error(line: Line, chunk: bytes) -> None:
    """An Error: why one side ends it."""
    line.status, reason = read_error(chunk)
    line.findings += (OpcuaFinding.ERROR,)
    line.details = {"reason": text(reason)}


def opened(line: Line, head: OpenHead) -> str:
    """The clear part of an OpenSecureChannel; the name of its policy."""
    uri = head.policy_uri.decode(errors="replace")
    policy = policy_name(uri)
    line.channel = head.channel_id
    line.details = {"policy": policy, "thumbprint": head.thumbprint.hex() or None}
    if policy in DEPRECATED and line.request:
        line.findings += (OpcuaFinding.DEPRECATED_POLICY,)
    elif uri != NONE_URI and uri not in BY_URI and line.request:
        line.findings += (OpcuaFinding.UNKNOWN_POLICY,)
    if line.request:
        line.details["renew"] = head.channel_id != 0
    return policy


def in_clear(line: Line, body: bytes) -> int | None:
    """The body of an OpenSecureChannel without security; the channel id that an answer gives."""
    line.service = "OpenSecureChannel"
    if line.request:
        asked = read(body, OpenRequest)
        if isinstance(asked, Unread):
            line.findings += (OpcuaFinding.MALFORMED,)
            line.why = asked.what
        else:
            told: dict[str, Any] = {
                "renew": asked.kind == 1,
                "mode": MODE_NAMES[asked.mode],
                "lifetime_ms": asked.lifetime_ms,
            }
            line.details = {**line.details, **told}
        return None
    given = read(body, OpenResponse)
    if isinstance(given, Unread):
        line.findings += (OpcuaFinding.MALFORMED_ANSWER,)
        line.why = given.what
        return None
    line.status = given.header.status
    token = given.token
    line.details = {**line.details, "lifetime_ms": token.lifetime_ms, "token": token.token_id}
    return token.channel_id


def _buffers(found: Buffers) -> dict[str, Any]:
    return {
        "receive": found.receive,
        "send": found.send,
        "most_message": found.most_message,
        "most_chunks": found.most_chunks,
    }
