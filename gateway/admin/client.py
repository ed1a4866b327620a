"""Who calls the admin API from a person's machine: the command line, and whoever writes another client.

The person's key stays here. What a person signs is made from the operation's document itself, which is held
against its digest and its sentence first: a gateway in wrong hands cannot show one thing and have another
signed.
"""

import http.client
import json
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.admin import statement, wanted
from gateway.admin.statement import Statement
from gateway.identity.certificate import Refused, identify
from gateway.identity.contexts import client_context
from gateway.identity.keyfile import read_public
from gateway.model.errors import GatewayError, IdentityError
from gateway.model.moment import SECOND

TIMEOUT_S = 15.0
"How long an answer may take: longer than the gateway gives itself."
MOST_ANSWER = 17 * 1024 * 1024
"A bundle's archive takes 16 MiB at most (`activation_routes`), a list of 100 requests 1 MB."


class NotReachedError(GatewayError):
    """No gateway answers there, or not one that its certificate names."""


class AnswerIsNoError(GatewayError):
    """The gateway answered with a problem (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str, reasons: list[str]) -> None:
        super().__init__(detail + (f": {', '.join(reasons)}" if reasons else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.reasons = reasons
        "Codes of the policy rules that denied, where the gateway told them."

    def told(self) -> dict[str, Any]:
        """For `--json`."""
        return {"status": self.status, "code": self.code, "detail": self.detail, "reasons": self.reasons}


class Person:
    """A person at a gateway's admin API."""

    def __init__(self, gateway: str, anchors: Path, certificate: Path, key: Path, now_s: int) -> None:
        """`gateway` is `https://host:port`; the name in it must stand in the gateway's certificate.

        `now_s` is the time of this person's machine, seconds since 1970.
        """
        parts = urlsplit(gateway)
        try:
            self._host, self._port = parts.hostname or "", parts.port or 443
        except ValueError as error:
            raise NotReachedError(f"{gateway}: {error}") from None
        if parts.scheme != "https" or not self._host or parts.path.strip("/") or parts.query:
            raise NotReachedError(f"{gateway}: give https://host:port")
        self._context = client_context(anchors, certificate, key)
        self._key = key
        self._certificate = _leaf(certificate)
        self._now_s = now_s

    def get(self, path: str) -> dict[str, Any]:
        """What the resource says."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any], within_s: float = TIMEOUT_S) -> dict[str, Any]:
        """What came of the act."""
        return self._ask("POST", path, json.dumps(body).encode(), within_s)

    def answer(
        self, request: dict[str, Any], gateway: str, decision: Literal["grant", "refuse"], within_s: int
    ) -> dict[str, Any]:
        """Sign what a person says about a listed request, and send it."""
        text = statement.encode(self.say(request, gateway, decision, within_s))
        body = {
            "statement": text.decode(),
            "signature": b64encode(statement.sign(text, self._key)).decode(),
            "certificate": b64encode(self._certificate).decode(),
        }
        return self.post(f"/admin/v1/approvals/{quote(request['request'], safe='')}/{decision}", body)

    def say(
        self, request: dict[str, Any], gateway: str, decision: Literal["grant", "refuse"], within_s: int
    ) -> Statement:
        """What would be signed; GatewayError where the gateway contradicts itself."""
        return said(request, gateway, decision, self.subject, self._now_s, within_s)

    @property
    def subject(self) -> str:
        """Whom the certificate names."""
        found = identify(self._certificate, "", self._now_s * SECOND)
        if isinstance(found, Refused):
            raise IdentityError(found.message)
        return found.subject

    def _ask(self, method: str, path: str, body: bytes | None, within_s: float = TIMEOUT_S) -> dict[str, Any]:
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=within_s, context=self._context
        )
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read(MOST_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NotReachedError(f"https://{self._host}:{self._port}: {_why(error)}") from None
        finally:
            connection.close()
        return _read(response.status, data)


def said(
    request: dict[str, Any],
    gateway: str,
    decision: Literal["grant", "refuse"],
    approver: str,
    now_s: int,
    within_s: int,
) -> Statement:
    """The statement about a request as a gateway lists it; GatewayError where it contradicts itself."""
    document = _document(request)
    if document["subject"]["id"] != request["requester"]:
        raise GatewayError("the gateway names another requester than the operation does: sign nothing")
    return Statement(
        gateway=gateway,
        request=request["request"],
        operation=wanted.digest(document),
        what=wanted.words(document),
        requester=request["requester"],
        decision=decision,
        approver=approver,
        issued=statement.rfc3339(now_s),
        expires=statement.rfc3339(now_s + within_s),
    )


def _document(request: dict[str, Any]) -> wanted.Document:
    """The operation, if digest and words that the gateway shows are its own."""
    try:
        document = msgspec.json.decode(request["document"], type=wanted.Document)
        agrees = wanted.canonical(document).decode() == request["document"]
        agrees = agrees and wanted.digest(document) == request["operation"]
        agrees = agrees and wanted.words(document) == request["what"]
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise GatewayError(f"the gateway's answer cannot be read: {error!r}") from None
    if not agrees:
        raise GatewayError("what the gateway shows is not what it would have signed: sign nothing")
    return document


def _leaf(certificate: Path) -> bytes:
    try:
        first = x509.load_pem_x509_certificates(read_public(certificate))[0]
    except ValueError as error:
        raise IdentityError(f"{certificate}: not a PEM certificate: {error}") from None
    return first.public_bytes(Encoding.DER)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the gateway's certificate does not count: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    return str(error) or type(error).__name__


def _read(status: int, data: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(data[:MOST_ANSWER], type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise NotReachedError(f"what answers there is no admin API (HTTP {status})") from None
    if status == http.client.OK:
        return told
    reasons = told.get("reasons")
    raise AnswerIsNoError(
        status,
        str(told.get("code", f"http_{status}")),
        str(told.get("detail", "no detail")),
        [str(reason) for reason in reasons] if isinstance(reasons, list) else [],
    )
