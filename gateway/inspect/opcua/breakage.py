"""What the gateway would break between a client and an OPC UA server that talk today, before any policy.

Requests that it refuses whatever policy says, channels that it does not open, answers that it cannot hand on.
A session without security is told once; what it asks is judged as if it came by a secure channel, since
that is how it will have to come.
"""

from collections.abc import Iterator

from gateway.config.settings import OpcuaListener
from gateway.inspect.breakage import Break
from gateway.inspect.opcua.findings import FINDINGS, OpcuaFinding
from gateway.inspect.opcua.line import Line
from gateway.inspect.opcua.servers import Door, said
from gateway.model.moment import SECOND
from gateway.wire.opcua.codes import status_name
from gateway.wire.opcua.framing import Buffers
from gateway.wire.opcua.status import Status

OURS = Buffers()
"What the gateway's own listeners take."
ANSWERS: dict[OpcuaFinding, str] = {
    OpcuaFinding.FRAMING: "closed (BadTcpMessageTypeInvalid)",
    OpcuaFinding.MALFORMED: "closed (BadDecodingError)",
    OpcuaFinding.SEQUENCE: "closed (BadSecurityChecksFailed)",
    OpcuaFinding.FOREIGN_CHANNEL: "closed (BadTcpSecureChannelUnknown)",
    OpcuaFinding.MIXED_CHUNKS: "closed (BadSecurityChecksFailed)",
    OpcuaFinding.MESSAGE_TOO_LARGE: "closed (BadTcpMessageTooLarge)",
    OpcuaFinding.DEPRECATED_POLICY: "closed (BadSecurityPolicyRejected)",
    OpcuaFinding.UNKNOWN_POLICY: "closed (BadSecurityPolicyRejected)",
    OpcuaFinding.MODE_NONE: "BadSecurityModeInsufficient",
    OpcuaFinding.UNSUPPORTED_SERVICE: "BadServiceUnsupported",
    OpcuaFinding.TOO_MANY_OPERATIONS: "BadTooManyOperations",
    OpcuaFinding.NOTHING_TO_DO: "BadNothingToDo",
    OpcuaFinding.REVERSE_HELLO: "no connection",
}
"What a client gets, by finding."
FROM_SERVERS: dict[OpcuaFinding, str] = {
    OpcuaFinding.FRAMING: "BadSessionClosed",
    OpcuaFinding.MALFORMED_ANSWER: "BadCommunicationError",
    OpcuaFinding.SEQUENCE: "BadSessionClosed",
    OpcuaFinding.UNSOLICITED: "dropped",
}
"The same for what servers say."


def breaks(line: Line, door: Door, *, named: bool, mapped: bool) -> Iterator[Break]:
    """What the gateway would break of this.

    `named`: whether somebody is known to ask. `mapped`: whether the server is an asset.
    """
    if line.request and line.kind == "HEL" and not mapped:
        yield Break("unmapped_server", "BadServerUriInvalid", "the server is no asset of the configuration")
    if line.request and line.kind == "HEL" and not named:
        detail = "--as names no certificate for it, and nobody is anonymous"
        yield Break("nobody", "closed (BadSecurityChecksFailed)", detail)
    answers = ANSWERS if line.request else FROM_SERVERS
    for found in line.findings:
        if found in answers:
            yield Break(found, answers[found], _detail(line, found))
    for shown in line.shown:
        if shown.certificate.refused:
            then = "no session with it" if shown.server else "closed (BadSecurityChecksFailed)"
            yield Break(f"certificate.{shown.certificate.verdict}", then, shown.certificate.why)
    if line.request:
        yield from _request(line, door.section)
    else:
        yield from _slow(line, door.section)


def _request(line: Line, section: OpcuaListener | None) -> Iterator[Break]:
    if 0 < OURS.most_message < line.size or line.chunks > OURS.most_chunks:
        yield Break("message_size", "closed (BadTcpMessageTooLarge)", "more than 2 MiB or 64 chunks")
    for status in dict.fromkeys(line.details.get("beyond", ())):
        detail = "beyond the listener's bounds: intervals, queue, subscriptions or items"
        yield Break("bounds", status_name(status), detail)
    session = line.details.get("session")
    if session is not None:
        for shown in line.shown:
            uri = shown.certificate.uri
            if uri is not None and session["application"] != uri:
                detail = f"it says it is {session['application']}, its certificate says {uri}"
                yield Break("application_uri", status_name(Status.CERTIFICATE_URI_INVALID), detail)
    if section is None:
        return
    policy = line.details.get("policy")
    foreign = {OpcuaFinding.DEPRECATED_POLICY, OpcuaFinding.UNKNOWN_POLICY} & set(line.findings)
    if line.kind == "OPN" and policy not in ("None", *section.policies) and not foreign:
        detail = f"{policy} is not among the policies of listener {section.name}"
        yield Break("policy", "closed (BadSecurityPolicyRejected)", detail)
    if OpcuaFinding.SIGN_ONLY in line.findings and "Sign" not in section.modes:
        detail = f"Sign is not among the modes of listener {section.name}"
        yield Break("mode", "closed (BadSecurityModeRejected)", detail)
    user = line.details.get("user")
    if user is not None and user["kind"] == "anonymous" and not section.users.anonymous:
        detail = f"listener {section.name} takes nobody without a user"
        yield Break("user", status_name(Status.IDENTITY_TOKEN_REJECTED), detail)


def _slow(line: Line, section: OpcuaListener | None) -> Iterator[Break]:
    most = said(section, "request_s")
    if line.service != "Publish" and line.took_ns > most * SECOND:
        detail = f"the server took {line.took_ns / 1e9:.0f} s; request_s is {most:.0f}"
        yield Break("slow", status_name(Status.TIMEOUT), detail)


def _detail(line: Line, found: OpcuaFinding) -> str:
    if found in (OpcuaFinding.MALFORMED, OpcuaFinding.MALFORMED_ANSWER):
        return line.why
    if found is OpcuaFinding.UNSUPPORTED_SERVICE:
        return f"{line.service} is never forwarded"
    if found in (OpcuaFinding.DEPRECATED_POLICY, OpcuaFinding.UNKNOWN_POLICY):
        return f"{line.details.get('policy')}: {FINDINGS[found].means}"
    return FINDINGS[found].means
