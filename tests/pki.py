"""A two-zone PKI for tests, made by the product's own authority, and certificates that it would never make.

    def test_something(pki: Pki) -> None:
        hmi = pki.issue("modbus-client", "plant", "hmi-1", role="operator")
        trust = ZoneTrust(pki.zone_settings("plant"))
        admitted = trust.admit(hmi.der, moment())

The fixtures `pki` (one for the session: issue what you like under names of your own, revoke nothing that
others use) and `fresh_pki` (one for the test alone) reach the tests of a folder by its conftest.py:
`from tests.pki import fresh_pki, pki` and `__all__ = ["fresh_pki", "pki"]`.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway.config.settings import Zone
from gateway.identity import founding, keyfile, minting, profiles
from gateway.identity.authority import Authority
from gateway.identity.certificate import ROLE_OID
from gateway.identity.minting import Holder, Issuer
from gateway.identity.request import Request
from gateway.identity.trust import ZoneTrust
from gateway.model.moment import SECOND, Now
from gateway.shipped import folder

TRUST_DOMAIN = "demo.example"
ROLE_DER = bytes.fromhex("060b2b0601040183890c862201")
"The role OID as it stands in a certificate."
OTHER_DER = bytes.fromhex("060b2b0601040183890c862202")
"A neighbour of the same length, so that one can be patched into the other."

OddRole = Literal[
    "two",
    "two_alike",
    "empty",
    "printable",
    "raw",
    "long",
    "trailing",
    "comma",
    "newline",
    "homoglyph",
    "octets",
]
"Role extensions that make a role malformed (Modbus/TCP Security R-20…R-22, R-65)."

ODD_ROLES: dict[OddRole, bytes] = {
    "empty": b"\x0c\x00",
    "printable": b"\x13\x08operator",
    "raw": b"operator",
    "long": b"\x0c\x82\x01\x2c" + b"r" * 300,
    "trailing": b"\x0c\x08operator\x00",
    "comma": b"\x0c\x0eoperator,admin",
    "newline": b"\x0c\x09operator\n",
    "homoglyph": b"\x0c\x09" + "оperator".encode(),
    "octets": b"\x04\x08operator",
}
"The malformed roles that are one extension; `two` and `two_alike` are two."


@dataclass(frozen=True)
class Credential:
    """A certificate chain (leaf, issuing authority, root) and its key, as PEM files."""

    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The leaf, DER: what `ZoneTrust.admit` and `identify` take."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).public_bytes(Encoding.DER)

    def client_context(self, anchors: Path) -> ssl.SSLContext:
        """A plain TLS client context that shows this certificate and trusts servers of `anchors`."""
        context = ssl.create_default_context(cafile=str(anchors))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_cert_chain(self.cert, self.key)
        return context


@dataclass
class Pki:
    """A PKI folder with zones `plant` and `it`. Hosts, where a profile needs them, are those of loopback."""

    dir: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    "The moment at which everything is issued unless a call says otherwise."

    def __post_init__(self) -> None:
        book = profiles.load(folder("pki"))
        if (self.dir / "authority.json").exists():
            self.authority = Authority(self.dir, book)
        else:
            self.authority = founding.init(self.dir, TRUST_DOMAIN, book, self.now)

    @property
    def root(self) -> Path:
        """The root certificate."""
        return self.dir / "root" / "ca.pem"

    def anchors(self, zone: str) -> Path:
        """What a peer of that zone is vouched for by: the zone's issuing authority."""
        return self.dir / zone / "anchors.pem"

    def crl(self, zone: str) -> Path:
        """The zone's CRL."""
        return self.dir / zone / "crl.pem"

    def issue(
        self,
        profile: str,
        zone: str,
        name: str,
        role: str | None = None,
        *,
        now: datetime | None = None,
        days: int | None = None,
    ) -> Credential:
        """Issue; an earlier `now` makes certificates that have expired."""
        hosts = self.authority.profiles.named(profile).hosts == "required"
        request = Request(
            profile=profile,
            zone=zone,
            name=name,
            role=role,
            dns=("localhost",) if hosts else (),
            ips=("127.0.0.1",) if hosts else (),
            days=days,
        )
        path = self.authority.certificate_file(self.authority.issue(request, now or self.now))
        return Credential(path, path.with_suffix(".key"))

    def expired(self, profile: str, zone: str, name: str, role: str | None = None) -> Credential:
        """A certificate that ran out twenty days ago."""
        return self.issue(profile, zone, name, role, now=self.now - timedelta(days=30), days=10)

    def revoke(self, zone: str, name: str) -> None:
        """Revoke all certificates of that name and write the zone's CRL."""
        self.authority.revoke(zone, self.now, name=name)

    def sign_crl(self, zone: str, now: datetime | None = None) -> None:
        """Sign the zone's CRL again. `now` 40 days back makes one that is 10 days stale."""
        self.authority.sign_lists(now or self.now, zone)

    def zone_settings(self, zone: str, **changes: object) -> Zone:
        """The `zones[]` entry of a gateway that trusts this zone."""
        settings = {"name": zone, "anchors": self.anchors(zone), "crls": (self.crl(zone),), **changes}
        return Zone(**settings)  # type: ignore[arg-type] # changes are the caller's

    def trust(self, zone: str, **changes: object) -> ZoneTrust:
        """That zone's trust, loaded."""
        return ZoneTrust(self.zone_settings(zone, **changes))

    def odd_role(self, zone: str, name: str, odd: OddRole) -> Credential:
        """A modbus-client certificate whose role is malformed in the way that `odd` names."""
        if odd in ODD_ROLES:
            value = ODD_ROLES[odd]
            return self._forge(
                zone, name, [x509.UnrecognizedExtension(x509.ObjectIdentifier(ROLE_OID), value)]
            )
        second = b"\x0c\x08" + (b"operator" if odd == "two_alike" else b"engineer")
        pair = [minting.role_extension("operator"), _extension(ROLE_OID[:-1] + "2", second)]
        return self._forge(zone, name, pair, patch=(OTHER_DER, ROLE_DER))

    def with_names(self, zone: str, name: str, names: list[x509.GeneralName]) -> Credential:
        """A client certificate with exactly these subject alternative names (none: no such extension)."""
        return self._forge(zone, name, [x509.SubjectAlternativeName(names)] if names else [], names=False)

    def issuer(self, zone: str) -> Issuer:
        """The zone's authority itself, to sign what no product should."""
        key = load_pem_private_key((self.dir / zone / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return Issuer(x509.load_pem_x509_certificate((self.dir / zone / "ca.pem").read_bytes()), key)

    def _forge(
        self,
        zone: str,
        name: str,
        extensions: Sequence[x509.ExtensionType],
        *,
        patch: tuple[bytes, bytes] | None = None,
        names: bool = True,
    ) -> Credential:
        """Sign what the authority would refuse: a client certificate with these extensions on top.

        `patch` replaces bytes of the TBSCertificate by others of the same length before it is signed again:
        no library signs a certificate with the same extension twice.
        """
        above = self.issuer(zone)
        key = minting.new_key("p-256")
        holder = Holder(name=name, organisation=TRUST_DOMAIN, uri=f"spiffe://{TRUST_DOMAIN}/{zone}/{name}")
        made = minting.peer(holder, self.authority.profiles.named("modbus-client"), key, above, self.now, 30)
        builder = x509.CertificateBuilder(
            issuer_name=made.issuer,
            subject_name=made.subject,
            public_key=key.public_key(),
            serial_number=made.serial_number,
            not_valid_before=made.not_valid_before_utc.replace(tzinfo=None),
            not_valid_after=made.not_valid_after_utc.replace(tzinfo=None),
        )
        for extension in made.extensions:
            if names or not isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(extension.value, extension.critical)
        for value in extensions:
            builder = builder.add_extension(value, critical=False)
        forged = builder.sign(above.key, hashes.SHA256())
        leaf = forged.public_bytes(Encoding.DER) if patch is None else _patched(forged, above, *patch)
        pem = ssl.DER_cert_to_PEM_cert(leaf).encode()
        at = self.dir / zone / "issued" / name
        cert, key_file = at.with_name(name + ".pem"), at.with_name(name + ".key")
        keyfile.create(key_file, minting.key_pem(key), 0o600)
        keyfile.create(cert, pem + above.certificate.public_bytes(Encoding.PEM) + self.root.read_bytes())
        return Credential(cert, key_file)


def moment(wall: datetime | None = None, *, trusted: bool = True) -> Now:
    """A Now at that wall time (default: the real one)."""
    ns = int((wall or datetime.now(UTC)).timestamp() * SECOND)
    return Now(ns, ns, trusted, ns)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One PKI for the whole session: use names of your own, and revoke only what you issued."""
    return Pki(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def fresh_pki(tmp_path: Path) -> Pki:
    """A PKI for this test alone, whose files may be broken at will."""
    return Pki(tmp_path / "pki")


def _extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _patched(signed: x509.Certificate, above: Issuer, old: bytes, new: bytes) -> bytes:
    tbs = signed.tbs_certificate_bytes
    assert len(old) == len(new)
    assert tbs.count(old) == 1
    tbs = tbs.replace(old, new)
    assert isinstance(above.key, ec.EllipticCurvePrivateKey)
    signature = above.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    return _der(0x30, tbs + algorithm + _der(0x03, b"\x00" + signature))


def _der(tag: int, value: bytes) -> bytes:
    if len(value) < 0x80:
        return bytes((tag, len(value))) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value
