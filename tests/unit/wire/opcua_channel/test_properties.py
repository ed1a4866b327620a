"""The properties of the door that live in the channel and its sessions, each by its name.

An *outsider* has whatever he likes but no certificate that is trusted; an *insider* has one, and a user.
Unless a test says otherwise: one policy, SignAndEncrypt, users with passwords.
"""

import gc
import time
import tracemalloc
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.moment import Now
from gateway.wire.opcua import login, messages, offers, tokens, usersecret
from gateway.wire.opcua.asymmetric import SEQUENCE, head
from gateway.wire.opcua.events import Admitted, Hello, Lost, Message, Opened, Rejected
from gateway.wire.opcua.framing import HEAD, MOST_OPEN, Fault, error, hello
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    CreateSessionRequest,
    GetEndpointsRequest,
    OpenRequest,
    RequestHeader,
    Unread,
)
from gateway.wire.opcua.security import (
    MODE_NUMBERS,
    NONE_URI,
    POLICY_PREFIX,
    SUITES,
    Credentials,
    seal_open,
    thumbprint,
    wrap,
)
from gateway.wire.opcua.server_channel import ServerChannel
from gateway.wire.opcua.status import Status
from tests.opcua import LIMITS, OFFERS, URL, Pair, admitted, at, credentials, dice, trusting
from tests.unit.wire.opcua_channel.sessions import KINDS, Visit

HARDEST = frozenset({(OpcuaPolicy.AES256_SHA256_RSAPSS, OpcuaMode.SIGN_AND_ENCRYPT)})
SUITE = SUITES[OpcuaPolicy.AES256_SHA256_RSAPSS]
FAILED = Status.SECURITY_CHECKS_FAILED
MOST_WORK_MS = 50.0


class CountedKey:
    """A private key that counts what it is made to do."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key
        self.used = 0

    @property
    def key_size(self) -> int:
        return self._key.key_size

    def decrypt(self, *args: Any) -> bytes:
        self.used += 1
        return self._key.decrypt(*args)

    def sign(self, *args: Any) -> bytes:
        self.used += 1
        return self._key.sign(*args)


def counted() -> tuple[Credentials, CountedKey]:
    mine = credentials("server")
    key = CountedKey(mine.key)
    return Credentials(mine.chain, key), key  # type: ignore[arg-type]


def server(mine: Credentials | None = None, *, trusted: tuple[str, ...] = ("client",)) -> ServerChannel:
    """A server that offers the hardest alone, after Hello."""
    channel = ServerChannel(mine or credentials("server"), HARDEST, LIMITS, dice(), 77, trusting(*trusted))
    assert channel.receive(hello(LIMITS.buffers, URL), at()) == [Hello(URL)]
    channel.take()
    return channel


def opening(
    *,
    who: Credentials | None = None,
    chain: bytes | None = None,
    uri: str = SUITE.uri,
    receiver: bytes | None = None,
    mode: int = MODE_NUMBERS[OpcuaMode.SIGN_AND_ENCRYPT],
    nonce: bytes | None = b"n" * 32,
    kind: int = 0,
    extra: bytes = b"",
) -> bytes:
    """A first OpenSecureChannel, made by hand."""
    mine, theirs = who or credentials("client"), credentials("server")
    to = thumbprint(theirs.leaf) if receiver is None else receiver
    clear = head(0, uri, mine.sent if chain is None else chain, to)
    body = messages.encode(OpenRequest(kind=kind, mode=mode, nonce=nonce, lifetime_ms=60_000))
    return seal_open(SUITE, mine.key, theirs.key.public_key(), clear, SEQUENCE.pack(1, 1) + body + extra)


# 1 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "chain"),
    [
        ("outsider", None),
        ("client", credentials("outsider").leaf),
        ("outsider", credentials("outsider").leaf + credentials("client").leaf),
        ("client", b""),
        ("client", credentials("client").leaf[:-1]),
        ("client", credentials("client").leaf + b"\0"),
    ],
)
def test_1_no_private_key_is_used_for_an_outsider(who: str, chain: bytes | None) -> None:
    mine, key = counted()
    (event,) = server(mine).receive(opening(who=credentials(who), chain=chain), at())
    assert isinstance(event, Lost)
    assert (event.status, event.why) in {(FAILED, Fault.UNTRUSTED), (FAILED, Fault.CERTIFICATE)}
    assert key.used == 0


def test_1_the_outsider_learns_no_more_than_that_checks_failed() -> None:
    channel = server()
    (event,) = channel.receive(opening(who=credentials("outsider")), at())
    assert event == Lost(FAILED, Fault.UNTRUSTED, "nobody knows it")
    assert channel.take() == error(FAILED)


def test_1_the_insiders_key_must_be_his() -> None:
    """A certificate is public: who shows another's has no key to sign with."""
    mine = credentials("outsider")
    (event,) = server().receive(opening(who=mine, chain=credentials("client").leaf), at())
    assert event == Lost(FAILED, Fault.OPEN)


