"""Services about endpoints and sessions are read as strictly, though they are never forwarded."""

from typing import Any

import pytest

from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.request import Malformed, Outbound, Request, read_request
from gateway.wire.opcua.services import SERVICES, Treatment
from tests.unit.wire.opcua.samples import UPSTREAM, answer, request, statuses, ua


def application() -> Any:
    made = ua.ApplicationDescription()
    made.ApplicationUri, made.ProductUri = "urn:client", "urn:product"
    made.ApplicationName = ua.LocalizedText("Client", "en")
    made.DiscoveryUrls = ["opc.tcp://one:4840", "opc.tcp://two:4840"]
    return made


def endpoint() -> Any:
    made = ua.EndpointDescription()
    made.EndpointUrl, made.Server, made.ServerCertificate = (
        "opc.tcp://one:4840",
        application(),
        b"certificate",
    )
    made.SecurityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
    token = ua.UserTokenPolicy()
    token.PolicyId = "anonymous"
    made.UserIdentityTokens = [token, token]
    return made


def user(kind: str) -> Any:
    made = getattr(ua, kind)()
    made.PolicyId = "policy"
    if kind == "UserNameIdentityToken":
        made.UserName, made.Password = "anna", b"secret"
    if kind == "X509IdentityToken":
        made.CertificateData = b"certificate"
    if kind == "IssuedIdentityToken":
        made.TokenData = b"eyJ"
    return made


def signature() -> Any:
    made = ua.SignatureData()
    made.Algorithm, made.Signature = "rsa", b"signature"
    return made


CASES: list[tuple[str, bytes, bytes]] = [
    (
        "GetEndpoints",
        request("GetEndpoints", EndpointUrl="opc.tcp://one:4840", LocaleIds=["en"], ProfileUris=[]),
        answer("GetEndpoints", Endpoints=[endpoint(), endpoint()]),
    ),
    (
        "FindServers",
        request("FindServers", EndpointUrl="opc.tcp://one:4840", ServerUris=["urn:server"]),
        answer("FindServers", Servers=[application()]),
    ),
    (
        "CreateSession",
        request(
            "CreateSession",
            ClientDescription=application(),
            EndpointUrl="opc.tcp://one:4840",
            SessionName="name",
            ClientNonce=bytes(32),
            ClientCertificate=b"certificate",
        ),
        answer(
            "CreateSession",
            SessionId=ua.NodeId(7, 1),
            ServerNonce=bytes(32),
            ServerEndpoints=[endpoint()],
            ServerSignature=signature(),
        ),
    ),
    *(
        (
            "ActivateSession",
            request(
                "ActivateSession",
                ClientSignature=signature(),
                LocaleIds=["en", "de"],
                UserIdentityToken=user(kind),
                UserTokenSignature=signature(),
            ),
            answer("ActivateSession", ServerNonce=bytes(32), Results=statuses(0)),
        )
        for kind in (
            "AnonymousIdentityToken",
            "UserNameIdentityToken",
            "X509IdentityToken",
            "IssuedIdentityToken",
        )
    ),
    ("CloseSession", request("CloseSession", DeleteSubscriptions=True), answer("CloseSession")),
]


@pytest.mark.parametrize(
    ("name", "asked", "said"), CASES, ids=lambda case: case if isinstance(case, str) else ""
)
def test_they_are_read_to_the_last_byte(name: str, asked: bytes, said: bytes) -> None:
    found = read_request(asked)
    assert isinstance(found, Request), found
    assert (found.service.name, found.service.local, found.items) == (name, True, 0)
    outbound = Outbound(found, UPSTREAM)
    assert isinstance(read_answer(outbound, said), ServiceAnswer)
    for end in range(len(asked)):
        assert isinstance(read_request(asked[:end]), Malformed), end
    for end in range(len(said)):
        assert isinstance(read_answer(outbound, said[:end]), Malformed), end
    assert isinstance(read_request(asked + b"\0"), Malformed)
    assert isinstance(read_answer(outbound, said + b"\0"), Malformed)


def test_a_user_token_fits_its_length() -> None:
    asked = CASES[4][1]
    at = asked.index(b"\x01\x00\x44\x01\x01") + 5
    for wrong in (-1, 1):
        size = int.from_bytes(asked[at : at + 4], "little") + wrong
        assert isinstance(read_request(asked[:at] + size.to_bytes(4, "little") + asked[at + 4 :]), Malformed)


def test_all_of_them_are_tried_here_but_those_of_the_channel() -> None:
    local = {row.name for row in SERVICES.values() if row.treatment is Treatment.LOCAL}
    assert {name for name, _, _ in CASES} == local - {"OpenSecureChannel", "CloseSecureChannel"}
