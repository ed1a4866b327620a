"""OPC UA for people and for programs."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.inspect.opcua.certificates import Certificate
from gateway.inspect.opcua.conversation import OTHERS, Asked, Channel, OpcuaSummary
from gateway.inspect.opcua.inspection import OpcuaTold
from gateway.inspect.opcua.line import Line
from gateway.inspect.wording import broken, decided, spoken
from gateway.model.decision import Decision
from gateway.model.operation import OpcuaTarget, Operation
from gateway.wire.opcua.codes import BAD, status_name

MOST_SHOWN = 30
"Nodes that people are shown of each conversation; --json has them all."
MOST_LISTED = 10
"URLs, certificates, endpoints, sessions and users that people are shown."


def line(told: OpcuaTold) -> dict[str, Any]:
    """One line for programs. Message bodies are not in it: they hold passwords."""
    said = told.line
    found: dict[str, Any] = {
        "stream": said.stream,
        "frame": said.frame,
        "dir": "req" if said.request else "resp",
        "protocol": "opcua",
    }
    if said.kind:
        found |= {"type": said.kind, "bytes": said.size, "chunks": said.chunks}
        found |= {
            name: value
            for name, value in (
                ("channel", said.channel),
                ("request_id", said.request_id),
                ("service", said.service),
                ("request_frame", said.asked_frame),
                ("status", None if said.status is None else status_name(said.status)),
            )
            if value is not None
        }
    found |= {name: value for name, value in said.details.items() if name != "beyond"}
    if said.request and said.asked is not None:
        found["items"] = getattr(said.asked, "items", 0)
        found["operations"] = [_operation(each) for each in said.operations]
    if said.statuses:
        found["statuses"] = [status_name(each) for each in said.statuses]
    if said.shown:
        found["certificates"] = [
            {"of": "server" if each.server else "client", **msgspec.to_builtins(each.certificate)}
            for each in said.shown
        ]
    found["findings"] = [str(each) for each in said.findings]
    if said.why:
        found["why"] = said.why
    if said.fatal:
        found["fatal"] = "framing"
    if said.encrypted or said.tls:
        found["encrypted"] = "tls" if said.tls else "opcua"
    if said.missing:
        found["missing"] = said.missing
    if said.odd:
        found["tcp"] = list(said.odd)
    if told.decisions is not None:
        found["decisions"] = [_decided(told, at, each) for at, each in enumerate(told.decisions)]
    if told.breaks is not None:
        found["would_refuse"] = [broken(each) for each in told.breaks]
    return found


def _operation(operation: Operation) -> dict[str, Any]:
    target = operation.opcua or OpcuaTarget(service="")
    told = {"action": operation.action, "node": target.node, "attribute": target.attribute}
    if target.method is not None:
        told["method"] = target.method
    if operation.unreadable is not None:
        told["unreadable"] = operation.unreadable
    return told


def _decided(told: OpcuaTold, at: int, decision: Decision | None) -> dict[str, Any]:
    operations = told.line.operations
    question = told.questions[at] if at < len(told.questions) else None
    return decided(operations[at] if operations else None, decision, question)


# for people -----------------------------------------------------------------------------------------------


def traffic(summary: OpcuaSummary) -> Iterator[str]:
    """What was said, from the handshake to the nodes."""
    yield from _listed("endpoint", [f"{url}   {spoken(times)}" for url, times in summary.urls.items()])
    for policy, channel in summary.channels.items():
        yield _channel(policy, channel)
    for key, row in list(summary.certificates.items())[:MOST_LISTED]:
        yield from _certificate(key, row)
    if len(summary.certificates) > MOST_LISTED:
        yield f"  and {len(summary.certificates) - MOST_LISTED} more certificates"
    yield from _listed("offered", [_endpoint(each) for each in summary.endpoints.values()])
    yield from _listed("session", [f"{who}   {spoken(times)}" for who, times in summary.sessions.items()])
    yield from _listed("user", [f"{who}   {spoken(times)}" for who, times in summary.users.items()])
    errors = [f"{status_name(status)}   {spoken(times)}" for status, times in summary.errors.items()]
    yield from _listed("ended by", errors)
    wrong = [f"{what}   {spoken(times)}" for what, times in summary.malformed.items()]
    yield from _listed("malformed", wrong)
    slow = f", slowest answer {summary.slowest_ns / 1e6:.0f} ms" if summary.answers else ""
    yield (
        f"  {summary.requests} requests, {summary.answers} answers, {summary.unanswered} unanswered{slow}"
        + (f", {summary.encrypted} messages encrypted: nothing to read" if summary.encrypted else "")
    )
    for called, asked in sorted(summary.services.items(), key=lambda each: -each[1].requests):
        yield f"    {called:<30} {_asked(asked)}"
    yield from _nodes(summary)
    if summary.tls:
        yield f"  {summary.tls} connections are in TLS: nothing to read"
    if summary.missing or summary.undecoded:
        yield f"  {summary.missing} bytes missing in the capture, {summary.undecoded} bytes not decoded"


def _channel(policy: str, channel: Channel) -> str:
    modes = ", ".join(sorted(channel.modes)) or "mode unknown"
    begun = f"{channel.opened} opened, {channel.renewed} renewals"
    if not channel.opened:
        begun = f"no handshake in the capture, {channel.renewed} renewals"
    sizes = [
        f"{who} {channel.messages[side]} messages in {channel.chunks[side]} chunks,"
        f" {channel.bytes[side]} bytes (largest chunk {channel.largest[side]})"
        for side, who in (("req", "client"), ("resp", "server"))
    ]
    return f"  channel {policy}, {modes}: {begun}; {'; '.join(sizes)}"


def _certificate(key: tuple[bool, str], row: tuple[Certificate, Any]) -> Iterator[str]:
    server, _ = key
    found, times = row
    sent = f"chain of {found.chain}" if found.chain > 1 else "alone"
    issued = "self-signed" if found.self_signed else f"issued by {found.issuer}"
    facts = ", ".join(filter(None, [found.key, found.hash, issued, sent]))
    who = "server" if server else "client"
    yield f"  certificate of the {who}: {found.subject or 'cannot be read'}   {spoken(times)}"
    yield f"    {found.uri or 'no ApplicationUri'}; {facts}"
    yield f"    {found.begins} to {found.until}, SHA-256 {found.fingerprint}"
    if found.refused:
        yield f"    the gateway would refuse it: {found.verdict}: {found.why}"
    else:
        place = " (assets[].opcua.server_certificate)" if server else ""
        yield f"    to the gateway: {found.verdict}{place}"


def _endpoint(found: dict[str, Any]) -> str:
    users = ", ".join(found["users"]) or "no user"
    return f"{found['url']} {found['policy']} {found['mode']}; users: {users}"


def _asked(asked: Asked) -> str:
    items = f", {asked.items} items" if asked.items else ""
    told = f"{asked.requests} asked{items}, {asked.answers} answered"
    for what, counts in (("faults", asked.faults), ("bad results", asked.results)):
        if counts:
            told += f", {what} {_codes(counts)}"
    return told


def _codes(counts: Counter[int]) -> str:
    return ", ".join(f"{status_name(status | BAD)} × {count}" for status, count in sorted(counts.items()))


def _nodes(summary: OpcuaSummary) -> Iterator[str]:
    nodes = Counter(summary.nodes)
    beyond = nodes.pop(OTHERS, 0)
    if not nodes:
        return
    yield f"  {len({node for _, node, _ in nodes})} nodes touched"
    for (service, node, attribute), count in nodes.most_common(MOST_SHOWN):
        yield f"    {service:<22} {node} {attribute}".rstrip() + f"   {count} ×"
    rest = len(nodes) - MOST_SHOWN
    if rest > 0:
        yield f"    and {rest} more; --json has them all"
    if beyond:
        yield f"    and {beyond} × nodes beyond what is counted by name"


def _listed(what: str, lines: list[str]) -> Iterator[str]:
    for text in lines[:MOST_LISTED]:
        yield f"  {what} {text}"
    if len(lines) > MOST_LISTED:
        yield f"  {what} and {len(lines) - MOST_LISTED} more"


__all__ = ["Line", "line", "traffic"]
