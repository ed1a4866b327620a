"""The messages of the handshake: both ways, and byte for byte as asyncua writes them."""

from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from gateway.wire.opcua import messages
from gateway.wire.opcua.fields import DIAGNOSTICS, LENGTH, Cursor, Extension, Localized, Node, UnreadableError
from gateway.wire.opcua.messages import (
    SHAPES,
    USER_TOKENS,
    ActivateSessionRequest,
    ActivateSessionResponse,
    AnonymousToken,
    ApplicationDescription,
    CertificateToken,
    CloseChannelRequest,
    CloseSessionRequest,
    CloseSessionResponse,
    CreateSessionRequest,
    CreateSessionResponse,
    EndpointDescription,
    FindServersRequest,
    FindServersResponse,
    GetEndpointsRequest,
    GetEndpointsResponse,
    IssuedToken,
    OpenRequest,
    OpenResponse,
    RequestHeader,
    ResponseHeader,
    SecurityToken,
    ServiceFault,
    SignatureData,
    SignedCertificate,
    Unread,
    UserNameToken,
    UserTokenPolicy,
    encode,
    read,
    type_id,
)
from gateway.wire.opcua.status import Status

WHEN = 133_000_000_000_000_000
"asyncua knows microseconds only."
ASKED = RequestHeader(
    token=b"\5\1\0\3\0\0\0abc", timestamp=WHEN, handle=6, diagnostics=7, audit_id="a", timeout_ms=8
)
TOLD = ResponseHeader(timestamp=WHEN, handle=6, status=7, strings=("a", None))
APPLICATION = ApplicationDescription(
    uri="urn:x",
    product_uri="urn:p",
    name="Tür",
    kind=2,
    gateway_uri="urn:g",
    profile_uri="p",
    urls=("u", None),
)
ENDPOINT = EndpointDescription(
    url="opc.tcp://x",
    server=APPLICATION,
    certificate=b"der",
    mode=3,
    policy_uri="p",
    users=(UserTokenPolicy(id="a", kind=3, issued_kind="k", issuer="i", policy_uri="u"),),
    level=9,
)
EXAMPLES: tuple[Any, ...] = (
    ServiceFault(TOLD),
    FindServersRequest(header=ASKED, url="u", locales=("de",), uris=("x",)),
    FindServersResponse(header=TOLD, servers=(APPLICATION,)),
    GetEndpointsRequest(header=ASKED, url="u", locales=("de",), profiles=("x",)),
    GetEndpointsResponse(header=TOLD, endpoints=(ENDPOINT, ENDPOINT)),
    OpenRequest(header=ASKED, version=1, kind=1, mode=3, nonce=b"n", lifetime_ms=2),
    OpenResponse(header=TOLD, version=1, token=SecurityToken(1, 2, WHEN, 4), nonce=None),
    CloseChannelRequest(ASKED),
    CreateSessionRequest(
        header=ASKED,
        client=APPLICATION,
        server_uri="s",
        url="u",
        name="n",
        nonce=b"n" * 32,
        certificate=b"c",
        timeout_ms=1.5,
        most_response=9,
    ),
    CreateSessionResponse(
        header=TOLD,
        session_id=b"\0\1",
        token=b"\2\0\0\1\0\0\0",
        timeout_ms=2.5,
        nonce=b"n",
        certificate=b"c",
        endpoints=(ENDPOINT,),
        software=(SignedCertificate(b"d", b"s"),),
        signature=SignatureData("a", b"s"),
        most_request=3,
    ),
    ActivateSessionRequest(
        header=ASKED,
        signature=SignatureData("a", b"s"),
        software=(SignedCertificate(b"d", b"s"),),
        locales=("de", "en"),
        user=messages.user(UserNameToken("a", "n", b"s", "x")),
        user_signature=SignatureData("a", None),
    ),
    ActivateSessionResponse(header=TOLD, nonce=b"n", results=(1, 2), diagnostics=(None,)),
    CloseSessionRequest(header=ASKED, delete_subscriptions=False),
    CloseSessionResponse(TOLD),
)
LOCALIZED = Localized()
USERS = (
    AnonymousToken("a"),
    UserNameToken("a", "n", b"s", "x"),
    CertificateToken("a", b"c"),
    IssuedToken("a", b"s", None),
)
each_message = pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)


def test_every_message_has_an_example() -> None:
    assert {type(message) for message in EXAMPLES} == set(SHAPES)
    assert {type(user) for user in USERS} == {kind for kind, _ in USER_TOKENS.values()}


@each_message
def test_it_is_read_as_it_was_written(message: Any) -> None:
    body = encode(message)
    assert type_id(body) == SHAPES[type(message)][0]
    read_again = read(body, type(message))
    assert encode(read_again) == body
    if "header" in message.__struct_fields__ and not getattr(message.header, "strings", None):
        assert read_again == message


