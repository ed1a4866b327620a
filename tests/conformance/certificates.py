"""Certificates for a conformance test: an RSA server's, and those that RFC 5280 forbids."""

import ssl
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity import keyfile, minting
from gateway.identity.der import elements
from gateway.identity.minting import Holder, Issuer, PrivateKey
from tests.pki import TRUST_DOMAIN, Credential, Pki

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
VERSION, EXTENSIONS = 0xA0, 0xA3
"The fields of a TBSCertificate that version 1 does not have (RFC 5280 §4.1)."


def rsa_server(pki: Pki, name: str) -> Credential:
    """The gateway's own certificate with an RSA key: issued like any other, the key apart."""
    profile = pki.authority.profiles.named("gateway-server")
    above, key = pki.issuer("plant"), minting.new_key("rsa-2048")
    uri = f"spiffe://{TRUST_DOMAIN}/gateway/{name}"
    holder = Holder(name=name, organisation=TRUST_DOMAIN, uri=uri, dns=("localhost",), ips=("127.0.0.1",))
    made = minting.peer(holder, profile, key, above, pki.now, 30)
    return store(pki, name, made.public_bytes(Encoding.DER), key)


def store(pki: Pki, name: str, der: bytes, key: PrivateKey) -> Credential:
    """Write a certificate, its chain down to the root, and its key where the authority would."""
    cert = pki.dir / "plant" / "issued" / f"{name}.pem"
    chain = pki.issuer("plant").certificate.public_bytes(Encoding.PEM) + pki.root.read_bytes()
    keyfile.create(cert.with_suffix(".key"), minting.key_pem(key), 0o600)
    keyfile.create(cert, ssl.DER_cert_to_PEM_cert(der).encode() + chain)
    return Credential(cert, cert.with_suffix(".key"))


class Draft:
    """A client certificate that may be spoiled before it is signed."""

    def __init__(self, pki: Pki, name: str) -> None:
        self.pki, self.name = pki, name
        self.key: PrivateKey = minting.new_key("p-256")
        self.above = pki.issuer("plant")
        self.begins, self.ends = pki.now - timedelta(minutes=5), pki.now + timedelta(days=30)
        self.extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self.uri)]), False),
            (minting.role_extension("operator"), False),
        ]

    @property
    def uri(self) -> str:
        """Its SPIFFE ID."""
        return f"spiffe://{TRUST_DOMAIN}/plant/{self.name}"

    def replace(self, extension: x509.ExtensionType, *, critical: bool) -> None:
        """Put an extension in the place of the one with its OID."""
        kept = [(each, flag) for each, flag in self.extensions if each.oid != extension.oid]
        self.extensions = [*kept, (extension, critical)]

    def signed(self) -> x509.Certificate:
        """Sign."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        builder = x509.CertificateBuilder(
            issuer_name=self.above.certificate.subject,
            subject_name=name,
            public_key=self.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=_naive(self.begins),
            not_valid_after=_naive(self.ends),
        )
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        assert isinstance(self.above.key, ec.EllipticCurvePrivateKey)
        return builder.sign(self.above.key, hashes.SHA256())

    def stored(self) -> Credential:
        """Sign and write."""
        return store(self.pki, self.name, self.signed().public_bytes(Encoding.DER), self.key)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _nothing(draft: Draft) -> None:
    """The control: RFC 5280 has nothing against it."""


def _ended(draft: Draft) -> None:
    draft.begins, draft.ends = draft.pki.now - timedelta(days=9), draft.pki.now - timedelta(days=1)


def _not_begun(draft: Draft) -> None:
    draft.begins = draft.pki.now + timedelta(days=1)


def _authority(draft: Draft) -> None:
    draft.replace(x509.BasicConstraints(ca=True, path_length=None), critical=True)


def _server_only(draft: Draft) -> None:
    draft.replace(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)


def _unknown_critical(draft: Draft) -> None:
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.99"), b"\x05\x00")
    draft.replace(strange, critical=True)


def _two_names(draft: Draft) -> None:
    names = [x509.UniformResourceIdentifier(draft.uri + end) for end in ("", "-2")]
    draft.replace(x509.SubjectAlternativeName(names), critical=False)


def _encrypts_only(draft: Draft) -> None:
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
    )
    no_signature = x509.KeyUsage(
        digital_signature=False, key_encipherment=True, encipher_only=False, decipher_only=False, **usage
    )
    draft.replace(no_signature, critical=True)


def _strange_issuer(draft: Draft) -> None:
    """Signed by a key that calls itself the zone's authority."""
    draft.above = Issuer(draft.above.certificate, minting.new_key("p-256"))


SPOILED: dict[str, Callable[[Draft], None]] = {
    "expired": _ended,
    "not-yet-valid": _not_begun,
    "basic-constraints-ca": _authority,
    "server-only": _server_only,
    "unknown-critical": _unknown_critical,
    "two-uri-names": _two_names,
    "no-signature-usage": _encrypts_only,
    "wrong-signature": _strange_issuer,
}
"What makes a client certificate one that must not be accepted (RFC 5280 §4.2, §6.1)."


def spoiled(pki: Pki, name: str, how: str | None) -> Credential:
    """A client certificate with that one thing wrong; None: with nothing wrong."""
    draft = Draft(pki, name)
    SPOILED.get(how or "", _nothing)(draft)
    return draft.stored()


def version_1(pki: Pki, name: str) -> Credential:
    """A client certificate of X.509 version 1: no version field, no extensions, signed all the same."""
    draft = Draft(pki, name)
    (tbs,) = elements(draft.signed().tbs_certificate_bytes)
    fields = [each for each in elements(tbs.value) if each.tag not in (VERSION, EXTENSIONS)]
    old = _der(0x30, b"".join(_der(each.tag, each.value) for each in fields))
    assert isinstance(draft.above.key, ec.EllipticCurvePrivateKey)
    signature = draft.above.key.sign(old, ec.ECDSA(hashes.SHA256()))
    whole = _der(0x30, old + ECDSA_SHA256 + _der(0x03, b"\0" + signature))
    assert x509.load_der_x509_certificate(whole).version is x509.Version.v1
    return store(pki, name, whole, draft.key)


def self_signed(pki: Pki, name: str) -> Credential:
    """A client certificate that vouches for itself."""
    draft = Draft(pki, name)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=issuer,
        public_key=draft.key.public_key(),
        serial_number=1,
        not_valid_before=_naive(draft.begins),
        not_valid_after=_naive(draft.ends),
    )
    for extension, critical in draft.extensions:
        builder = builder.add_extension(extension, critical)
    assert isinstance(draft.key, ec.EllipticCurvePrivateKey)
    der = builder.sign(draft.key, hashes.SHA256()).public_bytes(Encoding.DER)
    return store(pki, name, der, draft.key)


def _der(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < 0x80:
        return bytes((tag, length)) + value
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + value
