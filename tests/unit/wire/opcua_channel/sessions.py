"""A client's visit, step by step, with anything in it changed: what an insider can try."""

from typing import Any

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua import messages, offers, tokens, usersecret
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    ApplicationDescription,
    CreateSessionRequest,
    SignatureData,
    UserTokenPolicy,
)
from gateway.wire.opcua.security import SUITES, Credentials, sign
from gateway.wire.opcua.server_channel import ServerChannel
from tests.opcua import OFFERS, URL, Pair, admitted, at, credentials, dice

KINDS = offers.users(anonymous=True, passwords=True, certificates=True)
SERVER = ApplicationDescription(uri="urn:test:server")


class Visit:
    """One open channel, and whatever the client says on it."""

    def __init__(
        self,
        *,
        channel_id: int = 77,
        client: str = "client",
        server: Credentials | None = None,
        mode: OpcuaMode = OpcuaMode.SIGN_AND_ENCRYPT,
    ) -> None:
        self.random = dice(channel_id)
        self.nonce = bytes(range(32))
        self.mine = credentials(client)
        self.pair = Pair(mode=mode, client=self.mine, server=server, admit=lambda *_: admitted(client))
        self.pair.server.channel_id = channel_id
        self.pair.connect()
        self.suite = SUITES[OpcuaPolicy.BASIC256SHA256]

    def create(
        self, *, uri: str | None = "urn:test:client", **changed: Any
    ) -> tokens.Created | tokens.Refusal:
        """CreateSession."""
        given: dict[str, Any] = {
            "nonce": self.nonce,
            "certificate": self.mine.leaf,
            "timeout_ms": 60_000.0,
        }
        request = CreateSessionRequest(
            client=ApplicationDescription(uri=uri, kind=1), url=URL, **given | changed
        )
        read = messages.read(messages.encode(request), CreateSessionRequest)
        assert isinstance(read, CreateSessionRequest)
        channel = self.pair.server
        endpoints = offers.endpoints(URL, SERVER, channel.credentials.sent, OFFERS, KINDS)
        return tokens.create(read, channel, endpoints, 0, self.random, at())

    def created(self) -> tokens.Session:
        """A session that is not active."""
        made = self.create()
        assert isinstance(made, tokens.Created)
        return made.session

    def activated(self, user: str | None = None) -> tokens.Session:
        """A session that is."""
        session = self.created()
        activation = self.check(session)
        assert isinstance(activation, tokens.Activation)
        assert isinstance(session.commit(activation, user, self.pair.server, self.random, at()), bytes)
        return session

    def check(
        self,
        session: tokens.Session,
        *,
        signer: Credentials | None = None,
        nonce: bytes | None = None,
        certificate: bytes | None = None,
        channel: ServerChannel | None = None,
        user: tuple[int, bytes] | None = messages.user(messages.AnonymousToken("anonymous")),
        user_key: Credentials | None = None,
        user_signer: Credentials | None = None,
        user_nonce: bytes | None = None,
        kinds: tuple[UserTokenPolicy, ...] = KINDS,
        **signature: Any,
    ) -> tokens.Activation | tokens.Refusal:
        """ActivateSession, as far as it needs nobody else."""
        to = certificate or credentials("server").leaf
        proof = sign(self.suite, (signer or self.mine).key, to + (nonce or session.nonce))
        given = {"algorithm": self.suite.sign_uri, "signature": proof} | signature
        user_signature = SignatureData()
        if user_key is not None:
            user = messages.user(messages.CertificateToken("certificate", user_key.leaf))
            key = (user_signer or user_key).key
            proof = sign(offers.USER_SUITE, key, to + (user_nonce or session.nonce))
            user_signature = SignatureData(offers.USER_SUITE.sign_uri, proof)
        request = ActivateSessionRequest(
            signature=SignatureData(**given), user=user, user_signature=user_signature
        )
        read = messages.read(messages.encode(request), ActivateSessionRequest)
        assert read == request
        return session.check(request, channel or self.pair.server, kinds, self.random)

    def password(self, password: str, nonce: bytes) -> tuple[int, bytes]:
        """A user name token."""
        key = credentials("server").key.public_key()
        secret = usersecret.seal(offers.USER_SUITE, key, password.encode(), nonce)
        return messages.user(messages.UserNameToken("username", "operator", secret))

    @staticmethod
    def state(session: tokens.Session) -> tuple[object, ...]:
        """All that a session is."""
        return tuple([getattr(session, name) for name in tokens.Session.__slots__])