def test_1_trust_is_asked_again_at_every_renewal() -> None:
    revoked = False

    def admit(chain: bytes, now: Now) -> Admitted | Rejected:
        return Rejected("revoked") if revoked else admitted()

    mine, key = counted()
    pair = Pair(server=mine, admit=admit)
    pair.connect()
    before = key.used
    revoked = True
    assert pair.renew(at(5))[0] == Lost(FAILED, Fault.UNTRUSTED, "revoked")
    assert key.used == before


# 2 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Basic128Rsa15",
        "Basic256",
        "Basic256Sha256",
        "Aes128_Sha256_RsaOaep",
        "none",
        "",
        "Aes256_Sha256_RsaPss\0",
    ],
)
def test_2_a_policy_that_is_not_offered_is_refused_before_the_key_is_used(name: str) -> None:
    mine, key = counted()
    (event,) = server(mine).receive(opening(uri=POLICY_PREFIX + name), at())
    assert event == Lost(Status.SECURITY_POLICY_REJECTED, Fault.POLICY)
    assert key.used == 0


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_2_a_mode_that_is_not_offered_is_refused(mode: int) -> None:
    (event,) = server().receive(opening(mode=mode), at())
    assert event == Lost(Status.SECURITY_MODE_REJECTED, Fault.MODE)


def test_2_a_message_for_another_receiver_is_refused_before_the_key_is_used() -> None:
    mine, key = counted()
    for receiver in (bytes(20), b"", thumbprint(credentials("client").leaf)):
        (event,) = server(mine).receive(opening(receiver=receiver), at())
        assert event == Lost(FAILED, Fault.THUMBPRINT)
    assert key.used == 0


def plain(channel: ServerChannel, *, mode: int = 1, kind: int = 0, chain: bytes | None = None) -> list[Any]:
    """Open a channel without security."""
    clear = head(0, NONE_URI, chain, None)
    body = messages.encode(OpenRequest(kind=kind, mode=mode, nonce=None, lifetime_ms=60_000))
    whole = clear + SEQUENCE.pack(1, 1) + body
    return list(channel.receive(whole[:4] + len(whole).to_bytes(4, "little") + whole[8:], at()))


def test_2_a_channel_without_security_is_for_discovery() -> None:
    channel = server()
    (event,) = plain(channel)
    assert event == Opened(policy=None, mode=None, application=None, renewed=False, lifetime_ms=60_000)
    token = channel._token
    assert token is not None
    body = messages.encode(GetEndpointsRequest(url=URL))
    chunk = token.incoming.seal(b"MSGF", 77, token.id, 2, 5, body)
    assert channel.receive(chunk, at()) == [Message(5, body, True)]
    assert {422, 428} == messages.DISCOVERY
    request = CreateSessionRequest(
        client=messages.ApplicationDescription(uri="urn:test:client"),
        nonce=bytes(32),
        certificate=credentials("client").leaf,
        timeout_ms=1.0,
    )
    refused = tokens.create(request, channel, (), 0, dice(), at())
    assert isinstance(refused, tokens.Refusal)
    assert refused.status is Status.SECURITY_MODE_INSUFFICIENT


@pytest.mark.parametrize("kind", [b"MSGC", b"MSGA"])
def test_2_nobody_has_a_message_of_several_chunks_kept(kind: bytes) -> None:
    channel = server()
    plain(channel)
    assert channel.receive(HEAD.pack(kind, 100), at()) == [Lost(Status.TCP_MESSAGE_TYPE_INVALID, Fault.TYPE)]
    again = server()
    plain(again)
    assert again.receive(HEAD.pack(b"MSGF", MOST_OPEN + 1), at()) == [
        Lost(Status.TCP_MESSAGE_TOO_LARGE, Fault.SIZE)
    ]


