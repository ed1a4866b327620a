"""Users on top of an application, through real sockets: by password, certificate, token; what ends them."""

import json
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from gateway.config.settings import OpcuaUsers, UserTokens
from gateway.identity import passwords
from gateway.model.asset import OpcuaUser
from gateway.relay.opcua.local import MOST_FAILED_USERS
from gateway.wire.opcua import login, messages, offers, security, usersecret
from gateway.wire.opcua.status import Status
from tests.opcua import credentials
from tests.pki import Pki, fresh_pki, pki
from tests.unit.identity.test_tokens import AUDIENCE, ISSUER, claims, jwk, made, thumbprint

from .opcua.door import Bench, Peer, door, statuses, until

__all__ = ["fresh_pki", "pki"]

SECRET = "correct horse battery staple"  # of a test


def file_of(path: Path, *names: str) -> Path:
    """A password file."""
    users = passwords.Passwords(users={})
    for name in names:
        users = users.having(name, SECRET.encode())
    passwords.write(path, users)
    return path


async def as_user(
    peer: Peer, token: messages.UserToken, key: RSAPrivateKey | None = None
) -> bytes | login.Refused:
    """ActivateSession as somebody of another kind than by password."""
    channel, upstream = peer.channel, peer.upstream
    mine = security.sign(channel.suite, peer.mine.key, channel.certificate + upstream.nonce)
    suite, signed = offers.USER_SUITE, messages.SignatureData()
    if key is not None:
        proof = security.sign(suite, key, peer.channel.certificate + peer.upstream.nonce)
        signed = messages.SignatureData(suite.sign_uri, proof)
    asked = messages.ActivateSessionRequest(
        header=messages.RequestHeader(token=upstream.token),
        signature=messages.SignatureData(channel.suite.sign_uri, mine),
        user=messages.user(token),
        user_signature=signed,
    )
    nonce = login.activated(await peer.ask(messages.encode(asked)))
    if isinstance(nonce, bytes):
        peer.upstream = replace(peer.upstream, nonce=nonce)
    return nonce


def who(bench: Bench) -> list[str | None]:
    """On whose behalf the sessions are."""
    return [each.caller.identity.on_behalf_of for each in bench.listener.sessions]


async def test_a_password_of_the_file_counts_and_the_server_sees_nobody(pki: Pki, tmp_path: Path) -> None:
    users = OpcuaUsers(anonymous=False, passwords=file_of(tmp_path / "users", "anna", "otto"))
    async with door(pki, tmp_path, users=users) as bench:
        peer = await bench.client()
        await peer.create()
        told = [
            await peer.activate(),
            await peer.activate(login.Account("anna", "wrong")),
            await peer.activate(login.Account("nobody", SECRET)),
        ]
        assert all(isinstance(each, login.Refused) for each in told)
        assert {each.status for each in told[1:] if isinstance(each, login.Refused)} == {
            Status.IDENTITY_TOKEN_REJECTED
        }
        assert bench.plant.sessions == {}, "nobody gets a session at the server before he is known"
        assert isinstance(await peer.activate(login.Account("anna", SECRET)), bytes)
        assert who(bench) == ["user:anna"]
        assert statuses(await peer.read("a")) == [0]
        other = await peer.activate(login.Account("otto", SECRET))
        assert isinstance(other, login.Refused)
        assert other.status == Status.IDENTITY_CHANGE_NOT_SUPPORTED


async def test_who_guesses_passwords_loses_the_channel(pki: Pki, tmp_path: Path) -> None:
    users = OpcuaUsers(passwords=file_of(tmp_path / "users", "anna"))
    async with door(pki, tmp_path, users=users) as bench:
        peer = await bench.client()
        await peer.create()
        for at in range(MOST_FAILED_USERS):
            assert isinstance(await peer.activate(login.Account("anna", f"{at}")), login.Refused)
        lost = await peer.over()
        assert lost is not None
        assert lost.status == Status.SECURITY_CHECKS_FAILED


async def test_nobody_guesses_passwords_of_others_from_a_session_of_his_own(pki: Pki, tmp_path: Path) -> None:
    users = OpcuaUsers(passwords=file_of(tmp_path / "users", "anna", "otto"))
    async with door(pki, tmp_path, users=users) as bench:
        peer = await bench.peer("client", login.Account("anna", SECRET))
        told = [await peer.activate(login.Account("otto", each)) for each in (SECRET, "wrong")]
        assert [each.status for each in told if isinstance(each, login.Refused)] == [
            Status.IDENTITY_CHANGE_NOT_SUPPORTED
        ] * 2, "right and wrong are told alike"
        for at in range(MOST_FAILED_USERS):
            assert isinstance(await peer.activate(login.Account("anna", f"{at}")), login.Refused)
        lost = await peer.over()
        assert lost is not None
        assert lost.status == Status.SECURITY_CHECKS_FAILED
        assert who(bench) == ["user:anna"], "the session is hers, and waits for her"


