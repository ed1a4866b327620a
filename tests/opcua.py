"""Two ends of a channel for tests: certificates, moments that a test moves, and both roles joined by hand.

pair = Pair(policy, mode)
pair.connect()
assert pair.asked(b"body") == [Message(1, b"body")]
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.model.identity import Authentication, Identity, Kind
from gateway.model.moment import Now
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.events import Admitted, ChannelLimits, Event, Message, Rejected
from gateway.wire.opcua.framing import MOST_OPEN, OPEN
from gateway.wire.opcua.keys import Encrypted, Keys, Plain, Signed, Token
from gateway.wire.opcua.security import Credentials
from gateway.wire.opcua.server_channel import Admit, ServerChannel

POLICIES = tuple(OpcuaPolicy)
MODES = tuple(OpcuaMode)
OFFERS = frozenset((policy, mode) for policy in POLICIES for mode in MODES)
URL = "opc.tcp://localhost:4840/press"
SECOND = 1_000_000_000
BEGAN = 1_800_000_000 * SECOND


def at(seconds: float = 0.0) -> Now:
    """So long after a test began."""
    passed = int(seconds * SECOND)
    return Now(BEGAN + passed, passed, True, BEGAN + passed)


@cache
def credentials(name: str = "client", bits: int = 2048) -> Credentials:
    """A self-signed application certificate `urn:test:NAME`; the same one for every test of a run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"urn:test:{name}"), x509.DNSName("localhost")]
            ),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=True,
                data_encipherment=True,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=False,
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Credentials((certificate.public_bytes(Encoding.DER),), key)


def admitted(name: str = "client") -> Admitted:
    """What trust says of an application that it knows."""
    uri = f"urn:test:{name}"
    identity = Identity(subject=uri, kind=Kind.WORKLOAD, auth=Authentication.OPCUA, zone="plant")
    return Admitted(identity, uri)


def trusting(*names: str) -> Admit:
    """Trust for these applications and nobody else."""
    known = {credentials(name).leaf: name for name in names}

    def admit(chain: bytes, now: Now) -> Admitted | Rejected:
        name = known.get(chain)
        return Rejected("nobody knows it") if name is None else admitted(name)

    return admit


START = at()
LIMITS = ChannelLimits()


def trusting_all(chain: bytes, now: Now) -> Admitted | Rejected:
    """Trust for everybody, under the client's name."""
    return admitted()


def dice(seed: int = 1) -> Callable[[int], bytes]:
    """Bytes that are the same in every run."""
    return random.Random(seed).randbytes  # noqa: S311 - that is the point


class Pair:
    """A client and a server, and the wire between them."""

    def __init__(
        self,
        policy: OpcuaPolicy = OpcuaPolicy.BASIC256SHA256,
        mode: OpcuaMode = OpcuaMode.SIGN_AND_ENCRYPT,
        *,
        client: Credentials | None = None,
        server: Credentials | None = None,
        admit: Admit | None = None,
        client_limits: ChannelLimits = LIMITS,
        server_limits: ChannelLimits = LIMITS,
        offers: frozenset[tuple[OpcuaPolicy, OpcuaMode]] = OFFERS,
    ) -> None:
        mine, theirs = client or credentials("client"), server or credentials("server")
        self.server = ServerChannel(theirs, offers, server_limits, dice(1), 77, admit or trusting_all)
        self.client = ClientChannel(mine, theirs.leaf, policy, mode, URL, client_limits, dice(2))

    def connect(self, now: Now = START) -> list[Event]:
        """Hello to an open channel; all events of both ends, the server's first."""
        events = self.server.receive(self.client.hello(), now)
        events += self.client.receive(self.server.take(), now)
        events += self.server.receive(self.client.open(now), now)
        events += self.client.receive(self.server.take(), now)
        return events

    def renew(self, now: Now) -> list[Event]:
        """New keys."""
        events = self.server.receive(self.client.renew(now), now)
        return events + self.client.receive(self.server.take(), now)

    def asked(self, body: bytes = b"question", now: Now = START, request_id: int = 1) -> list[Event]:
        """What the server hears when the client sends this."""
        return self.server.receive(self.client.message(request_id, body, now), now)

    def answered(self, body: bytes = b"answer", now: Now = START, request_id: int = 1) -> list[Event]:
        """What the client hears when the server sends this."""
        return self.client.receive(self.server.message(request_id, body, now), now)

    def talks(self, now: Now = START) -> bool:
        """Whether a message passes each way."""
        return self.asked(now=now) == [Message(1, b"question")] and self.answered(now=now) == [
            Message(1, b"answer")
        ]


def joined(mode: OpcuaMode | None, limits: ChannelLimits = LIMITS) -> tuple[ServerChannel, "Insider"]:
    """A server whose channel is open without any operation of RSA, and the client that is trusted there."""
    server = ServerChannel(credentials("server"), OFFERS, limits, dice(), 77, trusting_all)
    if mode is not None:
        server.policy, server.mode = OpcuaPolicy.AES256_SHA256_RSAPSS, mode
    server._adopt(Token(5, _direction(mode, b"c"), _direction(mode, b"s"), 0, 3_600_000))
    server._in_state({OPEN: MOST_OPEN})
    return server, Insider(_direction(mode, b"c"))


def _direction(mode: OpcuaMode | None, byte: bytes) -> Keys:
    if mode is None:
        return Plain()
    return Signed(byte * 32) if mode is OpcuaMode.SIGN else Encrypted(byte * 32, byte * 32, byte * 16)


class Insider:
    """The other end of such a channel: it seals whatever a test wants said."""

    def __init__(self, sealing: Keys) -> None:
        self._keys = sealing
        self.sequence = 0

    def seal(self, kind: bytes, request: int, body: bytes, *, skip: int = 0, token: int = 5) -> bytes:
        """A chunk; `skip` leaves out so many sequence numbers."""
        self.sequence = (self.sequence + 1 + skip) & 0xFFFF_FFFF
        return self._keys.seal(kind, 77, token, self.sequence, request, body)