@pytest.mark.parametrize("rest", [b"", b"\xff" * 3, b"\xff" * 12, b"\xff" * 12 + bytes(7)])
def test_2_an_opening_without_a_header_is_refused(rest: bytes) -> None:
    (event,) = server().receive(HEAD.pack(b"OPNF", 8 + len(rest)) + rest, at())
    assert isinstance(event, Lost)
    assert event.why in {Fault.HEADER, Fault.CHANNEL_ID}
    clear = head(0, NONE_URI, None, None) + bytes(7)
    short = clear[:4] + len(clear).to_bytes(4, "little") + clear[8:]
    assert server().receive(short, at()) == [Lost(FAILED, Fault.OPEN)]


@pytest.mark.parametrize("mode", [0, 2, 3])
def test_2_without_security_no_mode_is_claimed(mode: int) -> None:
    (event,) = plain(server(), mode=mode)
    assert event == Lost(Status.SECURITY_MODE_REJECTED, Fault.MODE)


def test_2_without_security_no_certificate_is_shown() -> None:
    (event,) = plain(server(), chain=credentials("client").leaf)
    assert event == Lost(FAILED, Fault.HEADER)


def test_2_a_secured_channel_does_not_turn_into_one_without_security() -> None:
    pair = Pair()
    pair.connect()
    clear = head(77, NONE_URI, None, None)
    body = messages.encode(OpenRequest(kind=1, mode=1, nonce=None, lifetime_ms=0))
    whole = clear + SEQUENCE.pack(2, 2) + body
    whole = whole[:4] + len(whole).to_bytes(4, "little") + whole[8:]
    assert pair.server.receive(whole, at(5)) == [Lost(FAILED, Fault.CHANGED)]


# 3 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"certificate": None}, Status.CERTIFICATE_INVALID),
        ({"certificate": b""}, Status.CERTIFICATE_INVALID),
        ({"certificate": credentials("other").leaf}, Status.CERTIFICATE_INVALID),
        ({"certificate": credentials("client").leaf[:-1] + b"\0"}, Status.CERTIFICATE_INVALID),
        ({"uri": "urn:test:other"}, Status.CERTIFICATE_URI_INVALID),
        ({"uri": "urn:test:Client"}, Status.CERTIFICATE_URI_INVALID),
        ({"uri": None}, Status.CERTIFICATE_URI_INVALID),
        ({"nonce": None}, Status.NONCE_INVALID),
        ({"nonce": bytes(31)}, Status.NONCE_INVALID),
    ],
)
def test_3_a_session_is_the_channels_own(changed: dict[str, Any], status: Status) -> None:
    made = Visit().create(**changed)
    assert isinstance(made, tokens.Refusal)
    assert made.status is status


def test_3_a_nonce_of_129_bytes_is_not_even_read() -> None:
    request = CreateSessionRequest(
        client=messages.ApplicationDescription(uri="u"), nonce=bytes(129), certificate=None, timeout_ms=1.0
    )
    assert isinstance(messages.read(messages.encode(request), CreateSessionRequest), Unread)


@pytest.mark.parametrize("size", [32, 128])
def test_3_a_nonce_of_32_to_128_bytes_is_taken(size: int) -> None:
    assert isinstance(Visit().create(nonce=bytes(size)), tokens.Created)


# 4 ------------------------------------------------------------------------------------------------------


def test_4_a_token_is_32_bytes_of_chance_and_not_the_session_id() -> None:
    visit = Visit()
    made = [visit.create() for _ in range(50)]
    sessions = [each.session for each in made if isinstance(each, tokens.Created)]
    assert len({session.token for session in sessions}) == 50
    for session in sessions:
        assert session.token[:7] == b"\5\1\0\x20\0\0\0"
        assert len(session.token) == 7 + 32
        assert session.id[3:] not in session.token


def test_4_a_token_opens_nothing_on_another_channel() -> None:
    """An insider who has seen another's token is told what he would be told for no session at all."""
    victim = Visit()
    session = victim.activated()
    assert session.refuses(victim.pair.server) is None
    thief = Visit(channel_id=78)
    assert session.refuses(thief.pair.server) is Status.SESSION_ID_INVALID


