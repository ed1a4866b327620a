"""One certificate of an OPC UA application: what it is, and what is wrong with it whoever vouches for it.

Pure: no file, no clock, no trust (`chain` asks about that). OPC 10000-6 §6.2.2 says what an application
instance certificate holds: exactly one URI name, which is the ApplicationUri; key usages for signing and for
encryption; extended usages by role. RSA of 2048 to 4096 bits is what the three policies take.

A self-signed one often claims to be an authority (asyncua and older stacks make such): that is no fault, and
worth nothing, since only anchors and the issuers that a site has named ever vouch for others.
"""

import re
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity import der
from gateway.identity.anchors import name_of
from gateway.identity.certificate import Refused, fingerprint
from gateway.model.identity import Authentication, Identity, Kind
from gateway.model.moment import SECOND

MOST_CHAIN_BYTES = 8_192
"The longest SenderCertificate that is read, all certificates together."
MOST_CHAIN = 4
"Certificates of a chain: the leaf and three authorities."
LEAST_RSA, MOST_RSA = 2048, 4096
"Bits of an application's key: what Basic256Sha256, Aes128_Sha256_RsaOaep and Aes256_Sha256_RsaPss take."
MOST_VERIFIED, MOST_EXPONENT = 8192, 32
"""Bits of an RSA key, and of its exponent, that a signature is verified with. A larger one would be up to
8 ms of work for each certificate, before anything is proved."""
LEAST_EC = 256
"Bits of an authority's key on a curve."
MOST_URI = 2048
"Longest ApplicationUri."

T = TypeVar("T", bound=x509.ExtensionType)

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")
_HASHES = frozenset({"sha256", "sha384", "sha512"})


class Unfit(Exception):  # noqa: N818 # carries a Refused out of a reading; never leaves this package
    """A fault of a certificate."""

    def __init__(self, code: str, message: str) -> None:
        # Names in it are a stranger's text, and it goes into one line of a log.
        message = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in message)
        self.refused = Refused(code, message)
        super().__init__(message)


def parse(chain: bytes) -> list[x509.Certificate]:
    """The certificates of a SenderCertificate, leaf first. Unfit where not every byte can be read."""
    if not chain:
        raise Unfit("unreadable", "there is no certificate")
    if len(chain) > MOST_CHAIN_BYTES:
        raise Unfit("unreadable", f"the certificates are longer than {MOST_CHAIN_BYTES} bytes")
    try:
        found = der.slices(chain)
        if len(found) > MOST_CHAIN:
            raise Unfit("unreadable", f"more than {MOST_CHAIN} certificates")
        return [_load(each) for each in found]
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise Unfit("unreadable", f"the certificate cannot be read: {line(error)}") from None
    except x509.DuplicateExtension:
        raise Unfit("unreadable", "an extension stands there twice (RFC 5280 §4.2)") from None


def shown(chain: bytes) -> dict[str, str]:
    """What a certificate says of itself, as far as it can be read: for the record of one that is refused.

    `fingerprint` of the leaf and `application_uri`. Nobody vouches for either.
    """
    told: dict[str, str] = {}
    try:
        leaf = parse(chain)[0]
        told["fingerprint"] = fingerprint(raw(leaf))
        told["application_uri"] = application_uri(leaf)
    except Unfit:
        pass  # what is told so far is all there is
    return told


def _load(data: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(data)
    if certificate.version is not x509.Version.v3:
        raise Unfit("unreadable", "only X.509 version 3 certificates name anybody (RFC 5280 §4.1.2.1)")
    for extension in certificate.extensions:
        if extension.critical and isinstance(
            extension.value, x509.UnrecognizedExtension | x509.NameConstraints
        ):
            raise Unfit("unreadable", f"critical extension {extension.oid.dotted_string} is not understood")
    # Lazily read by the library; each may raise, and must do so here.
    _ = certificate.subject, certificate.issuer, certificate.signature_hash_algorithm
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and (
        key.key_size > MOST_VERIFIED or key.public_numbers().e.bit_length() > MOST_EXPONENT
    ):
        raise Unfit(
            "unreadable", f"an RSA key of more than {MOST_VERIFIED} bits, or of an exponent beyond use"
        )
    if raw(certificate) != data:
        # What is compared, kept and shown is what was sent: a library that mends encodings would hide that.
        raise Unfit("unreadable", "the certificate is not in DER")
    return certificate


def strength(certificate: x509.Certificate) -> None:
    """Unfit where an application's key is too weak, or of another kind."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not LEAST_RSA <= key.key_size <= MOST_RSA:
        raise Unfit("weak_key", f"{_key(certificate)}: the policies take RSA {LEAST_RSA} to {MOST_RSA}")


def issuer_strength(certificate: x509.Certificate) -> None:
    """Unfit where an authority's key is too weak."""
    key = certificate.public_key()
    strong = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA)
        or (isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= LEAST_EC)
    )
    if not strong:
        raise Unfit("issuer_weak", f"{name_of(certificate)} has the key {_key(certificate)}")


