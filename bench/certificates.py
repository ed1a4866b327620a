"""Throw-away certificates for one run: one authority, a server, a client with a Modbus role, a log key.

P-256 throughout, so that every subject does the same work in its handshakes.
"""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = "spiffe://bench.example/it/client"
"Subject of the load generator's certificate."
ROLE = "bench"
"The Modbus role that it claims."
ROLE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
UTF8_STRING = 0x0C
SERVER_NAME = "localhost"
LIFE = datetime.timedelta(days=2)

_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Pki:
    """Where the files are."""

    def __init__(self, folder: Path) -> None:
        """Make them all in an empty folder."""
        folder.mkdir(parents=True)
        self.anchors = folder / "ca.pem"
        self.crl = folder / "ca.crl"
        self.server = folder / "server.pem"
        self.server_key = folder / "server.key"
        self.server_both = folder / "server-with-key.pem"
        self.client = folder / "client.pem"
        self.client_key = folder / "client.key"
        self.log_key = folder / "log.key"
        self._begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
        self._authority_key = ec.generate_private_key(ec.SECP256R1())
        self._authority = self._make_authority()
        self.anchors.write_bytes(_pem(self._authority))
        self._make_crl()
        self._issue(self.server, self.server_key, "gateway", _SERVER_NAMES, ExtendedKeyUsageOID.SERVER_AUTH)
        role = x509.UnrecognizedExtension(ROLE_OID, bytes([UTF8_STRING, len(ROLE)]) + ROLE.encode())
        self._issue(
            self.client, self.client_key, "client", _CLIENT_NAMES, ExtendedKeyUsageOID.CLIENT_AUTH, role
        )
        _write_private(self.server_both, self.server.read_bytes() + self.server_key.read_bytes())
        _write_private(self.log_key, _private(ed25519.Ed25519PrivateKey.generate()))

    def _builder(self, name: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(_name("authority"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begin)
            .not_valid_after(self._begin + LIFE)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def _make_authority(self) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            self._builder(_name("authority"), self._authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._authority_key, hashes.SHA256())
        )

    def _make_crl(self) -> None:
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._authority.subject)
            .last_update(self._begin)
            .next_update(self._begin + LIFE)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(self._signer(), critical=False)
            .sign(self._authority_key, hashes.SHA256())
        )
        self.crl.write_bytes(crl.public_bytes(serialization.Encoding.PEM))

    def _signer(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority_key.public_key())

    def _issue(
        self,
        certificate: Path,
        key: Path,
        name: str,
        names: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
        *extensions: x509.ExtensionType,
    ) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(_name(name), private.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(self._signer(), critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        signed = builder.sign(self._authority_key, hashes.SHA256())
        certificate.write_bytes(_pem(signed) + _pem(self._authority))
        _write_private(key, _private(private))


_SERVER_NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName(SERVER_NAME),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.UniformResourceIdentifier("spiffe://bench.example/gateway"),
    ]
)
_CLIENT_NAMES = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(CLIENT)])


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"bench {common}")])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