def test_4_a_session_serves_nothing_before_it_is_active() -> None:
    visit = Visit()
    session = visit.created()
    assert session.refuses(visit.pair.server) is Status.SESSION_NOT_ACTIVATED


# 5 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"signer": credentials("other")},
        {"nonce": bytes(32)},
        {"certificate": credentials("other").leaf},
        {"algorithm": None},
        {"algorithm": SUITES[OpcuaPolicy.AES256_SHA256_RSAPSS].sign_uri},
        {"signature": None},
        {"signature": b""},
        {"signature": bytes(256)},
    ],
)
def test_5_possession_is_proven_before_anything_changes(changed: dict[str, Any]) -> None:
    visit = Visit()
    session = visit.created()
    before = visit.state(session)
    refused = visit.check(session, **changed)
    assert isinstance(refused, tokens.Refusal)
    assert refused.status is Status.APPLICATION_SIGNATURE_INVALID
    assert visit.state(session) == before
    assert isinstance(visit.check(session), tokens.Activation), "and the right one still may"


def test_5_the_signature_comes_before_the_user_is_looked_at() -> None:
    visit = Visit()
    session = visit.created()
    refused = visit.check(session, signature=b"", user=(99, b"no token at all"))
    assert isinstance(refused, tokens.Refusal)
    assert refused.status is Status.APPLICATION_SIGNATURE_INVALID


def test_5_a_chain_of_ours_may_be_signed_whole() -> None:
    """For clients of before 1.04 (OPC 10000-4 §5.7.3.2)."""
    mine = credentials("server")
    chained = Credentials((mine.leaf, credentials("other").leaf), mine.key)
    visit = Visit(server=chained)
    session = visit.created()
    for shown in (chained.leaf, chained.sent):
        assert isinstance(visit.check(session, certificate=shown), tokens.Activation)
    assert isinstance(visit.check(session, certificate=chained.chain[1]), tokens.Refusal)


def test_5_an_activation_serves_once() -> None:
    visit = Visit()
    session = visit.created()
    first, second = visit.check(session), visit.check(session)
    assert isinstance(first, tokens.Activation)
    assert isinstance(second, tokens.Activation)
    assert isinstance(session.commit(first, "user:a", visit.pair.server, dice(5), at()), bytes)
    for again in (first, second):
        refused = session.commit(again, "user:b", visit.pair.server, dice(6), at())
        assert isinstance(refused, tokens.Refusal)
    assert session.user == "user:a"


# 6 ------------------------------------------------------------------------------------------------------


def test_6_the_first_activation_comes_on_the_channel_of_create_session() -> None:
    visit, elsewhere = Visit(), Visit(channel_id=78)
    session = visit.created()
    refused = visit.check(session, channel=elsewhere.pair.server)
    assert isinstance(refused, tokens.Refusal)
    assert refused.status is Status.SESSION_ID_INVALID


def test_6_a_session_moves_to_another_channel_of_the_same_client() -> None:
    visit, later = Visit(), Visit(channel_id=78)
    session = visit.activated(user="user:operator")
    activation = visit.check(session, channel=later.pair.server)
    assert isinstance(activation, tokens.Activation)
    assert session.refuses(visit.pair.server) is None, "nothing has moved yet"
    assert isinstance(session.commit(activation, "user:operator", later.pair.server, dice(), at()), bytes)
    assert session.refuses(later.pair.server) is None
    assert session.refuses(visit.pair.server) is Status.SESSION_ID_INVALID, "the old channel has lost it"


def test_6_another_insider_does_not_take_a_session_over() -> None:
    visit = Visit()
    session = visit.activated()
    thief = Visit(channel_id=78, client="other")
    before = visit.state(session)
    refused = visit.check(session, channel=thief.pair.server, signer=credentials("other"))
    assert isinstance(refused, tokens.Refusal)
    assert refused.status is Status.SESSION_ID_INVALID
    assert visit.state(session) == before


def test_6_a_session_moves_with_its_user_only() -> None:
    visit, later = Visit(), Visit(channel_id=78)
    session = visit.activated(user="user:operator")
    for user in ("user:other", None):
        activation = visit.check(session, channel=later.pair.server)
        assert isinstance(activation, tokens.Activation)
        refused = session.commit(activation, user, later.pair.server, dice(), at())
        assert isinstance(refused, tokens.Refusal)
        assert refused.status is Status.IDENTITY_CHANGE_NOT_SUPPORTED
    assert session.user == "user:operator"
    assert session.refuses(visit.pair.server) is None