async def test_invariant_7_a_user_who_is_removed_loses_his_sessions(pki: Pki, tmp_path: Path) -> None:
    users = OpcuaUsers(passwords=file_of(tmp_path / "users", "anna", "otto"))
    async with door(pki, tmp_path, users=users) as bench:
        anna = await bench.peer("client", login.Account("anna", SECRET))
        otto = await bench.peer("other", login.Account("otto", SECRET))
        passwords.write(tmp_path / "users", passwords.read(tmp_path / "users").without("anna"))
        began = time.monotonic()
        await anna.over()
        assert time.monotonic() - began < 1
        assert statuses(await otto.read("a")) == [0]
        assert who(bench) == ["user:otto"]


async def test_a_user_comes_by_certificate_and_goes_by_revocation(fresh_pki: Pki, tmp_path: Path) -> None:
    user = fresh_pki.issue("opcua-user", "it", "anna")
    users = OpcuaUsers(anonymous=False, anchors=fresh_pki.anchors("it"), crls=(fresh_pki.crl("it"),))
    key = load_pem_private_key(user.key.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    async with door(fresh_pki, tmp_path, users=users) as bench:
        peer = await bench.client()
        await peer.create()
        token = messages.CertificateToken(offers.CERTIFICATE, user.der)
        wrong = await as_user(peer, token, credentials("client").key)
        assert isinstance(wrong, login.Refused)
        assert wrong.status == Status.USER_SIGNATURE_INVALID
        stranger = messages.CertificateToken(offers.CERTIFICATE, credentials("other").leaf)
        assert isinstance(await as_user(peer, stranger, credentials("other").key), login.Refused)
        assert isinstance(await as_user(peer, token, key), bytes)
        assert x509.load_der_x509_certificate(user.der).subject
        (subject,) = who(bench)
        assert subject is not None
        assert "anna" in subject
        fresh_pki.revoke("it", "anna")
        await peer.over()
        await until(lambda: len(bench.listener.sessions) == 0)


async def test_a_user_comes_by_token_for_this_channel_alone_and_until_it_runs_out(
    pki: Pki, tmp_path: Path
) -> None:
    provider = ec.generate_private_key(ec.SECP256R1())
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps({"keys": [jwk(provider, kid="k")]}))
    users = OpcuaUsers(anonymous=False, tokens=UserTokens(issuer=ISSUER, audience=AUDIENCE, keys=keys))
    second = int(time.time())

    def token(peer: Peer, life_s: int = 60, certificate: bytes | None = None) -> messages.IssuedToken:
        bound = {"x5t#S256": thumbprint(certificate or credentials("client").leaf)}
        said = claims(iat=second, exp=second + life_s, cnf=bound)
        sealed = usersecret.seal(
            offers.USER_SUITE, peer.channel.key, made(said, provider).encode(), peer.upstream.nonce
        )
        return messages.IssuedToken(offers.JWT, sealed)

    async with door(pki, tmp_path, users=users) as bench:
        peer = await bench.client()
        await peer.create()
        stolen = token(peer, certificate=credentials("other").leaf)
        assert isinstance(await as_user(peer, stolen), login.Refused)
        assert isinstance(await as_user(peer, token(peer, life_s=3)), bytes)
        assert who(bench) == [f"token:{ISSUER}#alice"]
        (session,) = bench.listener.sessions
        assert session.user is not None
        session.user = replace(session.user, expires_ns=(second - 100) * 1_000_000_000)
        await peer.over()


async def test_other_kinds_of_users_cannot_be_passed_on(pki: Pki, tmp_path: Path) -> None:
    server = {"user": OpcuaUser.IMPERSONATE}
    users = OpcuaUsers(passwords=file_of(tmp_path / "users", "anna"))
    async with door(pki, tmp_path, users=users, server=server) as bench:
        peer = await bench.client()
        await peer.create()
        token = messages.CertificateToken(offers.CERTIFICATE, credentials("other").leaf)
        assert isinstance(await as_user(peer, token, credentials("other").key), login.Refused)
        assert isinstance(await peer.activate(login.Account("anna", SECRET)), bytes)
        assert len(bench.plant.users) == 1