def application_uri(certificate: x509.Certificate) -> str:
    """The one URI name. Unfit where there is none, or more than one, or no URI."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        raise Unfit("no_uri", "the certificate holds no URI name, so nobody knows the ApplicationUri")
    if len(uris) > 1:
        raise Unfit("two_uri_names", "the certificate holds more than one URI name")
    if len(uris[0]) > MOST_URI or not _URI.fullmatch(uris[0]):
        raise Unfit("malformed_uri", "the URI name of the certificate is no URI")
    return uris[0]


def subject(certificate: x509.Certificate, uri: str, vouched: bool) -> str:
    """The canonical subject: `urn:…` and `spiffe://…` as they are, `x509:<RFC 4514 name>` for other URIs.

    `vouched`: an authority of the zone signed it. A SPIFFE ID is a name within a trust domain, which a
    certificate cannot give itself.
    """
    if uri.lower().startswith("urn:"):
        # Not held against RFC 8141: many put a host name where a namespace belongs (urn:pc-7.example:…).
        return "urn:" + uri[4:]
    if uri.lower().startswith("spiffe:"):
        segments = uri.split("/")[3:]
        if not _SPIFFE.fullmatch(uri) or "." in segments or ".." in segments:
            raise Unfit("malformed_uri", "the SPIFFE ID breaks the syntax of SPIFFE-ID §2")
        if not vouched:
            raise Unfit("malformed_uri", "a SPIFFE ID that no authority of the zone vouches for")
        return uri
    name = name_of(certificate)
    if not name:
        raise Unfit("no_name", "neither a URN nor a name: nobody can write a grant for it")
    return f"x509:{name}"


def usage(certificate: x509.Certificate) -> None:
    """Unfit where the certificate is not for an application that opens secure channels as a client."""
    usages = _extension(certificate, x509.KeyUsage)
    if usages is None or not (
        usages.digital_signature and usages.key_encipherment and usages.data_encipherment
    ):
        raise Unfit(
            "usage", "key usage is not digitalSignature, keyEncipherment and dataEncipherment (Part 6 §6.2.2)"
        )
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        raise Unfit("usage", "extended key usage does not hold clientAuth (Part 6 §6.2.2)")
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca and certificate.issuer != certificate.subject:
        raise Unfit("usage", "this is the certificate of an authority, not of an application")


def issuer_usage(certificate: x509.Certificate, below: int) -> None:
    """Unfit where it may not issue certificates with `below` authorities between them and it."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usages = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usages is not None and not usages.key_cert_sign):
        raise Unfit("issuer_usage", f"{name_of(certificate)} is not the certificate of an authority")
    if constraints.path_length is not None and constraints.path_length < below:
        raise Unfit("issuer_usage", f"{name_of(certificate)} may have no authority below it")


def identity(certificate: x509.Certificate, who: str, zone: str) -> Identity:
    """Whom it names, once everything else was found right."""
    identifier = _extension(certificate, x509.SubjectKeyIdentifier)
    return Identity(
        subject=who,
        kind=Kind.WORKLOAD,
        auth=Authentication.OPCUA,
        zone=zone,
        fingerprint=fingerprint(raw(certificate)),
        serial=format(certificate.serial_number, "x"),
        issuer=certificate.issuer.rfc4514_string(),
        ski=identifier.digest.hex() if identifier is not None else None,
        expires_ns=until_ns(certificate),
    )


def raw(certificate: x509.Certificate) -> bytes:
    """Its DER."""
    return certificate.public_bytes(Encoding.DER)


def begins_ns(certificate: x509.Certificate) -> int:
    """notBefore, ns since 1970."""
    return int(certificate.not_valid_before_utc.timestamp()) * SECOND


def until_ns(certificate: x509.Certificate) -> int:
    """notAfter, ns since 1970."""
    return int(certificate.not_valid_after_utc.timestamp()) * SECOND


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def digest(certificate: x509.Certificate, code: str) -> None:
    """Unfit where the signature on it is by a hash that proves nothing any more."""
    used = certificate.signature_hash_algorithm
    if used is not None and used.name not in _HASHES:
        raise Unfit(code, f"{name_of(certificate)} is signed with {used.name}")


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return "on a curve" if isinstance(key, ec.EllipticCurvePublicKey) else "of another kind"


def line(error: Exception) -> str:
    """A message of the library, fit for one line of a log."""
    return str(error).replace("\n", " ")[:200]