def test_6_a_session_does_not_move_to_weaker_protection() -> None:
    visit, weaker = Visit(), Visit(channel_id=78, mode=OpcuaMode.SIGN)
    session = visit.activated()
    assert isinstance(visit.check(session, channel=weaker.pair.server), tokens.Refusal)


def test_6_an_activation_is_for_the_channel_that_it_was_made_on() -> None:
    visit, later, third = Visit(), Visit(channel_id=78), Visit(channel_id=79, client="other")
    session = visit.activated()
    activation = visit.check(session, channel=later.pair.server)
    assert isinstance(activation, tokens.Activation)
    for elsewhere in (visit, third):
        refused = session.commit(activation, None, elsewhere.pair.server, dice(), at())
        assert isinstance(refused, tokens.Refusal)
        assert refused.status is Status.SESSION_ID_INVALID
    assert session.refuses(visit.pair.server) is None


# 7 ------------------------------------------------------------------------------------------------------


def test_7_a_nonce_is_32_bytes_and_replaced_by_every_activation() -> None:
    visit = Visit()
    session = visit.created()
    seen = {session.nonce}
    for _ in range(10):
        activation = visit.check(session)
        assert isinstance(activation, tokens.Activation)
        answer = session.commit(activation, None, visit.pair.server, visit.random, at())
        assert isinstance(answer, bytes)
        told = messages.read(answer, messages.ActivateSessionResponse)
        assert isinstance(told, messages.ActivateSessionResponse)
        assert told.nonce == session.nonce
        seen.add(session.nonce)
    assert len(seen) == 11
    assert {len(nonce) for nonce in seen} == {32}


def test_7_a_signature_and_a_password_for_an_old_nonce_are_worth_nothing() -> None:
    visit = Visit()
    session = visit.created()
    old = session.nonce
    password = visit.password("geheim", old)
    activation = visit.check(session)
    assert isinstance(activation, tokens.Activation)
    session.commit(activation, None, visit.pair.server, visit.random, at())
    assert isinstance(visit.check(session, nonce=old), tokens.Refusal)
    stale = visit.check(session, user=password)
    assert isinstance(stale, tokens.Activation)
    assert isinstance(stale.user, tokens.Named)
    assert stale.user.secret.text != "geheim"


# 8 ------------------------------------------------------------------------------------------------------

NONCE = bytes(range(32))


def sealed(secret: bytes = b"geheim", nonce: bytes = NONCE, policy: OpcuaPolicy | None = None) -> bytes:
    suite = SUITES[policy] if policy is not None else offers.USER_SUITE
    return usersecret.seal(suite, credentials("server").key.public_key(), secret, nonce)


def unsealed(secret: bytes, algorithm: str | None = offers.USER_SUITE.wrap_uri) -> usersecret.Secret:
    return usersecret.open_(offers.USER_SUITE, credentials("server"), secret, algorithm, NONCE, b"\xab" * 32)


def test_8_a_password_is_opened() -> None:
    assert unsealed(sealed()) == usersecret.Secret("geheim", True)
    assert unsealed(sealed(b"")) == usersecret.Secret("", True)
    assert unsealed(sealed("schlüssel".encode() * 40)) == usersecret.Secret("schlüssel" * 40, True)


RSA15 = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"


@pytest.mark.parametrize(
    ("secret", "algorithm"),
    [
        (sealed(), RSA15),
        (sealed(), None),
        (sealed(), ""),
        (b"geheim", None),
        (sealed(policy=OpcuaPolicy.AES256_SHA256_RSAPSS), SUITE.wrap_uri),
        (sealed(policy=OpcuaPolicy.AES256_SHA256_RSAPSS), offers.USER_SUITE.wrap_uri),
        (sealed(nonce=bytes(32)), offers.USER_SUITE.wrap_uri),
        (sealed(nonce=NONCE[:31]), offers.USER_SUITE.wrap_uri),
        (sealed(nonce=b"", secret=b""), offers.USER_SUITE.wrap_uri),
        (sealed(b"\xff\xfe"), offers.USER_SUITE.wrap_uri),
        (sealed()[:-1], offers.USER_SUITE.wrap_uri),
        (bytes(256), offers.USER_SUITE.wrap_uri),
        (b"", offers.USER_SUITE.wrap_uri),
        (sealed(b"x" * 3000), offers.USER_SUITE.wrap_uri),
    ],
)
def test_8_every_secret_that_is_not_sound_looks_alike(secret: bytes, algorithm: str | None) -> None:
    """It becomes a secret that nobody can have: it fails where wrong passwords fail, and as they do."""
    assert unsealed(secret, algorithm) == usersecret.Secret("ab" * 32, False)