@each_message
def test_asyncua_reads_it_to_the_last_byte_and_writes_the_same(message: Any) -> None:
    body = encode(message)
    their_type = getattr(ua, THEIR_NAMES.get(type(message).__name__, type(message).__name__))
    buffer = Buffer(body)
    read_by_them = struct_from_binary(their_type, buffer)
    assert len(buffer) == 0
    assert struct_to_binary(read_by_them) == body


THEIR_NAMES = {
    "OpenRequest": "OpenSecureChannelRequest",
    "OpenResponse": "OpenSecureChannelResponse",
    "CloseChannelRequest": "CloseSecureChannelRequest",
}


@each_message
def test_a_part_of_it_or_more_than_it_is_not_read(message: Any) -> None:
    body = encode(message)
    for size in range(len(body)):
        assert isinstance(read(body[:size], type(message)), Unread)
    assert isinstance(read(body + b"\0", type(message)), Unread)
    assert isinstance(read(b"\1\1" + body[2:], type(message)), Unread)


@pytest.mark.parametrize("user", USERS)
def test_a_user_is_read_as_it_was_written(user: messages.UserToken) -> None:
    assert messages.read_user(messages.user(user)) == user
    number, body = messages.user(user)
    for size in range(len(body)):
        assert isinstance(messages.read_user((number, body[:size])), Unread)


def test_no_user_is_an_anonymous_one() -> None:
    assert messages.read_user(None) == AnonymousToken(None)
    assert isinstance(messages.read_user((1, b"")), Unread)


def test_a_fault_names_the_request() -> None:
    fault = read(messages.fault(7, Status.TIMEOUT, 1_000), ServiceFault)
    assert fault == ServiceFault(
        ResponseHeader(timestamp=116_444_736_000_000_010, handle=7, status=Status.TIMEOUT)
    )


def test_our_codes_are_those_of_the_standard() -> None:
    known = {
        name.removeprefix("Bad").lower(): value
        for name, value in vars(StatusCodes).items()
        if name.startswith("Bad")
    }
    for status in Status:
        if status:
            assert known[status.name.replace("_", "").lower()] == status, status.name


@pytest.mark.parametrize(
    ("form", "size"), [(b"\0\1", 2), (b"\1\0\1\0", 4), (b"\2\0\0\1\0\0\0", 7), (b"\4\0\0" + b"g" * 16, 19)]
)
def test_node_ids_are_as_long_as_their_form_says(form: bytes, size: int) -> None:
    cursor = Cursor(form + b"rest")
    assert Node().read(cursor) == form
    assert cursor.at == size


@pytest.mark.parametrize("form", [b"\6\0", b"\x40\0\0", b"\x81\0\0\0", b"\3\0\0\xff\x7f\0\0", b""])
def test_other_forms_of_node_ids_are_refused(form: bytes) -> None:
    with pytest.raises(UnreadableError):
        Node().read(Cursor(form))


def test_a_text_may_name_its_language_which_nobody_reads() -> None:
    assert LOCALIZED.read(Cursor(b"\3\2\0\0\0de\4\0\0\0T\xc3\xbcr")) == "Tür"
    assert LOCALIZED.read(Cursor(b"\1\2\0\0\0de")) is None
    assert LOCALIZED.read(Cursor(b"\0")) is None
    for wrong in (b"\4", b"\xff", b"\2\2\0\0\0\xff\xfe", b"\2\xfe\xff\xff\xff"):
        with pytest.raises(UnreadableError):
            LOCALIZED.read(Cursor(wrong))


def test_what_a_server_adds_to_its_header_is_passed_over() -> None:
    body = messages.fault(7, Status.TIMEOUT, 0)
    for extra in (b"\0\0\0", b"\1\0\1\0\1\2\0\0\0xx", b"\0\0\2\0\0\0\0"):
        assert read(body[:-3] + extra, ServiceFault) == read(body, ServiceFault)
    assert isinstance(read(body[:-3] + b"\0\0\3", ServiceFault), Unread)
    told = b"\x3f" + bytes(16) + b"\1\0\0\0x" + bytes(4)
    assert read(body[:20] + told + body[21:], ServiceFault) == read(body, ServiceFault)


def test_diagnostics_nest_three_deep_and_no_deeper() -> None:
    DIAGNOSTICS.read(Cursor(b"\x40" * 3 + b"\0"))
    for bomb in (b"\x40" * 5 + b"\0", b"\x40" * 10_000, b"\x80", b"\x10\xff\xff\xff\x7f"):
        with pytest.raises(UnreadableError):
            DIAGNOSTICS.read(Cursor(bomb))


@pytest.mark.parametrize(
    "wrong",
    [
        b"\0\0\2" + LENGTH.pack(0),
        b"\0\0\1" + LENGTH.pack(-1),
        b"\0\0\1" + LENGTH.pack(101),
        b"\0\1\1" + LENGTH.pack(0),
        b"\1\1\1\0\1" + LENGTH.pack(0),
        b"\0\0\3",
    ],
)
def test_an_extension_object_is_binary_and_of_a_known_kind(wrong: bytes) -> None:
    with pytest.raises(UnreadableError):
        Extension(100).read(Cursor(wrong + bytes(200)))
