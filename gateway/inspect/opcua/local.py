"""Discovery and sessions in clear: what they say that people want to know (OPC 10000-4 §5.5–5.7).

Secrets are looked at and never kept: a line says that a password can be read, not which.
"""

from typing import Any

from msgspec import Struct

from gateway.inspect.opcua.findings import OpcuaFinding
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    AnonymousToken,
    CertificateToken,
    CreateSessionRequest,
    CreateSessionResponse,
    EndpointDescription,
    GetEndpointsResponse,
    IssuedToken,
    Unread,
    UserNameToken,
    read,
    read_user,
)
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.security import POLICY_PREFIX

MODE_NAMES = ("Invalid", "None", "Sign", "SignAndEncrypt")
"MessageSecurityMode (OPC 10000-4 §7.20)."
USER_KINDS = ("anonymous", "user name", "certificate", "token")
MOST_ENDPOINTS = 64
"Endpoints of one answer that are told."
MOST_TEXT = 300


class Says(Struct):
    """What such a message says."""

    details: dict[str, Any] = {}
    findings: tuple[OpcuaFinding, ...] = ()
    user: str | None = None
    "As policy would see it on top of the application."
    chain: bytes = b""
    "A certificate that is shown."
    token: bytes = b""
    "Of the session that is made, as requests name it."


def asked(request: Request) -> Says:
    """A request of one of these services."""
    match request.service.name:
        case "CreateSession":
            return _create(read(request.body, CreateSessionRequest))
        case "ActivateSession":
            return _activate(read(request.body, ActivateSessionRequest))
        case _:
            return Says()


def answered(answer: ServiceAnswer) -> Says:
    """An answer of one of them."""
    if not answer.good or answer.fault:
        return Says()
    match answer.outbound.request.service.name:
        case "CreateSession":
            return _created(read(answer.body, CreateSessionResponse))
        case "GetEndpoints":
            return _endpoints(read(answer.body, GetEndpointsResponse))
        case _:
            return Says()


def _create(found: CreateSessionRequest | Unread) -> Says:
    if isinstance(found, Unread):
        return Says()
    told = {
        "name": text(found.name),
        "url": text(found.url),
        "application": text(found.client.uri),
        "product": text(found.client.product_uri),
        "timeout_ms": found.timeout_ms if found.timeout_ms == found.timeout_ms else None,
    }
    return Says({"session": told}, chain=found.certificate or b"")


def _created(found: CreateSessionResponse | Unread) -> Says:
    if isinstance(found, Unread):
        return Says()
    revised = found.timeout_ms if found.timeout_ms == found.timeout_ms else None
    told = {"timeout_ms": revised, "endpoints": [endpoint(each) for each in found.endpoints[:MOST_ENDPOINTS]]}
    return Says({"session": told}, chain=found.certificate or b"", token=found.token)


def _activate(found: ActivateSessionRequest | Unread) -> Says:
    if isinstance(found, Unread):
        return Says()
    token = read_user(found.user)
    match token:
        case AnonymousToken():
            return Says({"user": {"kind": "anonymous", "name": None}})
        case UserNameToken(name=name, secret=secret, algorithm=algorithm):
            readable = bool(secret) and not algorithm
            return Says(
                {"user": {"kind": "user name", "name": text(name), "readable": readable}},
                (OpcuaFinding.PASSWORD_IN_CLEAR,) if readable else (),
                f"user:{text(name)}",
            )
        case CertificateToken():
            return Says({"user": {"kind": "certificate", "name": None}})
        case IssuedToken(secret=secret, algorithm=algorithm):
            readable = bool(secret) and not algorithm
            return Says(
                {"user": {"kind": "token", "name": None, "readable": readable}},
                (OpcuaFinding.PASSWORD_IN_CLEAR,) if readable else (),
            )
        case _:
            return Says({"user": {"kind": "unknown", "name": None}})


def _endpoints(found: GetEndpointsResponse | Unread) -> Says:
    if isinstance(found, Unread):
        return Says()
    told = [endpoint(each) for each in found.endpoints[:MOST_ENDPOINTS]]
    chain = next((each.certificate for each in found.endpoints if each.certificate), b"")
    return Says({"endpoints": told}, chain=chain)


def endpoint(found: EndpointDescription) -> dict[str, Any]:
    """One endpoint that a server offers."""
    return {
        "url": text(found.url),
        "policy": policy_name(found.policy_uri),
        "mode": MODE_NAMES[found.mode],
        "users": list(dict.fromkeys(USER_KINDS[each.kind] for each in found.users)),
        "application": text(found.server.uri),
    }


def policy_name(uri: str | None) -> str:
    """`Basic256Sha256`, `None`; the whole URI of one that is nobody's."""
    return text(uri.removeprefix(POLICY_PREFIX)) or "" if uri else ""


def text(found: str | None) -> str | None:
    """A stranger's text on one line."""
    if found is None:
        return None
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in found)[:MOST_TEXT]