def test_8_a_length_that_does_not_fit_is_not_sound() -> None:
    mine = credentials("server")
    for length in (0, 37, 39, 0xFFFF_FFFF):
        inside = length.to_bytes(4, "little") + b"geheim" + NONCE
        assert not unsealed(wrap(offers.USER_SUITE, mine.key.public_key(), inside)).sound


def test_8_a_user_is_told_to_use_the_one_algorithm() -> None:
    kinds = offers.users(anonymous=True, passwords=True, certificates=True, issuer="{}")
    assert {kind.policy_uri for kind in kinds if kind.kind} == {offers.USER_SUITE.uri}
    assert offers.users() == ()


@pytest.mark.parametrize(
    "user",
    [
        (99, b""),
        (321, b""),
        (321, b"\xff\xff\xff\xff\0"),
        messages.user(messages.AnonymousToken("other")),
        messages.user(messages.UserNameToken(None, "operator", b"")),
        messages.user(messages.UserNameToken("anonymous", "operator", b"")),
        messages.user(messages.IssuedToken("jwt", b"")),
        messages.user(messages.CertificateToken("certificate", b"no certificate")),
    ],
)
def test_8_a_kind_of_user_that_is_not_offered_is_refused(user: tuple[int, bytes]) -> None:
    visit = Visit()
    refused = visit.check(visit.created(), user=user)
    assert isinstance(refused, tokens.Refusal)
    assert refused.status is Status.IDENTITY_TOKEN_INVALID


def test_8_a_users_certificate_needs_the_users_key() -> None:
    visit = Visit()
    session = visit.created()
    good = visit.check(session, user_key=credentials("user"))
    assert isinstance(good, tokens.Activation)
    assert good.user == tokens.Certified(credentials("user").leaf)
    for changed in ({"user_signer": credentials("other")}, {"user_nonce": bytes(32)}):
        refused = visit.check(session, user_key=credentials("user"), **changed)
        assert isinstance(refused, tokens.Refusal)
        assert refused.status is Status.USER_SIGNATURE_INVALID


def test_8_a_null_token_is_nobody_where_nobody_may_come() -> None:
    visit = Visit()
    session = visit.created()
    nobody = visit.check(session, user=None)
    assert isinstance(nobody, tokens.Activation)
    assert nobody.user == tokens.Anonymous()
    refused = visit.check(session, user=None, kinds=offers.users(passwords=True))
    assert isinstance(refused, tokens.Refusal)
    assert KINDS[0].kind == 0


# 10, 11, 12 ---------------------------------------------------------------------------------------------


def test_10_a_count_is_judged_before_it_is_looped_over() -> None:
    body = messages.encode(GetEndpointsRequest(url=URL, profiles=("a",)))
    for count in (65, 0x7FFF_FFFF, -2):
        bomb = body[:-9] + count.to_bytes(4, "little", signed=True) + body[-5:]
        assert isinstance(messages.read(bomb, GetEndpointsRequest), Unread)


def test_11_every_byte_is_accounted_for() -> None:
    body = messages.encode(GetEndpointsRequest(url=URL))
    assert isinstance(messages.read(body, GetEndpointsRequest), GetEndpointsRequest)
    assert messages.read(body + b"\0", GetEndpointsRequest) == Unread("bytes are left over")
    for size in range(len(body)):
        assert isinstance(messages.read(body[:size], GetEndpointsRequest), Unread)


def test_11_an_insider_hides_nothing_behind_an_opening() -> None:
    (event,) = server().receive(opening(extra=b"\0"), at())
    assert event == Lost(Status.DECODING_ERROR, Fault.OPEN, "bytes are left over")


