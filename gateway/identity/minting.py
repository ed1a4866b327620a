"""Keys, certificates and revocation lists, made in memory (RFC 5280). No file and no clock.

Every certificate here passes `openssl verify -x509_strict`: authorities have critical basic constraints, a
key usage and a path length, and each certificate has key identifiers.
"""

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from msgspec import Struct

from gateway.identity.certificate import ROLE_OID
from gateway.identity.der import UTF8_STRING
from gateway.identity.profiles import Extended, KeyKind, Profile

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
BACKDATE = timedelta(minutes=5)
"How much earlier than now a certificate begins: peers' clocks differ."

_EXTENDED: dict[Extended, ObjectIdentifier] = {
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "document_signing": ObjectIdentifier("1.3.6.1.5.5.7.3.36"),
}


class Holder(Struct, frozen=True, kw_only=True):
    """Whom a certificate names."""

    name: str
    organisation: str
    uri: str
    role: str | None = None
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()


class Issuer(Struct, frozen=True):
    """An authority that can sign."""

    certificate: x509.Certificate
    key: PrivateKey


class Revoked(Struct, frozen=True):
    """One line of a revocation list."""

    serial: int
    at: datetime


def new_key(kind: KeyKind) -> PrivateKey:
    """A fresh private key."""
    match kind:
        case "p-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "rsa-2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "rsa-3072":
            return rsa.generate_private_key(public_exponent=65537, key_size=3072)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()


def key_pem(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority(
    name: str, organisation: str, key: PrivateKey, above: Issuer | None, now: datetime, days: int
) -> x509.Certificate:
    """The certificate of an authority: a root if nothing is above it, else one that issues to peers only."""
    builder = _begin(name, organisation, key, above, now, now + timedelta(days=days))
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=1 if above is None else 0), critical=True
    )
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return _sign(builder, above.key if above else key)


def peer(
    holder: Holder, profile: Profile, key: PrivateKey, above: Issuer, now: datetime, days: int
) -> x509.Certificate:
    """A certificate for a peer, after its profile. It does not outlive its issuer."""
    until = min(now + timedelta(days=days), above.certificate.not_valid_after_utc)
    builder = _begin(holder.name, holder.organisation, key, above, now, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(**dict.fromkeys(profile.usage, True)), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([_EXTENDED[use] for use in profile.extended]), critical=False
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(holder.uri)]
    names += [x509.DNSName(name) for name in holder.dns]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in holder.ips]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if holder.role is not None:
        builder = builder.add_extension(role_extension(holder.role), critical=False)
    return _sign(builder, above.key)


def role_extension(role: str) -> x509.UnrecognizedExtension:
    """One UTF8String in DER (Modbus/TCP Security R-21, R-22). A role is at most 64 bytes: a short length."""
    text = role.encode()
    return x509.UnrecognizedExtension(ObjectIdentifier(ROLE_OID), bytes((UTF8_STRING, len(text))) + text)


def revocation_list(
    issuer: Issuer, revoked: Iterable[Revoked], number: int, now: datetime, days: int
) -> bytes:
    """A signed CRL, PEM, good for `days`."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_identifier(issuer), critical=False)
    )
    for line in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(line.serial).revocation_date(line.at).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, _hash(issuer.key)).public_bytes(Encoding.PEM)


def _begin(
    name: str, organisation: str, key: PrivateKey, above: Issuer | None, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(until)
        .add_extension(identifier, critical=False)
    )
    above_identifier = (
        _authority_identifier(above)
        if above
        else x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    )
    return builder.add_extension(above_identifier, critical=False)


def _authority_identifier(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(**bits: bool) -> x509.KeyUsage:
    every = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**(every | bits))


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, _hash(key))


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