def test_12_an_additional_header_is_refused_and_never_decoded() -> None:
    body = bytearray(messages.encode(ActivateSessionRequest(signature=messages.SignatureData())))
    assert body[30:33] == b"\0\0\0"
    for header in (b"\0\0\1", b"\0\1\0", b"\2\0\0"):
        body[30:33] = header
        assert messages.read(bytes(body), ActivateSessionRequest) == Unread("an additional header")


# 13, 14 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage", [b"\0" * 64, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0" * 9]
)
@pytest.mark.parametrize("state", ["new", "hello", "open"])
def test_13_garbage_ends_in_an_error_and_nothing_else(garbage: bytes, state: str) -> None:
    pair = Pair()
    if state == "hello":
        pair.server.receive(pair.client.hello(), at())
    if state == "open":
        pair.connect()
    pair.server.take()
    (event,) = pair.server.receive(garbage, at())
    assert isinstance(event, Lost)
    assert pair.server.take() == error(event.status)
    assert pair.server.receive(garbage, at()) == []
    assert pair.server.take() == b""


def spent(channel: ServerChannel, data: bytes) -> float:
    """Milliseconds of processor for this; what collecting the garbage of a whole suite takes is not its."""
    gc.disable()
    try:
        began = time.process_time()
        channel.receive(data, at())
        return (time.process_time() - began) * 1000
    finally:
        gc.enable()


def test_14_the_dearest_opening_costs_less_than_50_ms() -> None:
    """As many blocks as are looked at, for the longest key that there may be."""
    mine = credentials("wide", 4096)
    channel = ServerChannel(mine, OFFERS, LIMITS, dice(), 77, trusting("client"))
    channel.receive(hello(LIMITS.buffers, URL), at())
    key, insider = mine.key.public_key(), credentials("client")
    clear = head(0, SUITE.uri, insider.sent, thumbprint(mine.leaf))
    opened = SEQUENCE.pack(1, 1) + messages.encode(
        OpenRequest(header=RequestHeader(audit_id="x" * 900), kind=0, mode=3, nonce=bytes(32), lifetime_ms=1)
    )
    assert spent(channel, seal_open(SUITE, insider.key, key, clear, opened)) < MOST_WORK_MS
    assert channel.opened


def test_14_ten_thousand_connections_that_say_nothing_more_cost_little() -> None:
    gc.collect()
    tracemalloc.start()
    try:
        begun = hello(LIMITS.buffers, "opc.tcp://" + "x" * 4000)[:-1]
        mine, admit = credentials("server"), trusting("client")
        random = dice()
        channels = [ServerChannel(mine, OFFERS, LIMITS, random, number, admit) for number in range(10_000)]
        empty = tracemalloc.get_traced_memory()[0]
        for channel in channels:
            assert channel.receive(begun, at()) == []
        full = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert empty < 10_000 * 3_000
    assert full - empty < 10_000 * 5_000


def test_14_bytes_that_come_one_by_one_are_not_copied_again_and_again() -> None:
    pair = Pair()
    pair.connect()
    message = pair.client.message(1, bytes(65_000), at())
    began = time.process_time()
    events: list[object] = []
    for place in range(len(message)):
        events += pair.server.receive(message[place : place + 1], at())
    assert events == [Message(1, bytes(65_000))]
    assert time.process_time() - began < 1.0


def test_a_server_that_is_not_the_pinned_one_is_not_spoken_to() -> None:
    pair = Pair(server=credentials("other"))
    pinned = Pair()
    pair.server.receive(pinned.client.hello(), at())
    pinned.client.receive(pair.server.take(), at())
    pair.server._admit = trusting("client")
    pair.server.receive(pinned.client.open(at()), at())
    assert pinned.client.receive(pair.server.take(), at()) == [Lost(FAILED, Fault.ERROR)]


def test_a_session_of_a_server_in_between_is_refused() -> None:
    """The server's signature is over our certificate and our nonce; whoever has not its key has no answer."""
    visit = Visit()
    made = visit.create()
    assert isinstance(made, tokens.Created)
    assert isinstance(login.created(made.answer, visit.pair.client, visit.nonce), login.Upstream)
    for wrong in (bytes(32), visit.nonce[::-1]):
        refused = login.created(made.answer, visit.pair.client, wrong)
        assert isinstance(refused, login.Refused)
        assert refused.status is Status.APPLICATION_SIGNATURE_INVALID
